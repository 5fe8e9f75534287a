//! The simulator. Core level: masters, agents, disks, clocks and clients in a plain event loop that breaks them on purpose.
//! Stack level (with `--cfg madsim`): the same plans and oracles over the runtime's own parts.
//!
//! A seed makes a [`plan`]; a [`world`] runs it; [`oracle`]s look after every step at what really happened. The same plan
//! gives the same run, event by event, and the same hash, everywhere.

pub mod arguments;
pub mod bugs;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cost;
pub mod disk;
pub mod draw;
pub mod executor;
pub mod latency;
pub mod marks;
pub mod master;
pub mod network;
pub mod oracle;
pub mod plan;
pub mod queue;
pub mod reached;
pub mod record;
pub mod repro;
pub mod results;
pub mod run;
pub mod seeds;
pub mod shrink;
#[cfg(madsim)]
pub mod stack;
pub mod summary;
pub mod tapes;
pub mod timeline;
pub mod wgl;
pub mod world;
pub mod wrong;
