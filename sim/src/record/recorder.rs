//! Takes the recording while a world runs.

use super::{Actor, Band, ExecutorState, Fate, MasterState, Message, Operation, Recorded, Recording};
use crate::{
    client::Client,
    executor::Executor,
    master::Master,
    plan::{Plan, places},
    queue::{Queue, UNCAUSED},
    world::Event,
};
use std::{cell::RefCell, rc::Rc};

/// A recorder that outlives the world that feeds it, so that a panic leaves its recording.
pub type Shared = Rc<RefCell<Recorder>>;

/// Kinds of events that send a message.
const SENDS: [&str; 5] = ["send", "ask", "answer", "call", "reply"];

/// Records one run.
#[derive(Default)]
pub struct Recorder {
    recording: Recording,
    bands: Vec<Option<usize>>,
    plan: Option<Plan>,
    /// What led to the event that is handled.
    cause: u32,
    /// The first event that was recorded while it is handled.
    input: Option<u32>,
    /// The message that has just arrived, if it is one.
    arrival: Option<usize>,
    /// The last word of each client.
    answers: Vec<(u64, String, bool)>,
    open: Vec<bool>,
    /// The faults are over.
    settled: bool,
}

impl Recorder {
    /// A run begins.
    pub fn begin(&mut self, plan: &Plan) {
        let count = |length: usize| 0..u8::try_from(length).unwrap_or(u8::MAX);
        let (masters, executors) = (plan.masters.clocks.len(), plan.executors.clocks.len());
        let recording = &mut self.recording;
        recording.actors.push(Actor::Cluster);
        recording.actors.extend(count(masters).map(Actor::Master));
        recording.actors.extend(count(executors).map(Actor::Executor));
        recording.actors.extend(count(plan.clients.len()).map(Actor::Client));
        recording.masters.resize(masters, Vec::new());
        recording.executors.resize(executors, Vec::new());
        recording.clients.resize(plan.clients.len(), Vec::new());
        self.answers.resize(plan.clients.len(), Default::default());
        self.open.resize(plan.clients.len(), false);
        self.bands.resize(plan.faults.len(), None);
        self.plan = Some(plan.clone());
        self.cause = UNCAUSED;
    }

    /// An event of the world is about to be handled.
    pub fn popped(&mut self, time: u64, cause: u32, event: &Event) {
        self.recording.end = time;
        (self.cause, self.input, self.arrival) = (cause, None, None);
        if let Some(to) = receiver(event)
            && self.sent(cause, to)
        {
            self.arrival = Some(self.recording.messages.len());
            let message = Message { from: cause, to: Some(to), arrives: time, fate: Fate::Dropped };
            self.recording.messages.push(message);
        }
        match *event {
            Event::FaultBegin { fault } => self.band_begins(fault, time),
            Event::FaultEnd { fault } => self.band_ends(fault, Some(time)),
            Event::Settle => self.bands_settle(time),
            _ => {}
        }
    }

    /// Whether this event sent a message to somebody. A refused connection comes back to whoever asked: no message.
    fn sent(&self, cause: u32, to: Actor) -> bool {
        let event = usize::try_from(cause).ok().and_then(|cause| self.recording.events.get(cause));
        event.is_some_and(|event| SENDS.contains(&event.kind) && event.actor != to)
    }

    fn band_begins(&mut self, fault: usize, time: u64) {
        let Some((plan, planned)) = self.plan.as_ref().and_then(|plan| Some((plan, plan.faults.get(fault)?)))
        else {
            return;
        };
        let masters = plan.masters.clocks.len() as u8;
        let place = self.recording.bands.len();
        self.recording.bands.push(Band {
            fault,
            from: time,
            to: 0,
            name: planned.kind.name(),
            text: format!("{:?} for {} ms", planned.kind, planned.for_ms),
            touches: places::touches(&planned.kind, masters),
            effective: false,
        });
        if let Some(band) = self.bands.get_mut(fault) {
            *band = Some(place);
        }
    }

    /// What is on is over, but for machines outside of the core: there it stays for ever.
    fn bands_settle(&mut self, time: u64) {
        let core = self.plan.as_ref().and_then(|plan| plan.core.clone());
        let outside = |actor: &Actor| {
            core.as_ref().is_some_and(|core| match actor {
                Actor::Master(place) => !core.masters.contains(place),
                Actor::Executor(place) => !core.executors.contains(place),
                Actor::Cluster | Actor::Client(_) => false,
            })
        };
        for place in self.bands.iter().flatten() {
            let band = &mut self.recording.bands[*place];
            if !band.touches.iter().any(outside) {
                band.to = time;
            }
        }
        self.settled = true;
    }

    /// The end of a fault comes only if it took effect. After the faults are over it ends nothing any more.
    fn band_ends(&mut self, fault: usize, time: Option<u64>) {
        let Some(place) = self.bands.get(fault).copied().flatten() else { return };
        let band = &mut self.recording.bands[place];
        band.effective = true;
        if let Some(time) = time.filter(|_| !self.settled) {
            band.to = time;
            self.bands[fault] = None;
        }
    }

    /// A line of the event log. Gives back its id.
    pub fn line(&mut self, actor: Actor, kind: &'static str, text: String, masters: &[Master]) -> u32 {
        let id = u32::try_from(self.recording.events.len()).unwrap_or(UNCAUSED);
        let cause = self.input.unwrap_or(self.cause);
        if self.input.is_none() {
            self.input = Some(id);
            if let Some(arrival) = self.arrival {
                self.recording.messages[arrival].fate = Fate::Received(id);
            }
        }
        let raft = match actor {
            Actor::Master(place) => masters.get(usize::from(place)).and_then(|master| master.node.as_ref()),
            _ => None,
        };
        if let Actor::Client(place) = actor
            && matches!(kind, "answered" | "gives up")
            && let Some(answer) = self.answers.get_mut(usize::from(place))
        {
            *answer = (self.recording.end, text.clone(), kind == "gives up");
        }
        self.recording.events.push(Recorded {
            time: self.recording.end,
            actor,
            kind,
            text,
            cause: (cause != UNCAUSED).then_some(cause),
            raft: raft.map(|node| (node.raft().term().0, node.raft().commit().0)),
        });
        id
    }

    /// What the outputs of the current step come from.
    #[must_use]
    pub fn input(&self) -> u32 {
        self.input.unwrap_or(self.cause)
    }

    /// An event was handled: what has changed?
    pub fn look(&mut self, time: u64, masters: &[Master], executors: &[Executor], clients: &[Client]) {
        for (states, master) in self.recording.masters.iter_mut().zip(masters) {
            change(states, time, MasterState::of(master));
        }
        for (states, executor) in self.recording.executors.iter_mut().zip(executors) {
            change(states, time, ExecutorState::of(executor));
        }
        for (place, client) in clients.iter().enumerate() {
            self.look_at_client(place, client);
        }
    }

    fn look_at_client(&mut self, place: usize, client: &Client) {
        let Some(operations) = self.recording.clients.get_mut(place) else { return };
        let call = client.busy.as_ref().map(|busy| busy.call);
        let open = operations.last_mut().filter(|_| self.open[place]);
        if open.as_ref().map(|open| open.from) == call {
            return;
        }
        if let Some(open) = open {
            let (to, answer, unknown) = core::mem::take(&mut self.answers[place]);
            (open.to, open.answer, open.unknown) = (Some(to), answer, unknown);
        }
        self.open[place] = call.is_some();
        operations.extend(Operation::of(client));
    }

    /// The run is over; what is left in the queue was still on its way.
    pub fn finish(&mut self, queue: &mut Queue<Event>) {
        while let Some((time, cause, event)) = queue.pop_caused() {
            if let Event::FaultEnd { fault } = event {
                self.band_ends(fault, None);
            } else if let Some(to) = receiver(&event)
                && self.sent(cause, to)
            {
                let message = Message { from: cause, to: Some(to), arrives: time, fate: Fate::Travels };
                self.recording.messages.push(message);
            }
        }
    }

    /// The whole recording: what was sent and neither arrived nor travels is lost.
    #[must_use]
    pub fn into_recording(self) -> Recording {
        let mut recording = self.recording;
        for band in &mut recording.bands {
            // What did nothing lasts no time, and what was not ended is still on.
            band.to = if !band.effective {
                band.from
            } else if band.to == 0 {
                recording.end
            } else {
                band.to
            };
        }
        let mut arrived = vec![false; recording.events.len()];
        for message in &recording.messages {
            arrived[message.from as usize] = true;
        }
        for (id, event) in (0..).zip(&recording.events) {
            if SENDS.contains(&event.kind) && !arrived[id as usize] {
                let message = Message { from: id, to: None, arrives: event.time, fate: Fate::Lost };
                recording.messages.push(message);
            }
        }
        recording.messages.sort_by_key(|message| message.from);
        recording
    }
}

fn change<S: PartialEq>(states: &mut Vec<(u64, S)>, time: u64, state: S) {
    if states.last().is_none_or(|(_, last)| *last != state) {
        states.push((time, state));
    }
}

/// Who gets it, if it is a message.
fn receiver(event: &Event) -> Option<Actor> {
    match event {
        Event::Envelope { to, .. } | Event::Request { to, .. } => Some(Actor::Master(*to)),
        Event::Answer { origin, .. } => Some(origin.endpoint().into()),
        Event::Call { to, .. } => Some(Actor::Executor(*to)),
        Event::CallAnswer { to, reply: Some(_), .. } => Some(Actor::Master(*to)),
        _ => None,
    }
}
