//! The command of the simulator's core level.

fn main() -> std::process::ExitCode {
    quorate_sim::cli::main()
}
