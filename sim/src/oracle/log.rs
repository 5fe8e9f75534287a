//! How much of the log a node keeps: what its snapshots cover leaves the log, and a leader takes no more than it may have
//! uncommitted.

use super::{Ledger, Rule};
use crate::master::Master;
use quorate_core::{Input, raft::Role, types::Index};

/// What was told to one run of a node.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    run: u64,
    /// The last entry of its newest snapshot that is on its disk.
    saved: Index,
}

/// The rules' memory.
#[derive(Default)]
pub struct Logs {
    told: Vec<Told>,
}

impl Logs {
    /// A node takes an input.
    pub fn takes(&mut self, (place, run): (usize, u64), input: &Input) {
        if self.told.len() <= place {
            self.told.resize(place + 1, Told::default());
        }
        let told = &mut self.told[place];
        if told.run != run {
            *told = Told { run, saved: Index(0) };
        }
        if let Input::SnapshotSaved { at } = input {
            told.saved = told.saved.max(at.index);
        }
    }

    /// After each step of a node. `trailing`: so many entries stay in front of a snapshot's end. `uncommitted`: bytes that
    /// a leader may have uncommitted.
    pub fn stepped(&self, ledger: &mut Ledger, master: &Master, trailing: u64, uncommitted: usize) {
        let Some(told) = self.told.get(usize::from(master.place)) else { return };
        let Some(raft) = master.node.as_ref().map(|node| node.raft()) else { return };
        let released = Index(told.saved.0.saturating_sub(trailing));
        if told.run == master.run && released.0 > 0 {
            // What is not on its own disk yet stays until it is.
            let holds = raft.first_index() > released || raft.durable_index() < released;
            ledger.hold(Rule::LogReleased, holds, || {
                format!(
                    "node {} has a snapshot of {}, and keeps its log from {} on; {} is durable",
                    master.id,
                    told.saved,
                    raft.first_index(),
                    raft.durable_index()
                )
            });
        }
        let last = raft.last_index();
        let handing = raft.role() == Role::Leader && raft.transferring().is_some();
        // What confirms a change that was on its way is empty.
        let taken = last > master.ended_at && raft.entry(last).is_some_and(|entry| !entry.data.is_empty());
        ledger.hold(Rule::HandsOverStill, !handing || !taken || !master.handed_over, || {
            format!(
                "leader {} takes entry {last} while it hands over to {:?}",
                master.id,
                raft.transferring()
            )
        });
        if raft.role() != Role::Leader || last <= master.ended_at {
            return;
        }
        let bytes = |index: Index| raft.entry(index).map_or(0, |entry| entry.data.len());
        let all: usize = (raft.commit().0 + 1..=last.0).map(|index| bytes(Index(index))).sum();
        // The first of a term is empty, and one is always taken.
        let holds = all <= uncommitted || bytes(last) == 0 || all == bytes(last);
        ledger.hold(Rule::UncommittedBounded, holds, || {
            format!(
                "leader {} takes entry {last} of {} bytes; {all} bytes are uncommitted with it, {uncommitted} is the most",
                master.id,
                bytes(last)
            )
        });
    }
}
