//! Which level a command runs on. The normal build has the core level only, and hands the stack level over to the build
//! that has a simulated runtime.

use super::Ended;
use crate::run::Level;
use anyhow::Context;
use clap::{Args, ValueEnum};

/// A level, as it is named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Named {
    /// The cores of masters and agents in a plain event loop: fast, with every fault.
    Core,
    /// Driver, storage, services and client library as well, on a simulated runtime.
    Stack,
}

#[derive(Args)]
pub(crate) struct LevelArg {
    /// Which parts of the product are real [default: core; of `cargo sim-stack`: stack].
    #[arg(long, value_enum)]
    level: Option<Named>,
}

impl LevelArg {
    /// Whether it is the stack level, in whatever build.
    pub(crate) fn is_stack(&self) -> bool {
        let named = if cfg!(madsim) { Named::Stack } else { Named::Core };
        self.level.unwrap_or(named) == Named::Stack
    }

    /// The level, if this build has it; else the command is carried out by the build that does, and how it ended.
    pub(crate) fn here(&self) -> anyhow::Result<Result<Level, Ended>> {
        #[cfg(madsim)]
        return Ok(Ok(match self.level {
            Some(Named::Core) => Level::Core,
            Some(Named::Stack) | None => Level::Stack,
        }));
        #[cfg(not(madsim))]
        match self.level {
            Some(Named::Core) | None => Ok(Ok(Level::Core)),
            Some(Named::Stack) => hand_over().map(Err),
        }
    }
}

/// `cargo sim-stack` with the same arguments.
#[cfg_attr(madsim, allow(dead_code, reason = "this build has both levels"))]
fn hand_over() -> anyhow::Result<Ended> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = std::process::Command::new(cargo)
        .arg("sim-stack")
        .args(std::env::args_os().skip(1))
        .status()
        .context(
            "the stack level is built by cargo, which cannot be run: install Rust, or use `--level core`",
        )?;
    Ok(status.code().and_then(Ended::from_code).unwrap_or(Ended::Crash))
}
