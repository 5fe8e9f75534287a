//! The command of the simulator, built with `--cfg madsim`: it serves both levels.

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    quorate_sim::cli::main()
}

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    eprintln!("this build has no simulated runtime: use `cargo sim-stack run --seeds 0..200`");
    std::process::ExitCode::from(2)
}
