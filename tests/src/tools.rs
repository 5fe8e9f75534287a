//! Programs that some tests need: installed if that is possible, else named with the command that installs them.

use std::process::{Command, Stdio};

/// Makes sure that a program is there. Nothing is ever skipped.
///
/// # Panics
/// If it is missing and cannot be installed: says the command that installs it.
pub fn need(program: &str, package: &str) {
    if is_there(program) {
        return;
    }
    let install = format!("apt-get install -y {package}");
    assert!(is_root(), "`{program}` is missing: run `{install}` as root, then run the test again");
    let words = ["install", "-y", package];
    let installed = Command::new("apt-get")
        .args(words)
        .stdin(Stdio::null())
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status();
    let installed = installed.is_ok_and(|status| status.success());
    assert!(
        installed && is_there(program),
        "`{program}` is missing, and `{install}` failed: install it by hand"
    );
}

/// Makes sure that this is root.
///
/// # Panics
/// If it is not: names what root is needed for.
pub fn need_root(what: &str) {
    assert!(is_root(), "{what} needs root: run `sudo -E tests/run e2e`");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn is_there(program: &str) -> bool {
    let look = format!("command -v {program}");
    let found = Command::new("sh").args(["-c", &look]).stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}
