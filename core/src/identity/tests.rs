//! Who takes part, and with which directory.

use super::*;

fn identity(node: u64, storage: u64, voters: &[(u64, u64)]) -> Identity {
    let voters = voters.iter().map(|&(node, storage)| (NodeId(node), StorageId(storage))).collect();
    Identity::new((NodeId(node), StorageId(storage)), [1, 2, 3].map(NodeId).into(), false, voters, 1)
}

/// `to` hears what `from` has to say.
fn tell(from: &Identity, to: &mut Identity, held: (u64, u64)) -> Verdict {
    let Body::Hello(hello) = from.hello(to.node, false) else { unreachable!() };
    if to.admit(from.node, from.storage, true).is_err() {
        return Verdict::Nothing;
    }
    to.hello_heard(from.node, from.storage, &hello, (Term(held.0), Index(held.1))).1
}

#[test]
fn an_empty_directory_waits_for_all_initial_members() {
    let (mut one, two, three) = (identity(1, 11, &[]), identity(2, 22, &[]), identity(3, 33, &[]));
    assert_eq!(tell(&two, &mut one, (0, 0)), Verdict::Nothing);
    let voters = Voters::from([(1, 11), (2, 22), (3, 33)].map(|(n, s)| (NodeId(n), StorageId(s))));
    assert_eq!(tell(&three, &mut one, (0, 0)), Verdict::Bootstrap(voters));
    assert_eq!(one.standing, Standing::Member);
}

#[test]
fn who_said_long_ago_that_it_is_empty_must_say_so_again() {
    let (mut one, two, three) = (identity(1, 11, &[]), identity(2, 22, &[]), identity(3, 33, &[]));
    tell(&two, &mut one, (0, 0));
    (0..2).for_each(|_| drop(one.questions()));
    assert_eq!(
        tell(&three, &mut one, (0, 0)),
        Verdict::Nothing,
        "node 2 may have begun since, without this node"
    );
    assert!(
        one.waits_for().is_some_and(|told| told.ends_with("not heard of: nodes 2")),
        "{:?}",
        one.waits_for()
    );
    drop(one.questions());
    assert!(matches!(tell(&two, &mut one, (0, 0)), Verdict::Bootstrap(_)), "the last two rounds count");
    assert_eq!(one.waits_for(), None);
}

#[test]
fn who_was_empty_is_asked_again_and_names_those_it_has_begun_with() {
    let (mut one, mut two, three) = (identity(1, 11, &[]), identity(2, 22, &[]), identity(3, 33, &[]));
    tell(&two, &mut one, (0, 0));
    tell(&one, &mut two, (0, 0));
    // Node 3 does not reach node 1.
    assert!(matches!(tell(&three, &mut two, (0, 0)), Verdict::Bootstrap(_)));
    let asked: Vec<_> = one.questions().into_iter().map(|(peer, _)| peer).collect();
    assert_eq!(asked, [NodeId(2), NodeId(3)]);
    assert!(matches!(tell(&two, &mut one, (0, 0)), Verdict::Bootstrap(_)));
    assert_eq!(one.standing, Standing::Member);
}

#[test]
fn a_wiped_directory_is_denied_by_whoever_knew_the_old_one() {
    let knows = identity(2, 22, &[(1, 11), (2, 22), (3, 33)]);
    let mut wiped = identity(1, 99, &[]);
    assert_eq!(tell(&knows, &mut wiped, (0, 0)), Verdict::Deny);
    assert!(matches!(&wiped.standing, Standing::Denied(why) if why.contains("0063") && why.contains("000b")));
    assert!(knows.admit(NodeId(1), StorageId(99), true).is_err());
}

#[test]
fn a_directory_that_the_cluster_already_counts_on_joins_it() {
    let knows = identity(2, 22, &[(1, 11), (2, 22), (3, 33)]);
    let mut late = identity(1, 11, &[]);
    assert!(matches!(tell(&knows, &mut late, (0, 0)), Verdict::Bootstrap(_)));
}

#[test]
fn a_node_that_comes_up_waits_for_a_majority_and_nothing_lost() {
    let voters = [(1, 11), (2, 22), (3, 33)];
    let (mut one, mut two) = (identity(1, 11, &voters), identity(2, 22, &voters));
    assert_eq!((one.caught_up(), one.decide()), (Verdict::Nothing, Verdict::Nothing));
    two.saw((NodeId(1), StorageId(11)), Term(4), Index(10));
    assert_eq!(tell(&two, &mut one, (Term(4).0, 10)), Verdict::Join);
}

#[test]
fn a_directory_that_went_back_in_time_is_denied() {
    let voters = [(1, 11), (2, 22), (3, 33)];
    for held in [(3, 99), (4, 9)] {
        let (mut one, mut two) = (identity(1, 11, &voters), identity(2, 22, &voters));
        two.saw((NodeId(1), StorageId(11)), Term(4), Index(10));
        assert_eq!(tell(&two, &mut one, held), Verdict::Deny);
    }
}

#[test]
fn a_directory_that_went_back_in_time_is_denied_also_when_who_knows_answers_last() {
    let voters = [(1, 11), (2, 22), (3, 33)];
    let (two, mut three) = (identity(2, 22, &voters), identity(3, 33, &voters));
    three.saw((NodeId(1), StorageId(11)), Term(4), Index(10));
    for (held, verdict) in [((4, 9), Verdict::Deny), ((4, 10), Verdict::Nothing), ((5, 2), Verdict::Nothing)]
    {
        let mut one = identity(1, 11, &voters);
        one.caught_up();
        assert_eq!((tell(&two, &mut one, held), &one.standing), (Verdict::Join, &Standing::Member));
        assert_eq!(tell(&three, &mut one, held), verdict, "{held:?}");
    }
}

#[test]
fn what_the_directory_before_acknowledged_is_not_held_against_the_one_in_its_place() {
    let mut late = identity(2, 22, &[(1, 11), (2, 22), (3, 33)]);
    late.saw((NodeId(1), StorageId(11)), Term(4), Index(10));
    let voters = [(1, 12), (2, 22), (3, 33)];
    let mut one = identity(1, 12, &voters);
    one.caught_up();
    assert_eq!(tell(&identity(3, 33, &voters), &mut one, (0, 0)), Verdict::Join);
    let Body::Hello(late) = late.hello(NodeId(1), false) else { unreachable!() };
    let (_, verdict) = one.hello_heard(NodeId(2), StorageId(22), &late, (Term(4), Index(0)));
    assert_eq!((verdict, &one.standing), (Verdict::Nothing, &Standing::Member));
}

fn members(changes: u64, index: u64, storages: &[(u64, u64)]) -> Members {
    let record = |&(id, storage): &(u64, u64)| pb::MemberRecord {
        id,
        peer_address: format!("m{id}:1"),
        client_address: format!("m{id}:2"),
        storage,
        part: pb::MemberPart::Voter.into(),
        ..Default::default()
    };
    let members = storages.iter().map(record).collect();
    let record = pb::Membership { members, changes, index, ..Default::default() };
    Members::from_record(&record).unwrap()
}

#[test]
fn a_directory_that_came_in_place_of_another_is_heard_once_that_is_told_and_never_counts_for_it() {
    let founders = [(1, 11), (2, 22), (3, 33)];
    let mut one = identity(1, 11, &founders);
    assert!(one.follow(&members(0, 2, &founders)).unwrap().is_empty());
    one.standing = Standing::Member;
    let new = (NodeId(3), StorageId(99));
    assert!(one.admit(new.0, new.1, false).is_err(), "it is not known");
    let mut other = identity(2, 22, &founders);
    let changed = [(1, 11), (2, 22), (3, 99)];
    assert_eq!(other.follow(&members(2, 9, &changed)), Some([NodeId(3)].into()));
    let Body::Hello(hello) = other.hello(NodeId(1), false) else { unreachable!() };
    one.learn(&hello);
    assert!(one.admit(new.0, new.1, false).is_ok());
    // The members that it has carried out are the old ones: among them the new directory has no say.
    assert!(!one.counts(new.0, new.1) && one.counts(NodeId(2), StorageId(22)));
    assert_eq!(one.follow(&members(2, 9, &changed)), Some([NodeId(3)].into()));
    assert!(one.counts(new.0, new.1));
}

#[test]
fn a_node_that_was_away_asks_whom_it_does_not_know_and_is_greeted_by_the_members_it_is_told_of() {
    let mut one = identity(1, 11, &[(1, 11), (2, 22), (3, 33)]);
    assert_eq!(one.caught_up(), Verdict::Nothing);
    let asked = one.admit(NodeId(4), StorageId(44), false).unwrap_err().unwrap();
    assert!(matches!(*asked, Body::Hello(ref hello) if hello.ask));
    let now = [(1, 11), (4, 44), (5, 55)];
    let mut four = identity(4, 44, &[(4, 44)]);
    assert!(four.follow(&members(4, 20, &now)).is_some());
    let Body::Hello(hello) = four.hello(NodeId(1), false) else { unreachable!() };
    one.learn(&hello);
    assert!(one.admit(NodeId(4), StorageId(44), true).is_ok());
    assert_eq!(one.hello_heard(NodeId(4), StorageId(44), &hello, (Term(0), Index(0))).1, Verdict::Join);
}

#[test]
fn a_founder_with_an_empty_directory_does_not_take_the_founders_for_the_members() {
    let founders = [(1, 11), (2, 22), (3, 33)];
    for (changes, verdict) in [(0, true), (2, false)] {
        let mut teller = identity(2, 22, &founders);
        assert!(teller.follow(&members(changes, 5, &founders)).is_some());
        let mut fresh = identity(1, 11, &[]);
        let adopted = matches!(tell(&teller, &mut fresh, (0, 0)), Verdict::Bootstrap(_));
        assert_eq!(adopted, verdict, "after {changes} changes");
    }
}

#[test]
fn one_that_is_behind_is_corrected_and_silences_nobody() {
    let founders = [(1, 11), (2, 22), (3, 33)];
    let (mut new, behind) = (identity(3, 99, &[(3, 99)]), identity(2, 22, &founders));
    new.standing = Standing::Member;
    assert!(new.follow(&members(2, 9, &[(1, 11), (2, 22), (3, 99)])).is_some());
    let denied = behind.admit(NodeId(3), StorageId(99), false).unwrap_err().unwrap();
    let Body::Denied(denial) = *denied else { unreachable!() };
    assert!(new.correction(NodeId(2), &denial).is_some());
    assert_eq!(new.denied_heard(NodeId(2), &denial), Verdict::Nothing);
    assert_eq!(new.standing, Standing::Member);
    assert_eq!(new.denials().count(), 0, "what is behind raises no alarm");
}

#[test]
fn a_directory_that_joined_and_is_not_written_down_yet_goes_on_asking() {
    let mut new =
        Identity::new((NodeId(4), StorageId(44)), [1, 2, 3].map(NodeId).into(), true, Voters::new(), 1);
    let founders = [(1, 11), (2, 22), (3, 33)];
    let known = [(1, 11), (2, 22), (3, 33), (4, 44)];
    let mut one = identity(1, 11, &known);
    assert!(one.follow(&members(1, 5, &known)).is_some());
    assert_eq!(
        tell(&one, &mut new, (1, 5)),
        Verdict::Bootstrap(known.map(|(node, storage)| (NodeId(node), StorageId(storage))).into())
    );
    // It comes up again with a log in which it was not known yet, and was removed meanwhile.
    let kept = known.map(|(node, storage)| (NodeId(node), StorageId(storage))).into();
    let mut again = Identity::new((NodeId(4), StorageId(44)), [1, 2, 3].map(NodeId).into(), true, kept, 1);
    assert_eq!(again.caught_up(), Verdict::Nothing);
    for (node, storage) in founders {
        let mut peer = identity(node, storage, &founders);
        assert!(peer.follow(&members(2, 9, &founders)).is_some());
        assert_eq!(tell(&peer, &mut again, (1, 5)), Verdict::Nothing);
    }
    assert!(!again.questions().is_empty(), "its leader must hear of it once it is added again");
}

#[test]
fn a_directory_that_was_removed_while_it_was_away_goes_on_asking_until_it_is_added_again() {
    // Of the voters that it knows, 2 and 3 are gone for good; it was removed itself.
    let known = [(1, 11), (2, 22), (3, 33), (4, 44)];
    let mut away = identity(4, 44, &known);
    assert!(away.follow(&members(1, 5, &known)).is_some());
    assert_eq!(away.caught_up(), Verdict::Nothing);
    let mut one = identity(1, 11, &known);
    one.standing = Standing::Member;
    assert!(one.follow(&members(2, 9, &[(1, 11)])).is_some());
    let Body::Hello(hello) = one.hello(NodeId(4), false) else { unreachable!() };
    away.learn(&hello);
    assert_eq!(tell(&one, &mut away, (1, 5)), Verdict::Nothing);
    assert!(away.questions().iter().any(|(peer, _)| *peer == NodeId(1)), "who has greeted it may lead");
    // Its leader has added it again, and heard of its directory.
    assert!(one.follow(&members(4, 20, &[(1, 11), (4, 44)])).is_some());
    let Body::Hello(hello) = one.hello(NodeId(4), false) else { unreachable!() };
    away.learn(&hello);
    assert_eq!(tell(&one, &mut away, (1, 5)), Verdict::Join);
}

#[test]
fn a_directory_that_comes_up_hears_that_members_that_it_waits_for_were_removed() {
    let known = [(1, 11), (2, 22), (3, 33), (4, 44), (5, 55)];
    let (mut one, mut back) = (identity(1, 11, &known), identity(3, 33, &known));
    one.standing = Standing::Member;
    for node in [&mut one, &mut back] {
        assert!(node.follow(&members(1, 5, &known)).is_some());
    }
    assert_eq!(back.caught_up(), Verdict::Nothing);
    assert_eq!(tell(&one, &mut back, (1, 5)), Verdict::Nothing, "two of five");
    // Nobody else comes back: they are removed, and node 1 has greeted it already.
    assert!(one.follow(&members(2, 9, &known[..3])).is_some());
    assert!(back.questions().iter().any(|(peer, _)| *peer == NodeId(1)));
    let Body::Hello(hello) = one.hello(NodeId(3), false) else { unreachable!() };
    back.learn(&hello);
    assert_eq!(tell(&one, &mut back, (1, 5)), Verdict::Join);
    assert!(back.questions().is_empty(), "it takes part");
}

#[test]
fn a_founder_without_a_log_does_not_take_the_word_of_a_peer_that_has_not_carried_out_who_the_members_are() {
    // Node 1 lost its directory, and the cluster has written the new one down as a learner's.
    let kept = [(1, 99), (2, 22), (3, 33)];
    let mut again = identity(1, 99, &[]);
    let mut peer = identity(2, 22, &kept);
    peer.holds_entries();
    assert_eq!(tell(&peer, &mut again, (0, 0)), Verdict::Nothing, "it has just come up");
    assert_eq!(*again.standing(), Standing::Fresh);
    assert!(peer.follow(&members(3, 9, &kept)).is_some());
    assert_eq!(tell(&peer, &mut again, (0, 0)), Verdict::Deny, "it must be told that it joins");
    // The cluster that it founds has no log yet.
    let mut late = identity(1, 99, &[]);
    assert!(matches!(tell(&identity(2, 22, &kept), &mut late, (0, 0)), Verdict::Bootstrap(_)));
}

#[test]
fn one_that_joins_is_empty_and_founds_nothing() {
    let (mut one, two) = (identity(1, 11, &[]), identity(2, 22, &[]));
    let own = (NodeId(3), StorageId(33));
    let joins = Identity::new(own, [1, 2, 3].map(NodeId).into(), true, Voters::default(), 1);
    assert_eq!(tell(&two, &mut one, (0, 0)), Verdict::Nothing);
    assert_eq!(tell(&joins, &mut one, (0, 0)), Verdict::Nothing);
    assert_eq!(one.standing, Standing::Fresh);
    assert!(one.waits_for().is_some_and(|told| told.ends_with("nodes 3")), "{:?}", one.waits_for());
}

#[test]
#[cfg(feature = "planted-bugs")]
fn one_that_joins_and_is_taken_for_a_founder_is_noticed() {
    bug::notices(Bug::IdentityJoinerFounds, one_that_joins_is_empty_and_founds_nothing);
}
