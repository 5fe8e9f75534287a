//! What happens on masters' disks: writes and snapshots come onto them, or fail; what is damaged is found.

use super::{DiskEvent, Event, MICROSECOND, MILLISECOND, World, describe};
use crate::{
    disk::StoredSnapshot,
    draw::{Purpose, again, draw, within},
    marks::SimMark,
    master::Master,
    network::Endpoint,
    oracle::Rule,
};
use quorate_core::{
    Input,
    contract::{LogPosition, Write},
    types::Index,
};
use std::collections::BTreeSet;

/// Within this time a running node has written anew what it was told of, milliseconds.
const MEND_MS: u64 = 5_000;

/// What a run of a master was told of.
#[derive(Clone, Debug)]
pub struct ToldDamage {
    run: u64,
    time: u64,
    /// The end of its log at that time.
    last: Index,
    entries: BTreeSet<Index>,
    snapshot: Option<LogPosition>,
}

impl World {
    pub(super) fn write(&mut self, at: usize, write: Write) {
        if self.oracles.is_some() {
            self.caught_up(at, &write.entries);
        }
        let master = &mut self.masters[at];
        let disk = &mut master.disk;
        disk.writes += 1;
        let (place, run, io) = (at as u8, master.run, write.io);
        let luck = draw(self.plan.seed, Purpose::DiskLatency, &[u64::from(place), run, disk.writes]);
        let plan = &self.plan.disk;
        let slow = master.slow.iter().map(|(_, time)| *time).max();
        self.marks.hit_if(slow.is_some_and(|time| time > plan.sync_max_us), SimMark::SlowWrite);
        let sync = slow.unwrap_or_else(|| within(luck, plan.sync_min_us, plan.sync_max_us)) * MICROSECOND;
        let done = (self.time + sync).max(disk.busy_until + 10 * MICROSECOND);
        disk.busy_until = done;
        if let Some(oracles) = &mut self.oracles {
            oracles.consensus.write(&mut self.ledger, master, &write);
            oracles.contact.writes(master, master.clock.local(self.time), io);
        }
        if let Some(last) = self.masters[at].disk.waiting.back().map(|last| last.io) {
            self.ledger.hold(Rule::DiskContract, last < io, || {
                format!("node {}: write {io} follows {last}", at + 1)
            });
        }
        if let Some(cost) = &mut self.cost {
            cost.write(self.time, &write);
        }
        self.mark(7, place, io.0, &write.entries.last().map_or(0, |entry| entry.index.0).to_le_bytes());
        self.line(Endpoint::Master(place), "write", || describe::write(&write));
        self.masters[at].disk.waiting.push_back(write);
        self.queue.push(done, Event::Disk { master: place, run, done: DiskEvent::Written(io) });
    }

    pub(super) fn disk_later(&mut self, at: usize, times: u64, done: DiskEvent) {
        let (place, run) = (at as u8, self.masters[at].run);
        let disk = &self.plan.disk;
        let more = if matches!(done, DiskEvent::Loaded(_)) { disk.load_us } else { 0 };
        let wait = times * disk.sync_max_us * MICROSECOND / 10 + more * MICROSECOND;
        self.queue.push(self.time + wait.max(MICROSECOND), Event::Disk { master: place, run, done });
    }

    pub(super) fn disk_did(&mut self, place: u8, run: u64, done: DiskEvent) {
        let at = usize::from(place);
        let master = &mut self.masters[at];
        if master.node.is_none() || master.run != run {
            return;
        }
        if master.stalls > 0 {
            self.marks.hit(SimMark::StallHeld);
            return master.hung.push((run, done));
        }
        let (full, unreadable) = (master.full > 0, master.unreadable > 0);
        let rotten = master.disk.image.is_damaged();
        let input = match done {
            DiskEvent::ChunkStored(at, number, _) if full => {
                self.marks.hit(SimMark::FullRefusedChunk);
                let newest =
                    |aside: &mut StoredSnapshot| aside.at == at && aside.chunks.len() as u64 == number + 1;
                master.disk.aside.take_if(newest);
                Input::SnapshotChunkRefused { at, number }
            }
            DiskEvent::Written(_) | DiskEvent::Saved(_) if full => {
                self.marks.hit(SimMark::FullStopped);
                Input::WriteFailed { message: "simulated: no space is left".to_owned() }
            }
            DiskEvent::ChunkRead(peer, at, number) if unreadable => {
                self.marks.hit(SimMark::ReadSnapshotFailed);
                Input::SnapshotChunkRead { peer, at, number, chunk: None }
            }
            DiskEvent::Loaded(at) if unreadable => {
                self.marks.hit(SimMark::ReadSnapshotFailed);
                Input::SnapshotLoaded { at, state: None }
            }
            DiskEvent::Written(io) => {
                if master.disk.failing {
                    self.marks.hit(SimMark::SyncFailed);
                    Input::WriteFailed { message: "simulated: the sync failed".to_owned() }
                } else {
                    let oracles = &mut self.oracles;
                    let result = master.disk.done(io, |write| {
                        if let Some(oracles) = oracles {
                            oracles.consensus.durable(at, write);
                        }
                    });
                    if let Err(error) = result {
                        return self.ledger.fail(Rule::DiskContract, format!("node {}: {error}", place + 1));
                    }
                    Input::WriteDone { io }
                }
            }
            DiskEvent::Saved(snapshot) => {
                let chunk_bytes = self.plan.masters.flow(at).snapshot_chunk_bytes;
                let chunks = snapshot.state.encode_in(chunk_bytes).collect();
                master.disk.store(StoredSnapshot { at: snapshot.at, chunks });
                Input::SnapshotSaved { at: snapshot.at }
            }
            DiskEvent::ChunkStored(at, number, last) => {
                let fits = |aside: &StoredSnapshot| aside.at == at && aside.chunks.len() as u64 == number + 1;
                if last
                    && master.disk.aside.as_ref().is_some_and(fits)
                    && let Some(whole) = master.disk.aside.take()
                {
                    master.disk.store(whole);
                }
                Input::SnapshotChunkStored { at, number, last }
            }
            DiskEvent::ChunkRead(peer, at, number) => {
                let image = &master.disk.image;
                let found = image.damaged_snapshot == Some(at);
                self.marks.hit_if(found, SimMark::RotFoundInSnapshot);
                let chunk = image.readable(at).and_then(|stored| {
                    let place = usize::try_from(number).ok()?;
                    Some((stored.chunks.get(place)?.clone(), place + 1 == stored.chunks.len()))
                });
                Input::SnapshotChunkRead { peer, at, number, chunk }
            }
            DiskEvent::Loaded(at) => match master.disk.image.load(at) {
                Ok(state) => Input::SnapshotLoaded { at, state: Some(Box::new(state)) },
                Err(_) => Input::SnapshotLoaded { at, state: None },
            },
        };
        let dropped = rotten && !self.masters[at].disk.image.is_damaged();
        self.marks.hit_if(dropped, SimMark::RotForgotten);
        self.mark(8, place, tag(&input), &[]);
        self.line(Endpoint::Master(place), "disk", || describe::input(&input));
        self.step_master(at, input);
    }

    /// Whether the directory can be opened, as the real storage does it: it needs to read all of it and to begin a
    /// segment, and it refuses what checksums do not like.
    pub(super) fn storage_opens(&mut self, at: usize) -> bool {
        let master = &mut self.masters[at];
        let mark = match (master.disk.image.damage(), master.full > 0, master.unreadable > 0) {
            (_, _, true) => SimMark::ReadRefused,
            (Some(damage), ..) => {
                master.broken = Some(damage);
                SimMark::RotFoundAtStart
            }
            (None, true, _) => SimMark::FullRefused,
            (None, false, false) => return true,
        };
        master.gone |= master.broken.is_some();
        self.marks.hit(mark);
        self.line(Endpoint::Master(at as u8), "refused", || mark.text().to_owned());
        false
    }

    /// The power goes under a disk that lied. Whether something is lost that it had acknowledged.
    pub(super) fn lie_comes_out(&mut self, at: usize, luck: u64) -> bool {
        let Some(lie) = &self.masters[at].disk.lie else { return false };
        let said = lie.said.len();
        let kept = within(again(luck, 3), 0, said as u64) as usize;
        let image = match self.masters[at].disk.after_lie(kept) {
            Ok(Some(image)) if kept < said => image,
            Ok(_) => {
                self.marks.hit(SimMark::LieHarmless);
                return false;
            }
            Err(error) => {
                self.ledger.fail(Rule::DiskContract, format!("node {}: {error}", at + 1));
                return false;
            }
        };
        let lost = self.may_forget(at, &image);
        self.marks.hit(if lost { SimMark::LieLost } else { SimMark::LieKept });
        if lost {
            self.line(Endpoint::Master(at as u8), "lied", || {
                format!("{} of {said} writes are lost", said - kept)
            });
            self.masters[at].forget(image);
        }
        lost
    }

    /// A disk that hung goes on.
    pub(super) fn unstall(&mut self, at: usize) {
        let master = &mut self.masters[at];
        master.stalls = master.stalls.saturating_sub(1);
        if master.stalls > 0 {
            return;
        }
        for (run, done) in core::mem::take(&mut master.hung) {
            self.queue.push(self.time, Event::Disk { master: at as u8, run, done });
        }
    }

    /// What is stored is read, and the node is told if anything is damaged: it has all of it in memory, and writes it anew.
    pub(super) fn scrub(&mut self, at: usize) -> bool {
        let master = &mut self.masters[at];
        let reads =
            master.node.is_some() && master.unreadable == 0 && master.stalls == 0 && master.pauses == 0;
        if !reads || !master.disk.image.is_damaged() {
            return false;
        }
        self.marks.hit(SimMark::ScrubFound);
        self.tell_damage(at, "scrub");
        true
    }

    /// A start that passed over a damaged snapshot says so, and so the node writes another one.
    pub(super) fn started_from_older(&mut self, at: usize) {
        if self.masters[at].disk.image.damaged_snapshot.is_some() {
            self.marks.hit(SimMark::RotPassedAtStart);
            self.tell_damage(at, "start");
        }
    }

    fn tell_damage(&mut self, at: usize, who: &'static str) {
        let master = &mut self.masters[at];
        let last = master.node.as_ref().map_or(Index(0), |node| node.raft().last_index());
        let image = &master.disk.image;
        master.told_damage = Some(ToldDamage {
            run: master.run,
            time: self.time,
            last,
            entries: image.damaged.clone(),
            snapshot: image.damaged_snapshot,
        });
        self.line(Endpoint::Master(at as u8), who, || "finds damage".to_owned());
        self.step_master(at, Input::DiskDamaged);
    }

    /// What a running node was told of is written anew, once it had time for that.
    pub(super) fn damage_is_mended(&mut self) {
        for master in &self.masters {
            let Some(told) = &master.told_damage else { continue };
            let had_time = self.time.saturating_sub(told.time) >= MEND_MS * MILLISECOND;
            let hindered = master.pauses + master.stalls + master.full > 0
                || !master.slow.is_empty()
                || !master.steps.is_empty()
                || master.disk.failing;
            // What it covers must be carried out: a master that is cut off may wait for that.
            let carried = master
                .node
                .as_ref()
                .is_some_and(|node| node.state().index() >= told.last.min(node.raft().last_index()));
            if told.run != master.run || hindered || !carried || !had_time {
                continue;
            }
            let image = &master.disk.image;
            let left = image.damaged.intersection(&told.entries).next();
            let snapshot = told.snapshot.filter(|at| image.damaged_snapshot == Some(*at));
            self.ledger.hold(Rule::DamageMended, left.is_none() && snapshot.is_none(), || {
                format!(
                    "node {} was told that its disk is damaged; entry {left:?} and snapshot {snapshot:?} still are",
                    master.id
                )
            });
        }
    }

    /// A bit flips, or a write lands where another one is.
    pub(super) fn rot(&mut self, fault: usize, at: usize, snapshot: bool, misdirect: bool) -> bool {
        if !self.known_to_all() || self.masters[at].wiped || !self.may_lose(at as u8) {
            return false;
        }
        let luck = draw(self.plan.seed, Purpose::Fault, &[fault as u64]);
        let Master { disk, told_damage, .. } = &mut self.masters[at];
        let image = &mut disk.image;
        let (entries, old_snapshot) = (image.damaged.clone(), image.damaged_snapshot);
        let hit = if snapshot { image.rot_snapshot(luck).is_some() } else { image.rot_entry(luck).is_some() };
        if misdirect {
            // Where it should be, there is what was there before.
            let missing = hit && image.rot_entry(again(luck, 1)).is_some();
            self.marks.hit_if(missing, SimMark::MisdirectDone);
        }
        // What had been written anew, and rots at the same place, nobody was told of.
        if let Some(told) = told_damage {
            told.entries.retain(|index| entries.contains(index) || !image.damaged.contains(index));
            told.snapshot =
                told.snapshot.filter(|at| old_snapshot == Some(*at) || image.damaged_snapshot != Some(*at));
        }
        hit
    }
}

fn tag(input: &Input) -> u64 {
    let position = |kind: u64, at: &LogPosition| kind << 56 | at.index.0;
    match input {
        Input::WriteDone { io } => io.0,
        Input::SnapshotSaved { at } => position(1, at),
        Input::SnapshotChunkStored { at, .. } => position(2, at),
        Input::SnapshotChunkRead { at, .. } => position(3, at),
        Input::SnapshotLoaded { at, .. } => position(4, at),
        Input::SnapshotChunkRefused { at, .. } => position(6, at),
        _ => 5 << 56,
    }
}
