//! When the state is written aside, and what of the log may go then.

use super::{Node, requests::refusal};
use crate::{
    bug::{self, Bug},
    contract::{LogPosition, Output, Snapshot},
    mark::{self, Mark},
    point::Point,
    state::State,
    trace::TraceEvent,
    types::Index,
};
use quorate_proto::v1 as pb;

impl Node {
    /// The state as of the last applied entry, for whoever wants all of it. Takes constant time.
    ///
    /// # Errors
    /// While the node serves nothing, because its state may be wrong or of nobody.
    pub fn snapshot(&self) -> Result<Snapshot, pb::Refusal> {
        if let Some(alarm) = &self.alarm {
            return Err(refusal(pb::RefusalCode::Unavailable, alarm.clone()));
        }
        let index = self.state.index();
        let term = self.raft.term_at(index).ok_or_else(|| {
            refusal(pb::RefusalCode::Unavailable, "this node is taking over a state: try again")
        })?;
        Ok(Snapshot { at: LogPosition { term, index }, state: self.state.clone() })
    }

    pub(super) fn save_if_due(&mut self) {
        let index = self.state.index();
        let many = index.0.saturating_sub(self.saved.0) >= self.config.snapshot_entries;
        let large = self.unsaved_bytes >= self.config.log_bytes.snapshot && index > self.saved;
        if many || (large && !bug::planted(Bug::SnapshotBytesIgnored)) {
            mark::hit_if(self.saving.is_some(), Mark::SaveWaits);
            mark::hit_if(!many, Mark::SaveForBytes);
            self.save_unless_in_the_way();
            return;
        }
        // What the log does not hold any more needs nothing in its place.
        self.mending = self.mending.map(|through| through.min(self.raft.last_index()));
        if self.mending.is_some_and(|through| index >= through) {
            self.save();
        } else if index > self.saved && self.raft.points.fires(Point::SnapshotAtOnce) {
            self.save_unless_in_the_way();
        }
    }

    /// A snapshot takes the place of an older one: not of one that a follower is being sent, who would have to begin anew, and
    /// again, as long as clients write. The log grows meanwhile, up to its bound.
    fn save_unless_in_the_way(&mut self) {
        let in_the_way = self.raft.sends_older_snapshot() && !bug::planted(Bug::SnapshotInTheWay);
        if in_the_way && self.may_hold() && self.mending.is_none() {
            mark::hit(Mark::SaveInTheWay);
        } else {
            self.save();
        }
    }

    /// Writes the state aside, unless that is being done.
    pub(super) fn save(&mut self) {
        let index = self.state.index();
        if self.saving.is_some() {
            return;
        }
        let Some(term) = self.raft.term_at(index) else { return };
        let term = if bug::planted(Bug::SnapshotTermWrong) { self.raft.term() } else { term };
        let at = LogPosition { term, index };
        self.saving = Some(at);
        self.unsaved_bytes = 0;
        if bug::planted(Bug::SnapshotCompactsEarly) {
            self.raft.compact(at.index);
        }
        self.outputs.push_back(Output::SaveSnapshot(Box::new(Snapshot { at, state: self.state.clone() })));
    }

    pub(super) fn snapshot_saved(&mut self, at: LogPosition) {
        if self.saving != Some(at) {
            return;
        }
        if !bug::planted(Bug::NodeSnapshotOnce) {
            self.saving = None;
        }
        self.saved = self.saved.max(at.index);
        self.raft.snapshot_saved(at);
        // Some entries stay, so that a peer that is a little behind needs no snapshot.
        let few = Index(at.index.0.saturating_sub(self.config.trailing_entries));
        let small = self.raft.trailing(at.index, self.config.log_bytes.trailing);
        let index = if bug::planted(Bug::SnapshotBytesIgnored) { few } else { few.max(small) };
        let mended = self.mending.take_if(|through| *through <= at.index).is_some();
        if mended && !bug::planted(Bug::SnapshotDamageKept) {
            self.goes = self.goes.max(at.index);
        } else if bug::planted(Bug::SnapshotCompactsPast) {
            self.goes = self.goes.max(self.state.index());
        } else {
            self.releasable = self.releasable.max(index);
            if let Some(held) = self.raft.held_by_all() {
                self.cut(held.min(index));
            }
        }
        self.leave_higher_level();
    }

    /// Cuts what of the log is to go, as far as it is durable. What is left of it that may go goes as a whole, so that not each
    /// answer of a follower is a write: when nobody who answers lacks any of it, or when the log is over its bound.
    pub(super) fn release(&mut self) {
        let first = self.raft.first_index();
        let mut goes = self.goes;
        if first <= self.releasable {
            let lacked = self.raft.held_by_all().is_some_and(|held| held < self.releasable);
            let held = self.may_hold();
            mark::hit_if(lacked && !held, Mark::LogOverBound);
            if lacked && held && !bug::planted(Bug::LogNotHeld) {
                mark::hit(Mark::LogHeld);
            } else {
                goes = goes.max(self.releasable);
            }
        }
        if first <= goes {
            self.cut(goes);
        }
    }

    fn cut(&mut self, index: Index) {
        if let Some(index) = self.raft.compact(index) {
            self.trace(TraceEvent::Compacted { index });
        }
    }

    /// Whether the log may be longer than it has to be, for followers: not where a member has no more room.
    fn may_hold(&self) -> bool {
        self.raft.log_bytes() <= self.config.log_bytes.held && self.state.no_room().is_none()
    }

    /// A leader's snapshot, decoded.
    pub(super) fn snapshot_loaded(&mut self, at: LogPosition, state: Option<Box<State>>) {
        let whole = state.as_ref().is_some_and(|state| state.index() == at.index);
        if let Some(state) = &state
            && self.stops_at(state.feature_level())
        {
            return;
        }
        let installed = self.raft.snapshot_loaded(at, whole);
        let Some(mut state) = state else { return };
        let swaps = installed && !bug::planted(Bug::SnapshotNotSwapped);
        if swaps {
            core::mem::swap(&mut self.state, &mut *state);
        }
        self.outputs.push_back(Output::DropState(state));
        if swaps {
            mark::hit_if(self.saving.is_some(), Mark::InstalledWhileSaving);
            self.saved = at.index;
            self.unsaved_bytes = 0;
            self.raft.applied(at.index);
            self.follow_members(at.index);
            self.raft.forget_checkpoints();
        }
    }
}
