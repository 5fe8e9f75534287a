//! `quorate bench`: what it says is what was asked, and it leaves nothing behind.

use quorate_tests::{Cli, Cluster, Directory, Options, Serial};
use serde_json::Value;
use std::fs;

const CLIENTS: u64 = 8;

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or_else(|| panic!("{name} is missing: {report:#}"))
}

fn bench(cli: &Cli, kind: &str, count: u64, more: &[&str]) -> Value {
    let (count_text, clients) = (count.to_string(), CLIENTS.to_string());
    let mut words = vec!["bench", kind, "--count", &count_text, "--clients", &clients];
    words.extend(["--connections", "2", "--warm-up", "50ms"]);
    words.extend(more);
    let report = cli.json(&words);
    let answers = number(&report, "answers") as u64;
    // What was asked while it warmed up may be answered later.
    assert!((count..=count + CLIENTS).contains(&answers), "{report:#}");
    assert_eq!(report["errors"], Value::Object(serde_json::Map::default()), "{report:#}");
    let times = ["p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"].map(|name| number(&report, name));
    assert!(times.is_sorted() && times[0] > 0.0, "{report:#}");
    report
}

#[test]
fn the_masters_say_what_they_did_and_nothing_is_left() {
    let cluster = Cluster::start(Options::default());
    let cli = cluster.cli();
    let put = bench(&cli, "put", 400, &["--key-space", "20", "--value-size", "100"]);
    let masters = put["masters"].as_array().expect("all were asked");
    assert_eq!(masters.len(), cluster.ids().len(), "{put:#}");
    for master in masters {
        let entries = number(master, "entries_per_sync") * number(master, "syncs_per_second");
        assert!(entries > 0.0 && number(master, "bytes_per_second") > 100.0 * entries, "{put:#}");
        assert!(number(master, "cpu_us_per_answer") > 0.0, "{put:#}");
    }
    bench(&cli, "get", 400, &["--key-space", "20"]);
    bench(&cli, "submit", 50, &[]);
    assert!(cluster.keys("bench/").is_empty(), "keys are left");
    let jobs = cli.json(&["job", "list"]);
    assert!(jobs["jobs"].as_array().is_some_and(Vec::is_empty), "{jobs:#}");
}

#[test]
fn a_leader_that_goes_is_missed_for_a_while_and_its_cluster_leaves_nothing() {
    let _serial = Serial::take();
    let directory = Directory::new();
    let cli = Cli::alone().with("TMPDIR", &directory.path().to_string_lossy());
    for how in ["kill", "freeze"] {
        let report = cli.json(&["bench", "failover", "--rounds", "1", "--how", how]);
        let pauses = report["pauses_ms"].as_array().expect("it names all of them");
        assert_eq!((pauses.len(), report["how"].as_str()), (1, Some(how)), "{report:#}");
        let worst = number(&report, "worst_ms");
        assert!(worst > 0.0 && worst < 10_000.0, "{report:#}");
    }
    let left: Vec<_> = fs::read_dir(directory.path()).expect("it can be read").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
