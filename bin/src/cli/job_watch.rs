//! Following a job until it has ended.

use crate::{
    cluster::Cluster,
    failure::Failure,
    output::{self, Format, records},
};
use futures::StreamExt as _;
use quorate_proto::v1 as pb;
use std::io::{IsTerminal as _, Write as _};

/// Shows each change of a job until it has ended.
///
/// # Errors
/// If the job did not finish, or as the cluster answers.
pub(super) async fn run(cluster: &Cluster, id: String, format: Format) -> Result<(), Failure> {
    let last = until_ended(cluster, id, format).await?;
    let job = last.job.unwrap_or_default();
    if job.state == i32::from(pb::JobState::Finished) {
        return Ok(());
    }
    let why = if job.message.is_empty() { String::new() } else { format!(": {}", job.message) };
    Err(Failure::refused(format!("job {} is {}{why}", job.id, records::job_state(job.state))).with_next(
        format!("`quorate job show {0}` shows its tasks, `quorate job logs {0}` what they wrote", job.id),
    ))
}

/// Shows each change of a job until it has ended, however it ended; answers with how it is then.
///
/// # Errors
/// As the cluster answers.
pub(super) async fn until_ended(
    cluster: &Cluster,
    id: String,
    format: Format,
) -> Result<pb::JobStatus, Failure> {
    let mut changes = cluster.watch_job(&id);
    let mut line = Line::new(format);
    while let Some(status) = changes.next().await {
        let status = status.inspect_err(|_| line.end())?;
        line.show(&status)?;
        if status.job.as_ref().is_some_and(|job| records::is_terminal(job.state)) {
            line.end();
            return Ok(status);
        }
    }
    line.end();
    Err(Failure::refused(format!("the watch of job {id} ended before the job did"))
        .with_next(format!("`quorate job watch {id}` goes on watching")))
}

/// A job in one sentence.
pub(super) fn sentence(status: &pb::JobStatus) -> String {
    let (job, counts) = (status.job.clone().unwrap_or_default(), status.counts.unwrap_or_default());
    let parts = [
        ("pending", counts.pending),
        ("assigned", counts.assigned),
        ("online", counts.online),
        ("finished", counts.finished),
        ("failed", counts.failed),
        ("canceled", counts.canceled),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
    let why = if job.message.is_empty() { String::new() } else { format!(" ({})", job.message) };
    format!("job {} is {}: {}{why}", job.id, records::job_state(job.state), parts.join(", "))
}

/// A line that is written over on a terminal, a line for each change otherwise, an object a line for machines.
struct Line {
    format: Format,
    live: bool,
    shown: String,
}

impl Line {
    fn new(format: Format) -> Self {
        Self {
            format,
            live: format == Format::Table && std::io::stdout().is_terminal(),
            shown: String::new(),
        }
    }

    fn show(&mut self, status: &pb::JobStatus) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => sentence(status),
            Format::Json => records::job(status).to_string(),
        };
        if text == self.shown {
            return Ok(());
        }
        if self.live {
            output::raw(format!("\r\x1b[2K{text}").as_bytes())?;
        } else {
            output::line(&text)?;
        }
        self.shown = text;
        Ok(())
    }

    fn end(&self) {
        if self.live && !self.shown.is_empty() {
            // Only the look of the terminal is at stake.
            let _gone = writeln!(std::io::stdout());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_the_counts_that_are_not_zero() {
        let status = pb::JobStatus {
            job: Some(pb::Job { id: "j".into(), state: pb::JobState::Running.into(), ..Default::default() }),
            counts: Some(pb::TaskCounts { online: 2, finished: 1, ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(sentence(&status), "job j is running: 2 online, 1 finished");
    }
}
