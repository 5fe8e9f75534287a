//! What `run --keep` writes can be merged, queried and drawn by `results`, in other processes.

mod common;

use common::{Scratch, error, out, sim};
use serde_json::Value;
use std::fs;

#[test]
fn kept_results_of_two_machines_are_merged_queried_and_drawn() {
    let scratch = Scratch::new("results");
    let (one, two, both) = (scratch.text("one.jsonl"), scratch.text("two.jsonl"), scratch.text("both.jsonl"));
    for (shard, file) in [("1/2", &one), ("2/2", &two)] {
        let seeds = ["run", "--seeds", "0..6", "--jobs", "1", "--duration", "1..2", "--shard", shard];
        let run = sim(&scratch, &[&seeds[..], &["--commit", "abc123", "--keep", file]].concat());
        assert_eq!(run.status.code(), Some(0), "{}", error(&run));
    }
    // Appended to what is there.
    let seeds = ["run", "--seeds", "0..3", "--jobs", "1", "--commit", "def456", "--keep", &two];
    let run = sim(&scratch, &[&seeds[..], &["--no-faults", "--duration", "1..1"]].concat());
    assert_eq!(run.status.code(), Some(0), "{}", error(&run));
    let page = scratch.text("page.html");
    let merged =
        sim(&scratch, &["results", &one, &two, &one, "--merge", &both, "--html", &page, "-o", "json"]);
    assert_eq!(merged.status.code(), Some(0), "{}", error(&merged));
    assert!(error(&merged).contains("3 lines") && error(&merged).contains("1 were there twice"));
    let view: Value = serde_json::from_str(&out(&merged)).unwrap();
    let commits = view["commits"].as_array().unwrap();
    assert_eq!(commits.len(), 2);
    let row = commits.iter().find(|row| row["commit"] == "abc123").unwrap();
    assert_eq!((&row["searches"], &row["seeds"], &row["failed"]), (&2.into(), &6.into(), &0.into()));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("abc123") && page.contains("def456"));

    let table = sim(&scratch, &["results", &both, "--commit", "def", "--since", "1d", "--level", "core"]);
    assert_eq!(table.status.code(), Some(0), "{}", error(&table));
    assert!(out(&table).contains("def456") && !out(&table).contains("abc123"), "{}", out(&table));
    let none = sim(&scratch, &["results", &both, "--since", "2999-01-01"]);
    assert_eq!((none.status.code(), out(&none).as_str()), (Some(0), "no search matches\n"));
}

#[test]
fn a_bad_line_is_named_with_its_file_and_number() {
    let scratch = Scratch::new("bad-line");
    let file = scratch.text("kept.jsonl");
    let run = sim(&scratch, &["run", "--seeds", "0", "--duration", "1", "--no-faults", "--keep", &file]);
    assert_eq!(run.status.code(), Some(0), "{}", error(&run));
    let kept = fs::read_to_string(&file).unwrap();
    for (line, why) in [
        ("{\"version\":1}", "record"),
        ("not json", "no JSON"),
        ("{\"version\":99,\"record\":\"search\"}", "version 99"),
    ] {
        fs::write(&file, format!("{kept}\n{line}\n{kept}")).unwrap();
        let read = sim(&scratch, &["results", &file]);
        assert_eq!((read.status.code(), out(&read).as_str()), (Some(2), ""));
        assert!(
            error(&read).contains(&format!("{file}, line 3: ")) && error(&read).contains(why),
            "{}",
            error(&read)
        );
    }
    let missing = sim(&scratch, &["results", "no-such-file"]);
    assert!(missing.status.code() == Some(2) && error(&missing).contains("no-such-file"));
}

#[test]
fn wrong_arguments_are_refused_before_any_seed_runs() {
    let scratch = Scratch::new("arguments");
    for (arguments, why) in [
        (&["run", "--seeds", "0..9", "--keep", "/nowhere/at/all"][..], "/nowhere/at/all"),
        (
            &["run", "--seeds", "0..9", "--junit", "/nowhere/at/all.xml"],
            "--junit: cannot write /nowhere/at/all.xml",
        ),
        (&["run", "--seeds", "0..9", "--commit", "abc"], "--keep"),
        (&["run", "--seeds", "0..9", "--keep", "kept", "--commit", "a b"], "a b"),
        (&["run", "--seeds", "0..9", "--shard", "3/2"], "3/2"),
        (&["run", "--seeds", "0..2", "--shard", "1/3"], "--shard"),
        (&["results"], "FILE"),
        (&["results", "x", "--since", "noon"], "noon"),
        (&["results", "x", "--keep-failures", "0"], "from 1 on"),
    ] {
        let run = sim(&scratch, arguments);
        assert_eq!((run.status.code(), out(&run).as_str()), (Some(2), ""), "{arguments:?}");
        assert!(error(&run).contains(why), "{arguments:?}: {}", error(&run));
    }
}
