//! What runs: processes start and end, guards look at their deadlines, machines freeze and go on.

use super::{Event, MILLISECOND, World};
use crate::{
    draw::{Purpose, again, chance, draw, within},
    executor::Process,
    marks::SimMark,
    network::Endpoint,
    oracle::{Rule, truth::Seen},
    plan::Behaviour,
};
use quorate_core::{
    agent::{Agent, AgentInput, ProcessEvent},
    types::{AttemptId, Index, Time},
};
use quorate_proto::v1 as pb;

const SIGTERM: i32 = 15;
/// Processes that answer the request to end with exit code 0, parts in a million.
const POLITE_PPM: u64 = 400_000;
pub(super) const SIGKILL: i32 = 9;

fn stopped(code: i32) -> ProcessEvent {
    ProcessEvent::Ended { end: pb::AttemptEnd::Stopped, code, message: String::new() }
}

impl World {
    pub(super) fn start_process(
        &mut self,
        at: usize,
        attempt: AttemptId,
        specification: &pb::JobSpecification,
        deadline: Time,
    ) {
        let place = at as u8;
        self.serial += 1;
        let serial = self.serial;
        if let Some(oracles) = &mut self.oracles {
            let slots = specification.slots_per_task.max(1);
            oracles.truth.start(&mut self.ledger, place, &attempt, slots);
            oracles.truth.deadline(&mut self.ledger, place, deadline, self.executors[at].lease_until);
        }
        let run = self.executors[at].run;
        let older = |process: &&Process| {
            process.run == run && process.attempt.task == attempt.task && process.attempt < attempt
        };
        let older = self.executors[at].processes.values().find(older);
        self.ledger.hold(Rule::OldEndsFirst, older.is_none(), || {
            format!("machine {at} starts {attempt} beside {:?}", older.map(|older| &older.attempt))
        });
        self.mark(27, place, serial, attempt.to_string().as_bytes());
        self.line(Endpoint::Executor(place), "spawn", || format!("{attempt} until {deadline:?}"));
        let job = attempt.task.job.as_str().bytes().fold(0, |hash, byte| again(hash, u64::from(byte)));
        let luck =
            draw(self.plan.seed, Purpose::Process, &[job, u64::from(attempt.task.number), attempt.epoch.0]);
        let behaviour = Behaviour::of(&specification.argv, luck);
        let process = Process {
            attempt,
            run: self.executors[at].run,
            up: false,
            killed: false,
            asked: false,
            deadline,
            behaviour,
        };
        let executor = &mut self.executors[at];
        executor.processes.insert(serial, process);
        let guard = executor.clock.true_time(deadline).max(self.time);
        let starts = self.time + within(again(luck, 4), 1, 20) * MILLISECOND;
        self.queue.push(starts, Event::ProcessUp { executor: place, serial });
        self.queue.push(guard, Event::Guard { executor: place, serial });
    }

    pub(super) fn extend(&mut self, at: usize, deadline: Time) {
        let executor = &mut self.executors[at];
        if let Some(oracles) = &mut self.oracles {
            oracles.truth.deadline(&mut self.ledger, at as u8, deadline, executor.lease_until);
        }
        for process in executor.processes.values_mut().filter(|process| process.run == executor.run) {
            process.deadline = deadline;
        }
    }

    pub(super) fn process_up(&mut self, place: u8, serial: u64) {
        let executor = &mut self.executors[usize::from(place)];
        let Some(process) = executor.processes.get_mut(&serial).filter(|process| !process.killed) else {
            return;
        };
        let Behaviour { unstartable, runs_ms, end, code, message, .. } = process.behaviour.clone();
        if unstartable {
            return self.not_started(place, serial, message);
        }
        process.up = true;
        self.marks.hit_if(code != 0, SimMark::ProcessFailed);
        self.marks.hit_if(end == pb::AttemptEnd::Signaled, SimMark::ProcessSignaled);
        let (attempt, ends) = (process.attempt.clone(), self.time + runs_ms * MILLISECOND);
        let id = executor.agent.as_ref().and_then(Agent::executor);
        self.mark(28, place, serial, &[]);
        self.line(Endpoint::Executor(place), "up", || attempt.to_string());
        self.count("process started");
        if let Some(oracles) = &mut self.oracles {
            // Epochs are given in order of the log.
            let created = oracles.reference.jobs.created(attempt.task.job.as_str(), Index(attempt.epoch.0));
            let seen = Seen { serial, machine: place, executor: id, slots: self.plan.executors.slots };
            oracles.truth.up(&mut self.ledger, seen, &attempt, created);
        }
        let event = ProcessEvent::Ended { end, code, message };
        self.queue.push(ends, Event::ProcessEnd { executor: place, serial, event });
        self.tell_process(place, serial, ProcessEvent::Started);
    }

    fn not_started(&mut self, place: u8, serial: u64, message: String) {
        let at = usize::from(place);
        let Some(process) = self.executors[at].processes.remove(&serial) else { return };
        self.marks.hit(SimMark::ProcessUnstartable);
        self.mark(31, place, serial, &[]);
        self.line(Endpoint::Executor(place), "not started", || process.attempt.to_string());
        if process.run == self.executors[at].run {
            let event = ProcessEvent::NotStarted { message };
            self.step_agent(at, AgentInput::Process { attempt: process.attempt, event });
        }
    }

    fn tell_process(&mut self, place: u8, serial: u64, event: ProcessEvent) {
        let at = usize::from(place);
        let executor = &self.executors[at];
        let Some(process) = executor.processes.get(&serial).filter(|process| process.run == executor.run)
        else {
            return;
        };
        let attempt = process.attempt.clone();
        self.step_agent(at, AgentInput::Process { attempt, event });
    }

    pub(super) fn process_end(&mut self, place: u8, serial: u64, event: ProcessEvent) {
        let at = usize::from(place);
        let Some(process) = self.executors[at].processes.remove(&serial) else { return };
        self.mark(29, place, serial, &[]);
        self.line(Endpoint::Executor(place), "down", || format!("{} {event:?}", process.attempt));
        if let Some(oracles) = &mut self.oracles {
            oracles.truth.down(serial);
            // Whatever it says after it was asked to end is no result.
            if let (ProcessEvent::Ended { end: pb::AttemptEnd::Exited, code, .. }, false) =
                (&event, process.asked)
            {
                oracles.truth.exited(&process.attempt, *code);
            }
        }
        if process.run == self.executors[at].run {
            self.step_agent(at, AgentInput::Process { attempt: process.attempt, event });
        }
    }

    pub(super) fn terminate(&mut self, place: u8, serial: u64) {
        let executor = &mut self.executors[usize::from(place)];
        let slow = executor.drains.iter().map(|(_, by_ms)| *by_ms).max();
        let Some(process) = executor.processes.get_mut(&serial) else { return };
        self.marks.hit_if(process.behaviour.stubborn, SimMark::ProcessStubborn);
        if process.asked || process.behaviour.stubborn {
            return;
        }
        process.asked = true;
        self.marks.hit_if(slow.is_some(), SimMark::DrainSlow);
        let luck = draw(self.plan.seed, Purpose::KillTime, &[serial, 1]);
        let wait = (within(luck, 1, 100) + slow.unwrap_or(0)) * MILLISECOND;
        let polite = chance(again(luck, 1), POLITE_PPM);
        self.marks.hit_if(polite, SimMark::ProcessPolite);
        let exits = ProcessEvent::Ended { end: pb::AttemptEnd::Exited, code: 0, message: String::new() };
        let event = if polite { exits } else { stopped(SIGTERM) };
        self.queue.push(self.time + wait, Event::ProcessEnd { executor: place, serial, event });
    }

    /// Kills all below a guard, which takes its time, but no more than was promised.
    pub(super) fn kill(&mut self, place: u8, serial: u64, signal: i32) {
        let executor = &mut self.executors[usize::from(place)];
        let slow = !executor.drains.is_empty();
        let Some(process) = executor.processes.get_mut(&serial).filter(|process| !process.killed) else {
            return;
        };
        process.killed = true;
        let most = self.plan.executors.lease_ms[3] * MILLISECOND * 9 / 10;
        let least = if slow { most } else { 1 };
        let wait = within(draw(self.plan.seed, Purpose::KillTime, &[serial, 2]), least, most);
        let event = stopped(signal);
        self.queue.push(self.time + wait, Event::ProcessEnd { executor: place, serial, event });
    }

    pub(super) fn guard_looks(&mut self, place: u8, serial: u64) {
        let executor = &self.executors[usize::from(place)];
        let Some(process) = executor.processes.get(&serial) else { return };
        if process.deadline <= executor.clock.local(self.time) {
            let local = executor.clock.local(self.time);
            let own = process.run == executor.run && executor.pauses == 0;
            let until = executor.agent.as_ref().filter(|_| own).and_then(Agent::deadline);
            self.ledger.hold(Rule::GuardFed, until.is_none_or(|until| until <= local), || {
                format!("machine {place}: a guard kills process {serial} at {local:?}; its agent's lease lasts until {until:?}")
            });
            self.mark(30, place, serial, &[]);
            self.count("killed by its guard");
            self.marks.hit(SimMark::GuardKilled);
            self.line(Endpoint::Executor(place), "guard", || format!("kills process {serial}"));
            self.kill(place, serial, SIGKILL);
        } else {
            let again = executor.clock.true_time(process.deadline);
            self.queue.push(again.max(self.time + 1), Event::Guard { executor: place, serial });
        }
    }

    pub(super) fn freeze(&mut self, place: u8) {
        self.executors[usize::from(place)].freezes += 1;
        if let Some(oracles) = &mut self.oracles {
            oracles.truth.freeze(place);
        }
    }

    /// A machine goes on. The guards whose deadline has passed act before anything else is counted as running.
    pub(super) fn thaw(&mut self, place: u8) {
        let at = usize::from(place);
        self.executors[at].freezes = self.executors[at].freezes.saturating_sub(1);
        if self.executors[at].freezes > 0 {
            return;
        }
        let local = self.executors[at].clock.local(self.time);
        let late = |process: &Process| process.killed || process.deadline <= local;
        let ended: Vec<u64> = self.executors[at]
            .processes
            .iter()
            .filter(|(_, process)| late(process))
            .map(|(serial, _)| *serial)
            .collect();
        self.marks.hit_if(!ended.is_empty(), SimMark::FrozenOutlived);
        // Their ends are told after what waited; they run no more from here on.
        for serial in ended {
            if let Some(oracles) = &mut self.oracles {
                oracles.truth.down(serial);
            }
            self.queue
                .push(self.time, Event::ProcessEnd { executor: place, serial, event: stopped(SIGKILL) });
            if let Some(process) = self.executors[at].processes.get_mut(&serial) {
                process.killed = true;
            }
        }
        if let Some(oracles) = &mut self.oracles {
            oracles.truth.thaw(&mut self.ledger, place);
        }
        for event in core::mem::take(&mut self.executors[at].frozen) {
            self.queue.push(self.time, event);
        }
        // Perhaps its pause ended while the machine stood still.
        if self.executors[at].pauses == 0 {
            self.resume_agent(at);
        }
    }
}
