//! Registration, the lease, fencing, and the end.

use super::*;

fn incarnation_of(request: &pb::ClientRequest) -> u64 {
    let Some(client_request::Body::RegisterExecutor(request)) = &request.body else { panic!("{request:?}") };
    assert_eq!(request.request_id, Some(pb::RequestId { session: 3, sequence: 1, lowest_open: 1 }));
    request.incarnation
}

fn opened() -> Option<pb::ClientReply> {
    Some(reply(client_reply::Body::OpenSession(pb::OpenSessionReply { session: 3, ttl_ms: 60_000 })))
}

#[test]
fn registering_is_retried_with_one_request_id_and_one_incarnation() {
    let mut world = World::new();
    let (key, _) = world.request();
    world.answer(key, opened());
    let (key, first) = world.request();
    world.answer(key, None);
    assert!(world.requests().is_empty(), "it must wait before it asks again");
    world.pass(ms(100));
    let (key, second) = world.request();
    world.answer(key, Some(refused(pb::RefusalCode::Unavailable)));
    world.pass(ms(200));
    let (key, third) = world.request();
    assert_eq!(incarnation_of(&first), incarnation_of(&second));
    assert_eq!(incarnation_of(&first), incarnation_of(&third));
    assert_ne!(incarnation_of(&first), 0);
    world.registered(key, 9);
    assert_eq!(world.agent.executor(), Some(ExecutorId(9)));
    // The cluster's lease may have begun with the first request.
    assert_eq!(world.agent.deadline(), Some(Time(1_000_000_000) + ms(5_000)));
}

#[test]
fn waits_between_tries_grow_up_to_their_cap() {
    let mut world = World::new();
    let mut waits = Vec::new();
    for _ in 0..12 {
        let (key, _) = world.request();
        world.answer(key, None);
        let next = world.agent.next_deadline().expect("it tries for ever");
        waits.push(next.since(world.now));
        world.pass(next.since(world.now));
    }
    assert!(waits[0] >= ms(50) && waits[0] <= ms(100), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= ms(2_000)), "{waits:?}");
    assert!(waits[11] >= ms(1_000), "{waits:?}");
}

#[test]
fn a_session_that_expired_brings_a_new_incarnation() {
    let mut world = World::new();
    let (key, _) = world.request();
    world.answer(key, opened());
    let (key, first) = world.request();
    world.answer(key, Some(refused(pb::RefusalCode::SessionExpired)));
    world.pass(ms(100));
    let (key, request) = world.request();
    assert!(matches!(request.body, Some(client_request::Body::OpenSession(_))));
    world.answer(key, opened());
    let (_, second) = world.request();
    assert_ne!(incarnation_of(&first), incarnation_of(&second));
}

#[test]
fn late_and_repeated_answers_change_nothing() {
    let mut world = World::new();
    let (key, _) = world.request();
    world.answer(key, opened());
    let (register, _) = world.request();
    world.answer(key, opened());
    assert!(world.requests().is_empty());
    world.registered(register, 9);
    world.registered(register, 10);
    assert_eq!(world.agent.executor(), Some(ExecutorId(9)));
}

#[test]
fn a_refused_registration_is_said_and_tried_again() {
    let mut world = World::new();
    let (key, _) = world.request();
    world.answer(key, opened());
    let (key, _) = world.request();
    world.answer(key, Some(refused(pb::RefusalCode::Invalid)));
    let said =
        |output: &AgentOutput| matches!(output, AgentOutput::Trace(AgentTrace::Refused { .. })).then_some(());
    assert_eq!(world.take(said).len(), 1);
    world.pass(ms(100));
    world.register(9);
    assert_eq!(world.agent.executor(), Some(ExecutorId(9)));
}

#[test]
fn the_lease_counts_from_the_sending_of_the_newest_acknowledged_heartbeat() {
    let mut world = World::serving();
    let sent_first = world.now;
    let (first, heartbeat) = world.heartbeat();
    assert_eq!(heartbeat.sequence, 1);
    world.pass(ms(500));
    let sent_second = world.now;
    let (second, _) = world.heartbeat();
    world.pass(ms(300));
    world.acknowledge(second, 2, 1, vec![]);
    assert_eq!(world.agent.deadline(), Some(sent_second + ms(5_000)));
    let extended = world
        .take(|output| if let AgentOutput::Extend { deadline } = output { Some(*deadline) } else { None });
    assert_eq!(extended, [sent_second + ms(5_000)]);
    // An older one that is acknowledged later takes nothing back.
    world.acknowledge(first, 1, 1, vec![]);
    assert!(sent_first < sent_second);
    assert_eq!(world.agent.deadline(), Some(sent_second + ms(5_000)));
}

#[test]
fn an_acknowledgement_of_another_sequence_renews_nothing() {
    let mut world = World::serving();
    let before = world.agent.deadline();
    world.pass(ms(400));
    let (key, _) = world.heartbeat();
    world.acknowledge(key, 7, 1, vec![]);
    assert_eq!(world.agent.deadline(), before);
}

#[test]
fn heartbeats_keep_their_pace_and_their_limit() {
    let mut world = World::serving();
    world.pass(ms(4_999));
    let sent = world.requests();
    assert_eq!(
        sent.len(),
        limits::HEARTBEATS_INFLIGHT,
        "500 ms apart, but no more than the limit unanswered"
    );
    world.answer(sent[0].0, None);
    assert_eq!(world.requests().len(), 1);
}

#[test]
fn without_acknowledgements_everything_is_killed_at_the_deadline_and_not_before() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.set(1, vec![wanted(&id)]);
    world.process(&id, ProcessEvent::Started);
    let deadline = world.agent.deadline().unwrap();
    world.pass(Duration::from_nanos(deadline.0 - 1 - world.now.0));
    assert!(world.kills().is_empty());
    world.pass(Duration::from_nanos(1));
    assert!(world.fenced());
    assert_eq!(world.kills(), std::slice::from_ref(&id));
    assert_eq!(world.agent.executor(), None);
    world.requests();
    world.pass(ms(10_000));
    assert!(world.requests().is_empty(), "it must not register while a process of it lives");
    let former = world.agent.incarnation();
    world.process(&id, ended(0));
    assert_eq!(world.forgets(), [id]);
    world.register(10);
    assert_eq!(world.agent.executor(), Some(ExecutorId(10)));
    assert_ne!(world.agent.incarnation(), former);
}

#[test]
fn an_acknowledgement_at_the_deadline_is_too_late() {
    let mut world = World::serving();
    let (key, _) = world.heartbeat();
    world.now = world.agent.deadline().unwrap();
    world.acknowledge(key, 1, 1, vec![wanted(&attempt(0, 1))]);
    assert!(world.fenced());
    assert!(world.starts().is_empty());
}

#[test]
fn a_cluster_that_does_not_know_the_executor_fences_it() {
    for code in [pb::RefusalCode::NotFound, pb::RefusalCode::Stale] {
        let mut world = World::serving();
        let id = attempt(0, 1);
        world.set(1, vec![wanted(&id)]);
        world.pass(ms(500));
        let (key, _) = world.heartbeat();
        world.answer(key, Some(refused(code)));
        assert!(world.fenced());
        assert_eq!(world.kills(), std::slice::from_ref(&id));
        assert_eq!(world.confirm(&id, 2), Err(pb::RefusalCode::Precondition));
        world.process(&id, ended(0));
        world.register(10);
    }
}

#[test]
fn a_refusal_that_passes_is_no_reason_to_stop() {
    let mut world = World::serving();
    let (key, _) = world.heartbeat();
    world.answer(key, Some(refused(pb::RefusalCode::Unavailable)));
    assert!(!world.fenced());
    world.pass(ms(500));
    world.heartbeat();
}

#[test]
fn a_master_that_hangs_or_leads_nobody_leaves_time_for_the_others() {
    let mut world = World::serving();
    let timeouts = world
        .take(|output| if let AgentOutput::Request { timeout, .. } = output { Some(*timeout) } else { None });
    assert_eq!(timeouts.last(), Some(&ms(1_250)), "a quarter of the lease");
    for reply in [None, Some(refused(pb::RefusalCode::Unavailable))] {
        world.pass(ms(500));
        let (key, _) = world.heartbeat();
        world.answer(key, reply);
        world.pass(ms(249));
        assert!(world.requests().is_empty(), "a cluster without a leader is not to be flooded");
        world.pass(ms(1));
        world.heartbeat();
    }
    // Who has too much to do is not asked sooner.
    world.pass(ms(500));
    let (key, _) = world.heartbeat();
    world.answer(key, Some(refused(pb::RefusalCode::Exhausted)));
    world.pass(ms(499));
    assert!(world.requests().is_empty());
}

#[test]
fn a_registration_slower_than_its_lease_starts_nothing_before_a_heartbeat_is_acknowledged() {
    let mut world = World::new();
    let (key, _) = world.request();
    world.answer(key, opened());
    let (key, _) = world.request();
    world.now = world.now + ms(6_000);
    world.registered(key, 9);
    assert!(!world.fenced());
    let id = attempt(0, 1);
    assert_eq!(world.pre_dispatch(&id, 5), Err(pb::RefusalCode::Precondition));
    let sent = world.now;
    world.set(5, vec![wanted(&id)]);
    assert_eq!(world.starts(), [id]);
    assert_eq!(world.agent.deadline(), Some(sent + ms(5_000)));
}

#[test]
fn shutdown_stops_the_work_reports_it_and_leaves() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.set(1, vec![wanted(&id)]);
    world.process(&id, ProcessEvent::Started);
    world.step(AgentInput::Shutdown);
    assert_eq!(world.terminates(), std::slice::from_ref(&id));
    assert_eq!(world.pre_dispatch(&attempt(1, 1), 2), Err(pb::RefusalCode::Precondition));
    world.set(1, vec![wanted(&id), wanted(&attempt(1, 1))]);
    assert_eq!(world.starts(), std::slice::from_ref(&id));
    world.pass(ms(1_000));
    assert_eq!(world.kills(), std::slice::from_ref(&id));
    world.process(&id, ended(0));
    world.requests();
    world.pass(ms(600));
    let reports = world.set(2, vec![]);
    assert_eq!(reports[0].end(), pb::AttemptEnd::Stopped);
    let (key, _) = world.requests().pop().unwrap();
    world.answer(key, opened());
    let (key, request) = world.request();
    let Some(client_request::Body::DeregisterExecutor(leave)) = request.body else { panic!("{request:?}") };
    assert_eq!((leave.executor, leave.request_id.unwrap().session), (9, 3));
    assert!(!world.stopped());
    world.answer(key, Some(reply(client_reply::Body::DeregisterExecutor(pb::DeregisterExecutorReply {}))));
    assert!(world.stopped());
}

#[test]
fn shutdown_without_masters_ends_within_its_bound() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.set(1, vec![wanted(&id)]);
    world.step(AgentInput::Shutdown);
    world.process(&id, ended(0));
    world.pass(ms(limits::AGENT_LEAVE_MS / 2 + limits::AGENT_LEAVE_MS));
    assert!(world.stopped());
}

#[test]
fn a_lease_lost_during_shutdown_kills_and_stops() {
    let mut world = World::serving();
    let id = attempt(0, 1);
    world.set(1, vec![wanted(&id)]);
    world.step(AgentInput::Shutdown);
    world.now = world.agent.deadline().unwrap();
    world.step(AgentInput::Deadline);
    assert_eq!(world.kills(), std::slice::from_ref(&id));
    assert!(!world.stopped());
    world.process(&id, ended(0));
    assert!(world.stopped());
}

#[test]
fn an_executor_whose_needs_the_grace_does_not_cover_says_so_and_starts_nothing() {
    let mut world = World::new();
    let (key, _) = world.request();
    world.answer(key, opened());
    let (key, _) = world.request();
    let body = pb::RegisterExecutorReply { executor: 1, ttl_ms: 5_000, grace_ms: 600 };
    world.answer(key, Some(reply(client_reply::Body::RegisterExecutor(body))));
    assert!(world.outputs.iter().any(|output| matches!(output,
        AgentOutput::Trace(AgentTrace::Refused { code: pb::RefusalCode::Invalid, message })
            if message.contains("executor.grace"))));
    assert!(matches!(world.outputs.last(), Some(AgentOutput::Stop)));
}

#[test]
fn the_session_in_which_it_registers_ends_when_it_was_told() {
    for session_ms in [0, 1_500] {
        let mut agent = Agent::new(
            AgentConfig { name: "a".into(), address: "h:1".into(), session_ms, ..AgentConfig::default() },
            7,
            Now { time: Time(1), wall_ms: 0 },
        );
        let Some(AgentOutput::Request { request, .. }) = agent.poll_output() else {
            panic!("it asks for nothing");
        };
        let ask = client_request::Body::OpenSession(pb::OpenSessionRequest { ttl_ms: session_ms });
        assert_eq!(request.body, Some(ask));
    }
}
