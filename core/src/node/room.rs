//! While a member has no more room, a leader takes nothing into its log that takes room. It would be refused when it is carried
//! out, but by then it lies on the disks of all.

use super::{Node, requests::Question};
use crate::{
    bug::{self, Bug},
    command::{Command, RequestId},
    mark::{self, Mark},
};
use quorate_proto::v1 as pb;

impl Node {
    /// Why this is not to be proposed, as far as this node knows: a question, because others may know that there is room again.
    pub(super) fn doubts_room(&self, request: Option<RequestId>, command: &Command) -> Option<Question> {
        let short = command.takes_room() && self.no_room(request.as_ref()).is_some();
        (short && !bug::planted(Bug::AlarmProposed)).then_some(Question::Room(request))
    }

    /// What is said once this node knows that it leads. Nothing is kept, so that the same request may come again.
    pub(super) fn room_refused(&self, request: Option<&RequestId>) -> pb::Refusal {
        let refusal = self.no_room(request);
        mark::hit_if(refusal.is_some(), Mark::RoomRefused);
        mark::hit_if(refusal.is_none(), Mark::RoomAgain);
        refusal.unwrap_or_else(|| self.unavailable("there was no room until just now; ask again"))
    }

    /// A repeated request gets the answer that it got.
    fn no_room(&self, request: Option<&RequestId>) -> Option<pb::Refusal> {
        let answered = request.is_some_and(|request| self.state.has_answered(request));
        if answered { None } else { self.state.no_room() }
    }
}
