//! The data of a timeline, in columns: small, and read in one go.

use crate::{
    plan::Plan,
    record::{Actor, Fate, Recording},
    run::Outcome,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A timeline shows so many events at most: the last ones.
const EVENTS_MAX: usize = 250_000;

/// Texts, each once.
#[derive(Default)]
struct Texts<'a> {
    places: BTreeMap<&'a str, usize>,
    all: Vec<&'a str>,
}

impl<'a> Texts<'a> {
    fn place(&mut self, text: &'a str) -> usize {
        *self.places.entry(text).or_insert_with(|| {
            self.all.push(text);
            self.all.len() - 1
        })
    }
}

/// Everything that the page needs.
pub(super) fn columns(plan: &Plan, outcome: &Outcome, recording: &Recording, command: &str) -> Value {
    let first = recording.events.len().saturating_sub(EVENTS_MAX);
    let mut texts = Texts::default();
    let lane = |actor: Actor| recording.actors.iter().position(|other| *other == actor).unwrap_or(0);
    let events = events(recording, first, &lane, &mut texts);
    let clients = clients(recording, &mut texts);
    let executors = executors(recording, &mut texts);
    let bands = bands(recording, &lane);
    json!({
        "violation": outcome.violation.as_ref().map(|violation| json!({
            "rule": violation.rule.name(),
            "message": violation.message,
            "step": violation.step,
        })),
        "seed": plan.seed.to_string(),
        "hash": format!("{:016x}", outcome.hash),
        "command": command,
        "left_out": first,
        "end": recording.end,
        "settle": plan.duration_ms * 1_000_000,
        "actors": recording.actors.iter().map(|actor| actor_of(*actor)).collect::<Vec<_>>(),
        "events": events,
        "messages": messages(recording, first, &lane),
        "bands": bands,
        "masters": masters(recording),
        "executors": executors,
        "clients": clients,
        "texts": texts.all,
    })
}

fn actor_of(actor: Actor) -> Value {
    let (kind, place) = match actor {
        Actor::Cluster => ("cluster", 0),
        Actor::Master(place) => ("master", place),
        Actor::Executor(place) => ("executor", place),
        Actor::Client(place) => ("client", place),
    };
    let name = if actor == Actor::Cluster { "cluster".to_owned() } else { actor.to_string() };
    json!({ "kind": kind, "place": place, "name": name })
}

fn events<'a>(
    recording: &'a Recording,
    first: usize,
    lane: &impl Fn(Actor) -> usize,
    texts: &mut Texts<'a>,
) -> Value {
    let events = recording.events.get(first..).unwrap_or_default();
    let mut kinds = Texts::default();
    let mut last = 0;
    let mut columns: [Vec<u64>; 7] = Default::default();
    for (id, event) in (first..).zip(events) {
        let cause = event.cause.filter(|&cause| cause as usize >= first);
        let (term, commit) = event.raft.unwrap_or_default();
        let row = [
            event.time - last,
            lane(event.actor) as u64,
            kinds.place(event.kind) as u64,
            texts.place(&event.text) as u64,
            cause.map_or(0, |cause| id as u64 - u64::from(cause)),
            term,
            commit,
        ];
        last = event.time;
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let [time, actor, kind, text, cause, term, commit] = columns;
    json!({
        "time": time, "actor": actor, "kind": kind, "text": text, "cause": cause, "term": term,
        "commit": commit, "kinds": kinds.all,
    })
}

/// Fates are 0 = lost, 1 = dropped, 2 = still travels, 3 = received; then the event that took it.
fn messages(recording: &Recording, first: usize, lane: &impl Fn(Actor) -> usize) -> Value {
    let mut columns: [Vec<i64>; 5] = Default::default();
    for message in recording.messages.iter().filter(|message| message.from as usize >= first) {
        let sent = recording.events.get(message.from as usize).map_or(0, |event| event.time);
        let (fate, by) = match message.fate {
            Fate::Lost => (0, -1),
            Fate::Dropped => (1, -1),
            Fate::Travels => (2, -1),
            Fate::Received(by) => (3, i64::from(by) - first as i64),
        };
        let row = [
            i64::from(message.from) - first as i64,
            message.to.map_or(-1, |to| lane(to) as i64),
            message.arrives.saturating_sub(sent) as i64,
            fate,
            by,
        ];
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let [from, to, takes, fate, by] = columns;
    json!({ "from": from, "to": to, "takes": takes, "fate": fate, "by": by })
}

fn bands(recording: &Recording, lane: &impl Fn(Actor) -> usize) -> Value {
    let band = |band: &crate::record::Band| {
        let touches: Vec<usize> = band.touches.iter().map(|actor| lane(*actor)).collect();
        json!({
            "from": band.from, "to": band.to, "name": band.name.replace('_', " "), "text": band.text,
            "touches": touches, "effective": band.effective,
        })
    };
    recording.bands.iter().map(band).collect()
}

/// Rows of time, up, paused, gone, role, term, leader, commit, applied, durable, last.
fn masters(recording: &Recording) -> Value {
    let row = |(time, state): &(u64, crate::record::MasterState)| {
        let role = match state.role {
            "leader" => 3,
            "candidate" => 2,
            "follower" => 1,
            _ => 0,
        };
        json!([
            time,
            u8::from(state.up),
            u8::from(state.paused),
            u8::from(state.gone),
            role,
            state.term,
            state.leader,
            state.commit,
            state.applied,
            state.durable,
            state.last
        ])
    };
    recording.masters.iter().map(|states| states.iter().map(row).collect::<Value>()).collect()
}

/// Rows of time, up, paused, fenced, id, end of lease, attempts that run.
fn executors<'a>(recording: &'a Recording, texts: &mut Texts<'a>) -> Value {
    let mut all = Vec::new();
    for states in &recording.executors {
        let mut rows = Vec::new();
        for (time, state) in states {
            let runs: Vec<usize> = state.runs.iter().map(|run| texts.place(run)).collect();
            let flags = [state.up, state.paused, state.fenced].map(u8::from);
            rows.push(json!([time, flags[0], flags[1], flags[2], state.id, state.lease, runs]));
        }
        all.push(rows);
    }
    json!(all)
}

/// Rows of begin, end (-1: none), request, answer, whether the client gave up.
fn clients<'a>(recording: &'a Recording, texts: &mut Texts<'a>) -> Value {
    let mut all = Vec::new();
    for operations in &recording.clients {
        let mut rows = Vec::new();
        for operation in operations {
            let (request, answer) = (texts.place(&operation.request), texts.place(&operation.answer));
            let to = operation.to.map_or(-1, |to| to as i64);
            rows.push(json!([operation.from, to, request, answer, u8::from(operation.unknown)]));
        }
        all.push(rows);
    }
    json!(all)
}
