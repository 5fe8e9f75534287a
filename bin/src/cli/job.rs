//! `quorate job`: submit, list, show, watch, cancel, delete, logs.

use super::{Shared, job_watch};
use crate::{
    cluster::Cluster,
    config::values::{milliseconds, parse_duration, parse_pair},
    failure::Failure,
    output::{self, Format, Table, records},
};
use clap::{Args, Subcommand, ValueEnum};
use futures::StreamExt as _;
use quorate_core::{limits, types::JobId};
use quorate_proto::v1 as pb;
use serde_json::{Value, json};
use std::{io::Write as _, path::PathBuf, time::Duration};

/// Jobs or tasks asked for at a time.
const PAGE: u32 = 1_000;
const EXAMPLES: &str = "\
Examples:
  Run a command on the cluster, and wait until it has ended:
    quorate job submit --watch -- echo hello
  Run ten tasks, each tried up to five times, two seconds apart at first:
    quorate job submit --id import --tasks 10 --retries 5 --backoff 2s -- ./import.sh
  Keep a service running until it is canceled:
    quorate job submit --id web --type service -- python3 -m http.server
  See its tasks, and what the first one wrote:
    quorate job show web
    quorate job logs web --task 0
  Stop it:
    quorate job cancel web --watch";

/// What can be done with jobs.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum JobCommand {
    /// Submit a job; it is durable once this returns
    #[command(after_help = EXAMPLES)]
    Submit(SubmitArgs),
    /// List jobs
    #[command(after_help = EXAMPLES)]
    List(ListArgs),
    /// Show a job and its tasks
    #[command(after_help = EXAMPLES)]
    Show {
        /// Id of the job
        id: String,
    },
    /// Follow a job until it has ended; fails unless it finished
    #[command(after_help = EXAMPLES)]
    Watch {
        /// Id of the job
        id: String,
    },
    /// Stop a job and its tasks
    #[command(after_help = EXAMPLES)]
    Cancel {
        /// Id of the job
        id: String,
        /// How long the tasks may take before they are given up
        #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
        force_after: Duration,
        /// Wait until it has ended
        #[arg(long)]
        watch: bool,
    },
    /// Remove a job that has ended
    #[command(after_help = EXAMPLES)]
    Delete {
        /// Id of the job
        id: String,
    },
    /// Write what an attempt of a task has written to stdout, as it is
    #[command(after_help = EXAMPLES)]
    Logs {
        /// Id of the job
        id: String,
        /// Number of the task
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        task: u32,
        /// Number of the attempt; 0 is the newest
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        epoch: u64,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    /// Each task runs until its command ends with exit code 0.
    Batch,
    /// Each task runs until the job is canceled.
    Service,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Created,
    Running,
    Finished,
    Failed,
    Canceling,
    Canceled,
}

/// What a job is.
#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// Id of the job; without it, the cluster makes one
    #[arg(long)]
    id: Option<String>,
    /// Whether the tasks end by themselves
    #[arg(long = "type", value_enum, default_value_t = Type::Batch)]
    job_type: Type,
    /// Number of tasks
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::JOB_TASKS)))]
    tasks: u32,
    /// Slots that one task takes
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::EXECUTOR_SLOTS)))]
    slots: u32,
    /// Environment variable of the tasks; can be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_pair)]
    environment: Vec<(String, String)>,
    /// Working directory of the tasks; without it, each attempt gets a fresh one
    #[arg(long, value_name = "PATH")]
    directory: Option<PathBuf>,
    /// How many failures end a task [default: 3 for a batch job, no limit for a service]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    retries: Option<u32>,
    /// Wait after the first failure of a task; it doubles with each one
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1s")]
    backoff: Duration,
    /// How long a task may take to end after it was asked to, before it is killed
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "5s")]
    stop_timeout: Duration,
    /// Follow the job until it has ended; fails unless it finished
    #[arg(long)]
    watch: bool,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    argv: Vec<String>,
}

/// Which jobs to list.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only jobs in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only jobs of this type
    #[arg(long = "type", value_enum)]
    job_type: Option<Type>,
    /// At most so many; without it, all
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

impl From<Type> for pb::JobType {
    fn from(value: Type) -> Self {
        match value {
            Type::Batch => Self::Batch,
            Type::Service => Self::Service,
        }
    }
}

impl From<State> for pb::JobState {
    fn from(value: State) -> Self {
        match value {
            State::Created => Self::Created,
            State::Running => Self::Running,
            State::Finished => Self::Finished,
            State::Failed => Self::Failed,
            State::Canceling => Self::Canceling,
            State::Canceled => Self::Canceled,
        }
    }
}

impl JobCommand {
    pub(super) async fn run(self, shared: &Shared) -> Result<(), Failure> {
        let (cluster, format) = (shared.cluster()?, shared.output);
        match self {
            Self::Submit(args) => args.run(&cluster, format).await,
            Self::List(args) => args.run(&cluster, format).await,
            Self::Show { id } => show(&cluster, &known(id)?, format).await,
            Self::Watch { id } => job_watch::run(&cluster, known(id)?, format).await,
            Self::Cancel { id, force_after, watch } => {
                let status = cluster.cancel_job(&known(id.clone())?, force_after).await?;
                if watch {
                    return job_watch::until_ended(&cluster, id, format).await.map(|_| ());
                }
                report(&status, format)
            }
            Self::Delete { id } => {
                cluster.delete_job(&known(id.clone())?).await?;
                match format {
                    Format::Table => output::line(&format!("job {id} is deleted")),
                    Format::Json => output::json(&json!({ "id": id, "deleted": true })),
                }
            }
            Self::Logs { id, task, epoch } => logs(&cluster, &known(id)?, task, epoch).await,
        }
    }
}

/// An id that a job can have.
fn known(id: String) -> Result<String, Failure> {
    if JobId::parse(&id).is_some() {
        return Ok(id);
    }
    let form = "1 to 63 letters, digits, `_`, `-` and `.`, with a letter, a digit or `_` at both ends";
    Err(Failure::usage(format!("`{id}` is no job id: it must have {form}")))
}

impl SubmitArgs {
    fn specification(&self) -> Result<pb::JobSpecification, Failure> {
        let mut environment: Vec<pb::Pair> = self
            .environment
            .iter()
            .map(|(name, value)| pb::Pair { name: name.clone(), value: value.clone() })
            .collect();
        environment.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(pair) = environment.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Failure::usage(format!(
                "--env {} is given twice: give each variable once",
                pair[0].name
            )));
        }
        let directory = self.directory.clone().unwrap_or_default();
        let Some(working_directory) = directory.to_str().map(str::to_owned) else {
            return Err(Failure::usage(format!("--directory {} is not UTF-8", directory.display())));
        };
        Ok(pb::JobSpecification {
            r#type: pb::JobType::from(self.job_type).into(),
            argv: self.argv.clone(),
            environment,
            working_directory,
            tasks: self.tasks,
            slots_per_task: self.slots,
            retry: Some(pb::RetryPolicy {
                max_failures: self.retries.unwrap_or(0),
                backoff_initial_ms: milliseconds(self.backoff).max(1),
                ..Default::default()
            }),
            stop_timeout_ms: milliseconds(self.stop_timeout).max(1),
            output_limit_bytes: 0,
        })
    }

    async fn run(self, cluster: &Cluster, format: Format) -> Result<(), Failure> {
        let id = self.id.clone().map(known).transpose()?.unwrap_or_default();
        let status = cluster.submit_job(&id, self.specification()?).await?;
        let id = status.job.as_ref().map(|job| job.id.clone()).unwrap_or_default();
        if self.watch {
            return job_watch::run(cluster, id, format).await;
        }
        report(&status, format)
    }
}

impl ListArgs {
    async fn run(self, cluster: &Cluster, format: Format) -> Result<(), Failure> {
        let most = self.limit.map_or(usize::MAX, |limit| limit as usize);
        let mut jobs: Vec<pb::JobStatus> = Vec::new();
        let mut after = String::new();
        loop {
            let request = pb::ListJobsRequest {
                after: std::mem::take(&mut after),
                limit: u32::try_from(most - jobs.len()).unwrap_or(PAGE).min(PAGE),
                state: self.state.map_or(pb::JobState::Unspecified, Into::into).into(),
                r#type: self.job_type.map_or(pb::JobType::Unspecified, Into::into).into(),
            };
            let reply = cluster.list_jobs(request).await?;
            jobs.extend(reply.jobs);
            if !reply.more || reply.next.is_empty() || jobs.len() >= most {
                break;
            }
            after = reply.next;
        }
        if format == Format::Json {
            return output::json(&json!({ "jobs": jobs.iter().map(records::job).collect::<Vec<Value>>() }));
        }
        let mut table = Table::new([
            "ID", "TYPE", "STATE", "TASKS", "PENDING", "RUNNING", "FINISHED", "FAILED", "COMMAND",
        ]);
        for status in jobs {
            let (job, counts) = (status.job.unwrap_or_default(), status.counts.unwrap_or_default());
            let specification = job.specification.unwrap_or_default();
            table.row([
                job.id,
                records::job_type(specification.r#type).to_owned(),
                records::job_state(job.state).to_owned(),
                specification.tasks.max(1).to_string(),
                counts.pending.to_string(),
                (counts.assigned + counts.online).to_string(),
                counts.finished.to_string(),
                counts.failed.to_string(),
                output::short(&specification.argv.join(" "), 40),
            ]);
        }
        table.print()
    }
}

/// A job with all its tasks, page by page.
///
/// # Errors
/// As the cluster answers.
pub(crate) async fn whole(cluster: &Cluster, id: &str) -> Result<pb::JobStatus, Failure> {
    let request = |from_task| pb::GetJobRequest {
        id: id.to_owned(),
        tasks: true,
        from_task,
        limit: PAGE,
        stale: false,
    };
    let mut status = cluster.get_job(request(0)).await?;
    while let (true, Some(last)) = (status.more_tasks, status.tasks.last()) {
        let page = cluster.get_job(request(last.number + 1)).await?;
        status.more_tasks = page.more_tasks && !page.tasks.is_empty();
        status.tasks.extend(page.tasks);
    }
    Ok(status)
}

async fn show(cluster: &Cluster, id: &str, format: Format) -> Result<(), Failure> {
    let status = whole(cluster, id).await?;
    if format == Format::Json {
        return output::json(&records::job(&status));
    }
    report(&status, format)?;
    let job = status.job.unwrap_or_default();
    output::line(&format!("command: {}", job.specification.unwrap_or_default().argv.join(" ")))?;
    let mut table =
        Table::new(["TASK", "STATE", "EPOCH", "EXECUTOR", "FAILURES", "MOVES", "LAST END", "MESSAGE"]);
    for task in status.tasks {
        let executor = [task.executor, task.last_executor].into_iter().find(|id| *id != 0);
        let end = records::attempt_end(task.last_end);
        let end = if end.is_empty() { "-".to_owned() } else { format!("{end} {}", task.last_code) };
        table.row([
            task.number.to_string(),
            records::task_state(task.state).to_owned(),
            task.epoch.to_string(),
            executor.map_or("-".to_owned(), |id| id.to_string()),
            task.failures_total.to_string(),
            task.moves.to_string(),
            end,
            output::short(&task.last_message, 60),
        ]);
    }
    table.print()
}

fn report(status: &pb::JobStatus, format: Format) -> Result<(), Failure> {
    match format {
        Format::Table => output::line(&job_watch::sentence(status)),
        Format::Json => output::json(&records::job(status)),
    }
}

async fn logs(cluster: &Cluster, id: &str, task: u32, epoch: u64) -> Result<(), Failure> {
    let mut chunks = cluster.job_logs(id, task, epoch).await?;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if chunk.dropped_bytes > 0 {
            // Only a note: what is left is still printed.
            let _gone = writeln!(
                std::io::stderr(),
                "note: the limit dropped the first {} bytes",
                chunk.dropped_bytes
            );
        }
        output::raw(&chunk.data)?;
    }
    Ok(())
}
