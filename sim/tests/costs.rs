//! What each kind of load costs, against the committed table. With `QUORATE_GOLDEN=write` the table is made anew.

use quorate_sim::cost::{Cost, SCENARIOS};
use std::fmt::Write;

fn count(step: &mut dyn FnMut()) -> u64 {
    allocation_counter::measure(step).count_total
}

#[test]
fn a_command_costs_what_the_table_says() {
    let mut table = "What one operation costs, and all of a run, without faults.\n".to_owned();
    for scenario in SCENARIOS {
        let (outcome, cost) = scenario.run(count);
        assert_eq!(outcome.violation, None, "{}", scenario.name);
        let _ = writeln!(table, "\n{:<24}{:>10}{:>12}", scenario.name, "all", "each");
        table += &Cost::table(&cost, scenario.operations());
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/costs.txt");
    if std::env::var("QUORATE_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(path, &table).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    println!("{table}");
    assert_eq!(
        golden, table,
        "if that is meant: QUORATE_GOLDEN=write cargo test -p quorate-sim --test costs"
    );
}
