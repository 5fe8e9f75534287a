//! Carries writes to the disk, away from the loop: all that wait go with one sync.

use super::{lanes::Lanes, work::Work};
use crate::{
    limits::{WRITE_BATCH, WRITE_BATCH_BYTES},
    rt::{Duration, Instant, mpsc, timeout},
};
use bytes::Bytes;
use quorate_core::{
    Input,
    bug::{self, Bug},
    contract::{LogPosition, Snapshot, Write},
    state::State,
    types::NodeId,
};
use std::sync::Arc;

/// The log on disk.
pub trait LogWriter: Send + 'static {
    /// Makes all of them durable, in their order. Runs on a thread of its own, which it may block; a simulated disk waits
    /// instead.
    ///
    /// # Errors
    /// What the disk said. Final: nothing is written after it.
    fn write(&mut self, batch: &[Write]) -> impl Future<Output = Result<(), String>> + Send;
}

/// The snapshots on disk. Runs on a thread of its own, which it may block.
pub trait SnapshotFiles: Send + 'static {
    /// Whether one of them was found damaged, and is still there. The node is told when it starts.
    fn are_damaged(&self) -> bool;

    /// Writes a state aside in chunks of at most so many bytes, syncs and renames. False: there is no room for it now.
    ///
    /// # Errors
    /// What the disk said. Final: the node stops.
    fn save(
        &mut self,
        snapshot: &Snapshot,
        chunk_bytes: usize,
    ) -> impl Future<Output = Result<bool, String>> + Send;

    /// Writes a chunk of a peer's snapshot aside; number 0 drops what was there, the last one syncs and renames. False:
    /// it does not follow the one before, and its sender has to start over.
    ///
    /// # Errors
    /// What the disk said. Final: the node stops.
    fn store_chunk(
        &mut self,
        at: LogPosition,
        number: u64,
        data: Bytes,
        last: bool,
    ) -> impl Future<Output = Result<bool, LoadError>> + Send;

    /// A chunk of the snapshot at this place, and whether it is the last. `None`: that snapshot is not there.
    ///
    /// # Errors
    /// What the disk said.
    fn read_chunk(
        &mut self,
        at: LogPosition,
        number: u64,
    ) -> impl Future<Output = Result<Option<(Bytes, bool)>, String>> + Send;

    /// The state in the snapshot at this place. `None`: that snapshot is not there.
    ///
    /// # Errors
    /// What the disk said, or what does not decode.
    fn load(&mut self, at: LogPosition) -> impl Future<Output = Result<Option<State>, LoadError>> + Send;
}

/// Why a snapshot cannot be loaded, or taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// It is of a feature level that this program does not know: this one, or a higher one.
    TooNew(u32),
    /// What the disk said, or what does not decode.
    Unreadable(String),
}

/// Until the driver or the disk ends. The queue has no bound of its own: a node writes no more than its limits allow
/// before a write is done.
pub(crate) async fn write_all(
    mut log: impl LogWriter,
    mut queue: mpsc::UnboundedReceiver<Write>,
    lanes: Lanes,
    work: Arc<Work>,
) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, WRITE_BATCH).await > 0 {
        let mut behind = waiting.as_slice();
        while !behind.is_empty() {
            let (batch, rest) = behind.split_at(batch_length(behind));
            behind = rest;
            let Some(io) = batch.last().map(|write| write.io) else { continue };
            if bug::planted(Bug::NetDoneEarly) {
                lanes.control(Input::WriteDone { io }).await;
            }
            let begun = Instant::now();
            if let Err(message) = log.write(batch).await {
                tracing::error!(%message, "a write to the log failed");
                lanes.control(Input::WriteFailed { message }).await;
                return;
            }
            let (count, bytes) = batch.iter().map(size).fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
            work.synced(begun.elapsed(), count, bytes);
            if !lanes.control(Input::WriteDone { io }).await {
                return;
            }
        }
        waiting.clear();
    }
}

/// The entries of a write, and their bytes.
fn size(write: &Write) -> (usize, usize) {
    (write.entries.len(), write.entries.iter().map(|entry| entry.data.len()).sum())
}

/// How many of these go with one sync: at least one.
fn batch_length(waiting: &[Write]) -> usize {
    let mut room = WRITE_BATCH_BYTES;
    let fits = |write: &&Write| {
        let left = room.checked_sub(size(write).1);
        room = left.unwrap_or(0);
        left.is_some()
    };
    waiting.iter().take_while(fits).count().max(1)
}

/// What is done with snapshots off the loop.
#[derive(Debug)]
pub(crate) enum SnapshotWork {
    Save(Box<Snapshot>),
    Store { at: LogPosition, number: u64, data: Bytes, last: bool },
    Read { peer: NodeId, at: LogPosition, number: u64 },
    Load { at: LogPosition },
    Drop(Box<State>),
}

/// `later`: what there was no room for, and when it is tried again, however much else there is to do.
async fn next_work(
    queue: &mut mpsc::UnboundedReceiver<SnapshotWork>,
    later: &mut Option<(Instant, Box<Snapshot>)>,
) -> Option<SnapshotWork> {
    let Some((due, _)) = later else { return queue.recv().await };
    let left = due.saturating_duration_since(Instant::now());
    let found = if left.is_zero() { None } else { timeout(left, queue.recv()).await };
    match found {
        Some(work) => work,
        None => later.take().map(|(_, snapshot)| SnapshotWork::Save(snapshot)),
    }
}

/// Until the driver ends, or a snapshot cannot be written. What there is no room for is tried again after `retry`.
pub(crate) async fn keep_snapshots(
    mut files: impl SnapshotFiles,
    mut queue: mpsc::UnboundedReceiver<SnapshotWork>,
    lanes: Lanes,
    chunk_bytes: usize,
    retry: Duration,
) {
    if files.are_damaged() && !lanes.control(Input::DiskDamaged).await {
        return;
    }
    // What there was no room for. The node asks for one at a time.
    let mut later = None;
    while let Some(work) = next_work(&mut queue, &mut later).await {
        let done = match work {
            SnapshotWork::Save(snapshot) => {
                let at = snapshot.at;
                match files.save(&snapshot, chunk_bytes).await {
                    Ok(true) => Ok(Input::SnapshotSaved { at }),
                    Ok(false) => {
                        later = Some((Instant::now() + retry, snapshot));
                        continue;
                    }
                    Err(message) => Err(message),
                }
            }
            SnapshotWork::Store { at, number, data, last } => {
                match files.store_chunk(at, number, data, last).await {
                    Ok(true) => Ok(Input::SnapshotChunkStored { at, number, last }),
                    Ok(false) => Ok(Input::SnapshotChunkRefused { at, number }),
                    Err(LoadError::TooNew(level)) => Ok(Input::SnapshotTooNew { level }),
                    Err(LoadError::Unreadable(message)) => Err(message),
                }
            }
            SnapshotWork::Read { peer, at, number } => {
                let chunk = files.read_chunk(at, number).await.unwrap_or_else(|message| {
                    tracing::warn!(%message, ?at, number, "a snapshot cannot be read");
                    None
                });
                Ok(Input::SnapshotChunkRead { peer, at, number, chunk })
            }
            SnapshotWork::Load { at } => Ok(match files.load(at).await {
                Ok(state) => Input::SnapshotLoaded { at, state: state.map(Box::new) },
                Err(LoadError::TooNew(level)) => Input::SnapshotTooNew { level },
                Err(LoadError::Unreadable(message)) => {
                    tracing::error!(%message, ?at, "a snapshot cannot be loaded");
                    Input::SnapshotLoaded { at, state: None }
                }
            }),
            SnapshotWork::Drop(state) => {
                drop(state);
                continue;
            }
        };
        let failed = done.is_err();
        let input = done.unwrap_or_else(|message| {
            tracing::error!(%message, "a snapshot cannot be written");
            Input::WriteFailed { message }
        });
        if !lanes.control(input).await || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::lanes::{Work, lanes},
        *,
    };
    use futures::FutureExt;
    use quorate_core::{
        contract::Entry,
        types::{Index, Term, WriteId},
    };
    use std::sync::{Arc, Mutex};

    struct Recorded(Arc<Mutex<Vec<Vec<u64>>>>, Option<u64>);

    impl LogWriter for Recorded {
        async fn write(&mut self, batch: &[Write]) -> Result<(), String> {
            let ids: Vec<u64> = batch.iter().map(|write| write.io.0).collect();
            if self.1.is_some_and(|bad| ids.contains(&bad)) {
                return Err("disk full".into());
            }
            self.0.lock().unwrap().push(ids);
            Ok(())
        }
    }

    fn write(io: u64) -> Write {
        Write { io: WriteId(io), start: None, entries: Vec::new(), hard_state: None, voters: None }
    }

    fn run(ids: &[u64], bad: Option<u64>) -> (Vec<Vec<u64>>, Vec<Input>) {
        let (lanes, mut reader) = lanes();
        let (queue, waiting) = mpsc::unbounded_channel();
        for &io in ids {
            queue.send(write(io)).unwrap();
        }
        drop(queue);
        let batches = Arc::new(Mutex::new(Vec::new()));
        write_all(Recorded(Arc::clone(&batches), bad), waiting, lanes, Arc::default())
            .now_or_never()
            .expect("nothing to wait for");
        let inputs = std::iter::from_fn(|| reader.try_next())
            .filter_map(|work| if let Work::Input(input) = work { Some(input) } else { None })
            .collect();
        let batches = batches.lock().unwrap().clone();
        (batches, inputs)
    }

    #[test]
    fn what_goes_with_one_sync_is_bounded_in_bytes_and_large_writes_go_alone() {
        let sized = |mebibytes: usize| {
            let data = Bytes::from(vec![0; mebibytes << 20]);
            Write { entries: vec![Entry { term: Term(1), index: Index(1), data }], ..write(1) }
        };
        let most = WRITE_BATCH_BYTES >> 20;
        let waiting = [1, most - 1, 1, most + 1, 0, most].map(sized);
        let mut behind = waiting.as_slice();
        let mut lengths = Vec::new();
        while !behind.is_empty() {
            lengths.push(batch_length(behind));
            behind = &behind[lengths[lengths.len() - 1]..];
        }
        assert_eq!(lengths, [2, 1, 1, 2]);
    }

    #[test]
    fn all_that_wait_go_with_one_sync_and_the_highest_is_named() {
        let (batches, inputs) = run(&[3, 4, 9], None);
        assert_eq!(batches, [[3, 4, 9]]);
        assert!(matches!(inputs[..], [Input::WriteDone { io: WriteId(9) }]), "{inputs:?}");
    }

    /// Has room from the third try on.
    #[cfg(not(madsim))]
    struct Full(u32);

    #[cfg(not(madsim))]
    impl SnapshotFiles for Full {
        fn are_damaged(&self) -> bool {
            true
        }

        async fn save(&mut self, _: &Snapshot, _: usize) -> Result<bool, String> {
            self.0 += 1;
            Ok(self.0 > 2)
        }

        async fn store_chunk(
            &mut self,
            _: LogPosition,
            _: u64,
            _: Bytes,
            _: bool,
        ) -> Result<bool, LoadError> {
            Ok(false)
        }

        async fn read_chunk(&mut self, _: LogPosition, _: u64) -> Result<Option<(Bytes, bool)>, String> {
            Ok(None)
        }

        async fn load(&mut self, _: LogPosition) -> Result<Option<State>, LoadError> {
            Ok(None)
        }
    }

    #[cfg(not(madsim))]
    #[test]
    fn a_snapshot_that_there_is_no_room_for_is_tried_again_and_others_are_served_meanwhile() {
        let (lanes, mut reader) = lanes();
        let (queue, waiting) = mpsc::unbounded_channel();
        let at = LogPosition::default();
        queue.send(SnapshotWork::Save(Box::new(Snapshot { at, state: State::default() }))).unwrap();
        queue.send(SnapshotWork::Read { peer: NodeId(2), at, number: 0 }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let kept = async {
            let mut next = async || match reader.next().await {
                Some(Work::Input(input)) => input,
                _ => panic!("something else"),
            };
            assert!(matches!(next().await, Input::DiskDamaged), "what a start found comes first");
            // There is always something else to do.
            for reads in 1.. {
                match next().await {
                    Input::SnapshotSaved { .. } => break,
                    Input::SnapshotChunkRead { .. } => {
                        assert!(reads < 1_000_000, "nobody tries again");
                        queue.send(SnapshotWork::Read { peer: NodeId(2), at, number: reads }).unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        runtime.block_on(async {
            let keeper = keep_snapshots(Full(0), waiting, lanes, 1, Duration::from_millis(1));
            futures::pin_mut!(kept, keeper);
            futures::future::select(kept, keeper).await;
        });
    }

    #[cfg(not(madsim))]
    #[test]
    fn a_chunk_that_there_is_no_room_for_is_refused_so_that_its_snapshot_begins_anew() {
        let (lanes, mut reader) = lanes();
        let (queue, waiting) = mpsc::unbounded_channel();
        let at = LogPosition::default();
        queue.send(SnapshotWork::Store { at, number: 3, data: Bytes::new(), last: false }).unwrap();
        drop(queue);
        keep_snapshots(Full(0), waiting, lanes, 1, Duration::from_millis(1))
            .now_or_never()
            .expect("all is done");
        let mut inputs = std::iter::from_fn(|| reader.try_next()).filter_map(|work| match work {
            Work::Input(input) => Some(input),
            _ => None,
        });
        assert!(matches!(inputs.next(), Some(Input::DiskDamaged)));
        assert!(matches!(inputs.next(), Some(Input::SnapshotChunkRefused { number: 3, .. })));
    }

    #[test]
    fn a_failed_write_is_told_and_is_the_last() {
        let (batches, inputs) = run(&[1, 2], Some(2));
        assert!(batches.is_empty());
        assert!(
            matches!(&inputs[..], [Input::WriteFailed { message }] if message == "disk full"),
            "{inputs:?}"
        );
    }
}
