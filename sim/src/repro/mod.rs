//! What a failure leaves behind: a directory, named after the broken rule, with the shrunk plan, a log with one aligned
//! line an event, and a timeline to look at in a browser. The stack level records no causes, so that it has no timeline.

mod log;

use crate::{
    oracle::{Rule, Violation},
    plan::Plan,
    record::run_recorded,
    run::Level,
    shrink::{Options, Shrunk, events_bound, operations, planted_key, shrink},
    timeline,
};
use anyhow::Context;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Where the directories are made, unless another place is asked for.
pub const ROOT: &str = "repro";
/// The plan, in its directory.
pub const PLAN: &str = "plan.json";
/// The log.
pub const LOG: &str = "log.txt";
/// The timeline.
pub const TIMELINE: &str = "timeline.html";

/// A directory that was made.
#[derive(Clone, Debug)]
pub struct Repro {
    /// Where.
    pub directory: PathBuf,
    /// On which level it fails.
    pub level: Level,
    /// What is broken.
    pub violation: Violation,
    /// The hash of the run.
    pub hash: u64,
    /// How far the plan was shrunk.
    pub shrunk: Shrunk,
    /// An older plan of the same rule is smaller, and was kept.
    pub kept: bool,
    /// Runs the plan again.
    pub command: String,
}

impl fmt::Display for Repro {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shrunk { faults_before, faults, operations_before, operations, runs, wall, .. } = &self.shrunk;
        writeln!(
            formatter,
            "  shrunk:  {faults_before} to {faults} faults, {operations_before} to {operations} operations, \
             {runs} runs, {:.1} s{}",
            wall.as_secs_f64(),
            if self.shrunk.finished { "" } else { ", stopped by its budget" }
        )?;
        let older = if self.kept { " (an older plan there is smaller, and was kept)" } else { "" };
        let files = match self.level {
            Level::Core => format!("{{{PLAN},{LOG},{TIMELINE}}}"),
            #[cfg(madsim)]
            Level::Stack => format!("{{{PLAN},{LOG}}}; a timeline is drawn on the core level only"),
        };
        writeln!(formatter, "  files:   {}/{files}{older}", self.directory.display())?;
        write!(formatter, "  replay:  {}", self.command)
    }
}

/// Shrinks a plan and makes its directory. `None`: it does not fail.
///
/// # Errors
/// The directory or its files cannot be written.
pub fn make(plan: &Plan, options: Options<'_>, root: &Path) -> anyhow::Result<Option<Repro>> {
    shrink(plan, options).map(|shrunk| write(shrunk, options.level, root)).transpose()
}

/// Makes the directory of a shrunk plan, unless there is a smaller one of the same rule that still fails.
///
/// # Errors
/// The directory or its files cannot be written.
pub fn write(shrunk: Shrunk, level: Level, root: &Path) -> anyhow::Result<Repro> {
    let directory = root.join(name(shrunk.violation.rule, level));
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let path = directory.join(PLAN);
    let older = older(&path, level, &shrunk);
    let plan = older.as_ref().unwrap_or(&shrunk.plan);
    let command = command(level, &path);
    let put = |name: &str, text: String| {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    if older.is_none() {
        put(PLAN, serde_json::to_string_pretty(plan)? + "\n")?;
    }
    let outcome = match level {
        Level::Core => {
            let (outcome, recording) = run_recorded(plan);
            let head =
                log::Head { violation: outcome.violation.as_ref(), hash: outcome.hash, command: &command };
            put(LOG, log::text(&head, &recording))?;
            put(TIMELINE, timeline::page(plan, &outcome, &recording, &command)?)?;
            outcome
        }
        #[cfg(madsim)]
        Level::Stack => {
            let (outcome, lines) = log::stack_lines(plan);
            let head =
                log::Head { violation: outcome.violation.as_ref(), hash: outcome.hash, command: &command };
            put(LOG, log::stack_text(&head, &lines))?;
            outcome
        }
    };
    let violation = outcome.violation.unwrap_or_else(|| shrunk.violation.clone());
    Ok(Repro { violation, level, hash: outcome.hash, kept: older.is_some(), command, shrunk, directory })
}

/// The name of the directory: plans of different levels are not compared.
fn name(rule: Rule, level: Level) -> String {
    match level {
        Level::Core => rule.signature(),
        #[cfg(madsim)]
        Level::Stack => format!("{}-on-{}", rule.signature(), level.name()),
    }
}

/// The plan that is there, if it can be run, breaks the same rule in a bounded number of events, and is smaller.
fn older(path: &Path, level: Level, shrunk: &Shrunk) -> Option<Plan> {
    let plan = Plan::read(&fs::read_to_string(path).ok()?).ok()?;
    let outcome = level.run_within(&plan, events_bound(shrunk.events))?;
    let same = outcome.violation.is_some_and(|violation| violation.rule == shrunk.violation.rule);
    let size = (plan.faults.len(), operations(&plan), outcome.events);
    (same && size < (shrunk.faults, shrunk.operations, shrunk.events)).then_some(plan)
}

fn command(level: Level, path: &Path) -> String {
    let bug = planted_key().map_or_else(String::new, |bug| format!(" --bug {bug}"));
    format!("{} replay {}{bug}", level.command(), quoted(&path.display().to_string()))
}

/// As a shell takes it for one word.
#[must_use]
pub fn quoted(path: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=@,".contains(letter);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        assert_eq!(quoted("repro/g1-one-vote/plan.json"), "repro/g1-one-vote/plan.json");
        assert_eq!(quoted("my files/it's"), r"'my files/it'\''s'");
    }
}
