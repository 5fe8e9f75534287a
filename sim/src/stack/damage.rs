//! What breaks on masters' disks besides single writes: no room is left, nothing is done, nothing can be read, bits flip; and
//! what is read in the background finds them.

use super::stage::{SECOND, Stage, World};
use crate::{
    draw::{Purpose, again, within},
    oracle::Rule,
};
use quorate_core::types::Index;
use quorate_net::{
    scrub_round,
    storage::{
        Disk, MemoryDisk, SnapshotStore,
        scan::decode_segment,
        scrub::{Finding, Scrub, Step},
        segment::{SEGMENT_HEADER_BYTES, SegmentHeader, file_name, parse_file_name},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How often a disk that hangs is asked whether it still does, milliseconds.
const HANGS_MS: u64 = 5;
/// Within this time a running node has written anew what it was told of.
const MEND: u64 = 5 * SECOND;
/// More than any directory has, and less than any number that is computed with it.
const ROOMY: u64 = 1 << 50;

/// What is wrong with a master's disk, by fault.
#[derive(Default)]
pub(super) struct Troubles {
    /// No room is left.
    pub(super) full: BTreeSet<usize>,
    /// Nothing is done.
    pub(super) hangs: BTreeSet<usize>,
    /// Nothing can be read.
    pub(super) unreadable: BTreeSet<usize>,
    /// A bit was turned over, and nobody has seen yet that all is well again.
    pub(super) rotten: bool,
    /// What was in each file in which bits were turned over, and what is.
    turned: BTreeMap<String, Turned>,
    /// What a run of its master was told to be damaged.
    told: Option<Told>,
}

struct Told {
    run: u64,
    time: u64,
    /// The end of its log at that time.
    last: Index,
    files: BTreeSet<String>,
}

#[derive(Default)]
struct Turned {
    right: Vec<u8>,
    wrong: Vec<u8>,
}

impl Troubles {
    /// What was damaged is gone with the disk.
    pub(super) fn new_disk(&mut self) {
        (self.rotten, self.told) = (false, None);
        self.turned.clear();
        // A new disk has room.
        self.full.clear();
    }

    /// A master may find that its disk fails.
    pub(super) fn may_fail(&self) -> bool {
        !self.full.is_empty() || !self.unreadable.is_empty()
    }
}

/// Reads all that is cold, and gives what is damaged.
pub(super) fn findings(store: &SnapshotStore) -> Result<Vec<Finding>, String> {
    let mut scrub = Scrub::new(store).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    loop {
        match scrub.step().map_err(|error| error.to_string())? {
            Step::Read(_) => {}
            Step::Found(finding) => found.push(finding),
            Step::Done => return Ok(found),
        }
    }
}

/// Files in which any bit counts and nobody writes, with the number of such bytes: the newest snapshot, or the segments that
/// are complete.
fn cold(disk: &MemoryDisk, snapshot: bool) -> Vec<(String, u64)> {
    let names = disk.list().unwrap_or_default();
    if snapshot {
        let newest = names.into_iter().rfind(|name| SnapshotStore::is_snapshot(name));
        let size = |name: &String| disk.size(name).unwrap_or(0);
        return newest.into_iter().map(|name| (name.clone(), size(&name))).collect();
    }
    let mut ends = BTreeMap::new();
    for name in names.iter().filter(|name| parse_file_name(name).is_some()) {
        let header = disk.read(name, 0, SEGMENT_HEADER_BYTES).ok();
        if let Some((header, _)) = header.and_then(|bytes| SegmentHeader::decode(&bytes)) {
            ends.insert(file_name(header.previous.sequence), header.previous.offset);
        }
    }
    ends.into_iter().filter(|(name, end)| names.contains(name) && *end > 0).collect()
}

/// The bytes of a file that count.
fn content(disk: &MemoryDisk, name: &str, bytes: u64) -> Vec<u8> {
    disk.read(name, 0, usize::try_from(bytes).unwrap_or(usize::MAX)).unwrap_or_default()
}

/// The file of the log that is being written, and what of it was durable when its last batch began: a batch that was cut
/// off explains no damage there.
fn hot(disk: &MemoryDisk) -> Option<(String, u64)> {
    let names = disk.list().ok()?.into_iter().filter(|name| parse_file_name(name).is_some());
    // One that is ready for what is to follow does not count yet.
    let (segment, name) =
        names.rev().find_map(|name| Some((decode_segment(&content(disk, &name, u64::MAX)).ok()?, name)))?;
    let durable = segment.batches.last()?.head.watermark;
    (durable > 0).then_some((name, durable))
}

impl Troubles {
    /// A file in which bits were turned over is still as it was then.
    fn is_damaged(&self, disk: &MemoryDisk) -> bool {
        self.turned.iter().any(|(name, Turned { right, wrong })| {
            right != wrong && content(disk, name, wrong.len() as u64) == *wrong
        })
    }
}

impl World {
    /// A master starts from an older state, because a snapshot is damaged: it is told so, and writes another one.
    pub(super) fn starts_from_older(&mut self, place: usize, store: &SnapshotStore, last: Index) {
        if store.damaged().is_empty() {
            return;
        }
        let (run, time) = (self.masters[place].run, self.ledger.time);
        let files = findings(store).unwrap_or_default().into_iter().map(|it| it.file).collect();
        self.masters[place].troubles.told = Some(Told { run, time, last, files });
        self.count("a master starts from an older snapshot");
        self.tell_master(place, "start", || "a snapshot is damaged".to_owned());
    }

    /// Whoever reads all that is cold finds what was turned over in it, if that is still there.
    fn turned_is_found(&mut self, place: usize, found: &[Finding]) {
        let Troubles { turned, .. } = &self.masters[place].troubles;
        let disk = &self.masters[place].disk;
        let cold: BTreeMap<String, u64> =
            [cold(disk, false), cold(disk, true)].into_iter().flatten().collect();
        let damaged = |name: &String, it: &Turned| {
            it.right != it.wrong
                && cold.get(name).is_some_and(|&bytes| content(disk, name, bytes) == it.wrong)
        };
        let seen = |name: &String| found.iter().any(|finding| finding.file == *name);
        let missed = turned.iter().find(|(name, it)| damaged(name, it) && !seen(name)).map(|(name, _)| name);
        self.ledger.hold(Rule::DamageFound, missed.is_none(), || {
            format!(
                "node {} reads all that it has stored; a bit in {missed:?} is wrong, and it finds {found:?}",
                place + 1
            )
        });
    }

    /// No room is left on a master's disk, or only little.
    pub(super) fn fill(&mut self, fault: usize, place: usize) -> bool {
        let luck = self.draw(Purpose::Fault, &[fault as u64]);
        let master = &mut self.masters[place];
        master.disk.set_capacity(Some(ROOMY));
        let used = master.disk.space().ok().flatten().map_or(0, |space| space.total - space.free);
        let more = [0, 0, 300, 3_000, 30_000, 300_000][(luck % 6) as usize];
        master.disk.set_capacity(Some(used + within(again(luck, 1), 0, more)));
        master.troubles.full.insert(fault);
        master.may_stop = true;
        true
    }

    /// A fault of a disk is over. Whether its master has stopped because of it.
    pub(super) fn relieve(&mut self, fault: usize, place: usize) -> bool {
        let master = &mut self.masters[place];
        let troubles = &mut master.troubles;
        let was = troubles.full.remove(&fault) | troubles.unreadable.remove(&fault);
        troubles.hangs.remove(&fault);
        if troubles.full.is_empty() {
            master.disk.set_capacity(None);
        }
        was && master.stopped && !master.gone
    }

    /// All that can be mended of a disk is.
    pub(super) fn relieve_all(&mut self, place: usize) {
        let master = &mut self.masters[place];
        master.slow.clear();
        (master.troubles.full, master.troubles.unreadable) = (BTreeSet::new(), BTreeSet::new());
        master.troubles.hangs.clear();
        master.disk.set_capacity(None);
    }

    /// Turns over a bit of what is durable in a snapshot, or in the log.
    pub(super) fn rot(&mut self, fault: usize, place: usize, snapshot: bool) -> bool {
        if !self.joined_by_all() || !self.begun() || self.masters[place].wiped || !self.may_lose(place) {
            return false;
        }
        let luck = self.draw(Purpose::Fault, &[fault as u64]);
        let master = &mut self.masters[place];
        let mut files = cold(&master.disk, snapshot);
        files.extend(hot(&master.disk).filter(|_| !snapshot));
        let Some(chosen) = (luck as usize).checked_rem(files.len()) else { return false };
        let (name, bytes) = &files[chosen];
        let right = content(&master.disk, name, *bytes);
        if !master.disk.flip_bit(name, within(again(luck, 1), 0, bytes * 8 - 1)) {
            return false;
        }
        let wrong = content(&master.disk, name, *bytes);
        let turned = master.troubles.turned.entry(name.clone()).or_default();
        // Another bit of the same file may be wrong already.
        if turned.wrong != right {
            turned.right = right;
        }
        turned.wrong = wrong;
        master.troubles.rotten = true;
        if let Some(told) = &mut master.troubles.told {
            told.files.remove(name);
        }
        let name = name.clone();
        self.tell_master(place, "rots", || name);
        true
    }

    /// What a running node was told of is written anew, once it had time for that.
    pub(super) fn damage_is_mended(&mut self, place: usize) {
        let (now, master) = (self.ledger.time, &mut self.masters[place]);
        let (Some(told), Some(cold)) = (&master.troubles.told, &master.cold) else { return };
        let hindered = master.pauses > 0
            || !master.slow.is_empty()
            || master.troubles.may_fail()
            || !master.troubles.hangs.is_empty()
            || master.may_stop;
        // What it covers must be carried out: a master that is cut off may wait for that.
        let carried = master.status.as_ref().is_some_and(|(_, status)| status.applied_index >= told.last.0);
        let since = now.saturating_sub(told.time);
        if !master.up || told.run != master.run || hindered || !carried || since < MEND {
            return;
        }
        let found = findings(cold).unwrap_or_default();
        let left = found.iter().find(|finding| told.files.contains(&finding.file));
        self.ledger.hold(Rule::DamageMended, left.is_none(), || {
            format!("node {} was told that its disk is damaged; it still is: {left:?}", place + 1)
        });
        if found.is_empty() {
            (master.troubles.rotten, master.troubles.told) = (master.troubles.is_damaged(&master.disk), None);
            self.count("what was damaged is written anew");
        }
    }
}

impl Stage {
    /// Waits as long as a disk hangs.
    pub(super) async fn disk_moves(&self, place: usize) {
        while !self.world().masters[place].troubles.hangs.is_empty() {
            self.wait_ms(HANGS_MS).await;
        }
    }

    /// Reads all that a master has stored, as its server does now and then.
    pub(super) async fn scrub(&self, place: usize) -> bool {
        let (cold, handle) = {
            let mut world = self.world();
            let (now, master) = (world.time(), &mut world.masters[place]);
            let still = master.pauses > 0 || !master.troubles.hangs.is_empty();
            let (Some(cold), Some(handle)) = (master.cold.clone(), master.handle.clone()) else {
                return false;
            };
            if !master.up || still || !master.troubles.unreadable.is_empty() {
                return false;
            }
            let found = findings(&cold).unwrap_or_default();
            world.turned_is_found(place, &found);
            let master = &world.masters[place];
            if !found.is_empty() {
                let (run, files) = (master.run, found.iter().map(|it| it.file.clone()).collect());
                let last = world.commits.image(place).last().index;
                world.masters[place].troubles.told = Some(Told { run, time: now, last, files });
                world.count("damage is found while its master runs");
                world.tell_master(place, "scrub", || format!("finds {found:?}"));
            }
            (cold, handle)
        };
        // As fast as it can: nothing waits for a simulated disk here.
        scrub_round(&cold, u64::MAX, &handle).await.is_ok()
    }
}

/// Where a master's cold files are, as long as it runs.
pub(super) type Cold = Arc<SnapshotStore>;
