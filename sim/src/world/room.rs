//! Masters without room: who says in the end that there is room again, and what a whole cluster may still complain about.

use super::{Event, World};
use crate::{client::Client, master::Master, oracle::room::without_room, plan::Operation};
use quorate_core::{
    Node,
    types::{Index, NodeId},
};
use quorate_proto::v1 as pb;

impl World {
    /// A member that has no more room.
    pub(super) fn short_of_room(&self) -> Option<String> {
        let node = without_room(self.newest()?.state()).next()?;
        Some(format!("node {node} has no more room"))
    }

    /// Somebody says that there is room again everywhere: who is not busy, or else who has nothing urgent to do next. All may be
    /// busy with what there is no room for.
    pub(super) fn disarm_alarms(&mut self) {
        if self.short_of_room().is_none() {
            return;
        }
        let calm = |client: &Client| client.urgent.is_empty();
        let idle = self.clients.iter().position(|client| client.busy.is_none() && calm(client));
        if let Some(place) = idle.or_else(|| self.clients.iter().position(calm)) {
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
        let raised =
            |other: NodeId| node.state().alarms().any(|alarm| alarm.node == other.0 && is_about_state(alarm));
        let differing = node.raft().differing().filter(|it| right(it) && !raised(it.0)).count();
        // Of an earlier leader, perhaps.
        let misjudged = |index: u64| self.misjudged.iter().any(|(.., at)| at.0 == index);
        let said = node.state().alarms().filter(|alarm| is_about_state(alarm));
        let said = said
            .filter(|it| wronged(NodeId(it.node)) || misjudged(it.index) || self.oracles.is_none())
            .count();
        let doubt = usize::from(master.outside && node.doubt().is_some());
        let newest = self.newest().map(|newest| newest.state().index());
        let behind = master.outside || newest.is_some_and(|newest| node.state().index() < newest);
        let all = node.state().alarms().filter(|alarm| !is_about_state(alarm)).count();
        let room = if behind { all } else { all - without_room(node.state()).count() };
        differing + said + doubt + room
    }

    /// A member whose state differs as its leader knows, and nobody else.
    pub(super) fn differing_untold(&self) -> Option<String> {
        let node = self.masters.get(usize::from(self.leader()?))?.node.as_ref()?;
        let silent = |other: NodeId| node.state().alarms().all(|alarm| alarm.node != other.0);
        let member =
            |other: NodeId| node.state().members().is_some_and(|members| members.get(other).is_some());
        let (other, at) = node.raft().differing().find(|(other, _)| silent(*other) && member(*other))?;
        Some(format!("the state of node {other} differs at {at}, and no alarm says so"))
    }
}

fn is_about_state(alarm: &pb::Alarm) -> bool {
    alarm.kind() == pb::AlarmKind::Differs
}
