//! The planted bugs as a measure of the simulator: how soon it notices each, by what, and under which faults.

pub mod gate;
pub mod statistics;
pub mod table;
pub mod trial;

pub use trial::{Found, Seed, Stop, Trial, measure};
