//! What all machines of one run share.

use super::{
    commits::Commits, executors::Machine as ExecutorMachine, history::History, links::Links,
    masters::Machine as MasterMachine, members::Asked, processes::Running,
};
use crate::{
    draw::{Purpose, draw},
    oracle::{Ledger, Rule, Truth},
    plan::{CorePlan, Plan},
    run::Sink,
    tapes::Tapes,
};
use core::hash::Hasher;
use madsim::task::AbortHandle;
use quorate_net::rt::{Duration, Instant, lock, sleep, sleep_until, spawn};
use siphasher::sip::SipHasher13;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MILLISECOND;
/// More events in one millisecond of simulated time are a storm, and would keep a run for ever. Each turn of a task takes the
/// runtime 50 to 100 ns, so that no more than 20,000 turns fit; what is usual is below 200 events.
const EVENTS_PER_MILLISECOND: u64 = 2_000;

/// What a run unwinds with that has too many events: the tasks that make them let no other end it.
pub(super) struct Stopped;

/// One run. Cloning it costs nothing.
#[derive(Clone)]
pub(super) struct Stage {
    start: Instant,
    world: Arc<Mutex<World>>,
}

/// Everything that is known about a run from outside of its machines.
pub(super) struct World {
    /// What is carried out.
    pub(super) plan: Plan,
    /// What the oracles found.
    pub(super) ledger: Ledger,
    /// The log as it is on disks.
    pub(super) commits: Commits,
    /// What clients were told.
    pub(super) history: History,
    /// What really runs.
    pub(super) truth: Truth,
    /// By place.
    pub(super) masters: Vec<MasterMachine>,
    /// By place.
    pub(super) executors: Vec<ExecutorMachine>,
    /// By serial number.
    pub(super) processes: BTreeMap<u64, Running>,
    /// The last serial number.
    pub(super) serial: u64,
    /// Links that are cut, and the network's troubles.
    pub(super) links: Links,
    /// Where processes and guards live: it never breaks.
    pub(super) reality: Option<madsim::runtime::NodeHandle>,
    /// The faults are over.
    pub(super) settling: bool,
    /// Who was mended when they were over.
    pub(super) core: Option<CorePlan>,
    /// The cluster did not become whole, and could not: why.
    pub(super) excused: Option<String>,
    /// Clients that have not ended.
    pub(super) clients_busy: usize,
    /// What is known of changes of the members that somebody asked for.
    pub(super) asked: Asked,
    /// What happened how often.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// What masters are given, if that is recorded.
    pub(super) tapes: Option<Tapes>,
    /// Events so far.
    pub(super) events: u64,
    /// The run ends when there are more.
    events_max: u64,
    /// That was its end: what happened since, while it was unwound, counts for nothing.
    pub(super) over_bound: bool,
    /// The last millisecond with an event, and how many it has.
    storm: (u64, u64),
    /// Tasks of the run itself, which are on no machine.
    pub(super) tasks: Vec<AbortHandle>,
    /// The run has ended, and all that is known of it was taken.
    closed: bool,
    hasher: SipHasher13,
    sink: Option<Sink>,
}

/// Unwinds the run, unless it is being unwound.
fn stop() {
    if !std::thread::panicking() {
        std::panic::resume_unwind(Box::new(Stopped));
    }
}

impl World {
    /// Of everything that happened, with its times.
    pub(super) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// True time, nanoseconds.
    pub(super) const fn time(&self) -> u64 {
        self.ledger.time
    }

    /// Something happened: it goes into the hash, and to whoever reads the events. A colon in no `what`.
    pub(super) fn event(&mut self, who: &str, what: &str, text: impl FnOnce() -> String) {
        if self.closed {
            return;
        }
        self.events += 1;
        self.ledger.step += 1;
        let text = text();
        self.hasher.write_u64(self.ledger.time);
        self.hasher.write(who.as_bytes());
        self.hasher.write(what.as_bytes());
        self.hasher.write(text.as_bytes());
        if let Some(sink) = &mut self.sink {
            sink(self.ledger.time, &format!("{who:<4} {what:<10} {text}"));
        }
        self.bound();
    }

    /// Ends the run if its time stands still, or if it has had all of its events.
    fn bound(&mut self) {
        let millisecond = self.ledger.time / MILLISECOND;
        let before = if self.storm.0 == millisecond { self.storm.1 } else { 0 };
        self.storm = (millisecond, before + 1);
        // Once: what is dropped while the run is unwound may have events too.
        if before == EVENTS_PER_MILLISECOND {
            self.ledger.fail(Rule::Storm, format!("over {EVENTS_PER_MILLISECOND} events in one millisecond"));
            stop();
        } else if self.events > self.events_max && !self.over_bound && self.ledger.violation.is_none() {
            self.over_bound = true;
            stop();
        }
    }

    /// What happens from here on is no part of the run.
    pub(super) fn close(&mut self) {
        (self.closed, self.sink, self.tapes) = (true, None, None);
    }

    /// Counts something.
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A draw of this run.
    pub(super) fn draw(&self, purpose: Purpose, counters: &[u64]) -> u64 {
        draw(self.plan.seed, purpose, counters)
    }

    /// A rule does not hold.
    pub(super) fn fail(&mut self, rule: Rule, message: String) {
        self.event("", "violation", || format!("{}: {message}", rule.name()));
        self.ledger.fail(rule, message);
    }

    /// One line a machine.
    pub(super) fn lines(&self) -> Vec<String> {
        let masters = self.masters.iter().map(MasterMachine::line);
        masters.chain((0..self.executors.len()).map(|at| self.executor_line(at))).collect()
    }
}

impl Stage {
    /// At the present simulated time, which is its zero. The run ends when it has more than so many events.
    pub(super) fn new(plan: Plan, sink: Option<Sink>, tapes: Option<Tapes>, events_max: u64) -> Self {
        let masters = MasterMachine::all(&plan);
        let executors = ExecutorMachine::all(&plan);
        let world = World {
            ledger: Ledger::default(),
            commits: Commits::new(
                masters.iter().map(|master| master.storage).collect(),
                plan.masters.founding(),
            ),
            history: History::default(),
            truth: Truth::default(),
            masters,
            executors,
            processes: BTreeMap::new(),
            serial: 0,
            links: Links::default(),
            reality: None,
            settling: false,
            core: None,
            excused: None,
            clients_busy: plan.clients.len(),
            asked: Asked::default(),
            counts: BTreeMap::new(),
            tapes,
            events: 0,
            events_max,
            over_bound: false,
            storm: (0, 0),
            tasks: Vec::new(),
            closed: false,
            hasher: SipHasher13::new(),
            sink,
            plan,
        };
        Self { start: Instant::now(), world: Arc::new(Mutex::new(world)) }
    }

    /// The world at the present time. Never held over an `await`.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        let mut world = lock(&self.world);
        world.ledger.time = self.now();
        world
    }

    /// The world, also from outside of the simulation, with the time that it had last.
    pub(super) fn after(shared: &Arc<Mutex<World>>) -> MutexGuard<'_, World> {
        lock(shared)
    }

    /// The world, to be looked at when the simulation has ended.
    pub(super) fn shared(&self) -> Arc<Mutex<World>> {
        Arc::clone(&self.world)
    }

    /// True time, nanoseconds.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Starts a task of the run itself.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let task = spawn(work);
        self.world().tasks.push(task.abort_handle());
    }

    /// Waits until a true time.
    pub(super) async fn until(&self, time: u64) {
        sleep_until(self.start + Duration::from_nanos(time)).await;
    }

    /// Waits so many milliseconds.
    pub(super) async fn wait_ms(&self, milliseconds: u64) {
        sleep(Duration::from_millis(milliseconds)).await;
    }
}
