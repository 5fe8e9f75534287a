//! Scenarios: files that drive the core's Raft by commands, and say what must come of them.
//!
//! `cargo test -p quorate-core --test scenarios` runs those of the project; README.md, beside this file, says the rest.

mod arguments;
mod difference;
mod disk;
mod entry;
mod env;
mod grammar;
mod node;
mod pure;
mod runner;
mod text;

use arguments::{Arguments, Compared};
use env::Env;
use grammar::{Directive, Malformed};
use pure::Pure;
use runner::{CHECKS, Check, Directory};
use std::{
    ffi::OsStr,
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Where scenarios are, unless they are looked for elsewhere.
const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios/data");
/// The environment variable that names another directory.
const DIRECTORY: &str = "QUORATE_SCENARIOS";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("scenarios: {message}");
            ExitCode::from(2)
        }
    }
}

/// False: some scenario failed.
fn run() -> Result<bool, String> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let elsewhere = std::env::var_os(DIRECTORY).map(PathBuf::from);
    // What the runner promises is tried with the project's own.
    let checks: &[Check] = if elsewhere.is_none() { &CHECKS } else { &[] };
    let root = elsewhere.unwrap_or_else(|| PathBuf::from(OWN));
    let mut files = Vec::new();
    find(&root, &mut files)
        .map_err(|error| format!("{}: {error}: {DIRECTORY} must name a directory", root.display()))?;
    files.sort();
    if files.is_empty() {
        return Err(format!(
            "{}: there is no scenario: files are `.txt`, or have no extension",
            root.display()
        ));
    }
    let all = tests(&root, &files, checks, &arguments);
    let wanted: Vec<_> = all.iter().filter(|test| arguments.wants(&test.name)).collect();
    if arguments.lists {
        wanted.iter().for_each(|test| println!("{}: test", test.name));
        return Ok(true);
    }
    if !arguments.quiet {
        println!("\nrunning {} scenarios", wanted.len());
    }
    // A core that panics is told of with its scenario.
    std::panic::set_hook(Box::new(|_| {}));
    let mut failed = Vec::new();
    for Test { name, run } in &wanted {
        let result = catch_unwind(AssertUnwindSafe(run));
        let result = result.unwrap_or_else(|cause| Err(format!("{name}: panicked: {}\n", said(&*cause))));
        if !arguments.quiet || result.is_err() {
            println!("scenario {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        }
        failed.extend(result.err());
    }
    failed.iter().for_each(|failure| println!("\n{failure}"));
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out\n",
        wanted.len() - failed.len(),
        failed.len(),
        all.len() - wanted.len()
    );
    Ok(failed.is_empty())
}

/// One scenario, or one check of the runner.
struct Test<'a> {
    name: String,
    run: Box<dyn Fn() -> Result<(), String> + 'a>,
}

/// Everything that there is to run.
fn tests<'a>(
    root: &Path,
    files: &'a [PathBuf],
    checks: &'a [Check],
    arguments: &'a Arguments,
) -> Vec<Test<'a>> {
    let scenarios = files.iter().map(|path| {
        let name = path.strip_prefix(root).unwrap_or(path).with_extension("").display().to_string();
        Test { name, run: Box::new(|| scenario(path, arguments)) }
    });
    let checks = checks.iter().map(|(name, check)| {
        let run = || {
            check(&Directory::new(name));
            Ok(())
        };
        Test { name: (*name).to_owned(), run: Box::new(run) }
    });
    scenarios.chain(checks).collect()
}

/// What a panic said.
fn said(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}

/// All scenario files below a directory.
fn find(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_none_or(|extension| extension == OsStr::new("txt")) {
            files.push(path);
        }
    }
    Ok(())
}

/// Runs one file.
///
/// # Errors
/// Everything that differs, or the first line that is wrong itself.
fn scenario(path: &Path, arguments: &Arguments) -> Result<(), String> {
    let at = |malformed: Malformed| format!("{}:{}: {}\n", path.display(), malformed.line, malformed.message);
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}\n", path.display()))?;
    let directives = grammar::parse(&text).map_err(at)?;
    let (mut env, mut pure) = (Env::default(), Pure::default());
    let (mut outputs, mut differences) = (Vec::new(), String::new());
    for directive in &directives {
        let wrong = |message| Malformed { line: directive.line, message };
        let quiet = env.is_quiet();
        let output = if pure::knows(&directive.command.name) {
            pure.run(&directive.command, &directive.input).map_err(wrong).map_err(at)?
        } else {
            env.run(&directive.command, &directive.input).map_err(wrong).map_err(at)?
        };
        let compared =
            !arguments.rewrites && compares(directive, quiet || env.is_quiet(), arguments.compared);
        if compared && let Some(text) = difference::between(&directive.expected, &output, arguments.compared)
        {
            let command = &directive.command.name;
            differences += &format!(
                "{}:{}: `{command}` (- expected, + came)\n{text}",
                path.display(),
                directive.expected_line
            );
        }
        outputs.push(output);
    }
    if arguments.rewrites {
        let new = grammar::rewritten(&text, &directives, &outputs);
        if new != text {
            fs::write(path, new).map_err(|error| format!("{}: {error}\n", path.display()))?;
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

/// Whether a directive's output is compared.
fn compares(directive: &Directive, quiet: bool, compared: Compared) -> bool {
    let inner = directive.input.iter().filter_map(|line| line.split_whitespace().next());
    let tells = |name: &str| matches!(name, "raft-state" | "raft-log" | "status" | "compact");
    let tells_nothing = |name: &str| matches!(name, "log-level");
    match compared {
        Compared::Exactly => true,
        Compared::State if pure::knows(&directive.command.name) => true,
        Compared::State => {
            let names: Vec<&str> = std::iter::once(directive.command.name.as_str()).chain(inner).collect();
            !quiet
                && names.iter().any(|name| tells(name))
                && names.iter().all(|name| tells(name) || tells_nothing(name))
        }
    }
}
