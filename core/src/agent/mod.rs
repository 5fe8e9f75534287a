//! The executor's side: register, keep alive, obey, fence itself. Driven like a [`Node`](crate::Node).

use crate::{
    contract::LeaseTimes,
    types::{AttemptId, CallKey, ClusterId, ExecutorId, Now, RequestKey, Time},
};
use core::time::Duration;
use quorate_proto::v1 as pb;

/// What an agent is told when it starts.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The cluster it works for; calls of another are refused. 0 = learn it from the first call.
    pub cluster: ClusterId,
    /// Its name.
    pub name: String,
    /// `host:port` where it answers `ExecutorService`.
    pub address: String,
    /// Tasks at once.
    pub slots: u32,
    /// Labels, sorted by name.
    pub labels: Vec<pb::Pair>,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Check period, kill time and drift. The ttl is the master's word at registration.
    pub lease: LeaseTimes,
}

/// What happened to the processes of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// Its command runs.
    Started,
    /// It could not be started, and nothing of it is left.
    NotStarted {
        /// Why.
        message: String,
    },
    /// Every process of it has ended. How the first one did.
    Ended {
        /// Exited by itself, ended by a signal, or stopped.
        end: pb::AttemptEnd,
        /// Exit code or signal.
        code: i32,
        /// What there is to say.
        message: String,
    },
}

/// What a driver hands to [`Agent::step`].
#[derive(Clone, Debug)]
pub enum AgentInput {
    /// The time of `next_deadline` has come.
    Deadline,
    /// A master's answer. `None`: no answer, or no master could be reached.
    Reply {
        /// As in the output.
        key: RequestKey,
        /// The answer.
        reply: Option<Box<pb::ClientReply>>,
    },
    /// A master calls.
    Call {
        /// Comes back with the answer.
        key: CallKey,
        /// What it asks.
        call: Box<pb::ExecutorCall>,
    },
    /// Something happened to an attempt's processes.
    Process {
        /// The attempt.
        attempt: AttemptId,
        /// What happened.
        event: ProcessEvent,
    },
    /// End: stop all work, take the executor out of the cluster, then stop.
    Shutdown,
}

/// What a driver takes from [`Agent::poll_output`].
#[derive(Clone, Debug)]
pub enum AgentOutput {
    /// Send to any master; say `Reply` with its answer, or with `None` after `timeout`.
    Request {
        /// Comes back.
        key: RequestKey,
        /// What to ask.
        request: Box<pb::ClientRequest>,
        /// How long to wait.
        timeout: Duration,
    },
    /// Answer a master's call.
    CallReply {
        /// The call.
        key: CallKey,
        /// Its answer.
        reply: Box<pb::ExecutorCallReply>,
    },
    /// Start an attempt under a guard that kills it at `deadline` if it is not extended before.
    Start {
        /// The attempt.
        attempt: AttemptId,
        /// What to run.
        specification: Box<pb::JobSpecification>,
        /// By this clock.
        deadline: Time,
    },
    /// Ask an attempt's processes to end.
    Terminate {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Kill all processes of an attempt.
    Kill {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Tell every guard its new deadline.
    Extend {
        /// By this clock.
        deadline: Time,
    },
    /// Something worth a line in the log.
    Trace(AgentTrace),
    /// All work has stopped, and the executor is out of the cluster: the process may end.
    Stop,
}

/// What happened to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentTrace {
    /// It is registered.
    Registered {
        /// Under this id.
        executor: ExecutorId,
    },
    /// It lost its lease, or could not renew it: all work is being killed.
    Fenced {
        /// Why.
        reason: String,
    },
}

/// An executor's state machine. Reports every attempt until the master's desired set no longer names it.
#[derive(Clone, Debug)]
pub struct Agent {}

#[allow(clippy::unused_self, unused_variables, clippy::needless_pass_by_value)]
impl Agent {
    /// Starts without an id; the first output asks for one.
    #[must_use]
    pub fn new(config: AgentConfig, seed: u64, now: Now) -> Self {
        unimplemented!()
    }

    /// Takes one input. Drain `poll_output` before the next.
    pub fn step(&mut self, now: Now, input: AgentInput) {
        unimplemented!()
    }

    /// The next output, until there is none.
    pub fn poll_output(&mut self) -> Option<AgentOutput> {
        unimplemented!()
    }

    /// When to step with `Deadline`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        unimplemented!()
    }

    /// Its id, once it is registered.
    #[must_use]
    pub fn executor(&self) -> Option<ExecutorId> {
        unimplemented!()
    }
}
