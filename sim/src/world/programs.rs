//! Which program each master runs, and the operator who upgrades them and goes back.
//!
//! The operator goes back only as the cluster says that it can be done: the level is held, every master has lowered it, and the
//! master's own data needs no more. Once somebody was asked to let it rise, nobody goes back any more: nobody can know when that
//! is carried out.

use super::{Event, MILLISECOND, World};
use crate::{marks::SimMark, network::Endpoint, oracle::Rule, plan::Operation};
use quorate_core::{
    identity::Standing,
    level::{FEATURE_LEVEL, FIRST_LEVEL},
    state::State,
    types::Index,
};
use std::collections::BTreeSet;

/// How long it takes until a program that is too old is replaced.
const REPLACED_AFTER: u64 = 100 * MILLISECOND;

/// The feature level as it was carried out last anywhere.
pub(super) struct Levels {
    level: u32,
    most: u32,
    at: Index,
    /// Masters that were members when the level rose last.
    counted: BTreeSet<usize>,
    /// Somebody was asked to let it rise.
    released: bool,
}

impl Default for Levels {
    fn default() -> Self {
        Self { level: FIRST_LEVEL, most: 0, at: Index(0), counted: BTreeSet::new(), released: false }
    }
}

impl Levels {
    /// That of a cluster which begins with this state and these masters. Nobody goes back any more.
    pub(super) fn of(state: &State, masters: &[usize]) -> Self {
        let (level, most) = (state.feature_level(), state.level_record().most);
        Self { level, most, at: state.index(), counted: masters.iter().copied().collect(), released: true }
    }
}

impl World {
    /// A node was stepped: perhaps it is the first to carry out another level.
    pub(super) fn follow_level(&mut self, at: usize) {
        let Some(node) = &self.masters[at].node else { return };
        let (level, most, index) =
            (node.state().feature_level(), node.state().level_record().most, node.state().index());
        let old = (self.levels.level, self.levels.most);
        if (level, most) == old || index <= self.levels.at {
            return;
        }
        (self.levels.level, self.levels.most, self.levels.at) = (level, most, index);
        self.line(Endpoint::Master(at as u8), "level", || format!("{level}, held at {most}"));
        if level < old.0 {
            self.marks.hit(SimMark::LevelLowered);
        }
        if level > old.0 {
            self.marks.hit(SimMark::LevelRaised);
            let members = self.membership().members();
            self.levels.counted = members.map(|node| node.0 as usize - 1).collect();
            let old = |place: &&usize| self.masters.get(**place).is_some_and(|it| it.program < level);
            let old = self.levels.counted.iter().find(old).copied();
            self.ledger.hold(Rule::LevelKnown, old.is_none(), || {
                format!("the level is {level}, and the program of node {} knows less", old.unwrap_or(0) + 1)
            });
        }
    }

    /// A master gets another program, if an operator would do that. Whether it did.
    pub(super) fn replace_program(&mut self, place: u8, level: u32, ends: u64) -> bool {
        let master = &self.masters[usize::from(place)];
        let upgrade = level > master.program;
        if !upgrade && !self.may_go_back(usize::from(place), level) {
            self.marks.hit_if(level < master.program, SimMark::ProgramKept);
            return false;
        }
        self.marks.hit(if upgrade { SimMark::ProgramNewer } else { SimMark::ProgramOlder });
        self.masters[usize::from(place)].program = level;
        self.line(Endpoint::Master(place), "program", || format!("of level {level}"));
        self.down(place, false, ends)
    }

    fn may_go_back(&self, place: usize, level: u32) -> bool {
        let master = &self.masters[place];
        let Some(node) = &master.node else { return false };
        let lowered = self.levels.most == level && self.levels.level == level && !self.levels.released;
        level < master.program
            && lowered
            && node.state().index() >= self.levels.at
            && node.data_level() <= level
            && !master.rolled
    }

    /// Nobody starts a program that the cluster is known to be too new for.
    pub(super) fn fit_program(&mut self, at: usize) {
        let (level, master) = (self.levels.level, &mut self.masters[at]);
        if master.program < level {
            self.marks.hit(SimMark::ProgramFitted);
            master.program = level;
        }
    }

    /// A program said that it is too old for its cluster.
    pub(super) fn too_old(&mut self, place: u8) {
        let at = usize::from(place);
        // Who came later was not asked, and who lost what it knew may be what it was before.
        let raised = !self.levels.counted.is_empty();
        let expected = (raised && !self.levels.counted.contains(&at)) || self.masters[at].rolled;
        self.marks.hit(SimMark::ProgramTooOld);
        self.ledger.hold(Rule::LevelKnown, expected, || {
            format!("node {} was a member when the level rose, and its program is too old", at + 1)
        });
        let master = &mut self.masters[at];
        master.program = FEATURE_LEVEL;
        let run = master.run;
        self.queue.push(self.time + REPLACED_AFTER, Event::StartMaster { master: place, run });
    }

    /// Whether an operator would ask for this now; then it is about to be asked.
    pub(super) fn may_hold(&mut self, most: u32) -> bool {
        if most != 0 {
            return true;
        }
        let may = self.masters.iter().all(|master| master.program == FEATURE_LEVEL);
        self.levels.released |= may;
        may
    }

    /// What comes next of a client, if it would let the level rise too soon.
    pub(super) fn skips_level(&mut self, operation: &Operation) -> bool {
        let Operation::HoldLevel { most } = operation else { return false };
        let skips = !self.may_hold(*most);
        self.marks.hit_if(skips, SimMark::ReleaseSkipped);
        skips
    }

    /// What of the feature level is not as it has to be.
    pub(super) fn level_due(&self) -> Option<String> {
        let level = self.levels.level;
        let most = if self.levels.most == 0 { FEATURE_LEVEL } else { self.levels.most };
        let all: BTreeSet<usize> = self.membership().members().map(|node| node.0 as usize - 1).collect();
        let heard = |place: &usize| {
            // Whose directory was lost, or who takes no part, says nothing that a leader counts.
            let hears = |it: &&crate::master::Master| {
                let takes_part =
                    it.node.as_ref().is_some_and(|node| *node.identity().standing() == Standing::Member);
                !it.outside && it.intact() && takes_part && self.hears_its_leader(it)
            };
            self.masters.get(*place).filter(hears).is_some_and(|it| it.program >= most)
        };
        if level > most || (level < most && all.iter().all(heard)) {
            return Some(format!("the feature level is {level}, and is to be {most}"));
        }
        let behind = self.masters.iter().find(|master| {
            let needs = master.node.as_ref().map_or(0, quorate_core::Node::data_level);
            // Whose directory was lost or went back in time is told of nothing.
            !master.outside && master.intact() && needs > level && all.contains(&usize::from(master.place))
        });
        behind.map(|master| format!("the data of node {} needs more than level {level}", master.id))
    }
}
