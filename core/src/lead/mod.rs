//! What only a leader does, and forgets when it is deposed. It reads the state and proposes commands; it changes nothing.
//!
//! * [`clock`]: cluster time.
//! * [`lease`]: who was heard of, and whose lease runs out.
//! * [`dispatch`]: calls to executors, which only make sooner what heartbeats bring anyway.

pub mod clock;
pub mod dispatch;
pub mod lease;

use crate::{
    bug::{self, Bug},
    command::Command,
    contract::Config,
    fingerprint::Fingerprint,
    mark::{self, Mark},
    state::{RecordKey, State},
    trace::TraceEvent,
    types::{CallKey, ClusterTime, ExecutorId, Index, LeaseId, NodeId, Term, Time},
};
use clock::ClusterClock;
use core::time::Duration;
use dispatch::{Dispatch, OutgoingCall};
use lease::Leases;
use quorate_proto::v1 as pb;
use std::collections::BTreeMap;

/// A leader's memory.
#[derive(Clone, Debug)]
pub struct Lead {
    term: Term,
    clock: ClusterClock,
    /// Set when the first entry of the term is applied: from then on the state is whole.
    active: bool,
    leases: Leases,
    dispatch: Dispatch,
    /// Proposals of this reign that are not applied yet, by what they are for. One of a kind at a time.
    proposed: BTreeMap<Errand, Index>,
    /// Too much was uncommitted: nothing is proposed before.
    resume_at: Time,
    heartbeat: Duration,
    /// The voters that found the cluster, for as long as its log does not say who they are.
    pub founders: Vec<pb::MemberRecord>,
    /// The newest feature level that the programs of all members know; `None` while one has not said.
    pub spoken: Option<u32>,
}

/// What an internal proposal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Errand {
    /// `ExpireLeases`.
    Expire,
    /// `Place`.
    Place,
    /// `ForceCancel`.
    ForceCancel,
    /// `ReportAttempts` of one executor.
    Report(ExecutorId),
    /// `FoundMembers`.
    Found,
    /// `LeaveJoint`.
    LeaveJoint,
    /// `SetLevel`.
    Level,
    /// `KnowMember` of one.
    Know(NodeId),
    /// `RaiseAlarm` about one whose state differs.
    Differs(NodeId),
}

impl Lead {
    /// A new reign. `call_base` must be above every call key of earlier reigns of this run.
    #[must_use]
    pub fn new(config: &Config, term: Term, now: Time, time: ClusterTime, call_base: CallKey) -> Self {
        Self {
            term,
            clock: ClusterClock::new(now, time),
            active: false,
            leases: Leases::default(),
            dispatch: Dispatch::new(config.cluster, term, call_base),
            proposed: BTreeMap::new(),
            resume_at: now,
            heartbeat: config.timing.heartbeat,
            founders: Vec::new(),
            spoken: None,
        }
    }

    /// The first entry of the term is applied: every lease gets its full time.
    pub fn activate(&mut self, now: Time, state: &State) {
        mark::hit_if(state.time() > self.time(now), Mark::ClockCatchesUp);
        self.clock.rebase(now, state.time());
        self.active = true;
        mark::hit_when(|| state.leases().next().is_some(), Mark::LeasesInherited);
        for lease in state.leases() {
            if bug::planted(Bug::LeaseNoWait) {
                self.leases.grant(now, &pb::Lease { ttl_ms: 0, ..*lease });
            }
            self.leases.grant(now, lease);
        }
    }

    /// Whether the state is whole.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.active
    }

    /// The cluster's time by this leader's clock.
    #[must_use]
    pub fn time(&self, now: Time) -> ClusterTime {
        self.clock.at(now)
    }

    /// This node did not run for `late`: whoever had to be heard in that time gets it back.
    pub fn forgive(&mut self, late: Duration) {
        self.leases.extend_all(late);
    }

    /// An entry was applied that touched these records. `session` is that of the request that it answered.
    pub fn applied(&mut self, now: Time, state: &State, touched: &[RecordKey]) {
        let stuck = |errand: &Errand| match errand {
            Errand::Expire => bug::planted(Bug::LeaseEndsOnce),
            Errand::Place => bug::planted(Bug::JobPlacedOnce),
            Errand::ForceCancel
            | Errand::Report(_)
            | Errand::Found
            | Errand::LeaveJoint
            | Errand::Level
            | Errand::Know(_)
            | Errand::Differs(_) => false,
        };
        self.proposed.retain(|errand, index| *index > state.index() || stuck(errand));
        // There is room: what is put off comes before what clients ask next.
        self.resume_at = self.resume_at.min(now);
        if !self.active {
            return;
        }
        for key in touched {
            match key {
                RecordKey::Lease(id) => match state.lease(*id) {
                    Some(lease) => self.leases.grant(now, lease),
                    None => self.leases.forget(*id),
                },
                RecordKey::Task(key) => self.dispatch.task_changed(state, key),
                RecordKey::Job(id) => self.dispatch.job_changed(state, id),
                RecordKey::Executor(_) | RecordKey::Level | RecordKey::Membership | RecordKey::Alarm(_) => {}
            }
        }
    }

    /// A holder was heard of at `heard`, and since then a majority has confirmed that this node leads. Whether the
    /// lease still stands; one whose end is proposed does not.
    pub fn renew(&mut self, id: LeaseId, heard: Time) -> bool {
        self.leases.renew(id, heard)
    }

    /// What is due: commands to propose, each with its errand. The caller says with [`proposed`](Self::proposed) which
    /// were taken.
    #[must_use]
    pub fn due(&mut self, now: Time, state: &State) -> Vec<(Errand, Command)> {
        let mut due = Vec::new();
        if !self.is_ready(now) {
            return due;
        }
        let time = self.time(now);
        mark::hit_when(
            || {
                self.proposed.contains_key(&Errand::Expire)
                    && self.leases.next_end().is_some_and(|end| end <= now)
            },
            Mark::ExpiryWaits,
        );
        let free = |lead: &Self, errand| !lead.proposed.contains_key(&errand);
        if free(self, Errand::Expire) {
            let leases = self.leases.expired(now);
            mark::hit_if(leases.len() > 1, Mark::ExpirySeveral);
            if !leases.is_empty() {
                due.push((Errand::Expire, Command::ExpireLeases { leases }));
            }
        }
        if free(self, Errand::ForceCancel) && !bug::planted(Bug::JobForcedNever) {
            let jobs = state.overdue_cancels(time);
            if !jobs.is_empty() {
                mark::hit(Mark::CancelOverdue);
                due.push((Errand::ForceCancel, Command::ForceCancel { jobs }));
            }
        }
        due.extend(self.members_due(state));
        due.extend(self.level_due(state));
        if free(self, Errand::Place) && state.can_place(time) {
            mark::hit(Mark::PlaceProposed);
            due.push((Errand::Place, Command::Place));
        }
        due
    }

    /// What is to be done about who takes part.
    fn members_due(&self, state: &State) -> Option<(Errand, Command)> {
        let due = match state.members() {
            None if !self.founders.is_empty() => {
                (Errand::Found, Command::FoundMembers { members: self.founders.clone() })
            }
            Some(members) if members.membership().leaves_itself() && !bug::planted(Bug::JointNotLeft) => {
                (Errand::LeaveJoint, Command::LeaveJoint)
            }
            None | Some(_) => return None,
        };
        self.is_free(due.0).then_some(due)
    }

    /// The level rises as far as all members' programs and the operator let it, and is lowered only by the operator.
    fn level_due(&self, state: &State) -> Option<(Errand, Command)> {
        let (level, most) = (state.feature_level(), state.level_record().most);
        let most = if most == 0 { u32::MAX } else { most };
        let target = match self.spoken {
            _ if most < level => most,
            Some(spoken) => spoken.min(most).max(level),
            None => level,
        };
        mark::hit_if(self.spoken.is_some_and(|spoken| spoken == level) && most > level, Mark::LevelWaits);
        (target != level && self.is_free(Errand::Level))
            .then_some((Errand::Level, Command::SetLevel { level: target }))
    }

    /// Whether it proposes what is due: it knows all that came before it, and what it proposed last was taken.
    #[must_use]
    pub fn is_ready(&self, now: Time) -> bool {
        self.active && now >= self.resume_at
    }

    /// Whether no proposal of this errand is on its way.
    #[must_use]
    pub fn is_free(&self, errand: Errand) -> bool {
        !self.proposed.contains_key(&errand)
    }

    /// An internal proposal was taken.
    pub fn proposed(&mut self, errand: Errand, command: &Command, index: Index) -> Vec<TraceEvent> {
        self.proposed.insert(errand, index);
        let Command::ExpireLeases { leases } = command else { return Vec::new() };
        self.leases.end_proposed(leases);
        leases.iter().map(|&lease| TraceEvent::LeaseMissed { lease }).collect()
    }

    /// A proposal was not taken, because too much is uncommitted: the next try is when something of it is applied, or a
    /// heartbeat later.
    pub fn not_taken(&mut self, now: Time) {
        self.resume_at = now + self.heartbeat;
    }

    /// What an executor reports that is worth an entry, unless one is on its way.
    #[must_use]
    pub fn report(&self, state: &State, request: &pb::HeartbeatRequest) -> Option<(Errand, Command)> {
        let executor = ExecutorId(request.executor);
        let errand = Errand::Report(executor);
        if self.proposed.contains_key(&errand) {
            mark::hit(Mark::ReportWaits);
            return None;
        }
        let reports = state.news(executor, &request.reports);
        let incarnation = crate::types::Incarnation(request.incarnation);
        (!reports.is_empty()).then_some((errand, Command::ReportAttempts { executor, incarnation, reports }))
    }

    /// When something is due though nothing happens.
    #[must_use]
    pub fn next_deadline(&self, state: &State) -> Time {
        if !self.active {
            return Time::FAR;
        }
        let lease = if self.proposed.contains_key(&Errand::Expire) { None } else { self.leases.next_end() };
        let backoff = if self.proposed.contains_key(&Errand::Place) { None } else { state.next_backoff() };
        let waits = self.proposed.contains_key(&Errand::ForceCancel);
        let cancel =
            if waits || bug::planted(Bug::JobForcedNever) { None } else { state.next_cancel_deadline() };
        let by_time = [backoff, cancel].into_iter().flatten().min().map(|time| self.clock.when(time));
        [lease, by_time].into_iter().flatten().min().map_or(Time::FAR, |at| at.max(self.resume_at))
    }

    /// Calls that are to be made.
    pub fn next_call(&mut self, state: &State) -> Option<OutgoingCall> {
        if self.active { self.dispatch.next_call(state) } else { None }
    }

    /// A call ended. A command if the executor refused for good.
    pub fn call_done(&mut self, key: CallKey, reply: Option<&pb::ExecutorCallReply>) -> Option<Command> {
        self.dispatch.done(key, reply)
    }

    /// See [`Fingerprint`].
    pub fn fingerprint(&self, now: Time, print: &mut Fingerprint) {
        print.add((self.term, self.active, &self.dispatch, &self.proposed, self.time(now)));
        print.add_time(self.resume_at);
        self.leases.fingerprint(print);
    }

    /// Above every call key of this reign.
    #[must_use]
    pub const fn call_base(&self) -> CallKey {
        self.dispatch.next_key()
    }

    /// The term that is led.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.term
    }
}
