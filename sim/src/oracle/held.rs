//! What a leader does for followers that are behind: it keeps what they lack, lets a snapshot that it sends be the last one but
//! one, and sends it no faster than it may.

use super::{Ledger, Rule};
use crate::{master::Master, plan::LogPlan};
use core::time::Duration;
use quorate_core::{
    Input, limits,
    raft::{Raft, Role, progress::Mode},
    types::{Index, Term, Time},
};

/// A leader as it was behind a step.
#[derive(Clone, Copy, Debug)]
struct Behind {
    /// What all followers that answer have.
    had: Option<Index>,
    /// Whether one of them is being sent a snapshot that is not the newest.
    sends_older: bool,
    /// What its log counts, and where it ends.
    bytes: u64,
    last: Index,
    /// Alarms of room: where there is none, nothing is held.
    alarms: usize,
}

impl Behind {
    /// Whether its log was certainly within the bound when it decided: with all that the step took in.
    fn was_within(&self, raft: &Raft, bound: u64) -> bool {
        let came = (self.last.0 + 1..=raft.last_index().0).filter_map(|index| raft.entry(Index(index)));
        let came: u64 = came.map(|entry| entry.data.len() as u64 + limits::ENTRY_HEADER_BYTES).sum();
        self.bytes + came <= bound
    }
}

/// What is known of one run of a node.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    run: u64,
    term: Term,
    behind: Option<Behind>,
    /// It is told of damage up to here: that is mended, whoever waits.
    damaged: Option<Index>,
    /// A snapshot up to here mends that: the log goes as far, piece by piece as it becomes durable.
    mended: Index,
    /// A chunk could not be read in the input that it takes.
    unreadable: bool,
    /// When it first read a chunk in its term, and how many bytes came.
    sent: Option<(Time, u64)>,
}

/// The rules' memory.
#[derive(Default)]
pub struct Held {
    told: Vec<Told>,
}

/// Followers that certainly answer: an answer that is old may not count any more.
fn answering(raft: &Raft, now: Time, patience: Duration) -> impl Iterator<Item = (Index, &Mode)> {
    let members = raft.membership().members();
    members.filter_map(move |member| {
        let progress = raft.progress(member)?;
        let answers = now.since(progress.active_at) <= patience / 2;
        answers.then_some((progress.matched, &progress.mode))
    })
}

fn behind(master: &Master, now: Time, patience: Duration) -> Option<Behind> {
    let node = master.node.as_ref()?;
    let raft = node.raft();
    if raft.role() != Role::Leader {
        return None;
    }
    let had = |(matched, mode): (Index, &Mode)| match mode {
        Mode::Snapshot { at, .. } => at.index,
        Mode::Probe { .. } | Mode::Replicate => matched,
    };
    let older = |mode: &Mode| matches!(mode, Mode::Snapshot { at, .. } if Some(*at) != raft.snapshot());
    Some(Behind {
        had: answering(raft, now, patience).map(had).min(),
        sends_older: answering(raft, now, patience).any(|(_, mode)| older(mode)),
        bytes: raft.log_bytes(),
        last: raft.last_index(),
        alarms: node.state().alarms().count(),
    })
}

impl Held {
    fn told(&mut self, master: &Master) -> &mut Told {
        let place = usize::from(master.place);
        if self.told.len() <= place {
            self.told.resize(place + 1, Told::default());
        }
        let told = &mut self.told[place];
        if told.run != master.run {
            *told = Told { run: master.run, ..Told::default() };
        }
        told
    }

    /// A node takes an input.
    pub fn takes(&mut self, master: &Master, input: &Input) {
        let told = self.told(master);
        told.unreadable = false;
        let last = master.node.as_ref().map_or(Index(0), |node| node.raft().last_index());
        // What was cut off of the log needs no mending.
        told.damaged = told.damaged.map(|damaged| damaged.min(last));
        match input {
            Input::DiskDamaged => told.damaged = Some(last),
            Input::SnapshotSaved { at } if told.damaged.is_some_and(|damaged| damaged <= at.index) => {
                (told.damaged, told.mended) = (None, told.mended.max(at.index));
            }
            Input::SnapshotChunkRead { chunk: None, .. } => told.unreadable = true,
            Input::SnapshotChunkRead { chunk: Some((data, _)), .. } => {
                if let Some((_, bytes)) = &mut told.sent {
                    *bytes += data.len() as u64;
                }
            }
            _ => {}
        }
    }

    /// A node reads a chunk for a follower.
    pub fn reads(&mut self, ledger: &mut Ledger, master: &Master, now: Time, log: &LogPlan) {
        let Some(term) = master.node.as_ref().map(|node| node.raft().term()) else { return };
        let told = self.told(master);
        if told.term != term {
            (told.term, told.sent) = (term, None);
        }
        let (since, bytes) = *told.sent.get_or_insert((now, 0));
        let elapsed = now.since(since);
        let most = u128::from(log.snapshot_rate) * elapsed.as_nanos() / 1_000_000_000;
        ledger.hold(Rule::SnapshotThrottled, log.snapshot_rate == 0 || u128::from(bytes) <= most + 1, || {
            format!(
                "leader {} has sent {bytes} bytes of snapshots in {elapsed:?}; {most} is the most",
                master.id
            )
        });
    }

    /// A node writes its state aside.
    pub fn saves(
        &mut self,
        ledger: &mut Ledger,
        master: &Master,
        (now, patience): (Time, Duration),
        log: &LogPlan,
    ) {
        let told = *self.told(master);
        let (Some(before), Some(after)) = (told.behind, behind(master, now, patience)) else { return };
        let Some(node) = &master.node else { return };
        // Whatever else is a reason waits for nobody.
        let level = node.state().level_record().lowered_at >= node.raft().first_index().0;
        let other = told.damaged.is_some() || told.unreadable || level || before.alarms + after.alarms > 0;
        let room = before.was_within(node.raft(), log.held_bytes);
        let in_the_way = before.sends_older && after.sends_older && room && !other;
        ledger.hold(Rule::SnapshotNotOvertaken, !in_the_way, || {
            format!("leader {} takes a snapshot while it sends one that is not the newest", master.id)
        });
    }

    /// A node cuts its log up to this index.
    pub fn cuts(
        &mut self,
        ledger: &mut Ledger,
        master: &Master,
        (now, patience): (Time, Duration),
        index: Index,
        log: &LogPlan,
    ) {
        let told = *self.told(master);
        let Some(node) = &master.node else { return };
        if told.damaged.is_some() || index <= told.mended {
            return;
        }
        let (Some(before), Some(after)) = (told.behind, behind(master, now, patience)) else { return };
        let (Some(had), Some(has)) = (before.had, after.had) else { return };
        let level = node.state().level_record().lowered_at >= index.0;
        let room = before.was_within(node.raft(), log.held_bytes);
        let alarmed = before.alarms + after.alarms > 0;
        let lacked = index > had.max(has) && room && !level && !alarmed;
        ledger.hold(Rule::LogHeld, !lacked, || {
            format!(
                "leader {} cuts its log up to {index}; a follower that answers has it up to {has}, and its {} bytes are \
                 within the bound",
                master.id, before.bytes
            )
        });
    }

    /// After each step of a node.
    pub fn stepped(&mut self, master: &Master, now: Time, patience: Duration) {
        let behind = behind(master, now, patience);
        self.told(master).behind = behind;
    }
}
