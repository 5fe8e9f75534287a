//! What a node may say: to whom it has greeted, and in answer to what it has heard.

use super::{Ledger, Place, Rule};
use crate::{master::Master, oracle::quorum::is_quorum};
use quorate_core::{
    contract::Timing,
    limits::LAST_RESORT,
    raft::{Raft, Role, membership::Membership},
    types::{NodeId, Time},
};
use quorate_proto::v1::envelope::Body;

/// Appends without entries to one peer between two heartbeats. A clogged link that delivers all answers of seconds at once is
/// good for hundreds.
const EMPTY_APPENDS: u32 = 2_000;

/// A message.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    /// Who sends it.
    pub(super) master: &'a Master,
    /// By its own clock.
    pub(super) now: Time,
    pub(super) timing: &'a Timing,
    /// To whom.
    pub(super) to: NodeId,
}

impl Place {
    pub(super) fn greets_first(
        &mut self,
        ledger: &mut Ledger,
        said: Said<'_>,
        body: &Body,
        past: &[Membership],
    ) {
        if self.speaking || matches!(body, Body::Hello(_) | Body::Denied(_)) {
            return;
        }
        self.speaking = true;
        let Said { master, to, .. } = said;
        // One that comes to a cluster that there is, or founds it, has promised nothing to anybody.
        if master.joined_in == Some(master.run) {
            return;
        }
        let Some(own) = master.node.as_ref().map(|node| node.raft().membership()) else { return };
        let heard = |place: usize| {
            place == usize::from(master.place) || self.greeted.contains(&NodeId(place as u64 + 1))
        };
        // Peers may have told it of newer members than it has carried out, and those may have changed since.
        let greeted = is_quorum(own, heard) || past.iter().any(|members| is_quorum(members, heard));
        ledger.hold(Rule::GreetsFirst, greeted, || {
            format!(
                "node {} sends {body:?} to {to} after the handshakes of {:?}; the voters are {own}",
                master.id, self.greeted
            )
        });
    }

    /// An append without entries.
    pub(super) fn sends_nothing(&mut self, ledger: &mut Ledger, Said { master, now, timing, to }: Said<'_>) {
        let (since, count) = self.idle.entry(to).or_insert((now, 0));
        if now.since(*since) > timing.heartbeat {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        ledger.hold(Rule::Storm, *count <= EMPTY_APPENDS, || {
            format!(
                "node {} sends {count} appends without entries to {to} in {:?}",
                master.id, timing.heartbeat
            )
        });
    }

    /// It asks whether it could win, of its own accord.
    pub(super) fn stands(&self, ledger: &mut Ledger, Said { master, now, timing, .. }: Said<'_>) {
        let members = master.node.as_ref().and_then(|node| node.state().members());
        let priority = members.and_then(|it| it.get(master.id)).map_or(0, |it| it.priority);
        // A word of an older term is no leader's.
        let own = master.node.as_ref().map(|node| node.raft().term());
        let led = self.led.filter(|(term, _)| Some(*term) == own);
        // A connection that is reset shortens each wait.
        let least = timing.election_min * (LAST_RESORT / 2);
        let alone = led.is_none_or(|(_, at)| now.since(at) >= least);
        ledger.hold(Rule::AvoidedStands, priority >= 0 || alone, || {
            format!(
                "node {} has priority {priority}, and stands {:?} after it heard its leader",
                master.id,
                led.map(|(_, at)| now.since(at))
            )
        });
    }

    pub(super) fn grants_pre_vote(&self, ledger: &mut Ledger, said: Said<'_>, raft: &Raft) {
        let Said { master, now, timing, to } = said;
        let follows = raft.role() == Role::Follower && raft.leader().is_some();
        let led = self.led.filter(|(term, _)| follows && *term == raft.term());
        let quiet = led.is_none_or(|(_, at)| now.since(at) >= timing.election_min);
        ledger.hold(Rule::PreVoteQuiet, quiet, || {
            format!(
                "node {} grants a pre-vote to {to}; it heard leader {:?} of term {} {:?} ago, and {:?} is the least",
                master.id,
                raft.leader(),
                raft.term(),
                led.map(|(_, at)| now.since(at)),
                timing.election_min
            )
        });
    }

    pub(super) fn refuses_vote(&self, ledger: &mut Ledger, Said { master, to, .. }: Said<'_>, raft: &Raft) {
        let on_disk = master.disk.image.hard_state;
        let asked = self.vote_asked == Some((to, raft.term()));
        // Where there is an entry of the term, its leader has been heard, perhaps before a restart.
        let led = self.led.is_some_and(|(term, _)| term == raft.term())
            || raft.term_at(raft.last_index()) == Some(raft.term());
        let given = on_disk.term == raft.term() && on_disk.vote == Some(to);
        ledger.hold(Rule::VoteRepeated, !(asked && given && !led && raft.has_vote()), || {
            format!("node {} refuses a vote to {to}; on its disk: {on_disk:?}", master.id)
        });
    }
}
