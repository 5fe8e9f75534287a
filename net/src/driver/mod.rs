//! One task owns the node: it feeds inputs in the order of their lanes and carries the outputs out.

mod calls;
mod handle;
mod lanes;
mod log_lines;
mod work;
mod writer;

pub use handle::{Change, Identity, NodeHandle};
pub use writer::{LoadError, LogWriter, SnapshotFiles};

pub(crate) use calls::{Channels, endpoint, executor};
pub(crate) use lanes::{Answer, LaneReader, Lanes, ReplyTo, lanes};
pub(crate) use work::Work as WorkDone;
pub(crate) use writer::{SnapshotWork, keep_snapshots, write_all};

use crate::{
    peers::Links,
    rt::{self, Duration, Instant, Semaphore, Sleep, broadcast, mpsc, oneshot, select},
    tape::Recorder,
};
use lanes::Work;
use quorate_core::{
    Input, Node, Output,
    contract::{StopReason, Write},
    limits::{CALLS_INFLIGHT, TURN_INPUTS},
    types::{CallKey, NodeId, Now, RequestKey, Time},
};
use quorate_proto::v1 as pb;
use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The clocks of a driver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// Begins to count.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// What they say.
    pub(crate) fn now(&self) -> Now {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { time: Time(nanos), wall_ms: rt::wall_ms() }
    }

    /// When that time comes; none for a time that never does.
    fn instant(&self, time: Time) -> Option<Instant> {
        self.start.checked_add(Duration::from_nanos(time.0))
    }
}

/// Where the outputs go.
#[derive(Debug)]
pub(crate) struct Outlets {
    pub(crate) writes: mpsc::UnboundedSender<Write>,
    pub(crate) snapshots: mpsc::UnboundedSender<SnapshotWork>,
    pub(crate) peers: Links,
    pub(crate) changes: broadcast::Sender<Change>,
    pub(crate) channels: Arc<Channels>,
    /// Back to the driver itself: for the ends of calls.
    pub(crate) lanes: Lanes,
    /// The leader's id, for whoever asks; 0 = none is known.
    pub(crate) leader: Arc<AtomicU64>,
    pub(crate) work: Arc<WorkDone>,
    /// Told once, if the node's state is found to differ from the majority's.
    pub(crate) differing: Option<oneshot::Sender<String>>,
}

/// Owns the node.
pub(crate) struct Driver {
    id: NodeId,
    node: Node,
    clock: Clock,
    /// A gap between two turns that is longer lets keep-alives go before deadlines.
    gap: Duration,
    last_turn: Time,
    reader: LaneReader,
    outlets: Outlets,
    pending: BTreeMap<RequestKey, ReplyTo>,
    /// The node was fed, and has to carry on what that set going.
    fed: bool,
    /// The last turn ended before the work did.
    behind: bool,
    /// Inputs of the turn under way.
    inputs: u64,
    /// What the driver has to tell the node by itself.
    own: VecDeque<Input>,
    calls: Arc<Semaphore>,
    stop: Option<StopReason>,
    /// Takes down what the node is given and gives.
    tape: Option<Box<dyn Recorder>>,
}

impl Driver {
    /// A driver of a node that was made at `clock`'s time. `gap`: the node's heartbeat period.
    pub(crate) fn new(
        id: NodeId,
        node: Node,
        clock: Clock,
        gap: Duration,
        reader: LaneReader,
        outlets: Outlets,
    ) -> Self {
        Self {
            id,
            node,
            clock,
            gap,
            last_turn: clock.now().time,
            reader,
            outlets,
            pending: BTreeMap::new(),
            fed: false,
            behind: false,
            inputs: 0,
            own: VecDeque::new(),
            calls: Arc::new(Semaphore::new(CALLS_INFLIGHT)),
            stop: None,
            tape: None,
        }
    }

    /// Records everything from the node's start on.
    pub(crate) fn record(&mut self, tape: Option<Box<dyn Recorder>>) {
        self.tape = tape;
    }

    /// Until the node stops for good.
    pub(crate) async fn run(mut self) -> StopReason {
        self.drain();
        let mut timer = Box::pin(rt::sleep_until(Instant::now()));
        loop {
            self.turn();
            if let Some(reason) = self.stop.take() {
                tracing::error!(node = %self.id, %reason, "stops");
                return reason;
            }
            if self.behind || !self.own.is_empty() {
                // A turn that leaves work behind does not wait, but lets other tasks run.
                rt::yield_now().await;
            } else {
                self.wait(&mut timer).await;
            }
        }
    }

    /// Waits for work or a deadline, and does the work. A timer that is set for an earlier time stays: a deadline mostly moves
    /// on with each turn, and to set a timer anew costs more than to look once too often.
    async fn wait(&mut self, timer: &mut Pin<Box<Sleep>>) {
        let deadline = self.node.next_deadline().and_then(|(time, _)| self.clock.instant(time));
        let until = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        if timer.is_elapsed() || until < timer.deadline() {
            timer.as_mut().reset(until);
        }
        let work = select! {
            biased;
            work = self.reader.next() => work,
            () = timer.as_mut() => None,
        };
        if let Some(work) = work {
            self.take(work);
        }
    }

    /// At most a turn's number of inputs, of which the node makes one batch. The deadline ends it, whether it has come or not.
    fn turn(&mut self) {
        let start = self.clock.now().time;
        let mut most = TURN_INPUTS;
        if start.since(self.last_turn) > self.gap {
            most = most.max(self.reader.urgent());
        }
        self.last_turn = start;
        self.behind = true;
        for _ in 0..most {
            if self.stop.is_some() {
                return;
            }
            if let Some(input) = self.own.pop_front() {
                self.feed(input);
            } else if let Some(work) = self.reader.try_next() {
                self.take(work);
            } else {
                self.behind = false;
                break;
            }
        }
        let due = |(time, _)| time <= self.clock.now().time;
        if self.fed || self.node.next_deadline().is_some_and(due) {
            self.outlets.work.turn(core::mem::take(&mut self.inputs));
            self.step(Input::Deadline, false);
        }
    }

    fn take(&mut self, work: Work) {
        match work {
            Work::Input(input) => self.feed(input),
            Work::Request { key, request, reply } => {
                // Its client may have left while it waited in its lane.
                if !reply.is_closed() {
                    self.pending.insert(key, reply);
                    self.feed(Input::Request { key, request });
                }
            }
            Work::Gone(key) => {
                if self.pending.remove(&key).is_some() {
                    self.feed(Input::RequestGone { key });
                }
            }
            // Constant time: a copy of the state shares all that does not change.
            Work::Snapshot(reply) => drop(reply.send(self.node.snapshot())),
        }
    }

    fn feed(&mut self, input: Input) {
        self.inputs += 1;
        self.step(input, true);
    }

    /// One mutation: the node takes the next input only when its outputs are out. `fed`: others follow.
    fn step(&mut self, input: Input, fed: bool) {
        if self.stop.is_some() {
            return;
        }
        let now = self.clock.now();
        if let Some(tape) = &mut self.tape {
            tape.input(now, &input, fed);
        }
        if fed {
            self.node.feed(now, input);
        } else {
            self.node.step(now, input);
        }
        self.fed = fed;
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.node.poll_output() {
            if let Some(tape) = &mut self.tape {
                tape.output(&output);
            }
            self.carry_out(output);
        }
        if let Some(tape) = &mut self.tape {
            tape.end();
        }
        let leader = self.node.raft().leader().map_or(0, |leader| leader.0);
        self.outlets.leader.store(leader, Ordering::Relaxed);
        if self.node.doubt().is_some_and(|doubt| doubt.decided)
            && let Some(tell) = self.outlets.differing.take()
        {
            drop(tell.send(self.node.alarms().swap_remove(0)));
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { to, lane, envelope } => {
                self.outlets.peers.push(to, lane, *envelope);
            }
            // A writer that has ended has said why; until that is read, nothing more is written.
            Output::Write(write) => drop(self.outlets.writes.send(write)),
            Output::SaveSnapshot(snapshot) => self.snapshot(SnapshotWork::Save(snapshot)),
            Output::StoreSnapshotChunk { at, number, data, last } => {
                self.snapshot(SnapshotWork::Store { at, number, data, last });
            }
            Output::ReadSnapshotChunk { peer, at, number } => {
                self.snapshot(SnapshotWork::Read { peer, at, number });
            }
            Output::LoadSnapshot { at } => self.snapshot(SnapshotWork::Load { at }),
            Output::DropState(state) => self.snapshot(SnapshotWork::Drop(state)),
            Output::Reply { key, reply } => {
                if let Some(waiting) = self.pending.remove(&key) {
                    self.outlets.work.answered();
                    waiting.send(key, reply);
                }
            }
            Output::Call { key, address, call } => self.call(key, address, *call),
            Output::Changed { index, jobs } => {
                let _ = self.outlets.changes.send(Change { index, jobs: jobs.into() });
            }
            Output::Members(members) => self.outlets.peers.follow(members),
            Output::Trace(event) => log_lines::write(self.id, &event),
            Output::Stop(reason) => self.stop = Some(reason),
        }
    }

    fn snapshot(&self, work: SnapshotWork) {
        drop(self.outlets.snapshots.send(work));
    }

    fn call(&mut self, key: CallKey, address: String, call: pb::ExecutorCall) {
        let Ok(place) = Arc::clone(&self.calls).try_acquire_owned() else {
            self.own.push_back(Input::CallDone { key, reply: None });
            return;
        };
        let (lanes, channels) = (self.outlets.lanes.clone(), Arc::clone(&self.outlets.channels));
        rt::spawn(async move {
            let reply = calls::call(&channels, &address, call).await;
            drop(place);
            lanes.control(Input::CallDone { key, reply: reply.map(Box::new) }).await;
        });
    }
}
