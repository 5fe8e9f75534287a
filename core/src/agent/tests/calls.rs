//! What a leader calls, in any order and any number of times.

use super::*;

#[test]
fn a_parked_attempt_starts_once_however_often_it_is_confirmed() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    assert_eq!(world.pre_dispatch(&id, 5), Ok(()));
    assert_eq!(world.pre_dispatch(&id, 5), Ok(()));
    assert!(world.starts().is_empty());
    assert_eq!(world.confirm(&id, 5), Ok(()));
    assert_eq!(world.starts(), std::slice::from_ref(&id));
    assert_eq!(world.confirm(&id, 5), Ok(()));
    assert_eq!(world.pre_dispatch(&id, 5), Ok(()));
    world.process(&id, ended(0));
    assert_eq!(world.confirm(&id, 5), Ok(()));
    assert!(world.starts().is_empty());
}

#[test]
fn a_confirm_without_its_attempt_does_nothing() {
    let mut world = World::serving();
    assert_eq!(world.confirm(&attempt(0, 1), 5), Err(pb::RefusalCode::Precondition));
    assert!(world.starts().is_empty());
    assert!(world.phases().is_empty());
}

#[test]
fn a_parked_attempt_expires_and_gives_its_slot_back() {
    let mut world = World::serving_with(1);
    let (id, other) = (attempt(0, 1), attempt(1, 1));
    world.pre_dispatch(&id, 5).unwrap();
    for _ in 0..19 {
        assert_eq!(world.pre_dispatch(&other, 6), Err(pb::RefusalCode::Exhausted));
        // Sets of before the call say nothing of it.
        world.set(4, vec![]);
    }
    world.pass(ms(limits::PARKED_MS) - ms(19 * 500 - 500));
    assert!(world.phases().is_empty());
    assert_eq!(world.confirm(&id, 5), Err(pb::RefusalCode::Precondition));
    assert_eq!(world.pre_dispatch(&other, 6), Ok(()));
}

#[test]
fn an_expired_attempt_may_still_be_started_by_a_set() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.pre_dispatch(&id, 5).unwrap();
    for _ in 0..25 {
        world.set(4, vec![]);
    }
    world.set(5, vec![wanted(&id)]);
    assert_eq!(world.starts(), [id]);
}

#[test]
fn a_call_older_than_the_set_starts_only_what_the_set_names() {
    let mut world = World::serving();
    let (gone, named) = (attempt(0, 1), attempt(1, 1));
    let without_specification = pb::DesiredAttempt { specification: None, ..wanted(&named) };
    world.set(8, vec![without_specification]);
    assert_eq!(world.pre_dispatch(&gone, 8), Err(pb::RefusalCode::Stale));
    assert_eq!(world.confirm(&gone, 7), Err(pb::RefusalCode::Stale));
    assert_eq!(world.pre_dispatch(&named, 8), Ok(()));
    assert_eq!(world.pre_dispatch(&gone, 9), Ok(()), "decided after the set");
}

#[test]
fn two_calls_of_one_index_are_both_taken() {
    let mut world = World::serving();
    world.pre_dispatch(&attempt(0, 1), 5).unwrap();
    world.pre_dispatch(&attempt(1, 1), 5).unwrap();
    assert_eq!(world.phases().len(), 2);
}

#[test]
fn a_forgotten_attempt_never_comes_back() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.pre_dispatch(&id, 5).unwrap();
    world.confirm(&id, 5).unwrap();
    world.process(&id, ended(0));
    world.set(6, vec![]);
    assert!(world.phases().is_empty());
    world.starts();
    assert_eq!(world.pre_dispatch(&id, 5), Err(pb::RefusalCode::Stale));
    assert_eq!(world.confirm(&id, 5), Err(pb::RefusalCode::Stale));
    // An older set that arrives late is not listened to.
    world.set(5, vec![wanted(&id)]);
    assert!(world.starts().is_empty());
}

#[test]
fn a_newer_attempt_waits_until_the_older_has_ended() {
    let mut world = World::serving();
    let (old, new) = (attempt(0, 1), attempt(0, 2));
    world.pre_dispatch(&old, 5).unwrap();
    world.confirm(&old, 5).unwrap();
    world.process(&old, ProcessEvent::Started);
    assert_eq!(world.starts(), std::slice::from_ref(&old));
    world.pre_dispatch(&new, 7).unwrap();
    world.confirm(&new, 7).unwrap();
    assert_eq!(world.kills(), std::slice::from_ref(&old));
    assert!(world.starts().is_empty());
    assert_eq!(world.confirm(&old, 5), Err(pb::RefusalCode::Stale));
    world.process(&old, ended(0));
    assert_eq!(world.starts(), [new]);
}

#[test]
fn an_older_attempt_than_known_is_refused_for_good() {
    let mut world = World::serving();
    world.pre_dispatch(&attempt(0, 3), 5).unwrap();
    assert_eq!(world.pre_dispatch(&attempt(0, 2), 9), Err(pb::RefusalCode::Stale));
}

#[test]
fn slots_count_every_attempt_that_has_not_ended() {
    let mut world = World::serving_with(2);
    let ids = [attempt(0, 1), attempt(1, 1), attempt(2, 1)];
    world.pre_dispatch(&ids[0], 5).unwrap();
    world.pre_dispatch(&ids[1], 5).unwrap();
    assert_eq!(world.pre_dispatch(&ids[2], 5), Err(pb::RefusalCode::Exhausted));
    world.confirm(&ids[0], 5).unwrap();
    assert_eq!(world.pre_dispatch(&ids[2], 5), Err(pb::RefusalCode::Exhausted));
    world.process(&ids[0], ended(0));
    assert_eq!(world.pre_dispatch(&ids[2], 5), Ok(()));
}

#[test]
fn calls_for_someone_else_are_refused() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    let good = world.header(5).unwrap();
    let call = |header: pb::CallHeader| {
        let attempt = Some(key_of(&id));
        let specification = Some(specification());
        executor_call::Body::PreDispatch(pb::PreDispatchRequest {
            header: Some(header),
            attempt,
            specification,
        })
    };
    let precondition = Err(pb::RefusalCode::Precondition);
    assert_eq!(world.call(call(pb::CallHeader { executor: 8, ..good })), precondition);
    assert_eq!(world.call(call(pb::CallHeader { incarnation: 8, ..good })), precondition);
    assert_eq!(world.call(call(good)), Ok(()));
    assert_eq!(world.call(call(pb::CallHeader { term: 1, ..good })), precondition);
    // The cluster was learned from the first good call.
    assert_eq!(world.call(call(pb::CallHeader { cluster: 6, ..good })), precondition);
}

#[test]
fn broken_calls_are_refused() {
    let mut world = World::serving();
    let bad = pb::AttemptKey { job: "-".into(), number: 0, epoch: 1 };
    let header = world.header(5);
    let invalid = Err(pb::RefusalCode::Invalid);
    let attempt = Some(key_of(&attempt(0, 1)));
    assert_eq!(
        world.call(executor_call::Body::Stop(pb::StopRequest { header, attempt: Some(bad) })),
        invalid
    );
    assert_eq!(world.call(executor_call::Body::Stop(pb::StopRequest { header, attempt: None })), invalid);
    let confirm = pb::ConfirmRequest { header: None, attempt: attempt.clone() };
    assert_eq!(world.call(executor_call::Body::Confirm(confirm)), invalid);
    let request = pb::PreDispatchRequest { header, attempt, specification: None };
    assert_eq!(world.call(executor_call::Body::PreDispatch(request)), invalid);
    world.step(AgentInput::Call { key: CallKey(99), call: Box::default() });
}

#[test]
fn a_former_incarnation_is_refused_for_good_once_its_work_has_ended() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.set(1, vec![wanted(&id)]);
    let header = world.header(5);
    let call = executor_call::Body::Confirm(pb::ConfirmRequest { header, attempt: Some(key_of(&id)) });
    world.pass(ms(5_000));
    assert!(world.fenced());
    assert_eq!(world.call(call.clone()), Err(pb::RefusalCode::Precondition), "its processes may still live");
    world.process(&id, ended(0));
    assert_eq!(world.call(call), Err(pb::RefusalCode::Stale));
}

#[test]
fn stop_ends_an_attempt_in_any_phase() {
    let mut world = World::serving();
    let (parked, running, unknown) = (attempt(0, 1), attempt(1, 1), attempt(2, 1));
    world.pre_dispatch(&parked, 5).unwrap();
    world.pre_dispatch(&running, 5).unwrap();
    world.confirm(&running, 5).unwrap();
    world.starts();
    for id in [&parked, &running, &unknown] {
        assert_eq!(world.stop(id, 6), Ok(()));
        assert_eq!(world.stop(id, 6), Ok(()));
    }
    assert_eq!(world.terminates(), [running]);
    assert_eq!(world.confirm(&parked, 5), Ok(()));
    assert_eq!(world.pre_dispatch(&unknown, 5), Ok(()));
    assert_eq!(world.confirm(&unknown, 5), Ok(()));
    assert!(world.starts().is_empty(), "what was stopped must not start");
}

#[test]
fn another_cluster_calls_only_an_agent_that_has_registered_with_it() {
    let mut world = World::serving();
    world.pre_dispatch(&attempt(0, 1), 5).unwrap();
    let call = |world: &mut World, id: AttemptId| {
        let header = world.header(90).map(|header| pb::CallHeader { cluster: 6, term: 1, ..header });
        let (attempt, specification) = (Some(key_of(&id)), Some(specification()));
        world.call(executor_call::Body::PreDispatch(pb::PreDispatchRequest {
            header,
            attempt,
            specification,
        }))
    };
    assert_eq!(call(&mut world, attempt(1, 50)), Err(pb::RefusalCode::Precondition));
    // A cluster that took the state over without this executor does not know it.
    let (key, _) = world.heartbeat();
    world.answer(key, Some(refused(pb::RefusalCode::NotFound)));
    assert!(world.fenced());
    world.pass(ms(3_000));
    world.register(1_000_010);
    assert_eq!(call(&mut world, attempt(1, 50)), Ok(()), "its term may be lower than that of the one before");
    assert_eq!(world.pre_dispatch(&attempt(2, 60), 91), Err(pb::RefusalCode::Precondition));
}
