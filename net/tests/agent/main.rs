//! Guards and the agent's runtime, on real processes. This program is its own guard: it runs itself again.
#![allow(clippy::unwrap_used, reason = "all of it is test, but it has no test harness that would say so")]

#[cfg(madsim)]
fn main() {}

#[cfg(not(madsim))]
mod guard;
#[cfg(not(madsim))]
mod runtime;

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("task-guard") => return quorate_net::agent::run_guard(&arguments[1..]),
        Some("hold-a-guard") => return guard::hold(&arguments[1..]),
        _ => {}
    }
    let named: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return std::process::ExitCode::SUCCESS;
    }
    for (name, test) in guard::TESTS.iter().chain(runtime::TESTS) {
        if named.is_empty() || named.iter().any(|part| name.contains(part.as_str())) {
            println!("test {name} ...");
            test();
        }
    }
    let _ = std::fs::remove_dir_all(guard::own_directory());
    println!("test result: ok");
    std::process::ExitCode::SUCCESS
}
