//! The runtime of Quorate: the loop that drives a node, its peers, its services, and the client library.
//!
//! It compiles twice: on tokio, and with `--cfg madsim` on a simulated runtime. [`rt`] is the only module that names
//! primitives of either.

#[cfg(not(madsim))]
pub mod agent;
pub mod client;
pub mod errors;
pub mod limits;
#[cfg(not(madsim))]
pub mod ports;
pub mod rt;
pub mod server;
pub mod storage;
pub mod tape;

mod driver;
mod peers;
mod services;

pub use client::{Client, ClientError, ClientOptions};
pub use driver::{Change, Identity, LoadError, LogWriter, NodeHandle, SnapshotFiles};
pub use server::{NodeParts, RunningNode, ServerError, scrub_round, start_node};
#[cfg(not(madsim))]
pub use server::{SCRUB_PAUSE, SCRUB_RATE, ScrubOptions, ServerConfig, run_server, start_server};
