//! Who has no more room, kept from the committed log beside the state's own table: what takes room is refused while a member
//! has none.

use super::{Ledger, Rule, reference::refusal};
use quorate_core::{command::Command, state::State, types::NodeId};
use quorate_proto::v1::{self as pb, client_reply::Body};
use std::collections::BTreeSet;

/// What a refusal for want of room says.
const SAYS: &str = "has no more room";

/// So much of a command is in a message, characters.
const SHOWN: usize = 120;

/// The alarms.
#[derive(Debug, Default)]
pub struct Alarms {
    raised: BTreeSet<NodeId>,
}

impl Alarms {
    /// A member without room; `None`: there is room everywhere.
    #[must_use]
    pub fn room(&self, state: &State) -> Option<NodeId> {
        self.raised.iter().copied().find(|node| is_member(state, *node))
    }

    /// An entry was carried out that is not the repetition of another. `state`: behind it.
    pub fn applied(
        &mut self,
        ledger: &mut Ledger,
        state: &State,
        command: &Command,
        reply: &pb::ClientReply,
    ) {
        match command {
            Command::RaiseAlarm { alarm } if is_member(state, NodeId(alarm.node)) => {
                self.raised.insert(NodeId(alarm.node));
            }
            Command::DisarmAlarm { node } => self.disarmed(ledger, *node, reply),
            _ => {}
        }
        // Jobs are refused for other bounds as well.
        let refused =
            refusal(reply).filter(|it| it.code() == pb::RefusalCode::Exhausted && it.message.contains(SAYS));
        let short = self.room(state).filter(|_| takes_room(command));
        ledger.hold(Rule::RoomShort, refused.is_some() == short.is_some(), || {
            let asked: String = format!("{command:?}").chars().take(SHOWN).collect();
            format!("{asked} is answered {:?}; without room: {:?}", reply.body, self.raised)
        });
    }

    fn disarmed(&mut self, ledger: &mut Ledger, node: Option<NodeId>, reply: &pb::ClientReply) {
        let wanted = |raised: &NodeId| node.is_none_or(|node| node == *raised);
        let taken: Vec<u64> = self.raised.iter().filter(|raised| wanted(raised)).map(|node| node.0).collect();
        self.raised.retain(|raised| !wanted(raised));
        let Some(Body::DisarmAlarm(told)) = &reply.body else { return };
        let told: Vec<u64> = told.alarms.iter().map(|alarm| alarm.node).collect();
        ledger.hold(Rule::RoomShort, told == taken, || {
            format!("alarms of {told:?} are disarmed; raised were, of those that are meant, {taken:?}")
        });
    }
}

fn is_member(state: &State, node: NodeId) -> bool {
    state.members().is_some_and(|members| members.get(node).is_some())
}

/// Counted here, and not by the code that is looked at.
const fn takes_room(command: &Command) -> bool {
    matches!(command, Command::Put { .. } | Command::CompareAndSet { .. } | Command::SubmitJob { .. })
}
