//! The panel: the cluster at a glance.

use super::scene::View;
use crate::output::records;
use quorate_proto::v1 as pb;

/// The panel's lines, not cut to any width.
pub(super) fn lines(view: &View) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (place, status) in view.masters.iter().enumerate() {
        lines.push(master(place + 1, status.as_ref()));
    }
    for (id, name) in &view.names {
        lines.push(executor(view, *id, name));
    }
    if !view.tasks().is_empty() {
        lines.push(progress(view.tasks()));
    }
    lines
}

fn master(number: usize, status: Option<&pb::StatusReply>) -> String {
    match status {
        None => format!("  master-{number}  silent"),
        Some(status) => format!(
            "  master-{number}  {:<13}  term {:<4} committed {:<7} {}",
            records::role(status.role).to_uppercase(),
            status.term,
            status.commit_index,
            status.alarms.join("; ")
        ),
    }
}

fn executor(view: &View, id: u64, name: &str) -> String {
    let known = view
        .executors
        .iter()
        .any(|status| status.executor.as_ref().is_some_and(|executor| executor.id == id));
    let runs: Vec<String> = view
        .tasks()
        .iter()
        .filter(|task| task.executor == id && !records::is_task_terminal(task.state))
        .map(|task| format!("{}@{}", task.number, task.epoch))
        .collect();
    let runs = if runs.is_empty() { "no task".to_owned() } else { format!("tasks {}", runs.join(" ")) };
    format!(
        "  {name:<8}  {:<13}  {}",
        if known { "registered" } else { "lost" },
        if known { runs } else { String::new() }
    )
}

fn progress(tasks: &[pb::Task]) -> String {
    let letter = |task: &pb::Task| match pb::TaskState::try_from(task.state).unwrap_or_default() {
        pb::TaskState::Unspecified | pb::TaskState::Pending => '.',
        pb::TaskState::Assigned => 'o',
        pb::TaskState::Online => '>',
        pb::TaskState::Finished => '#',
        pb::TaskState::Failed => '!',
        pb::TaskState::Canceled => 'x',
    };
    let done = tasks.iter().filter(|task| records::is_task_terminal(task.state)).count();
    format!(
        "  job       [{}]  {done} of {} tasks ended",
        tasks.iter().map(letter).collect::<String>(),
        tasks.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_panel_shows_who_leads_and_where_tasks_run() {
        let leader = pb::StatusReply { role: pb::Role::Leader.into(), term: 4, ..Default::default() };
        let task = |number, state: pb::TaskState| pb::Task {
            number,
            state: state.into(),
            epoch: 7,
            executor: 1,
            ..Default::default()
        };
        let executor = pb::Executor { id: 1, ..Default::default() };
        let view = View {
            masters: vec![Some(leader), None],
            executors: vec![pb::ExecutorStatus { executor: Some(executor), ..Default::default() }],
            names: BTreeMap::from([(1, "agent-1".to_owned()), (2, "agent-2".to_owned())]),
            job: Some(pb::JobStatus {
                tasks: vec![task(0, pb::TaskState::Online), task(1, pb::TaskState::Finished)],
                ..Default::default()
            }),
        };
        let text = lines(&view).join("\n");
        for part in ["master-1  LEADER", "master-2  silent", "tasks 0@7", "agent-2   lost", "[>#]  1 of 2"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
