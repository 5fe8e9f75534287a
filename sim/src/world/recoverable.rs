//! Whether a cluster that did not become whole could have: a stall is called a violation only if it could.

use super::World;
use quorate_core::types::NodeId;
use quorate_proto::v1::{self as pb, client_reply::Body, client_request::Body as Ask};
use std::collections::BTreeSet;

/// A master of the core, as it really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreMaster {
    /// Nothing was taken from its directory, and it can start.
    pub intact: bool,
}

/// What there is to become whole with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Means {
    /// All masters of the cluster, in the core or not.
    pub voters: usize,
    /// The masters of the core.
    pub masters: Vec<CoreMaster>,
    /// Whether every directory knows the voters: before that, all of them are needed.
    pub begun: bool,
    /// Executors of the core.
    pub executors: usize,
    /// Slots of each of them.
    pub slots: u32,
    /// Slots that a task of each open job needs.
    pub open: Vec<u32>,
}

/// Whether all of it can become whole.
///
/// # Errors
/// What is missing.
pub fn recoverable(means: &Means) -> Result<(), String> {
    let intact = means.masters.iter().filter(|master| master.intact).count();
    let needed = means.voters / 2 + 1;
    if intact < needed {
        return Err(format!("{intact} masters with intact disks are left: {needed} are needed"));
    }
    if !means.begun && means.masters.len() < means.voters {
        let (left, all) = (means.masters.len(), means.voters);
        return Err(format!(
            "the cluster has not begun everywhere: {left} of the {all} masters that it needs are left"
        ));
    }
    if means.open.is_empty() {
        return Ok(());
    }
    if means.executors == 0 {
        return Err(format!("{} jobs are open, and no executor is left", means.open.len()));
    }
    if let Some(slots) = means.open.iter().find(|slots| **slots > means.slots) {
        return Err(format!("a task needs {slots} slots: each executor has {}", means.slots));
    }
    Ok(())
}

impl World {
    /// What is really there.
    pub(super) fn means(&self) -> Means {
        let core = self.core();
        let members = self.membership();
        let votes = |place: &&u8| members.is_voter(NodeId(u64::from(**place) + 1));
        let open = self.open_jobs().into_iter().map(|(id, ..)| self.slots_of(&id)).collect();
        Means {
            voters: members.all_voters().collect::<BTreeSet<_>>().len(),
            masters: core
                .masters
                .iter()
                .filter(votes)
                .map(|&place| &self.masters[usize::from(place)])
                .map(|master| CoreMaster { intact: master.intact() && !master.gone })
                .collect(),
            begun: self.known_to_all(),
            executors: core.executors.len(),
            slots: self.plan.executors.slots,
            open,
        }
    }

    fn slots_of(&self, id: &str) -> u32 {
        let ask = pb::GetJobRequest { id: id.to_owned(), ..pb::GetJobRequest::default() };
        let reply =
            self.newest().map(|node| node.state().query(&pb::ClientRequest { body: Some(Ask::GetJob(ask)) }));
        let Some(Some(Body::Job(status))) = reply.map(|reply| reply.body) else { return 1 };
        status.job.and_then(|job| job.specification).map_or(1, |what| what.slots_per_task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(intact: usize, lost: usize, voters: usize) -> Means {
        let masters = (0..intact + lost).map(|place| CoreMaster { intact: place < intact }).collect();
        Means { voters, masters, begun: true, executors: 1, slots: 2, open: vec![1] }
    }

    #[test]
    fn a_majority_of_intact_disks_is_needed() {
        assert_eq!(recoverable(&means(2, 0, 3)), Ok(()));
        assert_eq!(recoverable(&means(2, 1, 3)), Ok(()));
        assert!(recoverable(&means(1, 2, 3)).unwrap_err().contains("1 masters with intact disks"));
        assert!(recoverable(&means(2, 0, 4)).is_err());
        assert_eq!(recoverable(&means(1, 0, 1)), Ok(()));
    }

    #[test]
    fn a_cluster_that_has_not_begun_needs_all_masters() {
        let early = |intact| Means { begun: false, ..means(intact, 0, 3) };
        assert!(recoverable(&early(2)).unwrap_err().contains("2 of the 3"));
        assert_eq!(recoverable(&early(3)), Ok(()));
    }

    #[test]
    fn open_jobs_need_an_executor_with_room() {
        let executors = |executors, open| Means { executors, open, ..means(2, 0, 3) };
        assert!(recoverable(&executors(0, vec![1])).unwrap_err().contains("no executor"));
        assert_eq!(recoverable(&executors(0, vec![])), Ok(()));
        assert!(recoverable(&executors(3, vec![1, 5])).unwrap_err().contains("needs 5 slots"));
    }
}
