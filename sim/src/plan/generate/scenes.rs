//! What happens seldom by itself: each seed has some of these scenes in it, most have none.

use super::{
    PART_ATLAS, PART_SCENES, directories,
    knobs::{Pace, least_grace},
    members, percent, pick, reigns, upgrades,
};
use crate::plan::{
    Atlas, ClientPlan, DiskPlan, Fault, FaultKind, JobPlan, LogPlan, Look, MessageKind, Operation, Plan,
    PlannedOperation, SeldomPlan, Way, Wrong,
};
use quorate_core::{limits, random::Draws};

/// Puts one scene into a plan.
type Scene = fn(&mut Draws, &mut Plan) -> Vec<Fault>;

/// Each scene, and in how many seeds of a thousand it is.
const SCENES: &[(u64, Scene)] = &[
    (60, wrong),
    (60, pages),
    (150, looks),
    (20, edges),
    (15, large),
    (8, crowd),
    (8, flood),
    (250, moods),
    (15, wide),
    (60, made_ids),
    (70, again),
    (35, overtaken),
    (100, late_calls),
    (20, lonely),
    (25, leaving),
    (50, short_sessions),
    (30, transfers),
    (30, old_calls),
    (30, overtaken_loads),
    (200, members::come_and_go),
    (80, members::churn),
    (60, upgrades::next_format),
    (150, upgrades::upgrades),
    (120, reigns::handovers),
    (60, reigns::read_leases),
    (150, scrubbed),
    (30, reigns::first_reads),
    (40, reigns::promises),
    (30, reigns::behind),
    (40, directories::founder_replaced),
    (45, directories::founders_gone),
    (40, directories::two_replaced),
];

/// Adds its scenes to a plan of a seed, and answers the faults that belong to them, and whether there are to be no others:
/// what must come just so seldom does among many.
pub(super) fn add(plan: &mut Plan) -> (Vec<Fault>, bool) {
    let mut draws = Draws::new(plan.seed, PART_SCENES);
    let mut faults = Vec::new();
    for (number, (cases, scene)) in (1..).zip(SCENES) {
        let mut own = Draws::new(draws.any(), number);
        if own.range(0, 999) < *cases {
            faults.extend(scene(&mut own, plan));
        }
    }
    for client in &mut plan.clients {
        client.operations.sort_by_key(|planned| planned.at_ms);
    }
    let alone = !faults.is_empty() && percent(&mut draws, 60);
    (faults, alone)
}

/// A time of the safety phase, by which there is a leader.
pub(super) fn sometime(draws: &mut Draws, plan: &Plan) -> u64 {
    draws.range(1_000.min(plan.duration_ms), plan.duration_ms)
}

pub(super) fn client<'plan>(draws: &mut Draws, plan: &'plan mut Plan) -> &'plan mut ClientPlan {
    let place = draws.range(0, plan.clients.len() as u64 - 1) as usize;
    &mut plan.clients[place]
}

fn executor(draws: &mut Draws, plan: &Plan) -> u8 {
    draws.range(0, plan.executors.clocks.len() as u64 - 1) as u8
}

pub(super) fn planned(at_ms: u64, operation: Operation) -> PlannedOperation {
    PlannedOperation { at_ms, operation }
}

/// A job of one task that runs for so long.
fn job(id: String, run_ms: [u64; 2]) -> JobPlan {
    JobPlan { id, tasks: 1, slots: 1, run_ms, stop_timeout_ms: 1_000, ..JobPlan::default() }
}

/// Requests that must be refused.
fn wrong(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    for _ in 0..draws.range(2, 14) {
        let (at_ms, which) = (sometime(draws, plan), *pick(draws, &Wrong::ALL));
        client(draws, plan).operations.push(planned(at_ms, Operation::Invalid { which }));
    }
    Vec::new()
}

/// Short pages, one after the other, also of Quorate's own records.
fn pages(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    for _ in 0..draws.range(1, 4) {
        let at_ms = sometime(draws, plan);
        let prefix = (*pick(draws, &["", "k", "k1", "/_frame/", "/_frame/jobs/"])).to_owned();
        let (limit, count) = (draws.range(1, 2) as u32, draws.range(2, 8));
        let records = prefix.starts_with('/');
        let operations = &mut client(draws, plan).operations;
        for _ in 0..count {
            operations.push(planned(at_ms, Operation::ListPage { prefix: prefix.clone(), limit }));
        }
        if records {
            let key = format!("/_frame/jobs/job-{}", draws.range(0, 12));
            operations.push(planned(at_ms, Operation::Get { key, stale: false }));
        }
    }
    Vec::new()
}

/// Executors, jobs, tasks and keys are looked at, in short pages and in long ones.
fn looks(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    for _ in 0..draws.range(1, 4) {
        let at_ms = sometime(draws, plan);
        let limit = *pick(draws, &[0, 1, 1, 2, 3, limits::PAGE_ITEMS as u32]);
        let at = match draws.range(0, 4) {
            0 => Look::Executor { which: draws.range(0, 4) as u8 },
            1 => Look::Executors { limit },
            2 => Look::Jobs { state: draws.range(0, 5) as i32, kind: draws.range(0, 2) as i32, limit },
            3 => {
                let jobs: Vec<String> = job_ids(plan);
                let id = if jobs.is_empty() { "none".to_owned() } else { pick(draws, &jobs).clone() };
                Look::Tasks { id, from: draws.range(0, 3) as u32, limit }
            }
            _ => Look::Keys { prefix: (*pick(draws, &["", "k", "k1"])).to_owned(), limit },
        };
        let count = draws.range(1, 4);
        let operations = &mut client(draws, plan).operations;
        for _ in 0..count {
            operations.push(planned(at_ms, Operation::Look { at: at.clone() }));
        }
    }
    Vec::new()
}

fn job_ids(plan: &Plan) -> Vec<String> {
    let operations = plan.clients.iter().flat_map(|client| &client.operations);
    let id = |planned: &PlannedOperation| match &planned.operation {
        Operation::Submit { job } if !job.id.is_empty() => Some(job.id.clone()),
        _ => None,
    };
    operations.filter_map(id).collect()
}

/// What is just within its limits: the longest key, and the longest page.
fn edges(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    let at_ms = sometime(draws, plan);
    let key = "e".repeat(limits::KEY_BYTES);
    let get = || Operation::Get { key: key.clone(), stale: false };
    let page = Operation::ListPage { prefix: "e".to_owned(), limit: limits::PAGE_ITEMS as u32 };
    let operations = &mut client(draws, plan).operations;
    let put = Operation::Put { key: key.clone() };
    let delete = Operation::Delete { key: key.clone() };
    for (later, operation) in (0..).zip([put, get(), page, delete, get()]) {
        operations.push(planned(at_ms + later, operation));
    }
    Vec::new()
}

/// Values that are large make snapshots so. In the smallest chunks, one takes longer to come than the log takes to be cut
/// again, and a follower would run after it for ever.
fn large_snapshots(plan: &mut Plan) {
    const CHUNK: u64 = 64 * 1_024;
    for flow in &mut plan.masters.flow {
        flow.snapshot_chunk_bytes = flow.snapshot_chunk_bytes.max(CHUNK);
    }
}

/// A few large values at about the same time.
fn large(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    large_snapshots(plan);
    let at_ms = sometime(draws, plan);
    for _ in 0..draws.range(3, 10) {
        let key = format!("large-{}", draws.range(1, 3));
        let kib = draws.range(50, 600);
        let at_ms = at_ms + draws.range(0, 300);
        client(draws, plan).operations.push(planned(at_ms, Operation::PutLarge { key, kib }));
    }
    Vec::new()
}

/// So many clients put values of the largest size at once that appends must wait.
fn crowd(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    const CLIENTS: usize = 14;
    large_snapshots(plan);
    // All of them come before the first is acknowledged.
    plan.disk.sync_min_us = plan.disk.sync_min_us.max(8_000);
    plan.disk.sync_max_us = plan.disk.sync_max_us.max(12_000);
    let at_ms = sometime(draws, plan);
    let kib = limits::VALUE_BYTES as u64 / 1_024;
    while plan.clients.len() < CLIENTS {
        let operations = Vec::new();
        plan.clients.push(ClientPlan { operations, hoards: false, ..plan.clients[0].clone() });
    }
    for (place, client) in plan.clients.iter_mut().enumerate() {
        // The first change of a client opens its session.
        let key = format!("crowd-{}", place % 2);
        client.operations.push(planned(at_ms.saturating_sub(800), Operation::Put { key: key.clone() }));
        client.operations.push(planned(at_ms, Operation::PutLarge { key, kib }));
    }
    Vec::new()
}

/// A network and disks that keep nobody waiting.
pub(super) fn quick(plan: &mut Plan) {
    (plan.network.latency_min_us, plan.network.latency_max_us) = (100, 500);
    plan.disk = DiskPlan { sync_min_us: 50, sync_max_us: 400, load_us: 0 };
}

/// Many changes one behind the other, and a master that has to carry all of them out again.
fn flood(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    const CHANGES: usize = 1_400;
    let each = (CHANGES / plan.clients.len()).max(limits::SESSION_REPLIES) + 10;
    quick(plan);
    let at_ms = draws.range(1_000, 3_000);
    for (place, client) in plan.clients.iter_mut().enumerate() {
        client.hoards = percent(draws, 60);
        client.session_ttl_ms = 3_600_000;
        for number in 0..each {
            let key = format!("flood-{place}-{}", number % 4);
            client.operations.push(planned(at_ms, Operation::Put { key }));
        }
    }
    plan.masters.snapshot_entries = plan.masters.snapshot_entries.max(20_000);
    let mut faults = Vec::new();
    for _ in 0..draws.range(1, 3) {
        let master = draws.range(0, plan.masters.clocks.len() as u64 - 1) as u8;
        let at_ms = draws.range(at_ms.max(plan.duration_ms / 2).min(plan.duration_ms), plan.duration_ms);
        faults.push(Fault { at_ms, for_ms: draws.range(100, 2_000), kind: FaultKind::Crash { master } });
    }
    faults
}

/// Jobs whose processes cannot start, end by signals, say much, or fail again and again.
fn moods(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    for planned in plan.clients.iter_mut().flat_map(|client| &mut client.operations) {
        let Operation::Submit { job } = &mut planned.operation else { continue };
        if percent(draws, 50) {
            continue;
        }
        job.seldom = SeldomPlan {
            backoff_max_ms: *pick(draws, &[0, 100, 150, 200]),
            reset_after_ms: *pick(draws, &[0, 200, 800]),
            unstartable_ppm: *pick(draws, &[0, 0, 100_000, 400_000]),
            signal_ppm: *pick(draws, &[0, 300_000, 1_000_000]),
            message_bytes: *pick(draws, &[0, 0, 30, 3_000]),
        };
        job.fail_ppm = job.fail_ppm.max(*pick(draws, &[0, 300_000, 700_000]));
        job.max_failures = *pick(draws, &[0, 2, 8, 12]);
        if job.service && job.fail_ppm > 0 {
            job.run_ms = [100, draws.range(200, 2_000)];
        }
    }
    Vec::new()
}

/// More tasks at once than calls may wait, on executors that have room for them.
fn wide(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    let executors = plan.executors.clocks.len() as u64;
    let tasks = limits::CALLS_INFLIGHT as u64 + draws.range(20, 120);
    plan.executors.slots = (2 * tasks / executors + 1) as u32;
    let at_ms = draws.range(1_500, plan.duration_ms.max(4_000) - 2_000);
    let job = JobPlan { tasks: tasks as u32, ..job("wide".to_owned(), [5, draws.range(50, 800)]) };
    client(draws, plan).operations.push(planned(at_ms, Operation::Submit { job }));
    Vec::new()
}

/// Jobs whose ids are those that the cluster is about to make.
fn made_ids(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    let times: Vec<u64> = (0..draws.range(2, 6)).map(|_| sometime(draws, plan)).collect();
    let operations = &mut client(draws, plan).operations;
    for at_ms in times {
        let entries = draws.range(2, 3);
        let some = |id: &str| job(id.to_owned(), [5, 300]);
        // So that it knows where the log ends.
        operations.push(planned(at_ms, Operation::Get { key: "k1".to_owned(), stale: false }));
        operations.push(planned(at_ms, Operation::SubmitAhead { entries, job: some("") }));
        for _ in 1..entries {
            operations.push(planned(at_ms, Operation::Submit { job: some("") }));
        }
    }
    Vec::new()
}

/// A job is canceled by force, deleted, and submitted again, while its processes are still about to end.
fn again(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    plan.executors.slots = plan.executors.slots.max(draws.range(2, 4) as u32);
    if percent(draws, 50) {
        plan.executors.heartbeat_ms = plan.executors.lease_ms[0] / 4;
    }
    if percent(draws, 50) {
        late_calls(draws, plan);
    }
    let mut at_ms = draws.range(1_500, plan.duration_ms.max(6_000) - 4_000);
    let tasks = draws.range(1, 6) as u32;
    let operations = &mut client(draws, plan).operations;
    for _ in 0..draws.range(2, 6) {
        let id = "again".to_owned();
        let stubborn_ppm = *pick(draws, &[0, 1_000_000]);
        let job = JobPlan {
            service: percent(draws, 50),
            tasks,
            stubborn_ppm,
            stop_timeout_ms: 5_000,
            ..job(id.clone(), [5_000, 20_000])
        };
        operations.push(planned(at_ms, Operation::Submit { job }));
        at_ms += *pick(draws, &[0, 20, 100, 500]);
        operations.push(planned(at_ms, Operation::Cancel { id: id.clone(), timeout_ms: 1 }));
        for wait in [20, 20, 50] {
            at_ms += draws.range(0, wait);
            operations.push(planned(at_ms, Operation::DeleteJob { id: id.clone() }));
        }
    }
    Vec::new()
}

/// The same while one master hears the others late: who asks it is told what was desired some time ago, and calls come
/// before that.
fn overtaken(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    quick(plan);
    again(draws, plan);
    plan.masters.timing_ms = [50, 250, 450, 400, 5_000];
    plan.executors.lease_ms[0] = plan.executors.lease_ms[0].max(4_000);
    least_grace(&mut plan.executors);
    plan.executors.heartbeat_ms = 20;
    (plan.network.call_ppm, plan.network.call_late_ms) = (400_000, 1_500);
    let masters = plan.masters.clocks.len() as u8;
    let to = draws.range(0, u64::from(masters) - 1) as u8;
    let slow = |from| FaultKind::SlowLink { from, to, by_ms: 400 };
    let others = (0..masters).filter(|from| *from != to);
    others.map(|from| Fault { at_ms: 1_000, for_ms: plan.duration_ms, kind: slow(from) }).collect()
}

/// Calls to executors that come late, also when another leads.
fn late_calls(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    plan.network.call_ppm = *pick(draws, &[100_000, 400_000, 1_000_000]);
    plan.network.call_late_ms = *pick(draws, &[200, 1_500, 6_000]);
    Vec::new()
}

/// A long lease, which a cut does not outlive: what was parked waits longer than it may, and who leaves is not heard.
fn lonely(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    let Some(latest) = plan.duration_ms.checked_sub(limits::PARKED_MS + 2_000) else { return Vec::new() };
    let cut_ms = limits::PARKED_MS + draws.range(500, 4_000);
    let executors = &mut plan.executors;
    executors.lease_ms[0] = draws.range(16_000, 20_000);
    executors.heartbeat_ms = executors.lease_ms[0] / 4;
    executors.slots = executors.slots.max(4);
    least_grace(executors);
    plan.network.call_ppm = 1_000_000;
    plan.network.call_late_ms = *pick(draws, &[100, 1_000]);
    let at_ms = draws.range(2_000.min(latest), latest);
    for number in 0..draws.range(6, 16) {
        let at_ms = at_ms.saturating_sub(draws.range(0, 1_000));
        let job = job(format!("lonely-{number}"), [5, draws.range(100, 3_000)]);
        client(draws, plan).operations.push(planned(at_ms, Operation::Submit { job }));
    }
    let mut faults = Vec::new();
    for executor in 0..plan.executors.clocks.len() as u8 {
        if percent(draws, 60) {
            faults.push(Fault { at_ms, for_ms: cut_ms, kind: FaultKind::CutExecutor { executor } });
        }
        if percent(draws, 20) {
            let at_ms = at_ms + draws.range(0, 1_500);
            faults.push(Fault { at_ms, for_ms: 12_000, kind: FaultKind::AgentShutdown { executor } });
        }
    }
    faults
}

/// Agents that end while nobody hears them, for less or more than their leases.
fn leaving(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    let mut faults = Vec::new();
    for _ in 0..draws.range(2, 5) {
        let (executor, at_ms) = (executor(draws, plan), sometime(draws, plan));
        let (before, for_ms) = (draws.range(0, 100), draws.range(500, 12_000));
        let cut = FaultKind::CutExecutor { executor };
        faults.push(Fault { at_ms: at_ms.saturating_sub(before), for_ms, kind: cut });
        faults.push(Fault { at_ms, for_ms: for_ms + 6_000, kind: FaultKind::AgentShutdown { executor } });
    }
    faults
}

/// Agents whose sessions end sooner than they wait for an answer.
fn short_sessions(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    // What follows the opening must come in time when nothing is broken.
    let least = limits::SESSION_TTL_MS
        .0
        .max(10 * Pace::of(&plan.network, &plan.disk, &plan.masters.batch_us).round_ms);
    plan.executors.session_ms = draws.range(least, 2 * least);
    Vec::new()
}

/// Masters that need snapshots again and again, of which there is soon a newer one, while their chunks come late and twice.
fn transfers(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    quick(plan);
    plan.masters.timing_ms = [50, 250, 450, 400, 5_000];
    plan.masters.snapshot_entries = *pick(draws, &[1, 3, 10]);
    plan.masters.trailing_entries = 0;
    plan.masters.log.held_bytes = *pick(draws, &[0, 0, 20_000, limits::HELD_BYTES]);
    let masters: Vec<u8> = (0..plan.masters.clocks.len() as u8).collect();
    let most_ms = *pick(draws, &[20, 100, 400]);
    let late = |what| FaultKind::LateKind { from: masters.clone(), what, ppm: 600_000, most_ms };
    let whole = |kind| Fault { at_ms: 500, for_ms: plan.duration_ms, kind };
    let mut faults = vec![
        whole(late(MessageKind::Snapshot)),
        whole(late(MessageKind::SnapshotReply)),
        whole(FaultKind::Duplicate { ppm: 300_000, most_ms: 2 * most_ms }),
    ];
    let crashes = *pick(draws, &[0, 30, 90]);
    let mut at_ms = 1_500;
    while at_ms < plan.duration_ms {
        let (master, for_ms) = (*pick(draws, &masters), draws.range(300, 1_500));
        faults.push(Fault { at_ms, for_ms, kind: FaultKind::Isolate { master, way: Way::Both } });
        at_ms += for_ms;
        // It begins anew in the middle of what it is sent, and answers what is still on its way.
        if percent(draws, crashes) {
            let (after, for_ms) = (draws.range(20, 300), draws.range(10, 60));
            faults.push(Fault { at_ms: at_ms + after, for_ms, kind: FaultKind::Crash { master } });
        }
        at_ms += draws.range(300, 1_500);
    }
    faults
}

/// Followers whose disks are slow, and links that are slow for a moment, in which much is written: what was sent on them
/// comes while a snapshot, which came later and sooner, is loaded, and is not on the disk when that is done.
fn overtaken_loads(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    /// A leader takes appends for lost after three to four of its heartbeats; then a snapshot needs about so long.
    const SENT_MS: u64 = 300;
    // No leader falls because of one slow link.
    plan.masters.timing_ms = [50, 1_000, 2_000, 3_000, 5_000];
    plan.masters.snapshot_entries = draws.range(2, 8);
    plan.masters.trailing_entries = 0;
    plan.masters.log = LogPlan::default();
    plan.masters.flow.clear();
    (plan.network.latency_min_us, plan.network.latency_max_us) = (100, 500);
    let load_ms = *pick(draws, &[200, 300, 500]);
    plan.disk = DiskPlan { sync_min_us: 500, sync_max_us: 5_000, load_us: load_ms * 1_000 };
    let masters = plan.masters.clocks.len() as u64;
    let (mut faults, mut at_ms) = (Vec::new(), 2_000);
    while at_ms < plan.duration_ms && masters > 1 {
        let to = draws.range(0, masters - 1) as u8;
        let (by_ms, for_ms) = (draws.range(SENT_MS - 100, SENT_MS + load_ms), draws.range(60, 140));
        for from in (0..masters as u8).filter(|from| *from != to) {
            faults.push(Fault { at_ms, for_ms, kind: FaultKind::SlowLink { from, to, by_ms } });
        }
        let slow = FaultKind::SlowDisk { master: to, sync_ms: draws.range(400, 1_000) };
        faults.push(Fault { at_ms, for_ms: for_ms + by_ms + 300, kind: slow });
        for client in &mut plan.clients {
            for number in 0..draws.range(4, 12) {
                let key = format!("load-{}", number % 3);
                client.operations.push(planned(at_ms + number, Operation::Put { key }));
            }
        }
        at_ms += for_ms + by_ms + draws.range(1_000, 2_000);
    }
    faults
}

/// A disk goes bad again and again, and somebody reads what is on it.
fn scrubbed(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    let atlas = Atlas::choose(&mut Draws::new(plan.seed, PART_ATLAS), plan.masters.clocks.len());
    let Some(master) = atlas.one(draws).filter(|_| plan.masters.founders == 0) else { return Vec::new() };
    let (mut faults, mut at_ms) = (Vec::new(), draws.range(1_000, 3_000));
    for _ in 0..draws.range(3, 10) {
        let rot = FaultKind::Rot { master, snapshot: percent(draws, 40) };
        faults.push(Fault { at_ms, for_ms: 1, kind: rot });
        let after = draws.range(1, 1_500);
        faults.push(Fault { at_ms: at_ms + after, for_ms: 1, kind: FaultKind::Scrub { master } });
        at_ms += draws.range(500, 4_000);
        if at_ms >= plan.duration_ms {
            break;
        }
    }
    faults
}

/// Leaders that follow soon on each other, and calls that come after those of the next one.
fn old_calls(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    quick(plan);
    plan.masters.timing_ms = [50, 250, 450, 400, 5_000];
    plan.executors.lease_ms[0] = plan.executors.lease_ms[0].max(6_000);
    least_grace(&mut plan.executors);
    plan.executors.heartbeat_ms = 100;
    plan.executors.slots = plan.executors.slots.max(8);
    (plan.network.call_ppm, plan.network.call_late_ms) = (600_000, 2_500);
    let (mut faults, mut at_ms, mut number) = (Vec::new(), 1_500, 0);
    while at_ms < plan.duration_ms {
        number += 1;
        let job = JobPlan { tasks: 6, ..job(format!("old-{number}"), [200, draws.range(300, 3_000)]) };
        client(draws, plan).operations.push(planned(at_ms, Operation::Submit { job }));
        let for_ms = draws.range(600, 1_200);
        let cut = FaultKind::IsolateLeader { one_way: false, deaf: false };
        faults.push(Fault { at_ms: at_ms + draws.range(50, 500), for_ms, kind: cut });
        at_ms += draws.range(700, 2_000);
    }
    faults
}
