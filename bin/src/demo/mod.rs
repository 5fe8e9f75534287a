//! `quorate demo`: a cluster of real processes loses its leader and an executor, and every promise is checked.

mod checks;
mod panel;
mod probe;
mod scene;
mod stage;
mod story;
mod truth;

use crate::{
    cluster::Cluster,
    failure::Failure,
    local::{Directory, LocalCluster},
    output::Format,
    process,
};
use checks::Summary;
use clap::Args;
use scene::View;
use stage::Stage;
use std::{sync::Arc, time::Duration};
use story::Story;
use tokio::sync::watch;
use truth::Truth;

const MASTERS: u64 = 3;
const AGENTS: u64 = 2;
/// One executor alone can run all tasks.
const SLOTS: u32 = story::TASKS;
const TIMEOUT: Duration = Duration::from_secs(10);
const EXAMPLES: &str = "\
Examples:
  Watch it, for about twenty seconds:
    quorate demo
  Check the promises in a script, and read the figures:
    quorate demo -o json | jq .figures.leader_outage_ms
  Keep the data and the logs of all processes, to look at them:
    quorate demo --keep";

/// Starts three masters and two executors on loopback, runs a job, kills the leader and then an executor with SIGKILL, and
/// checks by what the tasks' processes wrote that every promise was kept. Everything is removed at the end.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Keep the directory with the data and the logs of all processes
    #[arg(long)]
    keep: bool,
}

/// Runs the demo; SIGINT and SIGTERM end it and clean up.
///
/// # Errors
/// If a step or a check failed, or it was interrupted.
pub(crate) async fn run(args: DemoArgs, format: Format) -> Result<(), Failure> {
    let directory = Directory::new(None, "quorate-demo", args.keep)?;
    let stage = Arc::new(Stage::new(format));
    stage
        .say(&format!("starting {MASTERS} masters and {AGENTS} executors in {}", directory.path().display()));
    let mut local = LocalCluster::start(directory.path(), MASTERS, AGENTS, SLOTS)?;
    let result = tokio::select! {
        result = play(&mut local, &directory, &stage) => result,
        () = process::interrupt() => Err(Failure::refused("the demo was interrupted").with_next("run it again; it takes about twenty seconds")),
    };
    stage.close();
    local.stop().await;
    let summary = result.map_err(|failure| explain(failure, &directory))?;
    if directory.is_kept() {
        stage.say(&format!("data and logs are kept in {}", directory.path().display()));
    }
    summary.print(format)?;
    if summary.ok() { Ok(()) } else { Err(Failure::refused("a promise was not kept: see the summary")) }
}

async fn play(
    local: &mut LocalCluster,
    directory: &Directory,
    stage: &Arc<Stage>,
) -> Result<Summary, Failure> {
    let cluster = Cluster::new(&local.endpoints, TIMEOUT)?;
    local.ready(&cluster).await?;
    let (sender, view) = watch::channel(View::default());
    let truth = Truth::new(&directory.path().join("truth"));
    let observer =
        scene::observe(cluster.clone(), story::JOB.to_owned(), Arc::new(sender), Arc::clone(stage));
    let mut story = Story { local, cluster, view, truth, stage: Arc::clone(stage) };
    let facts = tokio::select! {
        facts = story.tell() => facts?,
        () = observer => return Err(Failure::refused("the observer ended")),
    };
    Ok(Summary::new(&facts, &story.truth, stage.seconds()))
}

fn explain(failure: Failure, directory: &Directory) -> Failure {
    if directory.is_kept() || failure.next.is_some() {
        return failure;
    }
    failure.with_next("run `quorate demo --keep`, and look at the logs in the directory that it names")
}
