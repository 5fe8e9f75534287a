//! `cargo sim tape`: runs the tape of a node on the core, and compares.

use super::{Ended, report::Format, shrink::BugArgs};
use crate::{
    run::keep_panics,
    tapes::{CheckError, Checked, check},
    world::describe,
};
use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use quorate_core::{
    contract::{Input, Output},
    raft::Role,
    tape::{Difference, Step, TapeError},
};
use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

/// Most bytes of one line that shows an input or an output.
const LINE_BYTES: usize = 400;

#[derive(Args)]
pub(super) struct TapeArgs {
    /// The tape: of `replay --tape`, or of `quorate server --record-tape`.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the inputs as well.
    #[arg(long)]
    print: bool,
    /// Print inputs from this number on.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "print")]
    from: u64,
    /// Print text, or one line of JSON about what came of it, and one for each input that is printed.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
    // The tape of a healthy run must differ under a bug: a test of the comparison.
    #[command(flatten)]
    bug: BugArgs,
}

pub(super) fn tape(args: &TapeArgs) -> anyhow::Result<Ended> {
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    args.bug.plant()?;
    keep_panics();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut last = None;
    let replayed = catch_unwind(AssertUnwindSafe(|| {
        check(Bytes::from(bytes), |step| {
            last = Some((step.number, step.offset, step.input.clone()));
            if args.print && step.number >= args.from {
                // Nobody reads a pipe that is closed.
                let _closed = match args.output {
                    Format::Text => writeln!(out, "{}", line(step)),
                    Format::Json => writeln!(out, "{}", input(step)),
                };
            }
        })
    }));
    let _closed = out.flush();
    drop(out);
    match replayed {
        Ok(Ok(checked)) => say_same(args, &checked),
        Ok(Err(CheckError::Different(difference))) => say_different(args, &difference),
        Ok(Err(CheckError::Tape(error))) => say_unreadable(args, error),
        Err(_) => Ok(say_panic(args, last)),
    }
}

fn say_same(args: &TapeArgs, checked: &Checked) -> anyhow::Result<Ended> {
    let node = checked.replay.node();
    let raft = node.raft();
    let role = match raft.role() {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    };
    let span = checked.span as f64 / 1e9;
    if args.output == Format::Json {
        println!(
            "{}",
            serde_json::json!({
                "event": "tape", "same": true, "version": checked.version, "inputs": checked.steps, "seconds": span,
                "chain": format!("{:016x}", checked.chain), "torn_bytes": checked.torn_bytes,
                "unfinished": checked.unfinished, "role": role, "term": raft.term().0,
                "commit": raft.commit().0, "applied": node.state().index().0,
                "state_hash": format!("{:032x}", node.state().hash().0),
            })
        );
        return Ok(Ended::Clean);
    }
    println!("same: {} inputs over {span:.3} s, chain {:016x}", checked.steps, checked.chain);
    println!(
        "at the end: {role} in term {}, committed {}, applied {}, state {:032x}",
        raft.term(),
        raft.commit(),
        node.state().index(),
        node.state().hash().0
    );
    if checked.torn_bytes > 0 {
        println!("{} bytes at the end are of a record that was not written whole", checked.torn_bytes);
    }
    if checked.unfinished {
        println!("the recorded node did not finish its last input: there was nothing to compare it with");
    }
    say_version(&checked.version);
    Ok(Ended::Clean)
}

fn say_version(version: &str) {
    let own = env!("CARGO_PKG_VERSION");
    if version != own {
        eprintln!("note: version {version} recorded the tape, and this is version {own}: they may differ");
    }
}

fn say_different(args: &TapeArgs, difference: &Difference) -> anyhow::Result<Ended> {
    let Difference { step, offset, now, input, expected, found, outputs } = difference;
    let input = input.as_ref().map_or_else(|| "the start".to_owned(), describe::input);
    let outputs: Vec<String> = outputs.iter().map(|output| short(&describe_output(output))).collect();
    if args.output == Format::Json {
        println!(
            "{}",
            serde_json::json!({
                "event": "tape", "same": false, "input": step, "offset": offset, "seconds": now.time.0 as f64 / 1e9,
                "what": input, "expected": format!("{expected:016x}"), "found": format!("{found:016x}"),
                "outputs": outputs,
            })
        );
        return Ok(Ended::Violation);
    }
    println!("DIFFERENT after input {step}, at {:?}, byte {offset}", now.time);
    println!("  input     {}", short(&input));
    println!("  expected  {expected:016x}");
    println!("  found     {found:016x}");
    println!("  outputs found: {}", outputs.len());
    for output in &outputs {
        println!("    {output}");
    }
    Ok(Ended::Violation)
}

fn say_unreadable(args: &TapeArgs, error: TapeError) -> anyhow::Result<Ended> {
    Err(error).with_context(|| args.file.display().to_string())
}

fn say_panic(args: &TapeArgs, last: Option<(u64, u64, Input)>) -> Ended {
    let (step, offset, what) = last.map_or((0, 0, "the start".to_owned()), |(step, offset, input)| {
        (step, offset, describe::input(&input))
    });
    if args.output == Format::Json {
        let value = serde_json::json!({
            "event": "tape", "same": false, "panic": true, "input": step, "offset": offset, "what": what,
        });
        println!("{value}");
    } else {
        println!("PANIC in input {step}, byte {offset}\n  input     {}", short(&what));
    }
    Ended::Crash
}

/// One line of JSON for a step.
fn input(step: &Step) -> serde_json::Value {
    serde_json::json!({
        "event": "input", "input": step.number, "offset": step.offset,
        "seconds": step.now.time.0 as f64 / 1e9, "what": describe::input(&step.input),
        "fed": step.fed,
        "chain": step.chain.map(|chain| format!("{chain:016x}")),
    })
}

/// One line for a step.
fn line(step: &Step) -> String {
    let chain = step.chain.map_or_else(|| "unfinished".to_owned(), |chain| format!("{chain:016x}"));
    let time = step.now.time.0 as f64 / 1e9;
    format!("{:>8} {time:>14.6}  {chain:>16}  {}", step.number, short(&describe::input(&step.input)))
}

fn describe_output(output: &Output) -> String {
    match output {
        Output::Send { to, envelope, .. } => format!("send -> {to} {}", describe::envelope(envelope)),
        Output::Write(write) => format!("write {}", describe::write(write)),
        Output::SaveSnapshot(snapshot) => format!("save snapshot {:?}", snapshot.at),
        Output::DropState(state) => format!("drop state {}", state.index()),
        Output::Reply { key, reply } => format!("reply {key} {}", describe::reply(reply)),
        Output::Call { key, address, call } => format!("call {key} {address} {}", describe::call(call)),
        other => format!("{other:?}"),
    }
}

fn short(text: &str) -> String {
    let end = text.char_indices().map(|(at, _)| at).find(|&at| at >= LINE_BYTES);
    end.map_or_else(|| text.to_owned(), |end| format!("{}...", &text[..end]))
}
