//! Executors and their leases.

use super::*;
use crate::types::LeaseId;

#[test]
fn ids_are_never_given_again() {
    let mut world = World::new();
    let first = world.executor(1);
    world.expire(first);
    let second = world.executor(1);
    assert!(second > first);
    let leases: Vec<_> = world.state.leases().map(|lease| lease.id).collect();
    assert_eq!(leases.len(), 2);
    assert_eq!(world.state.executor(second).unwrap().lease, *leases.last().unwrap());
}

#[test]
fn all_that_expired_goes_in_one_entry_and_its_tasks_move_at_once() {
    let mut world = World::new();
    let (one, two, three) = (world.executor(2), world.executor(2), world.executor(2));
    world.submit("job", |it| it.tasks = 6);
    for number in 0..6 {
        world.online("job", number);
    }
    let lost: Vec<_> = [one, two].map(|it| LeaseId(world.state.executor(it).unwrap().lease)).to_vec();
    let applied = world.internal(Command::ExpireLeases { leases: lost.clone() });
    assert!(world.state.executor(one).is_none() && world.state.executor(two).is_none());
    assert_eq!(
        applied.trace.iter().filter(|it| matches!(it, crate::trace::TraceEvent::TaskMoved { .. })).count(),
        4
    );
    let waiting: Vec<_> = world.state.tasks(&id("job")).filter(|(_, it)| it.executor == 0).collect();
    assert_eq!(waiting.len(), 4);
    for (_, task) in waiting {
        assert_eq!((task.state(), task.failures, task.moves), (TaskState::Pending, 0, 1));
        assert_eq!((task.last_end(), task.not_before_ms), (AttemptEnd::Lost, 0));
    }
    assert_eq!(world.state.held(three).count(), 2);
    assert_eq!(world.job_state("job"), JobState::Running);
    // Said again, it changes nothing.
    let before = world.state.clone();
    world.internal(Command::ExpireLeases { leases: lost });
    assert_eq!(before.records.frame().sum(), world.state.records.frame().sum());
}

#[test]
fn moved_tasks_are_placed_in_the_entry_that_frees_them() {
    let mut world = World::new();
    let (one, two) = (world.executor(4), world.executor(4));
    world.submit("job", |it| it.tasks = 4);
    world.expire(one);
    assert_eq!(world.state.held(two).count(), 4);
    // The epoch is the index of the entry that placed the attempt.
    assert!((0..4).any(|number| world.task("job", number).epoch == world.state.index().0));
}

#[test]
fn only_the_same_run_of_an_executor_deregisters_it() {
    let mut world = World::new();
    let executor = world.executor(1);
    let leave = |incarnation| Command::DeregisterExecutor { executor, incarnation: Incarnation(incarnation) };
    assert_eq!(code(&world.client(leave(6))), Some(RefusalCode::Stale));
    world.submit("job", |_| {});
    assert_eq!(code(&world.client(leave(7))), None);
    assert!(world.state.executor(executor).is_none());
    assert_eq!(world.state.leases().count(), 1);
    assert_eq!((world.task("job", 0).state(), world.task("job", 0).moves), (TaskState::Pending, 1));
    assert_eq!(code(&world.client(leave(7))), Some(RefusalCode::NotFound));
}

#[test]
fn a_removed_executor_gets_nothing_more_and_goes_with_its_lease() {
    let mut world = World::new();
    let executor = world.executor(2);
    world.submit("first", |_| {});
    assert_eq!(code(&world.client(Command::RemoveExecutor { executor })), None);
    assert_eq!(code(&world.client(Command::RemoveExecutor { executor })), None);
    world.submit("second", |_| {});
    assert_eq!(world.executors_of("first"), [executor.0]);
    assert_eq!(world.executors_of("second"), [0]);
    assert!(world.state.executor(executor).unwrap().removing);
    assert!(!world.state.can_place(ClusterTime(u64::MAX)));
    world.expire(executor);
    assert!(world.state.executor(executor).is_none());
    assert_eq!(world.executors_of("first"), [0]);
    let unknown = Command::RemoveExecutor { executor: ExecutorId(99) };
    assert_eq!(code(&world.client(unknown)), Some(RefusalCode::NotFound));
}

#[test]
fn the_desired_set_is_whole_and_tells_what_is_not_known_yet() {
    let mut world = World::new();
    let executor = world.executor(EXECUTOR_SLOTS);
    world.submit("job", |it| it.tasks = 100);
    let desired = world.state.desired(executor, &[]);
    assert_eq!(desired.len(), 100);
    let told = desired.iter().filter(|it| it.specification.is_some()).count();
    assert_eq!(told, crate::limits::HEARTBEAT_SPECIFICATIONS);
    let report = |number: u32, epoch, phase: AttemptPhase| pb::AttemptReport {
        attempt: Some(pb::AttemptKey { job: "job".into(), number, epoch }),
        phase: phase as i32,
        ..Default::default()
    };
    let epoch = world.task("job", 0).epoch;
    let reports = [
        report(0, epoch, AttemptPhase::Running),
        report(1, epoch, AttemptPhase::Parked),
        report(2, epoch + 8, AttemptPhase::Running),
        report(3, epoch, AttemptPhase::Ended),
    ];
    let desired = world.state.desired(executor, &reports);
    let told: Vec<_> = (0..4).map(|number| desired[number].specification.is_some()).collect();
    assert_eq!(told, [false, true, true, false]);
    assert!(desired.iter().all(|it| !it.stop));
    world.cancel("job", 10_000);
    assert!(world.state.desired(executor, &reports).iter().all(|it| it.stop));
}

#[test]
fn an_executor_that_comes_back_says_what_it_has_ended_and_its_tasks_need_not_wait() {
    let mut world = World::new();
    let former = world.executor(1);
    world.submit("job", |_| {});
    let register = |ended_incarnation| Command::RegisterExecutor {
        request: pb::RegisterExecutorRequest {
            name: "e".into(),
            address: "e:1".into(),
            slots: 1,
            incarnation: 99,
            ended_executor: former.0,
            ended_incarnation,
            ..Default::default()
        },
        ttl_ms: 5_000,
        grace_ms: 2_000,
    };
    let incarnation = world.state.executor(former).unwrap().incarnation;
    world.client(register(incarnation + 1));
    assert!(world.state.executor(former).is_some(), "another process's word does not count");
    world.client(register(incarnation));
    assert!(world.state.executor(former).is_none());
    assert_ne!(world.task("job", 0).executor, former.0);
    assert_eq!(world.task("job", 0).moves, 1);
}
