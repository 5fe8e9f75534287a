//! Times of answers, while the clients ask.

use super::{
    load::{Load, Pace},
    masters::{self, Difference},
};
use crate::failure::Failure;
use futures::future::join_all;
use hdrhistogram::Histogram;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, interval_at};

/// The longest time that is told apart from longer ones, in microseconds.
const LONGEST_US: u64 = 600_000_000;
/// Digits of a time that are kept.
const DIGITS: u8 = 3;
/// How often the progress is told.
const PERIOD: Duration = Duration::from_secs(1);

/// What a run showed.
#[derive(Debug)]
pub(super) struct Measured {
    /// Times of the answers, in microseconds.
    pub(super) times: Histogram<u64>,
    /// How often each kind of error came, with the first one's text.
    pub(super) errors: BTreeMap<&'static str, (u64, String)>,
    /// How long was measured.
    pub(super) elapsed: Duration,
    /// What the masters did meanwhile.
    pub(super) masters: Vec<Difference>,
    /// This process's own processor time meanwhile.
    pub(super) processor: Duration,
}

/// One run.
#[derive(Debug)]
pub(super) struct Measure {
    warm_up: Duration,
    duration: Option<Duration>,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    /// Not yet while it warms up.
    counts: bool,
    all: Histogram<u64>,
    period: Histogram<u64>,
    errors: BTreeMap<&'static str, (u64, String)>,
}

fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new(DIGITS).expect("3 digits are allowed");
    histogram.auto(true);
    histogram
}

impl Measure {
    /// `None`: until the pace ends.
    pub(super) fn new(warm_up: Duration, duration: Option<Duration>) -> Self {
        let counted =
            Counted { counts: false, all: histogram(), period: histogram(), errors: BTreeMap::new() };
        Self { warm_up, duration, counted: Mutex::new(counted) }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets so many clients ask, and says what that showed.
    ///
    /// # Errors
    /// Not a single answer came.
    pub(super) async fn run(&self, load: &Load, pace: &Pace, clients: u32) -> Result<Measured, Failure> {
        let end = self.duration.map(|duration| Instant::now() + self.warm_up + duration);
        let asking = join_all((0..clients).map(|client| self.ask(load, pace, client, end)));
        let watching = self.watch();
        tokio::pin!(asking, watching);
        let (before, begun, processor) = tokio::select! {
            _ = &mut asking => return Err(Failure::usage("the duration is over before it began: allow a longer --duration")),
            started = self.start(load, pace) => started,
        };
        tokio::select! {
            _ = &mut asking => {}
            () = &mut watching => {}
        }
        let (elapsed, processor) = (begun.elapsed(), masters::processor_time().saturating_sub(processor));
        let masters = masters::difference(&before, &masters::ask(load.cluster(0)).await);
        let mut counted = self.counted();
        let times = std::mem::replace(&mut counted.all, histogram());
        let errors = std::mem::take(&mut counted.errors);
        if times.is_empty() {
            let why = errors.into_values().next().map_or_else(|| "no answer came".to_owned(), |(_, why)| why);
            return Err(Failure::refused(format!("not one request was answered: {why}")));
        }
        Ok(Measured { times, errors, elapsed, masters, processor })
    }

    /// When it is warm, what is measured begins.
    async fn start(&self, load: &Load, pace: &Pace) -> (masters::Told, Instant, Duration) {
        tokio::time::sleep(self.warm_up).await;
        let before = masters::ask(load.cluster(0)).await;
        self.counted().counts = true;
        pace.begin();
        (before, Instant::now(), masters::processor_time())
    }

    async fn ask(&self, load: &Load, pace: &Pace, client: u32, end: Option<Instant>) {
        while let Some(due) = pace.next().await {
            if end.is_some_and(|end| due >= end) {
                return;
            }
            let answer = load.ask(client).await;
            let time = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_US);
            let mut counted = self.counted();
            if !counted.counts {
                continue;
            }
            match answer {
                Ok(()) => {
                    // Cannot fail: the histograms grow, and the time is bounded.
                    let _ = counted.all.record(time);
                    let _ = counted.period.record(time);
                }
                Err(failure) => {
                    let first = (0, failure.message.clone());
                    counted.errors.entry(failure.kind.name()).or_insert(first).0 += 1;
                }
            }
        }
    }

    /// Tells the progress, for ever.
    async fn watch(&self) {
        let begun = Instant::now();
        let mut ticks = interval_at(begun + PERIOD, PERIOD);
        loop {
            let now = ticks.tick().await;
            let mut counted = self.counted();
            if counted.counts {
                let (period, errors) = (&counted.period, counted.errors.values().map(|it| it.0).sum::<u64>());
                let time = |quantile| period.value_at_quantile(quantile) as f64 / 1_000.0;
                eprintln!(
                    "{:4} s  {:7}/s  p50 {:8.2} ms  p99 {:8.2} ms  max {:8.2} ms  {errors} errors",
                    (now - begun).as_secs(),
                    period.len(),
                    time(0.5),
                    time(0.99),
                    period.max() as f64 / 1_000.0,
                );
                counted.period.reset();
            }
        }
    }
}
