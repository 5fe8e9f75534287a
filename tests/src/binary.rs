//! The binary under test.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

static BINARY: OnceLock<PathBuf> = OnceLock::new();
static NEXT: OnceLock<PathBuf> = OnceLock::new();
static SIMULATOR: OnceLock<PathBuf> = OnceLock::new();

/// The `quorate` that `QUORATE_BIN` names; without it, one that is built in release mode, once.
///
/// # Panics
/// If it cannot be built, or is not there.
#[must_use]
pub fn binary() -> &'static Path {
    BINARY.get_or_init(|| {
        let words = ["--release", "--package", "quorate", "--bin", "quorate"];
        let path = std::env::var_os("QUORATE_BIN").map_or_else(|| build(&words), PathBuf::from);
        assert!(path.is_file(), "QUORATE_BIN is {}: there is no such file", path.display());
        path
    })
}

/// The program that `QUORATE_NEXT_BIN` names; without it, one that is built, once: `quorate` with one feature level more.
///
/// It is built among all packages and beside a test, as the stage of unit tests builds it: cargo then takes the same
/// features of every dependency, and builds none again.
///
/// # Panics
/// If it cannot be built, or is not there.
#[must_use]
pub fn next_binary() -> &'static Path {
    NEXT.get_or_init(|| {
        let features =
            "quorate/next-format,quorate-net/planted-bugs,quorate-net/fault-points,quorate-sim/planted-bugs";
        let words = ["--workspace", "--bin", "quorate", "--test", "cli", "--features", features];
        let path = std::env::var_os("QUORATE_NEXT_BIN").map_or_else(|| build(&words), PathBuf::from);
        assert!(path.is_file(), "QUORATE_NEXT_BIN is {}: there is no such file", path.display());
        path
    })
}

/// The `quorate-sim` that `QUORATE_SIM_BIN` names; without it, one that is built as `cargo sim-fast` builds it, once: bugs
/// can be planted in it.
///
/// # Panics
/// If it cannot be built, or is not there.
#[must_use]
pub fn simulator() -> &'static Path {
    SIMULATOR.get_or_init(|| {
        let words = ["--profile", "sim-fast", "--package", "quorate-sim", "--features", "planted-bugs"];
        let words = [&words[..], &["--bin", "quorate-sim"]].concat();
        let path = std::env::var_os("QUORATE_SIM_BIN").map_or_else(|| build(&words), PathBuf::from);
        assert!(path.is_file(), "QUORATE_SIM_BIN is {}: there is no such file", path.display());
        path
    })
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace")
}

/// The path of the program that `cargo build` makes of these words, which hold `--bin` and its name.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn build(words: &[&str]) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .arg("build")
        .args(words)
        .args(["--message-format", "json"])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be started");
    assert!(built.status.success(), "`cargo build {}` failed", words.join(" "));
    let name = words.iter().skip_while(|word| **word != "--bin").nth(1).expect("the words name a program");
    let text = String::from_utf8_lossy(&built.stdout);
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let of = &message["target"];
        let wanted = of["name"] == *name && of["kind"][0] == "bin" && message["profile"]["test"] == false;
        wanted.then(|| message["executable"].as_str().map(PathBuf::from))?
    };
    text.lines().find_map(executable).expect("cargo names the program that it built")
}
