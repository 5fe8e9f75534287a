//! What really runs: simulated processes under their guards. They live outside of the machine that madsim kills and pauses,
//! because a guard outlives its agent.

use super::{
    executors::Happens,
    stage::{MILLISECOND, Stage, World},
};
use crate::{
    draw::{Purpose, again, within},
    executor::Process,
    oracle::{Rule, truth::Seen},
    plan::Behaviour,
};
use quorate_core::{
    agent::{AgentInput, ProcessEvent},
    types::{AttemptId, Index, Time},
};
use quorate_net::rt::{Notify, select};
use quorate_proto::v1 as pb;
use std::sync::Arc;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// What an agent orders for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Terminate,
    Kill,
}

/// A process with its guard.
pub(super) struct Running {
    pub(super) machine: usize,
    pub(super) process: Process,
    /// When it is up.
    starts: u64,
    /// When it ends, and how; the earliest counts.
    ends: Option<(u64, ProcessEvent)>,
    /// Its times are others.
    changed: Arc<Notify>,
}

fn stopped(code: i32) -> ProcessEvent {
    ProcessEvent::Ended { end: pb::AttemptEnd::Stopped, code, message: String::new() }
}

impl Running {
    fn end(&mut self, at: u64, event: ProcessEvent) {
        if self.ends.as_ref().is_none_or(|(ends, _)| at < *ends) {
            self.ends = Some((at, event));
        }
        self.changed.notify_one();
    }
}

impl Stage {
    /// An agent starts an attempt.
    pub(super) fn start_process(
        &self,
        place: usize,
        attempt: AttemptId,
        specification: &pb::JobSpecification,
        deadline: Time,
    ) {
        let mut guard = self.world();
        let world = &mut *guard;
        world.truth.start(&mut world.ledger, place as u8, &attempt, specification.slots_per_task.max(1));
        world.truth.deadline(&mut world.ledger, place as u8, deadline, world.executors[place].lease_until);
        world.tell_executor(place, "spawn", || format!("{attempt} until {deadline:?}"));
        world.serial += 1;
        let serial = world.serial;
        let job = attempt.task.job.as_str().bytes().fold(0, |hash, byte| again(hash, u64::from(byte)));
        let luck = world.draw(Purpose::Process, &[job, u64::from(attempt.task.number), attempt.epoch.0]);
        let behaviour = Behaviour::of(&specification.argv, luck);
        let process = Process {
            attempt,
            run: world.executors[place].run,
            up: false,
            killed: false,
            asked: false,
            deadline,
            behaviour,
        };
        let starts = world.time() + within(again(luck, 4), 1, 20) * MILLISECOND;
        let running =
            Running { machine: place, process, starts, ends: None, changed: Arc::new(Notify::new()) };
        world.processes.insert(serial, running);
        let reality = world.reality.clone();
        drop(guard);
        if let Some(reality) = reality {
            reality.spawn(self.clone().live(serial));
        }
    }

    async fn live(self, serial: u64) {
        loop {
            let (next, changed) = {
                let world = self.world();
                let Some(running) = world.processes.get(&serial) else { return };
                (world.next_turn(running), Arc::clone(&running.changed))
            };
            match next {
                Some(next) => select! {
                    biased;
                    () = changed.notified() => {}
                    () = self.until(next) => {}
                },
                None => changed.notified().await,
            }
            self.world().turn(serial);
        }
    }
}

impl World {
    /// When something is due. `None`: the machine stands still.
    fn next_turn(&self, running: &Running) -> Option<u64> {
        let machine = &self.executors[running.machine];
        if machine.freezes > 0 {
            return None;
        }
        let process = &running.process;
        let guard = if process.killed { u64::MAX } else { machine.clock.true_time(process.deadline) };
        let starts = if process.up || process.killed { u64::MAX } else { running.starts };
        let ends = running.ends.as_ref().map_or(u64::MAX, |(at, _)| *at);
        Some(guard.min(starts).min(ends))
    }

    fn turn(&mut self, serial: u64) {
        let now = self.time();
        let Some(running) = self.processes.get(&serial) else { return };
        let machine = &self.executors[running.machine];
        if machine.freezes > 0 {
            return;
        }
        let process = &running.process;
        let late = machine.clock.local(now) >= process.deadline && !process.killed;
        let starts = !process.up && !process.killed && running.starts <= now;
        if let Some((_, event)) = running.ends.clone().filter(|(at, _)| *at <= now) {
            self.down(serial, event);
        } else if late {
            self.count("killed by its guard");
            self.kill(serial);
        } else if starts {
            self.up(serial);
        }
    }

    fn up(&mut self, serial: u64) {
        let now = self.time();
        let Some(running) = self.processes.get_mut(&serial) else { return };
        let Behaviour { unstartable, runs_ms, end, code, message, .. } = running.process.behaviour.clone();
        if unstartable {
            self.tell_agent(serial, ProcessEvent::NotStarted { message });
            self.processes.remove(&serial);
            return;
        }
        running.process.up = true;
        let (at, ends) = (running.machine, now + runs_ms * MILLISECOND);
        running.end(ends, ProcessEvent::Ended { end, code, message });
        let attempt = running.process.attempt.clone();
        self.count("process started");
        self.tell_executor(at, "up", || attempt.to_string());
        // Epochs are given in order of the log.
        let created = self.commits.reference.jobs.created(attempt.task.job.as_str(), Index(attempt.epoch.0));
        let (executor, slots) = (self.executors[at].id, self.plan.executors.slots);
        let seen = Seen { serial, machine: at as u8, executor, slots };
        self.truth.up(&mut self.ledger, seen, &attempt, created);
        self.tell_agent(serial, ProcessEvent::Started);
    }

    fn down(&mut self, serial: u64, event: ProcessEvent) {
        let Some(running) = self.processes.get(&serial) else { return };
        let (at, attempt) = (running.machine, running.process.attempt.clone());
        self.tell_executor(at, "down", || format!("{attempt} {event:?}"));
        self.truth.down(serial);
        self.tell_agent(serial, event);
        self.processes.remove(&serial);
    }

    fn tell_agent(&self, serial: u64, event: ProcessEvent) {
        let Some(running) = self.processes.get(&serial) else { return };
        let machine = &self.executors[running.machine];
        if machine.run != running.process.run {
            return;
        }
        if let Some(inbox) = &machine.inbox {
            let attempt = running.process.attempt.clone();
            // It may have ended.
            let _ = inbox.send(Happens::Input(AgentInput::Process { attempt, event }));
        }
    }

    /// Kills all below a guard, which takes its time, but no more than was promised.
    fn kill(&mut self, serial: u64) {
        let now = self.time();
        let most = self.plan.executors.lease_ms[3] * MILLISECOND;
        let wait = within(self.draw(Purpose::KillTime, &[serial, 2]), 1, most * 9 / 10);
        let Some(running) = self.processes.get_mut(&serial).filter(|running| !running.process.killed) else {
            return;
        };
        running.process.killed = true;
        running.end(now + wait, stopped(SIGKILL));
    }

    /// What an agent orders.
    pub(super) fn order(&mut self, place: usize, attempt: &AttemptId, order: Order) {
        self.tell_executor(place, "order", || format!("{order:?} {attempt}"));
        let now = self.time();
        for serial in self.serials_of(place, attempt) {
            if order == Order::Kill {
                self.kill(serial);
                continue;
            }
            let wait = within(self.draw(Purpose::KillTime, &[serial, 1]), 1, 100) * MILLISECOND;
            let Some(running) = self.processes.get_mut(&serial) else { continue };
            if !running.process.asked && !running.process.behaviour.stubborn {
                running.process.asked = true;
                running.end(now + wait, stopped(SIGTERM));
            }
        }
    }

    fn serials_of(&self, place: usize, attempt: &AttemptId) -> Vec<u64> {
        let run = self.executors[place].run;
        let own = |running: &Running| {
            running.machine == place && running.process.run == run && running.process.attempt == *attempt
        };
        self.processes.iter().filter(|(_, running)| own(running)).map(|(serial, _)| *serial).collect()
    }

    /// An agent tells its guards a deadline.
    pub(super) fn extend(&mut self, place: usize, deadline: Time) {
        let (run, lease) = (self.executors[place].run, self.executors[place].lease_until);
        self.truth.deadline(&mut self.ledger, place as u8, deadline, lease);
        let own = |running: &&mut Running| running.machine == place && running.process.run == run;
        for running in self.processes.values_mut().filter(own) {
            running.process.deadline = deadline;
            running.changed.notify_one();
        }
    }

    /// An agent forgets an attempt.
    pub(super) fn forget(&mut self, place: usize, attempt: &AttemptId) {
        let left = self.serials_of(place, attempt);
        self.ledger.hold(Rule::Contract, left.is_empty(), || {
            format!("machine {place} forgets {attempt}, which still runs")
        });
    }

    /// An agent's process is gone: its guards see their pipes close, and kill.
    pub(super) fn agent_ended(&mut self, place: usize, run: u64) {
        let own = |running: &Running| running.machine == place && running.process.run == run;
        let serials: Vec<u64> =
            self.processes.iter().filter(|(_, running)| own(running)).map(|(serial, _)| *serial).collect();
        for serial in serials {
            self.kill(serial);
        }
    }

    /// A machine goes on. What its guards kill at once is not counted as running.
    pub(super) fn thaw(&mut self, place: usize) {
        let local = self.executors[place].clock.local(self.time());
        let here = self.processes.iter().filter(|(_, running)| running.machine == place);
        let late = here.filter(|(_, running)| running.process.killed || running.process.deadline <= local);
        let serials: Vec<u64> = late.map(|(serial, _)| *serial).collect();
        for serial in serials {
            self.down(serial, stopped(SIGKILL));
        }
        self.truth.thaw(&mut self.ledger, place as u8);
        self.tell_executor(place, "thaws", String::new);
        for running in self.processes.values().filter(|running| running.machine == place) {
            running.changed.notify_one();
        }
    }
}

impl Stage {
    /// Executors that the cluster has given up since this was asked last: nothing of them may run.
    pub(super) fn departures(&self, world: &mut World) {
        for executor in core::mem::take(&mut world.commits.reference.jobs.departed) {
            world.truth.departed(&mut world.ledger, executor);
        }
    }
}
