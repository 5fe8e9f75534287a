//! The whole executor against masters that the test plays.

use crate::guard::{directory, eventually, lives};
use quorate_core::{agent::AgentConfig, contract::LeaseTimes};
use quorate_net::agent::{AgentError, AgentRuntimeConfig, GuardCommand, MasterLink, run_agent};
use quorate_proto::v1::{
    self as pb, client_reply::Body as Reply, client_request::Body as Ask,
    executor_service_client::ExecutorServiceClient,
};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::transport::Channel;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("agent_gives_a_task_its_environment_and_keeps_its_output", environment_and_output),
    ("agent_keeps_the_newest_output", newest_output),
    ("agent_reports_what_could_not_be_started", not_started),
    ("agent_obeys_calls", calls),
    ("agent_without_masters_kills_its_work_and_registers_again", without_masters),
    ("agent_survives_the_death_of_a_guard", guard_killed),
    ("agent_stops_its_work_when_it_ends", shutdown),
    ("agent_refuses_a_directory_in_use", directory_in_use),
    ("agent_ends_when_the_cluster_refuses_its_configuration", refused),
];

/// What the masters of a test know.
#[derive(Default)]
struct Known {
    address: String,
    executor: u64,
    incarnation: u64,
    index: u64,
    desired: BTreeMap<(u32, u64), pb::DesiredAttempt>,
    reports: BTreeMap<(u32, u64), pb::AttemptReport>,
    away: bool,
    refuses: bool,
    left: bool,
    /// The executor whose heartbeat came last.
    heard: u64,
}

#[derive(Clone, Default)]
struct Masters(Arc<Mutex<Known>>);

impl Masters {
    fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn want(&self, number: u32, epoch: u64, specification: pb::JobSpecification) {
        self.with(|known| {
            known.index += 1;
            let attempt = Some(key(number, epoch));
            let desired = pb::DesiredAttempt { attempt, stop: false, specification: Some(specification) };
            known.desired.insert((number, epoch), desired);
        });
    }

    fn report(&self, number: u32, epoch: u64) -> Option<pb::AttemptReport> {
        self.with(|known| known.reports.get(&(number, epoch)).cloned())
    }

    async fn ended(&self, number: u32, epoch: u64) -> pb::AttemptReport {
        let ended = |report: &pb::AttemptReport| report.phase() == pb::AttemptPhase::Ended;
        self.until("the attempt has ended", || {
            self.report(number, epoch).is_some_and(|report| ended(&report))
        })
        .await;
        self.report(number, epoch).unwrap()
    }

    async fn until(&self, what: &str, mut is: impl FnMut() -> bool) {
        for _ in 0..4_000 {
            if is() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not in time: {what}; {:?}", self.with(|known| known.reports.clone()));
    }

    fn answer(&self, request: pb::ClientRequest) -> Option<Reply> {
        self.with(|known| {
            if known.away {
                return None;
            }
            Some(match request.body? {
                Ask::OpenSession(_) => {
                    Reply::OpenSession(pb::OpenSessionReply { session: 1, ttl_ms: 60_000 })
                }
                Ask::CloseSession(_) => Reply::CloseSession(pb::CloseSessionReply {}),
                Ask::RegisterExecutor(_) if known.refuses => Reply::Refusal(pb::Refusal {
                    code: pb::RefusalCode::Invalid.into(),
                    message: "slots is 0".into(),
                    leader: 0,
                }),
                Ask::RegisterExecutor(request) => {
                    known.executor += 1;
                    (known.address, known.incarnation) = (request.address, request.incarnation);
                    let executor = known.executor;
                    Reply::RegisterExecutor(pb::RegisterExecutorReply {
                        executor,
                        ttl_ms: 1_500,
                        grace_ms: 1_000,
                    })
                }
                Ask::Heartbeat(request) => {
                    known.heard = request.executor;
                    for report in request.reports {
                        let attempt = report.attempt.clone()?;
                        known.reports.insert((attempt.number, attempt.epoch), report);
                    }
                    let desired = known.desired.values().cloned().collect();
                    let (sequence, index) = (request.sequence, known.index);
                    Reply::Heartbeat(pb::HeartbeatReply { sequence, index, desired, ttl_ms: 1_500 })
                }
                Ask::DeregisterExecutor(_) => {
                    known.left = true;
                    Reply::DeregisterExecutor(pb::DeregisterExecutorReply {})
                }
                other => panic!("an agent does not ask {other:?}"),
            })
        })
    }
}

impl MasterLink for Masters {
    async fn request(&self, request: pb::ClientRequest, _timeout: Duration) -> Option<pb::ClientReply> {
        let body = self.answer(request)?;
        Some(pb::ClientReply { index: 0, body: Some(body) })
    }
}

fn key(number: u32, epoch: u64) -> pb::AttemptKey {
    pb::AttemptKey { job: "job".into(), number, epoch }
}

fn shell(script: &str) -> pb::JobSpecification {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    pb::JobSpecification { argv, stop_timeout_ms: 500, ..Default::default() }
}

struct Running {
    masters: Masters,
    agent: JoinHandle<Result<(), AgentError>>,
    end: oneshot::Sender<()>,
}

fn config(data: &Path) -> AgentRuntimeConfig {
    let lease = LeaseTimes {
        ttl: Duration::from_millis(1_500),
        check: Duration::from_millis(50),
        ..LeaseTimes::default()
    };
    let agent = AgentConfig {
        name: "a".into(),
        slots: 4,
        heartbeat: Duration::from_millis(50),
        lease,
        ..AgentConfig::default()
    };
    let guard =
        GuardCommand { program: std::env::current_exe().unwrap(), arguments: vec!["task-guard".into()] };
    AgentRuntimeConfig { agent, listen: ([127, 0, 0, 1], 0).into(), data: data.to_owned(), guard }
}

impl Running {
    fn new(data: &Path) -> Self {
        let masters = Masters::default();
        let (end, ended) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = ended.await;
        };
        let agent = tokio::spawn(run_agent(config(data), masters.clone(), shutdown));
        Self { masters, agent, end }
    }

    async fn client(&self) -> ExecutorServiceClient<Channel> {
        self.masters.until("it is registered", || self.masters.with(|known| known.executor != 0)).await;
        let address = self.masters.with(|known| known.address.clone());
        ExecutorServiceClient::connect(format!("http://{address}")).await.unwrap()
    }

    fn header(&self) -> Option<pb::CallHeader> {
        let (executor, incarnation, index) =
            self.masters.with(|known| (known.executor, known.incarnation, known.index + 1));
        Some(pb::CallHeader { cluster: 5, term: 1, executor, incarnation, index })
    }

    async fn logs(&self, number: u32, epoch: u64) -> (u64, String) {
        let request = pb::AttemptLogsRequest { executor: 1, attempt: Some(key(number, epoch)) };
        let mut stream = self.client().await.logs(request).await.unwrap().into_inner();
        let (mut dropped, mut text) = (0, Vec::new());
        while let Some(chunk) = stream.message().await.unwrap() {
            dropped += chunk.dropped_bytes;
            text.extend(chunk.data);
        }
        (dropped, String::from_utf8(text).unwrap())
    }

    async fn finish(self) {
        self.end.send(()).unwrap();
        self.agent.await.unwrap().unwrap();
        assert!(self.masters.with(|known| known.left), "it must take itself out of the cluster");
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

fn environment_and_output() {
    run(async {
        let data = directory("environment");
        let running = Running::new(&data);
        let script = "echo $QUORATE_JOB $QUORATE_TASK $QUORATE_EPOCH $QUORATE_EXECUTOR $MINE; pwd; echo wrong >&2; exit 3";
        let environment = vec![pb::Pair { name: "MINE".into(), value: "x y".into() }];
        running.masters.want(2, 7, pb::JobSpecification { environment, ..shell(script) });
        let report = running.masters.ended(2, 7).await;
        assert_eq!((report.end(), report.code), (pb::AttemptEnd::Exited, 3));
        let place = data.join("work/job/2/7");
        let (dropped, text) = running.logs(2, 7).await;
        assert_eq!((dropped, text), (0, format!("job 2 7 1 x y\n{}\nwrong\n", place.display())));
        assert!(place.is_dir(), "it is kept while the masters name the attempt");
        running.masters.with(|known| {
            known.index += 1;
            known.desired.clear();
        });
        running.masters.until("the working directory is removed", || !place.exists()).await;
        assert_eq!(running.logs(2, 7).await.0, 0, "the output outlives the attempt");
        let request = pb::AttemptLogsRequest { executor: 1, attempt: Some(key(9, 9)) };
        assert_eq!(running.client().await.logs(request).await.unwrap_err().code(), tonic::Code::NotFound);
        let request = pb::AttemptLogsRequest { executor: 8, attempt: Some(key(2, 7)) };
        assert_eq!(
            running.client().await.logs(request).await.unwrap_err().code(),
            tonic::Code::FailedPrecondition
        );
        running.finish().await;
    });
}

fn newest_output() {
    run(async {
        let running = Running::new(&directory("output"));
        let script = "i=0; while [ $i -lt 20000 ]; do echo 123456789; i=$((i+1)); done; printf end";
        running.masters.want(0, 1, pb::JobSpecification { output_limit_bytes: 1_000, ..shell(script) });
        running.masters.ended(0, 1).await;
        let (dropped, text) = running.logs(0, 1).await;
        assert_eq!((dropped, text.len()), (200_003 - 1_000, 1_000));
        assert!(text.ends_with("123456789\nend"));
        running.finish().await;
    });
}

fn not_started() {
    run(async {
        let running = Running::new(&directory("not-started"));
        let missing = pb::JobSpecification { argv: vec!["/nothing/here".into()], ..Default::default() };
        running.masters.want(0, 1, missing);
        running.masters.want(
            1,
            1,
            pb::JobSpecification { working_directory: "/nothing".into(), ..shell("true") },
        );
        for (number, word) in [(0, "/nothing/here: "), (1, "working directory /nothing: ")] {
            let report = running.masters.ended(number, 1).await;
            assert_eq!(report.end(), pb::AttemptEnd::NotStarted);
            assert!(report.message.starts_with(word), "{}", report.message);
        }
        running.finish().await;
    });
}

fn calls() {
    run(async {
        let data = directory("calls");
        let running = Running::new(&data);
        let mut client = running.client().await;
        let attempt = Some(key(0, 1));
        let specification = Some(shell("touch started; while :; do sleep 0.01; done"));
        let request =
            pb::PreDispatchRequest { header: running.header(), attempt: attempt.clone(), specification };
        client.pre_dispatch(request.clone()).await.unwrap();
        let header = running.header();
        client.confirm(pb::ConfirmRequest { header, attempt: attempt.clone() }).await.unwrap();
        running.masters.until("it runs", || data.join("work/job/0/1/started").exists()).await;
        client.pre_dispatch(request).await.unwrap();
        let other = running.header().map(|header| pb::CallHeader { incarnation: 1, ..header });
        let refused =
            client.stop(pb::StopRequest { header: other, attempt: attempt.clone() }).await.unwrap_err();
        let why = quorate_net::errors::refusal_of(&refused).unwrap();
        assert_eq!(why.code(), pb::RefusalCode::Precondition);
        client.stop(pb::StopRequest { header, attempt }).await.unwrap();
        let report = running.masters.ended(0, 1).await;
        assert_eq!((report.end(), report.code), (pb::AttemptEnd::Stopped, 15));
        running.finish().await;
    });
}

/// A task that writes its process id and does not end by itself.
fn lasting() -> pb::JobSpecification {
    shell("trap '' TERM; echo $$ > task.pid; echo $PPID > guard.pid; while :; do sleep 0.01; done")
}

async fn pid(running: &Running, directory: &Path, file: &str) -> String {
    let path = directory.join("work/job/0/1").join(file);
    let read = || fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
    running.masters.until("the task runs", || !read().is_empty()).await;
    read()
}

fn without_masters() {
    run(async {
        let data = directory("without-masters");
        let running = Running::new(&data);
        running.masters.want(0, 1, lasting());
        let task = pid(&running, &data, "task.pid").await;
        running.masters.with(|known| known.away = true);
        running.masters.until("its work is killed", || !lives(&task)).await;
        running.masters.with(|known| {
            known.desired.clear();
            known.away = false;
        });
        running.masters.until("it registers anew", || running.masters.with(|known| known.heard == 2)).await;
        running.finish().await;
    });
}

fn guard_killed() {
    run(async {
        let data = directory("guard-killed");
        let running = Running::new(&data);
        running.masters.want(0, 1, lasting());
        let task = pid(&running, &data, "task.pid").await;
        let guard = pid(&running, &data, "guard.pid").await;
        let killed = tokio::process::Command::new("kill").args(["-KILL", &guard]).status().await.unwrap();
        assert!(killed.success());
        let report = running.masters.ended(0, 1).await;
        assert_eq!(
            (report.end(), report.message.as_str()),
            (pb::AttemptEnd::Signaled, "its guard was killed")
        );
        eventually("the task is dead, too", || {
            let state = fs::read_to_string(format!("/proc/{task}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        });
        running.finish().await;
    });
}

fn shutdown() {
    run(async {
        let data = directory("shutdown");
        let running = Running::new(&data);
        running.masters.want(0, 1, lasting());
        let task = pid(&running, &data, "task.pid").await;
        let masters = running.masters.clone();
        running.finish().await;
        assert!(!lives(&task));
        assert_eq!(masters.report(0, 1).map(|report| report.end()), Some(pb::AttemptEnd::Stopped));
    });
}

fn directory_in_use() {
    run(async {
        let data = directory("in-use");
        let running = Running::new(&data);
        running.client().await;
        let second = run_agent(config(&data), Masters::default(), std::future::pending()).await;
        assert!(matches!(second, Err(AgentError::Locked { .. })), "{second:?}");
        running.finish().await;
    });
}

fn refused() {
    run(async {
        let masters = Masters::default();
        masters.with(|known| known.refuses = true);
        let ended = run_agent(config(&directory("refused")), masters, std::future::pending()).await;
        assert!(
            matches!(&ended, Err(AgentError::Refused { message }) if message == "slots is 0"),
            "{ended:?}"
        );
    });
}
