//! What tests do with jobs, through the command line.

use crate::{cluster::Cluster, wait::wait_until};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

impl Cluster {
    /// Submits a job whose tasks write to [`truth`](Self::truth) until they are released.
    ///
    /// # Panics
    /// If it is refused.
    pub fn submit(&self, job: &str, tasks: u32, flags: &[&str]) {
        let reply = self.cli().json(&self.truth().submit(job, tasks, flags));
        assert_eq!(reply["id"], job, "{reply}");
    }

    /// Submits a job whose task takes itself for one of job `name`: so that checks can be checked.
    ///
    /// # Panics
    /// If it is refused.
    pub fn submit_as(&self, job: &str, name: &str) {
        let mut words = self.truth().submit(job, 1, &[]);
        let script = words.pop().unwrap_or_default();
        words.push(format!("QUORATE_JOB={name}\n{script}"));
        self.cli().run(&words).ok();
    }

    /// A job with its tasks.
    ///
    /// # Errors
    /// If the cluster does not answer, or does not know it.
    pub fn job(&self, job: &str) -> Result<Value, String> {
        self.cli().try_json(&["job", "show", job])
    }

    /// Waits until a job is in a state.
    #[must_use]
    pub fn wait_job(&self, job: &str, state: &str, within: Duration) -> Value {
        wait_until(within, &format!("job {job} is {state}"), || {
            let found = self.job(job)?;
            if found["state"] == state { Ok(found) } else { Err(found.to_string()) }
        })
    }

    /// Waits until so many tasks of a job are online, as the masters see it.
    #[must_use]
    pub fn wait_online(&self, job: &str, tasks: u64, within: Duration) -> Value {
        wait_until(within, &format!("{tasks} tasks of {job} are online"), || {
            let found = self.job(job)?;
            if found["counts"]["online"] == tasks { Ok(found) } else { Err(found.to_string()) }
        })
    }

    /// Lets the tasks of a job end, and checks that each one did so once, and none ran twice at once.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn finish(&self, job: &str, within: Duration) {
        self.truth().release(job);
        let found = self.wait_job(job, "finished", within);
        self.truth().assert_apart();
        let ends = self.truth().ends(job);
        let once = (0..found["tasks"].as_u64().unwrap_or(0) as u32).map(|task| (task, 1)).collect();
        assert_eq!(ends, once, "each task of {job} ends once");
    }
}

/// The executor that holds each task of a job.
#[must_use]
pub fn holders(job: &Value) -> BTreeMap<u32, u64> {
    let tasks = job["task_list"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |task: &Value| Some((task["number"].as_u64()? as u32, task["executor"].as_u64()?));
    tasks.iter().filter_map(one).collect()
}
