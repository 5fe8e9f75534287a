//! The bytes of an output, as they go into the chain. They are never read back.

use crate::{
    codec::pack,
    contract::{LogPosition, Output, Write},
};
use bytes::BufMut;
use prost::Message;

/// Numbers of outputs. Append only.
mod tag {
    pub(super) const SEND: u8 = 1;
    pub(super) const WRITE: u8 = 2;
    pub(super) const SAVE_SNAPSHOT: u8 = 3;
    pub(super) const STORE_CHUNK: u8 = 4;
    pub(super) const READ_CHUNK: u8 = 5;
    pub(super) const LOAD_SNAPSHOT: u8 = 6;
    pub(super) const REPLY: u8 = 7;
    pub(super) const CALL: u8 = 8;
    pub(super) const CHANGED: u8 = 9;
    pub(super) const TRACE: u8 = 10;
    pub(super) const STOP: u8 = 11;
    pub(super) const MEMBERS: u8 = 12;
    pub(super) const DROP_STATE: u8 = 13;
}

/// A place as numbers.
pub(super) const fn pair(at: LogPosition) -> (u64, u64) {
    (at.term.0, at.index.0)
}

/// Adds an output's bytes.
pub(super) fn push(into: &mut Vec<u8>, output: &Output) {
    match output {
        Output::Send { to, lane, envelope } => {
            into.put_u8(tag::SEND);
            into.put_u64_le(to.0);
            into.put_u8(*lane as u8);
            push_message(into, &**envelope);
        }
        Output::Write(write) => push_write(into, write),
        Output::SaveSnapshot(snapshot) => {
            into.put_u8(tag::SAVE_SNAPSHOT);
            into.put_slice(&pack(&(pair(snapshot.at), snapshot.state.hash().0)));
        }
        Output::StoreSnapshotChunk { at, number, data, last } => {
            into.put_u8(tag::STORE_CHUNK);
            into.put_slice(&pack(&(pair(*at), number, last)));
            into.put_slice(data);
        }
        Output::ReadSnapshotChunk { peer, at, number } => {
            into.put_u8(tag::READ_CHUNK);
            into.put_slice(&pack(&(peer, pair(*at), number)));
        }
        Output::LoadSnapshot { at } => {
            into.put_u8(tag::LOAD_SNAPSHOT);
            into.put_slice(&pack(&pair(*at)));
        }
        Output::DropState(state) => {
            into.put_u8(tag::DROP_STATE);
            into.put_slice(&pack(&(state.index().0, state.hash().0)));
        }
        Output::Reply { key, reply } => {
            into.put_u8(tag::REPLY);
            into.put_u64_le(key.0);
            push_message(into, &**reply);
        }
        Output::Call { key, address, call } => {
            into.put_u8(tag::CALL);
            into.put_slice(&pack(&(key, address)));
            push_message(into, &**call);
        }
        Output::Changed { index, jobs } => {
            let jobs: Vec<&str> = jobs.iter().map(crate::types::JobId::as_str).collect();
            into.put_u8(tag::CHANGED);
            into.put_slice(&pack(&(index, jobs)));
        }
        Output::Members(members) => {
            let members: Vec<_> = members.iter().map(|(id, it)| (id, &it.peer, &it.client)).collect();
            into.put_u8(tag::MEMBERS);
            into.put_slice(&pack(&members));
        }
        Output::Trace(event) => {
            into.put_u8(tag::TRACE);
            into.put_slice(format!("{event:?}").as_bytes());
        }
        Output::Stop(reason) => {
            into.put_u8(tag::STOP);
            into.put_slice(format!("{reason:?}").as_bytes());
        }
    }
}

fn push_message(into: &mut Vec<u8>, message: &impl Message) {
    message.encode(into).expect("a vector takes everything");
}

fn push_write(into: &mut Vec<u8>, write: &Write) {
    into.put_u8(tag::WRITE);
    let hard_state = write.hard_state.map(|state| (state.term, state.vote, state.commit));
    let voters: Option<Vec<_>> = write.voters.as_ref().map(|voters| voters.iter().collect());
    let head = (write.io, write.start.map(pair), hard_state, voters, write.entries.len() as u64);
    into.put_slice(&pack(&head));
    for entry in &write.entries {
        into.put_u64_le(entry.term.0);
        into.put_u64_le(entry.index.0);
        into.put_u64_le(entry.data.len() as u64);
        into.put_slice(&entry.data);
    }
}
