//! What is kept of a search: one line for the whole, and one for each group of failures.

use super::{commit, moment::Moment};
use crate::repro::quoted;
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, collections::BTreeMap};

/// The version of the lines that this build writes, and the last one that it reads.
pub const VERSION: u32 = 1;
/// The longest message that is kept, in letters.
pub(super) const MESSAGE_MAX: usize = 1_000;
/// The levels, as they are written.
pub(super) const LEVELS: [&str; 2] = ["core", "stack"];

/// One line of a file of results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A search as a whole.
    Search(Search),
    /// A group of its failures.
    Failure(Failing),
}

/// What was searched, and when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// Of the line: [`VERSION`].
    pub version: u32,
    /// When the search ended.
    pub at: Moment,
    /// The commit, or `unknown`.
    pub commit: String,
    /// The work tree was not the commit's.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub dirty: bool,
    /// Which generator made plans of seeds.
    pub generator: u32,
    /// `core` or `stack`.
    pub level: String,
    /// The bug that was planted on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bug: Option<String>,
}

/// A search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// What was searched, and when.
    #[serde(flatten)]
    pub origin: Origin,
    /// The first seed that was run.
    pub first: u64,
    /// The seed after the last one that was run.
    pub end: u64,
    /// Least and most length of the phase with faults, milliseconds.
    pub duration_ms: (u64, u64),
    /// Whether there were faults.
    pub faults: bool,
    /// On how many threads.
    pub threads: u64,
    /// Seeds that were run.
    pub seeds: u64,
    /// Simulated seconds of all of them.
    pub simulated_seconds: f64,
    /// How long it took.
    pub wall_seconds: f64,
    /// Seeds by second of wall time.
    pub seeds_per_second: f64,
    /// Seeds that failed.
    pub failed: u64,
    /// How many seeds failed, by signature.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u64>,
    /// Marks that no seed reached.
    pub marks_missing: Vec<String>,
}

/// A group of failures of one search: its fastest failing seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failing {
    /// What was searched, and when.
    #[serde(flatten)]
    pub origin: Origin,
    /// Names the group.
    pub signature: String,
    /// The rule that did not hold.
    pub rule: String,
    /// The fastest failing seed.
    pub seed: u64,
    /// Events until it failed.
    pub events: u64,
    /// Simulated seconds until it failed.
    pub seconds: f64,
    /// Seeds that failed in this way in the search.
    pub seeds: u64,
    /// What did not hold, of the fastest seed.
    pub message: String,
    /// Runs the seed again, on this commit.
    pub replay: String,
    /// Where the shrunk plan was written: it runs on any commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

impl Failing {
    /// Seeds that fail sooner come first, then those that were found earlier.
    #[must_use]
    pub fn better(&self, other: &Self) -> Ordering {
        let key = |failing: &Self| (failing.events, failing.origin.at, failing.seed);
        key(self).cmp(&key(other))
    }

    /// The command that runs the shrunk plan again, on any commit.
    #[must_use]
    pub fn replay_plan(&self) -> Option<String> {
        let (path, origin) = (self.plan.as_ref()?, &self.origin);
        let command = if origin.level == LEVELS[0] { "cargo sim" } else { "cargo sim-stack" };
        let bug = origin.bug.as_ref().map_or_else(String::new, |bug| format!(" --bug {bug}"));
        Some(format!("{command} replay {}{bug}", quoted(path)))
    }
}

impl Record {
    /// What was searched, and when.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        match self {
            Self::Search(search) => &search.origin,
            Self::Failure(failing) => &failing.origin,
        }
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What is no line of results, in words that name the field.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            version: Option<u32>,
        }
        let head: Head =
            serde_json::from_slice(line).map_err(|error| format!("it is no JSON object: {error}"))?;
        match head.version {
            None => return Err("field `version` is missing: it is no line of results".to_owned()),
            Some(version) if version == 0 || version > VERSION => {
                return Err(format!("version {version}: this build reads 1 to {VERSION}"));
            }
            Some(_) => {}
        }
        let record: Self = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), String> {
        let origin = self.origin();
        commit::parse(&origin.commit).map_err(|why| format!("field `commit`: {why}"))?;
        if !LEVELS.contains(&origin.level.as_str()) {
            return Err(format!("field `level`: {:?} is neither core nor stack", origin.level));
        }
        match self {
            Self::Search(search) => search.check(),
            Self::Failure(failing) => failing.check(),
        }
    }
}

fn at_least_zero(field: &str, value: f64) -> Result<(), String> {
    if value >= 0.0 { Ok(()) } else { Err(format!("field `{field}`: {value} is less than 0")) }
}

impl Search {
    fn check(&self) -> Result<(), String> {
        at_least_zero("simulated_seconds", self.simulated_seconds)?;
        at_least_zero("wall_seconds", self.wall_seconds)?;
        at_least_zero("seeds_per_second", self.seeds_per_second)?;
        if self.end < self.first {
            return Err(format!("field `end`: {} is before the first seed, {}", self.end, self.first));
        }
        Ok(())
    }
}

impl Failing {
    fn check(&self) -> Result<(), String> {
        at_least_zero("seconds", self.seconds)?;
        for (field, value) in [("signature", &self.signature), ("rule", &self.rule)] {
            if value.is_empty() {
                return Err(format!("field `{field}` is empty"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn origin(at: u64, commit: &str) -> Origin {
        Origin {
            version: VERSION,
            at: Moment(at),
            commit: commit.to_owned(),
            dirty: false,
            generator: 4,
            level: "core".to_owned(),
            bug: None,
        }
    }

    pub(crate) fn search(at: u64, commit: &str, failures: &[(&str, u64)]) -> Search {
        Search {
            origin: origin(at, commit),
            first: 0,
            end: 100,
            duration_ms: (10_000, 30_000),
            faults: true,
            threads: 2,
            seeds: 100,
            simulated_seconds: 4_000.0,
            wall_seconds: 2.0,
            seeds_per_second: 50.0,
            failed: failures.iter().map(|(_, seeds)| seeds).sum(),
            failures: failures.iter().map(|(name, seeds)| ((*name).to_owned(), *seeds)).collect(),
            marks_missing: Vec::new(),
        }
    }

    pub(crate) fn failing(at: u64, commit: &str, signature: &str, seed: u64, events: u64) -> Failing {
        Failing {
            origin: origin(at, commit),
            signature: signature.to_owned(),
            rule: signature.to_uppercase(),
            seed,
            events,
            seconds: 1.5,
            seeds: 1,
            message: format!("seed {seed} breaks it"),
            replay: format!("cargo sim replay {seed}"),
            plan: None,
        }
    }

    #[test]
    fn a_line_is_read_back_as_it_was_written() {
        let mut failing = failing(1_772_368_200, "abc", "g1", 7, 90);
        failing.origin.bug = Some("raft-votes-twice".to_owned());
        failing.origin.dirty = true;
        for record in [Record::Failure(failing), Record::Search(search(1_772_368_200, "abc", &[("g1", 2)]))] {
            let line = serde_json::to_vec(&record).unwrap();
            assert_eq!(Record::read(&line), Ok(record));
        }
    }

    #[test]
    fn a_wrong_line_names_its_field() {
        let good = serde_json::to_value(Record::Search(search(5, "abc", &[]))).unwrap();
        let with = |field: &str, value: serde_json::Value| {
            let mut line = good.clone();
            line[field] = value;
            Record::read(line.to_string().as_bytes()).unwrap_err()
        };
        assert!(with("version", 2.into()).contains("version 2"));
        assert!(with("version", 0.into()).contains("version 0"));
        assert!(with("commit", "a b".into()).contains("`commit`"));
        assert!(with("level", "net".into()).contains("`level`"));
        assert!(with("at", "noon".into()).contains("noon"));
        assert!(with("wall_seconds", (-1).into()).contains("`wall_seconds`"));
        assert!(with("end", serde_json::Value::Null).contains("u64"));
        assert!(with("record", "other".into()).contains("other"));
        for wrong in ["", "{", "[]", "7", "{}", "\u{fffd}", "null"] {
            assert!(Record::read(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(Record::read(b"{\"version\":1,\"record\":\"\xff\"}").is_err());
    }
}
