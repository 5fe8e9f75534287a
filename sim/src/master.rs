//! One master's machine: the node, its disk, its clock, and whom it still owes an answer.

use crate::{
    clock::Clock,
    disk::{Disk, Image},
    plan::{MastersPlan, Plan},
    tapes::TapeSink,
    world::{DiskEvent, Origin, disks::ToldDamage, steps::Batch},
};
use quorate_core::{
    Input, Node,
    contract::{Config, MemberAddress},
    node::Doubt,
    point::Point,
    tape::TapeWriter,
    types::{CallKey, ClusterId, Index, NodeId, RequestKey, StorageId, Term},
};
use quorate_proto::v1 as pb;
use std::collections::{BTreeMap, BTreeSet};

/// The cluster that is simulated, until somebody gives it up.
pub const CLUSTER: ClusterId = ClusterId(0xC1);
/// Storage ids of wiped directories are those of the first ones and this.
pub const WIPED_STORAGE: u64 = 1_000;

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Whose it is.
    pub origin: Origin,
    /// What was asked.
    pub request: Box<pb::ClientRequest>,
    /// The highest term that a quorum had when it arrived.
    pub quorum_term: Term,
}

/// One master.
pub struct Master {
    /// From 0 on.
    pub place: u8,
    /// From 1 on.
    pub id: NodeId,
    /// Of its data directory.
    pub storage: StorageId,
    /// The cluster that its directory belongs to.
    pub cluster: ClusterId,
    /// `None`: no process.
    pub node: Option<Node>,
    /// What this run is given and gives, if that is recorded.
    pub tape: Option<TapeWriter<TapeSink>>,
    /// How often it was started.
    pub run: u64,
    /// Pauses that are on.
    pub pauses: u32,
    /// Never starts again.
    pub gone: bool,
    /// Its directory was emptied, and the cluster does not know the one that it has since.
    pub wiped: bool,
    /// It comes to a cluster that there is, and was told of these members.
    pub joins: Option<BTreeSet<NodeId>>,
    /// The run in which it came with an empty directory.
    pub joined_in: Option<u64>,
    /// The term that its emptied directory had.
    pub term_lost: Term,
    /// What came while it was paused.
    pub held: Vec<Input>,
    /// Its disk.
    pub disk: Disk,
    /// Its clock.
    pub clock: Clock,
    /// The true time of the next planned deadline event; `u64::MAX` = none.
    pub wake: u64,
    /// Requests that wait for their answers.
    pub requests: BTreeMap<RequestKey, Waiting>,
    /// Requests whose client has left: an answer may still come.
    pub left: BTreeSet<RequestKey>,
    /// How often each request came from clients and was not forwarded yet, by its fingerprint.
    pub direct: BTreeMap<u64, i64>,
    /// Forwarded requests that came from peers: what they ask for and the term that a quorum had. By peer and id.
    pub forwarded: BTreeMap<(u64, u64), (bool, Term)>,
    /// Calls that wait for their answers.
    pub calls: BTreeSet<CallKey>,
    /// Sync time in microseconds while the disk is slow, by fault.
    pub slow: Vec<(usize, u64)>,
    /// Microseconds that each step takes while the processor is slow, by fault.
    pub steps: Vec<(usize, u64)>,
    /// The newest state that this run had written aside, whether it knows that this is done or not.
    pub saves: Index,
    /// Until when its processor is busy.
    pub busy_until: u64,
    /// What of its disk it was told to be damaged.
    pub told_damage: Option<ToldDamage>,
    /// The batch of inputs that is open.
    pub batch: Option<Batch>,
    /// So many batches were opened in this run.
    pub batches: u64,
    /// Fault points that are on, and how often each fires, by fault; of two for one point the later one counts.
    pub points: Vec<(usize, Point, u32)>,
    /// Times that its disk hangs.
    pub stalls: u32,
    /// What its disk has done, as soon as it hangs no longer, with the run that asked for it.
    pub hung: Vec<(u64, DiskEvent)>,
    /// Times that its disk is full.
    pub full: u32,
    /// Times that nothing can be read from its disk.
    pub unreadable: u32,
    /// Old copies of its directory, by fault.
    pub copies: BTreeMap<usize, Image>,
    /// Its directory went back in time: it may be refused its vote.
    pub rolled: bool,
    /// The end of its log before its last step.
    pub ended_at: Index,
    /// It was handing over before its last step.
    pub handed_over: bool,
    /// It knew before its last step of a member that has no more room.
    pub short: bool,
    /// It led before its last step.
    pub led: bool,
    /// It took no part before its last step, because replicas were compared.
    pub doubted: Option<Doubt>,
    /// The run that was told that its directory went back in time; 0 = none.
    pub caught: u64,
    /// The highest term that it forgot: a vote in it, or below, may be given twice, and counts for nothing.
    pub forgot: Term,
    /// Its directory is damaged, and it cannot start: what the checksum said.
    pub broken: Option<String>,
    /// It is outside of the core that is healed: it stays as it is.
    pub outside: bool,
    /// The newest feature level that its program knows.
    pub program: u32,
    next_request: u64,
}

impl Master {
    /// A machine with an empty disk, switched off.
    #[must_use]
    pub fn new(place: u8, plan: &MastersPlan) -> Self {
        let id = u64::from(place) + 1;
        Self {
            place,
            id: NodeId(id),
            storage: StorageId(100 + id),
            cluster: CLUSTER,
            node: None,
            tape: None,
            run: 0,
            pauses: 0,
            gone: false,
            wiped: false,
            joins: None,
            joined_in: None,
            term_lost: Term(0),
            held: Vec::new(),
            disk: Disk::default(),
            clock: Clock::new(&plan.clocks[usize::from(place)]),
            wake: u64::MAX,
            requests: BTreeMap::new(),
            left: BTreeSet::new(),
            direct: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            calls: BTreeSet::new(),
            slow: Vec::new(),
            steps: Vec::new(),
            saves: Index(0),
            busy_until: 0,
            told_damage: None,
            batch: None,
            batches: 0,
            points: Vec::new(),
            stalls: 0,
            hung: Vec::new(),
            full: 0,
            unreadable: 0,
            copies: BTreeMap::new(),
            ended_at: Index(0),
            handed_over: false,
            short: false,
            led: false,
            doubted: None,
            caught: 0,
            rolled: false,
            forgot: Term(0),
            broken: None,
            outside: false,
            program: plan.program(usize::from(place)),
            next_request: 0,
        }
    }

    /// What it is told when it starts.
    #[must_use]
    pub fn config(&self, plan: &Plan) -> Config {
        let member = |place: usize| {
            let address = MemberAddress { peer: format!("m{place}:1"), client: format!("m{place}:2") };
            (NodeId(place as u64 + 1), address)
        };
        Config {
            cluster: self.cluster,
            node: self.id,
            storage: self.storage,
            members: match &self.joins {
                Some(told) => told.iter().chain([&self.id]).map(|node| member(node.0 as usize - 1)).collect(),
                None => (0..plan.masters.founding()).map(member).collect(),
            },
            joins: self.joins.is_some(),
            timing: plan.masters.timing(),
            executor_lease: plan.executors.lease(),
            snapshot_entries: plan.masters.snapshot_entries,
            trailing_entries: plan.masters.trailing_entries,
            log_bytes: plan.masters.log.bytes(),
            snapshot_rate: plan.masters.log.snapshot_rate,
            flow: plan.masters.flow(usize::from(self.place)),
            level: self.program,
        }
    }

    /// What a fault point of it is to do by all faults that are on: fire one in so many times; 0 = never.
    #[must_use]
    pub fn fires(&self, point: Point) -> u32 {
        let on = self.points.iter().rev().find(|(_, other, _)| *other == point);
        on.map_or(0, |(_, _, one_in)| *one_in)
    }

    /// It begins anew with an empty directory.
    pub fn empty(&mut self) {
        self.term_lost = self.term_floor();
        self.forgot = self.forgot.max(self.term_lost);
        self.disk = Disk::default();
        self.storage = StorageId(self.storage.0 + WIPED_STORAGE);
        (self.wiped, self.rolled, self.broken) = (true, false, None);
        self.copies.clear();
    }

    /// No disk of it is at work on anything.
    #[must_use]
    pub fn waits_for_nothing(&self) -> bool {
        self.disk.waiting.is_empty()
    }

    /// A slow processor has not come to the word that its newest snapshot is written: until then the log stays.
    #[must_use]
    pub fn learns_late_of_snapshot(&self, time: u64) -> bool {
        let known = self.node.as_ref().and_then(|node| node.raft().snapshot());
        self.busy_until > time && self.saves > known.map_or(Index(0), |at| at.index)
    }

    /// The cluster knows its new directory: it is as good as any.
    pub fn known_again(&mut self) {
        (self.wiped, self.term_lost) = (false, Term(0));
    }

    /// Its directory goes back to an older content.
    pub fn forget(&mut self, image: Image) {
        self.forgot = self.forgot.max(self.disk.image.hard_state.term);
        self.rolled = true;
        self.disk.image = image;
    }

    /// Its directory is as it was left.
    #[must_use]
    pub const fn intact(&self) -> bool {
        !self.wiped && !self.rolled && self.broken.is_none()
    }

    /// No message of a lower term can be acknowledged by it.
    #[must_use]
    pub fn term_floor(&self) -> Term {
        self.disk.image.hard_state.term.max(self.term_lost)
    }

    /// A key for a request.
    pub fn request_key(&mut self) -> RequestKey {
        self.next_request += 1;
        RequestKey(self.next_request)
    }

    /// Forgets everything that was only in memory. Gives back the requests that will never be answered.
    pub fn stop(&mut self) -> BTreeMap<RequestKey, Waiting> {
        self.node = None;
        self.tape = None;
        (self.led, self.doubted) = (false, None);
        self.held.clear();
        self.hung.clear();
        (self.saves, self.busy_until) = (Index(0), 0);
        (self.batch, self.batches) = (None, 0);
        self.wake = u64::MAX;
        self.forwarded.clear();
        self.calls.clear();
        self.left.clear();
        self.direct.clear();
        core::mem::take(&mut self.requests)
    }

    /// One line for reports.
    #[must_use]
    pub fn line(&self) -> String {
        let disk = &self.disk.image;
        let on_disk = format!("disk: {:?} log {:?}..{:?}", disk.hard_state, disk.start, disk.last());
        let Some(node) = &self.node else {
            let why = self.broken.as_deref().unwrap_or(if self.gone { "for good" } else { "" });
            return format!("node {}: down {why}; {on_disk}", self.id);
        };
        let raft = node.raft();
        format!(
            "node {}: {:?} term {} leader {:?} commit {} applied {} durable {} last {} vote {}{}{}{}; {on_disk}",
            self.id,
            raft.role(),
            raft.term(),
            raft.leader(),
            raft.commit(),
            node.state().index(),
            raft.durable_index(),
            raft.last_index(),
            raft.has_vote(),
            if self.pauses > 0 { " paused" } else { "" },
            if self.wiped { " wiped" } else { "" },
            if self.rolled { " rolled back" } else { "" },
        )
    }
}
