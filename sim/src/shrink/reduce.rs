//! Takes things out of lists: all of them, then halves, quarters, and single ones.

use super::{machines::without_clients, search::Search};
use crate::plan::Plan;
use core::ops::Range;

/// Takes out what can go. `count` counts the things of a plan, `without` is the plan without some of them. Whether
/// anything went.
pub(super) fn reduce(
    search: &mut Search<'_>,
    count: impl Fn(&Plan) -> usize,
    without: impl Fn(&Plan, Range<usize>) -> Option<Plan> + Sync,
) -> bool {
    let mut changed = false;
    let mut chunk = count(&search.best);
    while chunk > 0 {
        let mut from = 0;
        loop {
            let left = count(&search.best);
            let candidates = left.saturating_sub(from).div_ceil(chunk);
            let range = |number: usize| {
                let begin = from + number * chunk;
                begin..(begin + chunk).min(left)
            };
            let Some(taken) = search.first(candidates, |plan, number| without(plan, range(number))) else {
                break;
            };
            changed = true;
            // What is left of things that only become milder stays in its place.
            let gone = left.saturating_sub(count(&search.best)).min(range(taken).len());
            let range = range(taken);
            from = if gone >= range.len() { range.start } else { range.end - gone };
        }
        chunk = (chunk / 2).min(count(&search.best));
    }
    changed
}

/// Faults, and masters that are left out at the end.
pub(super) fn faults(search: &mut Search<'_>) -> bool {
    let kept = search.one(|plan| plan.recovery.is_some().then(|| Plan { recovery: None, ..plan.clone() }));
    let changed = kept
        | reduce(
            search,
            |plan| plan.faults.len(),
            |plan, range| {
                let mut plan = plan.clone();
                plan.faults.drain(range);
                Some(plan)
            },
        );
    changed
        | reduce(
            search,
            |plan| plan.left_out.len(),
            |plan, range| {
                let mut plan = plan.clone();
                plan.left_out.drain(range);
                Some(plan)
            },
        )
}

/// Whole clients.
pub(super) fn clients(search: &mut Search<'_>) -> bool {
    reduce(search, |plan| plan.clients.len(), |plan, range| Some(without_clients(plan, range)))
}

/// Operations of all clients, as if they were one list. In the order of the clients: operations of one belong together.
pub(super) fn operations(search: &mut Search<'_>) -> bool {
    reduce(search, super::operations, |plan, range| {
        let mut plan = plan.clone();
        let mut first = 0;
        for client in &mut plan.clients {
            let length = client.operations.len();
            let within = |place: usize| place.clamp(first, first + length) - first;
            client.operations.drain(within(range.start)..within(range.end));
            first += length;
        }
        Some(plan)
    })
}
