//! What is counted: small clusters without faults, with constant latencies, under one kind of load each.

use super::{Cost, Meter};
use crate::plan::{
    ClientPlan, ClockPlan, DiskPlan, ExecutorsPlan, GENERATOR, JobPlan, MastersPlan, NetworkPlan, Operation,
    Plan, PlannedOperation,
};
use crate::{
    run::Outcome,
    world::{MILLISECOND, World},
};

/// The load begins here, milliseconds: the cluster has begun, and its executors are registered.
const BEGIN_MS: u64 = 3_000;
const DURATION_MS: u64 = 8_000;

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, and what one operation is.
    pub name: &'static str,
    masters: usize,
    executors: usize,
    clients: usize,
    /// Operations of each client.
    each: usize,
    operation: fn(client: usize, number: usize) -> Operation,
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "put, 1 client, 3 masters",
        masters: 3,
        executors: 0,
        clients: 1,
        each: 400,
        operation: put,
    },
    Scenario {
        name: "put, 8 clients, 3 masters",
        masters: 3,
        executors: 0,
        clients: 8,
        each: 400,
        operation: put,
    },
    Scenario {
        name: "put, 8 clients, 5 masters",
        masters: 5,
        executors: 0,
        clients: 8,
        each: 400,
        operation: put,
    },
    Scenario {
        name: "get, 1 client, 3 masters",
        masters: 3,
        executors: 0,
        clients: 1,
        each: 400,
        operation: get,
    },
    Scenario {
        name: "get, 8 clients, 3 masters",
        masters: 3,
        executors: 0,
        clients: 8,
        each: 400,
        operation: get,
    },
    Scenario {
        name: "job of 3 tasks, 4 executors",
        masters: 3,
        executors: 4,
        clients: 1,
        each: 20,
        operation: job,
    },
    Scenario {
        name: "idle second, 4 executors",
        masters: 3,
        executors: 4,
        clients: 0,
        each: 0,
        operation: get,
    },
];

fn put(client: usize, number: usize) -> Operation {
    Operation::Put { key: format!("key-{client}-{}", number % 16) }
}

fn get(client: usize, number: usize) -> Operation {
    Operation::Get { key: format!("key-{client}-{}", number % 16), stale: false }
}

fn job(_: usize, number: usize) -> Operation {
    Operation::Submit {
        job: JobPlan {
            id: format!("job-{number}"),
            service: false,
            tasks: 3,
            slots: 1,
            run_ms: [20, 20],
            fail_ppm: 0,
            stubborn_ppm: 0,
            max_failures: 1,
            stop_timeout_ms: 1_000,
            ..JobPlan::default()
        },
    }
}

impl Scenario {
    /// Runs it, and says what its load cost.
    #[must_use]
    pub fn run(&self, meter: Meter) -> (Outcome, Cost) {
        let from = BEGIN_MS * MILLISECOND;
        World::new(self.plan(), false, None).metered(Cost::new(meter, from))
    }

    /// What its cost is divided by.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        if self.clients == 0 { (DURATION_MS - BEGIN_MS) / 1_000 } else { (self.clients * self.each) as u64 }
    }

    /// The run.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let clocks = |count| vec![ClockPlan { offset_ms: 1_000, ..ClockPlan::default() }; count];
        let operations = |client| -> Vec<PlannedOperation> {
            (0..self.each)
                .map(|number| PlannedOperation {
                    at_ms: BEGIN_MS,
                    operation: (self.operation)(client, number),
                })
                .collect()
        };
        let client = |number| ClientPlan {
            session_ttl_ms: 0,
            timeout_ms: 1_000,
            give_up_ms: 5_000,
            hoards: false,
            operations: operations(number),
        };
        Plan {
            generator: GENERATOR,
            seed: 1,
            duration_ms: DURATION_MS,
            settle_ms: 60_000,
            masters: MastersPlan {
                clocks: clocks(self.masters),
                timing_ms: [50, 250, 450, 400, 5_000],
                snapshot_entries: 100_000,
                trailing_entries: 1_000,
            },
            executors: ExecutorsPlan {
                clocks: clocks(self.executors),
                slots: 4,
                heartbeat_ms: 500,
                lease_ms: [5_000, 2_000, 200, 500],
                drift_ppm: 1_000,
                session_ms: 0,
            },
            network: NetworkPlan {
                latency_min_us: 500,
                latency_max_us: 500,
                tail_ppm: 0,
                tail_us: 0,
                loss_ppm: 0,
                duplicate_ppm: 0,
                reorder_ppm: 0,
                call_ppm: 0,
                call_late_ms: 0,
            },
            disk: DiskPlan { sync_min_us: 1_000, sync_max_us: 1_000 },
            clients: (0..self.clients).map(client).collect(),
            faults: Vec::new(),
            left_out: Vec::new(),
            core: None,
        }
    }
}
