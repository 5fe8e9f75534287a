//! The checks that other tests end with must notice what they are there for.

use quorate_tests::{Cluster, Options, Writer, wait_until};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);

/// What a check says when it fails.
fn complaint(check: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(check)).expect_err("the check notices nothing");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn a_lost_or_changed_key_is_noticed() {
    let cluster = Cluster::start(Options { masters: 1, ..Options::default() });
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(20, SOON);
    let written = writer.stop();
    written.assert_all_there(&cluster);
    let (key, value) = written.keys.iter().nth(7).expect("there are more");
    cluster.cli().run(&["kv", "put", key, "another"]).ok();
    assert!(complaint(|| written.assert_all_there(&cluster)).contains(key.as_str()));
    cluster.cli().run(&["kv", "put", key, value]).ok();
    written.assert_all_there(&cluster);
    cluster.cli().run(&["kv", "delete", key]).ok();
    assert!(complaint(|| written.assert_all_there(&cluster)).contains("1 of"));
}

#[test]
fn a_task_that_runs_twice_is_noticed() {
    let cluster = Cluster::start(Options { masters: 1, agents: 1, ..Options::default() });
    // Two jobs of one name for the truth: the second one takes itself for the first one's task.
    cluster.submit("j", 1, &[]);
    cluster.truth().wait_started("j", 1, &BTreeMap::new(), SOON);
    cluster.truth().assert_apart();
    cluster.submit_as("impostor", "j");
    wait_until(SOON, "the impostor's lines", || {
        let lines = cluster.truth().lines();
        let begun = lines.iter().filter(|line| line.kind == quorate_tests::Kind::Start).count();
        if begun == 2 { Ok(()) } else { Err(format!("{lines:?}")) }
    });
    assert!(complaint(|| cluster.truth().assert_apart()).contains("twice at once"));
}
