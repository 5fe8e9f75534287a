//! The command of the simulator's core level.

/// A run is mostly small messages that are made and dropped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    quorate_sim::cli::main()
}
