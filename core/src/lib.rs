//! The pure state machines of Quorate. This page becomes the contract.

pub mod agent;
pub mod codec;
pub mod command;
pub mod contract;
pub mod identity;
pub mod lead;
pub mod limits;
pub mod node;
pub mod raft;
pub mod random;
pub mod state;
pub mod trace;
pub mod types;

pub use contract::{Config, Input, Output};
pub use node::Node;
