//! All nodes of a scenario, what is on its way between them, and the commands that drive them.

use crate::{
    disk::{Snapshot, members},
    entry::{Content, Transition},
    grammar::{self, Argument, Command},
    node::{Node, Options, Packet},
    pure::parse_changes,
    text::{self, Level},
};
use quorate_core::{
    contract::LogPosition,
    types::{Index, NodeId, Term},
};
use std::collections::BTreeSet;

/// The nodes and the network.
#[derive(Default)]
pub(crate) struct Env {
    nodes: Vec<Node>,
    packets: Vec<Packet>,
    out: String,
    /// Something was not printed because nothing is.
    silenced: bool,
    level: Level,
}

/// What is wrong with a command itself: nothing can be expected of it.
type Usage = String;

impl Env {
    /// Whether nothing is printed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.level == Level::None
    }

    /// Runs a directive: its command, and the commands in its input.
    ///
    /// # Errors
    /// What is wrong with a command, and what is right.
    pub(crate) fn run(&mut self, command: &Command, input: &[String]) -> Result<String, Usage> {
        self.out.clear();
        self.silenced = false;
        if command.name == "propose-conf-change" {
            self.propose_change(command, &input.join(" "))?;
        } else {
            self.command(command)?;
            for line in input {
                let command = grammar::command(line, 0).map_err(|malformed| malformed.message)?;
                self.command(&command)?;
            }
        }
        Ok(match (self.out.is_empty(), self.silenced) {
            (true, true) => "ok (quiet)".to_owned(),
            (true, false) => "ok".to_owned(),
            (false, _) => self.out.trim_end_matches('\n').to_owned(),
        })
    }

    fn command(&mut self, command: &Command) -> Result<(), Usage> {
        match command.name.as_str() {
            "_breakpoint" => {}
            "add-nodes" => self.add_nodes(command)?,
            "campaign" => {
                let node = self.node(command, 0)?;
                self.nodes[node].campaign();
                self.tell(node);
            }
            "compact" => {
                let (node, index) = (self.node(command, 0)?, number(command, 1, "an index")?);
                match self.nodes[node].compact(Index(index)) {
                    Ok(()) => self.print(&text::log(&self.nodes[node])),
                    Err(why) => self.print(&why),
                }
            }
            "deliver-msgs" => self.deliver_messages(command)?,
            "log-level" => self.level = Level::parse(&word(command, 0, "a level")?)?,
            "process-append-thread" => {
                self.each(command, "processing append thread", Self::process_append)?;
            }
            "process-apply-thread" => self.each(command, "processing apply thread", Self::process_apply)?,
            "process-ready" => self.each(command, "handling Ready", |env, node| {
                env.process_ready(node, true);
            })?,
            "propose" => {
                let (node, data) = (self.node(command, 0)?, word(command, 1, "what to propose")?);
                self.propose(node, Content::Normal(data));
            }
            "raft-log" => {
                let node = self.node(command, 0)?;
                self.print(&text::log(&self.nodes[node]));
            }
            "raft-state" => {
                let states: String = self.nodes.iter().map(text::state).collect();
                self.print(&states);
            }
            "report-unreachable" => {
                let (node, peer) = (self.node(command, 0)?, number(command, 1, "a peer")?);
                self.nodes[node].lose_peer(NodeId(peer));
                self.tell(node);
            }
            "send-snapshot" => {
                let (node, to) = (self.node(command, 0)?, number(command, 1, "a peer")?);
                let packet = self.nodes[node].snapshot_message(NodeId(to));
                self.print(&text::packet(&packet));
                self.packets.push(packet);
            }
            "set-randomized-election-timeout" => {
                let (node, ticks) = (self.node(command, 0)?, option(command, "timeout")?);
                self.nodes[node].wait_for_leader(ticks);
            }
            "stabilize" => self.stabilize(command)?,
            "status" => {
                let node = self.node(command, 0)?;
                self.print(&text::status(&self.nodes[node]));
            }
            "tick" => {
                let (node, ticks) = (self.node(command, 0)?, number(command, 1, "how many ticks")?);
                self.tick(node, ticks);
            }
            "tick-election" | "tick-heartbeat" => {
                let node = self.node(command, 0)?;
                let options = &self.nodes[node].options;
                let election = command.name == "tick-election";
                let ticks = if election { options.election_ticks } else { options.heartbeat_ticks };
                self.tick(node, ticks.into());
            }
            "transfer-leadership" => {
                return Err(
                    "`transfer-leadership` cannot be run: this core has no transfer of leadership".to_owned()
                );
            }
            other => {
                return Err(format!("unknown command `{other}`: core/tests/scenarios/README.md lists all"));
            }
        }
        Ok(())
    }

    fn print(&mut self, text: &str) {
        if self.is_quiet() {
            self.silenced |= !text.is_empty();
            return;
        }
        self.out += text;
        if !text.is_empty() && !text.ends_with('\n') {
            self.out.push('\n');
        }
    }

    /// Prints what a node has to tell.
    fn tell(&mut self, node: usize) {
        for (level, line) in std::mem::take(&mut self.nodes[node].lines) {
            if level >= self.level {
                self.print(&level.line(&line));
            }
        }
    }

    fn indented(&mut self, act: impl FnOnce(&mut Self)) {
        let outer = std::mem::take(&mut self.out);
        act(self);
        let inner = std::mem::replace(&mut self.out, outer);
        for line in inner.lines() {
            self.print(&format!("  {line}"));
        }
    }

    /// Runs something on all nodes that a command names.
    fn each(&mut self, command: &Command, title: &str, act: impl Fn(&mut Self, usize)) -> Result<(), Usage> {
        let nodes = self.nodes_of(command)?;
        for &node in &nodes {
            if nodes.len() == 1 {
                act(self, node);
            } else {
                self.print(&format!("> {} {title}", node + 1));
                self.indented(|env| act(env, node));
            }
        }
        Ok(())
    }

    /// False: there was nothing to do.
    fn process_ready(&mut self, node: usize, shown: bool) -> bool {
        let ready = self.nodes[node].ready();
        let empty = ready.is_empty();
        if shown || !empty {
            self.print(&text::ready(&ready));
        }
        let at_once = ready.messages.len();
        let leaves = self.nodes[node].carry_out(ready);
        let held: String = leaves[at_once..].iter().map(|packet| text::packet(packet) + "\n").collect();
        if !held.is_empty() {
            self.print(&format!("Messages that waited for the write:\n{held}"));
        }
        self.packets.extend(leaves);
        self.tell(node);
        !empty
    }

    fn process_append(&mut self, node: usize) {
        let Some((write, leaves)) = self.nodes[node].append() else {
            return self.print("no append work to perform");
        };
        let mut lines = format!("Processing write {}:\n", write.io);
        for entry in &write.entries {
            lines += &format!("{}\n", crate::entry::show(entry));
        }
        lines += "Responses:\n";
        lines.extend(leaves.iter().map(|packet| text::packet(packet) + "\n"));
        self.print(&lines);
        self.packets.extend(leaves);
        self.tell(node);
    }

    fn process_apply(&mut self, node: usize) {
        let Some(entries) = self.nodes[node].apply_next() else {
            return self.print("no apply work to perform");
        };
        let lines: String = entries.iter().map(|entry| crate::entry::show(entry) + "\n").collect();
        self.print(&format!("Processing:\n{lines}"));
        let to = self.nodes[node].id;
        self.packets.push(Packet::Applied { to, entries });
        self.tell(node);
    }

    fn propose(&mut self, node: usize, content: Content) {
        let dropped = self.nodes[node].propose(content).is_err();
        self.tell(node);
        if dropped {
            let (id, term) = (self.nodes[node].id, self.nodes[node].raft.term());
            if self.level <= Level::Info {
                self.print(&Level::Info.line(&format!("{id} no leader at term {term}; dropping proposal")));
            }
            self.print("raft proposal dropped");
        }
    }

    fn propose_change(&mut self, command: &Command, input: &str) -> Result<(), Usage> {
        let node = self.node(command, 0)?;
        let (mut transition, mut one) = (Transition::Auto, false);
        for argument in &command.arguments[1..] {
            match (argument.key.as_str(), only(argument)?) {
                ("v1", _) => one = flag(argument)?,
                ("transition", "auto") => transition = Transition::Auto,
                ("transition", "implicit") => transition = Transition::Implicit,
                ("transition", "explicit") => transition = Transition::Explicit,
                ("transition", other) => {
                    return Err(format!("`transition={other}`: it must be auto, implicit or explicit"));
                }
                (other, _) => {
                    return Err(format!("`{other}` is no argument: there are `v1=` and `transition=`"));
                }
            }
        }
        let changes = parse_changes(input)?;
        let content = match (one, &changes[..]) {
            (false, _) => Content::ConfChangeV2(transition, changes),
            (true, [change]) if transition == Transition::Auto => Content::ConfChange(*change),
            (true, _) => {
                self.print("v1 conf change can only have one operation and no transition");
                return Ok(());
            }
        };
        self.propose(node, content);
        Ok(())
    }

    fn tick(&mut self, node: usize, ticks: u64) {
        for _ in 0..ticks {
            self.nodes[node].tick();
            self.tell(node);
        }
    }

    fn add_nodes(&mut self, command: &Command) -> Result<(), Usage> {
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
                "read-only" => match only(argument)? {
                    // Reads are no command of this grammar.
                    "safe" | "lease-based" => {}
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

    fn deliver_messages(&mut self, command: &Command) -> Result<(), Usage> {
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
                let entry = quorate_core::contract::Entry { term: Term(0), index: Index(0), data };
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

    fn stabilize(&mut self, command: &Command) -> Result<(), Usage> {
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
            for &node in nodes.iter() {
                if self.nodes[node].has_append_work() {
                    still = false;
                    self.print(&format!("> {} processing append thread", node + 1));
                    while self.nodes[node].has_append_work() {
                        self.indented(|env| env.process_append(node));
                    }
                }
            }
            for &node in nodes.iter() {
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

    /// The node that an argument names.
    fn node(&self, command: &Command, place: usize) -> Result<usize, Usage> {
        let id = number(command, place, "a node")?;
        self.index_of(id)
    }

    fn index_of(&self, id: u64) -> Result<usize, Usage> {
        let index = usize::try_from(id).unwrap_or(usize::MAX).wrapping_sub(1);
        if index < self.nodes.len() {
            return Ok(index);
        }
        Err(format!("there is no node {id}: there are {}, from 1 on", self.nodes.len()))
    }

    /// All nodes that a command names.
    fn nodes_of(&self, command: &Command) -> Result<Vec<usize>, Usage> {
        let named = command.arguments.iter().filter(|argument| argument.values.is_none());
        named.map(|argument| self.index_of(parse(&argument.key, "a node")?)).collect()
    }
}

/// Rounds in which nodes must come to rest.
const ROUNDS: usize = 1_000;

const ADD_NODES: &str = "there are voters, learners, index, content, inflight, async-storage-writes, prevote, checkquorum, \
                         read-only, max-committed-size-per-ready, disable-conf-change-validation, step-down-on-removal, \
                         heartbeat-tick, election-tick and disk-stall";

fn parse<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Usage> {
    text.parse().map_err(|_| format!("`{text}` where {what} is wanted: it must be a number"))
}

/// A word at a place.
fn word(command: &Command, place: usize, what: &str) -> Result<String, Usage> {
    match command.arguments.get(place) {
        Some(Argument { key, values: None }) => Ok(key.clone()),
        Some(Argument { key, values: Some(values) }) => Ok(format!("{key}={}", values.join(","))),
        None => Err(format!("`{}` lacks {what}", command.name)),
    }
}

fn number(command: &Command, place: usize, what: &str) -> Result<u64, Usage> {
    parse(&word(command, place, what)?, what)
}

/// The value of an argument that must be there.
fn option<T: std::str::FromStr>(command: &Command, key: &str) -> Result<T, Usage> {
    let argument = command.arguments.iter().find(|argument| argument.key == key);
    value(argument.ok_or_else(|| format!("`{}` lacks `{key}=`", command.name))?)
}

/// The only value of an argument.
fn only(argument: &Argument) -> Result<&str, Usage> {
    match argument.values.as_deref() {
        Some([value]) => Ok(value),
        Some(_) | None => Err(format!("`{0}` must have one value: `{0}=value`", argument.key)),
    }
}

fn value<T: std::str::FromStr>(argument: &Argument) -> Result<T, Usage> {
    let text = only(argument)?;
    text.parse().map_err(|_| format!("`{}={text}`: it must be a number", argument.key))
}

fn flag(argument: &Argument) -> Result<bool, Usage> {
    let text = only(argument)?;
    text.parse().map_err(|_| format!("`{}={text}`: it must be `true` or `false`", argument.key))
}

fn nodes(argument: &Argument) -> Result<BTreeSet<NodeId>, Usage> {
    let values = argument.values.as_deref().unwrap_or_default();
    values.iter().map(|id| Ok(NodeId(parse(id, "a node")?))).collect()
}
