//! What can go wrong, and what to do then.

use quorate_core::level::FEATURE_LEVEL;
use std::io;

/// An operation on a file that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {file}: {message}")]
pub struct DiskError {
    /// What was tried.
    pub operation: &'static str,
    /// The file's name inside the data directory, or the directory.
    pub file: String,
    /// The kind of error.
    pub kind: io::ErrorKind,
    /// What the system said.
    pub message: String,
}

impl DiskError {
    /// From what the system said.
    #[must_use]
    pub fn new(operation: &'static str, file: &str, error: &io::Error) -> Self {
        let message = error.to_string();
        let error = Self { operation, file: file.to_owned(), kind: error.kind(), message };
        if error.is_full() {
            let message = error.message + ": make room on the file system of the data directory";
            return Self { message, ..error };
        }
        error
    }

    /// Whether there was no room: on the file system, or of what its user may have there.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self.kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether there may be room later for what there was none for. A sync that failed proves nothing when it is tried again,
    /// whatever it failed for.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.is_full() && self.operation != "sync"
    }

    /// Whether the disk does not give back what was written there: the file is as good as damaged.
    #[must_use]
    pub const fn is_unreadable(&self) -> bool {
        matches!(self.kind, io::ErrorKind::InvalidData)
    }

    /// Whether the file is just not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.kind == io::ErrorKind::NotFound
    }
}

/// Why a write was not carried out. Final for a [`Storage`](super::Storage): what is on the disk is not known any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The disk failed. End the process; a restart reads what is really there.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The write contradicts the log. A bug of the caller.
    #[error("this write would break the log: {0}")]
    Refused(String),
    /// A chunk of a snapshot came out of order. Ask the sender to start over with chunk 0.
    #[error("chunk {number} of snapshot {snapshot} came where {expected} was due: start over with chunk 0")]
    ChunkOutOfOrder {
        /// Which snapshot, `term.index`.
        snapshot: String,
        /// The chunk that came.
        number: u64,
        /// The chunk that would have been right.
        expected: u64,
    },
    /// A chunk or an entry over its limit.
    #[error("{what} has {size} bytes: at most {limit} are allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A snapshot is of a feature level that this program does not know.
    #[error("{file} is of feature level {level}: this program knows up to {known}", known = FEATURE_LEVEL)]
    TooNew {
        /// The file.
        file: String,
        /// The level, or one below it.
        level: u32,
    },
    /// A snapshot file is damaged.
    #[error("{file} is damaged at byte {offset} ({what})")]
    Damaged {
        /// The file.
        file: String,
        /// Where, in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

impl StorageError {
    /// Whether there was no room, and may be later: see [`DiskError::may_pass`].
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Disk(error) if error.may_pass())
    }
}

/// Why a data directory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The disk failed. Look at the disk, then start again.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another process has it open.
    #[error(
        "data directory {directory} is in use by another process: stop that one first, or choose another directory"
    )]
    Locked {
        /// The data directory.
        directory: String,
    },
    /// It is another node's, or of another cluster.
    #[error(
        "data directory {directory} is not this node's ({file}): {field} is {found}, expected {expected}; \
         correct the configuration, or point it at the right directory"
    )]
    Foreign {
        /// The data directory.
        directory: String,
        /// The file that says so.
        file: String,
        /// Which part of the identity.
        field: &'static str,
        /// What the file says.
        found: u64,
        /// What the configuration says.
        expected: u64,
    },
    /// Another version wrote it.
    #[error(
        "data directory {directory}: {file} has format {found}, this version reads format {known}; {}",
        other_format_hint(*found, *known)
    )]
    OtherFormat {
        /// The data directory.
        directory: String,
        /// The file that says so.
        file: String,
        /// Its format.
        found: u32,
        /// The format that is known.
        known: u32,
    },
    /// There is data, but nothing says whose.
    #[error(
        "data directory {directory} has {file} but no file `identity`: it is not known whose data this is; \
         point the configuration at the right directory, or move this one away and replace the member"
    )]
    NoIdentity {
        /// The data directory.
        directory: String,
        /// A file that is there.
        file: String,
    },
    /// A restore or a recovery was cut off when all was decided.
    #[error(
        "data directory {directory}: a restore or a recovery was cut off near its end; start the master, or give the same \
         command again: both finish it"
    )]
    Unfinished {
        /// The data directory.
        directory: String,
    },
    /// Another version wrote it, when the whole cluster could read it.
    #[error(
        "data directory {directory}: {file} is of feature level {level}, and this program knows up to {known}: run the version \
         that wrote it, or a newer one; to go back, run `quorate level hold {known}` first", known = FEATURE_LEVEL
    )]
    TooNew {
        /// The data directory.
        directory: String,
        /// The file.
        file: String,
        /// The level, or one below it.
        level: u32,
    },
    /// Replicas were compared, and this one was wrong.
    #[error(
        "data directory {directory}: its file `differs` says: {said}; this node must not serve what it holds: keep the directory, \
         and replace the member, the others hold everything; if you know that it is right, remove that file"
    )]
    Differs {
        /// The data directory.
        directory: String,
        /// What was said when it was found out.
        said: String,
    },
    /// What was on the disk for sure is not there as it was written.
    #[error(
        "data directory {directory}: {file} is damaged at byte {offset} ({what}); this node must not vote with it: \
         check the disk, move the directory away and replace the member, the others hold everything"
    )]
    Corrupt {
        /// The data directory.
        directory: String,
        /// The file.
        file: String,
        /// Where, in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

fn other_format_hint(found: u32, known: u32) -> &'static str {
    if found > known {
        "run the version that wrote it, or a newer one"
    } else {
        "run the version that wrote it, or move the directory away and replace the member"
    }
}
