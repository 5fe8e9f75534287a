//! One executor's machine: the agent of core, driven here, with its calls and its heartbeats over the simulated network.

use super::{
    processes::Order,
    service::Service,
    stage::{SECOND, Stage, World},
};
use crate::{
    clock::Clock,
    draw::{Purpose, draw},
    master::CLUSTER,
    oracle::{Rule, answers::brief},
    plan::{ExecutorsPlan, Plan},
};
use madsim::runtime::{Handle, NodeHandle as MachineHandle};
use quorate_core::{
    agent::{Agent, AgentConfig, AgentInput, AgentOutput, AgentTrace},
    types::{AttemptId, CallKey, ExecutorId, RequestKey, Time},
};
use quorate_net::{
    Client, ClientOptions,
    rt::{Duration, mpsc, oneshot, select, spawn},
};
use quorate_proto::v1::{
    self as pb, client_reply::Body, client_request::Body as Ask,
    executor_service_server::ExecutorServiceServer,
};
use std::{collections::BTreeMap, future::pending, net::IpAddr};

/// What comes to the loop of an agent.
pub(super) enum Happens {
    Input(AgentInput),
    Call { call: Box<pb::ExecutorCall>, reply: oneshot::Sender<pb::ExecutorCallReply> },
}

/// What is known of a machine from outside.
pub(super) struct Machine {
    /// `None` until it is built.
    pub(super) machine: Option<MachineHandle>,
    pub(super) clock: Clock,
    /// How often its agent was started.
    pub(super) run: u64,
    /// The agent's process is there.
    pub(super) up: bool,
    /// Times that the agent was stopped and has not gone on.
    pauses: u32,
    /// Times that the machine was frozen and has not gone on.
    pub(super) freezes: u32,
    /// The way to the agent that runs.
    pub(super) inbox: Option<mpsc::UnboundedSender<Happens>>,
    /// Its id, as the last registration's answer said.
    pub(super) id: Option<ExecutorId>,
    /// Until when its lease lasts, by its own clock and the masters' answers.
    pub(super) lease_until: Time,
}

/// Its address.
pub(super) fn ip(place: usize) -> IpAddr {
    IpAddr::from([10, 0, 1, place as u8 + 1])
}

impl Machine {
    pub(super) fn all(plan: &Plan) -> Vec<Self> {
        let machine = |clock| Self {
            machine: None,
            clock: Clock::new(clock),
            run: 0,
            up: false,
            pauses: 0,
            freezes: 0,
            inbox: None,
            id: None,
            lease_until: Time(0),
        };
        plan.executors.clocks.iter().map(machine).collect()
    }

    /// Its agent, or the whole machine, is stopped.
    pub(super) const fn stands_still(&self) -> bool {
        self.pauses > 0 || self.freezes > 0
    }
}

impl World {
    /// The name of an executor in events.
    pub(super) fn tell_executor(&mut self, place: usize, what: &str, text: impl FnOnce() -> String) {
        self.event(&format!("e{place}"), what, text);
    }

    pub(super) fn executor_line(&self, at: usize) -> String {
        let machine = &self.executors[at];
        let here = self.processes.values().filter(|process| process.machine == at && process.process.up);
        let runs: Vec<String> = here.map(|process| process.process.attempt.to_string()).collect();
        let id = machine.id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let state = |is: bool, text: &'static str| if is { text } else { "" };
        format!(
            "machine {at}: executor {id} run {}{}{}{} runs [{}]",
            machine.run,
            state(!machine.up, " down"),
            state(machine.pauses > 0, " paused"),
            state(machine.freezes > 0, " frozen"),
            runs.join(", ")
        )
    }

    /// Follows the lease as the masters' answers give it.
    fn learn(&mut self, place: usize, request: &pb::ClientRequest, sent: Time, reply: &pb::ClientReply) {
        let machine = &mut self.executors[place];
        let ttl = match (&request.body, &reply.body) {
            (Some(Ask::RegisterExecutor(_)), Some(Body::RegisterExecutor(registered))) => {
                machine.id = Some(ExecutorId(registered.executor));
                machine.lease_until = Time(0);
                registered.ttl_ms
            }
            (Some(Ask::Heartbeat(beat)), Some(Body::Heartbeat(answer)))
                if Some(ExecutorId(beat.executor)) == machine.id =>
            {
                answer.ttl_ms
            }
            _ => return,
        };
        machine.lease_until = machine.lease_until.max(sent + Duration::from_millis(ttl));
    }
}

fn config(place: usize, plan: &ExecutorsPlan) -> AgentConfig {
    AgentConfig {
        cluster: CLUSTER,
        name: format!("executor-{}", place + 1),
        address: format!("{}:7003", ip(place)),
        slots: plan.slots,
        labels: Vec::new(),
        heartbeat: Duration::from_millis(plan.heartbeat_ms),
        lease: plan.lease(),
        session_ms: plan.session_ms,
    }
}

/// One run of an agent.
struct Driver {
    stage: Stage,
    place: usize,
    run: u64,
    clock: Clock,
    agent: Agent,
    client: Client,
    happens: mpsc::UnboundedSender<Happens>,
    calls: BTreeMap<CallKey, oneshot::Sender<pb::ExecutorCallReply>>,
    last_call: CallKey,
}

impl Stage {
    /// Builds an executor's machine, and starts its agent.
    pub(super) fn build_executor(&self, place: usize) {
        let stage = self.clone();
        let start = move || {
            let stage = stage.clone();
            async move { stage.run_agent(place).await }
        };
        let name = format!("e{}", place + 1);
        let machine = Handle::current().create_node().name(name).ip(ip(place)).init(start).build();
        let mut world = self.world();
        world.executors[place].machine = Some(machine);
        world.executors[place].up = true;
    }

    /// What `quorate agent` does, until the machine is killed.
    async fn run_agent(self, place: usize) {
        let (happens, mut inbox) = mpsc::unbounded_channel();
        let driver = {
            let mut world = self.world();
            let machine = &mut world.executors[place];
            machine.run += 1;
            machine.inbox = Some(happens.clone());
            (machine.id, machine.lease_until) = (None, Time(0));
            let (run, clock) = (machine.run, machine.clock.clone());
            let seed = draw(world.plan.seed, Purpose::AgentSeed, &[place as u64, run]);
            let endpoints = world.endpoints();
            let Ok(client) =
                Client::new(&endpoints, ClientOptions { seed: Some(seed), ..Default::default() })
            else {
                return world.fail(Rule::Contract, "the masters have no addresses".to_owned());
            };
            let agent = Agent::new(config(place, &world.plan.executors), seed, clock.now(world.time()));
            world.tell_executor(place, "start", || format!("run {run}"));
            let (stage, calls) = (self.clone(), BTreeMap::new());
            Driver {
                stage,
                place,
                run,
                clock,
                agent,
                client,
                happens: happens.clone(),
                calls,
                last_call: CallKey(0),
            }
        };
        let server =
            tonic::transport::Server::builder().add_service(ExecutorServiceServer::new(Service(happens)));
        let serving = spawn(server.serve((ip(place), 7003).into()));
        driver.drive(&mut inbox).await;
        serving.abort();
        pending::<()>().await;
    }

    /// Kills an agent's process: its guards see their pipes close.
    pub(super) fn crash_agent(&self, place: usize) -> bool {
        let mut world = self.world();
        let machine = &mut world.executors[place];
        if !machine.up || machine.freezes > 0 {
            return false;
        }
        (machine.up, machine.inbox, machine.pauses) = (false, None, 0);
        let (run, id) = (machine.run, machine.machine.clone());
        world.tell_executor(place, "kill", String::new);
        if let Some(id) = id {
            Handle::current().kill(id.id());
        }
        world.agent_ended(place, run);
        true
    }

    /// Asks an agent to end.
    pub(super) fn shut_agent_down(&self, place: usize) -> bool {
        let mut world = self.world();
        let inbox = world.executors[place].inbox.clone();
        world.tell_executor(place, "shut down", String::new);
        inbox.is_some_and(|inbox| inbox.send(Happens::Input(AgentInput::Shutdown)).is_ok())
    }

    /// Whatever is left of an agent is killed, and it starts again.
    pub(super) fn restart_agent(&self, place: usize) {
        {
            let world = self.world();
            if world.executors[place].freezes > 0 {
                return;
            }
        }
        self.crash_agent(place);
        self.start_agent(place);
    }

    /// Starts an agent, unless it runs.
    pub(super) fn start_agent(&self, place: usize) {
        let machine = {
            let mut world = self.world();
            let machine = &mut world.executors[place];
            if machine.up {
                return;
            }
            machine.up = true;
            machine.machine.clone()
        };
        if let Some(machine) = machine {
            Handle::current().restart(machine.id());
        }
    }

    /// Stops an agent, or with it its whole machine.
    pub(super) fn pause_agent(&self, place: usize, freeze: bool) -> bool {
        let mut world = self.world();
        let world = &mut *world;
        let machine = &mut world.executors[place];
        let Some(handle) = machine.machine.clone() else { return false };
        if freeze {
            machine.freezes += 1;
            world.truth.freeze(place as u8);
        } else {
            machine.pauses += u32::from(machine.up);
        }
        Handle::current().pause(handle.id());
        true
    }

    /// An agent goes on, or its whole machine.
    pub(super) fn resume_agent(&self, place: usize, freeze: bool) {
        let mut world = self.world();
        let machine = &mut world.executors[place];
        if freeze {
            machine.freezes = machine.freezes.saturating_sub(1);
        } else {
            machine.pauses = machine.pauses.saturating_sub(1);
        }
        let thawed = freeze && machine.freezes == 0;
        let goes_on = machine.freezes == 0 && machine.pauses == 0;
        let handle = machine.machine.clone();
        if thawed {
            world.thaw(place);
        }
        if let Some(handle) = handle.filter(|_| goes_on) {
            Handle::current().resume(handle.id());
        }
    }

    /// Every executor goes on, and starts again.
    pub(super) fn mend_executor(&self, place: usize) {
        while self.world().executors[place].freezes > 0 {
            self.resume_agent(place, true);
        }
        while self.world().executors[place].pauses > 0 {
            self.resume_agent(place, false);
        }
        self.start_agent(place);
    }
}

impl Driver {
    async fn drive(mut self, inbox: &mut mpsc::UnboundedReceiver<Happens>) {
        loop {
            if self.drain() {
                return;
            }
            let due = self.agent.next_deadline().map(|deadline| self.clock.true_time(deadline));
            // `Time::FAR` is no time that comes.
            let due = due.unwrap_or(u64::MAX).min(self.stage.now() + 3_600 * SECOND);
            let input = select! {
                biased;
                happens = inbox.recv() => match happens {
                    Some(happens) => self.input(happens),
                    None => return,
                },
                () = self.stage.until(due) => AgentInput::Deadline,
            };
            self.agent.step(self.clock.now(self.stage.now()), input);
        }
    }

    fn input(&mut self, happens: Happens) -> AgentInput {
        match happens {
            Happens::Input(input) => input,
            Happens::Call { call, reply } => {
                self.last_call = self.last_call.next();
                self.calls.insert(self.last_call, reply);
                let key = self.last_call;
                self.stage.world().tell_executor(self.place, "called", || called(&call));
                AgentInput::Call { key, call }
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
                    self.stage.start_process(self.place, attempt, &specification, deadline);
                }
                AgentOutput::Terminate { attempt } => self.order(&attempt, Order::Terminate),
                AgentOutput::Kill { attempt } => self.order(&attempt, Order::Kill),
                AgentOutput::Extend { deadline } => self.stage.world().extend(self.place, deadline),
                AgentOutput::Forget { attempt } => self.stage.world().forget(self.place, &attempt),
                AgentOutput::Trace(event) => self.trace(&event),
                AgentOutput::Stop => {
                    let mut world = self.stage.world();
                    let machine = &mut world.executors[self.place];
                    (machine.up, machine.inbox) = (false, None);
                    world.tell_executor(self.place, "ended", String::new);
                    world.agent_ended(self.place, self.run);
                    return true;
                }
            }
        }
        false
    }

    fn order(&self, attempt: &AttemptId, order: Order) {
        self.stage.world().order(self.place, attempt, order);
    }

    fn trace(&self, event: &AgentTrace) {
        let mut world = self.stage.world();
        match event {
            AgentTrace::Registered { .. } => world.count("executor registered"),
            AgentTrace::Fenced { .. } => world.count("executor fenced"),
            AgentTrace::Refused { .. } | AgentTrace::BadSet { .. } => {}
        }
        world.tell_executor(self.place, "trace", || format!("{event:?}"));
    }

    fn request(&self, key: RequestKey, request: pb::ClientRequest, timeout: Duration) {
        let (stage, client, happens) = (self.stage.clone(), self.client.clone(), self.happens.clone());
        let (place, clock, run) = (self.place, self.clock.clone(), self.run);
        let sent = clock.local(stage.now());
        spawn(async move {
            let reply = client.request(request.clone(), timeout).await;
            {
                let mut world = stage.world();
                if world.executors[place].run != run {
                    return;
                }
                if let Some(reply) = &reply {
                    world.learn(place, &request, sent, reply);
                    let world = &mut *world;
                    world.history.executor(&mut world.ledger, &world.commits, &request, reply);
                }
                let told = match reply.as_ref().map(|reply| &reply.body) {
                    None => "nothing".to_owned(),
                    Some(Some(Body::Heartbeat(beat))) => {
                        format!("desired {} as of {}", beat.desired.len(), beat.index)
                    }
                    Some(Some(Body::Refusal(refusal))) => {
                        format!("{:?}: {}", refusal.code(), refusal.message)
                    }
                    Some(body) => format!("{body:?}"),
                };
                world.tell_executor(place, "answered", || format!("{}: {told}", brief(&request)));
            }
            // The agent may have ended.
            let _ = happens.send(Happens::Input(AgentInput::Reply { key, reply: reply.map(Box::new) }));
        });
    }
}

fn called(call: &pb::ExecutorCall) -> String {
    use pb::executor_call::Body as Call;
    let text = match &call.body {
        Some(Call::PreDispatch(ask)) => format!("pre-dispatch {:?}", ask.attempt),
        Some(Call::Confirm(ask)) => format!("confirm {:?}", ask.attempt),
        Some(Call::Stop(ask)) => format!("stop {:?}", ask.attempt),
        None => "nothing".to_owned(),
    };
    text.replace("AttemptKey ", "")
}
