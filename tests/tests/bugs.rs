//! Planted bugs and fault points are for the simulator alone: no shipped program holds one, and a run without a bug is what
//! it would be.

use quorate_tests::{binary, build, simulator};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What a program says of itself in which bugs can be planted.
const CONFESSION: &str = "planted bugs are built in:";
/// The same of fault points.
const POINTS_CONFESSION: &str = "fault points are built in:";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace")
}

/// The names of all bugs, or of all fault points, as the core declares them.
fn keys(file: &str, begin: &str, least: usize) -> Vec<String> {
    let text = fs::read_to_string(root().join(file)).expect("the core declares them");
    let declared = text.split_once(begin).expect("in one place").1;
    let declared = declared.split_once("\n}\n").expect("which ends").0;
    // The macro's lines may be broken by the formatter: a name comes first behind each equals sign.
    let parts = declared.split('=').skip(1).filter_map(|part| part.split('"').nth(1));
    let keys: Vec<String> = parts.map(str::to_owned).collect();
    assert!(keys.len() >= least, "{keys:?}");
    keys
}

/// Of these texts, those that a program holds.
fn held<'a>(program: &Path, texts: &[&'a str]) -> Vec<&'a str> {
    let bytes = fs::read(program).expect("a program can be read");
    // Programs are large, and texts are many: mostly, the first two bytes fit none.
    let start = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    let mut starts = vec![false; 1 << 16];
    texts.iter().for_each(|text| starts[start(text.as_bytes())] = true);
    let mut found: BTreeSet<&str> = BTreeSet::new();
    for at in (0..bytes.len() - 1).filter(|&at| starts[start(&bytes[at..])]) {
        found.extend(texts.iter().filter(|text| bytes[at..].starts_with(text.as_bytes())).copied());
    }
    texts.iter().filter(|text| found.contains(**text)).copied().collect()
}

/// The simulator without bugs that can be planted, among all packages and beside a test, as the stage of unit tests builds it.
fn simulator_without() -> PathBuf {
    build(&["--workspace", "--bin", "quorate-sim", "--test", "command"])
}

#[test]
fn the_shipped_program_holds_no_bug_and_no_fault_point_and_one_that_does_is_noticed() {
    let mut keys = keys("core/src/bug.rs", "\nbugs! {\n", 50);
    keys.extend(self::keys("core/src/point.rs", "\npoints! {\n", 12));
    let mut texts: Vec<&str> = keys.iter().map(String::as_str).collect();
    texts.extend([CONFESSION, POINTS_CONFESSION]);
    assert_eq!(held(binary(), &texts), Vec::<&str>::new(), "{}", binary().display());
    assert_eq!(held(simulator(), &texts), texts, "the search does not find what is there");
}

#[test]
fn runs_without_a_bug_are_the_same_whether_one_could_be_planted_or_not() {
    let hashes = |program: &Path| -> Vec<String> {
        let hash = |seed: u64| {
            let words = ["hash", &seed.to_string(), "--duration", "3..6"];
            let output = Command::new(program).args(words).output().expect("the simulator runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        (0..8).map(hash).collect()
    };
    let (without, with) = (hashes(&simulator_without()), hashes(simulator()));
    assert!(without[0].trim().len() == 16 && without[0] != without[1], "{without:?}");
    assert_eq!(with, without);
}
