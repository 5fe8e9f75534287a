//! The command line, from a failing seed to what it leaves behind; and into pipes that nobody reads.

mod common;

use common::{Scratch, command, error};
use std::{fs, process::Stdio};

/// A command whose output goes into a pipe that nobody reads any more: its exit code, and what it says about errors.
fn unread(scratch: &Scratch, arguments: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    let mut command = command(scratch);
    let output = command.args(arguments).stdout(writer).stderr(Stdio::piped()).output();
    let output = output.expect("the simulator can be started");
    (output.status.code(), error(&output))
}

#[test]
fn a_pipe_that_nobody_reads_ends_no_command() {
    let scratch = Scratch::new("unread");
    let kept = scratch.text("kept.jsonl");
    let run = ["run", "--seeds", "0..3", "--jobs", "1", "--duration", "1..2", "--verbose", "--keep", &kept];
    for arguments in [
        &run[..],
        &["run", "--seeds", "0..3", "--jobs", "1", "--duration", "1..2", "--output", "json"],
        &["plan", "1"],
        &["hash", "1", "--duration", "1"],
        &["replay", "1", "--duration", "1", "--verbose"],
        &["results", &kept],
        &["latency", "--seeds", "0..2", "--jobs", "1", "--duration", "1..2"],
    ] {
        assert_eq!(unread(&scratch, arguments), (Some(0), String::new()), "{arguments:?}");
    }
    // Not all marks are reached by two seeds.
    let (code, said) = unread(&scratch, &["marks", "--seeds", "0..2", "--jobs", "1", "--duration", "1..2"]);
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(fs::read_to_string(kept).unwrap().starts_with("{\"record\":\"search\""));
}

#[test]
fn errors_that_nobody_reads_end_no_command() {
    let scratch = Scratch::new("unread-errors");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let wrong = command(&scratch).args(["replay", "no-such-file"]).stderr(writer).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn an_output_that_is_full_is_an_error() {
    let scratch = Scratch::new("full");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("the system has /dev/full");
    let output = command(&scratch).args(["plan", "1"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("cannot write to the standard output"), "{}", error(&output));
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use super::{
        common::{out, sim},
        *,
    };
    use quick_junit::{Report, TestCaseStatus};
    use serde_json::Value;
    use std::{collections::BTreeMap, path::Path};

    const BUG: &str = "raft-votes-twice";

    /// The hash and the rule that a replay prints.
    fn replayed(scratch: &Scratch, plan: &Path, bug: &[&str]) -> (Option<i32>, String, String) {
        let plan = plan.display().to_string();
        let output = sim(scratch, &[&["replay", "--quiet", &plan], bug].concat());
        let printed = out(&output);
        let hash = printed.lines().find_map(|line| line.strip_prefix("hash ")).expect("a hash is printed");
        (output.status.code(), hash[..16].to_owned(), error(&output))
    }

    fn json_lines(text: &str) -> BTreeMap<String, Vec<Value>> {
        let mut events: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let event = value["event"].as_str().expect("each line names its event").to_owned();
            events.entry(event).or_default().push(value);
        }
        events
    }

    #[test]
    fn a_failing_seed_leaves_all_that_is_needed_to_see_it_again() {
        let scratch = Scratch::new("command");
        let run = ["run", "--bug", BUG, "--seeds", "0..12", "--jobs", "1", "--output", "json", "--all-marks"];
        let run = sim(&scratch, &[&run[..], &["--junit", "seeds.xml", "--keep", "kept.jsonl"]].concat());
        assert_eq!(run.status.code(), Some(1), "{}", error(&run));

        let events = json_lines(&out(&run));
        let summary = &events["summary"][0];
        assert_eq!((events["summary"].len(), &summary["seeds"]), (1, &12.into()));
        assert_eq!(summary["failed"], events["failure"].len());
        let marks = &events["marks"][0];
        let missed = marks["missed"].as_array().unwrap().len();
        assert!(
            missed > 0 && marks["marks"] == marks["reached"].as_u64().unwrap() + missed as u64,
            "{marks}"
        );
        let groups = summary["groups"].as_array().unwrap();
        assert!(!groups.is_empty());
        let junit =
            Report::deserialize_from_str(&fs::read_to_string(scratch.file("seeds.xml")).unwrap()).unwrap();
        let cases = &junit.test_suites[0].test_cases;
        let failed = cases.iter().filter(|case| matches!(case.status, TestCaseStatus::NonSuccess { .. }));
        let rules: BTreeMap<String, &str> =
            events["failure"].iter().map(|line| (line["rule"].as_str().unwrap().to_owned(), "")).collect();
        let failed: BTreeMap<String, &str> = failed.map(|case| (case.name.to_string(), "")).collect();
        assert_eq!(failed, rules);

        for group in groups {
            let signature = group["signature"].as_str().unwrap();
            let directory = scratch.file("repro").join(signature);
            let mut files: Vec<_> =
                fs::read_dir(&directory).unwrap().map(|file| file.unwrap().file_name()).collect();
            files.sort();
            assert_eq!(files, ["log.txt", "plan.json", "timeline.html"]);
            let log = fs::read_to_string(directory.join("log.txt")).unwrap();
            let rule = log.lines().next().unwrap().trim_start_matches("# ").to_owned();
            let plan = directory.join("plan.json");
            let (code, hash, said) = replayed(&scratch, &plan, &["--bug", BUG]);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains(&rule) && log.contains(&format!("hash {hash}")), "{said}{log}");
            assert!(rules.contains_key(&rule), "{rule}");
            let page = fs::read_to_string(directory.join("timeline.html")).unwrap();
            assert!(page.contains(&hash) && page.contains("</html>"));
            // It is the bug that breaks it.
            assert_eq!(replayed(&scratch, &plan, &[]).0, Some(0));
        }
        let kept = sim(&scratch, &["results", "kept.jsonl"]);
        let (code, table) = (kept.status.code(), out(&kept));
        assert_eq!(code, Some(0), "{}", error(&kept));
        assert!(table.contains(BUG) && table.contains("--bug") && table.contains("plan.json"), "{table}");
    }

    #[test]
    fn what_was_found_is_kept_also_where_no_plan_can_be_written() {
        let scratch = Scratch::new("no-repro");
        fs::write(scratch.file("taken"), "no directory").unwrap();
        let run = ["run", "--bug", BUG, "--seeds", "0..12", "--jobs", "1", "--shrink-budget", "1s"];
        let files = ["--repro", "taken", "--junit", "seeds.xml", "--keep", "kept.jsonl"];
        let run = sim(&scratch, &[&run[..], &files[..]].concat());
        assert_eq!(run.status.code(), Some(1), "{}", error(&run));
        assert!(error(&run).contains("error: cannot make taken/"), "{}", error(&run));
        assert!(fs::read_to_string(scratch.file("seeds.xml")).unwrap().contains("<failure"));
        assert!(fs::read_to_string(scratch.file("kept.jsonl")).unwrap().contains(r#""record":"failure""#));
    }

    #[test]
    fn a_stall_has_its_own_exit_code() {
        let scratch = Scratch::new("stall");
        let run = ["run", "--bug", "raft-no-such-bug", "--seeds", "0"];
        let wrong = sim(&scratch, &run);
        assert_eq!(wrong.status.code(), Some(2));
        assert!(error(&wrong).contains("raft-no-such-bug") && error(&wrong).contains(BUG));
        let run = ["run", "--bug", "agent-asks-once", "--jobs", "1", "--no-shrink", "--max-failures", "1"];
        let run = sim(&scratch, &run);
        let rule = error(&run).lines().find(|line| line.starts_with("FAILED")).unwrap().to_owned();
        assert_eq!(run.status.code(), Some(3), "{rule}");
        assert!(rule.contains("every accepted job ends"), "{rule}");
        assert!(!scratch.file("repro").exists());
    }
}
