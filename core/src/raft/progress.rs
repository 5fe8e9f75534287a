//! What a leader knows of one follower.

use crate::{
    bug::{self, Bug},
    contract::{Flow, LogPosition},
    fingerprint::Fingerprint,
    types::{Index, Time},
};
use std::collections::VecDeque;

/// How a leader sends to a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is not known where the logs agree: one append at a time.
    Probe {
        /// One is on its way, of a log that ended here; or it would be in vain until the next heartbeat. One that found
        /// nothing to bring does not keep what comes after it from being sent.
        waiting: Option<Index>,
    },
    /// The logs agree up to `matched`: appends follow each other without waiting.
    Replicate,
    /// The follower needs entries that are gone: a snapshot is on its way.
    Snapshot {
        /// The snapshot's last entry.
        at: LogPosition,
        /// The chunk on its way.
        number: u64,
        /// When it was last asked for or sent.
        since: Time,
        /// It is still to be read: the throttle holds it back.
        waits: bool,
        /// A chunk of this snapshot was read. Until then, or when the follower begins anew, a newer one does as well.
        begun: bool,
    },
}

/// One follower, as its leader sees it.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Durable there, and equal to the leader's log.
    pub matched: Index,
    /// The next entry to send.
    pub next: Index,
    /// How to send.
    pub mode: Mode,
    /// The highest read position that it has confirmed.
    pub position: u64,
    /// The leader's clock when it sent the newest heartbeat by which this follower has promised to vote for nobody.
    pub promised_at: Option<Time>,
    /// When it last answered anything in this term; of one that has not answered, since when it is waited for.
    pub active_at: Time,
    /// It has answered without a long break since then.
    pub answers_since: Time,
    /// It has answered something in this term, or was added in it.
    pub answered: bool,
    /// When an append was last acknowledged, or the first of those on their way was sent.
    pub moved_at: Time,
    /// So many appends may be on their way; fewer than the limits allow after one came out of order, and more with each answer.
    window: usize,
    inflight: VecDeque<(Index, usize)>,
    inflight_bytes: usize,
}

impl Progress {
    /// A follower of which nothing is known yet.
    #[must_use]
    pub const fn new(next: Index, now: Time) -> Self {
        Self {
            matched: Index(0),
            next,
            mode: Mode::Probe { waiting: None },
            position: 0,
            promised_at: None,
            active_at: now,
            answers_since: now,
            answered: false,
            moved_at: now,
            window: usize::MAX,
            inflight: VecDeque::new(),
            inflight_bytes: 0,
        }
    }

    /// Whether it is sent what is new at once, and was sent everything up to this entry.
    #[must_use]
    pub fn is_close(&self, last: Index) -> bool {
        self.mode == Mode::Replicate && self.next > last
    }

    /// A follower that was just added: it is there, and may need a snapshot.
    #[must_use]
    pub const fn of_new_member(next: Index, now: Time) -> Self {
        let mut new = Self::new(next, now);
        new.answered = true;
        new
    }

    /// Whether the limits allow one more append on its way.
    #[must_use]
    pub fn has_room(&self, flow: &Flow) -> bool {
        let messages = match bug::planted(Bug::InflightMessagesIgnored) {
            true => self.window,
            false => flow.inflight_messages.min(self.window),
        };
        let fits = self.inflight_bytes < flow.inflight_bytes || bug::planted(Bug::InflightBytesIgnored);
        self.inflight.len() < messages && fits
    }

    /// Whether an append could be sent, of a log that ends at `last`.
    #[must_use]
    pub fn wants_append(&self, last: Index) -> bool {
        match self.mode {
            Mode::Probe { waiting: None } => true,
            Mode::Probe { waiting: Some(end) } => end < self.next && self.next <= last,
            Mode::Replicate => self.next <= last,
            Mode::Snapshot { .. } => false,
        }
    }

    /// Appends that are on their way.
    #[must_use]
    pub fn inflight(&self) -> usize {
        self.inflight.len()
    }

    /// Whether appends are on their way.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.inflight.is_empty()
    }

    /// Whether all that there is was sent and acknowledged.
    #[must_use]
    pub fn is_idle(&self, last: Index) -> bool {
        self.mode == Mode::Replicate && !self.is_waiting() && self.next > last
    }

    /// An append up to `last` left.
    pub fn sent(&mut self, now: Time, last: Index, bytes: usize) {
        if self.inflight.is_empty() {
            self.moved_at = now;
        }
        self.inflight.push_back((last, bytes));
        self.inflight_bytes += bytes;
        self.next = last.next();
    }

    /// Everything up to `index` is durable there, and equal to the leader's log.
    pub fn acknowledged(&mut self, now: Time, index: Index) {
        self.window = self.window.saturating_add(1);
        while let Some(&(last, bytes)) = self.inflight.front()
            && last <= index
        {
            self.inflight.pop_front();
            self.inflight_bytes -= bytes;
            self.moved_at = now;
        }
        if index > self.matched {
            self.matched = index;
            self.moved_at = now;
        }
        self.next = self.next.max(self.matched.next());
        let agreed = match self.mode {
            Mode::Probe { .. } => true,
            Mode::Snapshot { at, .. } => index >= at.index,
            Mode::Replicate => false,
        };
        if agreed {
            self.replicate();
        }
    }

    /// An append came before those ahead of it, or in place of them: were as many sent again, each of them could be refused
    /// and cause as many.
    pub fn refused(&mut self, next: Index) {
        if self.mode == Mode::Replicate {
            self.window = (self.inflight.len() / 2).max(1);
        }
        self.probe(next);
    }

    /// The logs agree up to `matched`: appends follow each other from there on.
    pub fn replicate(&mut self) {
        self.probe(self.matched.next());
        self.mode = Mode::Replicate;
    }

    /// What is on its way was lost, and so would be what is sent now: the next heartbeat finds out, or the next entry of a
    /// log, that ends at `last`, of which nothing was on its way.
    pub fn lost(&mut self, last: Index) {
        if self.mode == Mode::Replicate {
            self.probe(self.matched.next());
            self.mode = Mode::Probe { waiting: Some(last) };
        }
    }

    /// Goes back to one append at a time, from `next` on.
    pub fn probe(&mut self, next: Index) {
        self.mode = Mode::Probe { waiting: None };
        self.next = next.max(self.matched.next());
        self.inflight.clear();
        self.inflight_bytes = 0;
    }

    pub(crate) fn fingerprint(&self, print: &mut Fingerprint) {
        print.add((self.matched, self.next, self.position, &self.inflight, self.answered, self.window));
        print.add_time(self.active_at).add_time(self.moved_at);
        match &self.mode {
            Mode::Probe { waiting } => print.add((0, waiting)),
            Mode::Replicate => print.add(1),
            Mode::Snapshot { at, number, since, waits, begun } => {
                print.add((2, at, number, waits, begun)).add_time(*since)
            }
        };
    }
}
