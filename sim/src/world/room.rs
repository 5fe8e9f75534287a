//! Masters without room: who says in the end that there is room again, and what a whole cluster may still complain about.

use super::{Event, World};
use crate::{client::Client, master::Master, plan::Operation};
use quorate_core::{
    Node,
    state::State,
    types::{Index, NodeId},
};

/// The members that have no more room, as far as this state knows.
fn without_room(state: &State) -> impl Iterator<Item = NodeId> {
    let member = |node: &NodeId| state.members().is_some_and(|members| members.get(*node).is_some());
    state.alarms().map(|alarm| NodeId(alarm.node)).filter(member)
}

impl World {
    /// A member that has no more room.
    pub(super) fn short_of_room(&self) -> Option<String> {
        let node = without_room(self.newest()?.state()).next()?;
        Some(format!("node {node} has no more room"))
    }

    /// Somebody who is not busy says that there is room again everywhere.
    pub(super) fn disarm_alarms(&mut self) {
        let idle = |client: &Client| client.busy.is_none() && client.urgent.is_empty();
        let Some(place) = self.clients.iter().position(idle) else { return };
        if self.short_of_room().is_some() {
            self.clients[place].urgent.push_back(Operation::DisarmAlarm { master: None });
            self.queue.push(self.time, Event::ClientNext { client: place as u8 });
        }
    }

    /// How many alarms of a master are right in a cluster that is whole again: of those that were made to differ, or that did
    /// from a majority that was made to; of its own doubt if nobody starts it again; and of room that concerns nobody or that
    /// it has not heard of to be there again.
    pub(super) fn tolerated(&self, master: &Master, node: &Node) -> usize {
        let (place, term) = (usize::from(master.place), node.raft().term());
        let wronged = |node: NodeId| {
            self.masters.iter().any(|it| it.id == node && self.wronged.contains(&usize::from(it.place)))
        };
        // What is right only the oracles know.
        let misjudged =
            |index: Index| self.oracles.is_none() || self.misjudged.contains(&(place, term, index));
        let right = |(other, index): &(NodeId, Index)| wronged(*other) || misjudged(*index);
        let differing = node.raft().differing().filter(right).count();
        let doubt = usize::from(master.outside && node.doubt().is_some());
        let newest = self.newest().map(|newest| newest.state().index());
        let behind = master.outside || newest.is_some_and(|newest| node.state().index() < newest);
        let all = node.state().alarms().count();
        let room = if behind { all } else { all - without_room(node.state()).count() };
        differing + doubt + room
    }
}
