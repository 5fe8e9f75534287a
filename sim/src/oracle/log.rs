//! How much of the log a node keeps: what its snapshots cover leaves the log, and a leader takes no more than it may have
//! uncommitted.

use super::{Ledger, Rule};
use crate::{master::Master, plan::MastersPlan};
use quorate_core::{
    Input, Node, limits,
    raft::{Raft, Role, progress::Mode},
    types::{Index, NodeId, Time},
};

/// A log may be longer than planned while a snapshot is on its way: so many of them in all,
const LOG_SNAPSHOTS: u64 = 3;
/// and so many entries,
const LOG_SLACK: u64 = 100;
/// or so many bytes and its largest entry.
const LOG_SLACK_BYTES: u64 = 64 * 1024;

/// What was told to one run of a node.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    run: u64,
    /// The last entry of its newest snapshot that is on its disk.
    saved: Index,
    /// What that snapshot leaves of the log begins behind this entry.
    released: Index,
    /// What its log counted after the step before.
    bytes: u64,
}

/// The rules' memory.
#[derive(Default)]
pub struct Logs {
    told: Vec<Told>,
}

impl Logs {
    /// A node takes an input.
    pub fn takes(&mut self, master: &Master, input: &Input, plan: &MastersPlan) {
        let (place, run) = (usize::from(master.place), master.run);
        if self.told.len() <= place {
            self.told.resize(place + 1, Told::default());
        }
        let told = &mut self.told[place];
        if told.run != run {
            *told = Told { run, ..Told::default() };
        }
        if let (Input::SnapshotSaved { at }, Some(node)) = (input, &master.node)
            && at.index > told.saved
        {
            told.saved = at.index;
            let by_bytes = behind_newest(node.raft(), at.index, plan.log.trailing_bytes);
            let by_entries = Index(at.index.0.saturating_sub(plan.trailing_entries));
            told.released = told.released.max(by_bytes.max(by_entries));
        }
    }

    /// After each step of a node. `uncommitted`: bytes that a leader may have uncommitted.
    pub fn stepped(
        &mut self,
        ledger: &mut Ledger,
        master: &Master,
        now: Time,
        plan: &MastersPlan,
        uncommitted: usize,
    ) {
        let Some(raft) = master.node.as_ref().map(|node| node.raft()) else { return };
        let Some(told) = self.told.get_mut(usize::from(master.place)) else { return };
        // What a step takes in may bring it over its bound: the next one cuts it.
        let bytes = core::mem::replace(&mut told.bytes, raft.log_bytes()).min(raft.log_bytes());
        let released = told.released;
        // A log is cut when a batch ends.
        if told.run == master.run && released.0 > 0 && master.batch.is_none() {
            // What is not on its own disk yet stays until it is.
            let holds = raft.first_index() > released.min(raft.durable_index())
                || (bytes <= plan.log.held_bytes
                    && lacked(raft, now, plan).is_some_and(|has| has < released));
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

/// The entry before the newest ones up to `last` that count no more than so many bytes.
fn behind_newest(raft: &Raft, last: Index, bytes: u64) -> Index {
    let (mut index, mut rest) = (last, bytes);
    while let Some(entry) = raft.entry(index) {
        let size = entry.data.len() as u64 + limits::ENTRY_HEADER_BYTES;
        if size > rest {
            break;
        }
        (index, rest) = (Index(index.0 - 1), rest - size);
    }
    index
}

/// At the end of a run, when nobody lacks anything.
pub fn is_bounded(ledger: &mut Ledger, node: &Node, id: NodeId, plan: &MastersPlan) {
    let (raft, log) = (node.raft(), &plan.log);
    // What is not committed is in no snapshot.
    let (first, last) = (raft.first_index().0, raft.commit().0);
    let kept = last.saturating_sub(first);
    let most = plan.trailing_entries + LOG_SNAPSHOTS * plan.snapshot_entries + LOG_SLACK;
    let held = raft.log_bytes() <= log.held_bytes;
    ledger.hold(Rule::LogBounded, held || kept <= most, || {
        format!("node {id} keeps {kept} entries of its log; its snapshots leave at most {most}")
    });
    let sizes =
        (first..=last).filter_map(|index| raft.entry(Index(index))).map(|entry| entry.data.len() as u64);
    let (bytes, largest) = sizes.fold((0, 0), |(all, largest), size| (all + size, size.max(largest)));
    let most = log.trailing_bytes + LOG_SNAPSHOTS * log.snapshot_bytes + LOG_SLACK_BYTES + largest;
    ledger.hold(Rule::LogBounded, held || bytes <= most, || {
        format!("node {id} keeps {bytes} bytes of its log; its snapshots leave at most {most}")
    });
}

/// What all followers have that may still answer; `None`: it leads none.
fn lacked(raft: &Raft, now: Time, plan: &MastersPlan) -> Option<Index> {
    let progress = raft.membership().members().filter_map(|member| raft.progress(member));
    let answering = progress.filter(|progress| now.since(progress.active_at) <= plan.timing().election_max);
    let has = answering.map(|progress| match progress.mode {
        Mode::Snapshot { at, .. } => at.index,
        Mode::Probe { .. } | Mode::Replicate => progress.matched,
    });
    has.min()
}
