//! Masters that come and go: what clients ask for, and what the operator does with machines when it is carried out.
//!
//! Directories are damaged, and members changed, only while a majority of whole directories stays with every membership that
//! somebody may still decide with: what a majority has lost, nobody can bring back.

use super::{
    history::Ended,
    masters::{Machine, address},
    stage::{MILLISECOND, Stage, World},
};
use crate::{
    draw::{Purpose, chance},
    oracle::{Rule, quorum::is_quorum},
    plan::{Atlas, CorePlan, MemberStep, MemberWhat, Operation},
};
use quorate_core::{
    contract::MemberAddress,
    raft::membership::Membership,
    state::Members,
    types::{Index, NodeId},
};
use quorate_net::ClientError;
use quorate_proto::v1::{self as pb, RefusalCode, client_reply::Body, member_change::Change};
use std::collections::{BTreeMap, BTreeSet};

/// Whoever gave up a change does not know whether it is made yet for so long, milliseconds.
const UNSURE_MS: u64 = 30_000;
/// Chance that a machine that was removed is switched off, parts in a million.
const SWITCHED_OFF_PPM: u64 = 500_000;
/// Chance that a machine runs before it is added, parts in a million.
const EARLY_PPM: u64 = 250_000;

/// What is known of changes of the members that somebody asked for.
#[derive(Default)]
pub(super) struct Asked {
    /// Those that somebody waits for.
    busy: usize,
    /// Until when one may be made that nobody waits for, nanoseconds.
    unsure_until: u64,
}

fn node(place: usize) -> NodeId {
    NodeId(place as u64 + 1)
}

/// What is asked for.
fn request(steps: &[MemberStep]) -> Vec<pb::MemberChange> {
    let change = |step: &MemberStep| {
        let (place, id) = (usize::from(step.master), u64::from(step.master) + 1);
        let addressed = |moved| {
            let MemberAddress { peer, client } = address(place, moved);
            pb::AddMember { id, peer_address: peer, client_address: client }
        };
        let priority = |priority| Change::Priority(pb::MemberPriority { id, priority });
        let change = match step.what {
            MemberWhat::Add => Change::Add(addressed(false)),
            MemberWhat::Promote => Change::Promote(id),
            MemberWhat::Demote => Change::Demote(id),
            MemberWhat::Remove => Change::Remove(id),
            MemberWhat::Replace => Change::Replace(id),
            MemberWhat::Update => Change::Update(addressed(true)),
            MemberWhat::Prefer => priority(5),
            MemberWhat::Avoid => priority(-1),
            MemberWhat::Neither => priority(0),
        };
        pb::MemberChange { change: Some(change) }
    };
    steps.iter().map(change).collect()
}

impl World {
    /// Whether masters come and go in this run.
    pub(super) const fn changes_members(&self) -> bool {
        self.plan.masters.founders > 0
    }

    fn founders(&self) -> BTreeMap<NodeId, MemberAddress> {
        (0..self.plan.masters.founding()).map(|place| (node(place), address(place, false))).collect()
    }

    /// The members of which a master is told when it starts.
    pub(super) fn told(&self, place: usize) -> BTreeMap<NodeId, MemberAddress> {
        let master = &self.masters[place];
        let mut told = master.joins.clone().unwrap_or_else(|| self.founders());
        told.insert(node(place), address(place, master.moved));
        told
    }

    /// Whether a machine is not one that waits until somebody adds it.
    pub(super) fn is_wanted(&self, place: usize) -> bool {
        place < self.plan.masters.founding() || self.masters[place].joins.is_some()
    }

    /// Masters that somebody may move to their other addresses.
    pub(super) fn places_that_move(&self) -> BTreeSet<usize> {
        let operations = self.plan.clients.iter().flat_map(|client| &client.operations);
        let steps = operations.filter_map(|planned| match &planned.operation {
            Operation::ChangeMembers { steps } => Some(steps),
            _ => None,
        });
        let moves = steps.flatten().filter(|step| step.what == MemberWhat::Update);
        moves.map(|step| usize::from(step.master)).collect()
    }

    /// Some of those that are to come run before anybody adds them.
    pub(super) fn spares_begin(&mut self) {
        let founders = self.founders();
        for place in self.plan.masters.founding()..self.masters.len() {
            if chance(self.draw(Purpose::Operator, &[place as u64]), EARLY_PPM) {
                self.count("members: one runs before it is added");
                self.masters[place].joins = Some(founders.clone());
            }
        }
    }

    /// Who takes part, as the committed log says.
    pub(super) fn membership(&self) -> &Membership {
        self.commits.roll.newest().membership()
    }

    /// Whether the cluster counts on this master, with the directory that it has.
    pub(super) fn is_member(&self, place: usize) -> bool {
        match self.commits.roll.members() {
            None => place < self.plan.masters.founding(),
            Some(members) => {
                members.get(node(place)).is_some_and(|it| it.storage == self.masters[place].storage.0)
            }
        }
    }

    /// Something may have been committed.
    pub(super) fn follow_members(&mut self) {
        for what in core::mem::take(&mut self.commits.roll.news) {
            self.count(what);
        }
        for place in 0..self.masters.len() {
            // Who was not told that it joins takes no part, and waits for somebody who tells it.
            let waits = self.masters[place].wiped && self.masters[place].joins.is_some();
            if waits && self.is_member(place) {
                self.masters[place].wiped = false;
            }
        }
    }

    fn is_whole(&self, place: usize) -> bool {
        let whole = |it: &Machine| !it.wiped && !it.doomed && !it.gone && !it.troubles.rotten;
        self.masters.get(place).is_some_and(whole) && self.is_member(place)
    }

    /// The memberships that somebody may still decide with.
    fn in_force(&self) -> Vec<Membership> {
        let of = |place: usize| {
            let image = self.commits.image(place);
            image.has_joined().then(|| self.commits.roll.at(image.knows()).clone())
        };
        let mut all: Vec<Membership> = (0..self.masters.len()).filter_map(of).collect();
        all.push(self.membership().clone());
        all.sort_by_key(ToString::to_string);
        all.dedup();
        all
    }

    /// Whether a change is asked for, or may be in a log and is not carried out.
    fn change_pending(&self) -> bool {
        self.asked.busy > 0
            || self.time() < self.asked.unsure_until
            || self.commits.roll.members().is_none()
            || self.membership().is_joint()
            || self.commits.holds_changes()
    }

    /// Whether these masters' directories are a majority of everybody who may decide something, without this one.
    fn enough_without(&self, place: Option<usize>, voters: &Membership) -> bool {
        is_quorum(voters, |other| Some(other) != place && self.is_whole(other))
    }

    /// Whether this master's directory may be lost. Where nobody comes or goes, the plan has seen to that.
    pub(super) fn may_lose(&self, place: usize) -> bool {
        !self.changes_members()
            || (!self.change_pending()
                && self.in_force().iter().all(|voters| self.enough_without(Some(place), voters)))
    }

    /// Whether somebody who looks at the cluster would ask for this.
    fn is_sensible(&self, steps: &[MemberStep]) -> bool {
        // Where every directory stays whole, the cluster itself has to see what it must not do.
        if Atlas::of(&self.plan).fragile.is_empty() {
            return true;
        }
        let Some(members) = self.commits.roll.members().filter(|_| !self.change_pending()) else {
            return false;
        };
        let replaced = steps.iter().find(|step| step.what == MemberWhat::Replace);
        let given_up = replaced.map(|step| usize::from(step.master));
        match members.changed(&request(steps)) {
            Ok(next) => {
                self.enough_without(given_up, next.membership())
                    && self.in_force().iter().all(|voters| self.enough_without(given_up, voters))
            }
            Err(_) => true,
        }
    }

    /// What a client asks for; `None`: nobody would, now.
    pub(super) fn asks_for(&mut self, steps: &[MemberStep]) -> Option<pb::ChangeMembersRequest> {
        if !self.is_sensible(steps) {
            self.count("members: a change is put off");
            return None;
        }
        self.asked.busy += 1;
        Some(pb::ChangeMembersRequest { request_id: None, changes: request(steps) })
    }

    /// Whether it is still so: it may have been added again, or have another directory, meanwhile.
    fn is_over(&self, id: u64, replaced: bool) -> bool {
        match self.commits.roll.members().and_then(|members| members.get(NodeId(id))) {
            Some(member) => replaced && member.storage == 0,
            None => !replaced,
        }
    }

    /// Whether a machine listens elsewhere than the members say.
    fn listens_elsewhere(&self, place: usize) -> bool {
        let member = self.commits.roll.members().and_then(|members| members.get(node(place)));
        member.is_some_and(|it| it.peer_address != address(place, self.masters[place].moved).peer)
    }

    /// What is not done yet of the changes that were made.
    pub(super) fn changing(&self, core: &CorePlan) -> Option<String> {
        if self.membership().is_joint() {
            return Some(format!("{} is not left", self.membership()));
        }
        let members = self.commits.roll.members()?;
        let unknown = |&place: &usize| {
            let own = members.get(node(place)).is_some_and(|it| it.storage == 0);
            own && self.masters[place].up && self.masters[place].joins.is_some()
        };
        let mut inside = core.masters.iter().map(|&place| usize::from(place));
        if let Some(waits) = inside.find(unknown) {
            return Some(format!("the directory of node {} is not known", waits + 1));
        }
        self.passed_over(core, members)
    }

    /// A voter that is to lead rather than the one that does, and could.
    fn passed_over(&self, core: &CorePlan, members: &Members) -> Option<String> {
        let leader = self.leader().filter(|leader| core.masters.contains(&(*leader as u8)))?;
        let priority = |place: usize| members.get(node(place)).map_or(0, |it| it.priority);
        let could = |&place: &usize| {
            let follows = self.masters[place].status.as_ref().is_some_and(|(_, status)| {
                status.role() == pb::Role::Follower && status.leader == node(leader).0
            });
            let votes = members.membership().is_voter(node(place)) && self.is_whole(place) && follows;
            votes && priority(place) >= 0 && priority(place) > priority(leader)
        };
        let better = core.masters.iter().map(|&place| usize::from(place)).find(could)?;
        Some(format!("node {} leads, and node {} is to lead rather", leader + 1, better + 1))
    }

    /// The planned core, and as many more as a majority of everybody who may decide needs.
    pub(super) fn core_of_members(&self, planned: CorePlan) -> CorePlan {
        let mut core = planned;
        let mut more: Vec<u8> = (0..self.masters.len() as u8).collect();
        if self.change_pending() {
            core.masters = more;
            return core;
        }
        let in_force = self.in_force();
        more.sort_by_key(|place| self.plan.left_out.contains(place));
        for place in more {
            let inside = |other: usize| core.masters.contains(&(other as u8)) && self.is_whole(other);
            if in_force.iter().all(|voters| is_quorum(voters, inside)) {
                break;
            }
            if self.is_whole(usize::from(place)) && !core.masters.contains(&place) {
                core.masters.push(place);
            }
        }
        core.masters.sort_unstable();
        core
    }
}

impl Stage {
    /// A client's change came to an end. The operator does what follows from it.
    pub(super) async fn members_changed(&self, steps: &[MemberStep], ended: &Ended) {
        let exists = matches!(ended, Err(ClientError::Refused { code: RefusalCode::AlreadyExists, .. }));
        {
            let mut world = self.world();
            let world = &mut *world;
            world.asked.busy -= 1;
            match ended {
                Ok(Body::ChangeMembers(done)) => {
                    world.count("members: a change is made");
                    let at = Index(done.membership.as_ref().map_or(0, |it| it.index));
                    let known = world.commits.is_known(at);
                    let members = world.commits.roll.newest().membership();
                    world.ledger.hold(Rule::ChangeKnown, known, || {
                        format!("the change at {at} is answered, and the members are {members}")
                    });
                }
                Err(ClientError::Refused { code, .. }) if *code != RefusalCode::Unavailable => {
                    world.count("members: a change is refused");
                }
                Ok(_) | Err(_) => {
                    world.count("members: nobody knows whether a change is made");
                    world.asked.unsure_until = world.time() + UNSURE_MS * MILLISECOND;
                }
            }
        }
        let done = ended.is_ok();
        for step in steps {
            let place = usize::from(step.master);
            match step.what {
                MemberWhat::Add if done || exists => {
                    self.operator_moves(place).await;
                    self.operator_starts(place);
                }
                MemberWhat::Replace if done => self.operator_replaces(place).await,
                MemberWhat::Remove if done => self.operator_removes(place).await,
                MemberWhat::Update if done => self.operator_moves(place).await,
                _ => {}
            }
        }
    }

    /// A machine is switched on for a cluster that there is, with the members of which it is told.
    fn operator_starts(&self, place: usize) {
        {
            let mut world = self.world();
            // What is outside of the core stays as it is.
            if world.core.as_ref().is_some_and(|core| !core.masters.contains(&(place as u8))) {
                return;
            }
            let addressed = |it: &pb::MemberRecord| MemberAddress {
                peer: it.peer_address.clone(),
                client: it.client_address.clone(),
            };
            let members = world.commits.roll.members();
            let told = members.map(|all| all.iter().map(|(node, it)| (node, addressed(it))).collect());
            let empty = !world.commits.image(place).has_joined();
            let master = &mut world.masters[place];
            // A directory that is not empty keeps what it began with.
            if empty && !master.up && !master.dying {
                master.joins = told.or(master.joins.take());
            }
            master.gone = false;
            world.follow_members();
            world.tell_master(place, "operator", || "starts it".to_owned());
        }
        self.bring_up(place);
    }

    /// A master that was replaced gets an empty directory.
    async fn operator_replaces(&self, place: usize) {
        if !self.world().is_over(place as u64 + 1, true) {
            return;
        }
        // Whatever else starts or kills it meanwhile comes to an end.
        while !self.take_directory(place).await {}
        self.operator_starts(place);
    }

    async fn operator_removes(&self, place: usize) {
        let luck = {
            let world = self.world();
            let of = [place as u64, world.time()];
            world.is_over(place as u64 + 1, false).then(|| world.draw(Purpose::Operator, &of))
        };
        let Some(luck) = luck else { return };
        if !chance(luck, SWITCHED_OFF_PPM) || self.world().settling {
            return self.world().count("members: a removed one runs on");
        }
        self.world().count("members: a removed one is switched off");
        // Whoever brings it back gives it an empty directory.
        while !self.take_directory(place).await {}
        self.world().masters[place].gone = true;
    }

    /// A machine listens where the members say.
    async fn operator_moves(&self, place: usize) {
        if !self.world().listens_elsewhere(place) {
            return;
        }
        let was_up = self.take_down(place, false).await;
        {
            let mut world = self.world();
            let moved = !world.masters[place].moved;
            world.masters[place].moved = moved;
            world.tell_master(place, "moves", || address(place, moved).peer);
        }
        if was_up {
            self.bring_up(place);
        }
    }

    /// In the end somebody looks at the list of members: a directory that was given up is emptied, and a machine that has to
    /// listen elsewhere does, also when nobody had heard that the change was made.
    pub(super) async fn operator_tidies(&self, core: &CorePlan) {
        for &place in &core.masters {
            let place = usize::from(place);
            let given_up = {
                let world = self.world();
                let record = world.commits.roll.members().and_then(|members| members.get(node(place)));
                let storage = world.masters[place].storage.0;
                record.is_some_and(|it| it.storage == 0 && it.given_up.contains(&storage))
            };
            if given_up {
                self.operator_replaces(place).await;
            }
            self.operator_moves(place).await;
        }
    }
}
