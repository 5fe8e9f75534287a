//! What clients ask for.

use super::{
    TIME_MOST_MS,
    checks::{Checked, place, range, range_or_default, wrong},
};
use crate::{
    draw::MILLION,
    plan::{JobPlan, Look, Operation, operation::BACKOFF_INITIAL_MS},
};
use quorate_core::{level::FEATURE_LEVEL, limits};

/// Message of one process, bytes.
const MESSAGE_BYTES: u64 = 64 * 1_024;
/// Entries that a made id is ahead of the last one that its client heard of.
const ENTRIES_AHEAD: u64 = 1_000_000;

pub(super) fn operation(field: &str, operation: &Operation, masters: usize) -> Checked {
    match operation {
        Operation::Submit { job: submitted } => job(field, submitted),
        Operation::SubmitAhead { entries, job: submitted } => {
            range(format!("{field}.entries"), *entries, 0, ENTRIES_AHEAD)?;
            job(field, submitted)
        }
        Operation::ChangeMembers { steps } => {
            let most = limits::MEMBER_CHANGES as u64;
            range(format!("number of {field}.steps"), steps.len() as u64, 1, most)?;
            for (number, step) in steps.iter().enumerate() {
                let at = format!("{field}.steps[{number}].master");
                place(&at, step.master, masters, "master")?;
                if steps[..number].iter().any(|other| other.master == step.master) {
                    return Err(wrong(at, step.master, "named only once"));
                }
            }
            Ok(())
        }
        Operation::TransferLeader { to: Some(to) } => place(format!("{field}.to"), *to, masters, "master"),
        Operation::RaiseAlarm { master } | Operation::DisarmAlarm { master: Some(master) } => {
            place(format!("{field}.master"), *master, masters, "master")
        }
        Operation::HoldLevel { most } => {
            range(format!("{field}.most"), u64::from(*most), 0, u64::from(FEATURE_LEVEL))
        }
        Operation::PutLarge { kib, .. } => {
            range(format!("{field}.kib"), *kib, 1, limits::VALUE_BYTES as u64 / 1_024)
        }
        Operation::Look {
            at:
                Look::Executors { limit }
                | Look::Jobs { limit, .. }
                | Look::Tasks { limit, .. }
                | Look::Keys { limit, .. },
        } => range(format!("{field}.limit"), u64::from(*limit), 0, limits::PAGE_ITEMS as u64),
        Operation::ListPage { limit, .. } => {
            range(format!("{field}.limit"), u64::from(*limit), 1, limits::PAGE_ITEMS as u64)
        }
        Operation::Cancel { timeout_ms, .. } => {
            range(format!("{field}.timeout_ms"), *timeout_ms, 0, limits::CANCEL_TIMEOUT_MS.0)
        }
        _ => Ok(()),
    }
}

/// What the core refuses would look like a violation: what was asked by plan is never invalid.
pub(super) fn job(field: &str, job: &JobPlan) -> Checked {
    let at = |name: &str| format!("{field}.job.{name}");
    range(at("run_ms[0]"), job.run_ms[0], 0, TIME_MOST_MS)?;
    range(at("run_ms[1]"), job.run_ms[1], job.run_ms[0], TIME_MOST_MS)?;
    range_or_default(at("tasks"), job.tasks.into(), 1, limits::JOB_TASKS.into())?;
    range_or_default(at("slots"), job.slots.into(), 1, limits::EXECUTOR_SLOTS.into())?;
    range_or_default(at("max_failures"), job.max_failures.into(), 1, limits::RETRY_FAILURES.0.into())?;
    range_or_default(at("stop_timeout_ms"), job.stop_timeout_ms, 1, limits::STOP_TIMEOUT_MS.0)?;
    range(at("fail_ppm"), job.fail_ppm, 0, MILLION)?;
    range(at("stubborn_ppm"), job.stubborn_ppm, 0, MILLION)?;
    let at = |name: &str| format!("{field}.job.seldom.{name}");
    let seldom = &job.seldom;
    let most = limits::BACKOFF_MAX_MS.0;
    range_or_default(at("backoff_max_ms"), seldom.backoff_max_ms, BACKOFF_INITIAL_MS, most)?;
    range_or_default(at("reset_after_ms"), seldom.reset_after_ms, 1, limits::BACKOFF_RESET_MS.0)?;
    range(at("unstartable_ppm"), seldom.unstartable_ppm, 0, MILLION)?;
    range(at("signal_ppm"), seldom.signal_ppm, 0, MILLION)?;
    range(at("message_bytes"), seldom.message_bytes, 0, MESSAGE_BYTES)
}
