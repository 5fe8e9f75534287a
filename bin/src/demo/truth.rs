//! What the tasks' own processes wrote: the ground truth that the cluster's records are compared with.

use rustix::process::{Pid, test_kill_process};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Instant,
};

/// What each task runs: it says when it begins, that it lives, and when it ends, in a file that all tasks share.
pub(super) const SCRIPT: &str = r#"
say() { echo "$1 $QUORATE_TASK $QUORATE_EPOCH $$" >> "$DEMO_FILE"; }
say start
step=0
while [ "$step" -lt "$DEMO_STEPS" ]; do
  step=$((step + 1))
  echo "task $QUORATE_TASK, epoch $QUORATE_EPOCH: step $step of $DEMO_STEPS"
  sleep 0.2
  say tick
done
say end
"#;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The attempt's first sign of life.
    Start,
    /// It lives.
    Tick,
    /// It is done.
    End,
}

/// One line of the shared file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) kind: Kind,
    pub(super) task: u32,
    pub(super) epoch: u64,
    /// The task's first process.
    pub(super) process: i32,
    /// When this process saw the line.
    pub(super) seen: Instant,
}

/// The shared file, as far as it was read.
#[derive(Debug)]
pub(super) struct Truth {
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
    /// In the order in which they were written.
    pub(super) lines: Vec<Line>,
    /// Lines that no task of the demo writes.
    pub(super) strange: Vec<String>,
}

impl Truth {
    /// Of a file that need not exist yet.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), offset: 0, rest: Vec::new(), lines: Vec::new(), strange: Vec::new() }
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what was added.
    pub(super) fn read(&mut self) {
        // No task has written yet, or the file is read again at the next call.
        let Ok(mut file) = File::open(&self.path) else { return };
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.offset)).is_err() || file.read_to_end(&mut bytes).is_err() {
            return;
        }
        self.offset += bytes.len() as u64;
        self.rest.extend(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        self.take(&String::from_utf8_lossy(&whole), Instant::now());
    }

    pub(super) fn take(&mut self, text: &str, seen: Instant) {
        for line in text.lines() {
            match parse(line, seen) {
                Some(line) => self.lines.push(line),
                None => self.strange.push(line.to_owned()),
            }
        }
    }

    /// When this task was first seen to run at an epoch above `epoch`.
    pub(super) fn started_after(&self, task: u32, epoch: u64) -> Option<Instant> {
        let mut lines = self.lines.iter();
        lines
            .find(|line| line.kind == Kind::Start && line.task == task && line.epoch > epoch)
            .map(|line| line.seen)
    }

    /// Whether the process of an attempt is still there.
    pub(super) fn lives(&self, task: u32, epoch: u64) -> bool {
        let mut lines = self.lines.iter().filter(|line| line.task == task && line.epoch == epoch);
        let process = lines.next().and_then(|line| Pid::from_raw(line.process));
        process.is_some_and(|process| test_kill_process(process).is_ok())
    }

    /// The epochs at which each task ended, in order.
    pub(super) fn ends(&self) -> BTreeMap<u32, Vec<u64>> {
        let mut ends: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for line in self.lines.iter().filter(|line| line.kind == Kind::End) {
            ends.entry(line.task).or_default().push(line.epoch);
        }
        ends
    }

    /// Every sign of life of an attempt after a later one of the same task had begun, or of one that began twice.
    pub(super) fn overlaps(&self) -> Vec<String> {
        let mut newest: BTreeMap<u32, u64> = BTreeMap::new();
        let mut overlaps = Vec::new();
        for line in &self.lines {
            let known = newest.get(&line.task).copied().unwrap_or(0);
            let fresh = line.epoch > known;
            if (line.kind == Kind::Start) != fresh || line.epoch < known {
                let Line { kind, task, epoch, .. } = line;
                overlaps
                    .push(format!("task {task}: {kind:?} at epoch {epoch} after epoch {known} had begun"));
            }
            if fresh {
                newest.insert(line.task, line.epoch);
            }
        }
        overlaps
    }
}

fn parse(line: &str, seen: Instant) -> Option<Line> {
    let mut words = line.split(' ');
    let kind = match words.next()? {
        "start" => Kind::Start,
        "tick" => Kind::Tick,
        "end" => Kind::End,
        _ => return None,
    };
    let (task, epoch) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let process = words.next()?.parse().ok().filter(|process| *process > 0)?;
    words.next().is_none().then_some(Line { kind, task, epoch, process, seen })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(text: &str) -> Truth {
        let mut truth = Truth::new(Path::new("unused"));
        truth.take(text, Instant::now());
        truth
    }

    #[test]
    fn attempts_one_after_the_other_do_not_overlap() {
        let truth =
            truth("start 0 1 9\ntick 0 1 9\nstart 1 2 8\nstart 0 3 7\ntick 0 3 7\nend 0 3 7\nend 1 2 8\n");
        assert!(truth.overlaps().is_empty() && truth.strange.is_empty());
        assert_eq!(truth.ends(), BTreeMap::from([(0, vec![3]), (1, vec![2])]));
        assert!(truth.started_after(0, 1).is_some() && truth.started_after(1, 2).is_none());
    }

    #[test]
    fn an_old_attempt_that_still_lives_is_seen() {
        assert_eq!(truth("start 0 1 9\nstart 0 3 7\ntick 0 1 9\n").overlaps().len(), 1);
    }

    #[test]
    fn an_attempt_that_begins_twice_is_seen() {
        assert_eq!(truth("start 0 1 9\nstart 0 1 7\n").overlaps().len(), 1);
        assert_eq!(truth("start 0 3 9\nstart 0 1 7\n").overlaps().len(), 1);
        assert_eq!(truth("tick 0 1 9\n").overlaps().len(), 1, "a life without a beginning");
    }

    #[test]
    fn what_no_task_writes_is_strange() {
        for line in ["", "start", "start x 1 2", "stop 1 2 3", "end 1 2 3 4"] {
            assert_eq!(truth(&format!("{line}\n")).strange.len(), 1, "{line}");
        }
    }
}
