//! The log and the snapshots on a [`Disk`](crate::storage::Disk), as the driver's threads use them.

use crate::{
    driver::{LoadError, LogWriter, SnapshotFiles},
    storage::{SnapshotStore, Storage, StorageError},
};
use bytes::Bytes;
use quorate_core::{
    bug::{self, Bug},
    contract::{LogPosition, Snapshot, Write},
    state::State,
};
use std::future::{Ready, ready};

fn text(error: &StorageError) -> String {
    error.to_string()
}

impl LogWriter for Storage {
    fn write(&mut self, batch: &[Write]) -> impl Future<Output = Result<(), String>> + Send {
        ready(Self::write(self, batch).map_err(|error| text(&error)))
    }
}

impl SnapshotFiles for SnapshotStore {
    fn are_damaged(&self) -> bool {
        !self.damaged().is_empty()
    }

    fn save(
        &mut self,
        snapshot: &Snapshot,
        chunk_bytes: usize,
    ) -> impl Future<Output = Result<bool, String>> + Send {
        ready(match Self::save_in(self, snapshot, chunk_bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, at = ?snapshot.at, "there is no room for a snapshot");
                Ok(bug::planted(Bug::NetFullSaved))
            }
            Err(error) => Err(text(&error)),
        })
    }

    fn store_chunk(
        &mut self,
        at: LogPosition,
        number: u64,
        data: Bytes,
        last: bool,
    ) -> impl Future<Output = Result<bool, LoadError>> + Send {
        let stored: Ready<Result<bool, LoadError>> =
            ready(match Self::store_chunk(self, at, number, &data, last) {
                Ok(()) => Ok(true),
                Err(StorageError::TooNew { level, .. }) => Err(LoadError::TooNew(level)),
                Err(error @ StorageError::Disk(_)) if !error.may_pass() => {
                    Err(LoadError::Unreadable(text(&error)))
                }
                Err(error) => {
                    tracing::warn!(%error, ?at, number, "a chunk of a snapshot is dropped");
                    Ok(false)
                }
            });
        stored
    }

    fn read_chunk(
        &mut self,
        at: LogPosition,
        number: u64,
    ) -> impl Future<Output = Result<Option<(Bytes, bool)>, String>> + Send {
        ready(Self::read_chunk(self, at, number).map_err(|error| text(&error)))
    }

    fn load(&mut self, at: LogPosition) -> impl Future<Output = Result<Option<State>, LoadError>> + Send {
        ready(Self::load(self, at).map_err(|error| match error {
            StorageError::TooNew { level, .. } => LoadError::TooNew(level),
            other => LoadError::Unreadable(text(&other)),
        }))
    }
}
