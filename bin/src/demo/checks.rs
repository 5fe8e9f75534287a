//! The summary: what was promised, and whether it was kept.

use super::{
    story::{Facts, TASKS},
    truth::Truth,
};
use crate::{failure::Failure, output, output::Format};
use quorate_core::contract::LeaseTimes;
use quorate_proto::v1 as pb;
use serde_json::{Value, json};
use std::time::Duration;

/// A write must be accepted again so soon after the leader was killed.
const OUTAGE_MAX: Duration = Duration::from_secs(3);
/// Lost tasks must run again so soon after lease and grace: placing, calling and starting them.
const RESTART_MAX: Duration = Duration::from_secs(2);

/// One promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// Short, for machines.
    name: &'static str,
    /// Whether it was kept.
    ok: bool,
    /// With the figures.
    text: String,
}

/// What the demo ends with.
#[derive(Debug)]
pub(super) struct Summary {
    checks: Vec<Check>,
    figures: Value,
}

impl Summary {
    /// Compares the records with what the tasks' processes wrote.
    pub(super) fn new(facts: &Facts, truth: &Truth, seconds: f64) -> Self {
        let lease = LeaseTimes::default();
        let again: Vec<Option<Duration>> = facts
            .lost_tasks
            .iter()
            .map(|(task, epoch)| {
                Some(truth.started_after(*task, *epoch)?.duration_since(facts.executor_killed))
            })
            .collect();
        let again_last =
            again.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
        let again_first = again.iter().flatten().min().copied();
        let checks = vec![
            finished(&facts.job, truth),
            apart(truth),
            kept(facts),
            outage(facts),
            undisturbed(facts),
            fenced(facts.gone, lease),
            moved(facts, again_last, lease),
        ];
        let figures = json!({
            "leader_outage_ms": ms(facts.outage),
            "tasks_lost": facts.lost_tasks.len(),
            "lost_tasks_lived_on_ms": facts.gone.map(ms),
            "first_lost_task_again_ms": again_first.map(ms),
            "last_lost_task_again_ms": again_last.map(ms),
            "ttl_ms": ms(lease.ttl),
            "grace_ms": ms(lease.grace),
            "writes": facts.writes,
            "leaders": [facts.old_leader, facts.new_leader],
            "seconds": (seconds * 1000.0).round() / 1000.0,
        });
        Self { checks, figures }
    }

    /// Whether every promise was kept.
    pub(super) fn ok(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// Prints it to stdout.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub(super) fn print(&self, format: Format) -> Result<(), Failure> {
        if format == Format::Json {
            let check = |check: &Check| json!({ "name": check.name, "ok": check.ok, "text": check.text });
            let checks: Vec<Value> = self.checks.iter().map(check).collect();
            return output::json(&json!({ "ok": self.ok(), "checks": checks, "figures": self.figures }));
        }
        output::line("")?;
        for check in &self.checks {
            output::line(&format!("  {:<6}  {}", if check.ok { "ok" } else { "FAILED" }, check.text))?;
        }
        output::line("")
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Each task has one end by its processes, and that is the one that is recorded.
fn finished(job: &pb::JobStatus, truth: &Truth) -> Check {
    let ends = truth.ends();
    let state = job.job.as_ref().map_or(0, |job| job.state);
    let once = |task: &&pb::Task| {
        let epochs = ends.get(&task.number).map_or(&[][..], Vec::as_slice);
        task.state == i32::from(pb::TaskState::Finished) && epochs == [task.epoch]
    };
    let count = job.tasks.iter().filter(once).count();
    let strange = if truth.strange.is_empty() {
        String::new()
    } else {
        format!("; strange lines: {:?}", truth.strange)
    };
    let ok = count == TASKS as usize
        && job.tasks.len() == count
        && state == i32::from(pb::JobState::Finished)
        && ends.len() == count
        && truth.strange.is_empty();
    let text = format!("every task finished exactly once, as recorded ({count} of {TASKS}){strange}");
    Check { name: "finished_once", ok, text }
}

fn apart(truth: &Truth) -> Check {
    let overlaps = truth.overlaps();
    let more = if overlaps.is_empty() { String::new() } else { format!(": {}", overlaps.join("; ")) };
    let text =
        format!("no task ran twice at once, by what its processes wrote ({} lines){more}", truth.lines.len());
    Check { name: "never_twice_at_once", ok: overlaps.is_empty() && !truth.lines.is_empty(), text }
}

fn kept(facts: &Facts) -> Check {
    let more = match facts.lost_writes.first() {
        None => String::new(),
        Some(first) => format!(": {} are gone, the first is {first}", facts.lost_writes.len()),
    };
    let text = format!("no accepted write was lost ({} around the crash of the leader){more}", facts.writes);
    Check { name: "no_write_lost", ok: facts.lost_writes.is_empty() && facts.writes > 0, text }
}

fn outage(facts: &Facts) -> Check {
    let Facts { old_leader, new_leader, outage, .. } = facts;
    let text = format!(
        "without a leader for {} ms: from the kill of {old_leader} to the next accepted write, under {new_leader} (limit {} ms)",
        ms(*outage),
        ms(OUTAGE_MAX)
    );
    Check { name: "leader_replaced", ok: *outage <= OUTAGE_MAX && old_leader != new_leader, text }
}

fn undisturbed(facts: &Facts) -> Check {
    let [before, after] = &facts.epochs;
    let changed = before.iter().filter(|(task, epoch)| after.get(task) != Some(epoch)).count();
    let text = format!("the crash of the leader disturbed {changed} of {} running tasks", before.len());
    Check { name: "tasks_undisturbed", ok: changed == 0 && before.len() == TASKS as usize, text }
}

fn fenced(gone: Option<Duration>, lease: LeaseTimes) -> Check {
    let when = gone.map_or("still there".to_owned(), |gone| format!("gone {} ms after it", ms(gone)));
    let text = format!(
        "the processes of the killed executor's tasks were {when}, before others might run them (limit {} ms)",
        ms(lease.ttl)
    );
    Check { name: "tasks_fenced", ok: gone.is_some_and(|gone| gone <= lease.ttl), text }
}

fn moved(facts: &Facts, again: Option<Duration>, lease: LeaseTimes) -> Check {
    let limit = lease.ttl + lease.grace + RESTART_MAX;
    let when = again.map_or("never".to_owned(), |again| format!("{} ms after the kill", ms(again)));
    let text = format!(
        "the {} tasks of {} ran again {when} (lease {} ms + grace {} ms, limit {} ms)",
        facts.lost_tasks.len(),
        facts.executor,
        ms(lease.ttl),
        ms(lease.grace),
        ms(limit)
    );
    Check { name: "tasks_moved", ok: again.is_some_and(|again| again <= limit), text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, path::Path, time::Instant};

    const LOST: (u32, u64) = (0, 5);

    /// A run in which task 0 is moved, and what its processes wrote.
    fn good() -> (Facts, String) {
        let epochs: BTreeMap<u32, u64> = (0..TASKS).map(|task| (task, 5)).collect();
        let epoch = |task| if task == LOST.0 { 9 } else { 5 };
        let task = |number| pb::Task {
            number,
            epoch: epoch(number),
            state: pb::TaskState::Finished.into(),
            ..Default::default()
        };
        let job = pb::Job { state: pb::JobState::Finished.into(), ..Default::default() };
        let job =
            pb::JobStatus { job: Some(job), tasks: (0..TASKS).map(task).collect(), ..Default::default() };
        let facts = Facts {
            old_leader: "master-1".to_owned(),
            new_leader: "master-2".to_owned(),
            outage: Duration::from_millis(300),
            epochs: [epochs.clone(), epochs],
            executor: "agent-1".to_owned(),
            executor_killed: Instant::now(),
            lost_tasks: vec![LOST],
            gone: Some(Duration::from_millis(10)),
            job,
            writes: 7,
            lost_writes: Vec::new(),
        };
        let mut text: String = (0..TASKS).map(|task| format!("start {task} 5 1\n")).collect();
        text += "start 0 9 2\n";
        text.extend((0..TASKS).map(|task| format!("end {task} {} 1\n", epoch(task))));
        (facts, text)
    }

    fn failed(facts: &Facts, text: &str) -> Vec<&'static str> {
        let mut truth = Truth::new(Path::new("unused"));
        truth.take(text, Instant::now());
        let summary = Summary::new(facts, &truth, 1.0);
        let failed = summary.checks.iter().filter(|check| !check.ok).map(|check| check.name).collect();
        assert_eq!(summary.ok(), summary.checks.iter().all(|check| check.ok));
        failed
    }

    #[test]
    fn a_good_run_passes_every_check() {
        let (facts, text) = good();
        assert_eq!(failed(&facts, &text), Vec::<&str>::new());
    }

    #[test]
    fn what_the_processes_wrote_decides() {
        let (facts, text) = good();
        assert_eq!(failed(&facts, &text.replace("end 3 5 1\n", "")), ["finished_once"], "it never ended");
        assert_eq!(failed(&facts, &format!("{text}end 3 5 1\n")), ["finished_once"], "it ended twice");
        assert_eq!(failed(&facts, &format!("{text}tick 0 5 1\n")), ["never_twice_at_once"]);
        assert_eq!(failed(&facts, &format!("{text}nonsense\n")), ["finished_once"]);
        let unmoved = text.replace("start 0 9 2\n", "").replace("end 0 9 1", "end 0 5 1");
        assert_eq!(failed(&facts, &unmoved), ["finished_once", "tasks_moved"], "the record says epoch 9");
    }

    #[test]
    fn each_broken_promise_is_seen() {
        let broken = |change: fn(&mut Facts)| {
            let (mut facts, text) = good();
            change(&mut facts);
            failed(&facts, &text)
        };
        assert_eq!(broken(|facts| facts.lost_writes.push("k".to_owned())), ["no_write_lost"]);
        assert_eq!(broken(|facts| facts.writes = 0), ["no_write_lost"]);
        assert_eq!(broken(|facts| facts.outage = OUTAGE_MAX * 2), ["leader_replaced"]);
        assert_eq!(broken(|facts| facts.gone = None), ["tasks_fenced"]);
        assert_eq!(broken(|facts| facts.epochs[1] = BTreeMap::new()), ["tasks_undisturbed"]);
        assert_eq!(broken(|facts| facts.executor_killed -= Duration::from_secs(30)), ["tasks_moved"]);
        assert_eq!(
            broken(|facts| facts.job.tasks[2].state = pb::TaskState::Failed.into()),
            ["finished_once"]
        );
    }
}
