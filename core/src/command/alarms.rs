//! Requests about alarms.

use super::{
    Command,
    validate::{Checked, above_zero},
};
use crate::{limits::MESSAGE_BYTES, state::invalid, types::NodeId};
use quorate_proto::v1 as pb;

pub(super) fn raise(request: &pb::RaiseAlarmRequest) -> Checked<Command> {
    let Some(alarm) = &request.alarm else {
        return Err(invalid("alarm is missing: there is nothing to raise".to_owned()));
    };
    above_zero("alarm.node", alarm.node)?;
    if alarm.kind() != pb::AlarmKind::Space {
        return Err(invalid(format!("alarm.kind is {}: it must be 1 (space)", alarm.kind)));
    }
    let size = alarm.message.len();
    if size > MESSAGE_BYTES {
        return Err(invalid(format!("alarm.message has {size} bytes: {MESSAGE_BYTES} is the limit")));
    }
    Ok(Command::RaiseAlarm { alarm: alarm.clone() })
}

pub(super) fn disarm(request: &pb::DisarmAlarmRequest) -> Command {
    Command::DisarmAlarm { node: (request.node > 0).then_some(NodeId(request.node)) }
}
