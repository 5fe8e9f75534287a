//! What an agent does with what it is told: calls and desired sets, in whatever order they come.

use super::{Ledger, Rule};
use pb::{AttemptPhase, executor_call::Body as Call, executor_call_reply::Body as Answer};
use quorate_core::{
    agent::{Agent, AgentInput},
    types::{AttemptId, Epoch, ExecutorId, Index, JobId, RequestKey, TaskKey},
};
use quorate_proto::v1::{self as pb, client_reply::Body};
use std::collections::BTreeMap;

/// What is told in one step, and what has to come of it.
#[derive(Clone, Debug)]
enum Told {
    /// A desired set.
    Set {
        index: Index,
        /// Each attempt that it names, and whether that is to stop.
        wanted: BTreeMap<AttemptId, bool>,
    },
    /// A call that may bring an attempt.
    Begin(AttemptId, Index),
    /// A call that stops one.
    Stop(AttemptId, Index),
    /// To end.
    Shutdown,
}

/// What one run of an agent was told.
#[derive(Default)]
struct Place {
    run: u64,
    /// As what it serves.
    serves: Option<ExecutorId>,
    /// As what each heartbeat was sent that is not answered.
    asked: BTreeMap<RequestKey, ExecutorId>,
    /// The index of the newest set.
    seen: Index,
    /// The attempts that it names.
    named: BTreeMap<AttemptId, bool>,
    /// The highest index of a call that was taken for each attempt.
    called: BTreeMap<AttemptId, Index>,
    told: Option<Told>,
    /// A call is for another registration.
    other: bool,
    /// What it held before.
    held: BTreeMap<AttemptId, AttemptPhase>,
}

/// The rules' memory.
#[derive(Default)]
pub struct Conduct {
    places: Vec<Place>,
}

fn attempt_id(key: Option<&pb::AttemptKey>) -> Option<AttemptId> {
    let key = key?;
    let task = TaskKey { job: JobId::parse(&key.job)?, number: key.number };
    Some(AttemptId { task, epoch: Epoch(key.epoch) })
}

fn serves(agent: &Agent) -> Option<ExecutorId> {
    agent.executor().filter(|_| agent.deadline().is_some())
}

const fn stopping(phase: AttemptPhase) -> bool {
    matches!(phase, AttemptPhase::Stopping | AttemptPhase::Ended)
}

impl Conduct {
    fn place(&mut self, machine: u8, run: u64) -> &mut Place {
        let at = usize::from(machine);
        if self.places.len() <= at {
            self.places.resize_with(at + 1, Place::default);
        }
        let place = &mut self.places[at];
        if place.run != run {
            *place = Place { run, ..Place::default() };
        }
        place
    }

    /// An agent sends a heartbeat.
    pub fn asks(&mut self, (machine, run): (u8, u64), key: RequestKey, executor: u64) {
        self.place(machine, run).asked.insert(key, ExecutorId(executor));
    }

    /// An agent is about to take an input.
    pub fn takes(&mut self, (machine, run): (u8, u64), agent: &Agent, input: &AgentInput) {
        let place = self.place(machine, run);
        let serving = serves(agent);
        if serving != place.serves {
            (place.serves, place.seen) = (serving, Index(0));
            place.named.clear();
            place.called.clear();
        }
        place.other = match input {
            AgentInput::Call { call, .. } => header_of(call).is_some_and(|header| {
                let called = (ExecutorId(header.executor), header.incarnation);
                agent.executor() != Some(called.0) || agent.incarnation().is_none_or(|own| own.0 != called.1)
            }),
            _ => false,
        };
        place.told = match input {
            AgentInput::Reply { key, reply } => {
                let own = place.asked.remove(key).filter(|asked| serving == Some(*asked));
                own.and_then(|_| set_in(reply.as_deref()))
            }
            AgentInput::Call { call, .. } => told_by(call),
            AgentInput::Shutdown => Some(Told::Shutdown),
            AgentInput::Process { .. } | AgentInput::Deadline => None,
        };
        place.held = match place.told {
            Some(_) => agent.attempts().collect(),
            None => BTreeMap::new(),
        };
    }

    /// It answers a call.
    pub fn answers(&mut self, ledger: &mut Ledger, machine: (u8, u64), reply: &pb::ExecutorCallReply) {
        let place = self.place(machine.0, machine.1);
        if matches!(reply.body, None | Some(Answer::Refusal(_))) {
            return place.told = None;
        }
        ledger.hold(Rule::CallOfOther, !place.other, || {
            format!("machine {} takes a call that is for another registration", machine.0)
        });
        let (id, index) = match &place.told {
            Some(Told::Begin(id, index) | Told::Stop(id, index)) => (id.clone(), *index),
            _ => return,
        };
        let over = index <= place.seen && !place.named.contains_key(&id) && !place.held.contains_key(&id);
        if matches!(place.told, Some(Told::Begin(..))) {
            ledger.hold(Rule::OldCall, !over, || {
                format!(
                    "machine {} takes a call for {id} of index {index}; a set of {} does not name it",
                    machine.0, place.seen
                )
            });
        }
        let called = place.called.entry(id).or_default();
        *called = index.max(*called);
    }

    /// It has taken the input, and put all its outputs out.
    pub fn stepped(&mut self, ledger: &mut Ledger, machine: (u8, u64), agent: &Agent) {
        let place = self.place(machine.0, machine.1);
        let Some(told) = place.told.take() else { return };
        if place.serves.is_none() || serves(agent) != place.serves {
            return;
        }
        let held: BTreeMap<AttemptId, AttemptPhase> = agent.attempts().collect();
        let who = machine.0;
        match told {
            Told::Set { index, .. } if index < place.seen => place.older(ledger, who, index, &held),
            Told::Set { index, wanted } => place.newer(ledger, who, index, wanted, &held),
            Told::Stop(id, _) => stops(ledger, who, &id, &held),
            Told::Begin(..) => {}
            Told::Shutdown => {
                for id in held.keys() {
                    stops(ledger, who, id, &held);
                }
            }
        }
    }
}

fn set_in(reply: Option<&pb::ClientReply>) -> Option<Told> {
    let Some(Body::Heartbeat(beat)) = &reply?.body else { return None };
    let named = beat.desired.iter().filter_map(|one| Some((attempt_id(one.attempt.as_ref())?, one.stop)));
    Some(Told::Set { index: Index(beat.index), wanted: named.collect() })
}

fn header_of(call: &pb::ExecutorCall) -> Option<pb::CallHeader> {
    match call.body.as_ref()? {
        Call::PreDispatch(call) => call.header,
        Call::Confirm(call) => call.header,
        Call::Stop(call) => call.header,
    }
}

fn told_by(call: &pb::ExecutorCall) -> Option<Told> {
    let index = |header: &Option<pb::CallHeader>| Index(header.map_or(0, |header| header.index));
    Some(match call.body.as_ref()? {
        Call::PreDispatch(call) => Told::Begin(attempt_id(call.attempt.as_ref())?, index(&call.header)),
        Call::Confirm(call) => Told::Begin(attempt_id(call.attempt.as_ref())?, index(&call.header)),
        Call::Stop(call) => Told::Stop(attempt_id(call.attempt.as_ref())?, index(&call.header)),
    })
}

/// An attempt that is to stop does, if it is held at all.
fn stops(ledger: &mut Ledger, machine: u8, id: &AttemptId, held: &BTreeMap<AttemptId, AttemptPhase>) {
    let phase = held.get(id).copied();
    ledger.hold(Rule::StopObeyed, phase.is_none_or(stopping), || {
        format!("machine {machine} is to stop {id}, and keeps it {phase:?}")
    });
}

impl Place {
    /// A set that is older than one before it changes nothing.
    fn older(
        &self,
        ledger: &mut Ledger,
        machine: u8,
        index: Index,
        held: &BTreeMap<AttemptId, AttemptPhase>,
    ) {
        let brought = held.keys().find(|id| !self.held.contains_key(id));
        let gone = self.held.iter().find(|(id, phase)| {
            **phase == AttemptPhase::Running && held.get(id).is_none_or(|after| after != *phase)
        });
        ledger.hold(Rule::OlderSet, brought.is_none() && gone.is_none(), || {
            format!(
                "machine {machine} has seen the set of {}; that of {index} brings {} and ends {}",
                self.seen,
                brought.map_or_else(|| "nothing".to_owned(), ToString::to_string),
                gone.map_or_else(|| "nothing".to_owned(), |(id, _)| id.to_string())
            )
        });
    }

    /// After any other, what it does not name is ended, unless a later call brought it.
    fn newer(
        &mut self,
        ledger: &mut Ledger,
        machine: u8,
        index: Index,
        wanted: BTreeMap<AttemptId, bool>,
        held: &BTreeMap<AttemptId, AttemptPhase>,
    ) {
        let late = |id: &AttemptId| self.called.get(id).is_some_and(|called| *called > index);
        let left = held
            .iter()
            .find(|(id, phase)| !wanted.contains_key(id) && !late(id) && **phase != AttemptPhase::Stopping);
        ledger.hold(Rule::Undesired, left.is_none(), || {
            let kept = left.map_or_else(String::new, |(id, phase)| format!("{id} {phase:?}"));
            format!("machine {machine} keeps {kept}; the set of {index} does not name it")
        });
        for (id, _) in wanted.iter().filter(|(_, stop)| **stop) {
            stops(ledger, machine, id, held);
        }
        (self.seen, self.named) = (index, wanted);
    }
}

#[cfg(test)]
#[path = "conduct_tests.rs"]
mod tests;
