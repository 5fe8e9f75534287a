//! `quorate server`: one master.

use crate::{
    cluster,
    config::{
        self,
        keys::Flags,
        server::{ServerRole, ServerSettings},
    },
    failure::Failure,
    output, process,
};
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Each setting can be given in the file, in the environment (QUORATE_ and the key in capitals, such as \
QUORATE_TIMING_HEARTBEAT), and by its flag; a flag goes over the environment, and that over the file. In the file, \
--timing-heartbeat is `heartbeat` in the table [timing].

Examples:
  Start a cluster of a single master:
    quorate server --node 1 --members 1=127.0.0.1:7702/127.0.0.1:7701 --data-dir ./master-1
  Start the second master of a cluster that a file describes:
    quorate server --config cluster.toml --node 2
  Start a master that was added to a cluster that there is:
    quorate server --node 4 --join 10.0.0.1:7701 --data-dir ./master-4
  See what it would run with, as a file:
    quorate server --config cluster.toml --node 2 --print-config";

/// Runs one master until it is told to stop.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServerArgs {
    /// Read settings from this TOML file [env: QUORATE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the effective settings as TOML, and do not start
    #[arg(long)]
    print_config: bool,
    /// Stop when stdin is closed
    #[arg(long, hide = true)]
    exit_with_parent: bool,
    #[command(flatten)]
    settings: Flags<ServerRole>,
}

impl ServerArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let layer = config::gather::<ServerRole>(self.config.as_deref(), self.settings.layer)?;
        let mut layer = layer;
        let mut joins = None;
        if layer.get("join").is_some() {
            super::block(
                async {
                    joins = config::join::fill(&mut layer, !self.print_config).await?;
                    Ok(())
                },
                false,
            )?;
        }
        let settings = ServerSettings::resolve(&layer, joins)?;
        if self.print_config {
            return output::raw(settings.to_toml().as_bytes());
        }
        settings.logs.start();
        let stop = process::stop_signal(self.exit_with_parent);
        super::block_on(settings.threads, async move { cluster::run_master(&settings, stop?).await })
    }
}
