//! The command: which scope is searched, and what is said of it.

use crate::{
    model::Cluster,
    scope::{self, SCOPES},
};
use clap::Parser;
use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};
use std::{num::NonZeroUsize, process::ExitCode, time::Instant};

/// Goes through every order of messages, writes, timers and crashes of three cores, within a scope.
#[derive(Parser)]
#[command(name = "exhaustive", after_help = EXAMPLES)]
struct Args {
    /// The scope; `--list` shows all.
    #[arg(long, default_value = "large")]
    scope: String,
    /// Show the scopes, and end.
    #[arg(long)]
    list: bool,
    /// Stop when so many states were made.
    #[arg(long, value_name = "NUMBER", default_value = "40000000")]
    states: NonZeroUsize,
    /// Look no deeper.
    #[arg(long, value_name = "NUMBER")]
    depth: Option<NonZeroUsize>,
    /// On how many threads.
    #[arg(long, short, default_value_t = 1)]
    jobs: usize,
    /// Plant this bug: a rule must break.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, value_name = "BUG", value_parser = bug)]
    bug: Option<quorate_core::bug::Bug>,
}

const EXAMPLES: &str = "Examples:
  cargo exhaustive                                        the large scope
  cargo exhaustive --scope takeover                       a scope that is searched to its end
  cargo exhaustive --scope election --bug raft-vote-not-persisted

Exit codes: 0 all rules hold and everything happened that must, 1 a rule broke, 2 wrong use, 3 something never happened.";

#[cfg(feature = "planted-bugs")]
fn bug(key: &str) -> Result<quorate_core::bug::Bug, String> {
    let found = quorate_core::bug::Bug::ALL.iter().copied().find(|bug| bug.key() == key);
    found.ok_or_else(|| format!("there is no planted bug {key:?}: `cargo sim bugs --list` shows them"))
}

pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        for scope in SCOPES {
            println!("{:<10} {}", scope.name, scope.text);
        }
        return ExitCode::SUCCESS;
    }
    let Some(scope) = scope::named(&args.scope) else {
        eprintln!("error: there is no scope {:?}: `--list` shows them", args.scope);
        return ExitCode::from(2);
    };
    // A panic of the core is a broken rule, with the way to it.
    std::panic::set_hook(Box::new(|_| ()));
    #[cfg_attr(not(feature = "planted-bugs"), allow(unused_mut, reason = "nothing to plant"))]
    let mut cluster = Cluster::new(scope);
    #[cfg(feature = "planted-bugs")]
    {
        cluster.bug = args.bug;
    }
    search(cluster, &args)
}

fn search(cluster: Cluster, args: &Args) -> ExitCode {
    println!("{:#?}", cluster.scope);
    let start = Instant::now();
    let mut builder = cluster.checker().threads(args.jobs).finish_when(HasDiscoveries::AnyFailures);
    builder = builder.target_state_count(args.states.get());
    if let Some(depth) = args.depth {
        builder = builder.target_max_depth(depth.get());
    }
    let checker = builder.spawn_bfs().join();
    let seconds = start.elapsed().as_secs_f64();
    let (states, unique) = (checker.state_count(), checker.unique_state_count());
    let complete = states < args.states.get() && args.depth.is_none();
    let (nodes, packets) = checker.model().parts();
    println!(
        "{states} states, {unique} of them unique, to depth {}, in {seconds:.1} s ({:.0} a second); {nodes} nodes, {packets} messages; {} MiB",
        checker.max_depth(),
        states as f64 / seconds.max(1e-9),
        peak_mib().map_or_else(|| "?".to_owned(), |mib| mib.to_string())
    );
    verdict(&checker, complete)
}

/// What came of each property, and how the command ends.
fn verdict(checker: &impl Checker<Cluster>, complete: bool) -> ExitCode {
    let ways = checker.discoveries();
    let (mut broken, mut happened, mut missing) = (Vec::new(), 0, 0);
    for property in checker.model().properties() {
        let way = ways.get(property.name);
        let said = match (&property.expectation, way) {
            (Expectation::Sometimes, Some(way)) => {
                happened += 1;
                format!("happens, after {} actions", way.clone().into_actions().len())
            }
            (Expectation::Sometimes, None) => {
                missing += 1;
                if complete { "NEVER HAPPENS".to_owned() } else { "not in this part".to_owned() }
            }
            (_, Some(way)) => {
                broken.push((property.name, way));
                "BROKEN".to_owned()
            }
            (_, None) => "holds".to_owned(),
        };
        println!("  {:<58} {said}", property.name);
    }
    for (name, way) in &broken {
        println!("\nBROKEN  {name}");
        for (step, (state, action)) in Path::clone(way).into_vec().into_iter().enumerate() {
            match action {
                Some(action) => println!("  {:>3}  {action:?}", step + 1),
                None => println!("{state:?}{}", state.past.panic.clone().unwrap_or_default()),
            }
        }
    }
    if !broken.is_empty() {
        return ExitCode::from(1);
    }
    println!("{}", if complete { "searched to its end" } else { "searched in part: the scope holds more" });
    // In a part of a scope, something at least must happen.
    if missing > 0 && (complete || happened == 0) { ExitCode::from(3) } else { ExitCode::SUCCESS }
}

/// The most memory that this process had.
fn peak_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}
