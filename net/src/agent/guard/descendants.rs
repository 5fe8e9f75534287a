//! Killing everything below a process that is a subreaper.
//!
//! Only direct children are named to `kill`: until they are reaped their ids cannot be another's. What is deeper becomes a
//! direct child when its parent is dead, because orphans go to the nearest subreaper, whatever session they are in.

use rustix::{
    event::{Timespec, poll},
    process::{
        Pid, Signal, WaitOptions, WaitStatus, getpgid, getpgrp, getpid, kill_process, kill_process_group,
        wait,
    },
};
use std::fs;

/// Pause between two rounds of killing, in nanoseconds: a killed process needs a moment to die.
const ROUND_NANOSECONDS: i64 = 1_000_000;

/// Reaps every child that is dead. Answers whether any child is left; `seen` gets each that was reaped.
pub(super) fn reap(seen: &mut impl FnMut(Pid, WaitStatus)) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((process, status))) => seen(process, status),
            Ok(None) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Kills and reaps until nothing is left. Takes as long as the kernel needs: what it cannot kill is not ended either.
pub(super) fn kill_all(seen: &mut impl FnMut(Pid, WaitStatus)) {
    let own_group = getpgrp();
    loop {
        for child in children() {
            // A whole group first: no member can get away by forking.
            if let Ok(group) = getpgid(Some(child))
                && group != own_group
            {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = kill_process(child, Signal::KILL);
        }
        if !reap(seen) {
            return;
        }
        let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: ROUND_NANOSECONDS }));
    }
}

/// The direct children of this process, which has one thread.
fn children() -> Vec<Pid> {
    let pid = |text: &str| text.parse().ok().and_then(Pid::from_raw);
    match fs::read_to_string("/proc/thread-self/children") {
        Ok(list) => list.split_ascii_whitespace().filter_map(pid).collect(),
        // A kernel that does not list them.
        Err(_) => scan(),
    }
}

/// The same by the parent of every process.
fn scan() -> Vec<Pid> {
    let own = getpid().as_raw_nonzero().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let child = |entry: fs::DirEntry| {
        let process = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name, in brackets, may hold anything: the parent is the second word after the last bracket.
        let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?;
        (parent == own).then_some(process)
    };
    entries.flatten().filter_map(child).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_scan_finds_children() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(scan().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!scan().contains(&pid));
    }
}
