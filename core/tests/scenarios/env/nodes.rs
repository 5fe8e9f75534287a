//! How nodes come to be.

use super::{
    Env, Usage,
    values::{flag, nodes, number, only, value},
};
use crate::{
    disk::{Snapshot, members},
    grammar::Command,
    node::{Node, Options},
    text::Level,
};
use quorate_core::{
    contract::LogPosition,
    types::{Index, NodeId, Term},
};
use std::collections::BTreeSet;

const ADD_NODES: &str = "there are voters, learners, index, content, inflight, async-storage-writes, prevote, checkquorum, \
                         read-only, max-committed-size-per-ready, disable-conf-change-validation, step-down-on-removal, \
                         heartbeat-tick, election-tick and disk-stall";

impl Env {
    pub(super) fn add_nodes(&mut self, command: &Command) -> Result<(), Usage> {
        let count = number(command, 0, "how many nodes")?;
        let (mut options, mut at, mut text) = (Options::default(), LogPosition::default(), String::new());
        let (mut voters, mut learners) = (BTreeSet::new(), BTreeSet::new());
        for argument in &command.arguments[1..] {
            match argument.key.as_str() {
                "voters" => voters = nodes(argument)?,
                "learners" => learners = nodes(argument)?,
                "index" => at = LogPosition { term: Term(1), index: Index(value(argument)?) },
                "content" => only(argument)?.clone_into(&mut text),
                "inflight" => options.inflight = value(argument)?,
                "async-storage-writes" => options.asynchronous = flag(argument)?,
                "prevote" => options.pre_vote = flag(argument)?,
                "checkquorum" => options.check_quorum = flag(argument)?,
                "max-committed-size-per-ready" => options.apply_bytes = value(argument)?,
                "disable-conf-change-validation" => options.validates = !flag(argument)?,
                "heartbeat-tick" => options.heartbeat_ticks = value(argument)?,
                "election-tick" => options.election_ticks = value(argument)?,
                "disk-stall" => options.stall_ticks = Some(value(argument)?),
                // Reads are no command of this grammar, but what a lease keeps others from is seen.
                "read-only" => match only(argument)? {
                    "safe" => options.leases = false,
                    "lease-based" => options.leases = true,
                    other => return Err(format!("`read-only={other}`: it must be safe or lease-based")),
                },
                // Whoever is removed steps down, always.
                "step-down-on-removal" => drop(flag(argument)?),
                other => return Err(format!("`{other}` is no argument of `add-nodes`: {ADD_NODES}")),
            }
        }
        let bootstraps =
            at.index > Index(0) || !voters.is_empty() || !learners.is_empty() || !text.is_empty();
        if bootstraps && at.index <= Index(1) {
            self.print("index must be specified as > 1 due to bootstrap");
            return Ok(());
        }
        if options.heartbeat_ticks == 0 || options.election_ticks <= options.heartbeat_ticks {
            return Err("`election-tick=` must be above `heartbeat-tick=`, and that above 0".to_owned());
        }
        if options.leases && !options.check_quorum {
            return Err("`read-only=lease-based` needs `checkquorum=true`".to_owned());
        }
        let membership = members([voters, BTreeSet::new(), learners, BTreeSet::new()], false)
            .map_err(|error| format!("`voters=` and `learners=`: {error}"))?;
        let snapshot = Snapshot { at, membership, text };
        for _ in 0..count {
            let id = NodeId(self.nodes.len() as u64 + 1);
            let membership = &snapshot.membership;
            let mut node = Node::new(id, options.clone(), snapshot.clone());
            node.lines.push((Level::Info, format!("{id} switched to configuration {membership}")));
            node.lines.push((Level::Info, format!("{id} begins at index {}", at.index)));
            self.nodes.push(node);
            self.tell(self.nodes.len() - 1);
        }
        Ok(())
    }
}
