//! The end of a run, when all that is known of it has been taken. What a future of madsim waits for (a timer, a channel)
//! keeps the future, and futures keep each other and the world: without this, each run would keep its memory for ever.

use super::stage::{Stage, World};
use madsim::{runtime::Runtime, task::AbortHandle, time::sleep};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

/// Longer, in simulated time, than all futures of a run take to be dropped.
const DROPPING: Duration = Duration::from_millis(10);

/// Drops every future of a run that has ended, and what the world has. `calm`: its futures can be dropped by the runtime;
/// after a panic or a storm they cannot, and some of their memory is lost. Gives back whether nobody has the world any more.
pub(super) fn free(runtime: Runtime, shared: &Arc<Mutex<World>>, calm: bool) -> bool {
    let (nodes, tasks) = {
        let mut world = Stage::after(shared);
        world.close();
        (world.node_names(), core::mem::take(&mut world.tasks))
    };
    // A panic in what is dropped is no part of the run; it only leaves memory behind.
    let _ = catch_unwind(AssertUnwindSafe(move || {
        if calm {
            runtime.block_on(drop_all(nodes, tasks));
        }
        drop(runtime);
    }));
    let machines = {
        let mut world = Stage::after(shared);
        world.reality = None;
        let masters = core::mem::take(&mut world.masters);
        let executors = core::mem::take(&mut world.executors);
        (masters, executors, core::mem::take(&mut world.processes))
    };
    // They may look at the world while they are dropped.
    drop(machines);
    Arc::strong_count(shared) == 1
}

async fn drop_all(nodes: Vec<String>, tasks: Vec<AbortHandle>) {
    let handle = madsim::runtime::Handle::current();
    tasks.iter().for_each(AbortHandle::abort);
    nodes.iter().for_each(|name| handle.kill(name));
    sleep(DROPPING).await;
}

impl World {
    /// The machines of the simulated network.
    fn node_names(&self) -> Vec<String> {
        let many = |letter: char, count: usize| (1..=count).map(move |place| format!("{letter}{place}"));
        let people = self.plan.clients.len() + 1;
        let machines = many('m', self.masters.len()).chain(many('e', self.executors.len()));
        machines.chain(many('c', people)).chain(["reality".to_owned()]).collect()
    }
}
