//! The planted bugs as a measure of the simulator: how soon it notices each, by what, and under which faults.

pub mod gate;
pub mod statistics;
pub mod table;
pub mod trial;

/// The layer of bugs below the core: only the stack level meets them.
pub const STACK_LAYER: &str = "net";

pub use trial::{Found, Seed, Stop, Trial, measure};
