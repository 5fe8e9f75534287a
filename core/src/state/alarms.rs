//! Alarms: what keeps the cluster from taking more data, or a master from serving, until an operator has mended it.

use super::{Members, Outcome, RecordKey, Turn, records::Tables, refuse::exhausted};
use crate::{
    bug::{self, Bug},
    types::NodeId,
};
use pb::{AlarmKind, client_reply::Body};
use quorate_proto::v1 as pb;
use std::{collections::BTreeMap, sync::Arc};

/// The alarms by who raised them, kept by [`Records`](super::records::Records). At most one a member.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table(Arc<BTreeMap<NodeId, pb::Alarm>>);

impl Table {
    /// The record was put or deleted.
    pub(crate) fn changed(&mut self, node: NodeId, new: Option<pb::Alarm>) {
        let all = Arc::make_mut(&mut self.0);
        match new {
            Some(alarm) => _ = all.insert(node, alarm),
            None => _ = all.remove(&node),
        }
    }

    /// One of them.
    pub(crate) fn get(&self, node: NodeId) -> Option<&pb::Alarm> {
        self.0.get(&node)
    }

    /// All of them, in order of the nodes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &pb::Alarm> {
        self.0.values()
    }
}

/// Whether what this node has no room for concerns the cluster.
fn counts(members: &Members, node: NodeId) -> bool {
    members.get(node).is_some() || bug::planted(Bug::AlarmStrangersCount)
}

/// A master has no more room, or its state differs. Nothing, if it is no member, or if it has an alarm already that weighs as
/// much.
pub(crate) fn raise(turn: &mut Turn<'_>, alarm: pb::Alarm) -> Outcome {
    let node = NodeId(alarm.node);
    let tables = turn.records.tables();
    let member = tables.members.get().is_some_and(|members| counts(members, node));
    let of_another = tables.members.get().is_some_and(|members| is_over(members, &alarm));
    // Want of room concerns everybody, also if that member serves nothing.
    let less = |known: &pb::Alarm| known.kind() == AlarmKind::Differs && alarm.kind() == AlarmKind::Space;
    if member && !of_another && tables.alarms.get(node).is_none_or(less) {
        turn.put_alarm(node, pb::Alarm { raised_wall_ms: turn.wall_ms, ..alarm });
    }
    Ok(Body::RaiseAlarm(pb::RaiseAlarmReply {}))
}

/// Whether an alarm is about a directory that is no member's any more.
fn is_over(members: &Members, alarm: &pb::Alarm) -> bool {
    let storage = members.get(NodeId(alarm.node)).map_or(0, |record| record.storage);
    alarm.kind() == AlarmKind::Differs && storage != alarm.storage
}

/// The members were changed, or one was heard of: alarms about directories that are gone are over.
pub(crate) fn follow(turn: &mut Turn<'_>) {
    let tables = turn.records.tables();
    let Some(members) = tables.members.get().filter(|_| !bug::planted(Bug::AlarmOfFormer)) else { return };
    let over = tables.alarms.iter().filter(|alarm| is_over(members, alarm));
    for node in over.map(|alarm| NodeId(alarm.node)).collect::<Vec<_>>() {
        turn.delete(&RecordKey::Alarm(node));
    }
}

/// An operator says that what they are about is mended.
pub(crate) fn disarm(turn: &mut Turn<'_>, node: Option<NodeId>) -> Outcome {
    let wanted = |alarm: &&pb::Alarm| node.is_none_or(|node| node.0 == alarm.node);
    let most = if bug::planted(Bug::AlarmOneDisarmed) { 1 } else { usize::MAX };
    let alarms: Vec<_> = turn.records.tables().alarms.iter().filter(wanted).take(most).cloned().collect();
    for alarm in &alarms {
        turn.delete(&RecordKey::Alarm(NodeId(alarm.node)));
    }
    Ok(Body::DisarmAlarm(pb::DisarmAlarmReply { alarms }))
}

/// Why a change that takes room is refused now, if it is. An alarm of who is no member any more does not count.
pub(crate) fn refusal(tables: &Tables) -> Option<pb::Refusal> {
    let members = tables.members.get()?;
    let counts = |alarm: &&pb::Alarm| alarm.kind() == AlarmKind::Space && counts(members, NodeId(alarm.node));
    let alarm = tables.alarms.iter().find(counts)?;
    Some(exhausted(format!(
        "node {} has no more room ({}): delete what is not needed or make room on its disk, then run `quorate alarm disarm`",
        alarm.node, alarm.message
    )))
}
