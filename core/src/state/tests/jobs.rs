//! Jobs, tasks and attempts.

use super::*;
use crate::{limits::PLACEMENTS, trace::TraceEvent, types::AttemptId};

#[test]
fn a_batch_job_finishes_when_its_last_task_has() {
    let mut world = World::new();
    world.executor(2);
    world.submit("job", |it| it.tasks = 2);
    assert_eq!(world.job_state("job"), JobState::Created);
    assert_eq!(world.task_states("job"), [TaskState::Assigned, TaskState::Assigned]);
    world.online("job", 0);
    assert_eq!(world.job_state("job"), JobState::Running);
    world.exits("job", 0, 0);
    assert_eq!(world.job_state("job"), JobState::Running);
    let applied = world.exits("job", 1, 0);
    assert_eq!(world.job_state("job"), JobState::Finished);
    assert!(applied.trace.contains(&TraceEvent::JobEnded { job: id("job"), state: JobState::Finished }));
    assert_eq!((world.task("job", 0).executor, world.task("job", 0).last_executor), (0, 1));
    assert!(world.job("job").ended_wall_ms > 0);
}

#[test]
fn one_of_two_submissions_of_an_id_succeeds() {
    let mut world = World::new();
    assert_eq!(code(&world.submit("job", |_| {})), None);
    assert_eq!(code(&world.submit("job", |it| it.tasks = 3)), Some(RefusalCode::AlreadyExists));
    assert_eq!(world.task_states("job").len(), 1);
}

#[test]
fn a_job_without_an_id_is_given_a_free_one() {
    let mut world = World::new();
    let taken = format!("job-{}", world.index + 2);
    world.submit(&taken, |_| {});
    let reply = world.submit("", |_| {}).reply;
    let Some(Body::Job(pb::JobStatus { job: Some(job), counts: Some(counts), .. })) = reply.body else {
        panic!()
    };
    assert_eq!(job.id, format!("{taken}-2"));
    assert_eq!(counts.pending, 1);
}

#[test]
fn a_failure_waits_longer_each_time_and_the_last_one_fails_the_job() {
    let mut world = World::new();
    world.executor(3);
    world.submit("job", |it| it.tasks = 2);
    for wait in [1_000, 2_000] {
        world.exits("job", 0, 3);
        let task = world.task("job", 0);
        assert_eq!((task.state(), task.not_before_ms), (TaskState::Pending, world.time + wait));
        assert!(!world.state.can_place(ClusterTime(world.time + wait - 1)));
        assert_eq!(world.state.next_backoff(), Some(ClusterTime(world.time + wait)));
        world.time += wait;
        assert!(world.state.can_place(ClusterTime(world.time)));
        world.internal(Command::Place);
        assert_eq!(world.task("job", 0).state(), TaskState::Assigned);
    }
    world.exits("job", 0, 3);
    assert_eq!(world.job_state("job"), JobState::Failed);
    assert_eq!(world.task_states("job"), [TaskState::Failed, TaskState::Canceled]);
    assert_eq!(world.job("job").message, "task 0 failed: exit code 3");
    assert!(world.state.held(ExecutorId(1)).next().is_none());
}

#[test]
fn a_task_that_was_online_long_enough_starts_anew_with_its_first_wait() {
    let mut world = World::new();
    world.executor(1);
    world
        .submit("job", |it| it.retry = Some(pb::RetryPolicy { reset_after_ms: 5_000, ..Default::default() }));
    world.exits("job", 0, 1);
    world.time += 1_000;
    world.internal(Command::Place);
    world.online("job", 0);
    world.time += 5_000;
    world.exits("job", 0, 1);
    let task = world.task("job", 0);
    assert_eq!((task.failures, task.failures_total, task.not_before_ms), (1, 2, world.time + 1_000));
}

#[test]
fn an_attempt_that_could_not_start_is_a_failure_but_the_job_has_not_run() {
    let mut world = World::new();
    world.executor(1);
    world.submit("job", |_| {});
    world.report("job", 0, AttemptPhase::Ended, AttemptEnd::NotStarted, 0);
    assert_eq!((world.task("job", 0).failures, world.job_state("job")), (1, JobState::Created));
}

#[test]
fn a_service_is_started_again_however_often_it_ends_well() {
    let mut world = World::new();
    world.executor(1);
    world.submit("job", |it| {
        it.set_type(JobType::Service);
        it.retry = Some(pb::RetryPolicy { max_failures: 2, ..Default::default() });
    });
    for _ in 0..5 {
        world.exits("job", 0, 0);
        let task = world.task("job", 0);
        assert_eq!((task.state(), task.failures_total), (TaskState::Pending, 0));
        world.time = task.not_before_ms;
        world.internal(Command::Place);
    }
    assert_eq!(world.job_state("job"), JobState::Running);
    world.exits("job", 0, 1);
    assert_eq!(world.job_state("job"), JobState::Failed);
}

#[test]
fn a_stop_that_nobody_asked_for_is_a_move_and_no_failure() {
    let mut world = World::new();
    world.executor(1);
    world.executor(1);
    world.submit("job", |_| {});
    let first = world.task("job", 0);
    world.report("job", 0, AttemptPhase::Ended, AttemptEnd::Stopped, 0);
    let task = world.task("job", 0);
    assert_eq!((task.state(), task.failures, task.moves), (TaskState::Assigned, 0, 1));
    assert!(task.epoch > first.epoch);
    assert_ne!(task.executor, first.executor);
}

#[test]
fn reports_of_another_epoch_executor_or_incarnation_change_nothing() {
    let mut world = World::new();
    let (one, two) = (world.executor(1), world.executor(1));
    world.submit("job", |_| {});
    let epoch = world.task("job", 0).epoch;
    let report = |epoch| pb::AttemptReport {
        attempt: Some(pb::AttemptKey { job: "job".into(), number: 0, epoch }),
        phase: AttemptPhase::Ended as i32,
        end: AttemptEnd::Exited as i32,
        ..Default::default()
    };
    assert!(world.state.news(one, &[report(epoch - 1), report(epoch + 1)]).is_empty());
    assert!(world.state.news(two, &[report(epoch)]).is_empty());
    assert_eq!(world.state.news(one, &[report(epoch)]).len(), 1);
    for (executor, incarnation, epoch) in [(one, 7, epoch + 1), (one, 6, epoch), (two, 7, epoch)] {
        let incarnation = Incarnation(incarnation);
        world.internal(Command::ReportAttempts { executor, incarnation, reports: vec![report(epoch)] });
        assert_eq!(world.task("job", 0).state(), TaskState::Assigned);
    }
}

#[test]
fn what_an_executor_repeats_is_no_news() {
    let mut world = World::new();
    let executor = world.executor(1);
    world.submit("job", |_| {});
    let epoch = world.task("job", 0).epoch;
    let report = pb::AttemptReport {
        attempt: Some(pb::AttemptKey { job: "job".into(), number: 0, epoch }),
        phase: AttemptPhase::Running as i32,
        ..Default::default()
    };
    assert_eq!(world.state.news(executor, std::slice::from_ref(&report)).len(), 1);
    world.online("job", 0);
    assert!(world.state.news(executor, &[report]).is_empty());
}

#[test]
fn a_refused_attempt_goes_elsewhere() {
    let mut world = World::new();
    let (one, two) = (world.executor(1), world.executor(1));
    world.submit("job", |_| {});
    let first = world.task("job", 0).epoch;
    let attempt = |epoch| AttemptId { task: key("job", 0), epoch: Epoch(epoch) };
    for (executor, epoch) in [(one, first + 1), (two, first)] {
        world.internal(Command::AttemptRefused { executor, attempt: attempt(epoch) });
        assert_eq!(world.task("job", 0).state(), TaskState::Assigned);
    }
    world.internal(Command::AttemptRefused { executor: one, attempt: attempt(first) });
    assert_eq!(world.task("job", 0).state(), TaskState::Pending);
    world.time += crate::limits::REFUSED_WAIT_MS;
    world.internal(Command::Place);
    let second = world.task("job", 0).epoch;
    assert_eq!(world.task("job", 0).executor, two.0);
    assert!(second > first);
    // Where there is no other, the same one is asked again.
    world.expire(one);
    world.internal(Command::AttemptRefused { executor: two, attempt: attempt(second) });
    world.time += crate::limits::REFUSED_WAIT_MS;
    world.internal(Command::Place);
    assert_eq!(world.task("job", 0).executor, two.0);
}

#[test]
fn a_task_that_one_executor_gave_back_twice_waits() {
    let mut world = World::new();
    let only = world.executor(1);
    world.submit("job", |_| {});
    let give_back = |world: &mut World| {
        world.report("job", 0, AttemptPhase::Ended, AttemptEnd::Stopped, 0);
        world.task("job", 0)
    };
    // Nobody else has room.
    let task = give_back(&mut world);
    assert_eq!((task.state(), task.executor), (TaskState::Assigned, only.0));
    for _ in 0..2 {
        let task = give_back(&mut world);
        let until = world.time + crate::limits::REFUSED_WAIT_MS;
        assert_eq!((task.state(), task.not_before_ms), (TaskState::Pending, until));
        world.time = until;
        world.internal(Command::Place);
        assert_eq!(world.task("job", 0).executor, only.0);
    }
    let other = world.executor(1);
    give_back(&mut world);
    world.time += crate::limits::REFUSED_WAIT_MS;
    world.internal(Command::Place);
    assert_eq!(world.task("job", 0).executor, other.0);
    // This one gives it back for the first time.
    assert_eq!(give_back(&mut world).executor, only.0);
}

#[test]
fn a_cancel_stops_what_waits_at_once_and_what_runs_when_it_has_ended() {
    let mut world = World::new();
    world.executor(1);
    world.submit("job", |it| it.tasks = 2);
    world.online("job", 0);
    world.cancel("job", 10_000);
    assert_eq!(world.job_state("job"), JobState::Canceling);
    assert_eq!(world.task_states("job"), [TaskState::Online, TaskState::Canceled]);
    let deadline = world.job("job").cancel_deadline_ms;
    assert_eq!(deadline, world.time + 10_000);
    world.cancel("job", 20_000);
    assert_eq!(world.job("job").cancel_deadline_ms, deadline);
    world.cancel("job", 5_000);
    assert_eq!(world.state.next_cancel_deadline(), Some(ClusterTime(world.time + 5_000)));
    world.exits("job", 0, 0);
    assert_eq!(world.job_state("job"), JobState::Canceled);
    assert_eq!(world.task_states("job"), [TaskState::Canceled, TaskState::Canceled]);
    assert_eq!(world.state.next_cancel_deadline(), None);
}

#[test]
fn a_cancel_is_forced_only_after_its_deadline() {
    let mut world = World::new();
    world.executor(1);
    world.submit("job", |_| {});
    world.cancel("job", 1_000);
    world.time += 999;
    assert!(world.state.overdue_cancels(ClusterTime(world.time)).is_empty());
    world.internal(Command::ForceCancel { jobs: vec![id("job"), id("other")] });
    assert_eq!(world.job_state("job"), JobState::Canceling);
    world.time += 1;
    assert_eq!(world.state.overdue_cancels(ClusterTime(world.time)), [id("job")]);
    world.internal(Command::ForceCancel { jobs: vec![id("job")] });
    assert_eq!(world.job_state("job"), JobState::Canceled);
    assert!(world.state.desired(ExecutorId(1), &[]).is_empty());
}

#[test]
fn a_job_being_canceled_ends_with_its_executor() {
    let mut world = World::new();
    let executor = world.executor(1);
    world.executor(1);
    world.submit("job", |_| {});
    let epoch = world.task("job", 0).epoch;
    world.cancel("job", 10_000);
    world.expire(executor);
    assert_eq!((world.job_state("job"), world.task("job", 0).epoch), (JobState::Canceled, epoch));
}

#[test]
fn an_ended_job_stays_as_it_is() {
    let mut world = World::new();
    world.executor(1);
    world.submit("job", |_| {});
    world.exits("job", 0, 0);
    let before = world.job("job");
    let Some(Body::Job(status)) = world.cancel("job", 1_000).reply.body else { panic!() };
    assert_eq!(status.job, Some(before.clone()));
    world.exits("job", 0, 9);
    world.internal(Command::ForceCancel { jobs: vec![id("job")] });
    world.expire(ExecutorId(1));
    assert_eq!(world.job("job"), before);
}

#[test]
fn only_ended_jobs_are_deleted_and_their_ids_are_free_again() {
    let mut world = World::new();
    world.submit("job", |it| it.tasks = 3);
    let delete = || Command::DeleteJob { id: id("job") };
    assert_eq!(code(&world.client(delete())), Some(RefusalCode::Precondition));
    world.cancel("job", 1);
    assert_eq!(world.job_state("job"), JobState::Canceled);
    let applied = world.client(delete());
    assert_eq!((code(&applied), applied.touched.len()), (None, 4));
    assert_eq!(code(&world.client(delete())), Some(RefusalCode::NotFound));
    assert_eq!(code(&world.submit("job", |_| {})), None);
}

#[test]
fn tasks_spread_over_the_least_loaded_executors() {
    let mut world = World::new();
    for slots in [2, 4, 4] {
        world.executor(slots);
    }
    world.submit("a", |it| it.tasks = 3);
    assert_eq!(world.executors_of("a"), [1, 2, 3]);
    world.submit("b", |it| it.tasks = 2);
    // Both of the larger ones carry less than the small one.
    assert_eq!(world.executors_of("b"), [2, 3]);
    world.submit("c", |it| it.tasks = 5);
    assert_eq!(world.executors_of("c"), [1, 2, 3, 2, 3]);
    world.submit("d", |_| {});
    assert_eq!(world.executors_of("d"), [0]);
}

#[test]
fn among_equals_the_one_with_fewest_tasks_of_the_job_is_taken() {
    let mut world = World::new();
    world.executor(4);
    world.submit("a", |_| {});
    world.executor(4);
    world.submit("b", |_| {});
    assert_eq!((world.executors_of("a"), world.executors_of("b")), (vec![1], vec![2]));
    world.executor(1);
    world.submit("fill", |_| {});
    assert_eq!(world.executors_of("fill"), [3]);
    world.submit("wide", |it| it.tasks = 1);
    assert_eq!(world.executors_of("wide"), [1]);
    world.submit("even", |_| {});
    assert_eq!(world.executors_of("even"), [2]);
    // Both hold two now; only the first holds one of job "a", which is a service of one more task.
    let placement = &world.state.records.tables().jobs.placement;
    assert_eq!(placement.choose(1, &id("a"), None), Some(ExecutorId(2)));
    assert_eq!(placement.choose(1, &id("b"), None), Some(ExecutorId(1)));
    assert_eq!(placement.choose(1, &id("a"), Some(ExecutorId(2))), Some(ExecutorId(1)));
}

#[test]
fn a_task_that_is_too_large_stands_in_nobodys_way() {
    let mut world = World::new();
    world.submit("large", |it| {
        it.tasks = 2_000;
        it.slots_per_task = 8;
    });
    world.submit("small", |it| it.tasks = 2);
    world.executor(4);
    assert_eq!(world.task_states("small"), [TaskState::Assigned, TaskState::Assigned]);
    assert!(!world.state.can_place(ClusterTime(u64::MAX)));
    assert_eq!(world.state.next_backoff(), None);
    world.executor(8);
    assert_eq!(world.task("large", 0).executor, 2);
    assert!(!world.state.can_place(ClusterTime(u64::MAX)));
}

#[test]
fn an_entry_places_a_bounded_number_and_the_next_goes_on() {
    let mut world = World::new();
    world.executor(EXECUTOR_SLOTS);
    world.executor(EXECUTOR_SLOTS);
    world.submit("job", |it| it.tasks = 1_500);
    let placed = |world: &World| world.executors_of("job").iter().filter(|it| **it != 0).count();
    assert_eq!(placed(&world), PLACEMENTS);
    assert!(world.state.can_place(ClusterTime(world.time)));
    world.internal(Command::Place);
    assert_eq!(placed(&world), 1_500);
    assert!(!world.state.can_place(ClusterTime(world.time)));
}

#[test]
fn a_lost_task_goes_before_what_waits() {
    let mut world = World::new();
    let one = world.executor(1);
    world.submit("old", |_| {});
    world.submit("new", |it| it.tasks = 3);
    world.expire(one);
    world.executor(1);
    assert_eq!(world.task("old", 0).state(), TaskState::Assigned);
    assert_eq!(world.task("new", 0).state(), TaskState::Pending);
}

#[test]
fn time_never_goes_back() {
    let mut world = World::new();
    world.time = 5_000;
    world.internal(Command::Place);
    world.time = 1_000;
    world.internal(Command::Place);
    assert_eq!(world.state.time(), ClusterTime(5_000));
}

#[test]
fn a_job_under_a_used_id_repeats_no_epoch_of_the_one_before() {
    let mut world = World::new();
    world.executor(1);
    world.submit("job", |_| {});
    let before = world.task("job", 0).epoch;
    world.exits("job", 0, 0);
    world.client(Command::DeleteJob { id: id("job") });
    world.submit("job", |_| {});
    assert!(world.task("job", 0).epoch > before);
}
