//! The users' key-value space: what can be done to it.

use super::{Item, Store};
use crate::{
    bug::{self, Bug},
    command::Expected,
    mark::{self, Mark},
    state::Outcome,
};
use bytes::Bytes;
use pb::client_reply::Body;
use quorate_proto::v1 as pb;

/// Keys that begin with this are Quorate's own records: everyone reads them, nobody else writes them.
pub(crate) const FRAME_PREFIX: &[u8] = b"/_frame/";

/// Sets a key.
pub(crate) fn put(store: &mut Store, key: Bytes, value: Bytes) -> Outcome {
    store.put(key, value);
    Ok(Body::Put(pb::PutReply { revision: store.revision().0 }))
}

/// Takes a key out.
pub(crate) fn delete(store: &mut Store, key: &Bytes) -> Outcome {
    let deleted =
        if bug::planted(Bug::StateDeleteKeeps) { store.get(key).is_some() } else { store.delete(key) };
    mark::hit_if(!deleted, Mark::DeleteNothing);
    Ok(Body::Delete(pb::DeleteReply { revision: store.revision().0, deleted }))
}

/// Sets a key if what is there is what was expected.
pub(crate) fn compare_and_set(store: &mut Store, key: &Bytes, expected: &Expected, value: Bytes) -> Outcome {
    let item = store.get(key);
    let succeeded = match expected {
        Expected::Absent => item.is_none(),
        Expected::Value(value) => item.is_some_and(|item| item.value == *value),
        Expected::ModRevision(revision) => item.is_some_and(|item| item.mod_revision.0 == *revision),
    };
    mark::hit_if(!succeeded, Mark::CompareFailed);
    mark::hit_if(succeeded && matches!(expected, Expected::ModRevision(_)), Mark::CompareRevision);
    if succeeded || bug::planted(Bug::StateCasAlways) {
        store.put(key.clone(), value);
    }
    let current = store.get(key).map(|item| key_value(key.clone(), item, false));
    Ok(Body::CompareAndSet(pb::CompareAndSetReply { revision: store.revision().0, succeeded, current }))
}

/// An item as clients see it.
pub(crate) fn key_value(key: Bytes, item: &Item, keys_only: bool) -> pb::KeyValue {
    pb::KeyValue {
        key,
        value: if keys_only { Bytes::new() } else { item.value.clone() },
        create_revision: item.create_revision.0,
        mod_revision: item.mod_revision.0,
        version: item.version,
    }
}
