//! Members whose states differ from the majority's: an alarm says so in the log, so that it outlives the leader that found out.

use super::Node;
use crate::{
    bug::{self, Bug},
    command::Command,
    lead::Errand,
    types::{Index, NodeId},
};
use quorate_proto::v1 as pb;

/// Whether an alarm is about the state of this member.
pub(super) fn differs(alarm: &pb::Alarm, node: NodeId) -> bool {
    alarm.node == node.0 && alarm.kind() == pb::AlarmKind::Differs
}

/// What people are told.
pub(super) fn says(node: NodeId, at: Index) -> String {
    format!("the state of node {node} at index {at} differs from the majority's: it serves nothing")
}

impl Node {
    /// A leader raises an alarm about each member that it has found to differ. One that has another alarm waits until that is
    /// taken back.
    pub(super) fn differing_due(&mut self) {
        let Some(lead) = self.lead.as_ref().filter(|lead| lead.is_ready(self.now.time)) else { return };
        if bug::planted(Bug::DifferingUntold) {
            return;
        }
        let silent = |node: NodeId| self.state.alarms().all(|alarm| alarm.node != node.0);
        let member = |node: NodeId| self.state.members().is_some_and(|members| members.get(node).is_some());
        let due = |node: NodeId| silent(node) && member(node) && lead.is_free(Errand::Differs(node));
        let differing: Vec<_> = self.raft.differing().filter(|(node, _)| due(*node)).collect();
        for (node, at) in differing {
            let storage =
                self.state.members().and_then(|members| members.get(node)).map_or(0, |it| it.storage);
            let (kind, message) = (pb::AlarmKind::Differs.into(), says(node, at));
            let alarm = pb::Alarm { node: node.0, kind, message, raised_wall_ms: 0, index: at.0, storage };
            self.propose_errand(Errand::Differs(node), Command::RaiseAlarm { alarm });
        }
    }

    /// The members about whose state there is an alarm.
    pub(super) fn named_differing(&self) -> Vec<NodeId> {
        let named = self.state.alarms().filter(|alarm| alarm.kind() == pb::AlarmKind::Differs);
        named.map(|alarm| NodeId(alarm.node)).collect()
    }

    /// Alarms were raised or taken back. `before`: about whose state there was one.
    pub(super) fn heed_alarms(&mut self, before: &[NodeId]) {
        // What the log holds twice goes.
        self.save();
        let now = self.named_differing();
        for node in before.iter().filter(|node| !now.contains(node)) {
            self.raft.forget_differing(*node);
        }
    }
}
