//! The executor's side: register, keep alive, obey, fence itself. Driven like a [`Node`](crate::Node).
//!
//! Life: a session, a registration with a new incarnation, heartbeats. The right to work ends `ttl` after the newest
//! acknowledged heartbeat was *sent*. At that time everything is killed, and only when every process has ended does the
//! agent register anew. The desired set in the answers to heartbeats is the truth; calls only make it sooner.
//!
//! Why no attempt starts twice: a set that is older than one seen before is ignored, an attempt is forgotten only when a
//! set of its own log index or later no longer names it, and a call older than the last set starts only what that set names.

mod attempts;
mod calls;
mod desired;
mod heartbeat;
mod session;
#[cfg(test)]
mod tests;

use crate::{
    bug::{self, Bug},
    contract::LeaseTimes,
    limits,
    mark::{self, Mark},
    random::Draws,
    types::{AttemptId, CallKey, ClusterId, ExecutorId, Incarnation, Now, RequestKey, Term, Time},
};
use attempts::Attempts;
use core::time::Duration;
use heartbeat::Serving;
use quorate_proto::v1::{self as pb, client_request};
use session::{Joining, Leaving};
use std::collections::VecDeque;

const PURPOSE_INCARNATION: u64 = 0x61_67_65_6e_74_01;
const PURPOSE_JITTER: u64 = 0x61_67_65_6e_74_02;

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
    /// How long the cluster keeps the session in which the agent registers or leaves, in milliseconds; 0 = its default.
    pub session_ms: u64,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            cluster: ClusterId(0),
            name: String::new(),
            address: String::new(),
            slots: 1,
            labels: Vec::new(),
            heartbeat: Duration::from_millis(500),
            lease: LeaseTimes::default(),
            session_ms: 0,
        }
    }
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
    /// The master does not name this attempt any more, and nothing of it runs: what is kept of it may go.
    Forget {
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
    /// The cluster refused to register it, or to take it out. It tries again.
    Refused {
        /// Why.
        code: pb::RefusalCode,
        /// In words.
        message: String,
    },
    /// A desired set that no master sends was ignored.
    BadSet {
        /// What is wrong with it.
        message: String,
    },
}

/// An executor's state machine. Reports every attempt until the master's desired set no longer names it.
///
/// ```
/// use quorate_core::agent::{Agent, AgentConfig, AgentInput, AgentOutput};
/// use quorate_core::types::Now;
///
/// let config = AgentConfig { name: "a".into(), address: "127.0.0.1:9".into(), ..AgentConfig::default() };
/// let mut agent = Agent::new(config, 7, Now::default());
/// agent.step(Now::default(), AgentInput::Deadline);
/// while let Some(output) = agent.poll_output() {
///     assert!(matches!(output, AgentOutput::Request { .. })); // It asks for a session.
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Agent {
    config: AgentConfig,
    incarnations: Draws,
    jitter: Draws,
    outputs: VecDeque<AgentOutput>,
    last_key: RequestKey,
    stage: Stage,
    attempts: Attempts,
    /// Shutdown was asked for.
    leaving: bool,
    /// The cluster of the first call that knew this incarnation, or of the configuration.
    cluster: ClusterId,
    /// The highest term that a call named.
    term: Term,
    /// What this process was registered as before, and ended all work of. The newest last.
    past: VecDeque<(ExecutorId, Incarnation)>,
}

/// Where an agent's life stands.
#[derive(Clone, Debug)]
enum Stage {
    Joining(Joining),
    Serving(Serving),
    /// The lease is lost: waits until every process has ended.
    Fenced {
        executor: ExecutorId,
        incarnation: Incarnation,
    },
    Leaving(Leaving),
    Stopped,
}

impl Agent {
    /// Starts without an id; the first output asks for one. Two runs of one executor need two seeds: the incarnation
    /// is drawn from it.
    #[must_use]
    pub fn new(config: AgentConfig, seed: u64, now: Now) -> Self {
        let mut incarnations = Draws::new(seed, PURPOSE_INCARNATION);
        let joining = Joining::new(&mut incarnations, now.time);
        let mut agent = Self {
            cluster: config.cluster,
            config,
            incarnations,
            jitter: Draws::new(seed, PURPOSE_JITTER),
            outputs: VecDeque::new(),
            last_key: RequestKey(0),
            stage: Stage::Joining(joining),
            attempts: Attempts::default(),
            leaving: false,
            term: Term(0),
            past: VecDeque::new(),
        };
        agent.settle(now.time);
        agent
    }

    /// Takes one input. Drain `poll_output` before the next.
    pub fn step(&mut self, now: Now, input: AgentInput) {
        let now = now.time;
        // Before anything else: an input that came too late must not start or renew anything.
        self.check_lease(now);
        match input {
            AgentInput::Deadline => {}
            AgentInput::Reply { key, reply } => self.on_reply(now, key, reply.map(|reply| *reply)),
            AgentInput::Call { key, call } => {
                let reply = Box::new(self.on_call(now, *call));
                self.outputs.push_back(AgentOutput::CallReply { key, reply });
            }
            AgentInput::Process { attempt, event } => self.on_process(&attempt, event),
            AgentInput::Shutdown => self.on_shutdown(now),
        }
        self.check_lease(now);
        self.settle(now);
    }

    /// The next output, until there is none.
    pub fn poll_output(&mut self) -> Option<AgentOutput> {
        self.outputs.pop_front()
    }

    /// When to step with `Deadline`. A driver whose timers stop while its machine is suspended steps every
    /// `lease.check` besides.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let stage = match &self.stage {
            Stage::Joining(joining) => joining.errand.due(),
            Stage::Serving(serving) => {
                Some(serving.due(&self.config).min(self.report_until().unwrap_or(Time::FAR)))
            }
            Stage::Leaving(leaving) => Some(leaving.until.min(leaving.errand.due().unwrap_or(Time::FAR))),
            Stage::Fenced { .. } | Stage::Stopped => None,
        };
        stage.into_iter().chain(self.attempts.due()).min()
    }

    /// Its id, once it is registered.
    #[must_use]
    pub fn executor(&self) -> Option<ExecutorId> {
        match &self.stage {
            Stage::Serving(serving) => Some(serving.executor),
            Stage::Leaving(leaving) => Some(leaving.executor),
            Stage::Joining(_) | Stage::Fenced { .. } | Stage::Stopped => None,
        }
    }

    /// The incarnation that it is registered as, or registers as.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        match &self.stage {
            Stage::Joining(joining) => Some(joining.incarnation),
            Stage::Serving(serving) => Some(serving.incarnation),
            Stage::Fenced { incarnation, .. } => Some(*incarnation),
            Stage::Leaving(leaving) => Some(leaving.incarnation),
            Stage::Stopped => None,
        }
    }

    /// When its right to work ends, by its clock. `None` while it has none.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match &self.stage {
            Stage::Serving(serving) => Some(serving.deadline),
            Stage::Joining(_) | Stage::Fenced { .. } | Stage::Leaving(_) | Stage::Stopped => None,
        }
    }

    /// Whether it lost its lease and has not registered again.
    #[must_use]
    pub const fn fenced(&self) -> bool {
        matches!(self.stage, Stage::Fenced { .. })
    }

    /// Every attempt that it holds, in order, as it would report it.
    pub fn attempts(&self) -> impl Iterator<Item = (AttemptId, pb::AttemptPhase)> + '_ {
        self.attempts.iter().map(|(id, attempt)| (id.clone(), attempt.phase()))
    }

    fn on_reply(&mut self, now: Time, key: RequestKey, reply: Option<pb::ClientReply>) {
        match self.stage {
            Stage::Joining(_) => self.on_join_reply(now, key, reply),
            Stage::Serving(_) => self.on_heartbeat_reply(now, key, reply),
            Stage::Leaving(_) => self.on_leave_reply(now, key, reply),
            Stage::Fenced { .. } | Stage::Stopped => {}
        }
    }

    fn on_process(&mut self, attempt: &AttemptId, event: ProcessEvent) {
        if self.attempts.happened(attempt, event, &mut self.outputs)
            && let Stage::Serving(serving) = &mut self.stage
        {
            serving.changed = true;
        }
    }

    fn on_shutdown(&mut self, now: Time) {
        if self.leaving {
            return;
        }
        self.leaving = true;
        self.attempts.stop_all(now, &mut self.outputs);
        if let Stage::Serving(serving) = &mut self.stage {
            serving.changed = true;
        }
    }

    /// Does what is due, and goes on to the next stage when this one is over.
    fn settle(&mut self, now: Time) {
        self.attempts.expire(now, &mut self.outputs);
        let idle = !self.attempts.any_live();
        let leaves = idle || bug::planted(Bug::AgentLeavesEarly);
        let rejoins = (idle || bug::planted(Bug::AgentRejoinsEarly)) && !bug::planted(Bug::AgentStaysOut);
        match &mut self.stage {
            Stage::Joining(_) if self.leaving => {
                mark::hit(Mark::AgentEndsUnregistered);
                self.stop();
            }
            Stage::Joining(_) => self.join(now),
            Stage::Serving(_) if self.leaving && leaves => self.report_then_leave(now),
            Stage::Serving(serving) => {
                self.attempts.start_ready(now, serving.deadline, &mut self.outputs);
                self.heartbeat(now);
            }
            Stage::Fenced { executor, incarnation } if rejoins => {
                let former = (*executor, *incarnation);
                self.rejoin(now, former);
            }
            Stage::Leaving(_) => self.leave(now),
            Stage::Fenced { .. } | Stage::Stopped => {}
        }
    }

    /// Every process of a lost registration has ended.
    fn rejoin(&mut self, now: Time, former: (ExecutorId, Incarnation)) {
        self.attempts.clear(&mut self.outputs);
        if self.past.len() >= limits::PAST_INCARNATIONS {
            self.past.pop_front();
        }
        self.past.push_back(former);
        if self.leaving {
            mark::hit(Mark::AgentEndsFenced);
            return self.stop();
        }
        self.stage = Stage::Joining(Joining::new(&mut self.incarnations, now));
        self.join(now);
    }

    fn stop(&mut self) {
        self.attempts.clear(&mut self.outputs);
        self.stage = Stage::Stopped;
        self.outputs.push_back(AgentOutput::Stop);
    }

    fn ask(&mut self, body: client_request::Body, timeout: Duration) -> RequestKey {
        self.last_key = self.last_key.next();
        let request = Box::new(pb::ClientRequest { body: Some(body) });
        self.outputs.push_back(AgentOutput::Request { key: self.last_key, request, timeout });
        self.last_key
    }

    fn trace(&mut self, event: AgentTrace) {
        self.outputs.push_back(AgentOutput::Trace(event));
    }
}
