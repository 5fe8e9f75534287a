//! One node: the core's Raft with a clock that ticks, a disk, and a state that entries are applied to.
//!
//! The core takes one event a step and hands out messages and writes at once. A scenario takes them in portions, each of
//! which is a `Ready`; what a step hands out waits for it here.

mod log;
mod options;
mod packet;

pub(crate) use options::Options;
pub(crate) use packet::{Envelope, Packet, Ready};

use crate::{
    disk::{Disk, Snapshot},
    entry::Content,
    text::{self, Level},
};
use options::{STEP, TICK};
use quorate_core::{
    contract::{Entry, Flow, HardState, LogPosition, Write},
    raft::{Effect, Raft, RaftStart, Role, message::Message, progress::Mode},
    types::{Index, NodeId, Time, WriteId},
};
use std::collections::{BTreeMap, VecDeque};

/// One node.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) raft: Raft,
    pub(crate) disk: Disk,
    pub(crate) options: Options,
    /// What is to be told of it, in order.
    pub(crate) lines: Vec<(Level, String)>,
    /// States after every applied entry.
    history: Vec<Snapshot>,
    now: Time,
    /// Since when the leader counts who was active.
    window: Time,
    outbox: Vec<Packet>,
    append_work: VecDeque<Write>,
    apply_work: VecDeque<Vec<Entry>>,
    /// Applied, or handed out to be.
    scheduled: Index,
    soft: (Option<NodeId>, Role),
    hard: HardState,
    /// A snapshot of the leader that was taken since the last `Ready`.
    restored: Option<Snapshot>,
    received: Option<Snapshot>,
    /// What each follower was sent of the commit index, in appends that it can carry out.
    told: BTreeMap<NodeId, Index>,
    /// Whether the last append to each follower brought all that there was, or something at least.
    brought: BTreeMap<NodeId, bool>,
    /// Changes that wait for the first entry of the term: whoever proposes them tries again.
    retries: VecDeque<Content>,
    /// Ticks as a leader.
    reign_ticks: u32,
    /// Ticks since the election timer was set.
    elapsed: u32,
    timeout: Option<u32>,
}

impl Node {
    /// A node that starts from a snapshot.
    pub(crate) fn new(id: NodeId, options: Options, snapshot: Snapshot) -> Self {
        let exists = snapshot.at.index > Index(0);
        let hard = HardState { commit: snapshot.at.index, ..HardState::default() };
        let start = RaftStart {
            no_vote_until: Time(0),
            id,
            membership: snapshot.membership.clone(),
            timing: options.timing(),
            flow: options.flow(),
            snapshot_rate: 0,
            seed: id.0,
            hard_state: hard,
            start: snapshot.at,
            entries: Vec::new(),
            snapshot: exists.then_some(snapshot.at),
        };
        let mut raft = Raft::new(start, Time(0));
        raft.grant_vote_right();
        Self {
            id,
            disk: Disk::new(snapshot.at),
            options,
            lines: Vec::new(),
            scheduled: snapshot.at.index,
            history: vec![snapshot],
            now: Time(0),
            window: Time(0),
            outbox: Vec::new(),
            append_work: VecDeque::new(),
            apply_work: VecDeque::new(),
            soft: (None, raft.role()),
            hard: raft.hard_state(),
            raft,
            restored: None,
            received: None,
            told: BTreeMap::new(),
            brought: BTreeMap::new(),
            retries: VecDeque::new(),
            reign_ticks: 0,
            elapsed: 0,
            timeout: None,
        }
    }

    /// How much it has on its way at a time.
    pub(crate) fn flow(&self) -> Flow {
        self.options.flow()
    }

    /// Whoever has not answered since then counts as inactive.
    pub(crate) const fn window(&self) -> Time {
        self.window
    }

    /// The newest state.
    pub(crate) fn newest(&self) -> &Snapshot {
        self.history.last().expect("a node starts with a state")
    }

    /// Whether the last probe of a follower had entries to bring: only then is it waited for.
    pub(crate) fn probe_brings(&self, peer: NodeId) -> bool {
        self.brought.get(&peer).copied().unwrap_or(false)
    }

    /// One step of the core.
    fn step<R>(&mut self, act: impl FnOnce(&mut Raft) -> R) -> R {
        self.now = self.now + STEP;
        let before = (self.raft.role(), self.raft.term());
        self.raft.begin_step(self.now);
        let timer = self.raft.next_deadline();
        let result = act(&mut self.raft);
        if before != (self.raft.role(), self.raft.term()) {
            self.timeout = None;
            if self.raft.role() == Role::Leader {
                self.window = self.now;
                self.reign_ticks = 0;
                self.told.clear();
            }
        }
        self.settle();
        if self.raft.role() != Role::Leader && self.raft.next_deadline() != timer {
            self.elapsed = 0;
        }
        result
    }

    fn settle(&mut self) {
        self.raft.start_read_round();
        self.raft.replicate();
        self.take_effects();
        self.tell_commit();
        self.take_effects();
    }

    /// Followers learn at once what is committed.
    fn tell_commit(&mut self) {
        if self.raft.role() != Role::Leader {
            return;
        }
        let (commit, flow) = (self.raft.commit(), self.flow());
        for peer in self.raft.membership().members().filter(|peer| *peer != self.id).collect::<Vec<_>>() {
            let Some(progress) = self.raft.progress(peer) else { continue };
            let sent = Index(progress.next.0 - 1);
            let sends = progress.mode == Mode::Replicate && progress.has_room(&flow);
            let told = self.told.entry(peer).or_default();
            *told = (*told).min(sent);
            if sends && commit.min(sent) > *told {
                self.raft.tell_commit(peer);
            }
        }
    }

    fn take_effects(&mut self) {
        while let Some(effect) = self.raft.poll_effect() {
            match effect {
                Effect::Send(to, message) => self.send(to, message),
                Effect::ReadSnapshotChunk { peer, at, number } => {
                    let snapshot = self.history.iter().find(|snapshot| snapshot.at == at);
                    let chunk = snapshot.map(|snapshot| (snapshot.encode(), true));
                    self.raft.chunk_read(peer, at, number, chunk);
                }
                Effect::StoreSnapshotChunk { at, number, data, last } => {
                    self.received = Snapshot::decode(at, &data);
                    self.raft.chunk_stored(at, number, last);
                }
                Effect::LoadSnapshot { at } => self.load_snapshot(at),
                Effect::Trace(event) => self.lines.push(text::trace(self.id, &event)),
                Effect::ReadConfirmed { .. }
                | Effect::Deposed
                | Effect::MembershipConfirmed
                | Effect::Disagrees { .. } => {}
            }
        }
    }

    fn send(&mut self, to: NodeId, message: Message) {
        if let Message::Append { previous, entries, commit } = &message {
            let last = entries.last().map_or(previous.index, |entry| entry.index);
            let told = self.told.entry(to).or_default();
            *told = (*told).max(last.min(*commit));
            self.brought.insert(to, previous.index < self.raft.last_index());
        }
        let term = self.raft.term();
        self.outbox.push(Packet::Peer(Envelope { from: self.id, to, term, message }));
    }

    fn load_snapshot(&mut self, at: LogPosition) {
        let received = self.received.take();
        let loaded = self.raft.snapshot_loaded(at, received.is_some());
        if let Some(snapshot) = received.filter(|_| loaded) {
            self.raft.follow(at.index, snapshot.membership.clone(), true);
            self.scheduled = at.index;
            self.restored = Some(snapshot.clone());
            self.history.push(snapshot);
        }
    }

    /// A message of another node.
    pub(crate) fn receive(&mut self, envelope: Envelope) {
        let Envelope { from, term, message, .. } = envelope;
        let lost = term < self.raft.term() && self.leaves_behind(&message);
        let waiting = self.outbox.len();
        self.step(|raft| raft.receive(from, term, message));
        if lost {
            self.outbox.truncate(waiting);
        }
    }

    /// Whether a sender of an older term is not told of the newer one: without pre-vote and check-quorum, whose answers bring
    /// back who was cut off, this grammar has its network lose what the core answers.
    fn leaves_behind(&self, message: &Message) -> bool {
        let rejoins = self.options.pre_vote || self.options.check_quorum;
        let answered = matches!(message, Message::Heartbeat { .. } | Message::Append { .. });
        !(matches!(message, Message::PreVote { .. }) || rejoins && answered)
    }

    /// Stands for election.
    pub(crate) fn campaign(&mut self) {
        let (id, term) = (self.id, self.raft.term());
        if self.raft.role() == Role::Leader {
            self.lines.push((Level::Debug, format!("{id} leads already")));
        } else if !self.raft.membership().is_voter(id) {
            self.lines.push((Level::Warn, format!("{id} is unpromotable and can not campaign")));
        } else if self.raft.applied_index() < self.raft.commit() {
            self.lines.push((
                Level::Warn,
                format!("{id} has not applied all that is committed and can not campaign"),
            ));
        } else {
            self.lines.push((Level::Info, format!("{id} is starting a new election at term {term}")));
            let asks = self.options.pre_vote;
            self.step(|raft| raft.campaign(asks));
        }
    }

    /// Hands over, if it leads.
    pub(crate) fn transfer(&mut self, to: NodeId) {
        let (id, term) = (self.id, self.raft.term());
        let mut begun = Ok(to);
        self.step(|raft| begun = raft.transfer(Some(to)));
        let line = match begun {
            Ok(to) => (Level::Info, format!("{id} [term {term}] starts to transfer leadership to {to}")),
            Err(why) => (Level::Warn, format!("{id} does not transfer leadership to {to}: {why}")),
        };
        self.lines.push(line);
    }

    /// Time goes on.
    pub(crate) fn tick(&mut self) {
        self.now = self.now + TICK;
        if self.raft.role() == Role::Leader {
            self.reign_ticks += 1;
            self.step(Raft::deadline);
            let ends = self.reign_ticks.is_multiple_of(self.options.election_ticks);
            if self.options.check_quorum && ends && self.raft.role() == Role::Leader {
                self.window = self.now;
            }
            return;
        }
        self.elapsed += 1;
        // Each waits a little longer than the one before it.
        let spread = u32::try_from(self.id.0 % u64::from(self.options.election_ticks)).unwrap_or(0);
        let timeout = self.timeout.unwrap_or(self.options.election_ticks + spread);
        if self.elapsed >= timeout && self.raft.membership().is_voter(self.id) {
            self.elapsed = 0;
            self.campaign();
        }
    }

    /// How many ticks it waits for a leader, until its role or term changes.
    pub(crate) fn wait_for_leader(&mut self, ticks: u32) {
        self.timeout = Some(ticks);
    }

    /// A peer does not take this node's messages.
    pub(crate) fn lose_peer(&mut self, peer: NodeId) {
        self.brought.insert(peer, false);
        self.step(|raft| raft.peer_lost(peer));
    }

    /// What there is to do.
    pub(crate) fn ready(&mut self) -> Ready {
        let commit = match self.options.asynchronous {
            true => self.raft.commit().min(self.raft.durable_index().max(self.newest().at.index)),
            false => self.raft.commit(),
        };
        let apply = self.next_entries(commit);
        let write = self.raft.take_write();
        self.take_effects();
        let (soft, hard) = ((self.raft.leader(), self.raft.role()), self.raft.hard_state());
        let entries = write.as_ref().is_some_and(|write| !write.entries.is_empty());
        let must_sync = entries || (hard.term, hard.vote) != (self.hard.term, self.hard.vote);
        let ready = Ready {
            must_sync,
            soft: (soft != self.soft).then_some(soft),
            hard: (hard != self.hard).then_some(hard),
            snapshot: self.restored.take(),
            write,
            apply,
            messages: std::mem::take(&mut self.outbox),
        };
        (self.soft, self.hard) = (soft, hard);
        ready
    }

    fn next_entries(&mut self, commit: Index) -> Vec<Entry> {
        let (mut apply, mut bytes) = (Vec::new(), 0_usize);
        while self.scheduled < commit {
            let Some(entry) = self.raft.entry(self.scheduled.next()) else { break };
            bytes = bytes.saturating_add(entry.data.len());
            if !apply.is_empty() && bytes >= self.options.apply_bytes {
                break;
            }
            apply.push(entry.clone());
            self.scheduled = self.scheduled.next();
        }
        apply
    }

    /// Does it. What leaves is returned.
    pub(crate) fn carry_out(&mut self, ready: Ready) -> Vec<Packet> {
        let mut leaves = ready.messages;
        if self.options.asynchronous {
            let asks = self.raft.membership().all_voters().count() > 1;
            let candidacy = self.raft.role() == Role::Candidate && asks && self.append_work.is_empty();
            match ready.write {
                // Its requests for votes leave when its vote is durable: it is, at once, if nothing is in the way.
                Some(write) if candidacy && write.entries.is_empty() => leaves.extend(self.store(&write)),
                write => self.append_work.extend(write),
            }
            self.apply_work.extend((!ready.apply.is_empty()).then_some(ready.apply));
            return leaves;
        }
        if let Some(write) = &ready.write {
            self.disk.write(write);
        }
        self.apply(&ready.apply);
        if let Some(write) = &ready.write {
            leaves.extend(self.store(write));
        }
        self.applied();
        leaves
    }

    /// A write is on the disk: what waited for it leaves.
    fn store(&mut self, write: &Write) -> Vec<Packet> {
        self.disk.write(write);
        self.stored(write.io)
    }

    /// The same, of a write that the disk has carried out.
    pub(crate) fn stored(&mut self, io: WriteId) -> Vec<Packet> {
        let before = std::mem::take(&mut self.outbox);
        self.step(|raft| raft.write_done(io));
        let promises = |packet: &Packet| {
            matches!(
                packet,
                Packet::Peer(Envelope {
                    message: Message::Appended { .. }
                        | Message::Vote { .. }
                        | Message::VoteReply { .. }
                        | Message::SnapshotReply { .. },
                    ..
                })
            )
        };
        let after = std::mem::replace(&mut self.outbox, before);
        let (leaves, later) = after.into_iter().partition(promises);
        self.outbox.extend::<Vec<Packet>>(later);
        leaves
    }

    /// The oldest write of those that wait is carried out. What leaves; `None`: there is none.
    pub(crate) fn append(&mut self) -> Option<(Write, Vec<Packet>)> {
        let write = self.append_work.pop_front()?;
        // What it counts itself for, it hears of like of anybody's answer.
        let counts = matches!(self.raft.role(), Role::Leader | Role::Candidate);
        let leaves = if counts {
            self.disk.write(&write);
            let last = write.entries.last().map(Entry::position).unwrap_or_default();
            vec![Packet::Stored { to: self.id, io: write.io, last }]
        } else {
            self.store(&write)
        };
        Some((write, leaves))
    }

    /// Whether writes wait.
    pub(crate) fn has_append_work(&self) -> bool {
        !self.append_work.is_empty()
    }

    /// Whether entries wait.
    pub(crate) fn has_apply_work(&self) -> bool {
        !self.apply_work.is_empty()
    }

    /// The oldest entries of those that wait are applied. What they are; `None`: there are none.
    pub(crate) fn apply_next(&mut self) -> Option<Vec<Entry>> {
        let entries = self.apply_work.pop_front()?;
        self.apply(&entries);
        Some(entries)
    }

    /// A snapshot message of the newest state, as the core would send it.
    pub(crate) fn snapshot_message(&self, to: NodeId) -> Packet {
        let snapshot = self.newest();
        let message =
            Message::SnapshotChunk { at: snapshot.at, number: 0, data: snapshot.encode(), last: true };
        Packet::Peer(Envelope { from: self.id, to, term: self.raft.term(), message })
    }
}
