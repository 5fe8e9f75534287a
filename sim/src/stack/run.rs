//! Seeds: each on a fresh thread, because madsim keeps its state, and std the keys of its maps, in thread-locals.

use super::{
    clients::Person,
    free::free,
    settle::inspector,
    stage::{MILLISECOND, SECOND, Stage, Stopped, World},
};
use crate::{
    network::Endpoint,
    oracle::{Rule, Violation},
    plan::Plan,
    reached,
    run::{Outcome, Sink, take_panic},
    tapes::Tapes,
};
use madsim::runtime::{Handle, Runtime};
use std::{
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, OnceLock},
};

/// Of [`Outcome::counts`]: runs that left memory behind, which none does that ends by itself.
pub const MEMORY_LEFT: &str = "a run left memory behind";

/// Runs a plan on a fresh thread. `log`: where event lines go. `verbose`: also lines of the product's own log. `tapes`: where
/// each run of each master is recorded.
#[must_use]
pub fn run_plan(plan: &Plan, log: Option<Sink>, verbose: bool, tapes: Option<Tapes>) -> Outcome {
    run_bounded(plan, log, verbose, tapes, u64::MAX).0
}

/// Runs a plan, unless it is not over after so many events: writes, answers, elections and what else goes into its hash.
/// What makes no event ends with the simulated time, of which each turn of a task takes some.
#[must_use]
pub fn run_within(plan: &Plan, events_max: u64) -> Option<Outcome> {
    let (outcome, over_bound) = run_bounded(plan, None, false, None, events_max);
    (!over_bound).then_some(outcome)
}

/// Also, whether it had more events than it may.
fn run_bounded(
    plan: &Plan,
    log: Option<Sink>,
    verbose: bool,
    tapes: Option<Tapes>,
    events_max: u64,
) -> (Outcome, bool) {
    let (seed, plan) = (plan.seed, plan.clone());
    let shared = Arc::new(OnceLock::new());
    let kept = Arc::clone(&shared);
    #[cfg(feature = "planted-bugs")]
    let bug = quorate_core::bug::current();
    let thread =
        std::thread::Builder::new().name(format!("seed {seed}")).stack_size(8 << 20).spawn(move || {
            #[cfg(feature = "planted-bugs")]
            quorate_core::bug::plant(bug);
            let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
            // The simulated time begins in the runtime.
            let run = perform(|| Stage::new(plan, log, tapes, events_max), &kept);
            reached::clear();
            let ended = catch_unwind(AssertUnwindSafe(|| block_on(&runtime, run, verbose)));
            // A storm is a violation already, and a run over its bound is none.
            let panicked = ended.as_ref().is_err_and(|what| !what.is::<Stopped>());
            let text = panicked.then(|| take_panic().unwrap_or_else(|| "a panic without a text".to_owned()));
            let over_bound = kept.get().is_some_and(|world| Stage::after(world).over_bound);
            let mut outcome = Outcome { marks: reached::take(), ..outcome(&kept, text) };
            if let Some(world) = kept.get()
                && !free(runtime, world, ended.is_ok())
            {
                outcome.counts.insert(MEMORY_LEFT, 1);
            }
            (outcome, over_bound)
        });
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(ended)) => ended,
        Ok(Err(_)) => (outcome(&shared, Some("the seed's thread panicked".to_owned())), false),
        Err(error) => (outcome(&shared, Some(format!("no thread for the seed: {error}"))), false),
    }
}

/// `verbose`: prints also lines of the product's own log.
fn block_on(runtime: &Runtime, run: impl Future<Output = ()>, verbose: bool) {
    if !verbose {
        return runtime.block_on(run);
    }
    let lines = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_timer(SimulatedTime)
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(lines, || runtime.block_on(run));
}

struct SimulatedTime;

impl tracing_subscriber::fmt::time::FormatTime for SimulatedTime {
    fn format_time(&self, writer: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        let time = madsim::time::TimeHandle::try_current().map_or(0.0, |time| time.elapsed().as_secs_f64());
        write!(writer, "{time:>13.6}")
    }
}

fn outcome(shared: &OnceLock<Arc<Mutex<World>>>, panicked: Option<String>) -> Outcome {
    let mut outcome = Outcome::default();
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
            steps: world.ledger.step,
            machines: world.lines(),
            looked: world.ledger.looked(),
            counts: world.counts.clone(),
            excused: world.excused.clone(),
            ..Outcome::default()
        };
    }
    if let (Some(message), None) = (panicked, &outcome.violation) {
        outcome.violation =
            Some(Violation { rule: Rule::Panic, message, time: outcome.time, step: outcome.events });
    }
    outcome
}

/// The whole run: machines, faults, workload, and then the settling.
async fn perform(stage: impl FnOnce() -> Stage, shared: &OnceLock<Arc<Mutex<World>>>) {
    let stage = stage();
    let plan = stage.world().plan.clone();
    let _ = shared.set(stage.shared());
    let people = build(&stage, &plan);
    let duration = plan.duration_ms * MILLISECOND;
    for (number, fault) in plan.faults.into_iter().enumerate() {
        stage.spawn(stage.clone().fault(number, fault));
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
        let whole = {
            let world = last.world();
            world.ledger.violation.is_none() && world.excused.is_none()
        };
        if whole {
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
    stage.world().spares_begin();
    for place in 0..plan.masters.clocks.len() {
        stage.build_master(place);
        stage.spawn(stage.clone().observe(place));
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
