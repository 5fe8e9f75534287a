//! The runtime of an executor: it drives [`quorate_core::agent::Agent`] with real processes, each under a guard.
//!
//! ```text
//! masters <- MasterLink <- runtime (owns the Agent) <- ExecutorService <- masters
//!                             |  ^
//!                   deadlines v  | what happened
//!              one supervisor (tokio task) for each attempt
//!                             |  ^
//!              stdin (a pipe) v  | stdout (reports), stderr (output of the task)
//!                     quorate task-guard            (session of its own, subreaper)
//!                             |
//!                       the task's processes
//! ```
//!
//! A guard kills everything below it when its stdin closes, so a killed agent leaves no work behind; and at the deadline
//! last written to it, so a frozen one does not either.

mod clock;
mod guard;
mod logs;
mod process;
mod runtime;
mod service;

pub use clock::{now, time};
pub use guard::run_guard;
pub use logs::LogStore;
pub use runtime::{AgentError, AgentRuntimeConfig, GuardCommand, MasterLink, run_agent};
