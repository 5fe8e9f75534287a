//! Which task runs where. Deterministic, and spreading: the least loaded executor that has room takes the next task.

use super::task;
use crate::{
    bug::{self, Bug},
    limits::{PLACEMENT_TIES, PLACEMENTS},
    mark::{self, Mark},
    state::Turn,
    types::{ClusterTime, ExecutorId, JobId, TaskKey},
};
use imbl::{OrdMap, OrdSet};
use pb::{AttemptEnd, TaskState};
use quorate_proto::v1 as pb;

/// What a task takes, and its job's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// Slots.
    pub(crate) slots: u32,
    /// The index that created the job.
    pub(crate) created: u64,
}

/// A waiting task's place: slots, when it may run, its job's index, its number. Tasks of one size stand in one queue, so
/// that what is too large for the room there is never stands in the way of what is not.
type Waiting = (u32, ClusterTime, u64, u32);

/// What is known of an executor's slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Room {
    // 0 = not registered.
    slots: u32,
    removing: bool,
    used: u32,
}

impl Room {
    fn free(self) -> u32 {
        let used = if bug::planted(Bug::JobPlacedOnFull) { 0 } else { self.used };
        let removing = self.removing && !bug::planted(Bug::JobPlacedOnRemoving);
        if removing { 0 } else { self.slots.saturating_sub(used) }
    }

    // Free slots, and load in parts of 2^32. No two different loads of up to 1,000 slots are nearer than 2^-20.
    fn open(self) -> Option<(u32, u64)> {
        (self.free() > 0).then(|| (self.free(), (u64::from(self.used) << 32) / u64::from(self.slots)))
    }
}

/// Who holds what, who waits, and where there is room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    waiting: OrdMap<Waiting, JobId>,
    held: OrdMap<ExecutorId, OrdSet<TaskKey>>,
    rooms: OrdMap<ExecutorId, Room>,
    // Executors with room: free slots, load, id.
    open: OrdSet<(u32, u64, ExecutorId)>,
}

impl Placement {
    /// An executor's record was put or deleted.
    pub(crate) fn executor_changed(&mut self, id: ExecutorId, new: Option<&pb::Executor>) {
        if bug::planted(Bug::JobPlacedOnGone) && new.is_none() {
            return;
        }
        self.change_room(id, |room| {
            room.slots = new.map_or(0, |executor| executor.slots);
            room.removing = new.is_some_and(|executor| executor.removing);
        });
    }

    /// A task's record was put or deleted.
    pub(crate) fn task_changed(
        &mut self,
        key: &TaskKey,
        need: Need,
        old: Option<&pb::Task>,
        new: Option<&pb::Task>,
    ) {
        if let Some(old) = old {
            self.forget(key, need, old);
        }
        if let Some(new) = new {
            self.learn(key, need, new);
        }
    }

    /// The tasks that an executor holds, in order.
    pub(crate) fn held(&self, executor: ExecutorId) -> impl Iterator<Item = &TaskKey> {
        self.held.get(&executor).into_iter().flat_map(OrdSet::iter)
    }

    /// Slots taken by what an executor holds.
    pub(crate) fn used(&self, executor: ExecutorId) -> u32 {
        self.rooms.get(&executor).map_or(0, |room| room.used)
    }

    /// The task that is to be placed next at this time, and where.
    pub(crate) fn next(&self, time: ClusterTime) -> Option<(TaskKey, u32)> {
        let due = self
            .queues(self.room_most())
            .filter(|((_, due, ..), _)| *due <= time || bug::planted(Bug::JobBackoffIgnored));
        let ((slots, _, _, number), job) =
            due.min_by_key(|((_, due, created, number), _)| (*due, *created, *number))?;
        Some((TaskKey { job: job.clone(), number: *number }, *slots))
    }

    /// When the next task that there is room for may run, if that is after this time.
    pub(crate) fn next_due(&self, time: ClusterTime) -> Option<ClusterTime> {
        let queues = self.queues(self.room_most());
        queues
            .filter_map(|((slots, ..), _)| self.first_due(*slots, time.next()))
            .map(|((_, due, ..), _)| *due)
            .min()
    }

    /// Where a task of so many slots goes: least loaded, then fewest tasks of the same job, then lowest id. `avoid` is
    /// taken only if nothing else has room.
    pub(crate) fn choose(&self, slots: u32, job: &JobId, avoid: Option<ExecutorId>) -> Option<ExecutorId> {
        let mut best: Option<(u64, usize, ExecutorId)> = None;
        let mut free = slots;
        while let Some(&(found, ..)) = self.open.range((free, 0, ExecutorId(0))..).next() {
            for candidate in self.equals(found, job, avoid) {
                best = Some(best.map_or(candidate, |best| best.min(candidate)));
            }
            free = found.saturating_add(1);
        }
        let last_resort = || avoid.filter(|id| self.rooms.get(id).is_some_and(|room| room.free() >= slots));
        mark::hit_if(best.is_none() && avoid.is_some(), Mark::PlacedBack);
        best.map(|(_, _, id)| id).or_else(last_resort)
    }

    fn has_larger_than_room(&self) -> bool {
        self.waiting.get_max().is_some_and(|((slots, ..), _)| *slots > self.room_most())
    }

    /// Whether the queues and sets hold a task as its record says.
    pub(crate) fn agrees(&self, key: &TaskKey, need: Need, task: &pb::Task) -> bool {
        let waits = self.waiting.get(&place(key, need, task)) == Some(&key.job);
        let held = self.held.get(&ExecutorId(task.executor)).is_some_and(|held| held.contains(key));
        waits == (task.state() == TaskState::Pending) && held == super::is_held(task.state())
    }

    /// Whether an executor holds no more than it has slots for, and its room is known as it is.
    pub(crate) fn room_agrees(&self, executor: &pb::Executor, used: u32) -> bool {
        let id = ExecutorId(executor.id);
        let room = Room { slots: executor.slots, removing: executor.removing, used };
        let open = room.open().is_none_or(|(free, load)| self.open.contains(&(free, load, id)));
        used <= executor.slots && self.rooms.get(&id) == Some(&room) && open
    }

    /// Executors that hold something.
    pub(crate) fn holders(&self) -> impl Iterator<Item = ExecutorId> {
        self.held.keys().copied()
    }

    // The lightest executors with so many free slots, each with its load and how many tasks of the job it holds.
    fn equals(
        &self,
        free: u32,
        job: &JobId,
        avoid: Option<ExecutorId>,
    ) -> impl Iterator<Item = (u64, usize, ExecutorId)> {
        let from = (free, 0, ExecutorId(0));
        let all = self.open.range(from..).take_while(move |(found, ..)| *found == free);
        let mut allowed = all.filter(move |(.., id)| Some(*id) != avoid).peekable();
        let least = allowed.peek().map(|(_, load, _)| *load);
        let equal = allowed.take_while(move |(_, load, _)| Some(*load) == least).take(PLACEMENT_TIES);
        let mut over = false;
        equal
            .map(|(_, load, id)| (*load, self.held_of(*id, job), *id))
            .take_while(move |(_, mates, _)| !core::mem::replace(&mut over, *mates == 0))
    }

    fn held_of(&self, executor: ExecutorId, job: &JobId) -> usize {
        let key = |number| TaskKey { job: job.clone(), number };
        self.held.get(&executor).map_or(0, |held| held.range(key(0)..=key(u32::MAX)).count())
    }

    fn room_most(&self) -> u32 {
        self.open.get_max().map_or(0, |(free, ..)| *free)
    }

    // The first of each queue whose tasks take at most so many slots.
    fn queues(&self, slots_most: u32) -> impl Iterator<Item = (&Waiting, &JobId)> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let first = self.waiting.range((from, ClusterTime(0), 0, 0)..).next()?;
            let slots = first.0.0;
            from = slots.saturating_add(1);
            (slots <= slots_most).then_some(first)
        })
    }

    // The first of a queue that is due at this time or later.
    fn first_due(&self, slots: u32, from: ClusterTime) -> Option<(&Waiting, &JobId)> {
        self.waiting.range((slots, from, 0, 0)..).next().filter(|((found, ..), _)| *found == slots)
    }

    fn learn(&mut self, key: &TaskKey, need: Need, task: &pb::Task) {
        if task.state() == TaskState::Pending {
            self.waiting.insert(place(key, need, task), key.job.clone());
        }
        if super::is_held(task.state()) {
            let executor = ExecutorId(task.executor);
            self.held.entry(executor).or_default().insert(key.clone());
            self.change_room(executor, |room| room.used = room.used.saturating_add(need.slots));
        }
    }

    fn forget(&mut self, key: &TaskKey, need: Need, task: &pb::Task) {
        if task.state() == TaskState::Pending {
            self.waiting.remove(&place(key, need, task));
        }
        if super::is_held(task.state()) {
            let executor = ExecutorId(task.executor);
            if let Some(held) = self.held.get_mut(&executor) {
                held.remove(key);
                if held.is_empty() {
                    self.held.remove(&executor);
                }
            }
            if bug::planted(Bug::JobSlotsLeak) {
                return;
            }
            self.change_room(executor, |room| room.used = room.used.saturating_sub(need.slots));
        }
    }

    fn change_room(&mut self, id: ExecutorId, change: impl FnOnce(&mut Room)) {
        let mut room = self.rooms.get(&id).copied().unwrap_or_default();
        if let Some((free, load)) = room.open() {
            self.open.remove(&(free, load, id));
        }
        change(&mut room);
        if let Some((free, load)) = room.open() {
            self.open.insert((free, load, id));
        }
        if room.slots == 0 && room.used == 0 {
            self.rooms.remove(&id);
        } else {
            self.rooms.insert(id, room);
        }
    }
}

/// Places what is due and fits, up to [`PLACEMENTS`] tasks.
pub(crate) fn run(turn: &mut Turn<'_>) {
    for _ in 0..PLACEMENTS {
        let jobs = &turn.records.tables().jobs;
        let Some((key, slots)) = jobs.placement.next(turn.time) else { return };
        let avoid = jobs.task(&key).and_then(avoided);
        let Some(executor) = jobs.placement.choose(slots, &key.job, avoid) else { return };
        mark::hit_when(
            || turn.records.tables().jobs.placement.has_larger_than_room(),
            Mark::SmallPassesLarge,
        );
        task::assign(turn, &key, executor);
    }
}

// An executor that just gave a task back is the last one to get it again.
fn avoided(task: &pb::Task) -> Option<ExecutorId> {
    let gave_back = matches!(task.last_end(), AttemptEnd::Stopped | AttemptEnd::NotStarted);
    gave_back.then_some(ExecutorId(task.last_executor))
}

const fn place(key: &TaskKey, need: Need, task: &pb::Task) -> Waiting {
    (need.slots, ClusterTime(task.not_before_ms), need.created, key.number)
}
