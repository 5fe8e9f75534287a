//! Reads the cold part of a data directory, slowly, again and again.

use crate::{
    driver::NodeHandle,
    rt::{self, Duration, Instant, select},
    storage::{
        DiskError, SnapshotStore,
        scrub::{Cold, Finding, Scrub, Step},
    },
};
use quorate_core::{
    Input,
    bug::{self, Bug},
};

/// How the cold part of a data directory is read.
#[cfg(not(madsim))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubOptions {
    /// Bytes a second; 0: never.
    pub rate: u64,
    /// Between two rounds, and before the first.
    pub pause: Duration,
}

/// What is read in a second when nothing else is said, in bytes.
#[cfg(not(madsim))]
pub const SCRUB_RATE: u64 = 4 * 1024 * 1024;
/// The time between two rounds when nothing else is said.
#[cfg(not(madsim))]
pub const SCRUB_PAUSE: Duration = Duration::from_secs(3600);

#[cfg(not(madsim))]
impl Default for ScrubOptions {
    fn default() -> Self {
        Self { rate: SCRUB_RATE, pause: SCRUB_PAUSE }
    }
}

/// Until the node has stopped. It blocks its thread while it reads.
#[cfg(not(madsim))]
pub(super) async fn scrub(snapshots: SnapshotStore, options: ScrubOptions, node: NodeHandle) {
    if options.rate == 0 {
        return;
    }
    while wait(&node, options.pause).await {
        match round(&snapshots, options.rate, &node).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::error!(%error, "the data directory cannot be read"),
        }
    }
}

/// False: the node has stopped.
pub(super) async fn wait(node: &NodeHandle, time: Duration) -> bool {
    select! {
        biased;
        () = node.stopped() => false,
        () = rt::sleep(time) => true,
    }
}

/// Reads everything once, and tells the node if anything is damaged. False: the node has stopped.
///
/// # Errors
/// The disk's.
pub async fn round(snapshots: &SnapshotStore, rate: u64, node: &NodeHandle) -> Result<bool, DiskError> {
    let (begun, mut read, mut damaged) = (Instant::now(), 0_u64, false);
    let mut scrub = Scrub::new(snapshots)?;
    loop {
        match scrub.step()? {
            Step::Done => break,
            Step::Read(bytes) => read += bytes,
            Step::Found(finding) => {
                damaged = true;
                tell(&finding);
                // Before the node hears of it: what it writes anew may get the same name, and is whole. The damaged file
                // goes when that is durable.
                match finding.cold {
                    Cold::Snapshot(at) => snapshots.set_aside(at),
                    Cold::Segment(sequence) => snapshots.shun(sequence),
                }
                // At once: what is read next may fail.
                if !bug::planted(Bug::NetDamageUntold) && !node.lanes().control(Input::DiskDamaged).await {
                    return Ok(false);
                }
            }
        }
        let due = Duration::from_millis(read.saturating_mul(1_000) / rate);
        let early = due.saturating_sub(begun.elapsed());
        if !early.is_zero() && !wait(node, early).await {
            return Ok(false);
        }
    }
    tracing::debug!(read, damaged, "the data directory was read");
    Ok(true)
}

fn tell(finding: &Finding) {
    let Finding { file, offset, what, .. } = finding;
    tracing::error!(
        %file, offset, %what,
        "a file is damaged: the state is written anew, and then the file goes; look at the disk"
    );
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use crate::{
        driver::{Identity as Who, LaneReader, WorkDone, lanes},
        peers::Directory,
        rt::broadcast,
        storage::{Disk, Identity, MemoryDisk, Storage, StorageOptions},
    };
    use quorate_core::{
        contract::{Entry, LogPosition, Snapshot, Write},
        state::State,
        types::{ClusterId, Index, NodeId, StorageId, Term, WriteId},
    };
    use std::{collections::BTreeMap, sync::Arc};

    const IDENTITY: Identity = Identity::new(ClusterId(1), NodeId(1), StorageId(1));

    /// A node that hears what it is told, and does nothing.
    fn listener() -> (NodeHandle, LaneReader) {
        let (entrances, reader) = lanes();
        let who = Who { cluster: IDENTITY.cluster, node: IDENTITY.node, storage: IDENTITY.storage };
        let node = NodeHandle::new(
            entrances,
            broadcast::channel(1).0,
            who,
            Directory::new(BTreeMap::new()),
            Arc::default(),
            Arc::<WorkDone>::default(),
        );
        (node, reader)
    }

    fn at(index: u64) -> LogPosition {
        LogPosition { term: Term(1), index: Index(index) }
    }

    fn save(store: &SnapshotStore, index: u64) -> LogPosition {
        store.save(&Snapshot { at: at(index), state: State::default() }).expect("it is saved");
        at(index)
    }

    async fn tells_of_damage(store: &SnapshotStore) {
        let (node, mut reader) = listener();
        assert!(round(store, u64::MAX, &node).await.expect("the disk is read"));
        assert!(reader.try_next().is_some(), "the node was told");
        assert!(reader.try_next().is_none());
    }

    #[tokio::test]
    async fn a_damaged_snapshot_is_told_of_and_stays_until_another_one_is_durable() {
        let disk = Arc::new(MemoryDisk::new());
        let (log, _) =
            Storage::open(Arc::<MemoryDisk>::clone(&disk), IDENTITY, StorageOptions::default()).unwrap();
        let store = log.snapshots();
        let (older, newest) = (save(&store, 1), save(&store, 2));
        assert!(disk.flip_bit("snapshot-0000000000000001-0000000000000002", 8 * 70));
        tells_of_damage(&store).await;
        assert_eq!((store.list().unwrap(), store.newest().unwrap()), (vec![older, newest], Some(older)));
        assert_eq!(store.read_chunk(newest, 0).unwrap(), None, "nobody is sent it");
        let mended = save(&store, 3);
        assert_eq!(store.list().unwrap(), [older, mended]);
        assert!(disk.list().unwrap().iter().all(|name| !name.ends_with("0002")));
    }

    #[tokio::test]
    async fn a_damaged_segment_is_told_of_and_no_other_is_written_in_its_place() {
        let disk = Arc::new(MemoryDisk::new());
        let options = StorageOptions { segment_bytes: 1_000 };
        let (mut log, _) = Storage::open(Arc::<MemoryDisk>::clone(&disk), IDENTITY, options).unwrap();
        let store = log.snapshots();
        let write = |index: u64| Write {
            io: WriteId(index),
            start: None,
            entries: vec![Entry { term: Term(1), index: Index(index), data: vec![7; 150].into() }],
            hard_state: None,
            voters: None,
        };
        for index in 1..=20 {
            log.write(&[write(index)]).unwrap();
        }
        assert!(disk.flip_bit("wal-0000000000000002", 8 * 300));
        tells_of_damage(&store).await;
        // What the node does then.
        let start = Some(save(&store, 20));
        log.write(&[Write { io: WriteId(21), start, entries: Vec::new(), ..write(20) }]).unwrap();
        let names = disk.list().unwrap();
        let of = |sequence: &str| names.iter().filter(|name| name.ends_with(sequence)).count();
        assert_eq!(
            (of("0000000000000001"), of("0000000000000002")),
            (1, 0),
            "one is kept for later: {names:?}"
        );
    }
}
