//! What is counted: small clusters without faults, with constant latencies, under one kind of load each.

use super::{Cost, Meter};
use crate::{
    plan::{
        ClientPlan, ClockPlan, DiskPlan, ExecutorsPlan, GENERATOR, JobPlan, LogPlan, MastersPlan,
        NetworkPlan, Operation, Plan, PlannedOperation,
    },
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
        let operations = |client| {
            let planned =
                |number| PlannedOperation { at_ms: BEGIN_MS, operation: (self.operation)(client, number) };
            (0..self.each).map(planned).collect()
        };
        calm_plan(self.masters, self.executors, DURATION_MS, (0..self.clients).map(operations).collect())
    }
}

/// A steady load without faults, to measure the simulator itself: puts and gets by turns.
#[must_use]
pub fn steady_plan(masters: u8, rate: u16, seconds: u16) -> Plan {
    const CLIENTS: usize = 5;
    let duration_ms = u64::from(seconds) * 1_000;
    let gap_ms = CLIENTS as u64 * 1_000 / u64::from(rate.max(1));
    let operations = |client: usize| {
        let times =
            (0..).map(|number| (number, BEGIN_MS + client as u64 * 7 + number as u64 * gap_ms.max(1)));
        times
            .take_while(|(_, at_ms)| *at_ms < duration_ms)
            .map(|(number, at_ms)| {
                let operation = if number % 2 == 0 { put(client, number) } else { get(client, number - 1) };
                PlannedOperation { at_ms, operation }
            })
            .collect()
    };
    calm_plan(usize::from(masters), 4, duration_ms, (0..CLIENTS).map(operations).collect())
}

fn calm_plan(
    masters: usize,
    executors: usize,
    duration_ms: u64,
    operations: Vec<Vec<PlannedOperation>>,
) -> Plan {
    let clocks = |count| vec![ClockPlan { offset_ms: 1_000, ..ClockPlan::default() }; count];
    let client = |operations| ClientPlan {
        session_ttl_ms: 0,
        timeout_ms: 1_000,
        give_up_ms: 5_000,
        hoards: false,
        operations,
    };
    Plan {
        generator: GENERATOR,
        seed: 1,
        duration_ms,
        settle_ms: 60_000,
        masters: MastersPlan {
            read_lease_drift_ppm: 0,
            programs: Vec::new(),
            founders: 0,
            clocks: clocks(masters),
            timing_ms: [50, 250, 450, 400, 5_000],
            snapshot_entries: 100_000,
            trailing_entries: 1_000,
            log: LogPlan::default(),
            flow: Vec::new(),
            batch_us: Vec::new(),
        },
        executors: ExecutorsPlan {
            clocks: clocks(executors),
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
        disk: DiskPlan { sync_min_us: 1_000, sync_max_us: 1_000, load_us: 0 },
        clients: operations.into_iter().map(client).collect(),
        faults: Vec::new(),
        left_out: Vec::new(),
        recovery: None,
        core: None,
    }
}
