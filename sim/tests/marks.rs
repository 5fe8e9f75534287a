//! `cargo sim marks`: what it counts, how it prints, and how it ends.

use quorate_sim::{
    plan::{Limits, generate},
    run::run_plan,
};
use std::process::{Command, Output};

fn marks(args: &[&str]) -> Output {
    let few = ["marks", "--seeds", "0..6", "--jobs", "2", "--duration", "3..5"];
    Command::new(env!("CARGO_BIN_EXE_quorate-sim")).args(few).args(args).output().expect("the simulator runs")
}

#[test]
fn the_table_lists_what_no_seed_reached_first_and_ends_with_1() {
    let output = marks(&["-o", "json", "--swarm"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let table: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = table["marks"].as_array().unwrap();
    let seeds: Vec<u64> = rows.iter().map(|row| row["seeds"].as_u64().unwrap()).collect();
    assert!(seeds.is_sorted() && seeds[0] == 0 && seeds.iter().all(|seeds| *seeds <= 6), "{seeds:?}");
    let reached = seeds.iter().filter(|seeds| **seeds > 0).count();
    assert_eq!((table["seeds"].as_u64(), table["reached"].as_u64()), (Some(6), Some(reached as u64)));
    assert_eq!(table["of"].as_u64(), Some(rows.len() as u64));
    assert!(reached > 50 && rows.len() >= 150, "{reached} of {}", rows.len());
    assert!(table["swarm"].is_array());
    // Each names a seed that reaches it.
    let limits = Limits { duration_min_ms: 3_000, duration_max_ms: 5_000, faults: true };
    let rare = rows.iter().find(|row| row["seeds"] == 1).unwrap();
    let again = run_plan(&generate(rare["seed"].as_u64().unwrap(), &limits), true, None);
    assert!(again.marks.contains_key(rare["mark"].as_str().unwrap()), "{rare}");
}

#[test]
fn people_and_pages_get_the_same_table() {
    let (text, page) = (marks(&[]), marks(&["-o", "markdown"]));
    let (text, page) = (String::from_utf8(text.stdout).unwrap(), String::from_utf8(page.stdout).unwrap());
    assert!(text.contains("marks were reached by 6 seeds") && page.contains("marks were reached by 6 seeds"));
    let missed = text.lines().skip_while(|line| *line != "no seed reached:").nth(1).unwrap().trim();
    assert!(page.contains(&format!("| {missed} | 0 | 0 | 0.00 % |")), "{missed}");
}
