//! The state that a new cluster begins with, made of that of an old one: out of a snapshot, or in a directory that outlived
//! the others.
//!
//! The old cluster may have gone on behind the state that is inherited, and nobody knows what it decided there. So
//!
//! * whatever is named by the index of an entry (attempts, jobs) and whatever is counted (executors, leases) gets
//!   numbers that the old cluster never came to: a name is not given twice;
//! * every executor counts as lost: what it runs may be something that this state has never heard of. It is refused, stops its
//!   work, and registers anew;
//! * no task runs before the longest lease of an executor would have run out, so that what the old cluster placed has ended;
//! * who takes part is forgotten.

use super::{
    Members, RecordKey, State, Turn, fleet,
    hash::{Kind, digest},
};
use crate::{
    bug::{self, Bug},
    codec,
    command::Command,
    config::LeaseTimes,
    contract::Entry,
    level::FEATURE_LEVEL,
    limits::{INHERITED_IDS, INHERITED_INDEXES},
    raft::membership::Part,
    types::{
        ClusterId, ClusterTime, ExecutorId, Index, JobId, LeaseId, NodeId, Revision, SessionId, StorageId,
        TaskKey,
    },
};
use pb::{TaskState, lease::Holder};
use quorate_proto::v1 as pb;
use std::collections::BTreeSet;

/// What a new cluster takes over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inheritance {
    /// Added to the revision of the last change, so that revisions that the old cluster gave later are not given again.
    pub revisions: u64,
    /// Sessions stay, with what they were answered. Else they end, and their clients learn that it is not known what became of
    /// their last requests.
    pub sessions: bool,
    /// The only master, if it is known with its directory. Else the masters write themselves down when the cluster begins.
    pub alone: Option<pb::MemberRecord>,
}

/// Why a state cannot be inherited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {found}, and would have to grow by {by}: there are no numbers left")]
pub struct InheritError {
    /// Which number.
    pub what: &'static str,
    /// Its value.
    pub found: u64,
    /// What was to be added.
    pub by: u64,
}

/// Why a directory is not the one that a cluster should go on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There was no cluster yet.
    #[error(
        "its log does not say who takes part: no cluster has begun with it, so there is nothing to recover"
    )]
    NotBegun,
    /// It is alone already.
    #[error("node {0} is the only member already: nothing has to be recovered, start it")]
    Alone(NodeId),
    /// It has no part.
    #[error(
        "node {0} is no member as far as its log says: it was removed, and may lack whatever came after that"
    )]
    NoMember(NodeId),
    /// It does not vote.
    #[error(
        "node {0} is a learner as far as its log says: it never acknowledged anything, and may lack much of what was acknowledged"
    )]
    Learner(NodeId),
    /// Another directory came in its place.
    #[error("this directory of node {0} was given up: another one came in its place, and decides")]
    GivenUp(NodeId),
}

impl Unfit {
    /// Whether an operator who has nothing better may insist.
    #[must_use]
    pub const fn may_insist(&self) -> bool {
        matches!(self, Self::NoMember(_) | Self::Learner(_) | Self::GivenUp(_))
    }
}

fn plus(what: &'static str, found: u64, by: u64) -> Result<u64, InheritError> {
    found.checked_add(by).ok_or(InheritError { what, found, by })
}

impl State {
    /// Carries out entries of a log behind what the state holds, in order; others are passed over.
    ///
    /// # Errors
    /// An entry that cannot be read, with its place. The state holds everything before it then.
    pub fn replay<'a>(
        &mut self,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Result<(), (Index, codec::CodecError)> {
        for entry in entries {
            if entry.index <= self.index {
                continue;
            }
            if entry.data.is_empty() {
                self.skip(entry.index);
                continue;
            }
            let proposal = codec::decode(&entry.data).map_err(|error| (entry.index, error))?;
            if let Command::SetLevel { level } = proposal.command
                && level > FEATURE_LEVEL
                && self.takes_level(level)
            {
                let why = format!("feature level {level}: this program knows up to {FEATURE_LEVEL}");
                return Err((entry.index, codec::CodecError(why)));
            }
            self.apply(&super::ApplyContext { index: entry.index }, proposal);
        }
        Ok(())
    }

    /// Whether a cluster may go on with only this node, which holds this state in this directory.
    ///
    /// # Errors
    /// Why not.
    pub fn check_survivor(&self, node: NodeId, storage: StorageId) -> Result<(), Unfit> {
        let members = self.members().ok_or(Unfit::NotBegun)?;
        let membership = members.membership();
        if membership.members().eq([node]) && !membership.is_joint() {
            return Err(Unfit::Alone(node));
        }
        let record = members.get(node).ok_or(Unfit::NoMember(node))?;
        // The others learn of its directory only when a leader has heard of it.
        if record.given_up.contains(&storage.0) || (record.storage != 0 && record.storage != storage.0) {
            return Err(Unfit::GivenUp(node));
        }
        match membership.part(node) {
            Part::Voter => Ok(()),
            Part::Learner => Err(Unfit::Learner(node)),
            Part::None => Err(Unfit::NoMember(node)),
        }
    }

    /// This state as a new cluster begins with it.
    ///
    /// # Errors
    /// A number that cannot grow any more.
    pub fn inherited(mut self, what: &Inheritance) -> Result<Self, InheritError> {
        let again = bug::planted(Bug::HeirNumbersAgain);
        let (indexes, ids) = if again { (1, 0) } else { (INHERITED_INDEXES, INHERITED_IDS) };
        let index = Index(plus("the index", self.index.0, indexes)?);
        let mut counters = self.counters;
        counters.executors = plus("the number of executors", counters.executors, ids)?;
        counters.leases = plus("the number of leases", counters.leases, ids)?;
        let revision = Revision(plus("the revision", self.business.revision().0, what.revisions)?);
        let records =
            Revision(plus("the records' revision", self.records.frame().revision().0, what.revisions)?);
        // Leases are given by none of what follows.
        self.counters = counters;
        let hold = self.hold();
        let changes = self.members().map_or(0, Members::changes);
        let mut turn = Turn {
            index,
            time: self.time,
            wall_ms: 0,
            level: &mut self.feature_level,
            counters: &mut self.counters,
            records: &mut self.records,
            trace: Vec::new(),
            touched: BTreeSet::new(),
        };
        for lease in leases(&turn) {
            let holder = turn.records.tables().leases.get(lease).and_then(|lease| lease.holder);
            match holder {
                Some(Holder::Session(_)) if what.sessions && !bug::planted(Bug::HeirSessionsLost) => continue,
                Some(Holder::Session(session)) => self.requests.close(SessionId(session)),
                Some(Holder::Executor(_)) if bug::planted(Bug::HeirExecutorsStay) => {}
                Some(Holder::Executor(executor)) => fleet::gone(&mut turn, ExecutorId(executor), true),
                None => {}
            }
            turn.delete(&RecordKey::Lease(lease));
        }
        if !bug::planted(Bug::HeirPlacesAtOnce) {
            put_off(&mut turn, hold);
        }
        let alarms: Vec<_> = turn.records.tables().alarms.iter().map(|alarm| NodeId(alarm.node)).collect();
        alarms.into_iter().for_each(|node| turn.delete(&RecordKey::Alarm(node)));
        turn.delete(&RecordKey::Membership);
        if let Some(record) = &what.alone {
            turn.put_membership(Members::alone(record.clone(), index, changes));
        }
        self.index = index;
        self.business.raise(revision);
        self.records.raise(records);
        Ok(self)
    }

    /// The id of a cluster that begins with this state, which was [inherited](Self::inherited) from another one. `configured`:
    /// the id that its masters would have by their settings. `salt` tells apart what else is equal.
    #[must_use]
    pub fn heir(&self, of: ClusterId, configured: ClusterId, salt: u64) -> ClusterId {
        let state = self.hash().0.to_le_bytes();
        let hash = digest(Kind::Heir, &[of.0, configured.0, salt], &[&state]);
        ClusterId(u64::try_from(hash >> u64::BITS).unwrap_or(0).max(1))
    }

    /// When every lease of an executor has run out that the old cluster may have given.
    fn hold(&self) -> ClusterTime {
        let default = LeaseTimes::default();
        let default = u64::try_from((default.ttl + default.grace).as_millis()).unwrap_or(u64::MAX);
        let given = self.leases().filter(|lease| matches!(lease.holder, Some(Holder::Executor(_))));
        let given = given.map(|lease| lease.ttl_ms.saturating_add(lease.grace_ms));
        self.time.plus_ms(given.fold(default, u64::max))
    }
}

fn leases(turn: &Turn<'_>) -> Vec<LeaseId> {
    turn.records.tables().leases.iter().map(|lease| LeaseId(lease.id)).collect()
}

/// No task that waits is placed before this time.
fn put_off(turn: &mut Turn<'_>, until: ClusterTime) {
    let tables = turn.records.tables();
    let jobs: Vec<JobId> = tables.jobs.jobs().map(|(id, _)| id.clone()).collect();
    for job in jobs {
        let waits = |(_, task): &(&TaskKey, &pb::Task)| {
            task.state() == TaskState::Pending && task.not_before_ms < until.0
        };
        let tasks = turn.records.tables().jobs.tasks(&job, 0).filter(waits);
        let tasks: Vec<_> = tasks.map(|(key, task)| (key.clone(), task.clone())).collect();
        for (key, task) in tasks {
            turn.put_task(&key, pb::Task { not_before_ms: until.0, ..task });
        }
    }
}
