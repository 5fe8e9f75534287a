//! The log and the snapshots of a simulated machine: they take their time, the oracles see what becomes durable, and a
//! process whose disk is halted, because it is about to be killed, never learns how its last write ended.

use super::stage::Stage;
use crate::draw::{Purpose, again, within};
use prost::bytes::Bytes;
use quorate_core::{
    contract::{LogPosition, Snapshot, Write},
    state::State,
};
use quorate_net::{
    LoadError, LogWriter, SnapshotFiles,
    rt::{Duration, sleep},
    storage::{SnapshotStore, Storage},
};
use std::future::pending;

/// What a disk says of which nothing can be read.
pub(super) const UNREADABLE: &str = "simulated: nothing can be read";

/// The part of a machine's storage that one thread of its runtime owns.
pub(super) struct Watched<T> {
    pub(super) inner: T,
    pub(super) place: usize,
    pub(super) stage: Stage,
}

impl<T> Watched<T> {
    /// How long the next access takes before and after it is carried out.
    fn latency(&self) -> (Duration, Duration) {
        let mut world = self.stage.world();
        world.masters[self.place].accesses += 1;
        let luck = world.draw(Purpose::DiskLatency, &[self.place as u64, world.masters[self.place].accesses]);
        let (least, most) = (world.plan.disk.sync_min_us, world.plan.disk.sync_max_us);
        let slow = world.masters[self.place].slow_us();
        let whole = within(luck, least, most).max(slow);
        let before = within(again(luck, 1), 0, whole);
        (Duration::from_micros(before), Duration::from_micros(whole - before))
    }

    /// Waits until an access is carried out, and says how long it takes after that.
    async fn begins(&self) -> Duration {
        let (before, after) = self.latency();
        sleep(before).await;
        self.stage.disk_moves(self.place).await;
        after
    }

    /// Whether nothing can be read.
    fn is_unreadable(&self) -> bool {
        let mut world = self.stage.world();
        let unreadable = !world.masters[self.place].troubles.unreadable.is_empty();
        if unreadable {
            world.count("a snapshot could not be read");
        }
        unreadable
    }

    /// What became of an access: an error that the machine's end explains is never told.
    async fn told<R, E>(&self, result: Result<R, E>) -> Result<R, E> {
        let halted = self.stage.world().masters[self.place].halted;
        if result.is_err() && halted {
            return pending().await;
        }
        result
    }
}

impl LogWriter for Watched<Storage> {
    async fn write(&mut self, batch: &[Write]) -> Result<(), String> {
        let after = self.begins().await;
        self.stage.world().commits.begins(self.place, batch);
        let result = Storage::write(&mut self.inner, batch);
        if result.is_ok() {
            self.stage.durable(self.place, batch);
        }
        sleep(after).await;
        self.told(result).await.map_err(|error| error.to_string())
    }
}

impl SnapshotFiles for Watched<SnapshotStore> {
    fn are_damaged(&self) -> bool {
        SnapshotFiles::are_damaged(&self.inner)
    }

    async fn save(&mut self, snapshot: &Snapshot, chunk_bytes: usize) -> Result<bool, String> {
        let after = self.begins().await;
        let result = SnapshotFiles::save(&mut self.inner, snapshot, chunk_bytes).await;
        sleep(after).await;
        match &result {
            Ok(true) => self.stage.world().count("snapshot saved"),
            Ok(false) => self.stage.world().count("no room for a snapshot"),
            Err(_) => {}
        }
        self.told(result).await
    }

    async fn store_chunk(
        &mut self,
        at: LogPosition,
        number: u64,
        data: Bytes,
        last: bool,
    ) -> Result<bool, LoadError> {
        let after = self.begins().await;
        let result = SnapshotFiles::store_chunk(&mut self.inner, at, number, data, last).await;
        sleep(after).await;
        if last && result.is_ok() {
            self.stage.world().count("snapshot received");
        }
        self.told(result).await
    }

    async fn read_chunk(&mut self, at: LogPosition, number: u64) -> Result<Option<(Bytes, bool)>, String> {
        let after = self.begins().await;
        sleep(after).await;
        if self.is_unreadable() {
            return Err(UNREADABLE.to_owned());
        }
        SnapshotFiles::read_chunk(&mut self.inner, at, number).await
    }

    async fn load(&mut self, at: LogPosition) -> Result<Option<State>, LoadError> {
        let after = self.begins().await;
        sleep(after).await;
        if self.is_unreadable() {
            return Err(LoadError::Unreadable(UNREADABLE.to_owned()));
        }
        SnapshotFiles::load(&mut self.inner, at).await
    }
}

impl Stage {
    fn durable(&self, place: usize, batch: &[Write]) {
        let mut world = self.world();
        let world = &mut *world;
        world.commits.durable(&mut world.ledger, place, batch);
        let now_holds = world.commits.image(place).brief();
        world.event(&format!("m{}", place + 1), "write", || now_holds);
        self.departures(world);
        world.follow_members();
    }
}
