//! The simulator, core level: masters, agents, disks, clocks and clients in a plain event loop that breaks them on purpose.
//!
//! A seed makes a [`plan`]; a [`world`] runs it; [`oracle`]s look after every step at what really happened. The same plan
//! gives the same run, event by event, and the same hash, everywhere.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "messages and inputs grow, and a world or an oracle looks only at those that concern it"
)]

pub mod client;
pub mod clock;
pub mod disk;
pub mod draw;
pub mod executor;
pub mod master;
pub mod network;
pub mod oracle;
pub mod plan;
pub mod queue;
pub mod run;
#[cfg(madsim)]
pub mod stack;
pub mod wgl;
pub mod world;
