//! What clients do. A new operation is a variant here, a line in the generator and an arm in `client::request`.

use serde::{Deserialize, Serialize};

/// One operation and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedOperation {
    /// Not before this time, milliseconds; later, if the client is still busy.
    pub at_ms: u64,
    /// What to do.
    #[serde(flatten)]
    pub operation: Operation,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Operation {
    /// Put a value that is put only once in the whole run.
    Put {
        /// The key.
        key: String,
    },
    /// Read a key.
    Get {
        /// The key.
        key: String,
        /// From the receiving master's own state.
        stale: bool,
    },
    /// Delete a key.
    Delete {
        /// The key.
        key: String,
    },
    /// Compare and set a value that is set only once in the whole run.
    CompareAndSet {
        /// The key.
        key: String,
        /// What the client expects.
        expect: Expectation,
    },
    /// List all keys.
    List {
        /// From the receiving master's own state.
        stale: bool,
    },
    /// Submit a job.
    Submit {
        /// The job.
        job: JobPlan,
    },
    /// Cancel a job.
    Cancel {
        /// Its id.
        id: String,
        /// Until it is forced, milliseconds.
        timeout_ms: u64,
    },
    /// Read a job with its tasks.
    GetJob {
        /// Its id.
        id: String,
    },
    /// List the jobs.
    ListJobs {},
    /// Delete a job, which works once it has ended.
    DeleteJob {
        /// Its id.
        id: String,
    },
    /// Remove the executor that this client saw last; nothing, if it saw none.
    RemoveExecutor {
        /// The place of the executor in the list of those that are registered.
        which: u8,
    },
    /// Renew the session.
    KeepSession {},
    /// Close the session; the next change opens another.
    CloseSession {},
}

/// What a compare-and-set expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// No such key.
    Absent,
    /// The value that the client saw last.
    LastValue,
    /// The revision that the client saw last.
    LastRevision,
}

/// A job and how its processes behave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobPlan {
    /// Its id. Empty: the cluster makes one.
    pub id: String,
    /// Runs until it is canceled.
    pub service: bool,
    /// How many tasks.
    pub tasks: u32,
    /// Slots a task takes.
    pub slots: u32,
    /// Least and most run time of an attempt, milliseconds.
    pub run_ms: [u64; 2],
    /// Chance that an attempt fails, parts in a million.
    pub fail_ppm: u64,
    /// Chance that it does not end when it is asked to.
    pub stubborn_ppm: u64,
    /// Failures that end a task; 0 = the default.
    pub max_failures: u32,
    /// Until a stubborn process is killed, milliseconds.
    pub stop_timeout_ms: u64,
}

impl JobPlan {
    /// The command that tells a simulated process how to behave.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        let numbers = [self.run_ms[0], self.run_ms[1], self.fail_ppm, self.stubborn_ppm];
        core::iter::once("sim-task".to_owned()).chain(numbers.iter().map(u64::to_string)).collect()
    }
}
