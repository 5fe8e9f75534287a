//! What the demo sees of the cluster, read again and again through the client, and what it says when something changes.

use super::stage::Stage;
use crate::{
    cli::{all_executors, whole_job},
    cluster::Cluster,
    failure::Failure,
    output::records,
};
use futures::future::join_all;
use quorate_proto::v1 as pb;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

const PERIOD: Duration = Duration::from_millis(100);
/// A master that does not answer so long is shown as silent.
const SILENT: Duration = Duration::from_millis(300);

/// The cluster as it was last seen.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// What each master says of itself, in the order of the endpoints. `None`: nothing.
    pub(super) masters: Vec<Option<pb::StatusReply>>,
    /// The registered executors.
    pub(super) executors: Vec<pb::ExecutorStatus>,
    /// The names of all executors ever seen.
    pub(super) names: BTreeMap<u64, String>,
    /// The demo's job with all its tasks.
    pub(super) job: Option<pb::JobStatus>,
}

impl View {
    /// The place of the master that leads in the newest term.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |status: &pb::StatusReply| status.role == i32::from(pb::Role::Leader);
        let leaders =
            self.masters.iter().enumerate().filter_map(|(place, status)| Some((place, status.as_ref()?)));
        leaders
            .filter(|(_, status)| leads(status))
            .max_by_key(|(_, status)| status.term)
            .map(|(place, _)| place)
    }

    /// The tasks of the job.
    pub(super) fn tasks(&self) -> &[pb::Task] {
        self.job.as_ref().map_or(&[], |job| &job.tasks)
    }

    /// Whether so many tasks are online.
    pub(super) fn online(&self) -> usize {
        self.tasks().iter().filter(|task| task.state == i32::from(pb::TaskState::Online)).count()
    }

    /// The state of the job.
    pub(super) fn job_state(&self) -> i32 {
        self.job.as_ref().and_then(|status| status.job.as_ref()).map_or(0, |job| job.state)
    }

    /// The epoch of each task.
    pub(super) fn epochs(&self) -> BTreeMap<u32, u64> {
        self.tasks().iter().map(|task| (task.number, task.epoch)).collect()
    }

    /// What people call an executor.
    pub(super) fn name(&self, executor: u64) -> String {
        self.names.get(&executor).cloned().unwrap_or_else(|| format!("executor {executor}"))
    }
}

/// Looks for ever. Drop the future to stop.
pub(super) async fn observe(
    cluster: Cluster,
    job: String,
    view: Arc<watch::Sender<View>>,
    stage: Arc<Stage>,
) {
    futures::join!(masters(&cluster, &view, &stage), records(&cluster, &job, &view, &stage));
}

async fn masters(cluster: &Cluster, view: &watch::Sender<View>, stage: &Stage) {
    let endpoints = cluster.endpoints();
    loop {
        let asked = endpoints.iter().map(|endpoint| timeout(SILENT, cluster.status(endpoint)));
        let statuses: Vec<_> = join_all(asked).await.into_iter().map(|answer| answer.ok()?.ok()).collect();
        view.send_modify(|view| {
            let next = View { masters: statuses, ..view.clone() };
            say_leader(view, &next, stage);
            *view = next;
        });
        stage.draw(&view.borrow());
        sleep(PERIOD).await;
    }
}

async fn records(cluster: &Cluster, job: &str, view: &watch::Sender<View>, stage: &Stage) {
    loop {
        // While there is no leader, the last view stays.
        let (executors, job) = futures::join!(all_executors(cluster), whole_job(cluster, job));
        view.send_modify(|view| {
            let mut next = view.clone();
            take(&mut next, executors, job);
            say_executors(view, &next, stage);
            say_tasks(view, &next, stage);
            *view = next;
        });
        stage.draw(&view.borrow());
        sleep(PERIOD).await;
    }
}

fn take(
    view: &mut View,
    executors: Result<Vec<pb::ExecutorStatus>, Failure>,
    job: Result<pb::JobStatus, Failure>,
) {
    if let Ok(executors) = executors {
        let named = executors.iter().filter_map(|status| status.executor.as_ref());
        view.names.extend(named.map(|executor| (executor.id, executor.name.clone())));
        view.executors = executors;
    }
    if let Ok(job) = job {
        view.job = Some(job);
    }
}

fn say_leader(before: &View, after: &View, stage: &Stage) {
    let leader = |view: &View| {
        let place = view.leader()?;
        view.masters.get(place)?.as_ref().map(|status| (status.node, status.term))
    };
    match (leader(before), leader(after)) {
        (was, Some((node, term))) if was != Some((node, term)) => {
            stage.say(&format!("master-{node} leads in term {term}"));
        }
        (Some(_), None) => stage.say("no master leads: the others notice the silence and vote"),
        _ => {}
    }
}

fn say_executors(before: &View, after: &View, stage: &Stage) {
    let ids = |view: &View| -> Vec<u64> {
        view.executors
            .iter()
            .filter_map(|status| status.executor.as_ref())
            .map(|executor| executor.id)
            .collect()
    };
    let (was, is) = (ids(before), ids(after));
    for id in is.iter().filter(|id| !was.contains(id)) {
        stage.say(&format!("{} is registered as executor {id}", after.name(*id)));
    }
    for id in was.iter().filter(|id| !is.contains(id)) {
        stage.say(&format!(
            "{} is lost: its lease and the grace are over; its tasks may move",
            after.name(*id)
        ));
    }
}

fn say_tasks(before: &View, after: &View, stage: &Stage) {
    let old: BTreeMap<u32, &pb::Task> = before.tasks().iter().map(|task| (task.number, task)).collect();
    for task in after.tasks() {
        let was = old.get(&task.number);
        let (online, place) = (task.state == i32::from(pb::TaskState::Online), after.name(task.executor));
        if was.is_some_and(|was| was.state == task.state && was.epoch == task.epoch) {
            continue;
        }
        if online && task.moves > 0 {
            let from = after.name(task.last_executor);
            stage.say(&format!(
                "task {} runs on {place} (epoch {}): it moved because {from} was lost",
                task.number, task.epoch
            ));
        } else if online {
            stage.say(&format!("task {} runs on {place} (epoch {})", task.number, task.epoch));
        } else if records::is_task_terminal(task.state) {
            let (state, place) = (records::task_state(task.state), after.name(task.last_executor));
            stage.say(&format!("task {} is {state} on {place} (epoch {})", task.number, task.epoch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_of_the_newest_term_counts() {
        let status =
            |role: pb::Role, term| Some(pb::StatusReply { role: role.into(), term, ..Default::default() });
        let masters = vec![
            status(pb::Role::Leader, 3),
            None,
            status(pb::Role::Leader, 4),
            status(pb::Role::Follower, 5),
        ];
        assert_eq!(View { masters, ..Default::default() }.leader(), Some(2));
        assert_eq!(View::default().leader(), None);
    }
}
