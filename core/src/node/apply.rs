//! Carries out what is committed.

use super::{Doubt, Node};
use crate::{
    bug::{self, Bug},
    codec,
    command::Proposal,
    contract::{Entry, Output, StopReason},
    limits,
    mark::{self, Mark},
    point::Point,
    raft::log::entry_bytes,
    state::{ApplyContext, RecordKey, StateHash},
    types::{Index, JobId, NodeId},
};
use std::collections::BTreeSet;

impl Node {
    /// Applies committed entries, up to the limit of one step.
    pub(super) fn apply_committed(&mut self) {
        let mut changed = BTreeSet::new();
        let several = self.raft.commit() > self.state.index().next();
        let one = several && self.raft.points.fires(Point::ApplyOne);
        for _ in 0..if one { 1 } else { limits::APPLY_ENTRIES } {
            let index = self.state.index().next();
            let commit = match bug::planted(Bug::NodeAppliesUncommitted) {
                true => self.raft.last_index(),
                false => self.raft.commit(),
            };
            if index > commit || self.stopped {
                break;
            }
            let Some(entry) = self.raft.entry(index).cloned() else { break };
            self.apply(&entry, &mut changed);
        }
        mark::hit_if(self.state.index() < self.raft.commit() && !self.stopped, Mark::ApplyGoesOn);
        if !changed.is_empty() {
            let jobs = changed.into_iter().collect();
            self.outputs.push_back(Output::Changed { index: self.state.index(), jobs });
        }
        self.save_if_due();
        self.leave_higher_level();
    }

    fn apply(&mut self, entry: &Entry, changed: &mut BTreeSet<JobId>) {
        let index = entry.index;
        self.unsaved_bytes += entry_bytes(entry);
        if entry.data.is_empty() {
            self.state.skip(index);
            self.entry_applied(index, entry.term, None);
            self.after_entry(index, &[]);
            return;
        }
        let proposal = match codec::decode_known(&entry.data, self.config.level) {
            Ok(proposal) if bug::planted(Bug::NodeOwnClock) => {
                Proposal { wall_ms: self.now.wall_ms, ..proposal }
            }
            Ok(proposal) => proposal,
            Err(error) => {
                self.stop(StopReason::UnknownEntry { index, message: error.to_string() });
                return;
            }
        };
        if self.is_too_old(&proposal.command) {
            return;
        }
        let session = proposal.request.map(|request| request.session);
        let differed = self.named_differing();
        let applied = self.state.apply(&ApplyContext { index }, proposal);
        for event in applied.trace {
            self.trace(event);
        }
        for key in &applied.touched {
            match key {
                RecordKey::Job(job) => _ = changed.insert(job.clone()),
                RecordKey::Task(task) => _ = changed.insert(task.job.clone()),
                RecordKey::Executor(_)
                | RecordKey::Lease(_)
                | RecordKey::Level
                | RecordKey::Membership
                | RecordKey::Alarm(_) => {}
            }
        }
        if applied.touched.iter().any(|key| matches!(key, RecordKey::Alarm(_))) {
            self.heed_alarms(&differed);
        }
        self.after_entry(index, &applied.touched);
        // Whoever changes something is alive.
        if let Some(lease) = session.and_then(|session| self.state.session_lease(session))
            && let Some(lead) = &mut self.lead
        {
            lead.renew(lease, self.now.time);
        }
        self.entry_applied(index, entry.term, Some(applied.reply));
    }

    fn after_entry(&mut self, index: Index, touched: &[RecordKey]) {
        if touched.contains(&RecordKey::Membership) {
            self.follow_members(index);
        } else {
            self.raft.applied(index);
        }
        let first_of_term = self.raft.first_of_term();
        if let Some(lead) = &mut self.lead {
            if first_of_term == Some(index) {
                lead.activate(self.now.time, &self.state);
            }
            lead.applied(self.now.time, &self.state, touched);
        }
        if index.0.is_multiple_of(limits::CHECKPOINT_ENTRIES) {
            let hash = self.checkpoint_hash();
            self.raft.set_checkpoint(index, hash);
        }
    }

    /// What this node says of its state at an agreed index.
    fn checkpoint_hash(&mut self) -> StateHash {
        let hash = self.state.hash();
        match self.raft.points.fires(Point::HashWrong) {
            true => StateHash(hash.0 ^ u128::from(self.config.node.0)),
            false => hash,
        }
    }

    /// Replicas were compared at an agreed index, and this node is not to go on: it serves nothing until an operator has looked.
    /// `with`: who is right; `None`: nobody knows.
    pub(super) fn disagrees(&mut self, index: Index, with: Option<&[NodeId]>) {
        if self.alarm.is_some() {
            return;
        }
        self.doubt = Some(Doubt { index, decided: with.is_some() });
        let own = self.config.node;
        let said = match with {
            None => "states differ, and no majority agrees: the masters serve nothing".to_owned(),
            Some([]) => {
                let leader =
                    self.raft.leader().map_or_else(String::new, |leader| format!(", as node {leader} says"));
                format!("it differs from the majority's{leader}")
            }
            Some(with) => {
                let with: Vec<String> = with.iter().map(ToString::to_string).collect();
                format!("it differs from the majority's (nodes {})", with.join(", "))
            }
        };
        self.take_no_part(format!(
            "the state of node {own} at index {index}: {said}: compare with the other masters, keep the data directories of those that differ, and report it"
        ));
    }
}
