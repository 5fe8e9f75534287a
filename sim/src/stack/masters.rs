//! One master's machine: the runtime of a node as it is shipped, on a disk in memory.

use super::{
    damage::{Cold, Troubles},
    disk::{UNREADABLE, Watched},
    stage::{Stage, World},
};
use crate::{
    draw::{Purpose, again},
    master::{CLUSTER, WIPED_STORAGE},
    oracle::Rule,
    plan::{Fault, FaultKind, Plan},
    tapes::Tapes,
};
use madsim::runtime::{Handle, NodeHandle as MachineHandle};
use quorate_core::{
    contract::{Config, MemberAddress, Recovered, StopReason},
    point::Point,
    random::Draws,
    tape::{StartRef, TapeWriter},
    types::{NodeId, StorageId},
};
use quorate_net::{
    NodeHandle, NodeParts,
    rt::{Listener, spawn},
    start_node,
    storage::{Identity, MemoryDisk, Storage, StorageOptions},
    tape::{Recording, TapeSource},
};
use quorate_proto::v1 as pb;
use std::{collections::BTreeMap, future::pending, net::IpAddr, sync::Arc};

/// How long nothing tells that a machine has no power, milliseconds.
const SILENCE_MS: u64 = 2_000;

/// What is known of a machine from outside.
pub(super) struct Machine {
    place: usize,
    /// `None` until it is built.
    pub(super) machine: Option<MachineHandle>,
    pub(super) disk: Arc<MemoryDisk>,
    pub(super) storage: StorageId,
    /// How often it was started.
    pub(super) run: u64,
    /// The process is there.
    pub(super) up: bool,
    /// Pauses that are on.
    pub(super) pauses: u32,
    /// Its directory was emptied, and the cluster does not know the one that it has since.
    pub(super) wiped: bool,
    /// It comes to a cluster that there is, and was told of these members.
    pub(super) joins: Option<BTreeMap<NodeId, MemberAddress>>,
    /// It was told to listen at its other address.
    pub(super) moved: bool,
    /// Its directory is about to be lost.
    pub(super) doomed: bool,
    /// Never starts again.
    pub(super) gone: bool,
    /// It is about to be killed: its disk does nothing any more.
    pub(super) halted: bool,
    /// It is being killed.
    pub(super) dying: bool,
    /// Its process runs, but its node has stopped by itself.
    pub(super) stopped: bool,
    /// A sync of this run was told to fail, so that it may stop.
    pub(super) may_stop: bool,
    /// By fault: fault points that are on, and one in how many times they fire.
    pub(super) points: BTreeMap<usize, (Point, u32)>,
    /// By fault: how long an access takes at least, microseconds.
    pub(super) slow: BTreeMap<usize, u64>,
    /// What else is wrong with its disk.
    pub(super) troubles: Troubles,
    /// The cold part of what its running process has stored.
    pub(super) cold: Option<Cold>,
    /// Accesses to its disk.
    pub(super) accesses: u64,
    /// The way to the node that runs.
    pub(super) handle: Option<NodeHandle>,
    /// What it said of itself last in this run, and when it was asked.
    pub(super) status: Option<(u64, pb::StatusReply)>,
}

/// Its address.
pub(super) fn ip(place: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, place as u8 + 1])
}

/// Where it is reached; `moved`: after it was moved.
pub(super) fn address(place: usize, moved: bool) -> MemberAddress {
    let (ip, ports) = (ip(place), if moved { [7011, 7012] } else { [7001, 7002] });
    MemberAddress { peer: format!("{ip}:{}", ports[0]), client: format!("{ip}:{}", ports[1]) }
}

impl World {
    /// Where clients reach masters: all that there are, or may be.
    pub(super) fn endpoints(&self) -> Vec<String> {
        let first = (0..self.masters.len()).map(|place| address(place, false).client);
        let moved = self.places_that_move().into_iter().map(|place| address(place, true).client);
        first.chain(moved).collect()
    }
}

impl Machine {
    pub(super) fn all(plan: &Plan) -> Vec<Self> {
        (0..plan.masters.clocks.len()).map(Self::new).collect()
    }

    fn new(place: usize) -> Self {
        Self {
            place,
            machine: None,
            disk: Arc::new(MemoryDisk::new()),
            storage: StorageId(place as u64 + 1),
            run: 0,
            up: false,
            pauses: 0,
            wiped: false,
            joins: None,
            moved: false,
            doomed: false,
            gone: false,
            halted: false,
            dying: false,
            stopped: false,
            may_stop: false,
            slow: BTreeMap::new(),
            troubles: Troubles::default(),
            cold: None,
            accesses: 0,
            handle: None,
            points: BTreeMap::new(),
            status: None,
        }
    }

    /// The least time of an access, microseconds.
    pub(super) fn slow_us(&self) -> u64 {
        self.slow.values().copied().max().unwrap_or(0)
    }

    /// One line for reports.
    pub(super) fn line(&self) -> String {
        let said = self.status.as_ref().map_or_else(
            || "nothing known".to_owned(),
            |(time, status)| {
                format!(
                    "{:?} in term {} of leader {}, committed {}, applied {}, durable {}, log from {}{}{} (at {:.3} s)",
                    status.role(),
                    status.term,
                    status.leader,
                    status.commit_index,
                    status.applied_index,
                    status.durable_index,
                    status.first_index,
                    if status.alarms.is_empty() { "" } else { ", alarms: " },
                    status.alarms.join("; "),
                    *time as f64 / 1e9
                )
            },
        );
        let state = |is: bool, text: &'static str| if is { text } else { "" };
        format!(
            "node {} run {}{}{}{}{}{}: {said}",
            self.place + 1,
            self.run,
            state(!self.up, " down"),
            state(self.pauses > 0, " paused"),
            state(self.wiped, " wiped"),
            state(self.joins.is_some(), " joined"),
            state(self.gone, " gone for good"),
        )
    }
}

impl World {
    /// Small segments, so that there are many; the smallest where disks are full, because a segment takes its room when it is
    /// made.
    fn segment_bytes(&self) -> u64 {
        let full = |fault: &Fault| matches!(fault.kind, FaultKind::FullDisk { .. });
        if self.plan.faults.iter().any(full) {
            return 4 << 10;
        }
        [4 << 10, 64 << 10, 1 << 20][(again(self.plan.seed, 0x5E6) % 3) as usize]
    }

    /// The name of a master in events.
    pub(super) fn tell_master(&mut self, place: usize, what: &str, text: impl FnOnce() -> String) {
        self.event(&format!("m{}", place + 1), what, text);
    }
}

/// The tape of one run of a master. It is written on the spot: a thread would be a task here, and change the run.
#[derive(Debug)]
struct MemoryTape {
    tapes: Tapes,
    place: u8,
    run: u64,
}

impl TapeSource for MemoryTape {
    fn begin(self: Box<Self>, start: &StartRef<'_>) -> std::io::Result<Recording> {
        Ok((Box::new(TapeWriter::begin(self.tapes.sink(self.place, self.run), start)), None))
    }
}

/// What a run of a master begins with.
struct Run {
    config: Config,
    disk: Arc<MemoryDisk>,
    seed: u64,
    number: u64,
    options: StorageOptions,
}

impl Stage {
    /// Builds a master's machine, and starts it, unless it waits until somebody adds it.
    pub(super) fn build_master(&self, place: usize) {
        let stage = self.clone();
        let start = move || {
            let stage = stage.clone();
            async move {
                let up = stage.world().masters[place].up;
                if up {
                    stage.run_master(place).await;
                }
            }
        };
        let name = format!("m{}", place + 1);
        let machine = Handle::current().create_node().name(name).ip(ip(place)).init(start).build();
        let mut world = self.world();
        world.masters[place].machine = Some(machine);
        world.masters[place].up = world.is_wanted(place);
    }

    fn begin_run(&self, place: usize) -> Run {
        let mut world = self.world();
        let master = &mut world.masters[place];
        master.run += 1;
        (master.handle, master.status, master.stopped) = (None, None, false);
        master.may_stop |= master.troubles.may_fail();
        let (number, storage, disk) = (master.run, master.storage, Arc::clone(&master.disk));
        let seed = world.draw(Purpose::NodeSeed, &[place as u64, number]);
        let segment_bytes = world.segment_bytes();
        let config = Config {
            cluster: CLUSTER,
            node: NodeId(place as u64 + 1),
            storage,
            members: world.told(place),
            joins: world.masters[place].joins.is_some(),
            timing: world.plan.masters.timing(),
            executor_lease: world.plan.executors.lease(),
            snapshot_entries: world.plan.masters.snapshot_entries,
            trailing_entries: world.plan.masters.trailing_entries,
            log_bytes: world.plan.masters.log.bytes(),
            snapshot_rate: world.plan.masters.log.snapshot_rate,
            flow: world.plan.masters.flow(place),
            level: quorate_core::level::FEATURE_LEVEL,
        };
        world.tell_master(place, "start", || format!("run {number}"));
        Run { config, disk, seed, number, options: StorageOptions { segment_bytes } }
    }

    /// What `quorate server` does, until the machine is killed.
    async fn run_master(self, place: usize) {
        self.disk_moves(place).await;
        let run = self.begin_run(place);
        let Run { mut config, disk, seed, number, options } = run;
        let identity = Identity::new(config.cluster, config.node, config.storage);
        let (mut log, recovered) = match self.open(place, disk, identity, options) {
            Ok(opened) => opened,
            Err(error) => {
                self.stopped(place, &error);
                return pending().await;
            }
        };
        config.storage = log.identity().storage;
        {
            let mut world = self.world();
            let world = &mut *world;
            if let Some(fate) = world.commits.recovered(&mut world.ledger, place, &recovered) {
                world.count(fate);
            }
            let holds = world.commits.image(place).brief();
            world.tell_master(place, "recovered", || holds);
        }
        let member = config.members[&config.node].clone();
        let (Ok(peer_listener), Ok(client_listener)) =
            (Listener::bind(&member.peer).await, Listener::bind(&member.client).await)
        else {
            return self.world().fail(Rule::Contract, format!("node {} has no address", place + 1));
        };
        self.world().masters[place].cold = Some(Arc::new(log.snapshots()));
        let snapshots = Watched { inner: log.snapshots(), place, stage: self.clone() };
        let helper = log.helper();
        let log = Watched { inner: log, place, stage: self.clone() };
        let tape = self.world().tapes.clone().map(|tapes| {
            Box::new(MemoryTape { tapes, place: place as u8, run: number }) as Box<dyn TapeSource>
        });
        let parts = NodeParts {
            config,
            recovered,
            seed,
            log,
            helper,
            snapshots,
            peer_listener,
            client_listener,
            tape,
        };
        let mut node = match start_node(parts) {
            Ok(node) => node,
            Err(error) => return self.world().fail(Rule::Contract, format!("node {}: {error}", place + 1)),
        };
        {
            let mut world = self.world();
            if world.masters[place].run == number {
                world.masters[place].handle = Some(node.handle());
            }
        }
        let points: Vec<(Point, u32)> = self.world().masters[place].points.values().copied().collect();
        for (point, _) in points {
            self.switch_point(place, point).await;
        }
        let reason = node.stopped().await;
        let reason = reason.as_ref().map_or_else(|| "its driver ended".to_owned(), StopReason::to_string);
        self.stopped(place, &reason);
        node.shutdown().await;
        pending::<()>().await;
    }

    /// Opens a data directory. A damaged one is of no use any more.
    fn open(
        &self,
        place: usize,
        disk: Arc<MemoryDisk>,
        identity: Identity,
        options: StorageOptions,
    ) -> Result<(Storage, Recovered), String> {
        let mut world = self.world();
        let master = &mut world.masters[place];
        if !master.troubles.unreadable.is_empty() {
            return Err(UNREADABLE.to_owned());
        }
        let (log, recovered) = Storage::open(disk, identity, options).map_err(|error| {
            master.may_stop |= master.troubles.rotten;
            master.gone |= master.troubles.rotten && !master.troubles.may_fail();
            error.to_string()
        })?;
        let last = recovered.entries.last().map_or(recovered.start.index, |entry| entry.index);
        world.starts_from_older(place, &log.snapshots(), last);
        Ok((log, recovered))
    }

    /// Tells a node how often one of its fault points is to fire.
    pub(super) async fn switch_point(&self, place: usize, point: Point) {
        let (handle, one_in) = {
            let world = self.world();
            let master = &world.masters[place];
            let on = master.points.values().rev().find(|(other, _)| *other == point);
            (master.handle.clone(), on.map_or(0, |(_, one_in)| *one_in))
        };
        if let Some(handle) = handle {
            handle.fault_point(point, one_in).await;
        }
    }

    fn stopped(&self, place: usize, reason: &str) {
        let mut world = self.world();
        (world.masters[place].handle, world.masters[place].stopped) = (None, true);
        world.count("stopped by itself");
        world.tell_master(place, "stopped", || reason.to_owned());
        let expected = world.masters[place].may_stop || world.masters[place].halted;
        if world.ledger.hold(Rule::Stopped, expected, || format!("node {} stopped: {reason}", place + 1)) {
            return;
        }
        world.tell_master(place, "violation", || "a node stopped without a disk error".to_owned());
    }

    /// Kills a master's process, or takes the power of its machine: then its peers hear nothing of it, not even a reset.
    /// False: it is down already.
    pub(super) async fn take_down(&self, place: usize, power: bool) -> bool {
        let (machine, wait) = {
            let mut world = self.world();
            if !world.masters[place].up {
                return false;
            }
            let run = world.masters[place].run;
            let luck = world.draw(Purpose::Survivors, &[place as u64, run, 1]);
            let master = &mut world.masters[place];
            (master.up, master.dying, master.halted) = (false, true, true);
            // In the middle of a write, if there is one soon.
            master.disk.halt_after(again(luck, 1) % 5);
            if power {
                world.links.power_off(place, true);
                world.apply_links();
            }
            world.tell_master(place, if power { "power off" } else { "kill" }, String::new);
            (world.masters[place].machine.clone(), again(luck, 2) % 12)
        };
        self.wait_ms(wait).await;
        if let Some(machine) = machine {
            Handle::current().kill(machine.id());
        }
        let mut world = self.world();
        let (seed, run) = (world.plan.seed, world.masters[place].run);
        let master = &mut world.masters[place];
        (master.handle, master.pauses, master.may_stop, master.dying) = (None, 0, false, false);
        master.cold = None;
        if power {
            let purpose = again(place as u64, run);
            master.disk.power_loss(&mut Draws::new(seed, purpose));
            world.tasks.push(spawn(self.clone().silence(place, run)).abort_handle());
        } else {
            master.disk.crash();
        }
        true
    }

    /// The connections of a machine without power are reset at last. A server of madsim-tonic waits for the first message
    /// of one connection before it takes the next: a dead one must not block it for ever.
    async fn silence(self, place: usize, run: u64) {
        self.wait_ms(SILENCE_MS).await;
        let mut world = self.world();
        if world.masters[place].run == run && !world.masters[place].up {
            world.links.power_off(place, false);
            world.apply_links();
        }
    }

    /// Starts a master's process, unless it runs, or never shall.
    pub(super) fn bring_up(&self, place: usize) {
        let machine = {
            let mut world = self.world();
            let master = &world.masters[place];
            if master.up || master.dying || master.gone || !world.is_wanted(place) {
                return;
            }
            let master = &mut world.masters[place];
            (master.up, master.halted) = (true, false);
            let machine = master.machine.clone();
            world.links.power_off(place, false);
            world.apply_links();
            machine
        };
        if let Some(machine) = machine {
            Handle::current().restart(machine.id());
        }
    }

    /// Takes the power of a master's machine, and empties its directory. False: something else started it meanwhile.
    pub(super) async fn take_directory(&self, place: usize) -> bool {
        self.take_down(place, true).await;
        // It may have been on its way down, or down, by another fault.
        self.wait_ms(20).await;
        let mut world = self.world();
        let down = !world.masters[place].up && !world.masters[place].dying;
        if down {
            world.empty(place);
        }
        down
    }
}

impl World {
    /// Empties the directory of a master that is down.
    fn empty(&mut self, place: usize) {
        let master = &mut self.masters[place];
        master.disk = Arc::new(MemoryDisk::new());
        master.storage = StorageId(master.storage.0 + WIPED_STORAGE);
        (master.wiped, master.doomed) = (true, false);
        master.troubles.new_disk();
        let storage = master.storage;
        self.commits.wipe(place, storage);
        self.tell_master(place, "wiped", String::new);
    }
}
