//! What is on its way between the nodes, and how they come to rest.

use super::{
    Env, Usage,
    values::{nodes, only, parse},
};
use crate::{
    entry::Content,
    grammar::Command,
    node::Packet,
    text::{self, Level},
};
use quorate_core::{
    contract::Entry,
    types::{Index, NodeId, Term},
};

/// Rounds in which nodes must come to rest.
const ROUNDS: usize = 1_000;

impl Env {
    pub(super) fn deliver_messages(&mut self, command: &Command) -> Result<(), Usage> {
        let (mut recipients, mut only_type) = (Vec::new(), None);
        for argument in &command.arguments {
            match (argument.key.as_str(), &argument.values) {
                (_, None) => recipients.push((NodeId(parse(&argument.key, "a node")?), false)),
                ("drop", Some(_)) => recipients.extend(nodes(argument)?.into_iter().map(|node| (node, true))),
                ("type", Some(_)) => only_type = Some(only(argument)?.to_owned()),
                (other, Some(_)) => {
                    return Err(format!(
                        "`{other}` is no argument: there are nodes, `drop=(1,2)` and `type=MsgApp`"
                    ));
                }
            }
        }
        let mut handled = 0;
        for (to, dropped) in recipients {
            handled += self.deliver_to(to, dropped, only_type.as_deref())?;
        }
        if handled == 0 {
            self.print("no messages");
        }
        Ok(())
    }

    /// How many.
    fn deliver_to(&mut self, to: NodeId, dropped: bool, only_type: Option<&str>) -> Result<usize, Usage> {
        let wanted = |packet: &Packet| {
            packet.to() == to
                && !(dropped && packet.is_local())
                && only_type.is_none_or(|name| name == packet.type_name())
        };
        let (wanted, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.packets).into_iter().partition(wanted);
        self.packets = rest;
        let count = wanted.len();
        for packet in wanted {
            let prefix = if dropped { "dropped: " } else { "" };
            self.print(&format!("{prefix}{}", text::packet(&packet)));
            if !dropped {
                let node = usize::try_from(to.0).unwrap_or(usize::MAX).wrapping_sub(1);
                if node >= self.nodes.len() {
                    return Err(format!(
                        "there is no node {to} that could take a message: `add-nodes` makes nodes"
                    ));
                }
                self.deliver(node, packet);
            }
        }
        Ok(count)
    }

    fn deliver(&mut self, node: usize, packet: Packet) {
        match packet {
            Packet::Peer(envelope) => self.nodes[node].receive(envelope),
            Packet::Forward { data, .. } => {
                let entry = Entry { term: Term(0), index: Index(0), data };
                self.propose(node, Content::of(&entry));
            }
            Packet::Stored { io, .. } => {
                let leaves = self.nodes[node].stored(io);
                self.packets.extend(leaves);
            }
            Packet::Applied { .. } => self.nodes[node].applied(),
        }
        self.tell(node);
    }

    pub(super) fn stabilize(&mut self, command: &Command) -> Result<(), Usage> {
        let level = self.level;
        for argument in command.arguments.iter().filter(|argument| argument.values.is_some()) {
            match argument.key.as_str() {
                "log-level" => self.level = Level::parse(only(argument)?)?,
                other => return Err(format!("`{other}` is no argument: there are nodes and `log-level=`")),
            }
        }
        let named = self.nodes_of(command)?;
        let nodes = if named.is_empty() { (0..self.nodes.len()).collect() } else { named };
        let result = self.run_until_still(&nodes);
        self.level = level;
        result
    }

    fn run_until_still(&mut self, nodes: &[usize]) -> Result<(), Usage> {
        for _ in 0..ROUNDS {
            let mut still = true;
            for &node in nodes {
                let outer = std::mem::take(&mut self.out);
                let did = self.process_ready(node, false);
                let inner = std::mem::replace(&mut self.out, outer);
                if did {
                    still = false;
                    self.print(&format!("> {} handling Ready", node + 1));
                }
                inner.lines().for_each(|line| self.print(&format!("  {line}")));
            }
            for &node in nodes {
                let to = self.nodes[node].id;
                if self.packets.iter().any(|packet| packet.to() == to) {
                    still = false;
                    self.print(&format!("> {to} receiving messages"));
                    let mut result = Ok(0);
                    self.indented(|env| result = env.deliver_to(to, false, None));
                    result?;
                }
            }
            for &node in nodes {
                if self.nodes[node].has_append_work() {
                    still = false;
                    self.print(&format!("> {} processing append thread", node + 1));
                    while self.nodes[node].has_append_work() {
                        self.indented(|env| env.process_append(node));
                    }
                }
            }
            for &node in nodes {
                if self.nodes[node].has_apply_work() {
                    still = false;
                    self.print(&format!("> {} processing apply thread", node + 1));
                    while self.nodes[node].has_apply_work() {
                        self.indented(|env| env.process_apply(node));
                    }
                }
            }
            if still {
                return Ok(());
            }
        }
        Err(format!("the nodes are not still after {ROUNDS} rounds: they talk without an end"))
    }
}
