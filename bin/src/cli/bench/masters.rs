//! What the masters say that they did while they were measured.

use crate::{cluster::Cluster, output::records};
use futures::future::join_all;
use quorate_proto::v1 as pb;
use std::{collections::BTreeMap, time::Duration};

/// What each master said of itself, by its id.
pub(super) type Told = BTreeMap<u64, pb::StatusReply>;

/// Asks all that are reached.
pub(super) async fn ask(cluster: &Cluster) -> Told {
    let mut endpoints = cluster.endpoints();
    let members = cluster.members().await.map(|reply| reply.members).unwrap_or_default();
    endpoints.extend(members.into_iter().map(|member| member.client_address));
    endpoints.sort();
    endpoints.dedup();
    let answers = join_all(endpoints.iter().map(|endpoint| cluster.status(endpoint))).await;
    answers.into_iter().flatten().map(|status| (status.node, status)).collect()
}

/// The processor time of this process.
pub(super) fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// What one master did between two times.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    pub(super) node: u64,
    pub(super) role: &'static str,
    pub(super) seconds: f64,
    pub(super) work: pb::Work,
}

/// What was done between the two. A master that started meanwhile, or is missing in one of them, is left out.
pub(super) fn difference(before: &Told, after: &Told) -> Vec<Difference> {
    let one = |(node, after): (&u64, &pb::StatusReply)| {
        let (old, new) = (before.get(node)?.work?, after.work?);
        let since = |field: fn(&pb::Work) -> u64| field(&new).checked_sub(field(&old));
        let work = pb::Work {
            syncs: since(|it| it.syncs)?,
            sync_us: since(|it| it.sync_us)?,
            entries: since(|it| it.entries)?,
            bytes: since(|it| it.bytes)?,
            turns: since(|it| it.turns)?,
            inputs: since(|it| it.inputs)?,
            peer_batches: since(|it| it.peer_batches)?,
            peer_messages: since(|it| it.peer_messages)?,
            answers: since(|it| it.answers)?,
            cpu_us: since(|it| it.cpu_us)?,
            uptime_us: since(|it| it.uptime_us)?,
        };
        let seconds = work.uptime_us as f64 / 1e6;
        Some(Difference { node: *node, role: records::role(after.role), seconds, work })
    };
    after.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_told_and_a_master_that_started_anew_is_left_out() {
        let told = |numbers: &[(u64, u64)]| -> Told {
            let status = |&(node, syncs)| {
                let work = Some(pb::Work { syncs, uptime_us: syncs * 1_000_000, ..Default::default() });
                (node, pb::StatusReply { node, work, ..Default::default() })
            };
            numbers.iter().map(status).collect()
        };
        let found = difference(&told(&[(1, 3), (2, 9)]), &told(&[(1, 5), (2, 1), (3, 1)]));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].node, found[0].work.syncs), (1, 2));
        assert!((found[0].seconds - 2.0).abs() < 1e-9);
    }
}
