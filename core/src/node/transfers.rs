//! Requests that another node leads, which are answered when it does.

use super::{
    Node,
    requests::{Asker, Place, refusal},
};
use crate::{
    mark::{self, Mark},
    raft::transfer::TransferError,
    types::NodeId,
};
use quorate_proto::v1::{self as pb, client_reply};

/// It says nothing of the state, which may have moved on there.
const fn leads(leader: NodeId) -> pb::ClientReply {
    let body = client_reply::Body::TransferLeader(pb::TransferLeaderReply { leader: leader.0 });
    pb::ClientReply { index: 0, body: Some(body) }
}

impl Node {
    /// Somebody wants another node to lead.
    pub(super) fn transfer_for(
        &mut self,
        asker: Asker,
        ask: pb::TransferLeaderRequest,
    ) -> Result<(), pb::Refusal> {
        // It was handed over meanwhile: who asks again must not move it further.
        let over = ask.to == 0 && ask.from != 0 && NodeId(ask.from) != self.config.node;
        mark::hit_if(over, Mark::TransferOver);
        let to = if over { self.config.node.0 } else { ask.to };
        let to =
            self.raft.transfer(Some(NodeId(to)).filter(|to| to.0 != 0)).map_err(|error| match error {
                TransferError::NotLeader | TransferError::Silent(_) | TransferError::Nobody => {
                    self.unavailable(&error.to_string())
                }
                TransferError::Alone
                | TransferError::NoVote(_)
                | TransferError::NotEligible(_)
                | TransferError::Differs(_)
                | TransferError::UnderWay(_) => refusal(pb::RefusalCode::Precondition, error.to_string()),
            })?;
        // It leads already. Others may still wait until somebody else does.
        if to == self.config.node {
            self.answer(asker, leads(to));
            return Ok(());
        }
        let token = self.waiting.token();
        self.waiting.transfers.insert(token, (to, asker));
        self.wait(Place::Transfer(token), asker);
        Ok(())
    }

    /// This node leads: whoever waited for that is told.
    pub(super) fn transferred(&mut self, leader: NodeId) {
        for (to, asker) in core::mem::take(&mut self.waiting.transfers).into_values() {
            let message = || format!("node {leader} leads, and not node {to}");
            let other = || client_reply::Body::Refusal(refusal(pb::RefusalCode::Precondition, message()));
            let reply = match to == leader {
                true => leads(leader),
                false => pb::ClientReply { index: 0, body: Some(other()) },
            };
            self.answer(asker, reply);
        }
    }

    /// The successor did not lead in time.
    pub(super) fn transfer_given_up(&mut self, to: NodeId) {
        for token in self.waiting.transfers.keys().copied().collect::<Vec<_>>() {
            self.fail(Place::Transfer(token), &format!("node {to} did not lead within an election timeout"));
        }
    }
}
