//! What clients do. A new operation is a variant here, a line in the generator and an arm in `client::request`.

use crate::draw::{again, chance, within};
use quorate_proto::v1 as pb;
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
    /// Put a value of this size that is put only once in the whole run.
    PutLarge {
        /// The key.
        key: String,
        /// Its size, KiB.
        kib: u64,
    },
    /// The page behind the last one that this client got of this prefix.
    ListPage {
        /// What the keys begin with.
        prefix: String,
        /// Most items.
        limit: u32,
    },
    /// Submit a job with the id that the cluster would make for one that is submitted so many entries later.
    SubmitAhead {
        /// How many entries behind the last one that the client heard of.
        entries: u64,
        /// The job; its id is made.
        job: JobPlan,
    },
    /// Look at what there is, page by page: each goes on behind the last one of its kind.
    Look {
        /// At what.
        at: Look,
    },
    /// Change who takes part, in one request. Nobody asks for it while another change is under way, or when it would leave
    /// too few directories that are whole.
    ChangeMembers {
        /// One after the other.
        steps: Vec<MemberStep>,
    },
    /// Let another master lead.
    TransferLeader {
        /// Which; nobody in particular, if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u8>,
    },
    /// Keep the feature level at or below this one; 0 = it may rise, which nobody asks for while a program is too old for that.
    HoldLevel {
        /// The level.
        most: u32,
    },
    /// Say that a master has no more room, as one says of itself.
    RaiseAlarm {
        /// Which.
        master: u8,
    },
    /// Say that there is room again.
    DisarmAlarm {
        /// Where; everywhere, if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        master: Option<u8>,
    },
    /// Ask for something that must be refused.
    Invalid {
        /// What is wrong with it.
        which: Wrong,
    },
}

/// One step of a change of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberStep {
    /// What becomes of it.
    pub what: MemberWhat,
    /// Which.
    pub master: u8,
}

/// What becomes of a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberWhat {
    /// It gets the log, and is started.
    Add,
    /// It votes.
    Promote,
    /// It votes no more.
    Demote,
    /// It goes.
    Remove,
    /// Its directory is given up, and it starts with an empty one.
    Replace,
    /// It is reached elsewhere.
    Update,
    /// It leads rather than others.
    Prefer,
    /// It leads only if nobody else can.
    Avoid,
    /// It leads like others.
    Neither,
}

/// What a client looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Look {
    /// An executor that it saw, or one that is not there.
    Executor {
        /// Its place among those that it saw last.
        which: u8,
    },
    /// The next page of executors.
    Executors {
        /// Most items; 0 = the default.
        limit: u32,
    },
    /// The next page of jobs.
    Jobs {
        /// Only those in this state; 0 = all.
        state: i32,
        /// Only those of this type; 0 = all.
        kind: i32,
        /// Most items; 0 = the default.
        limit: u32,
    },
    /// Tasks of a job.
    Tasks {
        /// The job.
        id: String,
        /// The first task.
        from: u32,
        /// Most items; 0 = the default.
        limit: u32,
    },
    /// The masters.
    Members {},
    /// Keys without their values.
    Keys {
        /// What they begin with.
        prefix: String,
        /// Most items; 0 = the default.
        limit: u32,
    },
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// It asks for nothing.
    Body,
    /// It changes one of Quorate's own records.
    OwnRecord,
    /// Its key is empty.
    EmptyKey,
    /// Its key is over the limit.
    LongKey,
    /// A read of an empty key.
    ReadKey,
    /// Its value is over the limit.
    LongValue,
    /// The whole of it is over the limit.
    Size,
    /// A number is out of its range.
    Number,
    /// A page of more items than a page may have.
    Limit,
    /// A job's id has a letter that none may have.
    JobId,
    /// A job without a command.
    Specification,
    /// A change without a request id.
    NoRequestId,
    /// A change of session 0.
    NoSession,
    /// A change that has no number in its session.
    Sequence,
    /// A change that waits for a later one.
    LowestOpen,
    /// A compare-and-set that expects nothing.
    Expectation,
    /// The removal of an executor of id 0.
    Executor,
}

impl Wrong {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Body,
        Self::OwnRecord,
        Self::EmptyKey,
        Self::LongKey,
        Self::ReadKey,
        Self::LongValue,
        Self::Size,
        Self::Number,
        Self::Limit,
        Self::JobId,
        Self::Specification,
        Self::NoRequestId,
        Self::NoSession,
        Self::Sequence,
        Self::LowestOpen,
        Self::Expectation,
        Self::Executor,
    ];
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What is seldom: nothing, if it is left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seldom: SeldomPlan,
}

/// What only some jobs say, and some processes do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeldomPlan {
    /// Longest wait after a failure, milliseconds; 0 = [`BACKOFF_MAX_MS`].
    pub backoff_max_ms: u64,
    /// Online so long, a task waits as after its first failure, milliseconds; 0 = the default.
    pub reset_after_ms: u64,
    /// Chance that an attempt cannot be started, parts in a million.
    pub unstartable_ppm: u64,
    /// Chance that one that fails does so by a signal.
    pub signal_ppm: u64,
    /// Size of the message with which an attempt ends, bytes.
    pub message_bytes: u64,
}

/// Whether nothing was said.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// First wait after a failure, milliseconds.
pub(super) const BACKOFF_INITIAL_MS: u64 = 50;
/// Longest wait after a failure, milliseconds.
const BACKOFF_MAX_MS: u64 = 800;

impl JobPlan {
    /// The command that tells a simulated process how to behave.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        let seldom = self.seldom;
        let mut numbers = vec![self.run_ms[0], self.run_ms[1], self.fail_ppm, self.stubborn_ppm];
        let more = [seldom.unstartable_ppm, seldom.signal_ppm, seldom.message_bytes];
        if more != [0; 3] {
            numbers.extend(more);
        }
        core::iter::once("sim-task".to_owned()).chain(numbers.iter().map(u64::to_string)).collect()
    }

    /// What is submitted.
    #[must_use]
    pub fn specification(&self) -> pb::JobSpecification {
        let kind = if self.service { pb::JobType::Service } else { pb::JobType::Batch };
        let backoff_max_ms = match self.seldom.backoff_max_ms {
            0 => BACKOFF_MAX_MS,
            stated => stated,
        };
        pb::JobSpecification {
            r#type: kind.into(),
            argv: self.argv(),
            tasks: self.tasks,
            slots_per_task: self.slots,
            retry: Some(pb::RetryPolicy {
                max_failures: self.max_failures,
                backoff_initial_ms: BACKOFF_INITIAL_MS,
                backoff_max_ms,
                reset_after_ms: self.seldom.reset_after_ms,
                ..pb::RetryPolicy::default()
            }),
            stop_timeout_ms: self.stop_timeout_ms,
            ..pb::JobSpecification::default()
        }
    }
}

/// How an attempt goes, as the arguments of its command say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// It cannot be started.
    pub unstartable: bool,
    /// It does not end when it is asked to.
    pub stubborn: bool,
    /// How long it runs, milliseconds.
    pub runs_ms: u64,
    /// How it ends by itself, and with which exit code or signal.
    pub end: pb::AttemptEnd,
    /// See `end`.
    pub code: i32,
    /// What is said of its end.
    pub message: String,
}

/// The signal of a process that fails by one.
const SIGSEGV: i32 = 11;

impl Behaviour {
    /// Of an attempt with this luck.
    #[must_use]
    pub fn of(argv: &[String], luck: u64) -> Self {
        let number = |place: usize| argv.get(place + 1).and_then(|text| text.parse().ok()).unwrap_or(0);
        let fails = chance(again(luck, 3), number(2));
        let signaled = fails && chance(again(luck, 6), number(5));
        let (end, code) = match (fails, signaled) {
            (_, true) => (pb::AttemptEnd::Signaled, SIGSEGV),
            (fails, false) => (pb::AttemptEnd::Exited, i32::from(fails)),
        };
        Self {
            unstartable: chance(again(luck, 5), number(4)),
            stubborn: chance(again(luck, 1), number(3)),
            runs_ms: within(again(luck, 2), number(0), number(1)),
            end,
            code,
            message: "e\u{308}".repeat(number(6) as usize / 3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_do_nothing_seldom_unless_their_job_says_so() {
        let usual = JobPlan { run_ms: [5, 9], fail_ppm: 1_000_000, ..JobPlan::default() };
        assert_eq!(usual.argv(), ["sim-task", "5", "9", "1000000", "0"]);
        let behaviour = Behaviour::of(&usual.argv(), 77);
        assert!((5..=9).contains(&behaviour.runs_ms) && !behaviour.unstartable && !behaviour.stubborn);
        assert_eq!(
            (behaviour.end, behaviour.code, behaviour.message),
            (pb::AttemptEnd::Exited, 1, String::new())
        );
        let seldom = SeldomPlan { signal_ppm: 1_000_000, message_bytes: 3_000, ..SeldomPlan::default() };
        let behaviour = Behaviour::of(&JobPlan { seldom, ..usual.clone() }.argv(), 77);
        assert_eq!((behaviour.end, behaviour.code), (pb::AttemptEnd::Signaled, SIGSEGV));
        assert_eq!(behaviour.message.len(), 3_000);
        let seldom = SeldomPlan { unstartable_ppm: 1_000_000, ..SeldomPlan::default() };
        assert!(Behaviour::of(&JobPlan { seldom, ..usual }.argv(), 77).unstartable);
    }
}
