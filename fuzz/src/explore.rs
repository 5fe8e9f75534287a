//! Random inputs without libFuzzer: slower to find its way, but it needs nothing but stable Rust.

use quorate_core::random::Draws;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Lengths of random inputs, in bytes: most are short.
const LENGTHS: [u64; 4] = [16, 64, 256, 700];

/// The input of one number: the same for ever.
#[must_use]
pub fn input(number: u64) -> Vec<u8> {
    let mut draws = Draws::new(number, 0xF022);
    let most = LENGTHS[usize::try_from(draws.range(0, 3)).unwrap_or(0)];
    let length = draws.range(1, most);
    (0..length).map(|_| draws.any().to_le_bytes()[0]).collect()
}

/// An input made of one of the seeds: bytes turned over, taken out, repeated.
#[must_use]
pub fn altered(seed: &[u8], number: u64) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    let mut draws = Draws::new(number, 0x5EED);
    for _ in 0..draws.range(1, 6) {
        let length = bytes.len() as u64;
        let at = usize::try_from(draws.range(0, length.saturating_sub(1))).unwrap_or(0);
        let until = (at + usize::try_from(draws.range(1, 16)).unwrap_or(1)).min(bytes.len());
        match draws.range(0, 4) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << draws.range(0, 7),
            1 if !bytes.is_empty() => bytes[at] = draws.any().to_le_bytes()[0],
            2 => drop(bytes.drain(at.min(until)..until)),
            3 => {
                let copy = bytes[at.min(until)..until].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => bytes.insert(at, draws.any().to_le_bytes()[0]),
        }
    }
    bytes
}

/// `NAME FILE...` replays files. `NAME [SECONDS [FIRST]]` tries random inputs, from that number on, and says how many
/// there were each ten seconds; the number of an input that fails stands in the last line before its panic.
pub fn main(target: fn(&[u8])) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let files: Vec<_> = arguments.iter().filter(|name| Path::new(name).is_file()).collect();
    for file in &files {
        println!("{file}");
        target(&fs::read(file).unwrap_or_default());
    }
    if !files.is_empty() {
        return;
    }
    let number = |place: usize, otherwise| {
        arguments.get(place).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    random(target, Duration::from_secs(number(0, 10)), number(1, 0));
}

fn random(target: fn(&[u8]), duration: Duration, first: u64) {
    let begin = Instant::now();
    let mut told = begin;
    let mut tried = 0;
    while begin.elapsed() < duration {
        let bytes = input(first + tried);
        let result = std::panic::catch_unwind(|| target(&bytes));
        if let Err(panic) = result {
            println!("input {} fails: {bytes:?}", first + tried);
            std::panic::resume_unwind(panic);
        }
        tried += 1;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            println!("{tried} inputs in {:.0?}", begin.elapsed());
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{tried} inputs in {seconds:.1} s: {:.0} a second",
        f64::from(u32::try_from(tried).unwrap_or(u32::MAX)) / seconds
    );
}
