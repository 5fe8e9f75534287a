//! The commands that ask pure functions: `committed` and `vote` of majorities, and `simple`, `enter-joint` and `leave-joint`
//! of memberships.

use crate::grammar::{Argument, Command};
use quorate_core::{
    raft::{
        membership::{Change, Membership, MembershipError},
        quorum::{self, Decision},
    },
    types::NodeId,
};
use std::collections::{BTreeMap, BTreeSet};

/// Whether a command is one of a pure function.
pub(crate) fn knows(name: &str) -> bool {
    matches!(name, "committed" | "vote" | "simple" | "enter-joint" | "leave-joint")
}

/// The membership that `simple`, `enter-joint` and `leave-joint` change, one a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pure {
    membership: Membership,
    /// Where a leader whose log grows by one entry a command would begin to probe each member.
    next: BTreeMap<NodeId, u64>,
    commands: u64,
}

impl Pure {
    /// Runs one command.
    ///
    /// # Errors
    /// What is wrong with the command itself. A change that is refused is an output.
    pub(crate) fn run(&mut self, command: &Command, input: &[String]) -> Result<String, String> {
        match command.name.as_str() {
            "committed" => Question::parse(command)?.committed(),
            "vote" => Question::parse(command)?.vote(),
            _ => {
                let output = self.change(command, input);
                self.commands += 1;
                output
            }
        }
    }

    fn change(&mut self, command: &Command, input: &[String]) -> Result<String, String> {
        let changes = match parse_changes(&input.join(" ")) {
            Ok(changes) => changes,
            Err(message) => return Ok(message),
        };
        let next = match command.name.as_str() {
            "simple" => self.membership.simple(&changes),
            "enter-joint" => self.membership.enter_joint(flag(command, "autoleave")?, &changes),
            _ if changes.is_empty() => self.membership.leave_joint(),
            _ => return Ok("this command takes no input".to_owned()),
        };
        let next = match next {
            Ok(next) => next,
            Err(error) => return Ok(refusal(&error)),
        };
        self.follow(&changes, &next);
        self.membership = next;
        Ok(self.to_string())
    }

    /// Who is removed and added again in one change begins anew.
    fn follow(&mut self, changes: &[Change], next: &Membership) {
        let first = self.commands.max(1);
        for change in changes {
            match change {
                Change::AddVoter(node) | Change::AddLearner(node) => {
                    self.next.entry(*node).or_insert(first);
                }
                Change::Remove(node) if !next.outgoing().contains(node) => {
                    self.next.remove(node);
                }
                Change::Remove(_) | Change::Update(_) => {}
            }
        }
        let members: BTreeSet<NodeId> = next.members().collect();
        self.next.retain(|node, _| members.contains(node));
    }
}

impl std::fmt::Display for Pure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.membership)?;
        for (node, next) in &self.next {
            let learner = if self.membership.learners().contains(node) { " learner" } else { "" };
            write!(formatter, "\n{node}: StateProbe match=0 next={next}{learner}")?;
        }
        Ok(())
    }
}

/// A refused change, as it is told.
fn refusal(error: &MembershipError) -> String {
    error.to_string()
}

/// Changes as `v1 l2 r3 u4`: a voter, a learner, nobody any more, something else about it. Node 0 is passed over.
///
/// # Errors
/// What is wrong, and what is right.
pub(crate) fn parse_changes(text: &str) -> Result<Vec<Change>, String> {
    let mut changes = Vec::new();
    for word in text.split_whitespace() {
        let kind: fn(NodeId) -> Change = match word.chars().next() {
            Some('v') => Change::AddVoter,
            Some('l') => Change::AddLearner,
            Some('r') => Change::Remove,
            Some('u') => Change::Update,
            _ => return Err(format!("unknown input: {word}")),
        };
        let node = word[1..]
            .parse::<u64>()
            .map_err(|_| format!("unknown token {word}: a change is `v1`, `l1`, `r1` or `u1`"))?;
        changes.extend((node != 0).then(|| kind(NodeId(node))));
    }
    Ok(changes)
}

/// A change as it is written.
pub(crate) fn show_change(change: &Change) -> String {
    match change {
        Change::AddVoter(node) => format!("v{node}"),
        Change::AddLearner(node) => format!("l{node}"),
        Change::Remove(node) => format!("r{node}"),
        Change::Update(node) => format!("u{node}"),
    }
}

fn flag(command: &Command, key: &str) -> Result<bool, String> {
    let mut value = false;
    for argument in &command.arguments {
        value = match (argument.key.as_str(), argument.values.as_deref()) {
            (name, Some([value])) if name == key => {
                value.parse().map_err(|_| format!("`{key}={value}`: it must be `true` or `false`"))?
            }
            (name, _) => {
                return Err(format!("`{name}` is no argument of `{}`: there is `{key}=true`", command.name));
            }
        };
    }
    Ok(value)
}

/// One or two majorities, and what each voter says.
struct Question {
    one: Vec<u64>,
    /// `None`: only one majority is asked.
    other: Option<Vec<u64>>,
    /// One for each voter, without repetition, in the order of their first naming; `None` for `_`.
    answers: Vec<Option<String>>,
}

impl Question {
    fn parse(command: &Command) -> Result<Self, String> {
        let mut question = Self { one: Vec::new(), other: None, answers: Vec::new() };
        let answers = if command.name == "vote" { "votes" } else { "idx" };
        for argument in &command.arguments {
            let values = argument.values.as_deref().unwrap_or_default();
            match argument.key.as_str() {
                "cfg" => question.one = ids(argument)?,
                "cfgj" if values == ["zero"] => question.other = Some(Vec::new()),
                "cfgj" => question.other = Some(ids(argument)?),
                key if key == answers => {
                    question.answers =
                        values.iter().map(|value| (value != "_").then(|| value.clone())).collect();
                }
                key => {
                    return Err(format!(
                        "`{key}` is no argument of `{}`: there are `cfg=(1,2)`, `cfgj=(2,3)` or `cfgj=zero`, and `{answers}=(..)`",
                        command.name
                    ));
                }
            }
        }
        Ok(question)
    }

    fn voters(&self) -> BTreeSet<u64> {
        self.one.iter().chain(self.other.iter().flatten()).copied().collect()
    }

    /// Each voter's answer; or what is told if they are not as many as the voters.
    fn said(&self) -> Result<BTreeMap<u64, &str>, String> {
        let voters = self.voters();
        if voters.len() != self.answers.len() {
            let voters: Vec<String> = voters.iter().map(|voter| format!("{voter}:{{}}")).collect();
            let answers: Vec<&str> =
                self.answers.iter().map(|answer| answer.as_deref().unwrap_or("0")).collect();
            return Err(format!(
                "error: mismatched input (explicit or _) for voters map[{}]: [{}]",
                voters.join(" "),
                answers.join(" ")
            ));
        }
        let (mut said, mut answers) = (BTreeMap::new(), self.answers.iter());
        for voter in self.one.iter().chain(self.other.iter().flatten()) {
            if !said.contains_key(voter) {
                said.insert(*voter, answers.next().and_then(|answer| answer.as_deref()));
            }
        }
        Ok(said.into_iter().filter_map(|(voter, answer)| Some((voter, answer?))).collect())
    }

    fn committed(&self) -> Result<String, String> {
        let said = match self.said() {
            Ok(said) => said,
            Err(mismatch) => return Ok(mismatch),
        };
        let mut indexes = BTreeMap::new();
        for (voter, index) in said {
            let index: u64 =
                index.parse().map_err(|_| format!("`{index}` is no index: it must be above 0, or `_`"))?;
            if index == 0 {
                return Err("an index of 0: it must be above 0, or `_`".to_owned());
            }
            indexes.insert(voter, index);
        }
        let value = |node: NodeId| indexes.get(&node.0).copied().unwrap_or(0);
        let of = |voters: &[u64]| match distinct(voters) {
            voters if voters.is_empty() => u64::MAX,
            voters => quorum::reached_by_majority(voters.into_iter().map(value)),
        };
        let reached = of(&self.one).min(self.other.as_deref().map_or(u64::MAX, of));
        let mut output = describe(&self.voters(), &indexes);
        if let Some(membership) = self.membership() {
            let alternative = membership.reached(value);
            if alternative != reached {
                output += &format!("{} <-- of the membership\n", show_index(alternative));
            }
        }
        Ok(output + &show_index(reached))
    }

    fn vote(&self) -> Result<String, String> {
        let said = match self.said() {
            Ok(said) => said,
            Err(mismatch) => return Ok(mismatch),
        };
        let mut votes = BTreeMap::new();
        for (voter, vote) in said {
            let vote = match vote {
                "y" => true,
                "n" => false,
                _ => return Err(format!("`{vote}` is no vote: it must be `y`, `n` or `_`")),
            };
            votes.insert(NodeId(voter), vote);
        }
        let of = |voters: &[u64]| {
            quorum::decide(distinct(voters).into_iter().map(|voter| votes.get(&voter).copied()))
        };
        let decision = of(&self.one).and(self.other.as_deref().map_or(Decision::Won, of));
        let mut output = String::new();
        if let Some(alternative) = self.membership().map(|membership| membership.decide(&votes))
            && alternative != decision
        {
            output += &format!("{} <-- of the membership\n", show_decision(alternative));
        }
        Ok(output + show_decision(decision))
    }

    /// The membership of these voters, if there can be one.
    fn membership(&self) -> Option<Membership> {
        let other = self.other.as_deref().unwrap_or_default();
        let parts = [distinct(&self.one), distinct(other), Vec::new(), Vec::new()];
        Membership::from_parts(parts.map(|nodes| nodes.into_iter().collect()), false).ok()
    }
}

fn distinct(voters: &[u64]) -> Vec<NodeId> {
    let voters: BTreeSet<u64> = voters.iter().copied().collect();
    voters.into_iter().map(NodeId).collect()
}

fn ids(argument: &Argument) -> Result<Vec<u64>, String> {
    let id = |text: &String| {
        text.parse().map_err(|_| format!("`{}`: `{text}` is no node: it must be a number", argument.key))
    };
    argument.values.iter().flatten().map(id).collect()
}

fn show_index(index: u64) -> String {
    if index == u64::MAX { "∞".to_owned() } else { index.to_string() }
}

const fn show_decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Won => "VoteWon",
        Decision::Lost => "VoteLost",
        Decision::Pending => "VotePending",
    }
}

/// A bar for each voter: how many come before it. Of several that are equal, only the first has one.
fn describe(voters: &BTreeSet<u64>, indexes: &BTreeMap<u64, u64>) -> String {
    let count = voters.len();
    if count == 0 {
        return "<empty majority quorum>".to_owned();
    }
    let index = |voter: &u64| indexes.get(voter).copied().unwrap_or(0);
    let mut text = format!("{:count$}    idx\n", "");
    for voter in voters {
        let first = !voters.iter().any(|other| other < voter && index(other) == index(voter));
        let below = voters.iter().filter(|other| first && index(other) < index(voter)).count();
        let bar = match indexes.contains_key(voter) {
            true => format!("{}>", "x".repeat(below)),
            false => "?".to_owned(),
        };
        text += &format!("{bar:width$} {:>5}    (id={voter})\n", index(voter), width = count + 1);
    }
    text
}
