//! Makes a plan short: nothing after the violation, no waiting for nothing, short faults, round times.

use super::{reduce::reduce, search::Search};
use crate::plan::Plan;

const MILLISECOND: u64 = 1_000_000;
/// A gap without anything planned is closed to this, milliseconds.
const GAP: u64 = 50;
/// Times are brought to multiples of one of these, milliseconds.
const UNITS: [u64; 5] = [1_000, 500, 100, 50, 10];
/// The end is a multiple of this, milliseconds.
const END: u64 = 100;
/// The shortest fault, milliseconds.
const SHORTEST: u64 = 10;

/// What is planned for after the violation does nothing for it.
pub(super) fn truncate(search: &mut Search<'_>) -> bool {
    let mut changed = false;
    if search.before_settling() {
        let end_ms = (search.violation.time / MILLISECOND + 1).next_multiple_of(END);
        changed |= search.one(|plan| {
            let mut plan = plan.clone();
            plan.duration_ms = plan.duration_ms.min(end_ms);
            plan.faults.retain(|fault| fault.at_ms <= end_ms);
            for client in &mut plan.clients {
                client.operations.retain(|operation| operation.at_ms <= end_ms);
            }
            plan.left_out.clear();
            plan.recovery = None;
            Some(plan)
        });
    }
    changed
}

/// Begins and ends of all that is planned.
fn planned(plan: &Plan) -> Vec<u64> {
    let faults = plan.faults.iter().flat_map(|fault| [fault.at_ms, fault.at_ms + fault.for_ms]);
    let operations = plan.clients.iter().flat_map(|client| &client.operations);
    let mut times: Vec<u64> = faults.chain(operations.map(|operation| operation.at_ms)).collect();
    times.extend([0, plan.duration_ms]);
    times.sort_unstable();
    times.dedup();
    times
}

/// Everything that comes after a time comes earlier.
fn earlier(plan: &Plan, after: u64, by: u64) -> Plan {
    let mut plan = plan.clone();
    let moved = |at: u64| if at > after { at - by } else { at };
    for fault in &mut plan.faults {
        let end = moved(fault.at_ms + fault.for_ms);
        fault.at_ms = moved(fault.at_ms);
        fault.for_ms = end.saturating_sub(fault.at_ms);
    }
    for client in &mut plan.clients {
        for operation in &mut client.operations {
            operation.at_ms = moved(operation.at_ms);
        }
    }
    plan.duration_ms = moved(plan.duration_ms);
    plan
}

/// Gaps and long faults.
pub(super) fn shorten(search: &mut Search<'_>) -> bool {
    let mut changed = false;
    for part in [1, 2, 4] {
        changed |= close_gaps(search, part);
    }
    changed |= shorten_faults(search);
    changed | truncate(search)
}

/// Closes gaps to one `part`th of what could go.
fn close_gaps(search: &mut Search<'_>, part: u64) -> bool {
    let mut changed = false;
    loop {
        let times = planned(&search.best);
        let mut gaps: Vec<(u64, u64)> = times
            .windows(2)
            .map(|pair| ((pair[1] - pair[0]).saturating_sub(GAP) / part, pair[0]))
            .filter(|&(by, _)| by >= GAP)
            .collect();
        gaps.sort_unstable_by(|one, other| other.cmp(one));
        let shorter = |plan: &Plan, number: usize| {
            let (by, after) = *gaps.get(number)?;
            Some(earlier(plan, after, by))
        };
        if search.first(gaps.len(), shorter).is_none() {
            return changed;
        }
        changed = true;
    }
}

fn shorten_faults(search: &mut Search<'_>) -> bool {
    let mut changed = false;
    let mut place = 0;
    while place < search.best.faults.len() {
        let long = search.best.faults[place].for_ms;
        let lengths: Vec<u64> = [SHORTEST, long / 8, long / 4, long / 2]
            .into_iter()
            .filter(|&length| length < long && length >= SHORTEST)
            .collect();
        let with = |plan: &Plan, number: usize| {
            let mut plan = plan.clone();
            plan.faults[place].for_ms = *lengths.get(number)?;
            Some(plan)
        };
        changed |= search.first(lengths.len(), with).is_some();
        place += 1;
    }
    changed
}

/// The times of a plan that are no multiple of a unit.
fn uneven(plan: &mut Plan, unit: u64) -> Vec<&mut u64> {
    let Plan { faults, clients, .. } = plan;
    let faults = faults.iter_mut().flat_map(|fault| [&mut fault.at_ms, &mut fault.for_ms]);
    let operations = clients.iter_mut().flat_map(|client| &mut client.operations);
    let operations = operations.map(|operation| &mut operation.at_ms);
    let all = faults.chain(operations);
    all.filter(|time| **time % unit != 0).collect()
}

/// Round numbers read better. It may open gaps, so it comes after all else.
pub(super) fn round(search: &mut Search<'_>) -> bool {
    let mut changed = false;
    for unit in UNITS {
        changed |= reduce(
            search,
            |plan| uneven(&mut plan.clone(), unit).len(),
            |plan, range| {
                let mut plan = plan.clone();
                for time in uneven(&mut plan, unit).get_mut(range)? {
                    **time = (**time + unit / 2) / unit * unit;
                }
                let sorted = plan.faults.is_sorted_by_key(|fault| fault.at_ms);
                (sorted && plan.faults.iter().all(|fault| fault.for_ms > 0)).then_some(plan)
            },
        );
    }
    changed
}
