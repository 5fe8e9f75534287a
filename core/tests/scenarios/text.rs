//! What is printed: the core speaks in values, and this is the only place that knows texts.

use crate::{
    disk::{Snapshot, list},
    entry,
    node::{Envelope, Node, Packet, Ready},
};
use quorate_core::{
    contract::{Entry, HardState, LogPosition},
    raft::{Role, message::Message, progress::Mode},
    trace::{StepDown, TraceEvent},
    types::{Index, NodeId, Term},
};

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    #[default]
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
    None,
}

impl Level {
    /// By its name, in any case.
    ///
    /// # Errors
    /// Which names there are.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "WARN" => Self::Warn,
            "ERROR" => Self::Error,
            "FATAL" => Self::Fatal,
            "NONE" => Self::None,
            _ => {
                return Err(format!(
                    "log level `{name}`: it must be debug, info, warn, error, fatal or none"
                ));
            }
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::None => "NONE",
        }
    }

    /// A line of this level.
    pub(crate) fn line(self, text: &str) -> String {
        format!("{} {text}", self.name())
    }
}

/// A role's name.
pub(crate) const fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "StateFollower",
        Role::PreCandidate => "StatePreCandidate",
        Role::Candidate => "StateCandidate",
        Role::Leader => "StateLeader",
    }
}

/// A node on a line, as it sees itself.
pub(crate) fn state(node: &Node) -> String {
    let raft = &node.raft;
    let voter = if raft.membership().is_voter(node.id) { "(Voter)" } else { "(Non-Voter)" };
    let leader = raft.leader().map_or(0, |leader| leader.0);
    format!("{}: {} {voter} Term:{} Lead:{leader}\n", node.id, role(raft.role()), raft.term())
}

/// What a leader knows of all that take part, one a line. Nothing, of a node that does not lead.
pub(crate) fn status(node: &Node) -> String {
    let raft = &node.raft;
    let Some(first) = raft.first_of_term() else { return String::new() };
    let mut text = String::new();
    for member in raft.membership().members() {
        let learner = if raft.membership().learners().contains(&member) { " learner" } else { "" };
        if member == node.id {
            let matched = raft.durable_index().0.max(first.0 - 1);
            let next = first.0.max(matched + 1);
            text += &format!("{member}: StateReplicate match={matched} next={next}{learner}\n");
        } else if raft.progress(member).is_some() {
            text += &format!("{member}: {}\n", progress(node, member, learner));
        }
    }
    text
}

fn progress(node: &Node, peer: NodeId, learner: &str) -> String {
    let Some(progress) = node.raft.progress(peer) else { return String::new() };
    let full = !progress.has_room(&node.flow());
    let (name, paused, pending) = match &progress.mode {
        Mode::Probe { waiting } => ("StateProbe", waiting.is_some() && node.probe_brings(peer), None),
        Mode::Replicate => ("StateReplicate", full, None),
        Mode::Snapshot { at, .. } => ("StateSnapshot", true, Some(at.index)),
    };
    let mut text = format!("{name} match={} next={}{learner}", progress.matched, progress.next);
    if paused {
        text += " paused";
    }
    if let Some(index) = pending {
        text += &format!(" pendingSnap={index}");
    }
    if progress.active_at <= node.window() {
        text += " inactive";
    }
    if progress.inflight() > 0 {
        text += &format!(" inflight={}{}", progress.inflight(), if full { "[full]" } else { "" });
    }
    text
}

/// The log on a node's disk.
pub(crate) fn log(node: &Node) -> String {
    let (disk, mut text) = (&node.disk, String::new());
    if disk.entries().is_empty() {
        let start = disk.start().index;
        return format!("log is empty: first index={}, last index={start}\n", start.next());
    }
    for entry in disk.entries() {
        text += &(entry::show(entry) + "\n");
    }
    text
}

/// A node's work, before it is done.
pub(crate) fn ready(ready: &Ready) -> String {
    if ready.is_empty() {
        return "<empty Ready>\n".to_owned();
    }
    let mut text = format!("Ready MustSync={}:\n", ready.must_sync);
    if let Some((leader, now)) = ready.soft {
        text += &format!("Lead:{} State:{}\n", leader.map_or(0, |leader| leader.0), role(now));
    }
    if let Some(hard) = ready.hard {
        text += &format!("HardState {}\n", hard_state(&hard));
    }
    if let Some(snapshot) = &ready.snapshot {
        text += &format!("Snapshot {}\n", show_snapshot(snapshot));
    }
    text += &listed("Entries:\n", ready.entries().iter().map(entry::show));
    text += &listed("CommittedEntries:\n", ready.apply.iter().map(entry::show));
    text + &listed("Messages:\n", ready.messages.iter().map(packet))
}

fn listed(title: &str, lines: impl Iterator<Item = String>) -> String {
    let lines: String = lines.map(|line| line + "\n").collect();
    if lines.is_empty() { lines } else { title.to_owned() + &lines }
}

fn hard_state(state: &HardState) -> String {
    let vote = state.vote.map_or(String::new(), |vote| format!(" Vote:{vote}"));
    format!("Term:{}{vote} Commit:{}", state.term, state.commit)
}

fn show_snapshot(snapshot: &Snapshot) -> String {
    let membership = &snapshot.membership;
    format!(
        "Index:{} Term:{} ConfState:Voters:[{}] VotersOutgoing:[{}] Learners:[{}] LearnersNext:[{}] AutoLeave:{}",
        snapshot.at.index,
        snapshot.at.term,
        list(membership.voters(), " "),
        list(membership.outgoing(), " "),
        list(membership.learners(), " "),
        list(membership.learners_next(), " "),
        membership.leaves_itself()
    )
}

/// What is on its way, on a line.
pub(crate) fn packet(packet: &Packet) -> String {
    match packet {
        Packet::Peer(envelope) => message(envelope),
        Packet::Forward { from, to, data } => {
            let entry = Entry { term: Term(0), index: Index(0), data: data.clone() };
            format!("{from}->{to} MsgProp Term:0 Log:0/0 Entries:[{}]", entry::show(&entry))
        }
        Packet::Stored { to, last, .. } => {
            format!("AppendThread->{to} MsgStorageAppendResp Term:0 Log:{}/{}", last.term, last.index)
        }
        Packet::Applied { to, entries } => {
            format!("ApplyThread->{to} MsgStorageApplyResp Term:0 Log:0/0{}", in_brackets(entries))
        }
    }
}

/// A message's type.
pub(crate) const fn message_type(message: &Message) -> &'static str {
    match message {
        Message::PreVote { .. } => "MsgPreVote",
        Message::PreVoteReply { .. } => "MsgPreVoteResp",
        Message::Vote { .. } => "MsgVote",
        Message::TimeoutNow => "MsgTimeoutNow",
        Message::VoteReply { .. } => "MsgVoteResp",
        Message::Append { .. } => "MsgApp",
        Message::Appended { .. } | Message::AppendRefused { .. } | Message::SnapshotReply { .. } => {
            "MsgAppResp"
        }
        Message::Heartbeat { .. } => "MsgHeartbeat",
        Message::HeartbeatReply { .. } => "MsgHeartbeatResp",
        Message::SnapshotChunk { .. } => "MsgSnap",
    }
}

fn message(envelope: &Envelope) -> String {
    let place = |at: LogPosition| format!("{}/{}", at.term, at.index);
    let (mut term, mut log, mut rest) = (envelope.term, "0/0".to_owned(), String::new());
    match &envelope.message {
        Message::PreVote { next_term, last } => (term, log) = (*next_term, place(*last)),
        Message::PreVoteReply { next_term, granted, .. } => {
            term = if *granted { *next_term } else { term };
            rest = refused(*granted);
        }
        Message::Vote { last, .. } => log = place(*last),
        Message::TimeoutNow => {}
        Message::VoteReply { granted, .. } => rest = refused(*granted),
        Message::Append { previous, entries, commit } => {
            log = place(*previous);
            rest = format!(" Commit:{commit}{}", in_brackets(entries));
        }
        Message::Appended { index } => log = format!("0/{index}"),
        Message::AppendRefused { previous, hint } => {
            log = format!("{}/{previous}", hint.term);
            rest = format!(" Rejected (Hint: {})", hint.index);
        }
        Message::Heartbeat { commit, .. } if commit.0 > 0 => rest = format!(" Commit:{commit}"),
        Message::Heartbeat { .. } | Message::HeartbeatReply { .. } => {}
        Message::SnapshotChunk { at, data, .. } => {
            let snapshot = Snapshot::decode(*at, data).unwrap_or_default();
            rest = format!(" Snapshot: {}", show_snapshot(&snapshot));
        }
        Message::SnapshotReply { index, installed, .. } => {
            log = format!("0/{index}");
            rest = if *installed { String::new() } else { " Wants it again".to_owned() };
        }
    }
    let (from, to) = (envelope.from, envelope.to);
    format!("{from}->{to} {} Term:{term} Log:{log}{rest}", message_type(&envelope.message))
}

fn refused(granted: bool) -> String {
    if granted { String::new() } else { " Rejected (Hint: 0)".to_owned() }
}

fn in_brackets(entries: &[Entry]) -> String {
    match entries {
        [] => String::new(),
        [one] => format!(" Entries:[{}]", entry::show(one)),
        several => {
            let lines: String = several.iter().map(|entry| format!("  {}\n", entry::show(entry))).collect();
            format!(" Entries:[\n{lines}]")
        }
    }
}

/// A trace event of a node as a line of its log.
pub(crate) fn trace(node: NodeId, event: &TraceEvent) -> (Level, String) {
    match event {
        TraceEvent::PreVoteStarted { term } => {
            (Level::Info, format!("{node} became pre-candidate at term {}", term.0.saturating_sub(1)))
        }
        TraceEvent::ElectionStarted { term } => {
            (Level::Info, format!("{node} became candidate at term {term}"))
        }
        TraceEvent::LeaderElected { term } => (Level::Info, format!("{node} became leader at term {term}")),
        TraceEvent::Following { term, leader } => {
            let leader = leader.map_or(String::new(), |leader| format!(" of {leader}"));
            (Level::Info, format!("{node} became follower{leader} at term {term}"))
        }
        TraceEvent::SteppedDown { term, reason } => {
            let why = match reason {
                StepDown::HigherTerm => "a higher term was seen",
                StepDown::NoQuorum => "quorum is not active",
                StepDown::DiskStall => "its disk did not finish a write in time",
                StepDown::NoVote => "it lost its vote",
                StepDown::Removed => "it votes no more",
            };
            (Level::Warn, format!("{node} stepped down as leader of term {term}: {why}"))
        }
        TraceEvent::MembershipChanged { membership, .. } => {
            (Level::Info, format!("{node} switched to configuration {membership}"))
        }
        TraceEvent::SnapshotInstalled { index } => {
            (Level::Info, format!("{node} restored snapshot at {index}"))
        }
        other => (Level::Debug, format!("{node} {other:?}")),
    }
}
