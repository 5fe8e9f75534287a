//! The command line, from a failing seed to what it leaves behind; and into pipes that nobody reads.

mod common;

use common::{Scratch, command, error, json_line, out, sim};
use serde_json::Value;
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

#[test]
fn what_came_of_a_replay_is_one_line_of_json() {
    let scratch = Scratch::new("replay-json");
    let replay = ["replay", "3", "--duration", "2", "--tape", "tapes", "-o", "json"];
    let output = sim(&scratch, &replay);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let line = json_line(&output);
    assert_eq!(
        (&line["event"], &line["level"], &line["seed"]),
        (&"replay".into(), &"core".into(), &3.into())
    );
    let hash = sim(&scratch, &["hash", "3", "--duration", "2"]);
    assert_eq!(line["hash"], out(&hash).trim());
    assert!(line["signature"].is_null() && line["excused"].is_null(), "{line}");
    let machines = line["machines"].as_array().unwrap().len() as u64;
    assert!(machines > 3 && line["events"].as_u64() > Some(100) && line["faults"].is_u64(), "{line}");
    assert!(line["simulated_seconds"].as_f64() > Some(2.0) && line["oracles"].is_object(), "{line}");
    let tapes = fs::read_dir(scratch.file("tapes")).unwrap().count() as u64;
    assert!(tapes > 0 && line["tapes"] == tapes, "{line}");
    let wrong = sim(&scratch, &["replay", "3", "-o", "json", "--verbose"]);
    assert_eq!((wrong.status.code(), out(&wrong).as_str()), (Some(2), ""));
    assert!(
        error(&wrong).contains("--output json") && error(&wrong).contains("--verbose"),
        "{}",
        error(&wrong)
    );
}

#[test]
fn what_came_of_a_tape_is_a_line_of_json_and_so_is_each_input() {
    let scratch = Scratch::new("tape-json");
    let replay = ["replay", "3", "--duration", "2", "--tape", "tapes", "--quiet"];
    assert_eq!(sim(&scratch, &replay).status.code(), Some(0));
    let tape = fs::read_dir(scratch.file("tapes")).unwrap().next().unwrap().unwrap().path();
    let tape = tape.display().to_string();
    let said = json_line(&sim(&scratch, &["tape", &tape, "-o", "json"]));
    assert_eq!((&said["event"], &said["same"]), (&"tape".into(), &true.into()));
    let printed = sim(&scratch, &["tape", &tape, "-o", "json", "--print", "--from", "3"]);
    let lines: Vec<Value> =
        out(&printed).lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let (last, inputs) = lines.split_last().unwrap();
    assert_eq!(last, &said);
    assert!(inputs.iter().all(|line| line["event"] == "input" && line["what"].is_string()));
    let numbers: Vec<u64> = inputs.iter().map(|line| line["input"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (3..=said["inputs"].as_u64().unwrap()).collect::<Vec<_>>());
}

#[test]
fn only_the_core_level_is_asked_for_all_marks() {
    let scratch = Scratch::new("all-marks");
    let run = sim(&scratch, &["run", "--level", "stack", "--seeds", "0..1", "--all-marks"]);
    assert_eq!((run.status.code(), out(&run).as_str()), (Some(2), ""));
    let said = error(&run);
    assert!(said.contains("--all-marks") && said.contains("`cargo sim run --all-marks`"), "{said}");
}

#[test]
fn marks_are_one_line_of_json() {
    let scratch = Scratch::new("marks-json");
    let marks = ["marks", "--seeds", "0..2", "--jobs", "1", "--duration", "1..2", "-o", "json"];
    let table = json_line(&sim(&scratch, &marks));
    assert_eq!((table["seeds"].as_u64(), &table["marks"][0]["hits"]), (Some(2), &0.into()));
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;
    use quick_junit::{Report, TestCaseStatus};
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

    /// The first seed that finds the bug.
    fn failing_seed(scratch: &Scratch) -> String {
        let run = ["run", "--bug", BUG, "--jobs", "1", "--no-shrink", "--max-failures", "1", "-o", "json"];
        let events = json_lines(&out(&sim(scratch, &run)));
        events["failure"][0]["seed"].to_string()
    }

    #[test]
    fn what_a_plan_was_shrunk_to_is_one_line_of_json_and_its_replay_another() {
        let scratch = Scratch::new("shrink-json");
        let seed = failing_seed(&scratch);
        let shrink = ["shrink", &seed, "--bug", BUG, "--jobs", "1", "--budget", "3s", "-o", "json"];
        let output = sim(&scratch, &shrink);
        assert_eq!(output.status.code(), Some(1), "{}", error(&output));
        let made = json_line(&output);
        assert_eq!((made["event"].as_str(), made["seed"].to_string()), (Some("shrunk"), seed.clone()));
        for what in ["faults", "operations"] {
            let [before, after] = ["before", "after"].map(|when| made[format!("{what}_{when}")].as_u64());
            assert!(after.is_some() && after <= before, "{made}");
        }
        assert!(made["runs"].as_u64() > Some(2) && made["wall_seconds"].is_f64(), "{made}");
        let plan = made["plan"].as_str().unwrap();
        assert_eq!(plan, format!("repro/{}/plan.json", made["signature"].as_str().unwrap()));
        assert_eq!(made["replay"], format!("cargo sim replay {plan} --bug {BUG}"));

        let output = sim(&scratch, &["replay", plan, "--bug", BUG, "-o", "json"]);
        assert_eq!(output.status.code(), Some(1));
        let again = json_line(&output);
        for field in ["hash", "signature", "rule", "message", "at_seconds", "step"] {
            assert!(!again[field].is_null(), "{field}: {again}");
            assert_eq!(again[field], made[field], "{field}");
        }
        // Without its bug it is no failing plan.
        let clean = sim(&scratch, &["shrink", plan, "--jobs", "1", "-o", "json"]);
        assert_eq!((clean.status.code(), &json_line(&clean)["event"]), (Some(0), &"clean".into()));
    }

    #[test]
    fn the_table_of_shrunk_bugs_is_lines_of_json() {
        let scratch = Scratch::new("shrink-bugs-json");
        let table =
            ["shrink", "--bugs", "--seeds", "0..1", "--duration", "2", "--jobs", "1", "--budget", "10ms"];
        let output = sim(&scratch, &[&table[..], &["-o", "json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", error(&output));
        let events = json_lines(&out(&output));
        let summary = &events["summary"][0];
        assert_eq!((events["summary"].len(), &summary["end"]), (1, &1.into()));
        let missed = events.get("not found").map_or(0, Vec::len);
        assert_eq!(summary["found"], events["shrunk"].len());
        assert_eq!(summary["bugs"], events["shrunk"].len() + missed);
        for line in &events["shrunk"] {
            assert!(line["bug"].is_string() && line["signature"].is_string(), "{line}");
            assert!(line["faults_before"].is_u64() && line["faults_after"].is_u64(), "{line}");
            assert_eq!(line["hash"].as_str().map(str::len), Some(16));
        }
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
