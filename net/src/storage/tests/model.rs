//! Random histories with crashes against a model: what was acknowledged is there, and nothing that was never written.

use super::*;
use proptest::prelude::*;
use quorate_core::{contract::Voters, random::Draws};

/// What the log should say: the rules of [`Write`], word for word.
#[derive(Clone, Default, PartialEq, Eq)]
struct Model {
    hard_state: HardState,
    voters: Voters,
    start: LogPosition,
    entries: Vec<Entry>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries: Vec<_> =
            self.entries.iter().map(|entry| (entry.index.0, entry.term.0, entry.data.len())).collect();
        write!(formatter, "{:?} {:?} {:?} {entries:?}", self.hard_state, self.voters, self.start)
    }
}

impl Model {
    fn last(&self) -> LogPosition {
        self.entries.last().map_or(self.start, Entry::position)
    }

    fn apply(&mut self, write: &Write) {
        if let Some(at) = write.start {
            let held = at == self.start || self.entries.iter().any(|entry| entry.position() == at);
            self.entries.retain(|entry| held && entry.index > at.index);
            self.start = at;
        }
        if let Some(first) = write.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(write.entries.iter().cloned());
        }
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(voters) = &write.voters {
            self.voters.clone_from(voters);
        }
    }

    fn read(recovered: &Recovered) -> Self {
        let Recovered { hard_state, voters, start, entries, .. } = recovered.clone();
        Self { hard_state, voters, start, entries }
    }
}

/// A run of the world: one disk, what is known for sure, and what may be.
struct World {
    disk: Arc<MemoryDisk>,
    draws: Draws,
    segment_bytes: u64,
    sure: Model,
    /// The state if the write that failed is there all the same.
    maybe: Option<Model>,
    snapshot: LogPosition,
    fill: u64,
}

fn chance(draws: &mut Draws, one_in: u64) -> bool {
    draws.any().is_multiple_of(one_in)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut draws = Draws::new(seed, 1);
        let segment_bytes = draws.range(200, 4000);
        let disk = Arc::new(MemoryDisk::new());
        let sure = Model::default();
        Self { disk, draws, segment_bytes, sure, maybe: None, snapshot: LogPosition::default(), fill: 0 }
    }

    fn entries(&mut self, model: &Model, term: u64) -> Vec<Entry> {
        let last = model.last().index.0;
        let lowest = model.hard_state.commit.0.max(model.start.index.0) + 1;
        let rewrite = chance(&mut self.draws, 4) && lowest <= last;
        let first = if rewrite { self.draws.range(lowest, last) } else { last + 1 };
        let count = self.draws.range(1, 4);
        let most = if chance(&mut self.draws, 5) { 3000 } else { 200 };
        let sizes: Vec<_> = (0..count).map(|_| self.draws.range(0, most)).collect();
        let make = |(offset, size): (usize, &u64)| {
            self.fill += 1;
            let data = vec![u8::try_from(self.fill % 256).unwrap(); usize::try_from(*size).unwrap()];
            Entry { term: Term(term), index: Index(first + offset as u64), data: data.into() }
        };
        sizes.iter().enumerate().map(make).collect()
    }

    /// One write that a node could ask for.
    fn write(&mut self, model: &mut Model) -> Write {
        let mut write = nothing();
        if chance(&mut self.draws, 4) {
            write.start = self.trim_to(model);
        }
        let mut next = model.clone();
        next.apply(&write);
        let current = next.hard_state.term.0.max(next.last().term.0);
        let term = current + u64::from(chance(&mut self.draws, 3));
        if !chance(&mut self.draws, 3) {
            write.entries = self.entries(&next, term);
            next.apply(&Write { start: None, ..write.clone() });
        }
        let commit = self.draws.range(next.hard_state.commit.0.max(next.start.index.0), next.last().index.0);
        if write.start.is_some() || chance(&mut self.draws, 2) {
            let vote = chance(&mut self.draws, 2).then_some(NodeId(self.draws.range(1, 3)));
            write.hard_state = Some(HardState { term: Term(term), vote, commit: Index(commit) });
        }
        if chance(&mut self.draws, 10) {
            write.voters = Some((1..=3).map(|node| (NodeId(node), StorageId(self.draws.any()))).collect());
        }
        model.apply(&write);
        write
    }

    /// A place that the newest snapshot allows: in the log, or, as after an installed snapshot, the snapshot's own.
    fn trim_to(&mut self, model: &Model) -> Option<LogPosition> {
        let newest = self.snapshot;
        if newest.index < model.start.index {
            return None;
        }
        if newest.index > model.last().index || chance(&mut self.draws, 4) {
            return (newest.index >= model.hard_state.commit && newest.index > model.start.index)
                .then_some(newest);
        }
        let within = |entry: &&Entry| entry.index <= newest.index;
        let held: Vec<_> = model.entries.iter().filter(within).map(Entry::position).collect();
        let pick = self.draws.range(0, held.len().saturating_sub(1) as u64);
        held.get(usize::try_from(pick).unwrap()).copied()
    }

    /// Saves or installs a snapshot.
    fn save_snapshot(&mut self, store: &SnapshotStore) {
        let last = self.sure.last();
        let ahead = position(last.term.0 + 1, last.index.0 + self.draws.range(1, 20));
        let inside = self.sure.entries.iter().map(Entry::position).find(|at| at.index > self.snapshot.index);
        let at = if chance(&mut self.draws, 4) { Some(ahead) } else { inside };
        let Some(at) = at.filter(|at| at.index > self.snapshot.index) else { return };
        let parts = chunks(at);
        let result = if chance(&mut self.draws, 2) {
            store.save_chunks(at, parts.into_iter())
        } else {
            let store = |number: usize| store.store_chunk(at, number as u64, &parts[number], number == 2);
            (0..3).try_for_each(store)
        };
        if result.is_ok() {
            self.snapshot = at;
        }
    }

    /// From an opening to a crash.
    fn run(&mut self) {
        self.disk.set_capacity(None);
        if chance(&mut self.draws, 3) {
            self.disk.halt_after(self.draws.range(0, 12));
        }
        let opened = open_sized(&self.disk, self.segment_bytes);
        if let Ok((mut storage, recovered)) = opened {
            self.compare(&recovered);
            let store = storage.snapshots();
            let mut helper = if chance(&mut self.draws, 2) { storage.helper() } else { None };
            if chance(&mut self.draws, 2) {
                self.disk.halt_after(self.draws.range(0, 40));
            }
            for _ in 0..self.draws.range(0, 20) {
                if chance(&mut self.draws, 5) {
                    self.save_snapshot(&store);
                }
                // Whenever it comes to it.
                if let Some(helper) = helper.as_mut().filter(|_| chance(&mut self.draws, 3)) {
                    helper.run_waiting();
                }
                if !self.write_batch(&mut storage) {
                    break;
                }
            }
        } else if let Err(error) = opened {
            assert!(matches!(error, OpenError::Disk(_)), "{error}");
        }
        if chance(&mut self.draws, 3) {
            self.disk.crash();
        } else {
            self.disk.power_loss(&mut self.draws);
        }
    }

    fn write_batch(&mut self, storage: &mut Storage) -> bool {
        match self.draws.range(0, 80) {
            0 => self.disk.fail_next_sync(),
            1 => self.disk.fail_next_append(),
            2 => {
                let space = crate::storage::Disk::list(&*self.disk).unwrap();
                let size = |name: &String| crate::storage::Disk::size(&*self.disk, name).unwrap();
                let used: u64 = space.iter().map(size).sum();
                self.disk.set_capacity(Some(used + self.draws.range(0, 3000)));
            }
            _ => {}
        }
        let mut next = self.sure.clone();
        let count = self.draws.range(1, 3);
        let batch: Vec<_> = (0..count).map(|_| self.write(&mut next)).collect();
        let result = storage.write(&batch);
        match &result {
            Ok(()) => self.sure = next,
            Err(error) => {
                assert!(matches!(error, crate::storage::StorageError::Disk(_)), "{error}");
                assert_eq!(storage.write(&[]), result, "a failed storage stays so");
                self.maybe = Some(next);
            }
        }
        result.is_ok()
    }

    fn compare(&mut self, recovered: &Recovered) {
        let found = Model::read(recovered);
        if self.maybe.as_ref() == Some(&found) {
            self.sure = found;
        } else {
            assert_eq!(found, self.sure);
        }
        self.maybe = None;
        let newest = recovered.snapshot.as_ref().map_or(LogPosition::default(), |snapshot| snapshot.at);
        assert!(newest.index >= self.snapshot.index, "snapshot {:?} is gone: {newest:?}", self.snapshot);
        self.snapshot = newest;
        let names = crate::storage::Disk::list(&*self.disk).unwrap();
        assert!(!names.iter().any(|name| name.ends_with(".tmp") && name != "identity.tmp"), "{names:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1500),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_acknowledged_survives_crashes_and_losses_of_power(seed in any::<u64>(), runs in 1_usize..14) {
        let mut world = World::new(seed);
        for _ in 0..runs {
            world.run();
        }
        world.disk.power_loss(&mut world.draws);
        world.disk.set_capacity(None);
        let (_, recovered) = open(&world.disk).unwrap();
        world.compare(&recovered);
    }
}
