//! Sizes and times of machines, from one extreme to the other. Times are stretched until what waits for a network and a
//! disk can be done in them: a cluster whose votes take longer than its elections is not broken, only wrongly set up.

use super::{
    PART_BATCH, PART_CLOCKS, PART_DISK, PART_FLOW, PART_LEASE, PART_LOG, PART_NETWORK, PART_TIMING, percent,
    pick,
};
use crate::plan::{ClockPlan, DiskPlan, ExecutorsPlan, FlowPlan, LogPlan, MastersPlan, NetworkPlan};
use quorate_core::{limits, random::Draws};
use std::time::Duration;

/// How long things take at most while nothing is broken.
pub(super) struct Pace {
    /// There and back, with a sync and a batch at both ends, milliseconds.
    pub(super) round_ms: u64,
    /// One sync, milliseconds.
    pub(super) sync_ms: u64,
}

impl Pace {
    pub(super) fn of(network: &NetworkPlan, disk: &DiskPlan, batch_us: &[u64]) -> Self {
        let batch_us = batch_us.iter().max().copied().unwrap_or(0);
        let round_us = 2 * (network.latency_max_us + disk.sync_max_us + batch_us);
        Self { round_ms: round_us.div_ceil(1_000), sync_ms: disk.sync_max_us.div_ceil(1_000) }
    }
}

pub(super) fn network(seed: u64, faults: bool) -> NetworkPlan {
    let mut draws = Draws::new(seed, PART_NETWORK);
    let latency_min_us = if percent(&mut draws, 90) { draws.range(20, 500) } else { 10_000 };
    let latency_max_us = latency_min_us + *pick(&mut draws, &[0, 100, 1_000, 1_000, 5_000, 20_000, 60_000]);
    let mut some =
        |chance: u64, most: u64| if percent(&mut draws, chance) { draws.range(1, most) } else { 0 };
    let (tail_ppm, tail_us) = (some(40, 20_000), some(100, 150_000));
    let (loss_ppm, duplicate_ppm, reorder_ppm) = (some(40, 30_000), some(50, 50_000), some(50, 100_000));
    let calm = NetworkPlan {
        latency_min_us,
        latency_max_us,
        tail_ppm: 0,
        tail_us: 0,
        loss_ppm: 0,
        duplicate_ppm: 0,
        reorder_ppm: 0,
        call_ppm: 0,
        call_late_ms: 0,
    };
    if !faults {
        return calm;
    }
    NetworkPlan { tail_ppm, tail_us, loss_ppm, duplicate_ppm, reorder_ppm, ..calm }
}

pub(super) fn disk(seed: u64) -> DiskPlan {
    let mut draws = Draws::new(seed, PART_DISK);
    let (sync_min_us, sync_max_us) = *pick(
        &mut draws,
        &[
            (1, 5),
            (50, 400),
            (50, 400),
            (200, 5_000),
            (200, 5_000),
            (2_000, 40_000),
            (2_000, 40_000),
            (20_000, 200_000),
        ],
    );
    DiskPlan { sync_min_us, sync_max_us, load_us: 0 }
}

/// Heartbeat, election, stall, request.
fn timing(draws: &mut Draws, pace: &Pace) -> [u64; 5] {
    let times = match draws.range(0, 15) {
        0 => [5, 15, 20, 30, 500],
        1 => [10, 30, 40, 1_000, 300],
        2 => [250, 750, 2_000, 250, 10_000],
        3 => [40, 150, 3_000, 100, 1_000],
        4 | 5 => [20, 100, 160, 200, 2_000],
        6 | 7 => [100, 300, 1_000, 1_000, 3_000],
        8 | 9 => [50, 150, 200, 100, 1_000],
        _ => USUAL,
    };
    let stretch = pace.round_ms.div_ceil(times[1]).max(1);
    stretched(times, stretch, pace)
}

const USUAL: [u64; 5] = [50, 250, 450, 400, 5_000];

/// Times with which no leader falls while nothing is broken.
pub(super) fn calm_timing(pace: &Pace) -> [u64; 5] {
    stretched(USUAL, (2 * pace.round_ms).div_ceil(USUAL[1]).max(1), pace)
}

fn stretched(mut times: [u64; 5], stretch: u64, pace: &Pace) -> [u64; 5] {
    for time in &mut times[..3] {
        *time *= stretch;
    }
    times[3] = times[3].max(2 * pace.sync_ms + 10).max(times[0]);
    times[4] = times[4].max(6 * pace.round_ms);
    times
}

pub(super) fn masters(seed: u64, batch_us: Vec<u64>, drift_ppm: u32, pace: &Pace) -> MastersPlan {
    let masters = batch_us.len();
    let mut draws = Draws::new(seed, PART_TIMING);
    let timing_ms = timing(&mut draws, pace);
    let snapshot_entries = *pick(&mut draws, &[1, 3, 20, 20, 50, 50, 200, 200, 1_000, 100_000]);
    let trailing_entries = *pick(&mut draws, &[0, 0, 1, 5, 50, 1_000, limits::TRAILING_ENTRIES]);
    // Each clock drifts either way.
    let read_lease_drift_ppm = if percent(&mut draws, 25) { 2 * drift_ppm + 1 } else { 0 };
    let mut draws = Draws::new(seed, PART_CLOCKS);
    let clocks = (0..masters).map(|_| clock(&mut draws, drift_ppm)).collect();
    let flow = flow(&mut Draws::new(seed, PART_FLOW), masters, pace);
    let log = log(&mut Draws::new(seed, PART_LOG));
    MastersPlan {
        clocks,
        founders: 0,
        timing_ms,
        snapshot_entries,
        trailing_entries,
        log,
        read_lease_drift_ppm,
        flow,
        programs: Vec::new(),
        batch_us: if batch_us.iter().any(|most| *most > 0) { batch_us } else { Vec::new() },
    }
}

/// In most seeds each input is a step of its own. In a third masters take them in batches as drivers do: all of them, or some.
pub(super) fn batches(seed: u64, masters: usize) -> Vec<u64> {
    /// Microseconds; 1 = what comes at the same time.
    const MOST: [u64; 5] = [1, 100, 500, 1_000, 2_000];
    let mut draws = Draws::new(seed, PART_BATCH);
    if !percent(&mut draws, 34) {
        return vec![0; masters];
    }
    if percent(&mut draws, 60) {
        return vec![*pick(&mut draws, &MOST); masters];
    }
    (0..masters).map(|_| if percent(&mut draws, 60) { *pick(&mut draws, &MOST) } else { 0 }).collect()
}

/// In most seeds each master has as much on its way as is allowed. In the others some have little: of one bound, or of all.
fn flow(draws: &mut Draws, masters: usize, pace: &Pace) -> Vec<FlowPlan> {
    if percent(draws, 65) {
        return Vec::new();
    }
    let same = percent(draws, 50);
    let first = one_flow(draws, pace);
    let next = |_| match (same, percent(draws, 60)) {
        (true, _) => first,
        (false, true) => one_flow(draws, pace),
        (false, false) => FlowPlan::default(),
    };
    (0..masters).map(next).collect()
}

/// In most seeds only the numbers of entries count. In the others logs are short in bytes, leaders keep them for followers that
/// are behind, as long as they are not too large, and snapshots leave slowly: still fast enough for a cluster that settles.
fn log(draws: &mut Draws) -> LogPlan {
    let usual = LogPlan::default();
    let held = |draws: &mut Draws| *pick(draws, &[0, 2_000, 20_000, 200_000, limits::HELD_BYTES]);
    if percent(draws, 60) {
        let held_bytes = if percent(draws, 30) { limits::HELD_BYTES } else { 0 };
        return LogPlan { held_bytes, ..usual };
    }
    LogPlan {
        snapshot_bytes: *pick(
            draws,
            &[1, 3_000, 30_000, 200_000, usual.snapshot_bytes, usual.snapshot_bytes],
        ),
        trailing_bytes: *pick(draws, &[0, 500, 5_000, 50_000, usual.trailing_bytes, usual.trailing_bytes]),
        held_bytes: held(draws),
        snapshot_rate: *pick(draws, &[0, 100_000, 100_000, 400_000, 2_000_000, limits::SNAPSHOT_RATE]),
    }
}

/// What a follower lacks must still come to it in the time in which a cluster settles: on a slow network more goes at once.
fn one_flow(draws: &mut Draws, pace: &Pace) -> FlowPlan {
    /// Entries that a follower may lack, and bytes of a snapshot; and how long it may take until it has them.
    const BEHIND: (u64, u64) = (3_000, 2 * 1_024 * 1_024);
    const CAUGHT_UP_MS: u64 = 20_000;
    /// Bytes of a usual entry.
    const ENTRY: u64 = 300;
    let at_once = (BEHIND.0 * pace.round_ms.max(1)).div_ceil(CAUGHT_UP_MS);
    let chunk = (BEHIND.1 * pace.round_ms.max(1)).div_ceil(CAUGHT_UP_MS);
    let most = FlowPlan::default();
    let all = percent(draws, 30);
    let mut bound = |least: u64, most: u64, some: &[u64]| {
        let value = *pick(draws, some);
        if all || percent(draws, 35) { value.max(least).min(most) } else { most }
    };
    let uncommitted_bytes = bound(1, most.uncommitted_bytes, &[1, 1, 200, 1_000, 20_000]);
    let append_bytes = bound(at_once * ENTRY, most.append_bytes, &[1, 1, 500, 10_000]);
    let append_entries = bound(at_once, most.append_entries, &[1, 1, 2, 7, 100]);
    let inflight_messages = bound(1, most.inflight_messages, &[1, 1, 2, 5]);
    let inflight_bytes = bound(at_once * ENTRY, most.inflight_bytes, &[1, 400, 5_000]);
    let least = chunk.max(limits::SNAPSHOT_CHUNK_BYTES_MIN as u64);
    let snapshot_chunk_bytes = bound(least, most.snapshot_chunk_bytes, &[0, 0, 1_000, 5_000, 60_000]);
    FlowPlan {
        uncommitted_bytes,
        append_bytes,
        append_entries,
        inflight_messages,
        inflight_bytes,
        snapshot_chunk_bytes,
    }
}

pub(super) fn clock(draws: &mut Draws, drift_ppm: u32) -> ClockPlan {
    ClockPlan {
        drift_ppb: drift(draws, drift_ppm),
        offset_ms: *pick(draws, &[0, 1_000, 86_400_000, 10_000_000_000]) + draws.range(0, 10_000_000),
        wall_error_ms: draws.range(0, 600_000) as i64 - 300_000,
    }
}

/// Nothing, either bound, or something between them.
pub(super) fn drift(draws: &mut Draws, drift_ppm: u32) -> i64 {
    let most = u64::from(drift_ppm) * 1_000;
    match draws.range(0, 3) {
        0 => 0,
        1 => most as i64,
        2 => -(most as i64),
        _ => draws.range(0, 2 * most) as i64 - most as i64,
    }
}

pub(super) fn executors(seed: u64, executors: usize, slots: u32, pace: &Pace) -> ExecutorsPlan {
    let mut draws = Draws::new(seed, PART_LEASE);
    let drift_ppm = *pick(&mut draws, &[0, 100, 1_000, 20_000]);
    let (ttl, check, kill) = match draws.range(0, 9) {
        0 => (draws.range(200, 400), draws.range(5, 20), draws.range(5, 50)),
        1 => (draws.range(8_000, 20_000), draws.range(200, 1_000), draws.range(500, 3_000)),
        _ => (draws.range(800, 4_000), draws.range(20, 200), draws.range(50, 500)),
    };
    // Some heartbeats must be answered before it ends, also while a leader is found, and by way of another master: three rounds,
    // for which an agent waits a quarter of it.
    let ttl = ttl.max(16 * pace.round_ms);
    let mut plan = ExecutorsPlan {
        clocks: (0..executors).map(|_| clock(&mut draws, drift_ppm)).collect(),
        slots,
        heartbeat_ms: (ttl / draws.range(4, 12)).max(limits::HEARTBEAT_GAP_MS),
        lease_ms: [ttl, 0, check, kill],
        drift_ppm,
        session_ms: 0,
    };
    least_grace(&mut plan);
    plan.lease_ms[1] += if percent(&mut draws, 50) { 0 } else { draws.range(0, 1_000) };
    plan
}

/// A leader that takes one entry at a time needs a round for each: all executors must be registered, and have their tasks placed,
/// before the first one's lease ends.
pub(super) fn lease_for(flow: &[FlowPlan], plan: &mut ExecutorsPlan, pace: &Pace) {
    /// Less than this holds one usual entry, or few.
    const FEW_BYTES: u64 = 2_000;
    /// Entries that an executor needs while it comes and goes.
    const ENTRIES: u64 = 6;
    const MOST_MS: u64 = 20_000;
    if flow.iter().all(|flow| flow.uncommitted_bytes >= FEW_BYTES) {
        return;
    }
    let least = (plan.clocks.len() as u64 * ENTRIES * pace.round_ms.max(1)).min(MOST_MS);
    if plan.lease_ms[0] < least {
        let grace = plan.lease_ms[1];
        plan.lease_ms[0] = least;
        least_grace(plan);
        plan.lease_ms[1] = plan.lease_ms[1].max(grace);
    }
}

/// The least grace that is safe, which is itself part of what it must cover: it settles after a few rounds.
pub(super) fn least_grace(plan: &mut ExecutorsPlan) {
    for _ in 0..6 {
        let least = plan.lease().grace_min() + Duration::from_micros(999);
        plan.lease_ms[1] = u64::try_from(least.as_millis()).unwrap_or(u64::MAX) + 1;
    }
}
