//! The command of the simulator's stack level. It is built with `--cfg madsim` only.

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    quorate_sim::stack::cli::main()
}

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    eprintln!("this build has no simulated runtime: use `cargo sim-stack run --seeds 0..200`");
    std::process::ExitCode::from(2)
}
