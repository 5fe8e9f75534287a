//! Nodes, a network that does as it likes, a client, and what must never be.

use std::collections::BTreeMap;

/// One thing that happens. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Time passes for a node.
    Tick(u8),
    /// A message arrives, whatever was sent before it.
    Deliver(u16),
    /// A message is lost.
    Lose(u16),
    /// A message arrives, and is still on its way.
    Repeat(u16),
    /// A node's disk finishes what it was given.
    Sync(u8),
    /// A node starts again from its disk. True: some of what was on its way there has reached it.
    Crash(u8, bool),
    /// The client submits its command to every node that believes to lead.
    Submit,
    /// All messages arrive in order, and a node's time passes.
    Calm(u8),
    /// A node is cut off; or is not any more, if it was the last.
    Cut(u8),
}

/// An entry as it is compared: its term and its command; 0 is none.
pub(crate) type Entry = (u64, u64);

/// A node of either implementation.
pub(crate) trait Member: Sized {
    /// Whose it is.
    const NAME: &'static str;
    /// What it says to others.
    type Message: Clone;

    fn new(id: u64, nodes: u64, seed: u64) -> Self;
    fn tick(&mut self);
    fn receive(&mut self, from: u64, message: Self::Message);
    /// False: it does not lead, or takes no more.
    fn propose(&mut self, command: u64) -> bool;
    /// Its disk finishes what it was given.
    fn sync(&mut self);
    /// It starts again; `torn`: some of what the disk was given has reached it.
    fn crash(&mut self, torn: bool);
    /// What it sends.
    fn take_messages(&mut self) -> Vec<(u64, Self::Message)>;
    /// Its term, if it leads.
    fn leads(&self) -> Option<u64>;
    fn commit(&self) -> u64;
    /// The entry at an index.
    fn entry(&self, index: u64) -> Option<Entry>;
    /// The last index.
    fn last(&self) -> u64;
}

/// Messages that may be on their way; older ones are lost.
const NETWORK: usize = 400;
/// Rounds in which everything must have come to rest after the faults are over.
const ROUNDS: usize = 2_000;

pub(crate) struct World<M: Member> {
    members: BTreeMap<u64, M>,
    network: Vec<(u64, u64, M::Message)>,
    /// Who has led each term.
    leaders: BTreeMap<u64, u64>,
    /// What was committed anywhere.
    committed: BTreeMap<u64, Entry>,
    /// Up to where each node's committed entries were looked at, in its run.
    checked: BTreeMap<u64, u64>,
    /// What the client waits for.
    command: u64,
    /// The last that it wants.
    commands: u64,
    /// Whom nothing reaches, and who reaches nobody.
    cut: Option<u64>,
}

type Wrong = String;

impl<M: Member> World<M> {
    pub(crate) fn new(nodes: u64, seed: u64, commands: u64) -> Self {
        Self {
            members: (1..=nodes).map(|id| (id, M::new(id, nodes, seed))).collect(),
            network: Vec::new(),
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            checked: BTreeMap::new(),
            command: 1,
            commands,
            cut: None,
        }
    }

    /// How many terms had a leader.
    pub(crate) fn leaders(&self) -> usize {
        self.leaders.len()
    }

    /// The command that the client waits for.
    pub(crate) fn submitted(&self) -> u64 {
        self.command
    }

    fn member(&mut self, number: u8) -> (u64, &mut M) {
        let id = u64::from(number) % self.members.len() as u64 + 1;
        (id, self.members.get_mut(&id).expect("ids go from 1 on"))
    }

    pub(crate) fn step(&mut self, step: Step) -> Result<(), Wrong> {
        match step {
            Step::Tick(node) => self.member(node).1.tick(),
            Step::Sync(node) => self.member(node).1.sync(),
            Step::Crash(node, torn) => {
                let (id, member) = self.member(node);
                member.crash(torn);
                self.checked.remove(&id);
            }
            Step::Deliver(place) | Step::Lose(place) | Step::Repeat(place) if !self.network.is_empty() => {
                let at = usize::from(place) % self.network.len();
                let (from, to, message) = match step {
                    Step::Repeat(_) => self.network[at].clone(),
                    _ => self.network.remove(at),
                };
                if !matches!(step, Step::Lose(_)) {
                    self.receive(from, to, message);
                }
            }
            Step::Deliver(_) | Step::Lose(_) | Step::Repeat(_) => {}
            Step::Submit => self.submit(),
            Step::Cut(node) => {
                let id = self.member(node).0;
                self.cut = (self.cut != Some(id)).then_some(id);
            }
            Step::Calm(node) => {
                self.member(node).1.tick();
                self.collect();
                return self.deliver_all();
            }
        }
        self.collect();
        self.check()
    }

    fn receive(&mut self, from: u64, to: u64, message: M::Message) {
        let cut = self.cut.is_some_and(|cut| cut == from || cut == to);
        if let Some(member) = self.members.get_mut(&to).filter(|_| !cut) {
            member.receive(from, message);
        }
    }

    fn submit(&mut self) {
        let command = self.command;
        if command > self.commands {
            return;
        }
        for member in self.members.values_mut().filter(|member| member.leads().is_some()) {
            member.propose(command);
        }
    }

    fn collect(&mut self) {
        for (&from, member) in &mut self.members {
            self.network.extend(member.take_messages().into_iter().map(|(to, message)| (from, to, message)));
        }
        let over = self.network.len().saturating_sub(NETWORK);
        self.network.drain(..over);
    }

    /// Every message arrives, in order, and disks are quick.
    fn deliver_all(&mut self) -> Result<(), Wrong> {
        for (from, to, message) in std::mem::take(&mut self.network) {
            self.receive(from, to, message);
            self.check()?;
        }
        self.members.values_mut().for_each(Member::sync);
        self.collect();
        self.check()
    }

    /// What must never be.
    fn check(&mut self) -> Result<(), Wrong> {
        for (&id, member) in &self.members {
            if let Some(term) = member.leads() {
                let leader = *self.leaders.entry(term).or_insert(id);
                if leader != id {
                    return Err(format!("{leader} and {id} lead term {term}"));
                }
            }
            let checked = self.checked.entry(id).or_default();
            if member.commit() < *checked {
                return Err(format!("{id} takes back its commit index {checked} for {}", member.commit()));
            }
            for index in *checked + 1..=member.commit() {
                let Some(entry) = member.entry(index) else { continue };
                let known = *self.committed.entry(index).or_insert(entry);
                if known != entry {
                    return Err(format!("{id} has committed {entry:?} at {index}, where {known:?} is"));
                }
                if entry.1 == self.command {
                    self.command += 1;
                }
            }
            *checked = member.commit();
        }
        self.check_logs()
    }

    /// Where two logs have an entry of the same index and term, they are equal up to there.
    fn check_logs(&self) -> Result<(), Wrong> {
        for (one, left) in &self.members {
            for (other, right) in self.members.range(one + 1..) {
                let same =
                    |index: &u64| left.entry(*index).map(|it| it.0) == right.entry(*index).map(|it| it.0);
                let meets = |index: &u64| left.entry(*index).is_some() && same(index);
                let Some(last) = (1..=left.last().min(right.last())).rev().find(meets) else { continue };
                if let Some(index) = (1..=last).find(|&index| left.entry(index) != right.entry(index)) {
                    return Err(format!(
                        "the logs of {one} and {other} meet at {last}, but differ at {index}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Nothing is lost from here on: the commands that are left are committed, and all logs become equal. What was committed,
    /// without repetitions.
    pub(crate) fn heal(&mut self) -> Result<Vec<u64>, Wrong> {
        self.cut = None;
        for _ in 0..ROUNDS {
            let ids: Vec<u64> = self.members.keys().copied().collect();
            for id in ids {
                self.members.get_mut(&id).expect("it is there").tick();
                self.collect();
                self.deliver_all()?;
                self.deliver_all()?;
            }
            if self.command <= self.commands {
                self.submit();
                self.collect();
            } else if self.is_settled() {
                return self.result();
            }
        }
        let commits: Vec<_> =
            self.members.values().map(|member| (member.leads(), member.commit(), member.last())).collect();
        Err(format!("it does not come to rest: the client waits for {}; {commits:?}", self.command))
    }

    fn is_settled(&self) -> bool {
        let mut ends = self.members.values().map(|member| (member.commit(), member.last()));
        let (commit, last) = ends.next().unwrap_or_default();
        commit == last && ends.all(|end| end == (commit, last))
    }

    fn result(&self) -> Result<Vec<u64>, Wrong> {
        let mut commands: Vec<u64> = Vec::new();
        for (index, entry) in &self.committed {
            for (id, member) in &self.members {
                // The place before the first entry of a log is of no command.
                if member.entry(*index).is_some_and(|held| held != *entry) {
                    return Err(format!("{id} does not hold {entry:?} at {index} any more"));
                }
                if *index > member.commit() {
                    return Err(format!("{id} lacks {entry:?} at {index}"));
                }
            }
            if entry.1 != 0 && !commands.contains(&entry.1) {
                commands.push(entry.1);
            }
        }
        Ok(commands)
    }
}
