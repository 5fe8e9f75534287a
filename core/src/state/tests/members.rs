//! Who takes part, as changes are carried out.

use super::*;
use crate::{
    limits::{FORMER_MEMBERS, GIVEN_UP_DIRECTORIES},
    types::{NodeId, StorageId},
};
use pb::{MemberPart, member_change::Change};

pub(super) fn record(id: u64, storage: u64) -> pb::MemberRecord {
    pb::MemberRecord {
        priority: 0,
        id,
        peer_address: format!("m{id}:1"),
        client_address: format!("m{id}:2"),
        storage,
        part: MemberPart::Voter.into(),
        replaced: false,
        given_up: Vec::new(),
    }
}

fn added(id: u64) -> pb::AddMember {
    pb::AddMember { id, peer_address: format!("m{id}:1"), client_address: format!("m{id}:2") }
}

fn founded() -> World {
    let mut world = World::new();
    world.internal(Command::FoundMembers { members: (1..=3).map(|id| record(id, 10 * id)).collect() });
    world
}

impl World {
    fn change(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<String, String> {
        let changes = changes.into_iter().map(|change| pb::MemberChange { change: Some(change) }).collect();
        let applied = self.client(Command::ChangeMembers { changes });
        match applied.reply.body {
            Some(Body::ChangeMembers(_)) => Ok(self.shown()),
            Some(Body::Refusal(refusal)) => Err(refusal.message),
            other => panic!("{other:?}"),
        }
    }

    fn shown(&self) -> String {
        self.state.members().unwrap().membership().to_string()
    }

    fn know(&mut self, node: u64, storage: u64) {
        self.internal(Command::KnowMember { node: NodeId(node), storage: StorageId(storage) });
    }

    fn storage(&self, node: u64) -> Option<u64> {
        self.state.members()?.get(NodeId(node)).map(|member| member.storage)
    }
}

#[test]
fn a_cluster_is_founded_once() {
    let mut world = World::new();
    assert!(world.state.members().is_none());
    assert!(world.change([Change::Remove(1)]).unwrap_err().contains("has not begun"));
    let mut world = founded();
    assert_eq!(world.shown(), "voters=(1 2 3)");
    let again = world.internal(Command::FoundMembers { members: vec![record(9, 90)] });
    assert!(again.touched.is_empty());
    assert_eq!(world.shown(), "voters=(1 2 3)");
}

#[test]
fn a_new_member_learns_and_votes_when_its_directory_is_known_and_it_is_promoted() {
    let mut world = founded();
    assert_eq!(world.change([Change::Add(added(4))]), Ok("voters=(1 2 3) learners=(4)".to_owned()));
    assert!(world.change([Change::Promote(4)]).unwrap_err().contains("has not been heard of"));
    world.know(4, 40);
    world.know(4, 41);
    assert_eq!(world.storage(4), Some(40), "another directory is not taken for it");
    assert_eq!(world.change([Change::Promote(4)]), Ok("voters=(1 2 3 4)".to_owned()));
    assert!(world.change([Change::Add(added(4))]).unwrap_err().contains("is a member already"));
    assert!(world.change([Change::Promote(9)]).unwrap_err().contains("is no member"));
}

#[test]
fn several_voters_change_through_a_joint_configuration() {
    let mut world = founded();
    for id in [4, 5] {
        world.change([Change::Add(added(id))]).unwrap();
        world.know(id, 10 * id);
    }
    let joint = world.change([Change::Promote(4), Change::Promote(5), Change::Remove(1), Change::Demote(2)]);
    assert_eq!(joint, Ok("voters=(3 4 5)&&(1 2 3) learners_next=(2) autoleave".to_owned()));
    let part = |world: &World, id| world.state.members().unwrap().get(NodeId(id)).map(|it| it.part());
    assert_eq!(part(&world, 1), Some(MemberPart::Leaving));
    assert!(world.change([Change::Remove(3)]).unwrap_err().contains("another change is under way"));
    world.internal(Command::LeaveJoint);
    assert_eq!(world.shown(), "voters=(3 4 5) learners=(2)");
    assert_eq!((part(&world, 1), part(&world, 2)), (None, Some(MemberPart::Learner)));
    assert!(world.internal(Command::LeaveJoint).touched.is_empty());
}

#[test]
fn a_member_whose_directory_was_lost_is_a_learner_until_it_is_promoted() {
    let mut world = founded();
    assert_eq!(world.change([Change::Replace(2)]), Ok("voters=(1 3) learners=(2)".to_owned()));
    assert_eq!(world.storage(2), Some(0));
    world.know(2, 20);
    assert_eq!(world.storage(2), Some(0), "what was given up does not come back");
    world.know(2, 99);
    assert_eq!(world.storage(2), Some(99));
    assert_eq!(world.change([Change::Promote(2)]), Ok("voters=(1 2 3)".to_owned()));
}

#[test]
fn who_was_removed_comes_back_with_another_directory() {
    let mut world = founded();
    world.change([Change::Replace(2)]).unwrap();
    world.know(2, 99);
    world.change([Change::Remove(2)]).unwrap();
    world.change([Change::Add(added(2))]).unwrap();
    // What it said is still on its way.
    for old in [99, 20] {
        world.know(2, old);
        assert_eq!(world.storage(2), Some(0), "{old} was given up");
    }
    world.know(2, 100);
    assert_eq!(world.storage(2), Some(100));
    assert_eq!(world.state.check(), Ok(()));
    // Many others come and go.
    for id in 4..4 + FORMER_MEMBERS as u64 {
        world.change([Change::Add(added(id))]).unwrap();
        world.know(id, 1_000 + id);
        world.change([Change::Remove(id)]).unwrap();
    }
    let record = world.state.members().unwrap().record();
    assert_eq!(record.former.len(), FORMER_MEMBERS);
    world.change([Change::Add(added(4))]).unwrap();
    assert_eq!(world.state.members().unwrap().record().former.len(), FORMER_MEMBERS - 1);
    world.know(4, 1_004);
    assert_eq!(world.storage(4), Some(0));
    assert_eq!(world.state.check(), Ok(()));
}

#[test]
fn of_a_member_that_is_replaced_again_and_again_no_directory_comes_back() {
    let mut world = founded();
    world.change([Change::Replace(2)]).unwrap();
    // The new one was lost before anybody had heard of it.
    world.change([Change::Replace(2)]).unwrap();
    world.know(2, 20);
    assert_eq!(world.storage(2), Some(0));
    let new = |number: usize| 100 + number as u64;
    for number in 0..GIVEN_UP_DIRECTORIES - 1 {
        world.know(2, new(number));
        assert_eq!(world.storage(2), Some(new(number)));
        world.change([Change::Replace(2)]).unwrap();
    }
    for old in (0..GIVEN_UP_DIRECTORIES - 1).map(new).chain([20]) {
        world.know(2, old);
        assert_eq!(world.storage(2), Some(0), "{old} was given up");
        assert!(world.state.members().unwrap().given_up().contains(&(NodeId(2), StorageId(old))));
    }
    world.know(2, 99);
    world.change([Change::Replace(2)]).unwrap();
    assert_eq!(
        world.state.members().unwrap().given_up().len(),
        GIVEN_UP_DIRECTORIES,
        "the oldest is forgotten"
    );
    assert_eq!(world.state.check(), Ok(()));
}

#[test]
fn directories_that_are_replaced_together_have_a_vote_until_the_joint_configuration_is_left() {
    let mut world = founded();
    let joint = world.change([Change::Replace(1), Change::Replace(3)]);
    assert_eq!(joint, Ok("voters=(2)&&(1 2 3) learners_next=(1 3) autoleave".to_owned()));
    assert_eq!((world.storage(1), world.storage(3)), (Some(10), Some(30)));
    world.internal(Command::LeaveJoint);
    assert_eq!(world.shown(), "voters=(2) learners=(1 3)");
    assert_eq!((world.storage(1), world.storage(3)), (Some(0), Some(0)));
}

#[test]
fn nobody_is_left_without_voters_and_no_two_share_an_address() {
    let mut world = founded();
    let all = world.change([Change::Remove(1), Change::Remove(2), Change::Remove(3)]).unwrap_err();
    assert!(all.contains("removed all voters"), "{all}");
    let taken = pb::AddMember { peer_address: "m2:1".into(), ..added(4) };
    assert!(world.change([Change::Add(taken.clone())]).unwrap_err().contains("where node 2 is reached"));
    let update = pb::AddMember { id: 1, ..taken };
    assert!(world.change([Change::Update(update)]).is_err());
    let moved = pb::AddMember { id: 1, peer_address: "new:1".into(), client_address: "m1:2".into() };
    assert_eq!(world.change([Change::Update(moved)]), Ok("voters=(1 2 3)".to_owned()));
    let member = world.state.members().unwrap().get(NodeId(1)).unwrap().clone();
    assert_eq!((member.peer_address.as_str(), member.storage), ("new:1", 10));
}

#[test]
fn a_learner_that_moves_stays_one() {
    let mut world = founded();
    world.change([Change::Add(added(4))]).unwrap();
    world.know(4, 40);
    let moved = pb::AddMember { id: 4, peer_address: "new:4".into(), client_address: "new:5".into() };
    assert_eq!(world.change([Change::Update(moved)]), Ok("voters=(1 2 3) learners=(4)".to_owned()));
    let member = world.state.members().unwrap().get(NodeId(4)).unwrap().clone();
    assert_eq!(
        (member.part(), member.storage, member.peer_address.as_str()),
        (MemberPart::Learner, 40, "new:4")
    );
}

#[test]
fn members_are_in_snapshots_and_what_does_not_fit_is_refused() {
    let mut world = founded();
    world.change([Change::Add(added(4))]).unwrap();
    let decoded = State::decode(world.state.encode()).unwrap();
    assert_eq!(decoded.members(), world.state.members());
    let good = world.state.members().unwrap().record();
    let from = |change: &dyn Fn(&mut pb::Membership)| {
        let mut record = good.clone();
        change(&mut record);
        crate::state::Members::from_record(&record)
    };
    assert!(from(&|_| {}).is_ok());
    from(&|it| it.members.clear()).unwrap_err();
    from(&|it| it.members.swap(0, 1)).unwrap_err();
    from(&|it| it.members[0].id = 0).unwrap_err();
    from(&|it| it.members[0].set_part(MemberPart::Leaving)).unwrap_err();
    from(&|it| it.outgoing.push(8)).unwrap_err();
    from(&|it| it.learners_next.push(1)).unwrap_err();
}
