//! What may depend on what, and what the core must not touch. Read from `cargo tree` and from the sources.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A file longer than this is about more than one thing.
const LINES: usize = 600;
/// Folders with sources of ours.
const FOLDERS: [&str; 7] = ["core", "proto", "net", "sim", "bin", "tests", "fuzz"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace")
}

/// The names of all crates that a package is built from, as it is shipped.
fn crates(package: &str) -> BTreeSet<String> {
    let words = ["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let output =
        Command::new(env!("CARGO")).args(words).current_dir(root()).output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let names: BTreeSet<String> =
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(names.contains(package), "{names:?}");
    names
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(items) = fs::read_dir(folder) else { return found };
    for item in items {
        let path = item.expect("a folder can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with("target") && !name.starts_with('.') {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs" || end == "proto") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The text without comments that fill a line: those may name what the code must not.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source can be read");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_core_depends_on_no_runtime() {
    let crates = crates("quorate-core");
    for name in &crates {
        // The persistent maps bring `rand_core` and a generator that is seeded by hand; `rand` would seed by itself.
        let runtimes =
            ["tokio", "tonic", "tracing", "madsim", "hyper", "async", "mio", "rustix", "getrandom"];
        let runtime = name.split(['-', '_']).next().is_some_and(|word| runtimes.contains(&word));
        assert!(!runtime && name != "rand", "quorate-core depends on {name}");
    }
}

#[test]
fn the_binary_links_no_simulator() {
    for name in crates("quorate") {
        assert!(!name.starts_with("madsim") && name != "quorate-sim", "quorate depends on {name}");
    }
}

#[test]
fn arrows_go_one_way() {
    let allowed = [
        ("quorate-proto", &[][..]),
        ("quorate-core", &["quorate-proto"]),
        ("quorate-net", &["quorate-core", "quorate-proto"]),
        ("quorate-sim", &["quorate-net", "quorate-core", "quorate-proto"]),
        ("quorate", &["quorate-net", "quorate-core", "quorate-proto"]),
    ];
    for (package, allowed) in allowed {
        let ours = crates(package).into_iter().filter(|name| name.starts_with("quorate") && name != package);
        let wrong: Vec<String> = ours.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{package} must not depend on {wrong:?}");
    }
}

#[test]
fn the_core_touches_no_clock_thread_file_or_hashed_map() {
    let mut files = sources(&root().join("core/src"));
    files.retain(|path| !path.iter().any(|part| part == "tests" || part == "tests.rs"));
    assert!(files.len() > 10, "{files:?}");
    let forbidden = [
        "Instant",
        "SystemTime",
        "std::thread",
        "std::fs",
        "std::net",
        "std::env",
        "std::io",
        "HashMap",
        "HashSet",
        "RandomState",
        "thread_local",
        "println!",
        "f32",
        "f64",
    ];
    for path in files {
        let code = code(&path);
        // Tests in the same file are at its end.
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        // Marks and planted bugs are counted and chosen for one thread, behind features that no shipped build has.
        let of_simulators = ["core/src/mark.rs", "core/src/bug.rs"].iter().any(|file| path.ends_with(file));
        for word in forbidden.into_iter().filter(|word| !(of_simulators && *word == "thread_local")) {
            let name = |letter: char| letter.is_alphanumeric() || letter == '_';
            let alone = |at: usize| {
                let (before, after) = (&code[..at], &code[at + word.len()..]);
                !before.ends_with(name) && !after.starts_with(name)
            };
            let found = code.match_indices(word).any(|(at, _)| alone(at));
            assert!(!found, "{} names {word}", path.display());
        }
    }
}

#[test]
fn no_file_is_too_long() {
    for folder in FOLDERS {
        for path in sources(&root().join(folder)) {
            let lines = fs::read_to_string(&path).expect("a source can be read").lines().count();
            assert!(lines <= LINES, "{} has {lines} lines, at most {LINES} are allowed", path.display());
        }
    }
}

#[test]
fn no_test_is_ignored() {
    let mark = ["#[", "ignore"].concat();
    for folder in FOLDERS {
        for path in sources(&root().join(folder)) {
            assert!(!code(&path).contains(&mark), "{} ignores a test", path.display());
        }
    }
}

/// What stands between backticks on a page, outside of blocks.
fn quoted(page: &str) -> Vec<&str> {
    let lines = page.lines().filter(|line| line.starts_with('|'));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_test_that_the_page_of_regressions_names_exists() {
    let page = fs::read_to_string(root().join("docs/regressions.md")).expect("the page can be read");
    let all: Vec<String> =
        FOLDERS.iter().flat_map(|folder| sources(&root().join(folder))).map(|path| code(&path)).collect();
    let (mut files, mut tests) = (0, 0);
    for name in quoted(&page) {
        if name.ends_with(".txt") {
            assert!(root().join(name).is_file(), "docs/regressions.md names {name}, which is no file");
            files += 1;
        } else if name.contains('_')
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        {
            let function = format!("fn {name}(");
            let tested = |code: &String| {
                code.split_once(&function)
                    .is_some_and(|(before, _)| before.lines().rev().take(3).any(|line| line.contains("test")))
            };
            assert!(all.iter().any(tested), "docs/regressions.md names {name}, which is no test");
            tests += 1;
        }
    }
    assert!(files > 8 && tests > 40, "{files} files and {tests} tests: the page is read wrongly");
    let stories =
        fs::read_dir(root().join("core/tests/scenarios/data/peers")).expect("the stories are there");
    for story in stories {
        let name = story.expect("a folder can be read").file_name().to_string_lossy().into_owned();
        assert!(page.contains(&name), "docs/regressions.md does not name {name}");
    }
}
