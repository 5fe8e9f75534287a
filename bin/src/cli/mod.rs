//! The command line: what can be asked, and how an answer becomes an exit code.

mod agent;
mod alarm;
mod bench;
mod executor;
mod job;
mod job_watch;
mod kv;
mod level;
mod member;
mod recover;
mod server;
mod snapshot;
mod status;
mod wal;

use crate::{
    cluster::{self, Cluster},
    config::values::{parse_duration, parse_endpoints},
    demo, dev,
    failure::Failure,
    output::{self, Format},
};
pub(crate) use executor::all as all_executors;
pub(crate) use job::whole as whole_job;

use clap::{Args, Parser, Subcommand, error::ErrorKind};
use std::{future::Future, process::ExitCode, time::Duration};

/// Where a master listens by default.
const ENDPOINT_DEFAULT: &str = "127.0.0.1:7701";
const EXAMPLES: &str = "\
Examples:
  Watch a cluster lose its leader and an executor, and keep its promises:
    quorate demo
  Start a cluster to play with, and leave it running until Ctrl-C:
    quorate dev
  Run a command three times on it, and wait for the result:
    quorate job submit --tasks 3 --watch -- echo hello

Exit codes:
  0  done
  1  refused by the cluster, or failed
  2  wrong use: a flag, a key or a value is wrong
  3  no master answered in time; a change may have been made, if the error says so";

/// Quorate runs jobs on a fleet of executors, and survives the crash of any of its masters.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Shared {
    /// Client addresses of the masters, by commas; one is enough if it answers [env: QUORATE_ENDPOINTS] [default: 127.0.0.1:7701]
    #[arg(long, global = true, value_name = "LIST", help_heading = "Global options")]
    pub(crate) endpoints: Option<String>,
    /// How results and errors are printed
    #[arg(
        short,
        long,
        global = true,
        env = "QUORATE_OUTPUT",
        hide_env_values = true,
        value_enum,
        default_value_t,
        help_heading = "Global options"
    )]
    pub(crate) output: Format,
    /// How long to try to reach the cluster before giving up
    #[arg(long, global = true, env = "QUORATE_TIMEOUT", hide_env_values = true, value_name = "DURATION", default_value = "10s", value_parser = parse_duration, help_heading = "Global options")]
    pub(crate) timeout: Duration,
}

impl Shared {
    /// A client for the endpoints: of the flag, else of the environment, else the default one.
    ///
    /// # Errors
    /// Wrong use: an endpoint is no address.
    pub(crate) fn cluster(&self) -> Result<Cluster, Failure> {
        let (text, origin) = match (&self.endpoints, std::env::var("QUORATE_ENDPOINTS")) {
            (Some(text), _) => (text.clone(), "flag --endpoints"),
            (None, Ok(text)) => (text, "environment variable QUORATE_ENDPOINTS"),
            (None, Err(_)) => (ENDPOINT_DEFAULT.to_owned(), "default"),
        };
        let endpoints = parse_endpoints(&text).map_err(|why| Failure::usage(format!("{origin}: {why}")))?;
        Cluster::new(&endpoints, self.timeout)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a cluster surviving the crash of its leader and of an executor
    Demo(demo::DemoArgs),
    /// Run a cluster of three masters and two executors on this machine until Ctrl-C
    Dev(dev::DevArgs),
    /// Run one master
    Server(Box<server::ServerArgs>),
    /// Run one executor
    Agent(Box<agent::AgentArgs>),
    /// Submit, watch and cancel jobs, and read what they wrote
    #[command(subcommand)]
    Job(job::JobCommand),
    /// List and remove executors
    #[command(subcommand)]
    Executor(executor::ExecutorCommand),
    /// Read and write the key-value store
    #[command(subcommand)]
    Kv(kv::KvCommand),
    /// List, add, remove, replace and promote masters, and say who leads
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// List and take back what keeps the cluster from taking more data
    #[command(subcommand)]
    Alarm(alarm::AlarmCommand),
    /// Show, hold and release the feature level: for upgrades, and for going back
    #[command(subcommand)]
    Level(level::LevelCommand),
    /// Show what each master says of itself
    Status(status::StatusArgs),
    /// Save the state of the cluster to a file, and make a new cluster of it
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Make a master whose cluster has lost its majority for good a cluster of one
    Recover(recover::RecoverArgs),
    /// Look into the data directory of a master that does not run
    #[command(subcommand)]
    Wal(wal::WalCommand),
    /// Measure how many requests a cluster answers, and how long they wait
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

/// The hidden command that an agent starts for each attempt. Not parsed: whatever follows is for the guard.
const GUARD: &str = "task-guard";

/// Parses the arguments and runs the command.
pub(crate) fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|command| command == GUARD) {
        // One thread, no runtime: it must stay able to kill when everything else has gone wrong.
        let arguments: Vec<String> =
            arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
        return cluster::run_guard(&arguments);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_arguments(&error),
    };
    let format = cli.shared.output;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print(format);
            ExitCode::from(&failure)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let shared = cli.shared;
    match cli.command {
        Command::Demo(args) => block(demo::run(args, shared.output), true),
        Command::Dev(args) => block(dev::run(args, shared.output), true),
        Command::Server(args) => args.run(),
        Command::Agent(args) => args.run(&shared),
        Command::Job(command) => block(command.run(&shared), false),
        Command::Executor(command) => block(command.run(&shared), false),
        Command::Kv(command) => block(command.run(&shared), false),
        Command::Member(command) => block(command.run(&shared), false),
        Command::Alarm(command) => block(command.run(&shared), false),
        Command::Level(command) => block(command.run(&shared), false),
        Command::Status(args) => block(args.run(&shared), false),
        Command::Snapshot(command) => command.run(&shared),
        Command::Recover(args) => args.run(shared.output),
        Command::Wal(command) => command.run(shared.output),
        Command::Bench(command) => block_on(command.threads(), command.run(&shared)),
    }
}

/// Runs a command's future on a runtime of its own.
fn block(command: impl Future<Output = Result<(), Failure>>, threads: bool) -> Result<(), Failure> {
    let mut builder = if threads {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    finish(&mut builder, command)
}

/// As [`block`], on so many threads.
fn block_on(threads: u16, command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    if threads < 2 {
        return block(command, false);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    finish(builder.worker_threads(usize::from(threads)), command)
}

fn finish(
    builder: &mut tokio::runtime::Builder,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::refused(format!("the runtime cannot be started: {error}")))?;
    let result = runtime.block_on(command);
    // A thread that still reads stdin would keep the process alive.
    runtime.shutdown_background();
    result
}

/// Help and version go to stdout with 0; everything else is wrong use.
fn wrong_arguments(error: &clap::Error) -> ExitCode {
    let shows_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let json = std::env::var("QUORATE_OUTPUT").is_ok_and(|format| format == "json");
    let default = if json { Format::Json } else { Format::Table };
    let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    if shows_help || output::wanted(arguments, default) == Format::Table {
        // Nobody is left to be told if the stream is gone.
        let _gone = error.print();
        return ExitCode::from(if shows_help { 0 } else { 2 });
    }
    let text = error.render().to_string();
    let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let failure = Failure::usage(message).with_next("see --help");
    failure.print(Format::Json);
    ExitCode::from(&failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
