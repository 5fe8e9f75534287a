//! What the runner itself promises, tried as its users call it: with a directory of their own, at a level, rewriting.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output},
};

/// A check, and its name beside those of the scenarios.
pub(crate) type Check = (&'static str, fn(&Directory));

/// All of them.
pub(crate) const CHECKS: [Check; 4] = [
    ("runner/another_directory", another_directory),
    ("runner/what_differs_is_shown", what_differs_is_shown),
    ("runner/level_state", level_state),
    ("runner/rewrite", rewrite),
];

/// A scenario that passes.
const RIGHT: &str = include_str!("data/election/three_voters.txt");
/// A line of it that tells of a message, and one that tells of a state.
const MESSAGE: &str = "  1->2 MsgVoteResp Term:1 Log:0/0\n";
const STATE: &str = "2: StateLeader (Voter) Term:1 Lead:2\n";

/// A directory of one check, which goes with it.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("quorate-scenarios-{}-{}", name.replace('/', "-"), std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().expect("it is below the directory")).expect("a directory");
        fs::write(&path, text).expect("a file");
        path
    }

    /// The runner, of what is here.
    fn run(&self, arguments: &[&str]) -> Ran {
        let own = env::current_exe().expect("the runner's own path");
        let output = Command::new(own).args(arguments).env(super::DIRECTORY, &self.0).output();
        output.expect("the runner starts").into()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What it printed, and its exit code.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    text: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = [output.stdout, output.stderr].concat();
        Self { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }
}

impl Ran {
    fn is(&self, code: i32, says: &[&str]) {
        let said = says.iter().all(|it| self.text.contains(it));
        assert!(self.code == Some(code) && said, "not exit code {code} and {says:?}: {self:?}");
    }
}

fn another_directory(directory: &Directory) {
    directory.run(&[]).is(2, &["there is no scenario"]);
    directory.write("deeper/still/right.txt", RIGHT);
    directory.write("without_extension", RIGHT);
    directory.write("notes.md", "nothing to run");
    directory
        .run(&[])
        .is(0, &["deeper/still/right ... ok", "without_extension ... ok", "2 passed; 0 failed"]);
    directory.run(&["still"]).is(0, &["1 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out"]);
    directory.run(&["--list"]).is(0, &["deeper/still/right: test\nwithout_extension: test\n"]);
    let file = directory.write("malformed.txt", "campaign 1 two=(3\n----\n");
    directory.run(&["malformed"]).is(1, &[&format!("{}:1: ", file.display()), "1 failed"]);
    let missing = Directory(directory.0.join("missing"));
    missing.run(&[]).is(2, &["must name a directory"]);
    directory.run(&["--lvl"]).is(2, &["there is no argument `--lvl`", "--level LEVEL"]);
}

fn what_differs_is_shown(directory: &Directory) {
    let wrong = RIGHT.replacen(STATE, "2: StateLeader (Voter) Term:2 Lead:2\n", 1);
    let file = directory.write("wrong.txt", &wrong);
    let line =
        1 + wrong.lines().position(|line| line == "1: StateFollower (Voter) Term:1 Lead:2").expect("there");
    directory.run(&[]).is(
        1,
        &[
            "wrong ... FAILED",
            &format!("{}:{line}: `raft-state`", file.display()),
            "  - 2: StateLeader (Voter) Term:2 Lead:2\n  + 2: StateLeader (Voter) Term:1 Lead:2\n",
            "0 passed; 1 failed",
        ],
    );
}

fn level_state(directory: &Directory) {
    let message = RIGHT.replacen(MESSAGE, "  1->2 MsgVoteResp Term:7 Log:0/0\n", 1);
    directory.write("message.txt", &message);
    directory.write("state.txt", &RIGHT.replacen(STATE, "2: StateCandidate (Voter) Term:1 Lead:2\n", 1));
    directory.run(&[]).is(1, &["0 passed; 2 failed"]);
    directory.run(&["--level", "state"]).is(1, &["message ... ok", "state ... FAILED", "1 passed; 1 failed"]);
    directory.run(&["--level=some"]).is(2, &["it must be `exact` or `state`"]);
}

fn rewrite(directory: &Directory) {
    let wrong = RIGHT.replacen(MESSAGE, "", 1).replacen(STATE, "nobody leads\n", 1);
    let file = directory.write("wrong.txt", &wrong);
    let held = || fs::read_to_string(&file).expect("the file");
    directory.run(&["--rewrite", "--level", "state"]).is(2, &["cannot be limited"]);
    assert_eq!(held(), wrong, "what is refused changes nothing");
    directory.run(&["--rewrite"]).is(0, &["1 passed"]);
    assert_eq!(held(), RIGHT);
}
