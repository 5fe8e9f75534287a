//! `cargo exhaustive`: every order of events of three real cores within a scope, breadth first.

#[cfg(not(madsim))]
mod model;
#[cfg(not(madsim))]
mod rules;
#[cfg(not(madsim))]
mod scope;
#[cfg(not(madsim))]
mod search;

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    search::main()
}

/// The simulated build has no use for it.
#[cfg(madsim)]
fn main() {}
