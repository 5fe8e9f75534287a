//! A disk that refuses to sync, or is slow, for one process.

use crate::{binary::root, process::Process, tools::need};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A library that makes every sync of a process fail, or slow, once it is told to.
#[derive(Debug)]
pub struct SyncFailure {
    library: PathBuf,
    trigger: PathBuf,
}

impl SyncFailure {
    /// Compiles the library into this directory.
    ///
    /// # Panics
    /// If there is no compiler, or it refuses.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        need("gcc", "gcc libc6-dev");
        let library = directory.join("sync_failure.so");
        let compiled = Command::new("gcc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .arg(root().join("tests/shim/sync_failure.c"))
            .output()
            .expect("gcc can be started");
        assert!(compiled.status.success(), "gcc: {}", String::from_utf8_lossy(&compiled.stderr));
        Self { library, trigger: directory.join("no-more-syncs") }
    }

    /// Puts the next start of a process under its control.
    pub fn watch(&self, process: &mut Process) {
        process.set("LD_PRELOAD", &self.library.to_string_lossy());
        process.set("SYNC_FAILURE_TRIGGER", &self.trigger.to_string_lossy());
    }

    /// From here on each sync of the process fails.
    ///
    /// # Panics
    /// If the file that says so cannot be made.
    pub fn begin(&self) {
        fs::write(&self.trigger, "").expect("a file can be made");
    }

    /// From here on each sync of the process takes so many milliseconds longer, and succeeds.
    ///
    /// # Panics
    /// If the file that says so cannot be made.
    pub fn slow(&self, ms: u32) {
        // Written aside and renamed: an empty one would let syncs fail.
        let aside = self.trigger.with_extension("tmp");
        fs::write(&aside, ms.to_string()).expect("a file can be made");
        fs::rename(&aside, &self.trigger).expect("a file can be renamed");
    }

    /// The disk is well again.
    pub fn end(&self) {
        // Not there if it never began.
        let _none = fs::remove_file(&self.trigger);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Directory;
    use std::time::Duration;

    #[test]
    fn syncs_work_until_they_fail() {
        let directory = Directory::new();
        let failure = SyncFailure::new(directory.path());
        // `dd conv=fsync` and `conv=fdatasync` sync their output.
        let sync = |kind: &str| {
            let file = format!("of={}", directory.path().join("data").display());
            let kind = format!("conv={kind}");
            let words = ["dd", "if=/dev/zero", "bs=1", "count=1", &file, &kind].map(str::to_owned);
            let mut process = Process::new(directory.path(), "dd", words.to_vec());
            failure.watch(&mut process);
            process.start();
            (process.ended(Duration::from_secs(10)).success(), process.log())
        };
        assert!(sync("fsync").0 && sync("fdatasync").0);
        failure.begin();
        for kind in ["fsync", "fdatasync"] {
            let (success, log) = sync(kind);
            assert!(!success && log.contains("Input/output error"), "{log}");
        }
        failure.slow(300);
        let begun = std::time::Instant::now();
        assert!(sync("fdatasync").0 && begun.elapsed() >= Duration::from_millis(300));
        failure.end();
        assert!(sync("fsync").0);
    }
}
