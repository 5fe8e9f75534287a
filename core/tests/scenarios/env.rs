//! All nodes of a scenario, what is on its way between them, and the commands that drive them.

mod network;
mod nodes;
mod values;

use crate::{
    entry::{Content, Transition},
    grammar::{self, Command},
    node::{Node, Packet},
    pure::parse_changes,
    text::{self, Level},
};
use quorate_core::types::{Index, NodeId};
use values::{flag, number, only, option, parse, word};

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
            "raft-log" | "raft-state" | "status" => self.show(command)?,
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
            "tick" | "tick-election" | "tick-heartbeat" => self.tick(command)?,
            "transfer-leadership" => {
                let (from, to) = (self.index_of(option(command, "from")?)?, option(command, "to")?);
                self.nodes[from].transfer(NodeId(to));
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

    fn tick(&mut self, command: &Command) -> Result<(), Usage> {
        let node = self.node(command, 0)?;
        let options = &self.nodes[node].options;
        let ticks = match command.name.as_str() {
            "tick-election" => options.election_ticks.into(),
            "tick-heartbeat" => options.heartbeat_ticks.into(),
            _ => number(command, 1, "how many ticks")?,
        };
        for _ in 0..ticks {
            self.nodes[node].tick();
            self.tell(node);
        }
        Ok(())
    }

    /// Tells of a state: all that is compared at `--level state`.
    fn show(&mut self, command: &Command) -> Result<(), Usage> {
        let shown = match command.name.as_str() {
            "raft-state" => self.nodes.iter().map(text::state).collect(),
            "raft-log" => text::log(&self.nodes[self.node(command, 0)?]),
            _ => text::status(&self.nodes[self.node(command, 0)?]),
        };
        self.print(&shown);
        Ok(())
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
