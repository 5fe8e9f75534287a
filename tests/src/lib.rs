//! What the end-to-end tests share: a cluster of real processes, ways to break it, and checks of what a user sees.
//!
//! Everything here goes through the binary and the client library only. A test starts a [`Cluster`], breaks it, and then
//! asks three things: is everything that was acknowledged still there ([`Writer`]), did no task run twice at once
//! ([`Truth`]), and does the command line say what is wrong. Tests run one at a time, also within one process: a cluster
//! holds a lock as long as it lives. When a test fails, the end of each process's log is printed.

mod binary;
mod cli;
mod cluster;
mod directory;
mod grpc;
mod jobs;
mod members;
mod network;
mod ports;
mod process;
mod relay;
mod serial;
mod sync_failure;
mod tools;
mod truth;
mod volume;
mod wait;
mod writer;

pub use binary::{binary, build, next_binary, simulator};
pub use cli::{Cli, Output};
pub use cluster::{Cluster, LEASE_MS, Options};
pub use directory::Directory;
pub use grpc::Api;
pub use jobs::holders;
pub use network::Network;
pub use process::Process;
pub use relay::relay_that_breaks;
pub use serial::Serial;
pub use sync_failure::SyncFailure;
pub use tools::{need, need_root};
pub use truth::{Kind, Line, Truth};
pub use volume::Volume;
pub use wait::wait_until;
pub use writer::{Acknowledged, Writer};
