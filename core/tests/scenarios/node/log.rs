//! What goes into a node's log, and what comes of it.

use super::{Node, Packet};
use crate::{
    entry::{Content, Transition},
    text::Level,
};
use bytes::Bytes;
use quorate_core::{
    contract::{Entry, LogPosition},
    raft::{ProposeError, Role},
    types::Index,
};

/// Why a proposal was not taken.
pub(crate) struct Dropped;

impl Node {
    /// A proposal; a change of the membership that is not allowed leaves an empty entry.
    pub(crate) fn propose(&mut self, content: Content) -> Result<(), Dropped> {
        if self.raft.role() != Role::Leader {
            let to = self.raft.leader().ok_or(Dropped)?;
            let packet = Packet::Forward { from: self.id, to, data: content.encode() };
            self.outbox.push(packet);
            return Ok(());
        }
        let data = match content {
            Content::Normal(_) => content.encode(),
            _ if !self.options.validates => content.encode(),
            change => match self.propose_change(change) {
                Ok(()) => return Ok(()),
                Err(why) => {
                    self.lines.push((
                        Level::Info,
                        format!("{} ignores a change of the membership: {why}", self.id),
                    ));
                    Bytes::new()
                }
            },
        };
        self.step(|raft| raft.propose(data)).map(|_| ()).map_err(|_| Dropped)
    }

    /// Nothing is proposed if it fails.
    fn propose_change(&mut self, change: Content) -> Result<(), String> {
        let membership = self.raft.membership();
        if membership.is_joint() && !change.leaves() {
            return Err(format!("at config {membership}: must transition out of joint config first"));
        }
        if !membership.is_joint() && change.leaves() {
            return Err(format!("at config {membership}: not in joint state; refusing empty conf change"));
        }
        let data = change.encode();
        match self.step(|raft| raft.propose_change(data)) {
            Ok(_) => Ok(()),
            Err(ProposeError::ChangePending) if self.waits_for_first() => {
                self.retries.push_back(change);
                Ok(())
            }
            Err(_) => Err("the change before is not applied yet".to_owned()),
        }
    }

    /// Whether only the first entry of the term is in the way of a change.
    fn waits_for_first(&self) -> bool {
        let applied = self.raft.applied_index();
        self.retries.is_empty() && self.raft.first_of_term() == Some(applied.next())
    }

    pub(super) fn apply(&mut self, entries: &[Entry]) {
        for entry in entries {
            let content = Content::of(entry);
            let text = if let Content::Normal(text) = &content { text.as_str() } else { "" };
            let changed = match content.changed(self.raft.membership()) {
                Some(Err(error)) => {
                    self.lines
                        .push((Level::Error, format!("{} can not apply {}: {error}", self.id, entry.index)));
                    None
                }
                Some(Ok(membership)) => Some(membership),
                None => None,
            };
            let index = entry.index;
            match changed {
                Some(membership) => self.step(|raft| {
                    raft.follow(index, membership, true);
                    raft.resign_if_removed();
                }),
                None => self.step(|raft| raft.applied(index)),
            }
            let state = self.newest().followed_by(entry.term, index, self.raft.membership(), text);
            self.raft.snapshot_saved(state.at);
            self.history.push(state);
        }
    }

    /// Entries are applied: what waited for them is proposed.
    pub(crate) fn applied(&mut self) {
        if self.raft.role() != Role::Leader {
            self.retries.clear();
            return;
        }
        if self.raft.first_of_term().is_some_and(|first| self.raft.applied_index() >= first) {
            for change in std::mem::take(&mut self.retries) {
                let _ = self.propose(change);
            }
        }
        if self.raft.membership().is_joint() && self.raft.membership().leaves_itself() {
            let leave = Content::ConfChangeV2(Transition::Auto, Vec::new()).encode();
            if self.step(|raft| raft.propose_change(leave)).is_ok() {
                let membership = self.raft.membership().to_string();
                let line = format!("initiating automatic transition out of joint configuration {membership}");
                self.lines.push((Level::Info, line));
            }
        }
    }

    /// The log begins behind an entry from now on.
    ///
    /// # Errors
    /// It is no entry that may be the last of those that are gone.
    pub(crate) fn compact(&mut self, index: Index) -> Result<(), String> {
        if index <= self.disk.start().index {
            return Err("requested index is unavailable due to compaction".to_owned());
        }
        if index > self.disk.last() || index > self.raft.applied_index() {
            return Err(format!(
                "compact {index} is out of bound: applied are the entries up to {}",
                self.raft.applied_index()
            ));
        }
        let term = self.raft.term_at(index).unwrap_or_default();
        let mut cut = None;
        self.step(|raft| cut = raft.compact(index));
        if cut != Some(index) {
            return Err(format!(
                "compact {index} must wait: on the disk are the entries up to {}",
                self.disk.last()
            ));
        }
        self.disk.start_at(LogPosition { term, index });
        Ok(())
    }
}
