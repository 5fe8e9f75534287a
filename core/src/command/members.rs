//! Requests that change who takes part, once each of their fields is what it may be.

use super::{
    Command,
    validate::{Checked, above_zero, address},
};
use crate::{
    limits::{MEMBER_CHANGES, PRIORITIES},
    state::invalid,
};
use pb::member_change::Change;
use quorate_proto::v1 as pb;
use std::collections::BTreeSet;

/// One request: each node in it at most once.
pub(super) fn change(request: &pb::ChangeMembersRequest) -> Checked<Command> {
    let count = request.changes.len();
    if count == 0 || count > MEMBER_CHANGES {
        return Err(invalid(format!("changes has {count} of them: it must have 1 to {MEMBER_CHANGES}")));
    }
    let mut named = BTreeSet::new();
    for change in &request.changes {
        let (field, node) = match &change.change {
            None => return Err(invalid("changes: one of them says nothing".to_owned())),
            Some(Change::Add(member)) => ("add.id", addressed("add", member)?),
            Some(Change::Update(member)) => ("update.id", addressed("update", member)?),
            Some(Change::Promote(node)) => ("promote", *node),
            Some(Change::Demote(node)) => ("demote", *node),
            Some(Change::Remove(node)) => ("remove", *node),
            Some(Change::Replace(node)) => ("replace", *node),
            Some(Change::Priority(wanted)) => ("priority.id", prioritized(wanted)?),
        };
        if !named.insert(above_zero(field, node)?) {
            return Err(invalid(format!("changes names node {node} twice: each node may be changed once")));
        }
    }
    Ok(Command::ChangeMembers { changes: request.changes.clone() })
}

fn prioritized(wanted: &pb::MemberPriority) -> Checked<u64> {
    if !PRIORITIES.contains(&wanted.priority) {
        let (least, most) = (PRIORITIES.start(), PRIORITIES.end());
        return Err(invalid(format!(
            "priority.priority is {}: it must be {least} to {most}",
            wanted.priority
        )));
    }
    Ok(wanted.id)
}

fn addressed(field: &str, member: &pb::AddMember) -> Checked<u64> {
    address(&format!("{field}.peer_address"), &member.peer_address)?;
    address(&format!("{field}.client_address"), &member.client_address)?;
    Ok(member.id)
}
