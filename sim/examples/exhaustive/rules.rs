//! What must hold in every state, and what must happen in some.

use crate::{
    model::{Cluster, Local, NODES, State, index_of},
    scope::{Scope, Start},
};
use quorate_core::{
    contract::Entry,
    raft::{Role, message::Message},
    types::Term,
};
use stateright::Property;

/// A rule, found broken once. The number is its own.
macro_rules! always {
    ($number:literal, $name:literal, $holds:expr) => {
        Property::always($name, |cluster: &Cluster, state: &State| {
            let holds: fn(&State) -> bool = $holds;
            !cluster.first($number, || !holds(state))
        })
    };
}

/// Something that must happen, found once. The number is its own.
macro_rules! sometimes {
    ($number:literal, $name:literal, $happens:expr) => {
        Property::sometimes($name, |cluster: &Cluster, state: &State| {
            let happens: fn(&State) -> bool = $happens;
            cluster.first($number, || happens(state))
        })
    };
}

/// The rules for a scope: what cannot happen in it is not asked for.
#[must_use]
pub(crate) fn all(scope: &Scope) -> Vec<Property<Cluster>> {
    let mut rules = vec![
        always!(0, "one leader a term", |state| state.past.leaders.iter().all(|all| all.count_ones() <= 1)),
        always!(1, "one vote a term", |state| {
            state.past.votes.iter().flatten().all(|all| all.count_ones() <= 1)
        }),
        always!(2, "log matching", log_matching),
        always!(3, "leader completeness", leader_completeness),
        always!(4, "state machine safety", state_machine_safety),
        always!(5, "what is committed is durable on a quorum", committed_durable),
        always!(6, "a vote is durable before it is given", votes_durable),
        always!(7, "what is acknowledged is durable", acknowledged_durable),
        always!(8, "no panic", |state| state.past.panic.is_none()),
    ];
    if scope.start == Start::Empty {
        rules.push(sometimes!(9, "a leader is elected", |state| {
            state.past.leaders.iter().any(|nodes| *nodes != 0)
        }));
        rules.push(sometimes!(10, "an entry is committed", |state| !state.past.committed.is_empty()));
    }
    if scope.terms >= 2 {
        rules.push(sometimes!(11, "the second term commits", |state| {
            state.past.committed.iter().any(|(entry, _)| entry.term == Term(2))
        }));
        rules.push(sometimes!(12, "two terms have a leader at once", |state| {
            state.nodes.iter().filter(|node| node.raft.role() == Role::Leader).count() > 1
        }));
    }
    if scope.terms >= 2 && scope.commands > 0 {
        rules.push(sometimes!(13, "a command of the first term is committed by the second", |state| {
            let earlier = |entry: &Entry| entry.term == Term(1) && !entry.data.is_empty();
            state.past.committed.iter().any(|(entry, by)| earlier(entry) && *by == Term(2))
        }));
        rules.push(sometimes!(14, "a command of the first term is overwritten by the second", |state| {
            let overwrites = |entry: &Entry| entry.term == Term(2) && entry.index.0 == 2;
            state.past.committed.iter().any(|(entry, _)| overwrites(entry))
        }));
    }
    if scope.crashes > 0 {
        rules.push(sometimes!(15, "a crash loses a write", |state| state.past.lost));
    }
    rules
}

fn log_matching(state: &State) -> bool {
    let pairs = (0..NODES).flat_map(|one| (one + 1..NODES).map(move |other| (one, other)));
    pairs.into_iter().all(|(one, other)| {
        let (one, other) = (&state.nodes[one].raft, &state.nodes[other].raft);
        let last = one.last_index().min(other.last_index()).0;
        let agree = (1..=last).rev().find(|&at| one.term_at(index_of(at)) == other.term_at(index_of(at)));
        (1..=agree.unwrap_or(0)).all(|at| one.entry(index_of(at)) == other.entry(index_of(at)))
    })
}

/// Entries that were committed in lower terms are in every leader's log.
fn leader_completeness(state: &State) -> bool {
    state.nodes.iter().filter(|node| node.raft.role() == Role::Leader).all(|leader| {
        let term = leader.raft.term();
        let older = state.past.committed.iter().filter(|(_, by)| *by < term);
        older.into_iter().all(|(entry, _)| leader.raft.entry(entry.index) == Some(entry))
    })
}

fn state_machine_safety(state: &State) -> bool {
    state.nodes.iter().all(|node| {
        let known = state.past.committed.iter().take_while(|(entry, _)| entry.index <= node.raft.commit());
        known.into_iter().all(|(entry, _)| node.raft.entry(entry.index) == Some(entry))
    })
}

fn on_disk(node: &Local, entry: &Entry) -> bool {
    let place = usize::try_from(entry.index.0 - 1).unwrap_or(usize::MAX);
    node.disk.entries.get(place) == Some(entry)
}

fn committed_durable(state: &State) -> bool {
    state
        .past
        .committed
        .iter()
        .all(|(entry, _)| state.nodes.iter().filter(|node| on_disk(node, entry)).count() > NODES / 2)
}

fn votes_durable(state: &State) -> bool {
    state.network.iter().all(|packet| {
        let candidate = match packet.message {
            Message::VoteReply { granted: true, .. } => packet.to,
            // A candidate's vote for itself.
            Message::Vote { .. } => packet.from,
            _ => return true,
        };
        let durable = state.nodes[packet.from].disk.hard_state;
        let vote = durable.vote.map(|vote| vote.0) == Some(candidate as u64 + 1);
        durable.term > packet.term || (durable.term == packet.term && vote)
    })
}

fn acknowledged_durable(state: &State) -> bool {
    state.network.iter().all(|packet| {
        let Message::Appended { index } = packet.message else { return true };
        let disk = &state.nodes[packet.from].disk;
        // A later leader may have cut it.
        disk.hard_state.term > packet.term
            || (disk.hard_state.term == packet.term && disk.entries.len() as u64 >= index.0)
    })
}
