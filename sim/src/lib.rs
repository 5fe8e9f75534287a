//! The simulator, core level: masters, agents, disks, clocks and clients in a plain event loop that breaks them on purpose.
//!
//! A seed makes a [`plan`]; a [`world`] runs it; [`oracle`]s look after every step at what really happened. The same plan
//! gives the same run, event by event, and the same hash, everywhere.

pub mod clock;
pub mod disk;
pub mod draw;
pub mod network;
pub mod plan;
pub mod queue;
pub mod wgl;
