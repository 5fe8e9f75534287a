//! `quorate agent`: one executor.

use super::{ENDPOINT_DEFAULT, Shared};
use crate::{
    cluster,
    config::{
        self,
        agent::{AgentRole, AgentSettings},
        keys::{self, Flags},
        layer::Origin,
    },
    failure::Failure,
    process,
};
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Each setting can be given in the file, in the environment (QUORATE_ and the key in capitals, such as QUORATE_SLOTS), and by \
its flag; a flag goes over the environment, and that over the file. The masters are found through --endpoints.

Examples:
  Offer four slots to the cluster on this machine:
    quorate agent --slots 4 --data-dir ./agent-1
  Offer this machine to a cluster elsewhere, on a network that you trust:
    quorate agent --endpoints 10.0.0.1:7701,10.0.0.2:7701 --listen 10.0.0.9:7801 --insecure --data-dir ./agent";

/// Runs one executor until it is told to stop.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AgentArgs {
    /// Read settings from this TOML file [env: QUORATE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop when stdin is closed
    #[arg(long, hide = true)]
    exit_with_parent: bool,
    #[command(flatten)]
    settings: Flags<AgentRole>,
}

impl AgentArgs {
    pub(super) fn run(self, shared: &Shared) -> Result<(), Failure> {
        let mut flags = self.settings.layer;
        if let Some(endpoints) = &shared.endpoints {
            flags.set(keys::SHARED, endpoints.clone(), Origin::Flag(keys::SHARED));
        }
        let layer = config::gather::<AgentRole>(self.config.as_deref(), flags)?;
        let settings = AgentSettings::resolve(&layer, ENDPOINT_DEFAULT)?;
        settings.logs.start();
        let stop = process::stop_signal(self.exit_with_parent);
        super::block(async move { cluster::run_executor(&settings, stop?).await }, true)
    }
}
