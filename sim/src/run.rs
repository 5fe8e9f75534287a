//! One run, and many seeds on a number of threads. What comes of many seeds does not depend on which thread was faster.

use crate::{
    latency::Samples,
    oracle::{Rule, Violation},
    plan::{Limits, Plan, generate},
    reached::{self, Hits},
    shrink::{plant, planted},
    summary::Summary,
    tapes::Tapes,
    world::World,
};
use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Takes the event log: a line and its true time in nanoseconds.
pub type Sink = Box<dyn FnMut(u64, &str) + Send>;

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The rule that did not hold.
    pub violation: Option<Violation>,
    /// A chain over every event and every output.
    pub hash: u64,
    /// Simulated time, nanoseconds.
    pub time: u64,
    /// Events.
    pub events: u64,
    /// Steps of masters and agents.
    pub steps: u64,
    /// One line a machine.
    pub machines: Vec<String>,
    /// How many states each oracle looked at.
    pub looked: BTreeMap<&'static str, u64>,
    /// What happened how often: faults that took effect, messages, outcomes.
    pub counts: BTreeMap<&'static str, u64>,
    /// The cluster did not become whole, and could not: why.
    pub excused: Option<String>,
    /// How long things took.
    pub samples: Samples,
    /// Marks that were reached, and how often.
    pub marks: Hits,
}

/// Which parts of the product are real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The cores, in a plain event loop.
    Core,
    /// Driver, storage, services and client library as well, on a simulated runtime.
    #[cfg(madsim)]
    Stack,
}

impl Level {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            #[cfg(madsim)]
            Self::Stack => "stack",
        }
    }

    /// Runs a plan on this level. Oracles always look on the stack level. `tapes`: where masters are recorded.
    #[must_use]
    pub fn run(self, plan: &Plan, oracles: bool, tapes: Option<Tapes>) -> Outcome {
        match self {
            Self::Core => run_taped(plan, oracles, None, tapes),
            #[cfg(madsim)]
            Self::Stack => crate::stack::run::run_plan(plan, None, false, tapes),
        }
    }

    /// Runs a plan with oracles, unless it is not over after so many events.
    #[must_use]
    pub fn run_within(self, plan: &Plan, events_max: u64) -> Option<Outcome> {
        match self {
            Self::Core => run_within(plan, events_max),
            #[cfg(madsim)]
            Self::Stack => crate::stack::run::run_within(plan, events_max),
        }
    }

    /// The command of the build that has it.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Core => "cargo sim",
            #[cfg(madsim)]
            Self::Stack => "cargo sim-stack",
        }
    }
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

/// The first panic of this thread since the last one was taken.
pub(crate) fn take_panic() -> Option<String> {
    PANIC.with(|kept| kept.borrow_mut().take())
}

/// Runs a plan on the core level. A panic is a violation like any other.
#[must_use]
pub fn run_plan(plan: &Plan, oracles: bool, log: Option<Sink>) -> Outcome {
    run_taped(plan, oracles, log, None)
}

/// The same, and records a tape of each run of each master.
#[must_use]
pub fn run_taped(plan: &Plan, oracles: bool, log: Option<Sink>, tapes: Option<Tapes>) -> Outcome {
    let plan = plan.clone();
    let run = AssertUnwindSafe(|| World::new(plan, oracles, log).taped(tapes).run());
    reached::clear();
    let mut outcome = catch_unwind(run).unwrap_or_else(crashed);
    outcome.marks.extend(reached::take());
    outcome
}

/// The same with oracles, unless it is not over after so many events.
#[must_use]
pub fn run_within(plan: &Plan, events_max: u64) -> Option<Outcome> {
    let plan = plan.clone();
    let run = AssertUnwindSafe(|| World::new(plan, true, None).run_within(events_max));
    catch_unwind(run).unwrap_or_else(|panic| Some(crashed(panic)))
}

/// What a panic said, and where it came from if that was kept.
#[allow(clippy::needless_pass_by_value, reason = "it is what catch_unwind gives out")]
pub(crate) fn panic_text(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
    take_panic().or(text).unwrap_or_else(|| "a panic without a text".to_owned())
}

/// What came of a run that panicked.
pub(crate) fn crashed(panic: Box<dyn Any + Send>) -> Outcome {
    Outcome {
        violation: Some(Violation { rule: Rule::Panic, message: panic_text(panic), time: 0, step: 0 }),
        ..Outcome::default()
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The seeds.
    pub seeds: Range<u64>,
    /// On so many threads.
    pub threads: usize,
    /// On which level.
    pub level: Level,
    /// Whether oracles look.
    pub oracles: bool,
    /// What plans stay within.
    pub limits: Limits,
    /// Every seed twice: both must be the same, event by event.
    pub twice: bool,
    /// Every master records its inputs, and each tape is replayed on the core: the outputs must be the same.
    pub check_tapes: bool,
    /// No seed is begun after this time.
    pub budget: Option<Duration>,
    /// After so many failing seeds no new ones are begun.
    pub failures_max: usize,
}

impl Job {
    /// All of these seeds, with oracles, on the core level and a number of threads.
    #[must_use]
    pub fn new(seeds: Range<u64>, threads: usize) -> Self {
        Self {
            seeds,
            threads,
            level: Level::Core,
            oracles: true,
            limits: Limits::default(),
            twice: false,
            check_tapes: false,
            budget: None,
            failures_max: usize::MAX,
        }
    }
}

/// Runs all seeds, with the bug that is planted in this thread; `progress` is told from time to time.
pub fn run(job: &Job, progress: impl Fn(&Summary) + Sync) -> Summary {
    const TELL: Duration = Duration::from_millis(200);
    let start = Instant::now();
    let next = AtomicU64::new(job.seeds.start);
    let stop = AtomicBool::new(false);
    let shared = Mutex::new((Summary::default(), start));
    let bug = planted();
    let one = || {
        plant(bug);
        while !stop.load(Ordering::Relaxed) && job.budget.is_none_or(|budget| start.elapsed() < budget) {
            // Never past the end, which may be the last number that there is.
            let more = |seed| (seed < job.seeds.end).then(|| seed + 1);
            let Ok(seed) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) else { return };
            let plan = generate(seed, &job.limits);
            let tapes = job.check_tapes.then(Tapes::default);
            let outcome = job.level.run(&plan, job.oracles, tapes.clone());
            let checked = tapes.map(|tapes| tapes.check());
            let second = job.twice.then(|| job.level.run(&plan, job.oracles, None).hash);
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let (summary, last) = &mut *shared;
            summary.add(seed, outcome, second);
            if let Some(checked) = checked {
                summary.add_tapes(seed, checked);
            }
            summary.wall = start.elapsed();
            if summary.failing() >= job.failures_max {
                stop.store(true, Ordering::Relaxed);
            }
            if last.elapsed() > TELL {
                *last = Instant::now();
                progress(summary);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..job.threads.max(1) {
            scope.spawn(one);
        }
    });
    let (mut summary, _) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.wall = start.elapsed();
    summary
}
