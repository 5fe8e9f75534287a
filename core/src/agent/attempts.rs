//! The attempts that an agent holds, and where each stands.

use super::{AgentOutput, ProcessEvent};
use crate::{
    bug::{self, Bug},
    limits,
    mark::{self, Mark},
    types::{AttemptId, Epoch, Index, TaskKey, Time},
};
use core::time::Duration;
use quorate_proto::v1 as pb;
use std::collections::{BTreeMap, VecDeque};

/// One attempt.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    stand: Stand,
    slots: u32,
    stop_timeout: Duration,
    specification: Option<Box<pb::JobSpecification>>,
    /// The newest log index at which it is known to be desired. An older set that does not name it says nothing.
    pub(super) index: Index,
    /// The newest set that could, names it. If not, it is forgotten once its processes have ended.
    named: bool,
    /// `Start` was put out.
    started: bool,
    /// It was asked to end before it did.
    stopped: bool,
}

#[derive(Clone, Debug)]
enum Stand {
    /// Nothing of it runs. Forgotten at this time, unless it is confirmed: then it starts as soon as it may.
    Parked {
        until: Time,
        confirmed: bool,
    },
    Starting,
    Running,
    Terminating {
        kill_at: Time,
    },
    Killed,
    Ended {
        end: pb::AttemptEnd,
        code: i32,
        message: String,
    },
}

impl Attempt {
    fn is_live(&self) -> bool {
        match self.stand {
            Stand::Starting | Stand::Running | Stand::Terminating { .. } | Stand::Killed => true,
            Stand::Parked { .. } | Stand::Ended { .. } => false,
        }
    }

    fn is_ended(&self) -> bool {
        matches!(self.stand, Stand::Ended { .. })
    }

    pub(super) fn phase(&self) -> pb::AttemptPhase {
        match self.stand {
            // A started attempt runs only when its guard says so.
            Stand::Parked { .. } | Stand::Starting => pb::AttemptPhase::Parked,
            Stand::Running => pb::AttemptPhase::Running,
            Stand::Terminating { .. } | Stand::Killed => pb::AttemptPhase::Stopping,
            Stand::Ended { .. } => pb::AttemptPhase::Ended,
        }
    }

    fn report(&self, id: &AttemptId) -> pb::AttemptReport {
        let attempt =
            pb::AttemptKey { job: id.task.job.to_string(), number: id.task.number, epoch: id.epoch.0 };
        let mut report =
            pb::AttemptReport { attempt: Some(attempt), phase: self.phase().into(), ..Default::default() };
        if let Stand::Ended { end, code, message } = &self.stand {
            report.end = (*end).into();
            report.code = *code;
            report.message.clone_from(message);
        }
        report
    }

    fn end(&mut self, end: pb::AttemptEnd, code: i32, message: &str) {
        let mut cut = message.len().min(limits::MESSAGE_BYTES);
        mark::hit_if(cut < message.len(), Mark::MessageCut);
        while !message.is_char_boundary(cut) {
            cut -= 1;
        }
        self.stand = Stand::Ended { end, code, message: message[..cut].to_owned() };
    }
}

/// The slots that an attempt of this specification takes.
pub(super) fn slots_of(specification: &pb::JobSpecification) -> u32 {
    specification.slots_per_task.max(1)
}

type Outputs = VecDeque<AgentOutput>;

/// All attempts that an agent holds: at most [`limits::HEARTBEAT_REPORTS`].
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    all: BTreeMap<AttemptId, Attempt>,
}

impl Attempts {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AttemptId, &Attempt)> {
        self.all.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.all.len() >= limits::HEARTBEAT_REPORTS
    }

    pub(super) fn knows(&self, id: &AttemptId) -> bool {
        self.all.contains_key(id)
    }

    pub(super) fn any_live(&self) -> bool {
        self.all.values().any(Attempt::is_live)
    }

    /// Slots of all that has not ended.
    pub(super) fn slots_used(&self) -> u64 {
        self.all.values().filter(|attempt| !attempt.is_ended()).map(|attempt| u64::from(attempt.slots)).sum()
    }

    /// The newest attempt of a task that is known here.
    pub(super) fn newest(&self, task: &TaskKey) -> Option<Epoch> {
        let (first, last) = (AttemptId { task: task.clone(), epoch: Epoch(0) }, Epoch(u64::MAX));
        let last = AttemptId { task: task.clone(), epoch: last };
        self.all.range(first..=last).next_back().map(|(id, _)| id.epoch)
    }

    /// One report for each attempt.
    pub(super) fn reports(&self) -> Vec<pb::AttemptReport> {
        self.all.iter().map(|(id, attempt)| attempt.report(id)).collect()
    }

    /// When something is due.
    pub(super) fn due(&self) -> Option<Time> {
        let times = self.all.values().filter_map(|attempt| match attempt.stand {
            Stand::Parked { until, confirmed: false } => Some(until),
            Stand::Terminating { kill_at } => Some(kill_at),
            Stand::Parked { .. } | Stand::Starting | Stand::Running | Stand::Killed | Stand::Ended { .. } => {
                None
            }
        });
        times.min()
    }

    /// Parks a new attempt. Older ones of its task are killed.
    pub(super) fn park(
        &mut self,
        id: AttemptId,
        specification: Box<pb::JobSpecification>,
        index: Index,
        until: Time,
        outputs: &mut Outputs,
    ) {
        let first = AttemptId { task: id.task.clone(), epoch: Epoch(0) };
        let older: Vec<AttemptId> = self.all.range(first..id.clone()).map(|(id, _)| id.clone()).collect();
        for older in older {
            if self.all.get(&older).is_some_and(Attempt::is_live) {
                mark::hit(Mark::OlderKilled);
                self.kill(&older, outputs);
            } else if self.all.get(&older).is_some_and(|attempt| !attempt.is_ended()) {
                mark::hit(Mark::OlderUnparked);
                self.all.remove(&older);
            }
        }
        let stop_ms = match specification.stop_timeout_ms {
            0 => limits::STOP_TIMEOUT_MS.1,
            stated => stated.min(limits::STOP_TIMEOUT_MS.0),
        };
        let attempt = Attempt {
            stand: Stand::Parked { until, confirmed: false },
            slots: slots_of(&specification),
            stop_timeout: Duration::from_millis(stop_ms),
            specification: Some(specification),
            index,
            named: true,
            started: false,
            stopped: false,
        };
        self.all.insert(id, attempt);
    }

    /// Notes an attempt that was stopped before it was known: it will never start here.
    pub(super) fn bury(&mut self, id: AttemptId, index: Index) {
        let mut attempt = Attempt {
            stand: Stand::Killed,
            slots: 0,
            stop_timeout: Duration::ZERO,
            specification: None,
            index,
            named: true,
            started: false,
            stopped: true,
        };
        attempt.end(pb::AttemptEnd::Stopped, 0, "stopped before it was started");
        self.all.insert(id, attempt);
    }

    /// A set or call of this log index desires the attempt.
    pub(super) fn desired_at(&mut self, id: &AttemptId, index: Index) {
        if let Some(attempt) = self.all.get_mut(id) {
            attempt.index = attempt.index.max(index);
            attempt.named = true;
        }
    }

    /// Allows a parked attempt to start. It does as soon as nothing of an older attempt is left.
    pub(super) fn confirm(&mut self, id: &AttemptId) {
        if let Some(Attempt { stand: Stand::Parked { confirmed, .. }, .. }) = self.all.get_mut(id) {
            *confirmed = true;
        }
    }

    /// Starts what is confirmed and may start.
    pub(super) fn start_ready(&mut self, now: Time, deadline: Time, outputs: &mut Outputs) {
        if now >= deadline {
            mark::hit(Mark::StartWithoutLease);
            return;
        }
        let ready: Vec<AttemptId> = self
            .all
            .iter()
            .filter(|(_, attempt)| matches!(attempt.stand, Stand::Parked { confirmed: true, .. }))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ready {
            let first = AttemptId { task: id.task.clone(), epoch: Epoch(0) };
            let older_lives = self.all.range(first..id.clone()).any(|(_, older)| older.is_live());
            if older_lives && !bug::planted(Bug::AgentTwoAtOnce) {
                mark::hit(Mark::StartWaits);
                continue;
            }
            let Some(attempt) = self.all.get_mut(&id) else { continue };
            let Some(specification) = attempt.specification.take() else { continue };
            attempt.stand = Stand::Starting;
            attempt.started = true;
            outputs.push_back(AgentOutput::Start { attempt: id, specification, deadline });
        }
    }

    /// Asks an attempt to end; kills it after its stop timeout.
    pub(super) fn stop(&mut self, id: &AttemptId, now: Time, outputs: &mut Outputs) -> bool {
        let Some(attempt) = self.all.get_mut(id) else { return false };
        match attempt.stand {
            Stand::Parked { .. } => {
                mark::hit(Mark::StoppedParked);
                attempt.stopped = true;
                attempt.end(pb::AttemptEnd::Stopped, 0, "stopped before it was started");
                true
            }
            Stand::Starting | Stand::Running if bug::planted(Bug::AgentStopIgnored) => false,
            Stand::Starting | Stand::Running => {
                mark::hit_if(matches!(attempt.stand, Stand::Starting), Mark::StoppedStarting);
                attempt.stopped = true;
                attempt.stand = Stand::Terminating { kill_at: now + attempt.stop_timeout };
                outputs.push_back(AgentOutput::Terminate { attempt: id.clone() });
                true
            }
            Stand::Terminating { .. } | Stand::Killed | Stand::Ended { .. } => false,
        }
    }

    pub(super) fn stop_all(&mut self, now: Time, outputs: &mut Outputs) {
        let ids: Vec<AttemptId> = self.all.keys().cloned().collect();
        for id in ids {
            self.stop(&id, now, outputs);
        }
    }

    fn kill(&mut self, id: &AttemptId, outputs: &mut Outputs) {
        if let Some(attempt) = self.all.get_mut(id)
            && attempt.is_live()
            && !matches!(attempt.stand, Stand::Killed)
        {
            attempt.stopped = true;
            attempt.stand = Stand::Killed;
            outputs.push_back(AgentOutput::Kill { attempt: id.clone() });
        }
    }

    /// Kills everything, and forgets what does not run.
    pub(super) fn kill_all(&mut self, outputs: &mut Outputs) {
        let ids: Vec<AttemptId> = self.all.keys().cloned().collect();
        for id in ids {
            self.drop(&id, outputs);
        }
    }

    /// An attempt is not desired any more: kills it, and forgets it when its processes have ended.
    pub(super) fn drop(&mut self, id: &AttemptId, outputs: &mut Outputs) {
        if self.all.get(id).is_some_and(Attempt::is_live) {
            self.kill(id, outputs);
            if let Some(attempt) = self.all.get_mut(id) {
                attempt.named = false;
            }
        } else {
            self.forget(id, outputs);
        }
    }

    fn forget(&mut self, id: &AttemptId, outputs: &mut Outputs) {
        if self.all.remove(id).is_some_and(|attempt| attempt.started) {
            outputs.push_back(AgentOutput::Forget { attempt: id.clone() });
        }
    }

    /// Forgets all. Nothing may run.
    pub(super) fn clear(&mut self, outputs: &mut Outputs) {
        for (id, attempt) in core::mem::take(&mut self.all) {
            if attempt.started {
                outputs.push_back(AgentOutput::Forget { attempt: id });
            }
        }
    }

    /// Does what is due by time: parked attempts that nobody confirmed go, those that did not end in time are killed.
    pub(super) fn expire(&mut self, now: Time, outputs: &mut Outputs) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        let held = self.all.len();
        self.all.retain(
            |_, attempt| !matches!(attempt.stand, Stand::Parked { until, confirmed: false } if until <= now),
        );
        mark::hit_if(self.all.len() < held, Mark::ParkedTooLong);
        let late: Vec<AttemptId> = self
            .all
            .iter()
            .filter(|(_, attempt)| matches!(attempt.stand, Stand::Terminating { kill_at } if kill_at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            mark::hit(Mark::StopTooLong);
            self.kill(&id, outputs);
        }
    }

    /// Takes what happened to an attempt's processes. Answers whether there is news to report.
    pub(super) fn happened(&mut self, id: &AttemptId, event: ProcessEvent, outputs: &mut Outputs) -> bool {
        let Some(attempt) = self.all.get_mut(id).filter(|attempt| attempt.is_live()) else { return false };
        match event {
            ProcessEvent::Started => {
                if !matches!(attempt.stand, Stand::Starting) {
                    mark::hit(Mark::StartedLate);
                    return false;
                }
                attempt.stand = Stand::Running;
                return true;
            }
            ProcessEvent::NotStarted { message } if attempt.stopped => {
                attempt.end(pb::AttemptEnd::Stopped, 0, &message);
            }
            ProcessEvent::NotStarted { message } => attempt.end(pb::AttemptEnd::NotStarted, 0, &message),
            // What it says of itself after it was asked to end is no result: a command may answer SIGTERM with exit code 0.
            ProcessEvent::Ended { code, message, .. }
                if attempt.stopped && !bug::planted(Bug::AgentResultAfterStop) =>
            {
                attempt.end(pb::AttemptEnd::Stopped, code, &message);
            }
            ProcessEvent::Ended { end, code, message } => attempt.end(end, code, &message),
        }
        if !attempt.named || bug::planted(Bug::AgentForgetsEarly) {
            mark::hit(Mark::EndedUnnamed);
            self.forget(id, outputs);
        }
        true
    }
}
