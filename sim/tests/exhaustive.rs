//! The exhaustive search on scopes that take seconds. The large one is for `cargo exhaustive`.
#![cfg(not(madsim))]

#[path = "../examples/exhaustive/model.rs"]
mod model;
#[path = "../examples/exhaustive/rules.rs"]
mod rules;
#[path = "../examples/exhaustive/scope.rs"]
mod scope;

use model::Cluster;
use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Searches at most so many states: how many there were, and which rules broke, and what never happened.
fn search(cluster: Cluster, states: usize) -> (usize, Vec<&'static str>, Vec<&'static str>) {
    let checker = cluster.checker().finish_when(HasDiscoveries::AnyFailures).target_state_count(states);
    let checker = checker.spawn_bfs().join();
    let found = checker.discoveries();
    let named = |expectation, there| {
        let properties = checker.model().properties().into_iter();
        let properties = properties.filter(|property| property.expectation == expectation);
        properties.map(|property| property.name).filter(|name| found.contains_key(name) == there).collect()
    };
    let (nodes, packets) = checker.model().parts();
    assert!(
        nodes + packets < checker.unique_state_count(),
        "states share nothing: the search would eat all memory"
    );
    let (broken, missing) = (named(Expectation::Always, true), named(Expectation::Sometimes, false));
    (checker.unique_state_count(), broken, missing)
}

#[test]
fn small_scopes_are_clean_to_their_end_and_everything_happens() {
    const STATES: usize = 3_000_000;
    for (name, least) in [("election", 1_000), ("takeover", 10_000)] {
        let scope = scope::named(name).expect("it is there");
        let (unique, broken, missing) = search(Cluster::new(scope), STATES);
        assert!(
            broken.is_empty() && missing.is_empty(),
            "{name}: {broken:?} broke, {missing:?} never happened"
        );
        assert!(unique > least && unique < STATES, "{name}: {unique} states");
    }
}

#[test]
fn the_large_scope_is_clean_as_far_as_it_is_searched() {
    let scope = scope::named("large").expect("it is there");
    let (unique, broken, _) = search(Cluster::new(scope), 200_000);
    assert!(broken.is_empty(), "{broken:?}");
    assert!(unique > 50_000, "{unique} states");
}

/// The search can fail.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs_are_found() {
    use quorate_core::bug::Bug;
    for (scope, bug) in [
        ("election", Bug::VoteNotPersisted),
        ("election", Bug::VotesTwice),
        ("election", Bug::ElectionOneShort),
        ("crash", Bug::AckBeforeSync),
        ("crash", Bug::CommitOneShort),
        ("crash", Bug::NoUpToDateCheck),
        ("crash", Bug::ConflictKept),
    ] {
        let mut cluster = Cluster::new(scope::named(scope).expect("it is there"));
        cluster.bug = Some(bug);
        let (_, broken, _) = search(cluster, 1_000_000);
        assert!(!broken.is_empty(), "{bug:?} breaks nothing in {scope}");
    }
}
