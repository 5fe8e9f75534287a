//! Puts the parts together; holds no rule of its own.
//!
//! One file a concern: [`peers`] takes messages in, [`requests`] finds who answers a request, [`apply`] carries out what is
//! committed, [`snapshots`] shortens the log, [`members`] follows who takes part, [`room`] keeps out what there is no room for.

mod apply;
mod differing;
mod level;
mod members;
mod peers;
mod requests;
mod room;
mod snapshots;
#[cfg(test)]
mod tests;
mod transfers;

use crate::{
    bug::{self, Bug},
    contract::{Config, Input, LogPosition, Output, Reason, Recovered, StopReason},
    fingerprint::Fingerprint,
    identity::{Identity, Standing, Verdict},
    lead::Lead,
    point::Point,
    raft::{Effect, Raft, RaftStart, Role, membership::Membership},
    state::State,
    trace::TraceEvent,
    types::{CallKey, Index, NodeId, Now, Term, Time},
};
use quorate_proto::v1 as pb;
use requests::Waiting;
use std::collections::{BTreeMap, VecDeque};

/// Why a node takes no part although nothing is wrong with its directory: replicas were compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Doubt {
    /// Where.
    pub index: Index,
    /// Whether a majority is known to have another state there; else nobody knows which one is right.
    pub decided: bool,
}

/// One master. See the [crate's first page](crate) for how to drive it.
#[derive(Clone, Debug)]
pub struct Node {
    config: Config,
    identity: Identity,
    raft: Raft,
    state: State,
    lead: Option<Lead>,
    waiting: Waiting,
    /// Above every call key used so far.
    calls: CallKey,
    /// The state that is being written aside.
    saving: Option<LogPosition>,
    /// The disk is damaged: the log is to begin behind this entry, once a snapshot covers it.
    mending: Option<Index>,
    /// Applied entries are counted from here to the next snapshot.
    saved: Index,
    /// What was applied since a snapshot was last begun counts so many bytes of the log.
    unsaved_bytes: u64,
    /// The log goes up to here as soon as that is durable, whoever lacks it. A snapshot covers it.
    goes: Index,
    /// The log may go up to here; what followers lack of it stays for a while.
    releasable: Index,
    /// What an operator has to mend; while it stands, the node serves nothing.
    alarm: Option<String>,
    doubt: Option<Doubt>,
    /// Peers that do not take this node's messages, and what they said.
    refusals: BTreeMap<NodeId, String>,
    /// The newest feature level that peers' programs know, as they said since this node came up or lost them.
    spoken: BTreeMap<NodeId, u32>,
    hello_at: Time,
    outputs: VecDeque<Output>,
    stopped: bool,
    now: Now,
}

impl Node {
    /// A node as it comes up. `config` must be [valid](Config::validate). The same arguments and the same steps give the
    /// same outputs. Drain [`poll_output`](Self::poll_output) before the first step.
    #[must_use]
    pub fn new(config: Config, recovered: Recovered, seed: u64, now: Now) -> Self {
        bug::confess();
        let members: std::collections::BTreeSet<_> = config.members.keys().copied().collect();
        let own = (config.node, config.storage);
        let identity = Identity::new(own, members.clone(), config.joins, recovered.voters, config.level);
        let snapshot = recovered.snapshot.as_ref().map(|snapshot| snapshot.at);
        // Who joined learns from the log who votes.
        let founders = if config.joins { Membership::default() } else { Membership::of(members) };
        // Its leader may have had its word for so long.
        let had_a_leader = recovered.hard_state.term > Term(0) && !bug::planted(Bug::LeaseForgotten);
        let no_vote_until = if had_a_leader { now.time + config.timing.election_min } else { now.time };
        let start = RaftStart {
            id: config.node,
            membership: founders,
            timing: config.timing,
            flow: config.flow,
            snapshot_rate: config.snapshot_rate,
            seed,
            hard_state: recovered.hard_state,
            start: recovered.start,
            entries: recovered.entries,
            snapshot,
            no_vote_until,
        };
        let mut node = Self {
            raft: Raft::new(start, now.time),
            state: recovered.snapshot.map(|snapshot| snapshot.state).unwrap_or_default(),
            identity,
            lead: None,
            waiting: Waiting::new(seed),
            calls: CallKey(1),
            saving: None,
            mending: None,
            saved: snapshot.map_or(Index(0), |at| at.index),
            unsaved_bytes: 0,
            goes: Index(0),
            releasable: Index(0),
            alarm: None,
            doubt: None,
            refusals: BTreeMap::new(),
            spoken: BTreeMap::new(),
            hello_at: now.time,
            outputs: VecDeque::new(),
            stopped: false,
            now,
            config,
        };
        if let Standing::Denied(message) = node.identity.standing().clone() {
            node.take_no_part(message);
        }
        node.stops_at(node.state.feature_level());
        let verdict = node.identity.decide();
        node.obey(verdict);
        node.tell_members();
        node.follow_members(node.state.index());
        node.finish();
        node
    }

    /// Takes one input, and carries on what it set going: the one mutation. Drain [`poll_output`](Self::poll_output) before the
    /// next.
    pub fn step(&mut self, now: Now, input: Input) {
        if self.stopped {
            return;
        }
        self.begin(now);
        self.take(input);
        self.finish();
    }

    /// The first half of [`step`](Self::step): takes an input behind which others follow at once, and carries out what is
    /// committed by it. The rest of what all of them set going is carried on together by the step that must end them: entries
    /// leave in one message to each peer, and in one write.
    pub fn feed(&mut self, now: Now, input: Input) {
        if self.stopped {
            return;
        }
        self.begin(now);
        self.take(input);
        self.drain_raft();
        if !bug::planted(Bug::NodeFedUnapplied) {
            self.apply_committed();
        }
    }

    fn begin(&mut self, now: Now) {
        // Counted once: a driver feeds all that waited during a pause before the deadline.
        let late = now.time.since(self.next_deadline().map_or(Time::FAR, |(at, _)| at.max(self.now.time)));
        self.now = Now { time: now.time.max(self.now.time), wall_ms: now.wall_ms };
        self.raft.begin_step(self.now.time);
        if late > self.config.timing.heartbeat
            && let Some(lead) = &mut self.lead
        {
            lead.forgive(late);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Deadline => {
                self.raft.deadline();
                self.waiting_due();
                self.hello_due();
            }
            Input::Peer(envelope) => self.peer(*envelope),
            Input::PeerConnected(peer) => {
                self.hello_at = self.now.time;
                self.refusals.remove(&peer);
            }
            Input::PeerRefused { peer, message } => {
                if self.config.members.contains_key(&peer) {
                    self.refusals.insert(peer, message);
                }
            }
            Input::PeerLost(peer) => {
                self.raft.peer_lost(peer);
                self.spoken.remove(&peer);
                self.forwarding_lost(peer);
            }
            Input::Request { key, request } => self.client_asked(key, *request),
            Input::RequestGone { key } => self.waiting.client_left(key),
            Input::WriteDone { io } => self.raft.write_done(io),
            Input::WriteFailed { message } => self.stop(StopReason::WriteFailed { message }),
            Input::DiskDamaged if bug::planted(Bug::SnapshotDamageIgnored) => {}
            Input::DiskDamaged => self.mending = Some(self.raft.last_index()),
            Input::SnapshotSaved { at } => self.snapshot_saved(at),
            Input::SnapshotChunkStored { at, number, last } => self.raft.chunk_stored(at, number, last),
            Input::SnapshotChunkRefused { at, number } => self.raft.chunk_refused(at, number),
            Input::SnapshotChunkRead { peer, at, number, chunk } => {
                if self.raft.chunk_read(peer, at, number, chunk) {
                    self.save();
                }
            }
            Input::SnapshotLoaded { at, state } => self.snapshot_loaded(at, state),
            Input::SnapshotTooNew { level } => _ = self.stops_at(level),
            Input::CallDone { key, reply } => self.call_done(key, reply.as_deref()),
            #[cfg(feature = "fault-points")]
            Input::FaultPoint { point, one_in } => self.raft.points.switch(point, one_in),
        }
    }

    /// Carries on what the input set going, until there is nothing left to do without another input.
    fn finish(&mut self) {
        // A cluster that was restored begins behind what it holds, and does not know its members yet either.
        if self.raft.last_index() >= self.raft.first_index() || self.state.members().is_some() {
            self.identity.holds_entries();
        }
        self.drain_raft();
        self.apply_committed();
        if self.state.index() >= self.raft.commit() {
            let verdict = self.identity.caught_up();
            self.obey(verdict);
        }
        self.serve_confirmed();
        self.lead_due();
        self.raft.start_read_round();
        self.drain_raft();
        self.serve_confirmed();
        self.raft.replicate();
        self.release();
        if let Some(write) = self.raft.take_write() {
            self.outputs.push_back(Output::Write(write));
        }
        self.drain_raft();
    }

    fn drain_raft(&mut self) {
        while let Some(effect) = self.raft.poll_effect() {
            match effect {
                Effect::Send(to, message) => self.send_raft(to, message),
                Effect::ReadConfirmed { token, index } => self.waiting.read_confirmed(token, index),
                Effect::Deposed => self.deposed(),
                Effect::MembershipConfirmed => self.changes_confirmed(),
                Effect::ReadSnapshotChunk { peer, at, number } => {
                    self.outputs.push_back(Output::ReadSnapshotChunk { peer, at, number });
                }
                Effect::StoreSnapshotChunk { at, number, data, last } => {
                    self.outputs.push_back(Output::StoreSnapshotChunk { at, number, data, last });
                }
                Effect::LoadSnapshot { at } => self.outputs.push_back(Output::LoadSnapshot { at }),
                Effect::Disagrees { index, with } => self.disagrees(index, with.as_deref()),
                Effect::Trace(event) => {
                    if let TraceEvent::LeaderElected { term } = event {
                        let time = self.state.time();
                        let mut lead = Lead::new(&self.config, term, self.now.time, time, self.calls);
                        lead.founders = self.founders();
                        self.lead = Some(lead);
                    }
                    if let TraceEvent::TransferGivenUp { to } = event {
                        self.transfer_given_up(to);
                    }
                    if let TraceEvent::LeaderElected { .. } | TraceEvent::Following { .. } = event {
                        self.leader_changed();
                    }
                    self.trace(event);
                }
            }
        }
    }

    /// What a leader has to propose.
    fn lead_due(&mut self) {
        let spoken = self.spoken_by_all();
        let Some(lead) = &mut self.lead else { return };
        lead.spoken = spoken;
        let due = lead.due(self.now.time, &self.state);
        // First: it is seldom, and must not wait behind what is always due.
        self.differing_due();
        for (errand, command) in due {
            self.propose_errand(errand, command);
        }
        while let Some(call) = self.lead.as_mut().and_then(|lead| lead.next_call(&self.state)) {
            if self.raft.points.fires(Point::CallUnmade) {
                self.call_done(call.key, None);
                continue;
            }
            let (key, address, call) = (call.key, call.address, Box::new(call.call));
            self.outputs.push_back(Output::Call { key, address, call });
        }
    }

    fn call_done(&mut self, key: CallKey, reply: Option<&pb::ExecutorCallReply>) {
        if let Some(command) = self.lead.as_mut().and_then(|lead| lead.call_done(key, reply)) {
            self.propose_internal(command);
        }
    }

    /// The reign is over: nothing that waits here for its entry or its confirmation will get it here.
    fn deposed(&mut self) {
        if let Some(lead) = self.lead.take() {
            self.calls = lead.call_base();
        }
        if bug::planted(Bug::NodeOtherEntry) {
            return;
        }
        self.fail_leader_waits();
    }

    fn obey(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Nothing => {}
            Verdict::Bootstrap(voters) => {
                // Every vote waits for the write that keeps them.
                self.raft.keep_voters(voters);
                self.raft.grant_vote_right();
                self.trace(TraceEvent::Bootstrapped);
            }
            Verdict::Join => self.raft.grant_vote_right(),
            Verdict::Deny => {
                if let Standing::Denied(message) = self.identity.standing().clone() {
                    self.take_no_part(message);
                }
            }
        }
    }

    fn take_no_part(&mut self, message: String) {
        self.raft.withdraw_vote_right();
        self.trace(TraceEvent::NoVote { message: message.clone() });
        self.alarm = Some(message);
    }

    fn stop(&mut self, reason: StopReason) {
        self.stopped = true;
        self.outputs.push_back(Output::Stop(reason));
    }

    fn trace(&mut self, event: TraceEvent) {
        self.outputs.push_back(Output::Trace(event));
    }

    /// The next output, until there is none. Never fails, never blocks.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to step with `Input::Deadline`, and why. `None` only after a stop. Ask again after each step; to step too
    /// early is harmless.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Time, Reason)> {
        if self.stopped {
            return None;
        }
        let raft = match self.raft.role() {
            Role::Leader => Reason::Heartbeat,
            Role::Follower | Role::PreCandidate | Role::Candidate => Reason::Election,
        };
        let apply = if self.raft.commit() > self.state.index() { self.now.time } else { Time::FAR };
        [
            (self.raft.next_deadline(), raft),
            (apply, Reason::Apply),
            (self.lead.as_ref().map_or(Time::FAR, |lead| lead.next_deadline(&self.state)), Reason::Lead),
            (self.waiting.next_deadline(), Reason::Request),
            (self.hello_at, Reason::Hello),
        ]
        .into_iter()
        .min()
        .filter(|(time, _)| *time < Time::FAR)
    }

    /// Equal for nodes that would behave alike from now on, whatever their clocks say. See [`Fingerprint`]. Take it when
    /// all outputs are drained.
    #[must_use]
    pub fn fingerprint(&self, now: Now) -> u64 {
        let mut print = Fingerprint::new(now.time);
        self.raft.fingerprint(&mut print);
        print.add((&self.identity, self.state.hash(), &self.alarm, &self.refusals, &self.spoken));
        print.add((self.saving, self.mending, self.saved, self.stopped, self.doubt)).add_time(self.hello_at);
        print.add((self.unsaved_bytes, self.goes, self.releasable));
        if let Some(lead) = &self.lead {
            lead.fingerprint(now.time, &mut print);
        }
        self.waiting.fingerprint(&mut print);
        print.finish()
    }

    /// Its consensus state.
    #[must_use]
    pub const fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Its replicated state, as of the last applied entry. Cloning it takes constant time.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Its place in the cluster.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Why it takes no part, if that is because replicas were compared.
    #[must_use]
    pub const fn doubt(&self) -> Option<Doubt> {
        self.doubt
    }

    /// What is wrong; empty = healthy.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        let refusals =
            self.refusals.iter().map(|(peer, said)| format!("node {peer} refuses this node: {said}"));
        let denials = self
            .identity
            .denials()
            .map(|(peer, said)| format!("node {peer} does not hear this directory: {said}"));
        let space = self.state.alarms().filter(|alarm| alarm.kind() == pb::AlarmKind::Space);
        let space = space.map(|alarm| format!("node {} has no more room: {}", alarm.node, alarm.message));
        let identity = self.identity.waits_for().into_iter().chain(denials);
        let raised = |node: NodeId| self.state.alarms().any(|alarm| differing::differs(alarm, node));
        let differing = self
            .raft
            .differing()
            .filter(|(node, _)| !raised(*node))
            .map(|(node, at)| differing::says(node, at));
        let known = self.state.alarms().filter(|alarm| alarm.kind() == pb::AlarmKind::Differs);
        let differing = differing.chain(known.map(|alarm| alarm.message.clone()));
        self.alarm.iter().cloned().chain(differing).chain(identity).chain(refusals).chain(space).collect()
    }

    /// What the node knows of itself.
    #[must_use]
    pub fn status(&self) -> pb::StatusReply {
        let role = match self.raft.role() {
            _ if !self.raft.has_vote() => pb::Role::NoVote,
            Role::Follower => pb::Role::Follower,
            Role::PreCandidate => pb::Role::PreCandidate,
            Role::Candidate => pb::Role::Candidate,
            Role::Leader => pb::Role::Leader,
        };
        let (executors, jobs, keys) = self.state.sizes();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        pb::StatusReply {
            cluster: self.config.cluster.0,
            node: self.config.node.0,
            storage: self.config.storage.0,
            role: role.into(),
            term: self.raft.term().0,
            leader: self.raft.leader().map_or(0, |leader| leader.0),
            commit_index: self.raft.commit().0,
            applied_index: self.state.index().0,
            durable_index: self.raft.durable_index().0,
            first_index: self.raft.first_index().0,
            feature_level: self.state.feature_level(),
            program_level: self.config.level,
            data_level: self.data_level(),
            executors: count(executors),
            jobs: count(jobs),
            keys: keys as u64,
            alarms: self.alarms(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state_hash: self.state.hash().0.to_le_bytes().to_vec().into(),
            work: None,
        }
    }
}
