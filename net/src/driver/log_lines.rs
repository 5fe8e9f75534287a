//! What happened, as lines in the log. Changes that a user sees are INFO, alarms are WARN.

use quorate_core::{
    trace::{StepDown, TraceEvent},
    types::NodeId,
};
use tracing::{debug, info, warn};

/// Writes one event.
pub(crate) fn write(node: NodeId, event: &TraceEvent) {
    match event {
        TraceEvent::PreVoteStarted { term } => debug!(%node, %term, "asks whether it could win an election"),
        TraceEvent::ElectionStarted { term } => info!(%node, %term, "asks for votes"),
        TraceEvent::LeaderElected { term } => info!(%node, %term, "leads"),
        TraceEvent::Following { term, leader: Some(leader) } => info!(%node, %term, %leader, "follows"),
        TraceEvent::Following { term, leader: None } => info!(%node, %term, "knows no leader"),
        TraceEvent::SteppedDown { term, reason } => {
            warn!(%node, %term, reason = step_down(*reason), "leads no more");
        }
        TraceEvent::NoVote { message } => warn!(%node, %message, "takes no part in votes"),
        TraceEvent::MembershipChanged { index, membership } => {
            info!(%node, %index, %membership, "who takes part has changed");
        }
        TraceEvent::Bootstrapped => info!(%node, "the cluster began"),
        TraceEvent::SnapshotInstalled { index } => info!(%node, %index, "took a peer's snapshot in"),
        TraceEvent::Compacted { index } => debug!(%node, %index, "shortened its log"),
        event => write_fleet(node, event),
    }
}

fn write_fleet(node: NodeId, event: &TraceEvent) {
    match event {
        TraceEvent::ExecutorRegistered { executor } => info!(%node, %executor, "an executor registered"),
        TraceEvent::ExecutorGone { executor, lost: false } => info!(%node, %executor, "an executor left"),
        TraceEvent::ExecutorGone { executor, lost: true } => warn!(%node, %executor, "an executor is lost"),
        TraceEvent::LeaseMissed { lease } => warn!(%node, %lease, "a lease ran out"),
        TraceEvent::TaskPlaced { attempt, executor } => {
            info!(%node, %attempt, %executor, "a task was placed");
        }
        TraceEvent::TaskMoved { attempt, executor } => {
            warn!(%node, %attempt, %executor, "a task lost its executor");
        }
        TraceEvent::TaskOnline { attempt } => info!(%node, %attempt, "a task runs"),
        TraceEvent::TaskEnded { attempt, finished } => {
            info!(%node, %attempt, finished, "a task's attempt ended");
        }
        TraceEvent::JobSubmitted { job } => info!(%node, %job, "a job was accepted"),
        TraceEvent::JobEnded { job, state } => info!(%node, %job, state = state.as_str_name(), "a job ended"),
        other => debug!(%node, event = ?other, "an event"),
    }
}

const fn step_down(reason: StepDown) -> &'static str {
    match reason {
        StepDown::HigherTerm => "a higher term was seen",
        StepDown::NoQuorum => "no quorum answered in time",
        StepDown::DiskStall => "its disk did not finish a write in time",
        StepDown::NoVote => "it lost its vote",
        StepDown::Removed => "it votes no more",
    }
}
