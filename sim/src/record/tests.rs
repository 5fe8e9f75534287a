use super::*;
use crate::{
    plan::{Limits, generate},
    run::run_plan,
};
use std::collections::BTreeSet;

fn plan(seed: u64) -> Plan {
    generate(seed, &Limits { duration_min_ms: 3_000, duration_max_ms: 5_000, faults: true })
}

#[test]
fn a_recorder_changes_nothing_of_a_run() {
    for seed in 0..6 {
        let plan = plan(seed);
        let (recorded, recording) = run_recorded(&plan);
        let bare = run_plan(&plan, false, None);
        assert_eq!((recorded.hash, recorded.events), (bare.hash, bare.events), "seed {seed}");
        assert_eq!(recording.end, recorded.time, "seed {seed}");
    }
}

#[test]
fn causes_come_first_and_what_arrives_was_sent_by_another() {
    let fates: BTreeSet<&str> = (0..6).flat_map(|seed| fates(&run_recorded(&plan(seed)).1)).collect();
    assert!(fates.is_superset(&["received", "dropped", "lost"].into()), "{fates:?}");
}

/// What became of messages, after a look at each.
fn fates(recording: &Recording) -> BTreeSet<&'static str> {
    let events = &recording.events;
    assert!(events.is_sorted_by_key(|event| event.time));
    for (id, event) in events.iter().enumerate() {
        if let Some(cause) = event.cause {
            assert!((cause as usize) < id, "{event:?} comes from a later event");
        }
    }
    // A message is sent by one, and taken by another, later, as its direct effect.
    let mut fates = BTreeSet::new();
    for message in &recording.messages {
        let sent = &events[message.from as usize];
        assert!(message.arrives >= sent.time);
        fates.insert(match message.fate {
            Fate::Received(by) => {
                let taken = &events[by as usize];
                assert_eq!(
                    (taken.time, Some(taken.actor)),
                    (message.arrives, message.to),
                    "{sent:?} {taken:?}"
                );
                assert_eq!(taken.cause, Some(message.from), "{sent:?} {taken:?}");
                assert_ne!(taken.actor, sent.actor);
                "received"
            }
            Fate::Dropped => "dropped",
            Fate::Travels => "travels",
            Fate::Lost => "lost",
        });
    }
    fates
}

#[test]
fn every_receipt_of_a_peer_message_is_an_arrow() {
    let (_, recording) = run_recorded(&plan(4));
    let arrows: BTreeSet<u32> = recording
        .messages
        .iter()
        .filter_map(|message| if let Fate::Received(by) = message.fate { Some(by) } else { None })
        .collect();
    let receipts: Vec<u32> =
        (0..).zip(&recording.events).filter(|(_, event)| event.kind == "receive").map(|(id, _)| id).collect();
    assert!(receipts.len() > 200);
    assert!(receipts.iter().all(|id| arrows.contains(id)));
}

#[test]
fn steps_disks_and_deadlines_have_the_causes_that_they_came_from() {
    let (_, recording) = run_recorded(&plan(5));
    let cause = |event: &Recorded| event.cause.map(|cause| &recording.events[cause as usize]);
    let mut seen = BTreeSet::new();
    for event in &recording.events {
        let Some(from) = cause(event) else { continue };
        if event.kind == "disk" && event.text.starts_with("write") {
            // What a hung disk kept back is done when the fault ends.
            let held = matches!(from.kind, "fault end" | "settle");
            assert!(
                held || (from.kind, from.actor) == ("write", event.actor),
                "{event:?} comes from {from:?}"
            );
            seen.insert("disk");
        }
        if event.kind == "write" {
            assert!(from.actor == event.actor && from.kind != "send", "{event:?} comes from {from:?}");
            seen.insert("write");
        }
        if event.kind == "deadline" && matches!(event.actor, Actor::Master(_)) {
            assert!(!matches!(from.kind, "send" | "write"), "{event:?} comes from {from:?}");
            seen.insert("deadline");
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn states_faults_and_operations_are_kept() {
    let plan = plan(6);
    let (_, recording) = run_recorded(&plan);
    assert_eq!(recording.masters.len(), plan.masters.clocks.len());
    assert!(recording.masters.iter().flatten().any(|(_, state)| state.role == "leader" && state.commit > 0));
    assert!(recording.executors.iter().flatten().any(|(_, state)| state.up && state.lease > 0));
    for states in &recording.masters {
        assert!(states.is_sorted_by_key(|(time, _)| *time));
        assert!(states.windows(2).all(|pair| pair[0].1 != pair[1].1));
    }
    let planned = plan.faults.len();
    assert!(!recording.bands.is_empty() && recording.bands.len() <= planned);
    assert!(recording.bands.iter().all(|band| band.from <= band.to && !band.touches.is_empty()));
    assert!(recording.bands.iter().any(|band| band.effective));
    let operations: Vec<&Operation> = recording.clients.iter().flatten().collect();
    assert!(operations.iter().all(|operation| !operation.request.is_empty()));
    // All clients were idle at the end.
    assert!(operations.iter().all(|operation| operation.to.is_some_and(|to| to >= operation.from)));
    assert!(operations.iter().any(|operation| operation.answer.contains('@')));
}
