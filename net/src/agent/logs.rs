//! What attempts have written: a bounded ring in memory for each, kept after its end.

use bytes::Bytes;
use quorate_core::{limits, types::AttemptId};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The outputs of an executor's attempts. Cloning it shares them.
///
/// An attempt keeps its newest [`output_limit_bytes`](quorate_proto::v1::JobSpecification); all together keep
/// [`OUTPUT_TOTAL_BYTES`](limits::OUTPUT_TOTAL_BYTES), and of those that have ended the newest
/// [`OUTPUT_ATTEMPTS`](limits::OUTPUT_ATTEMPTS).
#[derive(Clone, Debug, Default)]
pub struct LogStore(Arc<Mutex<Logs>>);

#[derive(Debug, Default)]
struct Logs {
    all: BTreeMap<AttemptId, Log>,
    /// In the order in which they ended.
    ended: VecDeque<AttemptId>,
    total: usize,
}

#[derive(Debug, Default)]
struct Log {
    kept: VecDeque<u8>,
    limit: usize,
    dropped: u64,
}

impl Log {
    /// Drops from the front. Answers how much.
    fn shorten(&mut self, length: usize) -> usize {
        let over = self.kept.len().saturating_sub(length);
        self.kept.drain(..over);
        self.dropped += over as u64;
        over
    }
}

impl LogStore {
    fn lock(&self) -> MutexGuard<'_, Logs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for an attempt. 0 = the default limit, 1 MiB.
    pub fn open(&self, attempt: &AttemptId, limit_bytes: u64) {
        let limit = if limit_bytes == 0 { limits::OUTPUT_BYTES_DEFAULT } else { limit_bytes };
        let limit = usize::try_from(limit.min(limits::OUTPUT_BYTES)).unwrap_or(usize::MAX);
        let mut logs = self.lock();
        // One of this name that another job of the same id had is gone.
        logs.ended.retain(|ended| ended != attempt);
        let former = logs.all.insert(attempt.clone(), Log { limit, ..Log::default() });
        logs.total -= former.map_or(0, |log| log.kept.len());
    }

    /// Adds what an attempt has written. Nothing if it was not opened, or has been dropped since.
    pub fn append(&self, attempt: &AttemptId, data: &[u8]) {
        let mut logs = self.lock();
        let Some(log) = logs.all.get_mut(attempt) else { return };
        let tail = &data[data.len().saturating_sub(log.limit)..];
        log.dropped += (data.len() - tail.len()) as u64;
        log.kept.extend(tail);
        let dropped = log.shorten(log.limit);
        logs.total = logs.total + tail.len() - dropped;
        logs.trim(attempt);
    }

    /// An attempt has ended: from now on it may be dropped for newer ones.
    pub fn ended(&self, attempt: &AttemptId) {
        let mut logs = self.lock();
        if logs.all.contains_key(attempt) && !logs.ended.contains(attempt) {
            logs.ended.push_back(attempt.clone());
        }
        while logs.ended.len() > limits::OUTPUT_ATTEMPTS {
            logs.drop_oldest();
        }
    }

    /// How many bytes were dropped, and the others in chunks of at most 64 KiB. `None`: there is no such attempt here.
    #[must_use]
    pub fn read(&self, attempt: &AttemptId) -> Option<(u64, Vec<Bytes>)> {
        let logs = self.lock();
        let log = logs.all.get(attempt)?;
        let (first, second) = log.kept.as_slices();
        let chunks =
            first.chunks(limits::OUTPUT_CHUNK_BYTES).chain(second.chunks(limits::OUTPUT_CHUNK_BYTES));
        Some((log.dropped, chunks.map(Bytes::copy_from_slice).collect()))
    }
}

impl Logs {
    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.ended.pop_front() else { return false };
        self.total -= self.all.remove(&oldest).map_or(0, |log| log.kept.len());
        true
    }

    /// Keeps within the total: first what has ended goes, then the front of the one that writes.
    fn trim(&mut self, writer: &AttemptId) {
        while self.total > limits::OUTPUT_TOTAL_BYTES && self.drop_oldest() {}
        let over = self.total.saturating_sub(limits::OUTPUT_TOTAL_BYTES);
        if over > 0
            && let Some(log) = self.all.get_mut(writer)
        {
            self.total -= log.shorten(log.kept.len().saturating_sub(over));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::types::{Epoch, JobId, TaskKey};

    fn attempt(epoch: u64) -> AttemptId {
        let task = TaskKey { job: JobId::parse("j").unwrap(), number: 0 };
        AttemptId { task, epoch: Epoch(epoch) }
    }

    fn text(logs: &LogStore, id: &AttemptId) -> (u64, String) {
        let (dropped, chunks) = logs.read(id).unwrap();
        assert!(chunks.iter().all(|chunk| chunk.len() <= limits::OUTPUT_CHUNK_BYTES));
        (dropped, String::from_utf8(chunks.concat()).unwrap())
    }

    #[test]
    fn the_newest_bytes_stay() {
        let (logs, id) = (LogStore::default(), attempt(1));
        logs.append(&id, b"nobody opened it");
        assert_eq!(logs.read(&id), None);
        logs.open(&id, 8);
        logs.append(&id, b"abcdef");
        logs.append(&id, b"ghij");
        assert_eq!(text(&logs, &id), (2, "cdefghij".to_owned()));
        logs.append(&id, b"0123456789");
        assert_eq!(text(&logs, &id), (12, "23456789".to_owned()));
        assert_eq!(logs.lock().total, 8);
    }

    #[test]
    fn the_oldest_ended_attempts_go_first() {
        let logs = LogStore::default();
        let last = limits::OUTPUT_ATTEMPTS as u64 + 3;
        for epoch in 0..last {
            logs.open(&attempt(epoch), 8);
            logs.append(&attempt(epoch), b"x");
            if epoch != 0 {
                logs.ended(&attempt(epoch));
            }
        }
        assert!(logs.read(&attempt(0)).is_some(), "it has not ended");
        assert!(logs.read(&attempt(1)).is_none() && logs.read(&attempt(2)).is_none());
        assert!(logs.read(&attempt(3)).is_some());
        assert_eq!(logs.lock().total, limits::OUTPUT_ATTEMPTS + 1);
    }

    #[test]
    fn all_together_keep_their_limit() {
        let logs = LogStore::default();
        let block = vec![b'x'; usize::try_from(limits::OUTPUT_BYTES).unwrap()];
        let count = limits::OUTPUT_TOTAL_BYTES / block.len() + 2;
        for epoch in 0..count as u64 {
            logs.open(&attempt(epoch), limits::OUTPUT_BYTES);
            logs.append(&attempt(epoch), &block);
            assert!(logs.lock().total <= limits::OUTPUT_TOTAL_BYTES);
            if epoch == 0 {
                logs.ended(&attempt(epoch));
            }
        }
        assert!(logs.read(&attempt(0)).is_none());
        assert!(logs.read(&attempt(1)).is_some());
    }
}
