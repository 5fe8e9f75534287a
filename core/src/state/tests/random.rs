//! Random commands on two replicas: equal hashes, whole tables, and what must never happen.

use super::*;
use crate::{codec, state::Inheritance, types::LeaseId};
use proptest::{prelude::*, sample::Index as Pick};
use std::collections::BTreeMap;

/// What a client, a leader or an executor might do next, with picks among what is there.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    OpenSession,
    CloseSession(Pick),
    Keys(u8, u8, u8),
    Register(u32),
    Leave(Pick),
    Remove(Pick),
    Expire(Pick, usize),
    Submit { tasks: u32, slots: u32, service: bool, failures: u32, named: u8 },
    Cancel(Pick, u64),
    Delete(Pick),
    Report { of: Pick, stale: bool, phase: i32, end: i32, code: i32 },
    Refuse(Pick, bool),
    Place,
    Force,
    Retry,
    Alarm { node: u64, raise: bool },
    Inherit { revisions: u64, sessions: bool, alone: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let pick = any::<Pick>;
    prop_oneof![
        3 => (0_u64..5_000).prop_map(Step::Wait),
        1 => Just(Step::OpenSession),
        1 => pick().prop_map(Step::CloseSession),
        3 => (0_u8..3, 0_u8..4, 0_u8..3).prop_map(|(what, key, value)| Step::Keys(what, key, value)),
        3 => (1_u32..6).prop_map(Step::Register),
        1 => pick().prop_map(Step::Leave),
        1 => pick().prop_map(Step::Remove),
        1 => (pick(), 1_usize..4).prop_map(|(from, count)| Step::Expire(from, count)),
        4 => (1_u32..6, 1_u32..4, any::<bool>(), 0_u32..4, 0_u8..6).prop_map(
            |(tasks, slots, service, failures, named)| Step::Submit { tasks, slots, service, failures, named }),
        2 => (pick(), 1_u64..4_000).prop_map(|(job, timeout)| Step::Cancel(job, timeout)),
        1 => pick().prop_map(Step::Delete),
        12 => (pick(), prop::bool::weighted(0.1), 0_i32..6, 0_i32..6, 0_i32..2).prop_map(
            |(of, stale, phase, end, code)| Step::Report { of, stale, phase, end, code }),
        1 => (pick(), prop::bool::weighted(0.2)).prop_map(|(of, stale)| Step::Refuse(of, stale)),
        2 => Just(Step::Place),
        1 => Just(Step::Force),
        1 => Just(Step::Retry),
        1 => (1_u64..5, any::<bool>()).prop_map(|(node, raise)| Step::Alarm { node, raise }),
        1 => (0_u64..9, any::<bool>(), any::<bool>()).prop_map(
            |(revisions, sessions, alone)| Step::Inherit { revisions, sessions, alone }),
    ]
}

/// Two replicas that are given the same entries, one of them through bytes.
struct Replicas {
    world: World,
    other: State,
    last: Option<(RequestId, Command, pb::ClientReply)>,
    epochs: BTreeMap<(u64, TaskKey), u64>,
    ended: BTreeMap<(u64, JobId), JobState>,
    ranks: BTreeMap<(u64, JobId), usize>,
}

impl Replicas {
    fn new() -> Self {
        let mut world = World::new();
        world.index = 1;
        let other = world.state.clone();
        Self {
            world,
            other,
            last: None,
            epochs: BTreeMap::new(),
            ended: BTreeMap::new(),
            ranks: BTreeMap::new(),
        }
    }

    fn apply(&mut self, request: Option<RequestId>, command: &Command) -> pb::ClientReply {
        let proposal = Proposal {
            time: ClusterTime(self.world.time),
            wall_ms: self.world.time,
            request,
            command: command.clone(),
        };
        let proposal = codec::decode(&codec::encode(&proposal)).unwrap();
        let could = self.world.state.can_place(proposal.time);
        let context = ApplyContext { index: Index(self.world.index + 1) };
        let there = self.other.apply(&context, proposal.clone());
        let here = self.world.state.apply(&context, proposal);
        self.world.index += 1;
        assert_eq!((&here.reply, &here.touched, &here.trace), (&there.reply, &there.touched, &there.trace));
        assert_eq!(self.world.state.hash(), self.other.hash());
        self.world.state.check_touched(&here.touched).unwrap();
        if *command == Command::Place {
            let placed =
                here.trace.iter().any(|it| matches!(it, crate::trace::TraceEvent::TaskPlaced { .. }));
            assert_eq!(placed, could, "what a leader is told is what happens");
        }
        self.watch();
        here.reply
    }

    fn internal(&mut self, command: &Command) {
        self.apply(None, command);
    }

    fn client(&mut self, command: Command) {
        self.world.sequence += 1;
        let sequence = self.world.sequence;
        let lowest_open = sequence.saturating_sub(2).max(1);
        let request = RequestId { session: self.world.session, sequence, lowest_open };
        let alarmed = self.world.state.alarms().next().is_some();
        let reply = self.apply(Some(request), &command);
        let refused = matches!(reply.body, Some(Body::Refusal(_)));
        assert!(!alarmed || !command.takes_room() || refused, "{command:?} is taken while there is no room");
        self.last = Some((request, command, reply));
    }

    // Epochs grow, and what has ended stays as it is.
    fn watch(&mut self) {
        for (id, job) in self.world.state.jobs() {
            let before = self.ended.get(&(job.created_index, id.clone()));
            assert!(
                before.is_none_or(|before| *before == job.state()),
                "{id} was {before:?}, is {:?}",
                job.state()
            );
            if matches!(job.state(), JobState::Finished | JobState::Failed | JobState::Canceled) {
                self.ended.insert((job.created_index, id.clone()), job.state());
            }
            let rank = self.ranks.entry((job.created_index, id.clone())).or_default();
            let rank_here = [JobState::Created, JobState::Running, JobState::Canceling]
                .iter()
                .position(|it| *it == job.state());
            let rank_here = rank_here.unwrap_or(3);
            assert!(rank_here >= *rank, "{id} went back to {:?}", job.state());
            *rank = rank_here;
            for (key, task) in self.world.state.tasks(id) {
                let epoch = self.epochs.entry((job.created_index, key.clone())).or_default();
                assert!(task.epoch >= *epoch, "{key} went from {epoch} to {}", task.epoch);
                *epoch = task.epoch;
                let holder = ExecutorId(task.executor);
                assert!(
                    task.executor == 0 || self.world.state.executor(holder).is_some(),
                    "{key} is held by nobody"
                );
            }
        }
    }

    fn check(&self) {
        self.world.state.check().unwrap();
        let decoded = State::decode(self.world.state.encode()).unwrap();
        assert_eq!(decoded.hash(), self.world.state.hash());
        decoded.check().unwrap();
    }

    fn some_job(&self, pick: Pick) -> Option<JobId> {
        let jobs: Vec<_> = self.world.state.jobs().map(|(id, _)| id.clone()).collect();
        (!jobs.is_empty()).then(|| pick.get(&jobs).clone())
    }

    fn some_executor(&self, pick: Pick) -> Option<ExecutorId> {
        let all: Vec<_> = self.world.state.executors().map(|it| ExecutorId(it.id)).collect();
        (!all.is_empty()).then(|| *pick.get(&all))
    }

    fn some_held(&self, pick: Pick) -> Option<pb::Task> {
        let jobs = self.world.state.jobs().flat_map(|(id, _)| self.world.state.tasks(id));
        let held: Vec<_> = jobs.map(|(_, task)| task.clone()).filter(|task| task.executor != 0).collect();
        (!held.is_empty()).then(|| pick.get(&held).clone())
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Wait(milliseconds) => self.world.time += milliseconds,
            Step::OpenSession => {
                let reply = self.apply(None, &Command::OpenSession { ttl_ms: 1_000 });
                let Some(Body::OpenSession(opened)) = reply.body else { panic!("{reply:?}") };
                self.world.opened.push(SessionId(opened.session));
                (self.world.session, self.world.sequence) = (SessionId(opened.session), 0);
            }
            Step::CloseSession(pick) => {
                // One that is open, was closed, or never was.
                let sessions = self.world.opened.iter().copied().chain([SessionId(0)]);
                let session = *pick.get(&sessions.collect::<Vec<_>>());
                self.internal(&Command::CloseSession { session });
            }
            Step::Keys(what, key, value) => {
                let (key, value) = (Bytes::from(vec![b'a' + key]), Bytes::from(vec![value]));
                self.client(match what {
                    0 => Command::Put { key, value },
                    1 => Command::Delete { key },
                    _ => Command::CompareAndSet { key, expected: crate::command::Expected::Absent, value },
                });
            }
            Step::Submit { tasks, slots, service, failures, named } => {
                self.submit(tasks, slots, service, failures, named);
            }
            Step::Retry => {
                if let Some((request, command, first)) = self.last.clone() {
                    let again = self.apply(Some(request), &command);
                    let expired = matches!(&again.body, Some(Body::Refusal(it)) if it.code() == RefusalCode::SessionExpired);
                    assert!(again == first || expired);
                }
            }
            Step::Cancel(pick, timeout_ms) => {
                if let Some(id) = self.some_job(pick) {
                    self.client(Command::CancelJob { id, timeout_ms });
                }
            }
            Step::Delete(pick) => {
                if let Some(id) = self.some_job(pick) {
                    self.client(Command::DeleteJob { id });
                }
            }
            Step::Alarm { node, raise } => {
                let member = |id| pb::MemberRecord { id, ..Default::default() };
                self.internal(&Command::FoundMembers { members: (1..=3).map(member).collect() });
                if raise {
                    let alarm = pb::Alarm { node, kind: 1, ..Default::default() };
                    self.internal(&Command::RaiseAlarm { alarm });
                } else {
                    self.client(Command::DisarmAlarm {
                        node: (node < 4).then_some(crate::types::NodeId(node)),
                    });
                }
            }
            Step::Inherit { revisions, sessions, alone } => self.inherit(revisions, sessions, alone),
            Step::Place => self.internal(&Command::Place),
            Step::Force => {
                let jobs = self.world.state.overdue_cancels(ClusterTime(self.world.time));
                self.internal(&Command::ForceCancel { jobs });
            }
            Step::Register(slots) => {
                let request = pb::RegisterExecutorRequest { slots, incarnation: 7, ..Default::default() };
                self.client(Command::RegisterExecutor { request, ttl_ms: 5_000, grace_ms: 2_000 });
            }
            Step::Leave(pick) => {
                if let Some(executor) = self.some_executor(pick) {
                    self.client(Command::DeregisterExecutor { executor, incarnation: Incarnation(7) });
                }
            }
            Step::Remove(pick) => {
                if let Some(executor) = self.some_executor(pick) {
                    self.client(Command::RemoveExecutor { executor });
                }
            }
            Step::Expire(pick, count) => self.expire(pick, count),
            Step::Report { of, stale, phase, end, code } => self.report(of, stale, phase, end, code),
            Step::Refuse(of, stale) => self.refuse(of, stale),
        }
    }

    /// Another cluster goes on with what there is: nothing is lost but what must be.
    fn inherit(&mut self, revisions: u64, sessions: bool, alone: bool) {
        let record = pb::MemberRecord { id: 2, storage: 5, ..Default::default() };
        let what = Inheritance { revisions, sessions, alone: alone.then_some(record) };
        let before = self.world.state.clone();
        for state in [&mut self.world.state, &mut self.other] {
            *state = state.clone().inherited(&what).unwrap();
        }
        let state = &self.world.state;
        assert_eq!(state.hash(), self.other.hash());
        self.world.index = state.index().0;
        assert_eq!(state.revision().0, before.revision().0 + revisions);
        assert!(state.business.iter().eq(before.business.iter()), "a key is not as it was");
        assert!(state.executors().next().is_none() && state.alarms().next().is_none());
        assert_eq!(state.members().is_some(), alone);
        assert!(state.jobs().map(|(id, _)| id).eq(before.jobs().map(|(id, _)| id)));
        let kept = if sessions { before.sessions_and_tasks().0 } else { 0 };
        assert_eq!(state.sessions_and_tasks(), (kept, before.sessions_and_tasks().1));
        assert!(!state.can_place(before.time().plus_ms(6_999)), "what runs there may still run");
        self.check();
        self.watch();
    }

    fn submit(&mut self, tasks: u32, slots: u32, service: bool, failures: u32, named: u8) {
        let retry = pb::RetryPolicy {
            max_failures: if service { failures } else { failures.max(1) },
            backoff_initial_ms: 500,
            backoff_max_ms: 4_000,
            backoff_growth_percent: 200,
            reset_after_ms: 3_000,
        };
        let specification = pb::JobSpecification {
            r#type: if service { JobType::Service } else { JobType::Batch } as i32,
            argv: vec!["true".into()],
            tasks,
            slots_per_task: slots,
            retry: Some(retry),
            ..Default::default()
        };
        let id = (named > 0).then(|| id(&format!("named-{named}")));
        self.client(Command::SubmitJob { id, specification });
    }

    fn expire(&mut self, pick: Pick, count: usize) {
        let all: Vec<_> = self.world.state.leases().map(|it| LeaseId(it.id)).collect();
        let from = pick.index(all.len() + 1);
        let leases = all.into_iter().skip(from).take(count).collect();
        self.internal(&Command::ExpireLeases { leases });
    }

    fn report(&mut self, of: Pick, stale: bool, phase: i32, end: i32, code: i32) {
        let Some(task) = self.some_held(of) else { return };
        let epoch = task.epoch - u64::from(stale);
        let attempt = pb::AttemptKey { job: task.job, number: task.number, epoch };
        let report = pb::AttemptReport { attempt: Some(attempt), phase, end, code, message: "m".into() };
        let executor = ExecutorId(task.executor);
        let news = self.world.state.news(executor, std::slice::from_ref(&report));
        assert!(!stale || news.is_empty(), "a stale report is no news");
        let before = self.world.state.records.frame().revision();
        let held = key(&report.attempt.as_ref().unwrap().job, task.number);
        let task = self.world.state.task(&held).cloned();
        self.internal(&Command::ReportAttempts {
            executor,
            incarnation: Incarnation(7),
            reports: vec![report],
        });
        if news.is_empty() {
            assert_eq!(self.world.state.task(&held), task.as_ref(), "what is no news changes nothing");
        } else {
            assert!(self.world.state.records.frame().revision() > before, "news change something");
        }
    }

    fn refuse(&mut self, of: Pick, stale: bool) {
        let Some(task) = self.some_held(of) else { return };
        let epoch = Epoch(task.epoch - u64::from(stale));
        let attempt = crate::types::AttemptId { task: key(&task.job, task.number), epoch };
        self.internal(&Command::AttemptRefused { executor: ExecutorId(task.executor), attempt });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn replicas_stay_equal_and_no_rule_is_broken(steps in proptest::collection::vec(step(), 1..250)) {
        let mut replicas = Replicas::new();
        for (number, step) in steps.into_iter().enumerate() {
            replicas.step(step);
            if number % 10 == 0 {
                replicas.check();
            }
        }
        replicas.check();
    }
}
