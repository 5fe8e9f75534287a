//! How masters take inputs: one at a time or in batches, at once or when a slow processor comes to them.

use super::{Event, MICROSECOND, World};
use crate::{
    draw::{Purpose, draw, within},
    marks::SimMark,
    network::Endpoint,
    oracle::{Rule, room},
};
use quorate_core::{Input, Node, limits::TURN_INPUTS, raft::Role};
use quorate_proto::v1 as pb;

/// Inputs that a paused process finds when it goes on; what is over was dropped by the system.
const HELD_INPUTS: usize = 20_000;

/// Inputs that a master takes together: it is fed with each as it comes, and a step ends them, as drivers do it.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// From 1 on, in each run.
    pub number: u64,
    /// So many are in it.
    pub inputs: usize,
}

impl World {
    pub(super) fn step_master(&mut self, at: usize, input: Input) {
        let master = &mut self.masters[at];
        if master.node.is_none() {
            return;
        }
        if master.pauses > 0 {
            if master.held.len() < HELD_INPUTS {
                self.marks.hit(SimMark::PauseHeld);
                master.held.push(input);
            }
            return;
        }
        let slow = master.steps.iter().map(|(_, time)| *time).max().unwrap_or(0);
        if slow > 0 || master.busy_until > self.time {
            self.marks.hit_if(master.busy_until > self.time, SimMark::SlowProcessorQueued);
            master.busy_until = master.busy_until.max(self.time) + slow.max(1) * MICROSECOND;
            let event = Event::Step { master: at as u8, run: master.run, input: Box::new(input) };
            return self.queue.push(master.busy_until, event);
        }
        self.take(at, input);
    }

    /// A master comes to an input: it takes it as one of a batch, if it takes batches. A deadline ends the batch.
    fn take(&mut self, at: usize, input: Input) {
        let most = self.plan.masters.batch_most_us(at);
        if matches!(input, Input::Deadline) || (most == 0 && self.masters[at].batch.is_none()) {
            return self.give(at, input, false);
        }
        if self.masters[at].batch.is_none() {
            let batch = self.open_batch(at);
            let run = self.masters[at].run;
            let luck = draw(self.plan.seed, Purpose::Batch, &[at as u64, run, batch.number]);
            let event = Event::BatchEnd { master: at as u8, run, number: batch.number };
            self.queue.push(self.time + within(luck, 0, most) * MICROSECOND, event);
        }
        self.feed(at, input);
        if self.masters[at].batch.is_some_and(|batch| batch.inputs >= TURN_INPUTS) {
            self.marks.hit(SimMark::BatchFull);
            self.end_batch(at);
        }
    }

    fn open_batch(&mut self, at: usize) -> Batch {
        let master = &mut self.masters[at];
        master.batches += 1;
        let batch = Batch { number: master.batches, inputs: 0 };
        master.batch = Some(batch);
        batch
    }

    /// One more input of the batch that is open.
    fn feed(&mut self, at: usize, input: Input) {
        if let Some(batch) = &mut self.masters[at].batch {
            batch.inputs += 1;
        }
        self.give(at, input, true);
    }

    fn end_batch(&mut self, at: usize) {
        let Some(batch) = self.masters[at].batch else { return };
        self.marks.hit_if(batch.inputs > 1, SimMark::BatchOfMany);
        self.line(Endpoint::Master(at as u8), "batch", || format!("of {} inputs", batch.inputs));
        self.give(at, Input::Deadline, false);
    }

    /// The time of a batch is over.
    pub(super) fn batch_ends(&mut self, place: u8, run: u64, number: u64) {
        let at = usize::from(place);
        let master = &self.masters[at];
        let open = master.run == run && master.batch.is_some_and(|batch| batch.number == number);
        if !open || master.pauses > 0 {
            return;
        }
        // What waits for a slow processor belongs to it.
        if master.busy_until > self.time {
            return self.queue.push(master.busy_until, Event::BatchEnd { master: place, run, number });
        }
        self.mark(15, place, run, &[]);
        self.end_batch(at);
    }

    /// The one mutation of a node. `fed`: others follow in the same batch.
    fn give(&mut self, at: usize, input: Input, fed: bool) {
        if self.oracles.is_some() {
            self.takes_state(at, &input);
        }
        let refused = match &input {
            Input::SnapshotChunkRefused { at, number } => Some((*at, *number)),
            _ => None,
        };
        let master = &mut self.masters[at];
        let Some(node) = &mut master.node else { return };
        if !fed {
            master.batch = None;
        }
        (master.led, master.doubted) = (node.raft().role() == Role::Leader, node.doubt());
        let now = master.clock.now(self.time);
        master.ended_at = node.raft().last_index();
        master.handed_over = node.raft().transferring().is_some();
        master.short = room::without_room(node.state()).next().is_some();
        if let Some(oracles) = &mut self.oracles {
            oracles.contact.takes(master, now.time, &input);
            oracles.logs.takes(master, &input, &self.plan.masters);
            oracles.held.takes(master, &input);
        }
        let Some(node) = &mut master.node else { return };
        if let Some(tape) = &mut master.tape {
            if fed { tape.fed(now, &input) } else { tape.input(now, &input) }
        }
        let mut step = |input| if fed { node.feed(now, input) } else { node.step(now, input) };
        match &mut self.cost {
            Some(cost) => {
                let mut input = Some(input);
                cost.step(self.time, || {
                    if let Some(input) = input.take() {
                        step(input);
                    }
                });
            }
            None => step(input),
        }
        if let (Some(refused), Some(node)) = (refused, &self.masters[at].node) {
            let (id, waits) = (at + 1, node.raft().storing() == Some(refused));
            self.ledger.hold(Rule::RefusedHeard, !waits, || format!("node {id} waits for chunk {refused:?}"));
        }
        self.stepped(at);
    }

    /// A slow processor has come to an input.
    pub(super) fn slow_step(&mut self, place: u8, run: u64, input: Input) {
        let at = usize::from(place);
        let master = &mut self.masters[at];
        if master.node.is_none() || master.run != run {
            return;
        }
        if master.pauses > 0 {
            return master.held.push(input);
        }
        self.mark(14, place, run, &[]);
        self.take(at, input);
    }

    /// A paused process goes on: what came is taken as drivers do, writes and control messages first, in batches. All that is
    /// urgent is in the first.
    pub(super) fn resume_master(&mut self, at: usize) {
        let mut held = core::mem::take(&mut self.masters[at].held);
        held.sort_by_key(lane_of);
        let master = &self.masters[at];
        if !master.steps.is_empty() || master.busy_until > self.time {
            for input in held {
                self.step_master(at, input);
            }
            return self.step_master(at, Input::Deadline);
        }
        let urgent = held.iter().filter(|input| lane_of(input) < CLIENTS).count();
        let mut most = urgent.max(TURN_INPUTS);
        let run = master.run;
        for input in held {
            let inputs = self.masters[at].batch.map_or(0, |batch| batch.inputs);
            if inputs >= most {
                most = TURN_INPUTS;
                self.end_batch(at);
            }
            // It may have stopped.
            if self.masters[at].node.is_none() || self.masters[at].run != run {
                return;
            }
            if self.masters[at].batch.is_none() {
                self.open_batch(at);
            }
            self.feed(at, input);
        }
        self.marks.hit_if(self.masters[at].batch.is_some_and(|batch| batch.inputs > 1), SimMark::PauseBatch);
        self.give(at, Input::Deadline, false);
    }

    pub(super) fn master_wakes(&mut self, place: u8) {
        let at = usize::from(place);
        let master = &mut self.masters[at];
        if master.wake > self.time {
            return;
        }
        master.wake = u64::MAX;
        // What is due is done at the end of the batch.
        let takes = master.pauses == 0 && master.batch.is_none();
        let Some(node) = master.node.as_ref().filter(|_| takes) else { return };
        // Deadlines move while their event waits.
        let due = node.next_deadline().filter(|(time, _)| *time <= master.clock.local(self.time));
        if let Some((_, why)) = due {
            self.mark(4, place, 0, &[]);
            self.line(Endpoint::Master(place), "deadline", || format!("{why:?}").to_lowercase());
            self.step_master(at, Input::Deadline);
        } else {
            self.arm_master(at);
        }
    }

    pub(super) fn arm_master(&mut self, at: usize) {
        self.caused_by_input();
        let master = &mut self.masters[at];
        if master.batch.is_some() {
            return;
        }
        let Some((deadline, _)) = master.node.as_ref().and_then(Node::next_deadline) else { return };
        let wake = master.clock.true_time(deadline).max(self.time);
        if wake < master.wake {
            master.wake = wake;
            self.queue.push(wake, Event::Wake { master: at as u8 });
        }
    }

    /// Takes a node's outputs, and lets the oracles look.
    pub(super) fn stepped(&mut self, at: usize) {
        self.ledger.step += 1;
        self.follow_members(at);
        self.follow_level(at);
        // Taken out: a node that stops ends its run while its outputs are carried out.
        let mut tape = self.masters[at].tape.take();
        while let Some(output) = self.masters[at].node.as_mut().and_then(Node::poll_output) {
            if let Some(tape) = &mut tape {
                tape.output(&output);
            }
            self.output(at, output);
        }
        if let Some(mut tape) = tape {
            tape.end();
            let master = &mut self.masters[at];
            master.tape = master.node.is_some().then_some(tape);
        }
        self.caught_is_quiet(at);
        if self.oracles.is_some() {
            self.leads_rightly(at);
        }
        if let Some(oracles) = &mut self.oracles {
            oracles.consensus.stepped(&mut self.ledger, &mut oracles.reference, &self.masters, at);
            let master = &self.masters[at];
            let now = master.clock.local(self.time);
            oracles.contact.stepped(&mut self.ledger, master, now, &self.plan.masters.timing());
            let plan = &self.plan.masters;
            let uncommitted = plan.flow(at).uncommitted_bytes;
            oracles.logs.stepped(&mut self.ledger, master, now, plan, uncommitted);
            oracles.held.stepped(master, now, plan.timing().election_max);
            room::stepped(&mut self.ledger, master);
            for claim in core::mem::take(&mut oracles.reference.jobs.claims) {
                oracles.truth.claimed(&mut self.ledger, &claim);
            }
            for executor in core::mem::take(&mut oracles.reference.jobs.departed) {
                oracles.truth.departed(&mut self.ledger, executor);
            }
            for event in oracles.reference.news.drain(..) {
                self.latency.happened(&event, self.time);
            }
        }
        self.watch_new_leader(at);
        self.arm_master(at);
    }
}

/// The lane of what clients ask.
const CLIENTS: u8 = 2;

/// Finished writes and control messages, keep-alives, clients.
fn lane_of(input: &Input) -> u8 {
    match input {
        Input::Request { request, .. } => {
            let keeps = matches!(
                request.body,
                Some(pb::client_request::Body::Heartbeat(_) | pb::client_request::Body::KeepSession(_))
            );
            if keeps { 1 } else { CLIENTS }
        }
        _ => 0,
    }
}
