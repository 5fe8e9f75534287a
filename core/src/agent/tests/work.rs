//! The desired set, processes, and what is reported of them.

use super::*;
use pb::AttemptPhase::{Ended, Parked, Running, Stopping};

#[test]
fn a_set_starts_what_it_names_without_any_call() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    assert!(world.set(1, vec![wanted(&id)]).is_empty());
    let started = world.take(|output| {
        if let AgentOutput::Start { attempt, deadline, specification } = output {
            Some((attempt.clone(), *deadline, specification.argv.clone()))
        } else {
            None
        }
    });
    assert_eq!(started, [(id.clone(), world.agent.deadline().unwrap(), vec!["true".to_owned()])]);
    let reports = world.set(1, vec![wanted(&id)]);
    assert_eq!(reports[0].phase(), Parked, "its guard has not said that it runs");
    assert!(world.starts().is_empty());
}

#[test]
fn news_is_sent_at_once_but_together() {
    let mut world = World::serving();
    let ids = [attempt(0, 1), attempt(1, 1)];
    world.set(1, ids.iter().map(wanted).collect());
    world.pass(ms(100));
    world.process(&ids[0], ProcessEvent::Started);
    let (_, heartbeat) = world.heartbeat();
    assert_eq!(heartbeat.reports[0].phase(), Running);
    assert_eq!(heartbeat.reports[1].phase(), Parked);
    world.process(&ids[1], ProcessEvent::Started);
    world.process(&ids[0], ended(3));
    assert!(world.requests().is_empty());
    world.pass(ms(limits::HEARTBEAT_GAP_MS));
    let (_, heartbeat) = world.heartbeat();
    assert_eq!((heartbeat.reports[0].phase(), heartbeat.reports[0].code), (Ended, 3));
    assert_eq!(heartbeat.reports[0].end(), pb::AttemptEnd::Exited);
    assert_eq!(heartbeat.reports[1].phase(), Running);
}

#[test]
fn an_ended_attempt_is_reported_until_no_set_names_it() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.set(1, vec![wanted(&id)]);
    world.process(&id, ended(0));
    assert_eq!(world.set(1, vec![wanted(&id)]).len(), 1);
    assert_eq!(world.set(2, vec![]).len(), 1);
    assert_eq!(world.forgets(), [id]);
    assert!(world.set(2, vec![]).is_empty());
}

#[test]
fn what_is_not_named_is_killed_and_forgotten_when_it_has_ended() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.set(1, vec![wanted(&id)]);
    world.process(&id, ProcessEvent::Started);
    world.set(2, vec![]);
    assert_eq!(world.kills(), std::slice::from_ref(&id));
    assert_eq!(world.phases(), [(id.clone(), Stopping)]);
    world.set(2, vec![]);
    assert!(world.kills().is_empty());
    world.process(&id, ended(0));
    assert_eq!(world.forgets(), [id]);
}

#[test]
fn an_older_set_than_one_seen_is_ignored() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.set(5, vec![wanted(&id)]);
    world.set(4, vec![]);
    assert!(world.kills().is_empty());
    world.set(4, vec![wanted(&attempt(1, 1))]);
    assert_eq!(world.starts(), [id]);
}

#[test]
fn stop_asks_once_then_kills_after_its_timeout() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.set(1, vec![wanted(&id)]);
    world.process(&id, ProcessEvent::Started);
    world.set(2, vec![unwanted(&id)]);
    let asked = world.now;
    assert_eq!(world.terminates(), std::slice::from_ref(&id));
    world.set(2, vec![unwanted(&id)]);
    assert!(world.terminates().is_empty());
    world.pass((asked + ms(999)).since(world.now));
    assert!(world.kills().is_empty());
    world.pass(ms(1));
    assert_eq!(world.kills(), std::slice::from_ref(&id));
    world.process(
        &id,
        ProcessEvent::Ended { end: pb::AttemptEnd::Signaled, code: 9, message: "killed".into() },
    );
    world.requests();
    let reports = world.set(2, vec![unwanted(&id)]);
    assert_eq!((reports[0].end(), reports[0].code), (pb::AttemptEnd::Stopped, 9));
}

#[test]
fn stop_of_what_never_started_is_reported_as_its_end() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.set(2, vec![unwanted(&id)]);
    world.requests();
    let reports = world.set(3, vec![wanted(&id)]);
    assert_eq!((reports[0].phase(), reports[0].end()), (Ended, pb::AttemptEnd::Stopped));
    assert!(world.starts().is_empty());
}

#[test]
fn what_does_not_fit_starts_when_there_is_room() {
    let mut world = World::serving_with(1);
    let ids = [attempt(0, 1), attempt(1, 1)];
    world.set(1, ids.iter().map(wanted).collect());
    assert_eq!(world.starts(), std::slice::from_ref(&ids[0]));
    world.process(&ids[0], ended(0));
    world.set(1, ids.iter().map(wanted).collect());
    assert_eq!(world.starts(), [ids[1].clone()]);
}

#[test]
fn a_command_that_could_not_be_started_is_reported() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.set(1, vec![wanted(&id)]);
    let message = "é".repeat(limits::MESSAGE_BYTES);
    world.process(&id, ProcessEvent::NotStarted { message });
    let reports = world.set(1, vec![wanted(&id)]);
    assert_eq!(reports[0].end(), pb::AttemptEnd::NotStarted);
    assert!(reports[0].message.len() <= limits::MESSAGE_BYTES && reports[0].message.starts_with('é'));
    assert_eq!(world.starts(), [id]);
}

#[test]
fn a_set_that_no_master_sends_is_ignored() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.set(1, vec![wanted(&id)]);
    let many =
        (0..=limits::HEARTBEAT_REPORTS).map(|number| wanted(&attempt(u32::try_from(number).unwrap(), 1)));
    world.set(2, many.collect());
    assert_eq!(world.starts(), [id]);
    let nameless = pb::DesiredAttempt { attempt: None, stop: false, specification: Some(specification()) };
    world.set(3, vec![nameless, wanted(&attempt(1, 1))]);
    assert_eq!(world.starts(), [attempt(1, 1)]);
}

#[test]
fn events_of_unknown_attempts_change_nothing() {
    let mut world = World::serving();
    world.process(&attempt(0, 1), ended(0));
    world.process(&attempt(0, 1), ProcessEvent::Started);
    assert!(world.phases().is_empty());
}

#[test]
fn reports_never_go_over_their_limit() {
    let mut world = World::serving_with(1);
    for number in 0..u32::try_from(limits::HEARTBEAT_REPORTS).unwrap() + 5 {
        world.stop(&attempt(number, 1), 6).unwrap();
    }
    assert_eq!(world.phases().len(), limits::HEARTBEAT_REPORTS);
    assert_eq!(world.pre_dispatch(&attempt(9_999, 1), 6), Err(pb::RefusalCode::Exhausted));
}
