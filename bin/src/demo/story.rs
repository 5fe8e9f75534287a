//! The story: what is done to the cluster, and when.

use super::{
    probe::Probe,
    scene::View,
    stage::Stage,
    truth::{SCRIPT, Truth},
};
use crate::{cluster::Cluster, failure::Failure, local::LocalCluster, output::records};
use quorate_core::contract::LeaseTimes;
use quorate_proto::v1 as pb;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::sleep};

/// The demo's job.
pub(super) const JOB: &str = "demo";
/// Tasks of the job.
pub(super) const TASKS: u32 = 6;
/// Signs of life of a task, 200 ms apart: it outlives the crash of the leader and of its executor.
const STEPS: u32 = 35;
const PERIOD: Duration = Duration::from_millis(10);
/// Between two blows.
const BREATH: Duration = Duration::from_millis(700);
const SOON: Duration = Duration::from_secs(15);
const LATE: Duration = Duration::from_secs(60);

/// What the story found out.
#[derive(Debug)]
pub(super) struct Facts {
    /// The leader that was killed.
    pub(super) old_leader: String,
    /// The master that led afterwards.
    pub(super) new_leader: String,
    /// From the kill to the next accepted write.
    pub(super) outage: Duration,
    /// The epochs before the leader was killed, and before the executor was.
    pub(super) epochs: [BTreeMap<u32, u64>; 2],
    /// The executor that was killed.
    pub(super) executor: String,
    /// When.
    pub(super) executor_killed: Instant,
    /// The tasks that it ran, with their epochs.
    pub(super) lost_tasks: Vec<(u32, u64)>,
    /// How long their processes were still there. `None`: longer than anyone waited.
    pub(super) gone: Option<Duration>,
    /// The job at the end.
    pub(super) job: pb::JobStatus,
    /// Accepted writes.
    pub(super) writes: usize,
    /// Accepted writes that cannot be read.
    pub(super) lost_writes: Vec<String>,
}

/// Everything the story acts on.
#[derive(Debug)]
pub(super) struct Story<'a> {
    pub(super) local: &'a mut LocalCluster,
    pub(super) cluster: Cluster,
    pub(super) view: watch::Receiver<View>,
    pub(super) truth: Truth,
    pub(super) stage: Arc<Stage>,
}

impl Story<'_> {
    /// Tells it from beginning to end.
    ///
    /// # Errors
    /// If the cluster does not do in time what the next step needs.
    pub(super) async fn tell(&mut self) -> Result<Facts, Failure> {
        self.until("a leader and the executors to be seen", SOON, |view, _| {
            view.leader().is_some() && !view.executors.is_empty()
        })
        .await?;
        self.submit().await?;
        let probe = Probe::start(self.cluster.clone());
        sleep(BREATH).await;
        let before_leader = self.view.borrow().epochs();
        let (old_leader, new_leader, outage) = self.kill_leader(&probe).await?;
        probe.stop();
        sleep(BREATH).await;
        let before_executor = self.view.borrow().epochs();
        let (executor, executor_killed, lost_tasks) = self.kill_executor().await?;
        let gone = self.await_gone(executor_killed, &lost_tasks).await?;
        self.await_moved(executor_killed, &lost_tasks).await?;
        self.until("the job to end", LATE, |view, _| records::is_terminal(view.job_state())).await?;
        // The last lines of the tasks were written before their ends were recorded.
        self.truth.read();
        let lost_writes = probe.lost(&self.cluster).await?;
        let job = self.view.borrow().job.clone().unwrap_or_default();
        let epochs = [before_leader, before_executor];
        let writes = probe.count();
        Ok(Facts {
            old_leader,
            new_leader,
            outage,
            epochs,
            executor,
            executor_killed,
            lost_tasks,
            gone,
            job,
            writes,
            lost_writes,
        })
    }

    async fn submit(&mut self) -> Result<(), Failure> {
        self.stage.say(&format!(
            "submitting job `{JOB}`: {TASKS} tasks of about {} s each, as processes",
            STEPS / 5
        ));
        self.cluster.submit_job(JOB, specification(self.truth.path())).await?;
        self.until("all tasks to run", SOON, |view, truth| {
            view.online() == TASKS as usize && (0..TASKS).all(|task| truth.started_after(task, 0).is_some())
        })
        .await
    }

    async fn kill_leader(&mut self, probe: &Probe) -> Result<(String, String, Duration), Failure> {
        let killed = self.view.borrow().leader().ok_or_else(|| Failure::refused("no master leads"))?;
        let old_term = self.term(killed);
        let process =
            self.local.masters.get_mut(killed).ok_or_else(|| Failure::refused("the leader is unknown"))?;
        let old = process.name.clone();
        self.stage.say(&format!("killing {old}, the leader, with SIGKILL"));
        let moment = Instant::now();
        process.kill().await;
        // What was sent before the process was gone may have been accepted by it.
        let gone = Instant::now();
        let mut accepted = None;
        self.until("a write to be accepted again", SOON, |_, _| {
            accepted = probe.accepted_after(gone);
            accepted.is_some()
        })
        .await?;
        let outage = accepted.unwrap_or(moment).duration_since(moment);
        self.stage.say(&format!("writes are accepted again, {} ms after the kill", outage.as_millis()));
        self.until("another master to lead", SOON, |view, _| {
            view.leader().is_some_and(|leader| leader != killed && term(view, leader) > old_term)
        })
        .await?;
        let leader = self.view.borrow().leader().unwrap_or(killed);
        let new = self.local.masters.get(leader).map(|process| process.name.clone()).unwrap_or_default();
        sleep(BREATH).await;
        self.stage.say(&format!("starting {old} again: it catches up and follows"));
        self.local.masters.get_mut(killed).map_or(Ok(()), |process| process.start())?;
        self.until("the restarted master to answer", SOON, |view, _| {
            view.masters.get(killed).is_some_and(Option::is_some)
        })
        .await?;
        Ok((old, new, outage))
    }

    async fn kill_executor(&mut self) -> Result<(String, Instant, Vec<(u32, u64)>), Failure> {
        let (name, lost) = self.busiest()?;
        let process = self.local.agents.iter_mut().find(|process| process.name == name);
        let process = process.ok_or_else(|| Failure::refused(format!("no process is called {name}")))?;
        let LeaseTimes { ttl, grace, .. } = LeaseTimes::default();
        self.stage.say(&format!(
            "killing {name} with SIGKILL while it runs {} tasks; their guards kill them",
            lost.len()
        ));
        self.stage.say(&format!(
            "the masters wait {ttl:?} + {grace:?} (lease and grace) before the tasks may run elsewhere"
        ));
        let moment = Instant::now();
        process.kill().await;
        Ok((name, moment, lost))
    }

    /// The executor that runs most tasks, and these tasks.
    fn busiest(&self) -> Result<(String, Vec<(u32, u64)>), Failure> {
        let view = self.view.borrow();
        let mut tasks: BTreeMap<u64, Vec<(u32, u64)>> = BTreeMap::new();
        for task in view.tasks().iter().filter(|task| task.state == i32::from(pb::TaskState::Online)) {
            tasks.entry(task.executor).or_default().push((task.number, task.epoch));
        }
        let (executor, tasks) = tasks
            .into_iter()
            .max_by_key(|(_, tasks)| tasks.len())
            .ok_or_else(|| Failure::refused("no executor runs a task: there is nothing to take away"))?;
        Ok((view.name(executor), tasks))
    }

    /// How long the processes of these tasks were still there after `moment`; looks for as long as the lease.
    async fn await_gone(
        &mut self,
        moment: Instant,
        lost: &[(u32, u64)],
    ) -> Result<Option<Duration>, Failure> {
        let ttl = LeaseTimes::default().ttl;
        let mut gone = None;
        self.until("the lost tasks' processes to end", ttl * 2, |_, truth| {
            if lost.iter().all(|(task, epoch)| !truth.lives(*task, *epoch)) {
                gone = Some(moment.elapsed());
            }
            gone.is_some() || moment.elapsed() > ttl
        })
        .await?;
        if let Some(gone) = gone {
            self.stage.say(&format!(
                "all of its tasks' processes are gone, {} ms after the kill",
                gone.as_millis()
            ));
        }
        Ok(gone)
    }

    async fn await_moved(&mut self, moment: Instant, lost: &[(u32, u64)]) -> Result<(), Failure> {
        let LeaseTimes { ttl, grace, .. } = LeaseTimes::default();
        self.until("the lost tasks to run again", ttl + grace + SOON, |_, truth| {
            lost.iter().all(|(task, epoch)| truth.started_after(*task, *epoch).is_some())
        })
        .await?;
        self.stage.say(&format!(
            "all lost tasks run again, {:.1} s after the kill",
            moment.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    fn term(&self, master: usize) -> u64 {
        term(&self.view.borrow(), master)
    }

    /// Waits until the condition holds, reading what the tasks wrote all the while.
    async fn until(
        &mut self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut(&View, &Truth) -> bool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + within;
        loop {
            self.truth.read();
            if condition(&self.view.borrow(), &self.truth) {
                return Ok(());
            }
            self.local.check()?;
            if Instant::now() > deadline {
                return Err(Failure::refused(format!("waited {within:?} in vain for {what}")));
            }
            sleep(PERIOD).await;
        }
    }
}

fn term(view: &View, master: usize) -> u64 {
    view.masters.get(master).and_then(Option::as_ref).map_or(0, |status| status.term)
}

fn specification(truth: &Path) -> pb::JobSpecification {
    let pair = |name: &str, value: String| pb::Pair { name: name.to_owned(), value };
    pb::JobSpecification {
        r#type: pb::JobType::Batch.into(),
        argv: ["sh", "-c", SCRIPT].map(str::to_owned).to_vec(),
        environment: vec![
            pair("DEMO_FILE", truth.to_string_lossy().into_owned()),
            pair("DEMO_STEPS", STEPS.to_string()),
        ],
        tasks: TASKS,
        slots_per_task: 1,
        ..Default::default()
    }
}
