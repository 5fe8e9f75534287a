//! A job's specification, with every default written out.

use super::validate::{number, pairs};
use crate::{
    limits::{
        ARGUMENT_BYTES, ARGUMENTS, BACKOFF_GROWTH_PERCENT, BACKOFF_INITIAL_MS, BACKOFF_MAX_MS,
        BACKOFF_RESET_MS, EXECUTOR_SLOTS, JOB_TASKS, OUTPUT_BYTES, OUTPUT_BYTES_DEFAULT, PATH_BYTES,
        RETRY_FAILURES, STOP_TIMEOUT_MS,
    },
    state::invalid,
};
use pb::JobType;
use quorate_proto::v1 as pb;

/// The same specification, checked, and with what each 0 stands for.
pub(super) fn normalised(given: Option<&pb::JobSpecification>) -> Result<pb::JobSpecification, pb::Refusal> {
    let Some(given) = given else {
        return Err(invalid("specification is missing: there is nothing to run".to_owned()));
    };
    let kind = match JobType::try_from(given.r#type) {
        Ok(kind @ (JobType::Batch | JobType::Service)) => kind,
        Ok(JobType::Unspecified) | Err(_) => {
            return Err(invalid(format!("type is {}: it must be 1 (batch) or 2 (service)", given.r#type)));
        }
    };
    check_argv(&given.argv)?;
    let environment = pairs("environment", &given.environment)?;
    let bytes: usize = environment.iter().map(|pair| pair.name.len() + pair.value.len()).sum();
    if bytes > ARGUMENT_BYTES {
        return Err(invalid(format!("environment has {bytes} bytes: {ARGUMENT_BYTES} is the limit")));
    }
    let directory = &given.working_directory;
    if directory.len() > PATH_BYTES || directory.contains('\0') {
        let size = directory.len();
        return Err(invalid(format!(
            "working_directory has {size} bytes: {PATH_BYTES} is the limit, without NUL"
        )));
    }
    let (stop_most, stop) = STOP_TIMEOUT_MS;
    Ok(pb::JobSpecification {
        r#type: kind as i32,
        argv: given.argv.clone(),
        environment,
        working_directory: directory.clone(),
        tasks: number("tasks", given.tasks, 1, JOB_TASKS, 1)?,
        slots_per_task: number("slots_per_task", given.slots_per_task, 1, EXECUTOR_SLOTS, 1)?,
        retry: Some(retry(given.retry.unwrap_or_default(), kind)?),
        stop_timeout_ms: number("stop_timeout_ms", given.stop_timeout_ms, 1, stop_most, stop)?,
        output_limit_bytes: number(
            "output_limit_bytes",
            given.output_limit_bytes,
            1,
            OUTPUT_BYTES,
            OUTPUT_BYTES_DEFAULT,
        )?,
    })
}

fn check_argv(argv: &[String]) -> Result<(), pb::Refusal> {
    if argv.first().is_none_or(String::is_empty) {
        return Err(invalid("argv is empty: it must begin with the command to run".to_owned()));
    }
    if argv.len() > ARGUMENTS {
        return Err(invalid(format!("argv has {} arguments: {ARGUMENTS} is the limit", argv.len())));
    }
    let bytes: usize = argv.iter().map(String::len).sum();
    if bytes > ARGUMENT_BYTES {
        return Err(invalid(format!("argv has {bytes} bytes: {ARGUMENT_BYTES} is the limit")));
    }
    match argv.iter().position(|argument| argument.contains('\0')) {
        Some(place) => Err(invalid(format!("argv[{place}] holds a NUL: no command can be given one"))),
        None => Ok(()),
    }
}

fn retry(given: pb::RetryPolicy, kind: JobType) -> Result<pb::RetryPolicy, pb::Refusal> {
    let (failures_most, batch_failures) = RETRY_FAILURES;
    let failures = if kind == JobType::Batch { batch_failures } else { 0 };
    let (initial_most, initial) = BACKOFF_INITIAL_MS;
    let backoff_initial_ms =
        number("retry.backoff_initial_ms", given.backoff_initial_ms, 1, initial_most, initial)?;
    let (max_most, max) = BACKOFF_MAX_MS;
    let backoff_max_ms =
        number("retry.backoff_max_ms", given.backoff_max_ms, 1, max_most, max.max(backoff_initial_ms))?;
    if backoff_max_ms < backoff_initial_ms {
        let message = format!(
            "retry.backoff_max_ms is {backoff_max_ms}: it must be at least retry.backoff_initial_ms, {backoff_initial_ms}"
        );
        return Err(invalid(message));
    }
    let (growth_least, growth_most, growth) = BACKOFF_GROWTH_PERCENT;
    let growth_given = given.backoff_growth_percent;
    let (reset_most, reset) = BACKOFF_RESET_MS;
    Ok(pb::RetryPolicy {
        max_failures: number("retry.max_failures", given.max_failures, 1, failures_most, failures)?,
        backoff_initial_ms,
        backoff_max_ms,
        backoff_growth_percent: number(
            "retry.backoff_growth_percent",
            growth_given,
            growth_least,
            growth_most,
            growth,
        )?,
        reset_after_ms: number("retry.reset_after_ms", given.reset_after_ms, 1, reset_most, reset)?,
    })
}
