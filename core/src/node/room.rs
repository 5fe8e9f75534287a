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
        let short = command.takes_room() && self.state.no_room().is_some();
        (short && !bug::planted(Bug::AlarmProposed)).then_some(Question::Room(request))
    }

    /// What is said once this node knows that it leads. A repeated request gets the answer that it got. Of a refusal nothing is
    /// kept, so that the same request may come again.
    pub(super) fn answer_on_room(&self, request: Option<&RequestId>) -> Result<pb::ClientReply, pb::Refusal> {
        if let Some(answer) = request.and_then(|request| self.state.answer_to(request)) {
            mark::hit(Mark::RoomAnswered);
            return Ok(answer);
        }
        let refusal = self.state.no_room();
        mark::hit_if(refusal.is_some(), Mark::RoomRefused);
        mark::hit_if(refusal.is_none(), Mark::RoomAgain);
        Err(refusal.unwrap_or_else(|| self.unavailable("there was no room until just now; ask again")))
    }
}
