//! The bytes of log entries, and what their commands do to a state.

use crate::choices::Choices;
use bytes::Bytes;
use quorate_core::{
    codec,
    command::Proposal,
    state::{ApplyContext, State},
};

/// The first byte of an input that holds several entries, each behind its length. No entry begins with it.
pub(crate) const MANY: u8 = 0xFF;
/// Most entries of one input.
const ENTRIES: usize = 64;

pub(crate) fn run(bytes: &[u8]) {
    let mut state = State::default();
    let mut choices = Choices::new(bytes);
    if bytes.first() != Some(&MANY) {
        return entry(&mut state, bytes);
    }
    choices.byte();
    for _ in 0..ENTRIES {
        if choices.is_empty() {
            break;
        }
        entry(&mut state, choices.block());
    }
}

fn entry(state: &mut State, bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let Ok(proposal) = codec::decode(&bytes) else { return };
    let again = codec::decode(&codec::encode(&proposal));
    assert!(again.as_ref() == Ok(&proposal), "{proposal:?} is {again:?} when it is read again");
    apply(state, &proposal);
}

fn apply(state: &mut State, proposal: &Proposal) {
    let mut twin = state.clone();
    let index = state.index().next();
    let applied = state.apply(&ApplyContext { index }, proposal.clone());
    twin.apply(&ApplyContext { index }, proposal.clone());
    assert!(state.hash() == twin.hash(), "{proposal:?} did two things to one state");
    let checked = state.check_touched(&applied.touched).and_then(|()| state.check());
    assert!(checked.is_ok(), "after {proposal:?}: {checked:?}");
}
