//! `quorate`: the masters, the executors and the command line of a cluster in one binary.

mod cli;
mod cluster;
mod config;
mod demo;
mod dev;
mod failure;
mod local;
mod output;
mod process;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
