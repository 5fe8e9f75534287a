//! Every input that was ever kept, and some that nobody chose, without libFuzzer.

use quorate_fuzz::{corpus, explore};
use std::fs;

/// Random inputs for each target, and as many that are altered seeds.
const INPUTS: u64 = 2_000;
/// Most files of one corpus, and most bytes of one file.
const FILES: usize = 40;
const FILE_BYTES: usize = 8 * 1024;

fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(corpus::folder(target)).expect("each target has a corpus");
    let read = |file: std::io::Result<fs::DirEntry>| {
        let path = file.expect("a folder can be read").path();
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        (name, fs::read(&path).expect("a seed can be read"))
    };
    let mut files: Vec<_> = files.map(read).collect();
    files.sort();
    files
}

fn try_all(name: &str, target: fn(&[u8])) {
    let try_one = |which: String, bytes: &[u8]| {
        let result = std::panic::catch_unwind(|| target(bytes));
        assert!(result.is_ok(), "{name}: {which} fails: {bytes:?}");
    };
    let files = kept(name);
    assert!(!files.is_empty(), "{name} has no corpus");
    for (file, bytes) in &files {
        try_one(format!("seed {file}"), bytes);
    }
    for number in 0..INPUTS {
        try_one(format!("random input {number}"), &explore::input(number));
        let (file, bytes) = &files[usize::try_from(number).unwrap_or(0) % files.len()];
        try_one(format!("seed {file}, altered by {number}"), &explore::altered(bytes, number));
    }
}

#[test]
fn cluster() {
    try_all("cluster", quorate_fuzz::cluster);
}

#[test]
fn command() {
    try_all("command", quorate_fuzz::command);
}

#[test]
fn peer_message() {
    try_all("peer_message", quorate_fuzz::peer_message);
}

#[test]
fn snapshot() {
    try_all("snapshot", quorate_fuzz::snapshot);
}

#[test]
fn tape() {
    try_all("tape", quorate_fuzz::tape);
}

#[test]
fn wal() {
    try_all("wal", quorate_fuzz::wal);
}

#[test]
fn the_corpus_is_small_and_holds_every_seed_as_it_is_made() {
    assert!(corpus::all() == corpus::all(), "seeds are the same each time");
    for (target, seeds) in corpus::all() {
        let files = kept(target);
        assert!(files.len() <= FILES, "{target}: {} files, at most {FILES} are kept", files.len());
        let large = files.iter().find(|(_, bytes)| bytes.len() > FILE_BYTES);
        assert!(large.is_none(), "{target}: {large:?} is over {FILE_BYTES} bytes");
        // A seed of an older format is refused at its first bytes, and tries nothing.
        let stale = seeds.iter().find(|seed| !files.contains(seed)).map(|(name, _)| name);
        assert!(stale.is_none(), "{target}: {stale:?} is not as it is made: cargo run --example make-corpus");
    }
}
