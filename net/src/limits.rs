//! Every bound of the runtime, by name. The bounds of the state machines are in [`quorate_core::limits`].

use crate::rt::Duration;
use quorate_core::limits::{PEER_MESSAGE_BYTES, PENDING_REQUESTS, REQUEST_BYTES};

/// Finished writes, control messages and ends of calls that wait for the driver.
pub const CONTROL_QUEUE: usize = 4 * 1024;
/// Heartbeats of executors and keep-alives of sessions that wait for the driver.
pub const KEEP_ALIVE_QUEUE: usize = 16 * 1024;
/// Clients' requests and peers' appends that wait for the driver.
pub const REQUEST_QUEUE: usize = PENDING_REQUESTS;
/// Clients' requests and peers' messages that wait for the driver, in bytes.
pub const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Writes that go to the disk with one sync.
pub const WRITE_BATCH: usize = 1024;
/// The entries of these, in bytes; one write alone may have more: what a leader has on its way to a follower.
pub const WRITE_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How long a snapshot that there was no room for waits.
pub const SAVE_RETRY: Duration = Duration::from_secs(2);
/// How long it takes until the next segment of the log is made, when there was no room for it.
pub const PREPARE_RETRY: Duration = Duration::from_millis(200);
/// How often a master looks whether there is room left on its disk.
pub const SPACE_PERIOD: Duration = Duration::from_secs(1);

/// Messages of one lane that wait for a peer; the oldest go first.
pub const OUTBOX_MESSAGES: usize = 1024;
/// Messages of one lane that wait for a peer, in bytes; the oldest go first.
pub const OUTBOX_BYTES: usize = 16 * 1024 * 1024;
/// Envelopes in one batch to a peer.
pub const BATCH_MESSAGES: usize = 256;
/// One batch to a peer, in bytes: one message of the largest size, and room for its frame.
pub const BATCH_BYTES: usize = PEER_MESSAGE_BYTES + 1024;
/// How long a master that ends waits for another one to lead.
pub const HAND_OVER: Duration = Duration::from_secs(1);
/// Before it asks another one.
pub const HAND_OVER_PAUSE: Duration = Duration::from_millis(20);
/// Masters that this one does not know and that have a stream to it: they came while it was away.
pub const VISITORS: usize = 32;
/// How long opening a stream to a peer may take.
pub const PEER_CONNECT: Duration = Duration::from_millis(500);
/// The first wait before a stream to a peer is opened again.
pub const PEER_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// The longest wait before a stream to a peer is opened again.
pub const PEER_BACKOFF_MAX: Duration = Duration::from_millis(500);
/// A stream that lived so long was a good one: the next wait is the first again.
pub const PEER_STABLE: Duration = Duration::from_secs(1);
/// How often the receiver of a stream says that it is there.
pub const PEER_ALIVE: Duration = Duration::from_millis(300);
/// A stream whose receiver says nothing so long is given up.
pub const PEER_SILENCE: Duration = Duration::from_millis(1_500);

/// Steps of a node that wait to be written to its tape.
pub const TAPE_QUEUE: usize = 16 * 1024;
/// What those steps hold at most, in bytes.
pub const TAPE_QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// A tape's file when no limit is given, in bytes.
pub const TAPE_BYTES: u64 = 1024 * 1024 * 1024;
/// Tapes of one name: the file, and its numbers.
pub const TAPE_FILES: usize = 64;
/// How long a server that ends waits for its tape.
pub const TAPE_FLUSH: Duration = Duration::from_secs(5);

/// What the client port decodes at most, in bytes. Above [`REQUEST_BYTES`] the answer names that limit; above this one the
/// transport's own answer does.
pub const DECODE_BYTES: usize = 4 * REQUEST_BYTES;
/// What a client decodes at most, in bytes: a heartbeat's reply with all its specifications.
pub const REPLY_BYTES: usize = 32 * 1024 * 1024;
/// Streams on one connection of a client.
pub const STREAMS_PER_CONNECTION: u32 = 1024;
/// Heartbeats of one stream that wait for their answers.
pub const HEARTBEATS_PER_STREAM: usize = 8;
/// The shortest time between two messages of one watch.
pub const WATCH_PERIOD: Duration = Duration::from_millis(50);
/// How often a watch asks the leader although nothing changed, so that it does not hang on a node that is cut off.
pub const WATCH_REFRESH: Duration = Duration::from_secs(5);
/// Changes that a slow watch may be behind before it reads its job anyhow.
pub const WATCH_BEHIND: usize = 1024;
/// Messages of one watch that its client has not taken yet.
pub const STREAM_QUEUE: usize = 4;

/// Copies of the state that a master streams at one time: each keeps alive what has changed since it began.
pub const BACKUPS: usize = 2;
/// How long a master that is asked for a copy waits until it has applied all that was committed.
pub const BACKUP_WAIT: Duration = Duration::from_secs(5);
/// How often it looks.
pub const BACKUP_POLL: Duration = Duration::from_millis(10);
/// A copy that its client takes nothing of for so long is given up.
pub const BACKUP_STALL: Duration = Duration::from_secs(30);

/// Connections to executors, and of a client to masters, that are kept.
pub const CHANNELS: usize = 256;
/// How long connecting to an executor, and a call to it, may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client waits for a connection.
pub const CLIENT_CONNECT: Duration = Duration::from_secs(1);
/// How often an idle connection is asked whether it is alive, and how long the answer may take.
pub const CONNECTION_ALIVE: Duration = Duration::from_secs(3);
/// Connections to one port at a time; one more is closed at once. Fewer where the system allows fewer open files.
pub const CONNECTIONS: usize = 16 * 1024;
/// However few open files the system allows.
pub const CONNECTIONS_MIN: usize = 16;
/// Open files and connections that a master has of its own: log, snapshots, peers, and [`CHANNELS`].
pub const OWN_DESCRIPTORS: u64 = 512;
/// What a connection begins with, in bytes (RFC 9113, section 3.4)...
pub const GREETING_BYTES: usize = 24;
/// ... and within how long.
pub const GREETING_WITHIN: Duration = Duration::from_secs(3);
/// How long a server that stops waits for its connections to end.
pub const SERVER_DRAIN: Duration = Duration::from_millis(500);
/// A stream on which a client waits, and nothing came for so long, is asked whether its master is there; after as long again
/// without an answer it is given up.
pub const STREAM_SILENCE: Duration = Duration::from_millis(300);
/// Requests in one batch of a client's stream.
pub const STREAM_BATCH: usize = 256;
/// A batch of a client's stream, in bytes, with its last request or reply left out: that one may be of any size.
pub const STREAM_BATCH_BYTES: usize = 256 * 1024;
/// What the client port decodes of a stream at most, in bytes: a batch and a request over its limit, so that the answer names that.
pub const STREAM_DECODE_BYTES: usize = DECODE_BYTES + STREAM_BATCH_BYTES;
/// Requests of one client's stream that are not answered, or whose answers it has not taken. The next ones wait in the connection.
pub const STREAM_REQUESTS: usize = 1024;
/// Heartbeats that wait for a client's stream.
pub const HEARTBEAT_QUEUE: usize = 64;
