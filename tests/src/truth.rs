//! What the tasks' own processes wrote: the ground truth about what ran where and when.

use crate::wait::wait_until;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// What each task runs. It holds a lock of its task as long as any process of it lives, writes a line when it begins and each
/// tenth of a second, and ends when its job is released, or after two minutes. Lines of one file have one order.
const SCRIPT: &str = r#"
say() {
  read -r up _ < /proc/uptime
  echo "$1 $QUORATE_JOB $QUORATE_TASK $QUORATE_EPOCH $$ $up" >> "$TRUTH_FILE"
}
exec 9> "$TRUTH_FILE.lock.$QUORATE_JOB.$QUORATE_TASK"
flock -n 9 || say overlap
say start
step=0
while [ ! -e "$TRUTH_FILE.release.$QUORATE_JOB" ] && [ "$step" -lt 1200 ]; do
  step=$((step + 1))
  sleep 0.1
  say tick
done
echo "task $QUORATE_TASK is done"
say end
"#;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An attempt began.
    Start,
    /// It lives.
    Tick,
    /// It is done.
    End,
    /// When it began, a process of an older attempt of its task still lived.
    Overlap,
}

/// One line of the shared file.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it says.
    pub kind: Kind,
    /// The job's id.
    pub job: String,
    /// The task's number.
    pub task: u32,
    /// The attempt.
    pub epoch: u64,
    /// The process that wrote it.
    pub pid: u32,
    /// Seconds since the machine came up.
    pub time: f64,
}

/// The file that all tasks of a test share.
#[derive(Clone, Debug)]
pub struct Truth {
    path: PathBuf,
}

impl Truth {
    /// Of a directory that lives longer than all tasks.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join("truth") }
    }

    /// The words after `quorate job submit` for a job of such tasks, its command included.
    #[must_use]
    pub fn submit(&self, job: &str, tasks: u32, flags: &[&str]) -> Vec<String> {
        let (tasks, file) = (tasks.to_string(), format!("TRUTH_FILE={}", self.path.display()));
        let words = ["job", "submit", "--id", job, "--tasks", &tasks, "--env", &file];
        words.iter().chain(flags).chain(&["--", "sh", "-c", SCRIPT]).map(|&word| word.to_owned()).collect()
    }

    /// Lets the tasks of a job end, those that are started later too.
    ///
    /// # Panics
    /// If the file that says so cannot be made.
    pub fn release(&self, job: &str) {
        let file = format!("{}.release.{job}", self.path.display());
        fs::write(file, "").expect("a file can be made beside the truth");
    }

    /// All lines so far, in the order in which they were written.
    ///
    /// # Panics
    /// If a line is of another form.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("no task writes {line:?}"))).collect()
    }

    /// The newest attempt of each task of a job that has begun.
    #[must_use]
    pub fn newest(&self, job: &str) -> BTreeMap<u32, u64> {
        let begun = self.lines().into_iter().filter(|line| line.job == job && line.kind == Kind::Start);
        begun.map(|line| (line.task, line.epoch)).collect()
    }

    /// Waits until so many tasks of a job run at an epoch above that in `before`.
    pub fn wait_started(
        &self,
        job: &str,
        tasks: u32,
        before: &BTreeMap<u32, u64>,
        within: Duration,
    ) -> BTreeMap<u32, u64> {
        wait_until(within, &format!("{tasks} tasks of {job} run, after {before:?}"), || {
            let mut newest = self.newest(job);
            newest.retain(|task, epoch| before.get(task).is_none_or(|old| *epoch > *old));
            if newest.len() >= tasks as usize { Ok(newest) } else { Err(format!("{newest:?} run")) }
        })
    }

    /// The last sign of life of an attempt, in seconds since the machine came up.
    #[must_use]
    pub fn last_sign(&self, job: &str, task: u32, epoch: u64) -> Option<f64> {
        let of = |line: &&Line| line.job == job && line.task == task && line.epoch == epoch;
        self.lines().iter().filter(of).map(|line| line.time).next_back()
    }

    /// How often each task of a job came to its end.
    #[must_use]
    pub fn ends(&self, job: &str) -> BTreeMap<u32, u32> {
        let mut ends = BTreeMap::new();
        for line in self.lines().iter().filter(|line| line.job == job && line.kind == Kind::End) {
            *ends.entry(line.task).or_insert(0) += 1;
        }
        ends
    }

    /// No task ran twice at once.
    ///
    /// # Panics
    /// If one did, with the lines that say so.
    #[track_caller]
    pub fn assert_apart(&self) {
        let found = overlaps(&self.lines());
        assert!(found.is_empty(), "a task ran twice at once: {found:#?}");
    }
}

/// Seconds since the machine came up, as tasks write them.
#[must_use]
pub(crate) fn uptime() -> f64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

impl Truth {
    /// The time, as in the lines.
    #[must_use]
    pub fn now(&self) -> f64 {
        uptime()
    }
}

/// Lines of an attempt after a later one of its task began, attempts that began twice, and what the locks found.
fn overlaps(lines: &[Line]) -> Vec<Line> {
    let mut newest: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    let mut found = Vec::new();
    for line in lines {
        let known = newest.entry((&line.job, line.task)).or_insert(0);
        let wrong = match line.kind {
            Kind::Overlap => true,
            Kind::Start => line.epoch <= *known,
            Kind::Tick | Kind::End => line.epoch != *known,
        };
        if wrong {
            found.push(line.clone());
        }
        if line.kind == Kind::Start {
            *known = line.epoch.max(*known);
        }
    }
    found
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let kind = match words.next()? {
        "start" => Kind::Start,
        "tick" => Kind::Tick,
        "end" => Kind::End,
        "overlap" => Kind::Overlap,
        _ => return None,
    };
    let job = words.next()?.to_owned();
    let (task, epoch) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (pid, time) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(Line { kind, job, task, epoch, pid, time })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{directory::Directory, process::Process};

    fn lines(text: &str) -> Vec<Line> {
        text.lines().map(|line| parse(line).unwrap()).collect()
    }

    #[test]
    fn attempts_one_after_the_other_are_fine() {
        let text =
            "start j 0 1 9 1.0\ntick j 0 1 9 1.1\nstart j 1 1 8 1.1\nstart j 0 3 7 2.0\nend j 0 3 7 2.5\n";
        assert_eq!(overlaps(&lines(text)), []);
    }

    #[test]
    fn what_overlaps_is_seen() {
        for text in [
            "start j 0 1 9 1.0\nstart j 0 3 7 2.0\ntick j 0 1 9 2.1",
            "start j 0 1 9 1.0\nstart j 0 1 7 2.0",
            "start j 0 3 9 1.0\nstart j 0 1 7 2.0",
            "tick j 0 1 9 1.0",
            "overlap j 0 1 9 1.0",
        ] {
            assert_eq!(overlaps(&lines(text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn the_script_tells_the_truth_and_its_lock_sees_two_at_once() {
        let directory = Directory::new();
        let truth = Truth::new(directory.path());
        let start = |epoch: &str| {
            let words = truth.submit("j", 1, &[]);
            let at = words.iter().position(|word| word == "--").unwrap();
            let mut process =
                Process::new(directory.path(), &format!("task-{epoch}"), words[at + 1..].to_vec());
            let file = format!("{}", truth.path.display());
            for (name, value) in [("QUORATE_JOB", "j"), ("QUORATE_TASK", "0"), ("QUORATE_EPOCH", epoch)] {
                process.set(name, value);
            }
            process.set("TRUTH_FILE", &file);
            process.start();
            process
        };
        let mut first = start("1");
        truth.wait_started("j", 1, &BTreeMap::new(), Duration::from_secs(10));
        truth.assert_apart();
        let mut second = start("2");
        truth.wait_started("j", 1, &BTreeMap::from([(0, 1)]), Duration::from_secs(10));
        truth.release("j");
        for process in [&mut first, &mut second] {
            assert!(process.ended(Duration::from_secs(10)).success());
        }
        let kinds: Vec<Kind> = truth.lines().iter().map(|line| line.kind).collect();
        assert!(kinds.contains(&Kind::Overlap), "{kinds:?}");
        assert_eq!(truth.ends("j"), BTreeMap::from([(0, 2)]));
        assert!(truth.last_sign("j", 0, 2).unwrap() <= truth.now());
    }
}
