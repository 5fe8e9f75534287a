//! Every bound, by name. What is over one is refused with its name in the text, never dropped in silence.

use core::time::Duration;

/// A client's request, encoded, in bytes.
pub const REQUEST_BYTES: usize = 1_536 * 1024;
/// The payload of one log entry, in bytes. A request fits with its header.
pub const ENTRY_BYTES: usize = 2 * 1024 * 1024;
/// The entries of one append message, in bytes; a single larger entry goes alone. The most, and what a node uses unless its
/// [`Flow`](crate::contract::Flow) says less; so are the next ones.
pub const APPEND_BYTES: usize = 1024 * 1024;
/// The entries of one append message.
pub const APPEND_ENTRIES: usize = 1024;
/// What a node sends of snapshots in a second, in bytes, unless its [`Config`](crate::contract::Config) says otherwise.
pub const SNAPSHOT_RATE: u64 = 64 * 1024 * 1024;
/// Append messages to one peer that are not answered yet.
pub const INFLIGHT_MESSAGES: usize = 256;
/// Bytes in append messages to one peer that are not answered yet.
pub const INFLIGHT_BYTES: usize = 8 * 1024 * 1024;
/// Proposals of a leader that are not committed yet, in bytes.
pub const UNCOMMITTED_BYTES: usize = 64 * 1024 * 1024;
/// One message between peers, encoded, in bytes: an append with its largest entry, and room for its header.
pub const PEER_MESSAGE_BYTES: usize = ENTRY_BYTES + APPEND_BYTES + 64 * 1024;
/// One chunk of a snapshot between peers, in bytes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 512 * 1024;
/// The least of the same: smaller ones would be all header.
pub const SNAPSHOT_CHUNK_BYTES_MIN: usize = 256;
/// Entries kept behind a snapshot, so that a slow peer needs no snapshot.
pub const TRAILING_ENTRIES: u64 = 5_000;
/// What an entry of the log counts beside its payload, in bytes: its header, wherever it is kept.
pub const ENTRY_HEADER_BYTES: u64 = 64;
/// Applied entries in bytes between two snapshots, unless a node's [`LogBytes`](crate::contract::LogBytes) say otherwise.
pub const SNAPSHOT_LOG_BYTES: u64 = 128 * 1024 * 1024;
/// The same of the entries kept behind a snapshot.
pub const TRAILING_BYTES: u64 = 64 * 1024 * 1024;
/// The same of the whole log of a leader that keeps it for a follower.
pub const HELD_BYTES: u64 = 256 * 1024 * 1024;
/// Reads that wait for their confirmation or for their index.
pub const PENDING_READS: usize = 16 * 1024;
/// Client requests, and forwarded ones, that wait for an answer.
pub const PENDING_REQUESTS: usize = 16 * 1024;
/// How long a request may wait for a majority or a leader, at most: what a node is asked within it, it keeps a note of.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A segment of the log on disk, in bytes; the batch that goes over is its last.
pub const WAL_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// A segment may become so many times as large while there is no room for the next one.
pub const WAL_SEGMENT_STRETCH: u64 = 2;
/// Segments of the log on disk that are not needed any more and kept, to be written again.
pub const WAL_SPARE_SEGMENTS: usize = 2;
/// What is read of a segment of the log at once, in bytes; a batch that is larger is read whole.
pub const WAL_READ_BYTES: usize = 1024 * 1024;
/// The payload of one record of the log on disk, in bytes: the largest entry, or many small ones.
pub const WAL_RECORD_BYTES: usize = ENTRY_BYTES + APPEND_BYTES;
/// Snapshots kept on disk: the newest, and the one before, which a peer may still be reading. Who reads for longer begins again
/// with the newest.
pub const SNAPSHOTS_KEPT: usize = 2;
/// One record of a tape, in bytes: the largest input is a request that is over its own limit, and is refused.
pub const TAPE_RECORD_BYTES: usize = 8 * 1024 * 1024;
/// Voters of a cluster.
pub const VOTERS: usize = 9;
/// Learners of a cluster.
pub const LEARNERS: usize = 16;

/// A key of the key-value space, in bytes.
pub const KEY_BYTES: usize = 4 * 1024;
/// A value of the key-value space, in bytes.
pub const VALUE_BYTES: usize = 1024 * 1024;
/// Items on one page of any list.
pub const PAGE_ITEMS: usize = 1_000;
/// Items on a page when the request names no limit.
pub const PAGE_ITEMS_DEFAULT: usize = 100;
/// Items of one page, in bytes: what would go over starts the next page.
pub const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Sessions at one time.
pub const SESSIONS: usize = 10_000;
/// A session's id has so many bits: every number of JSON holds it exactly.
pub const SESSION_ID_BITS: u32 = 48;
/// Answers kept for one session.
pub const SESSION_REPLIES: usize = 256;
/// Answers kept for one session, in bytes; the oldest go first.
pub const SESSION_REPLY_BYTES: usize = 4 * 1024 * 1024;

/// Share of the leader's log that a learner must hold to become a voter, in percent.
pub const PROMOTED_PERCENT: u64 = 90;
/// Steps of one change of the membership.
pub const MEMBER_CHANGES: usize = 16;
/// Directories of one member that were given up, and are known not to come back: the oldest is forgotten.
pub const GIVEN_UP_DIRECTORIES: usize = 16;
/// Members that were removed whose directories are known: who was removed first is forgotten.
pub const FORMER_MEMBERS: usize = 64;

/// Executors at one time.
pub const EXECUTORS: usize = 10_000;
/// Slots of one executor, and slots that one task may take.
pub const EXECUTOR_SLOTS: u32 = 1_000;
/// Reports in one heartbeat: every slot, and as many that have ended.
pub const HEARTBEAT_REPORTS: usize = 2 * EXECUTOR_SLOTS as usize;
/// Specifications in one heartbeat's reply, of [`REQUEST_BYTES`] and one more in all; the others come with the next.
pub const HEARTBEAT_SPECIFICATIONS: usize = 64;
/// Calls to executors that wait for an answer.
pub const CALLS_INFLIGHT: usize = 256;
/// How long a parked attempt waits for its confirmation, in milliseconds.
pub const PARKED_MS: u64 = 10_000;

/// Jobs at one time, ended ones included.
pub const JOBS: usize = 100_000;
/// Tasks of one job.
pub const JOB_TASKS: u32 = 10_000;
/// Arguments of a command, and variables of its environment.
pub const ARGUMENTS: usize = 256;
/// A command's arguments in all, and its environment in all, in bytes.
pub const ARGUMENT_BYTES: usize = 64 * 1024;
/// A name: of an executor, a label, a variable, in bytes.
pub const NAME_BYTES: usize = 256;
/// A message that says how an attempt ended, in bytes.
pub const MESSAGE_BYTES: usize = 1024;
/// Tasks that one entry places; what is left waits for the next.
pub const PLACEMENTS: usize = 1_024;
/// Leases that one entry expires, and cancels that it forces; what is left waits for the next.
pub const EXPIRIES: usize = 1_024;
/// Kept output of one attempt, in bytes.
pub const OUTPUT_BYTES: u64 = 16 * 1024 * 1024;
/// Messages that a driver takes in one turn.
pub const TURN_INPUTS: usize = 256;
/// Entries applied in one step; what is left goes on at the next.
pub const APPLY_ENTRIES: usize = 1_024;
/// Replicas compare their state's hash at every index that this divides.
pub const CHECKPOINT_ENTRIES: u64 = 256;
/// Hashes kept for the comparison.
pub const CHECKPOINTS_KEPT: usize = 64;
/// Heartbeats within which members say what their state was: those who differ are judged then, whoever is silent.
pub const AGREEMENT_ROUNDS: u32 = 8;

/// Heartbeats of one agent that wait for an answer.
pub const HEARTBEATS_INFLIGHT: usize = 8;
/// Least time between two heartbeats of one agent, in milliseconds: what changes in between goes together.
pub const HEARTBEAT_GAP_MS: u64 = 10;
/// How long an agent waits for an answer that it needs to register or to leave, in milliseconds.
pub const AGENT_REQUEST_MS: u64 = 2_000;
/// First wait before an agent asks again, in milliseconds; it doubles.
pub const AGENT_RETRY_MIN_MS: u64 = 100;
/// Longest wait before an agent asks again, in milliseconds.
pub const AGENT_RETRY_MAX_MS: u64 = 2_000;
/// How long an agent that ends tries to report its last tasks and to leave the cluster, in milliseconds.
pub const AGENT_LEAVE_MS: u64 = 5_000;
/// Former registrations that an agent remembers, to refuse calls to them for good.
pub const PAST_INCARNATIONS: usize = 16;
/// The value of a pair: a label's, a variable's, in bytes.
pub const PAIR_VALUE_BYTES: usize = 32 * 1024;
/// A path or an address, in bytes.
pub const PATH_BYTES: usize = 4 * 1024;
/// The name of an executor, in characters.
pub const EXECUTOR_NAME_CHARACTERS: usize = 63;
/// A session's time to live, in milliseconds: least, most, and what 0 stands for.
pub const SESSION_TTL_MS: (u64, u64, u64) = (1_000, 3_600_000, 60_000);
/// How long a cancel may take before it is forced, in milliseconds: most, and what 0 stands for.
pub const CANCEL_TIMEOUT_MS: (u64, u64) = (3_600_000, 10_000);
/// How long a task may take to end, in milliseconds: most, and what 0 stands for.
pub const STOP_TIMEOUT_MS: (u64, u64) = (300_000, 5_000);
/// Kept output of one attempt when the request names none, in bytes.
pub const OUTPUT_BYTES_DEFAULT: u64 = 1024 * 1024;
/// Failures that end a task: most, and what 0 stands for in a batch job.
pub const RETRY_FAILURES: (u32, u32) = (1_000_000, 3);
/// Wait after the first failure, in milliseconds: most, and what 0 stands for.
pub const BACKOFF_INITIAL_MS: (u64, u64) = (3_600_000, 1_000);
/// Longest wait after a failure, in milliseconds: most, and what 0 stands for.
pub const BACKOFF_MAX_MS: (u64, u64) = (86_400_000, 60_000);
/// Growth of the wait with each failure, in percent: least, most, and what 0 stands for.
pub const BACKOFF_GROWTH_PERCENT: (u32, u32, u32) = (100, 1_000, 200);
/// Online so long, a task starts anew with the first wait, in milliseconds: most, and what 0 stands for.
pub const BACKOFF_RESET_MS: (u64, u64) = (31_536_000_000, 600_000);
/// How long a task waits after an executor refused it, in milliseconds.
pub const REFUSED_WAIT_MS: u64 = 1_000;
/// Tasks of all jobs together, ended ones included.
pub const TASKS: usize = 2_000_000;
/// Equally loaded executors, of one number of free slots, that placement looks at for one task.
pub const PLACEMENT_TIES: usize = 16;
/// Names that are tried for a job that came without one.
pub const JOB_ID_TRIES: u64 = 100;
/// Jobs that one page of a filtered list looks at.
pub const JOBS_SCANNED: usize = 10_000;
/// Attempts that have ended whose output an agent keeps.
pub const OUTPUT_ATTEMPTS: usize = 1_000;
/// Kept output of all attempts of an agent, in bytes; what ended first goes first.
pub const OUTPUT_TOTAL_BYTES: usize = 256 * 1024 * 1024;
/// One chunk of an attempt's output, in bytes.
pub const OUTPUT_CHUNK_BYTES: usize = 64 * 1024;
/// One report of a guard, in bytes.
pub const GUARD_REPORT_BYTES: usize = 4 * 1024;
/// Inputs that wait for an agent's loop.
pub const AGENT_INPUTS: usize = 4 * 1024;

/// Election timeouts that a node that is not to lead lets pass before it stands: nobody else seems to be there.
pub const LAST_RESORT: u32 = 10;
/// Longest election timeouts that a leader, and a voter of higher priority, must have been there before it hands over.
pub const PREFERRED_AFTER: u32 = 3;
/// A hand-over to a voter of higher priority that did not last is tried again after twice the time, so often.
pub const HAND_OVER_BACKOFF: u32 = 2;
/// Who was elected so often...
pub const FLAPPING_REIGNS: usize = 3;
/// ... within so many longest election timeouts waits longer before it stands again.
pub const FLAPPING_WITHIN: u32 = 20;
/// Lowest and highest priority of a member.
pub const PRIORITIES: core::ops::RangeInclusive<i32> = -100..=100;

/// By how many indexes a new cluster begins behind the state that it takes over: more than the old one can have gone on.
pub const INHERITED_INDEXES: u64 = 1 << 40;
/// As many ids of executors and of leases are passed over then.
pub const INHERITED_IDS: u64 = 1_000_000;
