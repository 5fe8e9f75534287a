//! What this node's program knows, what its peers' programs know, and what of a higher level is left in its log.

use super::Node;
use crate::{
    bug::{self, Bug},
    command::Command,
    contract::StopReason,
    level::FIRST_LEVEL,
    mark::{self, Mark},
    types::Index,
};

impl Node {
    /// The newest level that the programs of all members know, as far as they have said so to this node since it came up or
    /// lost them; `None` while one of them has not, or one may be added that nobody has heard of.
    pub(super) fn spoken_by_all(&self) -> Option<u32> {
        if self.raft.is_changing() && !bug::planted(Bug::LevelEarly) {
            return None;
        }
        let members = self.state.members()?;
        let known = |node| match self.spoken.get(&node) {
            _ if node == self.config.node => Some(self.config.level),
            None if bug::planted(Bug::LevelEarly) => Some(self.config.level),
            known => known.copied(),
        };
        // Its own counts, also when it leads to the end of its own removal.
        let own = core::iter::once(Some(self.config.level));
        members.membership().members().map(known).chain(own).min().flatten()
    }

    /// The level that this node's proposals are written at. Whoever knows a higher one reads them all the same.
    pub(super) fn write_level(&self) -> u32 {
        // As long as a leader has not carried out what it inherited, the level may be lowered in it.
        if !self.lead.as_ref().is_some_and(crate::lead::Lead::is_active) {
            return FIRST_LEVEL;
        }
        let (level, most) = (self.state.feature_level(), self.state.level_record().most);
        // Behind the entry that lowers the level, which comes any time from here on, nobody may need to know a higher one.
        if most == 0 || bug::planted(Bug::LevelWritesHigher) { level } else { level.min(most) }
    }

    /// Whether a state at this level is more than this node's program knows; then the node stops.
    pub(super) fn stops_at(&mut self, level: u32) -> bool {
        let known = self.config.level;
        if level <= known {
            return false;
        }
        mark::hit(Mark::LevelTooOld);
        self.stop(StopReason::TooOld { level, known });
        true
    }

    /// The same of what a command would make of the state.
    pub(super) fn is_too_old(&mut self, command: &Command) -> bool {
        matches!(command, Command::SetLevel { level } if self.state.takes_level(*level) && self.stops_at(*level))
    }

    /// The level that a program must know to start with this node's data directory, and to take what it can send to others.
    #[must_use]
    pub fn data_level(&self) -> u32 {
        let record = self.state.level_record();
        let level = self.state.feature_level();
        if self.raft.first_index().0 <= record.lowered_at { level.max(record.lowered_from) } else { level }
    }

    /// Entries of a level that the cluster has left are cut off, as soon as a snapshot holds what they did.
    pub(super) fn leave_higher_level(&mut self) {
        let lowered_at = Index(self.state.level_record().lowered_at);
        let cut = self.raft.first_index() > lowered_at || self.goes >= lowered_at;
        if cut || self.stopped || bug::planted(Bug::LevelLogKept) {
            return;
        }
        if self.saved < lowered_at {
            self.save();
        } else {
            mark::hit(Mark::LevelLogCut);
            self.goes = lowered_at;
        }
    }
}
