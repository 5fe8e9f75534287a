//! Plans of bugs that are known: each planted bug of the set is found by its plan, and the plan is clean without it. A plan
//! of a real bug that was mended is clean.
//!
//! With `QUORATE_WRITE_PLANS=1` the hashes of the index are written anew. They say with which core a plan was made; nothing
//! fails when they differ, because every message of the core is in them.

use quorate_sim::{
    plan::Plan,
    run::{Outcome, keep_panics, run_plan},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fs, path::PathBuf};

/// When the core changes, the same plan has other times. It still is the plan of its bug if one of so many seeds of it
/// breaks the rule.
#[cfg(feature = "planted-bugs")]
const SEEDS: u64 = 200;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// The file, beside the index.
    plan: String,
    /// The planted bug. Without one, it is a real bug that was mended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bug: Option<String>,
    /// What was wrong, of a real bug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<String>,
    /// The rule that does not hold.
    rule: String,
    /// Of the run that breaks it.
    hash: String,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plans/known")
}

fn index() -> Vec<Known> {
    let text = fs::read_to_string(folder().join("index.json")).expect("there is an index");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("index.json: {error}"))
}

fn plan(known: &Known) -> Plan {
    let text = fs::read_to_string(folder().join(&known.plan)).unwrap_or_default();
    Plan::read(&text).unwrap_or_else(|error| panic!("{}: {error}", known.plan))
}

#[cfg(feature = "planted-bugs")]
fn reseeded(plan: &Plan, number: u64) -> Plan {
    Plan { seed: plan.seed.wrapping_add(number), ..plan.clone() }
}

fn clean(known: &Known, plan: &Plan) {
    let Outcome { violation, excused, .. } = run_plan(plan, true, None);
    assert_eq!(violation, None, "{} with seed {} and without its bug", known.plan, plan.seed);
    assert_eq!(excused, None, "{} with seed {} and without its bug", known.plan, plan.seed);
}

#[test]
fn every_plan_is_in_the_index_once_and_holds_a_rule_of_the_simulator() {
    let index = index();
    let named: BTreeSet<String> = index.iter().map(|known| known.plan.clone()).collect();
    assert_eq!(named.len(), index.len());
    let files = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(named, files.filter(|file| file != "index.json").collect());
    for known in &index {
        let rules = quorate_sim::oracle::Rule::ALL;
        assert!(rules.iter().any(|rule| rule.name() == known.rule), "{}: there is no such rule", known.rule);
        assert!(
            known.bug.is_some() != known.about.is_some(),
            "{}: it has a bug, or a text about it",
            known.plan
        );
    }
}

#[test]
fn without_their_bugs_all_plans_are_clean() {
    keep_panics();
    for known in index() {
        clean(&known, &plan(&known));
    }
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;
    use quorate_core::bug::{Bug, plant};

    /// The seeds of the plan, until one breaks its rule.
    fn found(known: &Known, bug: Bug) -> Option<(u64, Outcome)> {
        let plan = plan(known);
        (0..SEEDS).find_map(|number| {
            let plan = reseeded(&plan, number);
            plant(Some(bug));
            let outcome = run_plan(&plan, true, None);
            plant(None);
            if number > 0 {
                clean(known, &plan);
            }
            let broken =
                outcome.violation.as_ref().is_some_and(|violation| violation.rule.name() == known.rule);
            broken.then_some((number, outcome))
        })
    }

    #[test]
    fn each_plan_finds_its_bug_by_its_rule() {
        keep_panics();
        let mut index = index();
        for known in &mut index {
            let Some(key) = &known.bug else { continue };
            let bug = Bug::named(key).unwrap_or_else(|| panic!("there is no bug {key}"));
            let (number, outcome) = found(known, bug).unwrap_or_else(|| {
                panic!("{key}: none of {SEEDS} seeds of {} breaks {}", known.plan, known.rule)
            });
            let hash = format!("{:016x}", outcome.hash);
            if hash != known.hash {
                println!("{key}: seed {number} after its own, hash {hash}; it was made with {}", known.hash);
            }
            known.hash = hash;
        }
        if std::env::var_os("QUORATE_WRITE_PLANS").is_some() {
            let text = serde_json::to_string_pretty(&index).unwrap() + "\n";
            fs::write(folder().join("index.json"), text).unwrap();
        }
    }

    #[test]
    fn the_set_has_a_plan_of_each_layer() {
        let layers = |keys: &mut dyn Iterator<Item = &str>| -> BTreeSet<String> {
            keys.map(|key| key.split('-').next().unwrap_or_default().to_owned()).collect()
        };
        let index = index();
        let mut there = layers(&mut index.iter().filter_map(|known| known.bug.as_deref()));
        // What is below the core is not in a plan of the core level.
        there.insert("net".to_owned());
        assert_eq!(there, layers(&mut Bug::ALL.iter().map(|bug| bug.key())));
        assert!(index.iter().filter(|known| known.bug.is_some()).count() >= 12);
    }
}
