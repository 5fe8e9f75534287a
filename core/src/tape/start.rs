//! What a node starts from, as bytes.

use super::{input::place, output::pair};
use crate::{
    codec::{CodecError, pack, unpack},
    contract::{Config, Flow, HardState, LeaseTimes, LogBytes, MemberAddress, Recovered, Timing},
    types::{ClusterId, Index, NodeId, Now, StorageId, Term, Time},
};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// What [`Node::new`](crate::Node::new) is given.
#[derive(Clone, Copy, Debug)]
pub struct StartRef<'a> {
    /// As given.
    pub config: &'a Config,
    /// As given.
    pub recovered: &'a Recovered,
    /// As given.
    pub seed: u64,
    /// As given.
    pub now: Now,
}

/// What the recorded node was given.
#[derive(Clone, Debug)]
pub struct Start {
    /// The version of the program that recorded it.
    pub version: String,
    /// As given.
    pub config: Config,
    /// As given.
    pub recovered: Recovered,
    /// As given.
    pub seed: u64,
    /// As given.
    pub now: Now,
}

/// Everything but entries and snapshot. Durations are nanoseconds.
#[derive(Serialize, Deserialize)]
struct Head {
    version: String,
    cluster: ClusterId,
    node: NodeId,
    storage: StorageId,
    members: Vec<(NodeId, String, String)>,
    joins: bool,
    timing: [u64; 5],
    lease: [u64; 4],
    read_lease_drift_ppm: Option<u32>,
    drift_ppm: u32,
    snapshot_entries: u64,
    trailing_entries: u64,
    log_bytes: [u64; 3],
    flow: [u64; 6],
    snapshot_rate: u64,
    level: u32,
    hard_state: (Term, Option<NodeId>, Index),
    voters: Vec<(NodeId, StorageId)>,
    start: (u64, u64),
    seed: u64,
    time: u64,
    wall_ms: u64,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn flow_numbers(flow: &Flow) -> [u64; 6] {
    [
        flow.uncommitted_bytes,
        flow.append_bytes,
        flow.append_entries,
        flow.inflight_messages,
        flow.inflight_bytes,
        flow.snapshot_chunk_bytes,
    ]
    .map(|number| number as u64)
}

fn flow_of(numbers: [u64; 6]) -> Flow {
    let [
        uncommitted_bytes,
        append_bytes,
        append_entries,
        inflight_messages,
        inflight_bytes,
        snapshot_chunk_bytes,
    ] = numbers.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    Flow {
        uncommitted_bytes,
        append_bytes,
        append_entries,
        inflight_messages,
        inflight_bytes,
        snapshot_chunk_bytes,
    }
}

/// The start's bytes, without entries and snapshot.
pub(super) fn encode(start: &StartRef<'_>) -> Vec<u8> {
    let (config, recovered) = (start.config, start.recovered);
    let (timing, lease) = (&config.timing, &config.executor_lease);
    let hard = recovered.hard_state;
    pack(&Head {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: config.cluster,
        node: config.node,
        storage: config.storage,
        members: config
            .members
            .iter()
            .map(|(id, member)| (*id, member.peer.clone(), member.client.clone()))
            .collect(),
        joins: config.joins,
        timing: [
            timing.heartbeat,
            timing.election_min,
            timing.election_max,
            timing.disk_stall,
            timing.request_timeout,
        ]
        .map(nanos),
        lease: [lease.ttl, lease.grace, lease.check, lease.kill].map(nanos),
        read_lease_drift_ppm: timing.read_lease_drift_ppm,
        drift_ppm: lease.drift_ppm,
        snapshot_entries: config.snapshot_entries,
        trailing_entries: config.trailing_entries,
        log_bytes: [config.log_bytes.snapshot, config.log_bytes.trailing, config.log_bytes.held],
        flow: flow_numbers(&config.flow),
        snapshot_rate: config.snapshot_rate,
        level: config.level,
        hard_state: (hard.term, hard.vote, hard.commit),
        voters: recovered.voters.iter().map(|(node, storage)| (*node, *storage)).collect(),
        start: pair(recovered.start),
        seed: start.seed,
        time: start.now.time.0,
        wall_ms: start.now.wall_ms,
    })
}

/// The start in these bytes, without entries and snapshot.
pub(super) fn decode(bytes: &[u8]) -> Result<Start, CodecError> {
    let head: Head = unpack(bytes)?;
    let [heartbeat, election_min, election_max, disk_stall, request_timeout] =
        head.timing.map(Duration::from_nanos);
    let read_lease_drift_ppm = head.read_lease_drift_ppm;
    let [ttl, grace, check, kill] = head.lease.map(Duration::from_nanos);
    let member = |(id, peer, client)| (id, MemberAddress { peer, client });
    let [snapshot, trailing, held] = head.log_bytes;
    let (term, vote, commit) = head.hard_state;
    let config = Config {
        cluster: head.cluster,
        node: head.node,
        storage: head.storage,
        members: head.members.into_iter().map(member).collect(),
        joins: head.joins,
        timing: Timing {
            heartbeat,
            election_min,
            election_max,
            disk_stall,
            request_timeout,
            read_lease_drift_ppm,
        },
        executor_lease: LeaseTimes { ttl, grace, check, kill, drift_ppm: head.drift_ppm },
        snapshot_entries: head.snapshot_entries,
        trailing_entries: head.trailing_entries,
        log_bytes: LogBytes { snapshot, trailing, held },
        flow: flow_of(head.flow),
        snapshot_rate: head.snapshot_rate,
        level: head.level,
    };
    config.validate().map_err(|error| CodecError(format!("the configuration: {error}")))?;
    let recovered = Recovered {
        hard_state: HardState { term, vote, commit },
        voters: head.voters.into_iter().collect(),
        start: place(head.start),
        entries: Vec::new(),
        snapshot: None,
    };
    let now = Now { time: Time(head.time), wall_ms: head.wall_ms };
    Ok(Start { version: head.version, config, recovered, seed: head.seed, now })
}
