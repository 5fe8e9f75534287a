//! Who the masters are at each moment, and the operator who starts and stops machines when that changes.
//!
//! Directories are damaged, and members changed, only while a majority of whole directories stays with every membership
//! that somebody may still decide with: what a majority has lost, nobody can bring back.

use super::{Event, MILLISECOND, World};
use crate::{
    draw::{Purpose, chance, draw},
    marks::SimMark,
    network::Endpoint,
    oracle::{Rule, contact::LATE_HEARTBEATS, quorum::is_quorum},
    plan::{CorePlan, MemberStep, MemberWhat, Operation},
};
use quorate_core::{
    codec,
    command::Command,
    contract::Entry,
    identity::Standing,
    limits::{INHERITED_INDEXES, PROMOTED_PERCENT},
    raft::{Raft, Role, membership::Membership},
    state::Members,
    types::{Index, NodeId},
};
use quorate_proto::v1::{
    self as pb, RefusalCode, client_reply::Body, client_request::Body as Ask, member_change,
};
use std::{collections::BTreeSet, time::Duration};

/// Whoever gave up a change does not know whether it is made yet for so long, milliseconds.
const UNSURE_MS: u64 = 30_000;
/// Chance that a machine that was removed is switched off, parts in a million.
const SWITCHED_OFF_PPM: u64 = 500_000;

/// Between two looks of the operator.
const OPERATOR_LOOKS: u64 = 50 * MILLISECOND;
/// Chance that a machine runs before it is added, parts in a million.
const EARLY_PPM: u64 = 250_000;

/// Chance that a machine with an empty directory is started as if it founded the cluster, parts in a million.
const FORGETS_PPM: u64 = 300_000;

/// What was carried out of changes, wherever that was first.
#[derive(Default)]
pub(super) struct Roll {
    /// The newest members; `None` until the cluster has begun.
    members: Option<Members>,
    /// All that there were, the oldest first.
    pub(super) past: Vec<Membership>,
    /// The same, with the entries that made them, also where only a directory or a priority is another.
    made: Vec<(Index, Membership)>,
    /// The entry that made them, or named a directory of theirs.
    at: Index,
    /// Until when a change may be made that nobody waits for, nanoseconds.
    unsure_until: u64,
    /// Of what the operator has not taken care.
    waits: Vec<Wait>,
}

/// A node that was removed or replaced.
#[derive(Clone, Copy)]
struct Wait {
    id: u64,
    replaced: bool,
    /// The cluster said that it is done.
    told: bool,
}

/// What is asked for.
pub(crate) fn request(steps: &[MemberStep]) -> Vec<pb::MemberChange> {
    let change = |step: &MemberStep| {
        let id = u64::from(step.master) + 1;
        let addressed = |host: char| pb::AddMember {
            id,
            peer_address: format!("{host}{}:1", step.master),
            client_address: format!("{host}{}:2", step.master),
        };
        use member_change::Change as Asked;
        let change = match step.what {
            MemberWhat::Add => Asked::Add(addressed('m')),
            MemberWhat::Promote => Asked::Promote(id),
            MemberWhat::Demote => Asked::Demote(id),
            MemberWhat::Remove => Asked::Remove(id),
            MemberWhat::Replace => Asked::Replace(id),
            MemberWhat::Update => Asked::Update(addressed('n')),
            MemberWhat::Prefer => Asked::Priority(pb::MemberPriority { id, priority: 5 }),
            MemberWhat::Avoid => Asked::Priority(pb::MemberPriority { id, priority: -1 }),
            MemberWhat::Neither => Asked::Priority(pb::MemberPriority { id, priority: 0 }),
        };
        pb::MemberChange { change: Some(change) }
    };
    steps.iter().map(change).collect()
}

impl Roll {
    /// That of a cluster which begins with these members, if it knows any.
    pub(super) fn of(members: Option<Members>) -> Self {
        let past: Vec<Membership> = members.iter().map(|members| members.membership().clone()).collect();
        let at = Index(members.as_ref().map_or(0, Members::index));
        let made = past.iter().map(|past| (at, past.clone())).collect();
        Self { members, past, made, at, ..Self::default() }
    }

    /// The newest, once the cluster has begun.
    pub(super) fn membership(&self) -> Option<&Membership> {
        self.members.as_ref().map(Members::membership)
    }
}

impl World {
    /// Whether masters come and go in this run.
    pub(super) const fn changes_members(&self) -> bool {
        self.plan.masters.founders > 0
    }

    /// Some of those that are to come run before anybody adds them.
    pub(super) fn spares_begin(&mut self) {
        let founders: BTreeSet<NodeId> = self.founders.members().collect();
        for place in self.plan.masters.founding()..self.masters.len() {
            if chance(draw(self.plan.seed, Purpose::Operator, &[place as u64]), EARLY_PPM) {
                self.marks.hit(SimMark::SpareEarly);
                self.masters[place].joins = Some(founders.clone());
            }
        }
    }

    /// The members that were carried out last anywhere.
    pub(super) fn membership(&self) -> &Membership {
        self.roll.membership().unwrap_or(&self.founders)
    }

    /// Whether the cluster counts on this master, with the directory that it has.
    pub(super) fn is_member(&self, place: usize) -> bool {
        let master = &self.masters[place];
        match &self.roll.members {
            None => place < self.plan.masters.founding(),
            Some(members) => members.get(master.id).is_some_and(|it| it.storage == master.storage.0),
        }
    }

    /// A node was stepped: perhaps it is the first to carry a change out.
    pub(super) fn follow_members(&mut self, at: usize) {
        let Some(node) = &self.masters[at].node else { return };
        let (members_at, run) = (node.raft().membership_index(), self.masters[at].run);
        if self.follows[at] != (run, members_at) {
            self.follows[at] = (run, members_at);
            // It may have forgotten what was promised to it by a directory that is gone.
            self.promised.retain(|(to, _), _| usize::from(*to) != at);
            let now = self.masters[at].clock.local(self.time);
            if let Some(oracles) = &mut self.oracles {
                oracles.contact.follows((at, run), now);
            }
        }
        if members_at <= self.roll.at {
            return;
        }
        let Some(next) = node.state().members().cloned() else { return };
        let old = self.roll.members.replace(next);
        self.roll.at = members_at;
        let Some(next) = &self.roll.members else { return };
        self.roll.made.push((members_at, next.membership().clone()));
        if self.roll.past.last() != Some(next.membership()) {
            self.roll.past.push(next.membership().clone());
        }
        for master in &mut self.masters {
            let of =
                |members: Option<&Members>| members.and_then(|it| it.get(master.id)).map(|it| it.storage);
            let (before, now) = (of(old.as_ref()), of(Some(next)));
            if before != now {
                self.promised.retain(|(_, from), _| *from != master.place);
            }
            // Who was not told that it joins takes no part, and waits for somebody who tells it.
            if master.wiped && master.joins.is_some() && now == Some(master.storage.0) {
                self.marks.hit(SimMark::MemberBack);
                master.known_again();
            }
        }
    }

    /// The memberships that somebody may still decide with.
    pub(super) fn in_force(&self) -> Vec<&Membership> {
        let own = self.masters.iter().filter_map(|master| Some(master.node.as_ref()?.raft().membership()));
        let mut all: Vec<&Membership> = own.filter(|it| it.all_voters().next().is_some()).collect();
        all.push(self.membership());
        all.sort_by_key(|it| it.to_string());
        all.dedup();
        all
    }

    /// Whether a change is asked for, or may be in a log and is not carried out.
    pub(super) fn change_pending(&self) -> bool {
        let asks = |request: &pb::ClientRequest| matches!(request.body, Some(Ask::ChangeMembers(_)));
        let asked = self.clients.iter().any(|it| it.busy.as_ref().is_some_and(|busy| asks(&busy.request)));
        let applied =
            self.masters.iter().filter_map(|it| it.node.as_ref()).map(|it| it.state().index()).max();
        let applied = applied.unwrap_or(Index(0));
        let changes = |entry: &Entry| {
            entry.index > applied
                && codec::decode(&entry.data).is_ok_and(|proposal| {
                    matches!(
                        proposal.command,
                        Command::ChangeMembers { .. } | Command::LeaveJoint | Command::FoundMembers { .. }
                    )
                })
        };
        let logged = self.masters.iter().any(|master| {
            let image = &master.disk.image;
            let memory = master.node.as_ref().map(|node| node.raft());
            let in_memory = memory.into_iter().flat_map(|raft| {
                (applied.0 + 1..=raft.last_index().0).filter_map(|index| raft.entry(Index(index)))
            });
            image.entries.iter().rev().take_while(|entry| entry.index > applied).any(changes)
                || in_memory.into_iter().any(changes)
        });
        let joint = self.membership().is_joint();
        asked || logged || joint || self.roll.members.is_none() || self.time < self.roll.unsure_until
    }

    /// Whether these masters' directories are a majority of everybody who may decide something, without this one.
    fn enough_without(&self, place: Option<usize>, voters: &Membership) -> bool {
        is_quorum(voters, |other| {
            let whole = |it: &crate::master::Master| it.intact() && !it.gone && !it.disk.image.is_damaged();
            Some(other) != place && self.masters.get(other).is_some_and(whole) && self.is_member(other)
        })
    }

    /// Whether this master's directory may be lost. Where nobody comes or goes, the plan has seen to that.
    pub(super) fn may_lose(&self, place: u8) -> bool {
        let place = usize::from(place);
        !self.changes_members()
            || (!self.change_pending()
                && self.in_force().into_iter().all(|voters| self.enough_without(Some(place), voters)))
    }

    /// Whether somebody who looks at the cluster would ask for this.
    pub(super) fn is_sensible(&self, steps: &[MemberStep]) -> bool {
        // Where every directory stays whole, the cluster itself has to see what it must not do.
        if self.atlas.fragile.is_empty() {
            return true;
        }
        let Some(members) = self.roll.members.as_ref().filter(|_| !self.change_pending()) else {
            return false;
        };
        let replaced = |place: usize| {
            steps.iter().any(|it| it.what == MemberWhat::Replace && usize::from(it.master) == place)
        };
        let given_up = (0..self.masters.len()).find(|place| replaced(*place));
        match members.changed(&request(steps)) {
            Ok(next) => {
                self.enough_without(given_up, next.membership())
                    && self.in_force().into_iter().all(|voters| self.enough_without(given_up, voters))
            }
            Err(_) => true,
        }
    }

    /// What comes next of a client, if it is a change that nobody would ask for.
    pub(super) fn skip_changes(&mut self, place: u8, now_ms: u64) {
        let client = usize::from(place);
        while let Some(operation) = self.clients[client].coming(now_ms).cloned() {
            let skipped = match &operation {
                Operation::ChangeMembers { steps } => !self.is_sensible(steps),
                _ => false,
            };
            self.marks.hit_if(skipped, SimMark::ChangeSkipped);
            if !skipped && !self.skips_level(&operation) {
                return;
            }
            self.clients[client].skip();
        }
    }

    /// A client's change came to an end; `None`: nobody knows how. The operator does what follows from it.
    pub(super) fn members_changed(&mut self, request: &pb::ClientRequest, reply: Option<&pb::ClientReply>) {
        let Some(Ask::ChangeMembers(ask)) = &request.body else { return };
        let Some(body) = reply.and_then(|reply| reply.body.as_ref()) else {
            self.roll.unsure_until = self.time + UNSURE_MS * MILLISECOND;
            return;
        };
        let exists = matches!(body, Body::Refusal(it) if it.code() == RefusalCode::AlreadyExists);
        let done = matches!(body, Body::ChangeMembers(_));
        self.marks.hit(if done { SimMark::ChangeDone } else { SimMark::ChangeRefused });
        for change in ask.changes.iter().filter_map(|change| change.change.as_ref()) {
            use member_change::Change as Asked;
            match change {
                Asked::Add(member) if done || exists => self.operator_starts(member.id),
                Asked::Replace(id) | Asked::Remove(id) if done => {
                    let replaced = matches!(change, Asked::Replace(_));
                    self.roll.waits.push(Wait { id: *id, replaced, told: true });
                }
                _ => {}
            }
        }
        let at = Index(reply.map_or(0, |reply| reply.index));
        if done && self.changes_members() {
            let known = self.was_known(at);
            self.ledger.hold(Rule::ChangeKnown, known, || {
                format!(
                    "the change at {at} is answered, and the members are {}",
                    self.roll.membership().map_or_else(String::new, ToString::to_string)
                )
            });
        }
        self.operator_looks();
    }

    /// Whoever is removed or replaced is needed until the change is over, and no longer: the operator takes the cluster's word
    /// for it, and waits where it gave none.
    pub(super) fn operator_looks(&mut self) {
        if self.roll.waits.is_empty() {
            return;
        }
        let newest = self.roll.members.as_ref().map(Members::index);
        let over = !self.membership().is_joint() && newest.is_some_and(|newest| self.is_known(Index(newest)));
        let (done, waits) = self.roll.waits.drain(..).partition(|wait: &Wait| wait.told || over);
        self.roll.waits = waits;
        if !self.roll.waits.is_empty() {
            self.queue.push(self.time + OPERATOR_LOOKS, Event::Operator);
        }
        let done: Vec<Wait> = done;
        for Wait { id, replaced, .. } in done {
            let Some(place) = self.machine_of(id).filter(|_| self.is_over(id, replaced)) else { continue };
            if replaced {
                self.stop_master(place, true);
                self.masters[usize::from(place)].empty();
                self.masters[usize::from(place)].gone = false;
                self.operator_starts(id);
            } else {
                self.operator_removes(id);
            }
        }
    }

    /// In the end somebody looks at the list of members: a directory that was given up is emptied, also when nobody had heard
    /// that the change was made, and so is one that takes no part for good, and was removed and added again as it was.
    pub(super) fn operator_tidies(&mut self) {
        let Some(members) = &self.roll.members else { return };
        let given_up = |master: &&crate::master::Master| {
            let standing = master.node.as_ref().map(|node| node.identity().standing());
            let denied = matches!(standing, Some(Standing::Denied(_)));
            let useless = |given_up: &[u64]| given_up.contains(&master.storage.0) || denied;
            let it = members.get(master.id);
            !master.outside && it.is_some_and(|it| it.storage == 0 && useless(&it.given_up))
        };
        let ids: Vec<u64> = self.masters.iter().filter(given_up).map(|master| master.id.0).collect();
        self.roll.waits.extend(ids.into_iter().map(|id| Wait { id, replaced: true, told: false }));
        self.operator_looks();
    }

    /// Whether a majority of the newest members will know of the change at `index` when they come up again.
    fn is_known(&self, index: Index) -> bool {
        self.is_known_to(self.membership(), index)
    }

    /// The same of the members that it made, or of any that came later: the answer may have been on its way meanwhile.
    fn was_known(&self, index: Index) -> bool {
        let mut later = self.roll.made.iter().filter(|(made, _)| *made >= index);
        self.is_known(index) || later.any(|(_, members)| self.is_known_to(members, index))
    }

    fn is_known_to(&self, members: &Membership, index: Index) -> bool {
        is_quorum(members, |place| {
            let Some(master) = self.masters.get(place) else { return false };
            let image = &master.disk.image;
            // What a directory lost, nobody can have kept for it.
            let lost = master.wiped || master.rolled || image.is_damaged();
            // Of a commit beyond the log nothing counts.
            let known = image.hard_state.commit.min(image.last().index).max(image.start.index);
            lost || known >= index
        })
    }

    /// Whether it is still so: it may have been added again, or have another directory, meanwhile.
    fn is_over(&self, id: u64, replaced: bool) -> bool {
        let members = self.roll.members.as_ref();
        match members.and_then(|members| members.get(NodeId(id))) {
            Some(member) => replaced && member.storage == 0,
            None => !replaced,
        }
    }

    fn machine_of(&self, id: u64) -> Option<u8> {
        let place = id.checked_sub(1).and_then(|place| u8::try_from(place).ok());
        place.filter(|place| usize::from(*place) < self.masters.len())
    }

    /// A machine is switched on for a cluster that there is, with the members of which it is told.
    fn operator_starts(&mut self, id: u64) {
        let Some(place) = self.machine_of(id) else { return };
        let told: BTreeSet<NodeId> = self.membership().members().collect();
        let master = &mut self.masters[usize::from(place)];
        // A directory that is not empty keeps what it began with. Some operators forget to say that it joins.
        let luck = draw(self.plan.seed, Purpose::Operator, &[id, self.time, 1]);
        // If all do, they found another cluster.
        let one = place == 0 && self.plan.masters.founding() > 1;
        let forgets = master.wiped && one && chance(luck, FORGETS_PPM);
        if master.disk.image.voters.is_empty() && master.node.is_none() && master.waits_for_nothing() {
            self.marks.hit_if(forgets, SimMark::JoinForgotten);
            master.joins = (!forgets).then_some(told);
        }
        master.gone = false;
        let run = master.run;
        self.line(Endpoint::Master(place), "operator", || "starts it".to_owned());
        self.start_master(place, run);
    }

    fn operator_removes(&mut self, id: u64) {
        let Some(place) = self.machine_of(id) else { return };
        let luck = draw(self.plan.seed, Purpose::Operator, &[id, self.time]);
        if chance(luck, SWITCHED_OFF_PPM) && !self.settling {
            self.marks.hit(SimMark::RemovedOff);
            self.stop_master(place, false);
            let master = &mut self.masters[usize::from(place)];
            // Whoever brings it back gives it an empty directory.
            master.gone = true;
            master.empty();
        } else {
            self.marks.hit(SimMark::RemovedOn);
        }
    }

    /// What is not done yet of the changes that were made.
    pub(super) fn changing(&self) -> Option<String> {
        if self.membership().is_joint() {
            return Some(format!("{} is not left", self.membership()));
        }
        let members = self.roll.members.as_ref()?;
        let unknown = |master: &&crate::master::Master| {
            let own = members.get(master.id).is_some_and(|it| it.storage == 0);
            let there = master.node.is_some() && !master.outside && self.hears_its_leader(master);
            own && there && master.joins.is_some()
        };
        if let Some(waits) = self.masters.iter().find(unknown) {
            return Some(format!("the directory of node {} is not known", waits.id));
        }
        self.passed_over(members)
    }

    /// A voter that is to lead rather than the one that does, and could.
    fn passed_over(&self, members: &Members) -> Option<String> {
        let leader = &self.masters[usize::from(self.leader()?)];
        let priority = |node: NodeId| members.get(node).map_or(0, |it| it.priority);
        let follows = |raft: &Raft| raft.role() == Role::Follower && raft.leader() == Some(leader.id);
        // Until the next agreed index, which comes only with more entries, a leader takes its state for another.
        let differs = |node: NodeId| {
            let raft = leader.node.as_ref().map(|it| it.raft());
            raft.is_some_and(|raft| raft.differing().any(|(other, _)| other == node))
        };
        let could = |master: &&crate::master::Master| {
            let it = master.node.as_ref().map(|node| node.raft());
            let votes = it.is_some_and(|raft| {
                raft.has_vote() && follows(raft) && raft.membership().is_voter(master.id)
            });
            let preferred = priority(master.id) >= 0 && priority(master.id) > priority(leader.id);
            !master.outside && votes && preferred && !differs(master.id)
        };
        let better = self.masters.iter().find(could).filter(|_| !leader.outside)?;
        Some(format!("node {} leads, and node {} is to lead rather", leader.id, better.id))
    }

    /// A leader adds an entry of its own: whoever is to vote by it has most of the log on its disk.
    pub(super) fn caught_up(&mut self, at: usize, entries: &[Entry]) {
        let Some(node) = self.masters[at].node.as_ref().filter(|_| self.changes_members()) else { return };
        let own = |entry: &&Entry| node.raft().role() == Role::Leader && entry.term == node.raft().term();
        let (mut late, mut looked, mut silent) = (Vec::new(), false, None);
        for entry in entries.iter().filter(own) {
            let Ok(proposal) = codec::decode(&entry.data) else { continue };
            // A repeated request gets the answer that it got, and changes nothing.
            if proposal.request.is_some_and(|request| node.state().has_answered(&request)) {
                continue;
            }
            let Command::ChangeMembers { changes } = proposal.command else { continue };
            // What will be refused changes nothing. Who led before knows other members: what it adds meant nothing to it then.
            let Some(members) = node.state().members() else { continue };
            let Ok(next) = members.changed(&changes) else { continue };
            silent = silent.max(self.silence_of(at, next.membership()));
            for change in changes {
                let Some(member_change::Change::Promote(id)) = change.change else { continue };
                let learns = !members.membership().is_voter(NodeId(id));
                let Some(place) = self.machine_of(id).filter(|_| learns) else { continue };
                let master = &self.masters[usize::from(place)];
                // Nobody can know that a directory was lost since, or that a later leader cut off what it held.
                let same = members.get(master.id).is_some_and(|it| it.storage == master.storage.0);
                let heard = master.disk.image.hard_state.term <= entry.term;
                if !same || !heard || !master.intact() {
                    continue;
                }
                looked = true;
                let held = master.disk.image.last().index;
                let passed = entry.index.0 - entry.index.0 % INHERITED_INDEXES;
                if (held.0 + 1).saturating_sub(passed) * 100 < (entry.index.0 - passed) * PROMOTED_PERCENT {
                    late.push(format!("node {id} has {held} of {} entries", entry.index));
                }
            }
        }
        if let Some(silent) = silent {
            let timing = self.plan.masters.timing();
            let most = timing.election_max + timing.heartbeat * LATE_HEARTBEATS;
            self.ledger.hold(Rule::ChangeHealthy, silent <= most, || {
                format!(
                    "leader {} adds a change; no majority of those after it was heard for {silent:?}",
                    at + 1
                )
            });
        }
        if looked {
            self.ledger.hold(Rule::CaughtUp, late.is_empty(), || format!("{} is to vote", late.join(", ")));
        }
    }

    fn silence_of(&self, at: usize, members: &Membership) -> Option<Duration> {
        let master = &self.masters[at];
        let now = master.clock.local(self.time);
        self.oracles.as_ref()?.contact.silence_of(master, now, members)
    }

    /// The planned core, and as many more as a majority of everybody who may decide needs.
    pub(super) fn core_of_members(&self, planned: CorePlan) -> CorePlan {
        let mut core = planned;
        let all = || (0..self.masters.len() as u8).collect();
        if self.change_pending() {
            core.masters = all();
            return core;
        }
        let in_force = self.in_force();
        let whole = |it: &crate::master::Master| it.intact() && !it.gone && !it.disk.image.is_damaged();
        let left_out = |place: &u8| self.plan.left_out.contains(place);
        let mut more: Vec<u8> = all();
        more.sort_by_key(left_out);
        for place in more {
            let enough = in_force.iter().all(|voters| {
                is_quorum(voters, |other| {
                    core.masters.contains(&(other as u8))
                        && self.masters.get(other).is_some_and(whole)
                        && self.is_member(other)
                })
            });
            if enough {
                break;
            }
            let useful = self.is_member(usize::from(place)) && whole(&self.masters[usize::from(place)]);
            if useful && !core.masters.contains(&place) {
                core.masters.push(place);
            }
        }
        core.masters.sort_unstable();
        core
    }
}
