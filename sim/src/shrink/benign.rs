//! Brings values to what is benign: a network that loses nothing, clocks that are right, knobs at their defaults, jobs of
//! one task. It works on the differences between a plan and its benign form, in their written form, and takes out those
//! that the violation does not need.

use super::{reduce::reduce, search::Search};
use crate::plan::{Fault, FaultKind, FlowPlan, LogPlan, Operation, Plan, places::names};
use core::ops::Range;
use quorate_core::level::FIRST_LEVEL;
use serde_json::Value;
use std::time::Duration;

/// The plan with every value that is not a fault, a time or a count at its most harmless.
fn benign(plan: &Plan) -> Plan {
    let mut calm = plan.clone();
    calm.masters.timing_ms = [50, 250, 450, 400, 5_000];
    calm.masters.snapshot_entries = 100_000;
    calm.masters.trailing_entries = 1_000;
    calm.masters.log = LogPlan::default();
    calm.masters.flow.fill(FlowPlan::default());
    calm.masters.programs.fill(FIRST_LEVEL);
    calm.masters.batch_us.fill(0);
    for clock in calm.masters.clocks.iter_mut().chain(&mut calm.executors.clocks) {
        (clock.offset_ms, clock.drift_ppb, clock.wall_error_ms) = (1_000, 0, 0);
    }
    let network = &mut calm.network;
    (network.latency_min_us, network.latency_max_us) = (500, 500);
    (network.tail_ppm, network.tail_us, network.loss_ppm) = (0, 0, 0);
    (network.duplicate_ppm, network.reorder_ppm) = (0, 0);
    (calm.disk.sync_min_us, calm.disk.sync_max_us) = (500, 500);
    calm.executors.heartbeat_ms = 500;
    calm.executors.lease_ms = [3_000, 0, 100, 200];
    // The grace is itself part of what it must cover: it settles after a few rounds.
    for _ in 0..6 {
        let least = calm.executors.lease().grace_min() + Duration::from_micros(999);
        calm.executors.lease_ms[1] = u64::try_from(least.as_millis()).unwrap_or(u64::MAX) + 1;
    }
    if let Some(core) = &mut calm.core {
        core.masters = (0..calm.masters.clocks.len() as u8).collect();
        core.executors = (0..calm.executors.clocks.len() as u8).collect();
    }
    for client in &mut calm.clients {
        (client.session_ttl_ms, client.timeout_ms, client.give_up_ms) = (0, 1_000, 8_000);
        for planned in &mut client.operations {
            if let Operation::Submit { job } = &mut planned.operation {
                (job.tasks, job.slots, job.fail_ppm, job.stubborn_ppm) = (1, 1, 0, 0);
                (job.max_failures, job.stop_timeout_ms, job.run_ms[1]) = (0, 1_000, job.run_ms[0]);
            }
        }
    }
    calm
}

/// Paths to all values; a list of numbers is one value.
fn leaves<'a>(value: &'a Value, path: String, into: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                leaves(value, format!("{path}/{name}"), into);
            }
        }
        Value::Array(all) if !all.iter().all(Value::is_number) => {
            for (place, value) in all.iter().enumerate() {
                leaves(value, format!("{path}/{place}"), into);
            }
        }
        value => into.push((path, value)),
    }
}

/// The values in which a plan and its benign form differ.
fn differences(plan: &Plan) -> Vec<(String, Value)> {
    let (Ok(here), Ok(calm)) = (serde_json::to_value(plan), serde_json::to_value(benign(plan))) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    leaves(&calm, String::new(), &mut all);
    let differs = |(path, value): &(String, &Value)| here.pointer(path) != Some(*value);
    all.into_iter().filter(differs).map(|(path, value)| (path, value.clone())).collect()
}

fn calmer(plan: &Plan, range: Range<usize>) -> Option<Plan> {
    let mut written = serde_json::to_value(plan).ok()?;
    for (path, value) in differences(plan).get(range)? {
        *written.pointer_mut(path)? = value.clone();
    }
    let mut plan: Plan = serde_json::from_value(written).ok()?;
    // Who is not listed has the default too.
    if plan.masters.flow.iter().all(|flow| *flow == FlowPlan::default()) {
        plan.masters.flow.clear();
    }
    if plan.masters.programs.iter().all(|level| *level == FIRST_LEVEL) {
        plan.masters.programs.clear();
    }
    if plan.masters.batch_us.iter().all(|most| *most == 0) {
        plan.masters.batch_us.clear();
    }
    Some(plan)
}

/// Network, disks, clocks, knobs, and how jobs behave.
pub(super) fn knobs(search: &mut Search<'_>) -> bool {
    reduce(search, |plan| differences(plan).len(), calmer)
}

/// Milder forms of each fault, the mildest first.
pub(super) fn faults(search: &mut Search<'_>) -> bool {
    let mut changed = false;
    let mut place = 0;
    while place < search.best.faults.len() {
        let milder: Vec<FaultKind> = milder(&search.best.faults[place]);
        let with = |plan: &Plan, number: usize| {
            let mut plan = plan.clone();
            plan.faults[place].kind = milder.get(number)?.clone();
            Some(plan)
        };
        if search.first(milder.len(), with).is_some() {
            changed = true;
        } else {
            place += 1;
        }
    }
    changed
}

/// Numbers of a fault that is the milder the larger they are: how seldom it strikes.
const SELDOM: [&str; 2] = ["one_in", "period_ms"];
/// The mildest number of those that is tried.
const SELDOM_MOST: i64 = 1_000_000;

/// Milder numbers and shorter lists; which machines it names is not a strength.
fn milder(fault: &Fault) -> Vec<FaultKind> {
    let Ok(Value::Object(fields)) = serde_json::to_value(&fault.kind) else { return Vec::new() };
    let mut all = Vec::new();
    let strength = |name: &str, value: &Value| value.is_array() || !names(name);
    for (name, value) in fields.iter().filter(|(name, value)| strength(name, value)) {
        let values = if SELDOM.contains(&name.as_str()) { larger(value) } else { smaller(value) };
        for milder in values {
            let mut fields = fields.clone();
            fields.insert(name.clone(), milder);
            all.extend(serde_json::from_value::<FaultKind>(Value::Object(fields)).ok());
        }
    }
    all
}

fn smaller(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(all) => (0..all.len())
            .filter(|_| all.len() > 1)
            .map(|gone| {
                let kept = all.iter().enumerate().filter(|(place, _)| *place != gone);
                Value::Array(kept.map(|(_, value)| value.clone()).collect())
            })
            .collect(),
        Value::Number(number) => {
            let Some(number) = number.as_i64() else { return Vec::new() };
            let steps = [round_down(number / 10), round_down(number / 2), round_down(number)];
            let steps = steps.into_iter().filter(|&step| step != number && step != 0);
            steps.map(Value::from).collect()
        }
        _ => Vec::new(),
    }
}

/// The largest first. Each is round and larger, so that it comes to an end.
fn larger(value: &Value) -> Vec<Value> {
    let Some(number) = value.as_i64().filter(|number| *number > 0) else { return Vec::new() };
    let steps = [number.saturating_mul(100), number.saturating_mul(10), number.saturating_mul(2)];
    let mut steps = steps.map(|step| round_down(step.min(SELDOM_MOST))).to_vec();
    steps.dedup();
    steps.into_iter().filter(|step| *step > number).map(Value::from).collect()
}

/// To one digit that is not 0.
pub(super) fn round_down(number: i64) -> i64 {
    let mut unit = 1;
    while number.abs() / unit >= 10 {
        unit *= 10;
    }
    number / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(kind: FaultKind) -> Vec<FaultKind> {
        milder(&Fault { at_ms: 0, for_ms: 1, kind })
    }

    #[test]
    fn what_strikes_more_seldom_is_milder() {
        let point = |one_in| FaultKind::Point { master: 1, point: "apply-one".to_owned(), one_in };
        assert_eq!(forms(point(3)), [300, 30, 6].map(point));
        assert_eq!(forms(point(40_000)), [1_000_000, 400_000, 80_000].map(point));
        assert_eq!(forms(point(1_000_000)), []);
        let flap = |period_ms| FaultKind::FlapExecutor { executor: 0, period_ms };
        assert!(forms(flap(15)).starts_with(&[flap(1_000), flap(100), flap(30)]), "{:?}", forms(flap(15)));
    }

    #[test]
    fn all_else_is_milder_when_it_is_less() {
        let loss = |ppm| FaultKind::Loss { ppm };
        assert_eq!(forms(loss(250_000)), [20_000, 100_000, 200_000].map(loss));
    }
}
