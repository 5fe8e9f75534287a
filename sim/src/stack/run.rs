//! Seeds: each on a fresh thread, because madsim keeps its state, and std the keys of its maps, in thread-locals.

use super::{
    clients::Person,
    settle::inspector,
    stage::{MILLISECOND, SECOND, Sink, Stage, World},
};
use crate::{
    network::Endpoint,
    oracle::{Rule, Violation},
    plan::{Limits, Plan, generate},
    tapes::{self, Tapes},
};
use madsim::runtime::{Handle, Runtime};
use quorate_core::random::mix;
use quorate_net::rt::spawn;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::IpAddr,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first rule that did not hold.
    pub violation: Option<Violation>,
    /// Of everything that happened, with its times.
    pub hash: u64,
    /// Simulated time, nanoseconds.
    pub time: u64,
    /// Events.
    pub events: u64,
    /// One line a machine.
    pub machines: Vec<String>,
    /// How many states each oracle looked at.
    pub looked: BTreeMap<&'static str, u64>,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps where a panic came from, and prints nothing: a panic is a violation like any other.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string();
        PANIC.with(|kept| {
            kept.borrow_mut().get_or_insert(text);
        });
    }));
}

/// Runs the plan of a seed on a fresh thread. `log`: where event lines go. `verbose`: also lines of the product's own log.
#[must_use]
pub fn run_seed(seed: u64, limits: &Limits, log: Option<Sink>, verbose: bool) -> Outcome {
    run_taped(seed, limits, log, verbose, None)
}

/// As [`run_seed`], and records a tape of each run of each master.
#[must_use]
pub fn run_taped(
    seed: u64,
    limits: &Limits,
    log: Option<Sink>,
    verbose: bool,
    tapes: Option<Tapes>,
) -> Outcome {
    let plan = generate(seed, limits);
    let shared = Arc::new(OnceLock::new());
    let kept = Arc::clone(&shared);
    let thread =
        std::thread::Builder::new().name(format!("seed {seed}")).stack_size(8 << 20).spawn(move || {
            let run = AssertUnwindSafe(|| {
                let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
                if verbose {
                    let lines = tracing_subscriber::fmt()
                        .with_max_level(tracing::Level::DEBUG)
                        .with_timer(SimulatedTime)
                        .with_ansi(false)
                        .finish();
                    let run = perform(plan, log, tapes, &kept);
                    tracing::subscriber::with_default(lines, || runtime.block_on(run));
                } else {
                    runtime.block_on(perform(plan, log, tapes, &kept));
                }
            });
            let panicked = catch_unwind(run).is_err();
            panicked.then(|| {
                let text = PANIC.with(|kept| kept.borrow_mut().take());
                text.unwrap_or_else(|| "a panic without a text".to_owned())
            })
        });
    let panicked = match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(panicked)) => panicked,
        Ok(Err(_)) => Some("the seed's thread panicked".to_owned()),
        Err(error) => Some(format!("no thread for the seed: {error}")),
    };
    outcome(&shared, panicked)
}

struct SimulatedTime;

impl tracing_subscriber::fmt::time::FormatTime for SimulatedTime {
    fn format_time(&self, writer: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        let time = madsim::time::TimeHandle::try_current().map_or(0.0, |time| time.elapsed().as_secs_f64());
        write!(writer, "{time:>13.6}")
    }
}

fn outcome(shared: &OnceLock<Arc<Mutex<World>>>, panicked: Option<String>) -> Outcome {
    let mut outcome = Outcome {
        violation: None,
        hash: 0,
        time: 0,
        events: 0,
        machines: Vec::new(),
        looked: BTreeMap::new(),
        counts: BTreeMap::new(),
    };
    if let Some(world) = shared.get() {
        let mut world = Stage::after(world);
        if let Some(text) = &panicked {
            world.fail(Rule::Panic, text.clone());
        }
        outcome = Outcome {
            violation: world.ledger.violation.clone(),
            hash: world.hash(),
            time: world.time(),
            events: world.events,
            machines: world.lines(),
            looked: world.ledger.looked(),
            counts: world.counts.clone(),
        };
    }
    if let (Some(message), None) = (panicked, &outcome.violation) {
        outcome.violation =
            Some(Violation { rule: Rule::Panic, message, time: outcome.time, step: outcome.events });
    }
    outcome
}

/// The whole run: machines, faults, workload, and then the settling.
async fn perform(plan: Plan, log: Option<Sink>, tapes: Option<Tapes>, shared: &OnceLock<Arc<Mutex<World>>>) {
    let stage = Stage::new(plan.clone(), log, tapes);
    let _ = shared.set(stage.shared());
    let people = build(&stage, &plan);
    let duration = plan.duration_ms * MILLISECOND;
    for (number, fault) in plan.faults.into_iter().enumerate() {
        spawn(stage.clone().fault(number, fault));
    }
    while stage.now() < duration {
        stage.until(duration.min(stage.now() + SECOND / 4)).await;
        // The executor of madsim drops what is left of ended tasks only when it is asked how many there are.
        let _ = Handle::current().metrics().num_tasks();
        if stage.world().ledger.violation.is_some() {
            return;
        }
    }
    stage.mend().await;
    let Some(mut person) = Person::new(&stage, plan.clients.len(), &inspector()) else { return };
    let last = stage.clone();
    let finish = async move {
        last.settle(&mut person).await;
        if last.world().ledger.violation.is_none() {
            last.read_all(&mut person).await;
        }
        if last.world().ledger.violation.is_none() {
            last.open_all().await;
        }
    };
    if let Some(inspector) = people.last() {
        // It was aborted only if it panicked, and then the run has ended.
        let _ = inspector.spawn(finish).await;
    }
}

fn build(stage: &Stage, plan: &Plan) -> Vec<madsim::runtime::NodeHandle> {
    let handle = Handle::current();
    let reality = handle.create_node().name("reality").ip(IpAddr::from([10, 0, 3, 1])).build();
    stage.world().reality = Some(reality);
    let person = |place: usize| {
        let address = IpAddr::from([10, 0, 2, place as u8 + 1]);
        handle.create_node().name(format!("c{}", place + 1)).ip(address).build()
    };
    let people: Vec<_> = (0..=plan.clients.len()).map(person).collect();
    for place in 0..plan.masters.clocks.len() {
        stage.build_master(place);
        spawn(stage.clone().observe(place));
    }
    for place in 0..plan.executors.clocks.len() {
        stage.build_executor(place);
    }
    {
        let mut world = stage.world();
        let world = &mut *world;
        for (place, master) in world.masters.iter().enumerate() {
            let machine = master.machine.as_ref().map(madsim::runtime::NodeHandle::id);
            machine.into_iter().for_each(|id| world.links.add(Endpoint::Master(place as u8), id));
        }
        for (place, executor) in world.executors.iter().enumerate() {
            let machine = executor.machine.as_ref().map(madsim::runtime::NodeHandle::id);
            machine.into_iter().for_each(|id| world.links.add(Endpoint::Executor(place as u8), id));
        }
        for (place, machine) in people.iter().enumerate() {
            world.links.add(Endpoint::Client(place as u8), machine.id());
        }
        world.apply_links();
    }
    for (place, planned) in plan.clients.iter().enumerate() {
        if let Some(person) = Person::new(stage, place, planned) {
            people[place].spawn(person.work(planned.clone()));
        }
    }
    people
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The seeds.
    pub seeds: Range<u64>,
    /// On so many threads.
    pub threads: usize,
    /// What plans stay within.
    pub limits: Limits,
    /// Every seed twice: both must be the same, event by event.
    pub twice: bool,
    /// Every master records its inputs, and each tape is replayed on the core: the outputs must be the same.
    pub check_tapes: bool,
    /// After so many failing seeds no new ones are begun.
    pub failures_max: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that were run.
    pub seeds: u64,
    /// Simulated time, nanoseconds.
    pub simulated: u128,
    /// Events.
    pub events: u64,
    /// Wall time.
    pub wall: Duration,
    /// The failing seeds.
    pub failures: BTreeMap<u64, Outcome>,
    /// Seeds that were not the same twice, with both hashes.
    pub diverged: BTreeMap<u64, (u64, u64)>,
    /// Tapes that were replayed on the core, and the inputs on them.
    pub tapes: (u64, u64),
    /// Seeds with a tape that did not give the same outputs there, and why.
    pub tapes_differ: BTreeMap<u64, String>,
    /// How many states each oracle looked at.
    pub looked: BTreeMap<&'static str, u64>,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
    /// Of the hashes of all seeds.
    pub hash: u64,
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Outcome, second: Option<u64>) {
        self.seeds += 1;
        self.simulated += u128::from(outcome.time);
        self.events += outcome.events;
        self.hash = self.hash.wrapping_add(mix(outcome.hash ^ seed));
        for (name, count) in &outcome.looked {
            *self.looked.entry(name).or_default() += count;
        }
        for (name, count) in &outcome.counts {
            *self.counts.entry(name).or_default() += count;
        }
        if let Some(second) = second.filter(|&second| second != outcome.hash) {
            self.diverged.insert(seed, (outcome.hash, second));
        }
        if outcome.violation.is_some() {
            self.failures.insert(seed, outcome);
        }
    }

    /// Simulated seconds.
    #[must_use]
    pub fn simulated_seconds(&self) -> f64 {
        self.simulated as f64 / 1e9
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.failures.is_empty() && self.diverged.is_empty() && self.tapes_differ.is_empty()
    }
}

/// Replays all tapes of a run: how many there are, and how many inputs on them.
fn check_all(tapes: &Tapes) -> Result<(u64, u64), String> {
    let (mut count, mut steps) = (0, 0);
    for ((place, run), bytes) in tapes.take() {
        let checked = tapes::check(bytes.into(), |_| ());
        let checked = checked.map_err(|error| format!("node {} run {run}: {error}", place + 1))?;
        if checked.torn_bytes > 0 {
            return Err(format!("node {} run {run}: {} torn bytes", place + 1, checked.torn_bytes));
        }
        (count, steps) = (count + 1, steps + checked.steps);
    }
    Ok((count, steps))
}

/// Runs all seeds; `progress` is told of each.
pub fn run(job: &Job, progress: impl Fn(&Summary) + Sync) -> Summary {
    let start = Instant::now();
    let next = AtomicU64::new(job.seeds.start);
    let shared = Mutex::new(Summary::default());
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..job.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let failed = {
                        let summary = lock();
                        summary.failures.len() + summary.diverged.len() + summary.tapes_differ.len()
                    };
                    if seed >= job.seeds.end || failed >= job.failures_max {
                        return;
                    }
                    let tapes = job.check_tapes.then(Tapes::default);
                    let outcome = run_taped(seed, &job.limits, None, false, tapes.clone());
                    let checked = tapes.map_or(Ok((0, 0)), |tapes| check_all(&tapes));
                    let second = job.twice.then(|| run_seed(seed, &job.limits, None, false).hash);
                    let mut summary = lock();
                    summary.add(seed, outcome, second);
                    match checked {
                        Ok((tapes, steps)) => {
                            summary.tapes = (summary.tapes.0 + tapes, summary.tapes.1 + steps);
                        }
                        Err(why) => _ = summary.tapes_differ.insert(seed, why),
                    }
                    summary.wall = start.elapsed();
                    progress(&summary);
                }
            });
        }
    });
    shared.into_inner().unwrap_or_else(PoisonError::into_inner)
}
