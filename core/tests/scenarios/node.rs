//! One node: the core's Raft with a clock that ticks, a disk, and a state that entries are applied to.
//!
//! The core takes one event a step and hands out messages and writes at once. A scenario takes them in portions, each of
//! which is a `Ready`; what a step hands out waits for it here.

use crate::{
    disk::{Disk, Snapshot},
    entry::Content,
    text::{self, Level},
};
use bytes::Bytes;
use quorate_core::{
    contract::{Entry, Flow, HardState, LogPosition, Timing, Write},
    raft::{Effect, ProposeError, Raft, RaftStart, Role, message::Message, progress::Mode},
    types::{Index, NodeId, Term, Time, WriteId},
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// One tick.
const TICK: Duration = Duration::from_millis(100);
/// Every step takes a nanosecond, so that what comes later is told from what came before. No period may end late by that.
const STEP: Duration = Duration::from_nanos(1);
const SLACK: Duration = Duration::from_millis(1);
/// What never comes.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// How a node is set up.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) pre_vote: bool,
    pub(crate) check_quorum: bool,
    /// Writes and applying are commands of their own.
    pub(crate) asynchronous: bool,
    /// Append messages to one peer that are not answered yet.
    pub(crate) inflight: usize,
    /// Bytes of entries that one `Ready` applies.
    pub(crate) apply_bytes: usize,
    /// Changes of the membership are refused while another is under way.
    pub(crate) validates: bool,
    pub(crate) heartbeat_ticks: u32,
    pub(crate) election_ticks: u32,
    /// A leader steps down when a write takes so many ticks. `None`: never.
    pub(crate) stall_ticks: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pre_vote: false,
            check_quorum: false,
            asynchronous: false,
            inflight: usize::MAX,
            apply_bytes: usize::MAX,
            validates: true,
            heartbeat_ticks: 1,
            election_ticks: 3,
            stall_ticks: None,
        }
    }
}

impl Options {
    fn timing(&self) -> Timing {
        let ticks = |count: u32| TICK * count - SLACK;
        let (election_min, election_max) = match self.check_quorum {
            true => (ticks(self.election_ticks), ticks(self.election_ticks * 2)),
            // Nobody counts on having heard a leader, and no leader on being heard. The ticks are counted here.
            false => (Duration::ZERO, NEVER),
        };
        Timing {
            heartbeat: ticks(self.heartbeat_ticks),
            election_min,
            election_max,
            disk_stall: self.stall_ticks.map_or(NEVER, ticks),
            ..Timing::default()
        }
    }

    fn flow(&self) -> Flow {
        Flow {
            uncommitted_bytes: usize::MAX,
            append_bytes: usize::MAX,
            append_entries: usize::MAX,
            inflight_messages: self.inflight,
            inflight_bytes: usize::MAX,
            ..Flow::default()
        }
    }
}

/// A message between two nodes.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) term: Term,
    pub(crate) message: Message,
}

/// What is on its way.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Peer(Envelope),
    /// A proposal for the leader.
    Forward {
        from: NodeId,
        to: NodeId,
        data: Bytes,
    },
    /// A leader's own write is on its disk.
    Stored {
        to: NodeId,
        io: WriteId,
        last: LogPosition,
    },
    /// Entries were applied.
    Applied {
        to: NodeId,
        entries: Vec<Entry>,
    },
}

impl Packet {
    pub(crate) const fn to(&self) -> NodeId {
        match self {
            Self::Peer(Envelope { to, .. })
            | Self::Forward { to, .. }
            | Self::Stored { to, .. }
            | Self::Applied { to, .. } => *to,
        }
    }

    /// Whether it stays in its node, so that no network can lose it.
    pub(crate) const fn is_local(&self) -> bool {
        matches!(self, Self::Stored { .. } | Self::Applied { .. })
    }

    /// Its type's name.
    pub(crate) const fn type_name(&self) -> &'static str {
        match self {
            Self::Peer(envelope) => text::message_type(&envelope.message),
            Self::Forward { .. } => "MsgProp",
            Self::Stored { .. } => "MsgStorageAppendResp",
            Self::Applied { .. } => "MsgStorageApplyResp",
        }
    }
}

/// What a node has to do: to write, to apply, to send.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) must_sync: bool,
    pub(crate) soft: Option<(Option<NodeId>, Role)>,
    pub(crate) hard: Option<HardState>,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) write: Option<Write>,
    pub(crate) apply: Vec<Entry>,
    pub(crate) messages: Vec<Packet>,
}

impl Ready {
    /// Entries to write.
    pub(crate) fn entries(&self) -> &[Entry] {
        self.write.as_ref().map_or(&[], |write| &write.entries)
    }

    /// Whether there is nothing worth a line.
    pub(crate) fn is_empty(&self) -> bool {
        let written = !self.entries().is_empty() || self.snapshot.is_some() || self.hard.is_some();
        !written && self.soft.is_none() && self.apply.is_empty() && self.messages.is_empty()
    }
}

/// Why a proposal was not taken.
pub(crate) struct Dropped;

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
            id,
            membership: snapshot.membership.clone(),
            timing: options.timing(),
            flow: options.flow(),
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
                Effect::ReadConfirmed { .. } | Effect::Deposed | Effect::Checkpoint { .. } => {}
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
        self.step(|raft| raft.receive(from, term, message));
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

    /// What there is to do.
    pub(crate) fn ready(&mut self) -> Ready {
        let commit = match self.options.asynchronous {
            true => self.raft.commit().min(self.raft.durable_index().max(self.newest().at.index)),
            false => self.raft.commit(),
        };
        let apply = self.to_apply(commit);
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

    fn to_apply(&mut self, commit: Index) -> Vec<Entry> {
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
            let candidacy = self.raft.role() == Role::Candidate && self.append_work.is_empty();
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
        let leaves = if self.raft.role() == Role::Leader {
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

    fn apply(&mut self, entries: &[Entry]) {
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
                Some(membership) => self.step(|raft| raft.follow(index, membership, true)),
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
            let leave = Content::ConfChangeV2(crate::entry::Transition::Auto, Vec::new()).encode();
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
        let position = LogPosition { term, index };
        self.step(|raft| raft.compact(position));
        self.disk.start_at(position);
        Ok(())
    }

    /// A snapshot message of the newest state, as the core would send it.
    pub(crate) fn snapshot_message(&self, to: NodeId) -> Packet {
        let snapshot = self.newest();
        let message =
            Message::SnapshotChunk { at: snapshot.at, number: 0, data: snapshot.encode(), last: true };
        Packet::Peer(Envelope { from: self.id, to, term: self.raft.term(), message })
    }
}
