//! Takes machines out: masters two at a time, so that their number stays odd, and executors one by one.

use super::search::Search;
use crate::plan::{
    Operation, Plan,
    places::{Moves, moved},
};
use core::ops::Range;

/// Masters: five become three, three become one.
pub(super) fn masters(search: &mut Search<'_>) -> bool {
    let mut changed = false;
    loop {
        let count = search.best.masters.clocks.len() as u8;
        let pairs: Vec<[u8; 2]> = (0..count).flat_map(|a| (0..a).map(move |b| [a, b])).collect();
        let fewer = |plan: &Plan, number: usize| without_masters(plan, pairs.get(number)?);
        if count < 3 || search.first(pairs.len(), fewer).is_none() {
            return changed;
        }
        changed = true;
    }
}

/// Executors, down to one.
pub(super) fn executors(search: &mut Search<'_>) -> bool {
    let mut changed = false;
    loop {
        let count = search.best.executors.clocks.len();
        if count < 2 || search.first(count, |plan, number| Some(without_executor(plan, number))).is_none() {
            return changed;
        }
        changed = true;
    }
}

/// The new place of each of some machines when others are gone.
fn place_without(gone: &[u8]) -> impl Fn(u8) -> Option<u8> {
    move |place| {
        let before = gone.iter().filter(|&&gone| gone < place).count();
        (!gone.contains(&place)).then(|| place - before as u8)
    }
}

fn without_masters(plan: &Plan, gone: &[u8]) -> Option<Plan> {
    let mut plan = plan.clone();
    let place = place_without(gone);
    let mut number = 0..;
    plan.masters.clocks.retain(|_| number.next().and_then(&place).is_some());
    let founders = plan.masters.founders;
    plan.masters.founders -= gone.iter().filter(|&&gone| gone < founders).count() as u8;
    let mut number = 0..;
    plan.masters.flow.retain(|_| number.next().and_then(&place).is_some());
    let mut number = 0..;
    plan.masters.programs.retain(|_| number.next().and_then(&place).is_some());
    let mut number = 0..;
    plan.masters.batch_us.retain(|_| number.next().and_then(&place).is_some());
    follow(&mut plan, Moves { master: &place, ..Moves::NONE });
    // Somebody must found the cluster.
    let founded = founders == 0 || plan.masters.founders > 0;
    (founded && !plan.masters.clocks.is_empty()).then_some(plan)
}

fn without_executor(plan: &Plan, gone: usize) -> Plan {
    let mut plan = plan.clone();
    plan.executors.clocks.remove(gone);
    follow(&mut plan, Moves { executor: &place_without(&[gone as u8]), ..Moves::NONE });
    plan
}

/// A plan without some of its clients.
pub(super) fn without_clients(plan: &Plan, gone: Range<usize>) -> Plan {
    let mut plan = plan.clone();
    let places: Vec<u8> = gone.clone().map(|place| place as u8).collect();
    plan.clients.drain(gone);
    follow(&mut plan, Moves { client: &place_without(&places), ..Moves::NONE });
    plan
}

/// Faults and the core follow their machines, or go with them.
fn follow(plan: &mut Plan, moves: Moves<'_>) {
    if let Some(recovery) = &mut plan.recovery {
        recovery.master = (moves.master)(recovery.master).unwrap_or(0);
    }
    plan.left_out = plan.left_out.iter().filter_map(|&place| (moves.master)(place)).collect();
    if let Some(core) = &mut plan.core {
        core.masters = core.masters.iter().filter_map(|&place| (moves.master)(place)).collect();
        core.executors = core.executors.iter().filter_map(|&place| (moves.executor)(place)).collect();
    }
    for client in &mut plan.clients {
        client.operations.retain_mut(|planned| {
            if let Operation::TransferLeader { to: Some(to) }
            | Operation::RaiseAlarm { master: to }
            | Operation::DisarmAlarm { master: Some(to) } = &mut planned.operation
            {
                return (moves.master)(*to).map(|place| *to = place).is_some();
            }
            let Operation::ChangeMembers { steps } = &mut planned.operation else { return true };
            steps.retain_mut(|step| (moves.master)(step.master).map(|place| step.master = place).is_some());
            !steps.is_empty()
        });
    }
    plan.faults = core::mem::take(&mut plan.faults)
        .into_iter()
        .filter_map(|mut fault| {
            fault.kind = moved(&fault.kind, moves)?;
            Some(fault)
        })
        .collect();
}
