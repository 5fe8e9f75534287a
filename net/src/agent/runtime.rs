//! The loop that owns an agent.

use super::{
    clock,
    guard::Order,
    logs::LogStore,
    process::{Launch, supervise},
    service::{Names, Service},
};
use crate::server::{incoming, server};
use quorate_core::{
    agent::{Agent, AgentConfig, AgentInput, AgentOutput, AgentTrace, ProcessEvent},
    limits,
    types::{AttemptId, CallKey, ExecutorId, RequestKey, Time},
};
use quorate_proto::v1::{self as pb, executor_service_server::ExecutorServiceServer};
use rustix::fs::{FlockOperation, flock};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
};

/// Room for every order that one attempt can get: an agent says each kind once.
const ORDERS: usize = 4;

/// The way to the masters.
pub trait MasterLink: Send + Sync + 'static {
    /// Sends to any master. `None`: no answer within the time, or no master could be reached.
    fn request(
        &self,
        request: pb::ClientRequest,
        timeout: Duration,
    ) -> impl Future<Output = Option<pb::ClientReply>> + Send;
}

impl MasterLink for crate::Client {
    async fn request(&self, request: pb::ClientRequest, timeout: Duration) -> Option<pb::ClientReply> {
        Self::request(self, request, timeout).await
    }
}

/// How a guard is started: program, and what comes before its own arguments.
#[derive(Clone, Debug)]
pub struct GuardCommand {
    /// The program; must lead to [`run_guard`](super::run_guard).
    pub program: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<OsString>,
}

impl GuardCommand {
    /// This very program, with the subcommand `task-guard`.
    ///
    /// # Errors
    /// The path of the running program is not known.
    pub fn current() -> io::Result<Self> {
        Ok(Self { program: std::env::current_exe()?, arguments: vec!["task-guard".into()] })
    }
}

/// What an executor's process is started with.
#[derive(Clone, Debug)]
pub struct AgentRuntimeConfig {
    /// For the agent. An empty address becomes the one that it listens on.
    pub agent: AgentConfig,
    /// Where masters' calls are taken.
    pub listen: SocketAddr,
    /// Its data directory; made if it is missing. Working directories of attempts are in `work/` below it.
    pub data: PathBuf,
    /// How guards are started.
    pub guard: GuardCommand,
}

/// Why an executor's process could not go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Choose another address, or end whoever has it.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Make it writable, or choose another.
    #[error("data directory {path}: {source}", path = path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// End the other executor, or choose another directory.
    #[error("data directory {path} is in use by another executor", path = path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Correct the configuration.
    #[error("the cluster refuses this executor: {message}")]
    Refused {
        /// What is wrong.
        message: String,
    },
}

/// What comes to the loop.
pub(super) enum Event {
    Input(AgentInput),
    Call { call: Box<pb::ExecutorCall>, reply: oneshot::Sender<pb::ExecutorCallReply> },
}

/// Runs an executor until `shutdown` resolves; then stops its work, takes it out of the cluster and ends.
///
/// Dropping the future ends all work by force: the guards see their pipes close.
///
/// # Errors
/// It could not begin, or the cluster refuses its configuration.
pub async fn run_agent<M: MasterLink>(
    mut config: AgentRuntimeConfig,
    masters: M,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), AgentError> {
    let lock = prepare(&config.data)?;
    let address = config.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| AgentError::Listen { address, source })?;
    if config.agent.address.is_empty() {
        let bound = listener.local_addr().map_err(|source| AgentError::Listen { address, source })?;
        config.agent.address = bound.to_string();
    }
    let (events, inbox) = mpsc::channel(limits::AGENT_INPUTS);
    let (logs, names) = (LogStore::default(), Names::default());
    let service = Service { events: events.clone(), logs: logs.clone(), names: names.clone() };
    let server = server()
        .add_service(ExecutorServiceServer::new(service).max_decoding_message_size(limits::REQUEST_BYTES))
        .serve_with_incoming(incoming(listener));
    let seed = random(&config.data)?;
    let check = config.agent.lease.check;
    let agent = Agent::new(config.agent.clone(), seed, clock::now());
    let runtime = Runtime {
        agent,
        config,
        masters: Arc::new(masters),
        events,
        deadline: watch::channel(Time(0)).0,
        running: BTreeMap::new(),
        calls: BTreeMap::new(),
        last_call: CallKey(0),
        logs,
        names,
        trash: 0,
        refused: None,
    };
    let result = tokio::select! {
        result = runtime.run(inbox, check, shutdown) => result,
        // The listener never ends by itself but by an error.
        ended = server => Err(AgentError::Listen { address, source: ended.map_or_else(io::Error::other, |()| io::Error::other("it was closed")) }),
    };
    drop(lock);
    result
}

/// Makes the data directory, takes it, and clears what an earlier life left.
fn prepare(data: &Path) -> Result<File, AgentError> {
    let failed = |source| AgentError::Data { path: data.to_owned(), source };
    fs::create_dir_all(data).map_err(failed)?;
    let lock = File::create(data.join("lock")).map_err(failed)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| AgentError::Locked { path: data.to_owned() })?;
    for old in ["work", "trash"] {
        match fs::remove_dir_all(data.join(old)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // A guard of the earlier life may still be killing what works there.
                tracing::warn!(%error, directory = old, "cannot clear what an earlier run left");
            }
            Ok(()) | Err(_) => {}
        }
    }
    fs::create_dir_all(data.join("trash")).map_err(failed)?;
    Ok(lock)
}

/// A seed that no other run has.
fn random(data: &Path) -> Result<u64, AgentError> {
    let mut bytes = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|source| AgentError::Data { path: data.to_owned(), source })?;
    Ok(u64::from_le_bytes(bytes))
}

struct Runtime<M> {
    agent: Agent,
    config: AgentRuntimeConfig,
    masters: Arc<M>,
    events: mpsc::Sender<Event>,
    deadline: watch::Sender<Time>,
    running: BTreeMap<AttemptId, mpsc::Sender<Order>>,
    calls: BTreeMap<CallKey, oneshot::Sender<pb::ExecutorCallReply>>,
    last_call: CallKey,
    logs: LogStore,
    names: Names,
    trash: u64,
    refused: Option<String>,
}

impl<M: MasterLink> Runtime<M> {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Event>,
        check: Duration,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), AgentError> {
        let mut shutdown = pin!(shutdown);
        let mut asked = false;
        loop {
            if self.drain() {
                return Ok(());
            }
            if let Some(message) = self.refused.take() {
                return Err(AgentError::Refused { message });
            }
            // Timers stand still while the machine is suspended, so that a long one would come late.
            let wait = self.agent.next_deadline().map_or(check, |next| next.since(clock::time()).min(check));
            let input = tokio::select! {
                Some(event) = inbox.recv() => self.input(event),
                () = &mut shutdown, if !asked => {
                    asked = true;
                    AgentInput::Shutdown
                }
                () = tokio::time::sleep(wait) => AgentInput::Deadline,
            };
            self.agent.step(clock::now(), input);
        }
    }

    fn input(&mut self, event: Event) -> AgentInput {
        match event {
            Event::Input(input) => {
                if let AgentInput::Process { attempt, event } = &input
                    && *event != ProcessEvent::Started
                {
                    self.running.remove(attempt);
                }
                input
            }
            Event::Call { call, reply } => {
                self.last_call = self.last_call.next();
                self.calls.insert(self.last_call, reply);
                AgentInput::Call { key: self.last_call, call }
            }
        }
    }

    /// Carries out what the agent asks. True: it has stopped.
    fn drain(&mut self) -> bool {
        while let Some(output) = self.agent.poll_output() {
            match output {
                AgentOutput::Request { key, request, timeout } => self.request(key, *request, timeout),
                AgentOutput::CallReply { key, reply } => {
                    if let Some(waiting) = self.calls.remove(&key) {
                        // The caller may have left.
                        let _ = waiting.send(*reply);
                    }
                }
                AgentOutput::Start { attempt, specification, deadline } => {
                    self.deadline.send_replace(deadline);
                    self.start(attempt, *specification);
                }
                AgentOutput::Terminate { attempt } => self.order(&attempt, Order::Terminate),
                AgentOutput::Kill { attempt } => self.order(&attempt, Order::Kill),
                AgentOutput::Extend { deadline } => {
                    self.deadline.send_replace(deadline);
                }
                AgentOutput::Forget { attempt } => self.discard(&attempt),
                AgentOutput::Trace(event) => self.trace(event),
                AgentOutput::Stop => return true,
            }
        }
        false
    }

    fn request(&self, key: RequestKey, request: pb::ClientRequest, timeout: Duration) {
        let (masters, events) = (self.masters.clone(), self.events.clone());
        tokio::spawn(async move {
            let answer = tokio::time::timeout(timeout, masters.request(request, timeout)).await;
            let reply = answer.ok().flatten().map(Box::new);
            let _ = events.send(Event::Input(AgentInput::Reply { key, reply })).await;
        });
    }

    fn start(&mut self, attempt: AttemptId, specification: pb::JobSpecification) {
        tracing::info!(%attempt, "starting");
        let (orders, inbox) = mpsc::channel(ORDERS);
        self.running.insert(attempt.clone(), orders);
        let launch = Launch {
            executor: self.agent.executor().unwrap_or(ExecutorId(0)),
            directory: self.directory(&attempt),
            guard: self.config.guard.clone(),
            deadline: self.deadline.subscribe(),
            orders: inbox,
            events: self.events.clone(),
            logs: self.logs.clone(),
            attempt,
            specification,
        };
        tokio::spawn(supervise(launch));
    }

    fn directory(&self, attempt: &AttemptId) -> PathBuf {
        let task = &attempt.task;
        let below = format!("{}/{}/{}", task.job, task.number, attempt.epoch);
        self.config.data.join("work").join(below)
    }

    fn order(&self, attempt: &AttemptId, order: Order) {
        if let Some(orders) = self.running.get(attempt) {
            // Closed: its end is on the way. Full: it has been told.
            let _ = orders.try_send(order);
        }
    }

    /// Moves an attempt's directory out of the way at once, so that another of its name may come, and removes it by and by.
    fn discard(&mut self, attempt: &AttemptId) {
        self.trash += 1;
        let trash = self.config.data.join("trash").join(self.trash.to_string());
        let directory = self.directory(attempt);
        if fs::rename(&directory, &trash).is_err() {
            return;
        }
        // The task's and the job's own directories, if nothing else is in them.
        for parent in directory.ancestors().skip(1).take(2) {
            let _ = fs::remove_dir(parent);
        }
        tokio::task::spawn_blocking(move || {
            if let Err(error) = fs::remove_dir_all(&trash) {
                tracing::warn!(%error, directory = %trash.display(), "cannot remove a working directory");
            }
        });
    }

    fn trace(&mut self, event: AgentTrace) {
        match event {
            AgentTrace::Registered { executor } => {
                self.names.add(executor);
                tracing::info!(%executor, "registered");
            }
            AgentTrace::Fenced { reason } => tracing::warn!(reason, "fenced: all work is being killed"),
            AgentTrace::Refused { code: pb::RefusalCode::Invalid, message }
                if self.agent.executor().is_none() =>
            {
                self.refused = Some(message);
            }
            AgentTrace::Refused { code, message } => tracing::warn!(?code, message, "the cluster refused"),
            AgentTrace::BadSet { message } => tracing::warn!(message, "a desired set was ignored"),
        }
    }
}
