//! What a leader does for followers that need a snapshot (Raft, section 7): it sends one chunk by chunk, no faster than it may,
//! and keeps what they will need behind it.

use super::{
    Effect, Leading, Raft,
    message::Message,
    progress::{Mode, Progress},
};
use crate::{
    bug::{self, Bug},
    contract::LogPosition,
    fingerprint::Fingerprint,
    mark::{self, Mark},
    types::{Index, NodeId, Time},
};
use bytes::Bytes;
use core::{ops::Bound, time::Duration};

/// When a leader may read the next chunk that it sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    next_at: Time,
    /// Some wait for that.
    wait: bool,
    /// For whom the last one was: the others come first.
    last_for: NodeId,
}

impl Chunks {
    pub(crate) const fn new(now: Time) -> Self {
        Self { next_at: now, wait: false, last_for: NodeId(0) }
    }

    pub(crate) fn fingerprint(&self, now: Time, print: &mut Fingerprint) {
        print.add((self.wait, self.last_for)).add_time(self.next_at.max(now));
    }

    fn sooner(&mut self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.next_at = Time(self.next_at.0.saturating_sub(by));
    }

    /// When a chunk that waits is to be read; `Time::FAR`: none waits.
    pub(crate) const fn due(&self) -> Time {
        if self.wait { self.next_at } else { Time::FAR }
    }
}

/// So long so many bytes of snapshots take at `rate` bytes in a second; 0 = no time.
fn time_of(bytes: usize, rate: u64) -> Duration {
    let nanos = (bytes as u64).saturating_mul(1_000_000_000).checked_div(rate);
    Duration::from_nanos(nanos.unwrap_or(0))
}

impl Leading {
    /// Whose chunk is to be read next: it comes behind the one who had the last.
    fn chunk_wanted(&self) -> Option<NodeId> {
        let last = self.chunks.last_for;
        let behind = self.progress.range((Bound::Excluded(last), Bound::Unbounded));
        let waits = |progress: &Progress| matches!(progress.mode, Mode::Snapshot { waits: true, .. });
        let wanted = behind.chain(self.progress.range(..=last)).find(|(_, progress)| waits(progress));
        wanted.map(|(&peer, _)| peer)
    }
}

impl Raft {
    /// Reads the chunks that are wanted, each in its turn, as fast as the throttle lets them pass.
    pub(crate) fn read_chunks(&mut self) {
        let now = self.now;
        let gap = time_of(self.flow.snapshot_chunk_bytes, self.snapshot_rate);
        let Some(leading) = &mut self.leading else { return };
        leading.chunks.wait = false;
        while let Some(peer) = leading.chunk_wanted() {
            if now < leading.chunks.next_at && !bug::planted(Bug::SnapshotUnthrottled) {
                mark::hit(Mark::ChunkThrottled);
                leading.chunks.wait = true;
                return;
            }
            let Some(progress) = leading.progress.get_mut(&peer) else { return };
            let Mode::Snapshot { at, number, since, waits, begun } = &mut progress.mode else { return };
            // Nothing is lost with a newer one yet; the older one may be gone by now.
            if !*begun && let Some(newest) = self.snapshot {
                *at = newest.max(*at);
            }
            (*since, *waits, *begun) = (now, false, true);
            (leading.chunks.next_at, leading.chunks.last_for) = (now + gap, peer);
            let (at, number) = (*at, *number);
            self.effects.push_back(Effect::ReadSnapshotChunk { peer, at, number });
        }
    }

    /// What followers that answer have, all of them: a leader that cuts its log behind that has to send a snapshot to one of
    /// them. `None`: there are none, or this node does not lead.
    #[must_use]
    pub fn held_by_all(&self) -> Option<Index> {
        let (now, patience) = (self.now, self.timing.election_max);
        let followers = self.leading.as_ref()?.progress.values();
        let answering = followers.filter(|progress| now.since(progress.active_at) <= patience);
        answering
            .map(|progress| match progress.mode {
                Mode::Snapshot { at, .. } => at.index,
                Mode::Probe { .. } | Mode::Replicate => progress.matched,
            })
            .min()
    }

    /// Whether a follower that answers is sent a snapshot that is not the newest one: one more would take its place.
    #[must_use]
    pub fn sends_older_snapshot(&self) -> bool {
        let (now, patience, newest) = (self.now, self.timing.election_max, self.snapshot);
        self.leading.as_ref().is_some_and(|leading| {
            leading.progress.values().any(|progress| {
                matches!(progress.mode, Mode::Snapshot { at, .. } if Some(at) != newest)
                    && now.since(progress.active_at) <= patience
            })
        })
    }

    /// The entries that `peer` lacks are gone from the log: it gets the newest snapshot, chunk by chunk.
    pub(crate) fn start_snapshot(&mut self, peer: NodeId) {
        let now = self.now;
        let Some(at) = self.snapshot.filter(|at| at.index >= self.log.start().index) else { return };
        let Some(leading) = &mut self.leading else { return };
        let Some(progress) = leading.progress.get_mut(&peer) else { return };
        progress.probe(at.index.next());
        mark::hit(Mark::SnapshotNeeded);
        progress.mode = Mode::Snapshot { at, number: 0, since: now, waits: true, begun: false };
        self.read_chunks();
    }

    /// Asks again for chunks that got lost on their way.
    pub(crate) fn resume_snapshots(&mut self) {
        let patience = self.timing.election_max.max(Duration::from_millis(500));
        let now = self.now;
        let Some(leading) = &mut self.leading else { return };
        for progress in leading.progress.values_mut() {
            // Who does not answer would only take time from the others.
            let silent = now.since(progress.active_at) > self.timing.election_max;
            if let Mode::Snapshot { since, waits, .. } = &mut progress.mode
                && !bug::planted(Bug::SnapshotNotResumed)
                && !*waits
                && !silent
                && now.since(*since) > patience
            {
                mark::hit(Mark::SnapshotResumed);
                *waits = true;
            }
        }
        self.read_chunks();
    }

    pub(crate) fn chunk_answered(&mut self, from: NodeId, index: Index, next: u64, installed: bool) {
        let now = self.now;
        let last = self.log.last().index;
        let first = self.log.start().index;
        let Some(progress) = self.active(from) else { return };
        if installed && index <= last {
            // Whoever sent it, and whichever it is: what a snapshot covers is committed, and equal everywhere.
            progress.acknowledged(now, index);
            if matches!(progress.mode, Mode::Snapshot { .. }) && index >= first {
                progress.replicate();
            }
            self.advance_commit();
            self.replicate();
            return;
        }
        let Mode::Snapshot { at, number, waits, begun, .. } = &mut progress.mode else { return };
        if at.index != index || installed {
            mark::hit(Mark::SnapshotAnswerOld);
            return;
        }
        if next == number.saturating_add(1)
            || next == 0
            || (next != *number && !bug::planted(Bug::SnapshotNextIgnored))
        {
            // An old answer may have led away from what the follower wants: only its word brings the two together again.
            mark::hit_if(next < *number, Mark::SnapshotAgain);
            mark::hit_if(next > number.saturating_add(1), Mark::SnapshotCatchesUp);
            *number = next;
            *waits = true;
            *begun &= next > 0;
            self.read_chunks();
        }
    }

    /// A chunk was read for a follower. `None`: that snapshot is gone, and a newer one takes its place; or it is the newest,
    /// and cannot be read. True then: the caller has to write another, or the follower never gets one.
    pub fn chunk_read(
        &mut self,
        peer: NodeId,
        at: LogPosition,
        number: u64,
        chunk: Option<(Bytes, bool)>,
    ) -> bool {
        let now = self.now;
        let newest = self.snapshot == Some(at);
        let Some(leading) = &mut self.leading else { return false };
        let Some(progress) = leading.progress.get_mut(&peer) else { return false };
        match &mut progress.mode {
            Mode::Snapshot { at: wanted, number: chunk_number, since, .. }
                if *wanted == at && *chunk_number == number =>
            {
                *since = now;
            }
            _ => {
                mark::hit(Mark::ChunkReadLate);
                return false;
            }
        }
        // What is less than a full chunk takes less time.
        let bytes = chunk.as_ref().map_or(0, |(data, _)| data.len());
        let less = self.flow.snapshot_chunk_bytes.saturating_sub(bytes);
        leading.chunks.sooner(time_of(less, self.snapshot_rate));
        match chunk {
            Some((data, last)) => self.send(peer, Message::SnapshotChunk { at, number, data, last }),
            // Asked for again at once, it would be read in vain without a pause: `resume_snapshots` waits.
            None if newest && !bug::planted(Bug::SnapshotAskedAtOnce) => {
                mark::hit(Mark::SnapshotUnreadable);
                return true;
            }
            None => {
                mark::hit(Mark::SnapshotGone);
                progress.probe(progress.matched.next());
            }
        }
        false
    }
}
