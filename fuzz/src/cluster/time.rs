//! One clock for all. Nobody is late but by the bytes' choice.

use super::World;
use quorate_core::{Input, Node, agent::AgentInput, types::Time};

/// Whose time it is.
enum Owner {
    Master(usize),
    Executor(usize),
}

impl World {
    /// Time passes; nobody is stepped, but what has to die dies.
    pub(crate) fn advance(&mut self, to: Time) {
        let milliseconds = to.since(self.now.time).as_millis();
        self.now.time = self.now.time.max(to);
        self.now.wall_ms += u64::try_from(milliseconds).unwrap_or(0);
        for executor in &mut self.executors {
            executor.bury(self.now.time);
        }
    }

    fn next_owner(&self) -> Option<(Time, Owner)> {
        let of_master = |index: usize| {
            let (time, _) = self.masters[index].node.as_ref().and_then(Node::next_deadline)?;
            Some((time, Owner::Master(index)))
        };
        let of_executor = |index: usize| Some((self.executors[index].next_time()?, Owner::Executor(index)));
        let masters = (0..self.masters.len()).filter_map(of_master);
        let executors = (0..self.executors.len()).filter_map(of_executor);
        masters.chain(executors).min_by_key(|(time, _)| *time)
    }

    /// All that is on its way arrives; then the next deadline comes, and whoever it is of is stepped.
    pub(crate) fn pass(&mut self) {
        self.settle();
        let Some((time, owner)) = self.next_owner() else { return };
        self.advance(time);
        match owner {
            Owner::Master(index) => self.step_master(index, Input::Deadline),
            Owner::Executor(index) => {
                let run = self.executors[index].run();
                for key in self.executors[index].overdue(self.now.time) {
                    self.answer_executor(index, run, key, None);
                }
                self.step_executor(index, AgentInput::Deadline);
            }
        }
        self.settle();
    }
}
