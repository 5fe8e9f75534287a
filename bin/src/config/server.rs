//! The settings of a master.

use super::{
    check_loopback, identity,
    keys::{Key, Role},
    layer::Layer,
    logs::{self, Logs},
    values::{
        Members, format_duration, parse_address, parse_bool, parse_drift, parse_duration, parse_members,
        parse_number, parse_size,
    },
};
use crate::{
    cluster::{
        QUOTA_BYTES_MIN, RESERVE_BYTES, SCRUB_PAUSE, SCRUB_RATE, ScrubOptions, SpaceLimits, TAPE_BYTES,
    },
    failure::Failure,
};
use quorate_core::{
    contract::{Config, ConfigError, Flow, LeaseTimes, LogBytes, Timing},
    limits,
    types::{ClusterId, NodeId, StorageId},
};
use std::{fmt::Write as _, path::PathBuf, time::Duration};

/// `quorate server`.
#[derive(Clone, Debug)]
pub(crate) struct ServerRole;

const SNAPSHOT_ENTRIES: u64 = 10_000;

const fn key(
    name: &'static str,
    flag: &'static str,
    variable: &'static str,
    value: &'static str,
    help: &'static str,
) -> Key {
    Key { name, flag, variable, value, help }
}

impl Role for ServerRole {
    const COMMAND: &'static str = "quorate server";
    #[rustfmt::skip]
    const KEYS: &'static [Key] = &[
        key("node", "node", "QUORATE_NODE", "ID", "Id of this master; one of the members"),
        key("members", "members", "QUORATE_MEMBERS", "LIST", "All masters: 1=host:peerport/host:clientport,2=..."),
        key("join", "join", "QUORATE_JOIN", "ADDRESSES", "Client addresses of masters whose cluster this one joins, instead of members; `quorate member add` comes first"),
        key("cluster_token", "cluster-token", "QUORATE_CLUSTER_TOKEN", "TEXT", "Tells two clusters of the same members apart; no secret [default: empty]"),
        key("data_dir", "data-dir", "QUORATE_DATA_DIR", "DIRECTORY", "Where the log and the snapshots are kept"),
        key("listen.peer", "listen-peer", "QUORATE_LISTEN_PEER", "ADDRESS", "Where to listen for other masters [default: the peer address of this member]"),
        key("listen.client", "listen-client", "QUORATE_LISTEN_CLIENT", "ADDRESS", "Where to listen for clients and executors [default: the client address of this member]"),
        key("insecure", "insecure", "QUORATE_INSECURE", "", "Allow addresses that are not loopback, although there is no TLS yet"),
        key("timing.heartbeat", "timing-heartbeat", "QUORATE_TIMING_HEARTBEAT", "DURATION", "Between two heartbeats of a leader [default: 50ms]"),
        key("timing.election_min", "timing-election-min", "QUORATE_TIMING_ELECTION_MIN", "DURATION", "Shortest silence before a follower asks for votes [default: 250ms]"),
        key("timing.election_max", "timing-election-max", "QUORATE_TIMING_ELECTION_MAX", "DURATION", "Longest silence before a follower asks for votes [default: 450ms]"),
        key("timing.disk_stall", "timing-disk-stall", "QUORATE_TIMING_DISK_STALL", "DURATION", "A leader whose disk is silent so long steps down; no more than the longest election timeout less a heartbeat [default: 400ms, or that]"),
        key("timing.request_timeout", "timing-request-timeout", "QUORATE_TIMING_REQUEST_TIMEOUT", "DURATION", "How long a request waits for a leader and a majority, 60s at most [default: 5s]"),
        key("timing.read_lease_drift_ppm", "timing-read-lease-drift-ppm", "QUORATE_TIMING_READ_LEASE_DRIFT_PPM", "NUMBER", "Read by lease: how far the clocks of two masters may run apart, in parts of a million; the same on all masters, as are the election timeouts, and never on machines that are suspended; 0 = confirm every read [default: 0]"),
        key("executor.ttl", "executor-ttl", "QUORATE_EXECUTOR_TTL", "DURATION", "A silent executor has stopped its work after so long [default: 5s]"),
        key("executor.grace", "executor-grace", "QUORATE_EXECUTOR_GRACE", "DURATION", "What the master waits in addition before it moves the work [default: 2s]"),
        key("executor.check", "executor-check", "QUORATE_EXECUTOR_CHECK", "DURATION", "How often an executor looks at its deadline [default: 200ms]"),
        key("executor.kill", "executor-kill", "QUORATE_EXECUTOR_KILL", "DURATION", "How long killing a task takes at most [default: 500ms]"),
        key("executor.drift_ppm", "executor-drift-ppm", "QUORATE_EXECUTOR_DRIFT_PPM", "NUMBER", "How far two clocks may run apart, in parts of a million [default: 1000]"),
        key("snapshot_entries", "snapshot-entries", "QUORATE_SNAPSHOT_ENTRIES", "NUMBER", "Applied entries between two snapshots [default: 10000]"),
        key("held_log", "held-log", "QUORATE_HELD_LOG", "SIZE", "A leader keeps its log for followers that are behind, and puts off the next snapshot for one that is sent one, while the log is no larger; 0 = it waits for nobody [default: 256MiB]"),
        key("snapshot_rate", "snapshot-rate", "QUORATE_SNAPSHOT_RATE", "SIZE", "What a leader sends of snapshots in a second; 0 = as fast as followers take it [default: 64MiB]"),
        key("disk.quota", "disk-quota", "QUORATE_DISK_QUOTA", "SIZE", "The data directory may have so much, at least 256MiB: then the cluster takes no more data; 0 = as much as there is [default: 0]"),
        key("disk.reserve", "disk-reserve", "QUORATE_DISK_RESERVE", "SIZE", "With less left on the file system the cluster takes no more data; 0 = never [default: 256MiB]"),
        key("scrub.rate", "scrub-rate", "QUORATE_SCRUB_RATE", "SIZE", "What is read in a second of files that are not written any more, to find damage; 0 = nothing [default: 4MiB]"),
        key("scrub.pause", "scrub-pause", "QUORATE_SCRUB_PAUSE", "DURATION", "Between two such rounds [default: 1h]"),
        key("threads", "threads", "QUORATE_THREADS", "NUMBER", "Threads that carry connections and the master's own loop, besides those of its disk; more than one costs more for each request, and pays with thousands of connections [default: 1]"),
        key("record_tape", "record-tape", "QUORATE_RECORD_TAPE", "FILE", "Record all inputs of this master into this file, to be replayed by the simulator; it holds what clients store [default: off]"),
        key("record_tape_limit", "record-tape-limit", "QUORATE_RECORD_TAPE_LIMIT", "SIZE", "The recording ends before its file is larger: bytes, or KiB, MiB, GiB [default: 1GiB]"),
        logs::FORMAT,
        logs::LEVEL,
    ];
}

/// What a master runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerSettings {
    pub(crate) node: NodeId,
    pub(crate) members: Members,
    /// The cluster that it joins; `None`: it is one of those that found theirs.
    pub(crate) joins: Option<ClusterId>,
    /// Whom it asks about it, as it was given; empty if it joins none.
    pub(crate) join: String,
    pub(crate) token: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen_peer: String,
    pub(crate) listen_client: String,
    pub(crate) insecure: bool,
    pub(crate) timing: Timing,
    pub(crate) lease: LeaseTimes,
    pub(crate) snapshot_entries: u64,
    pub(crate) held_log: u64,
    pub(crate) snapshot_rate: u64,
    pub(crate) space: SpaceLimits,
    pub(crate) scrub: ScrubOptions,
    pub(crate) threads: u16,
    pub(crate) tape: Option<PathBuf>,
    pub(crate) tape_limit: u64,
    pub(crate) logs: Logs,
}

/// Which of the members it is.
///
/// # Errors
/// Wrong use: it is missing, or no id.
pub(super) fn node(layer: &Layer) -> Result<NodeId, Failure> {
    if layer.get("node").is_none() {
        return Err(Failure::usage("node is missing: a master must know which of the members it is")
            .with_next("give --node with the id of one member"));
    }
    layer.read("node", NodeId(0), |text| parse_number(text, 1, u64::MAX).map(NodeId))
}

/// Where it keeps its log.
///
/// # Errors
/// Wrong use: it is missing.
pub(super) fn data_dir(layer: &Layer) -> Result<PathBuf, Failure> {
    match layer.get("data_dir") {
        Some(setting) if !setting.text.is_empty() => Ok(PathBuf::from(&setting.text)),
        Some(_) | None => {
            Err(Failure::usage("data_dir is missing: a master must know where to keep its log")
                .with_next("give --data-dir with a directory on a local disk"))
        }
    }
}

impl ServerSettings {
    /// Reads and checks all settings. `joins`: the cluster that it joins, if it does.
    ///
    /// # Errors
    /// Wrong use: the first setting that is missing, wrong or unsafe, and where it was given.
    pub(crate) fn resolve(layer: &Layer, joins: Option<ClusterId>) -> Result<Self, Failure> {
        let text = |text: &str| Ok(text.to_owned());
        let members = layer.read("members", Members::new(), parse_members)?;
        if members.is_empty() {
            return Err(Failure::usage("members is missing: a master must know all masters of its cluster")
                .with_next("give --members 1=127.0.0.1:7702/127.0.0.1:7701, or [members] in the file"));
        }
        let node = node(layer)?;
        let Some(own) = members.get(&node) else {
            let known: Vec<String> = members.keys().map(ToString::to_string).collect();
            let blame = layer.blame("node");
            return Err(Failure::usage(format!(
                "{blame}node is {node}, but the members are {}",
                known.join(", ")
            ))
            .with_next("add the node to the members, or correct its id"));
        };
        let data_dir = data_dir(layer)?;
        let address = |text: &str| parse_address(text, false);
        let settings = Self {
            node,
            token: layer.read("cluster_token", String::new(), text)?,
            data_dir,
            listen_peer: layer.read("listen.peer", own.peer.clone(), address)?,
            listen_client: layer.read("listen.client", own.client.clone(), address)?,
            insecure: layer.read("insecure", false, parse_bool)?,
            timing: timing(layer)?,
            lease: lease(layer)?,
            snapshot_entries: layer
                .read("snapshot_entries", SNAPSHOT_ENTRIES, |text| parse_number(text, 1, u64::MAX))?,
            held_log: layer.read("held_log", limits::HELD_BYTES, size_or_0)?,
            snapshot_rate: layer.read("snapshot_rate", limits::SNAPSHOT_RATE, snapshot_rate)?,
            space: space(layer)?,
            scrub: ScrubOptions {
                rate: layer.read("scrub.rate", SCRUB_RATE, size_or_0)?,
                pause: layer.read("scrub.pause", SCRUB_PAUSE, parse_duration)?,
            },
            threads: layer.read("threads", 1, threads)?,
            tape: layer
                .read("record_tape", None, |text| Ok((!text.is_empty()).then(|| PathBuf::from(text))))?,
            tape_limit: layer.read("record_tape_limit", TAPE_BYTES, parse_size)?,
            logs: Logs::resolve(layer)?,
            members,
            joins,
            join: layer.read("join", String::new(), text)?,
        };
        check_loopback(layer, "listen.peer", &settings.listen_peer, settings.insecure)?;
        check_loopback(layer, "listen.client", &settings.listen_client, settings.insecure)?;
        settings.core().validate().map_err(|error| unsafe_setting(layer, &error))?;
        check_disk_stall(&settings.timing).map_err(|error| unsafe_setting(layer, &error))?;
        Ok(settings)
    }

    /// The configuration of the core. The storage id is any: the data directory has its own.
    pub(crate) fn core(&self) -> Config {
        Config {
            cluster: self.joins.unwrap_or_else(|| identity::cluster_id(&self.members, &self.token)),
            node: self.node,
            storage: StorageId(1),
            members: self.members.clone(),
            joins: self.joins.is_some(),
            timing: self.timing,
            executor_lease: self.lease,
            snapshot_entries: self.snapshot_entries,
            trailing_entries: limits::TRAILING_ENTRIES.min(self.snapshot_entries),
            log_bytes: self.log_bytes(),
            flow: Flow::default(),
            snapshot_rate: self.snapshot_rate,
            level: quorate_core::level::FEATURE_LEVEL,
        }
    }

    /// A directory that may have little must not be full of a log that nobody needs.
    fn log_bytes(&self) -> LogBytes {
        /// The log until the next snapshot, and what is held for followers, have such parts of the directory.
        const PARTS: (u64, u64) = (8, 4);
        let most = LogBytes { held: self.held_log, ..LogBytes::default() };
        match self.space.quota {
            None => most,
            Some(quota) => LogBytes {
                snapshot: most.snapshot.min(quota / PARTS.0),
                trailing: most.trailing.min(quota / PARTS.0 / 2),
                held: most.held.min(quota / PARTS.1),
            },
        }
    }

    /// The settings as a file that gives the same ones.
    pub(crate) fn to_toml(&self) -> String {
        let mut out = String::new();
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let span = |duration| quote(&format_duration(duration));
        let lease = self.lease;
        let Timing {
            heartbeat,
            election_min,
            election_max,
            disk_stall,
            request_timeout,
            read_lease_drift_ppm,
        } = self.timing;
        let (format, level) = self.logs.names();
        let mut line = |text: String| {
            // Writing to a string cannot fail.
            let _written = writeln!(out, "{text}");
        };
        line(format!("node = {}", self.node));
        line(format!("cluster_token = {}", quote(&self.token)));
        line(format!("data_dir = {}", quote(&self.data_dir.to_string_lossy())));
        line(format!("insecure = {}", self.insecure));
        line(format!("snapshot_entries = {}", self.snapshot_entries));
        line(format!("held_log = {}\nsnapshot_rate = {}", self.held_log, self.snapshot_rate));
        line(format!("threads = {}", self.threads));
        let tape = self.tape.as_deref().map(std::path::Path::to_string_lossy).unwrap_or_default();
        line(format!("record_tape = {}\nrecord_tape_limit = {}", quote(&tape), self.tape_limit));
        line(format!("join = {}", quote(&self.join)));
        if self.join.is_empty() {
            line("\n[members]".to_owned());
        }
        for (id, address) in self.members.iter().filter(|_| self.join.is_empty()) {
            line(format!(
                "{id} = {{ peer = {}, client = {} }}",
                quote(&address.peer),
                quote(&address.client)
            ));
        }
        line(format!(
            "\n[listen]\npeer = {}\nclient = {}",
            quote(&self.listen_peer),
            quote(&self.listen_client)
        ));
        line(format!("\n[timing]\nheartbeat = {}\nelection_min = {}", span(heartbeat), span(election_min)));
        line(format!("election_max = {}\ndisk_stall = {}", span(election_max), span(disk_stall)));
        line(format!("request_timeout = {}", span(request_timeout)));
        line(format!("read_lease_drift_ppm = {}", read_lease_drift_ppm.unwrap_or(0)));
        line(format!(
            "\n[executor]\nttl = {}\ngrace = {}\ncheck = {}",
            span(lease.ttl),
            span(lease.grace),
            span(lease.check)
        ));
        line(format!("kill = {}\ndrift_ppm = {}", span(lease.kill), lease.drift_ppm));
        let SpaceLimits { quota, reserve } = self.space;
        line(format!("\n[disk]\nquota = {}\nreserve = {reserve}", quota.unwrap_or(0)));
        line(format!("\n[scrub]\nrate = {}\npause = {}", self.scrub.rate, span(self.scrub.pause)));
        line(format!("\n[log]\nformat = {}\nlevel = {}", quote(format), quote(level)));
        out
    }
}

fn timing(layer: &Layer) -> Result<Timing, Failure> {
    let default = Timing::default();
    let heartbeat = layer.read("timing.heartbeat", default.heartbeat, parse_duration)?;
    let election_max = layer.read("timing.election_max", default.election_max, parse_duration)?;
    let disk_stall = default.disk_stall.min(disk_stall_max(heartbeat, election_max));
    Ok(Timing {
        heartbeat,
        election_min: layer.read("timing.election_min", default.election_min, parse_duration)?,
        election_max,
        disk_stall: layer.read("timing.disk_stall", disk_stall, parse_duration)?,
        request_timeout: layer.read("timing.request_timeout", default.request_timeout, parse_duration)?,
        read_lease_drift_ppm: Some(layer.read("timing.read_lease_drift_ppm", 0, parse_drift)?)
            .filter(|drift| *drift > 0),
    })
}

fn lease(layer: &Layer) -> Result<LeaseTimes, Failure> {
    let default = LeaseTimes::default();
    Ok(LeaseTimes {
        ttl: layer.read("executor.ttl", default.ttl, parse_duration)?,
        grace: layer.read("executor.grace", default.grace, parse_duration)?,
        check: layer.read("executor.check", default.check, parse_duration)?,
        kill: layer.read("executor.kill", default.kill, parse_duration)?,
        drift_ppm: layer.read("executor.drift_ppm", default.drift_ppm, parse_drift)?,
    })
}

/// Threads of a master at most.
const THREADS_MAX: u64 = 256;

fn threads(text: &str) -> Result<u16, String> {
    let number = parse_number(text, 1, THREADS_MAX)?;
    u16::try_from(number).map_err(|error| error.to_string())
}

fn size_or_0(text: &str) -> Result<u64, String> {
    if text.trim() == "0" { Ok(0) } else { parse_size(text) }
}

/// Slower, a follower would never catch up.
const SNAPSHOT_RATE_MIN: u64 = 64 * 1024;

fn snapshot_rate(text: &str) -> Result<u64, String> {
    match size_or_0(text)? {
        rate if rate == 0 || rate >= SNAPSHOT_RATE_MIN => Ok(rate),
        _ => Err(format!(
            "`{text}` is too slow for a follower to catch up: it must be at least 64KiB, or 0 for as fast as it takes it"
        )),
    }
}

fn space(layer: &Layer) -> Result<SpaceLimits, Failure> {
    let least = QUOTA_BYTES_MIN;
    let quota = |text: &str| {
        size_or_0(text).and_then(|bytes| {
            let fits = bytes == 0 || bytes >= least;
            if fits { Ok(bytes) } else { Err(format!("`{text}` is too small: files of the log are made ahead, so it must be at least {least}, or 0 for none")) }
        })
    };
    let quota = layer.read("disk.quota", 0, quota)?;
    Ok(SpaceLimits {
        quota: (quota > 0).then_some(quota),
        reserve: layer.read("disk.reserve", RESERVE_BYTES, size_or_0)?,
    })
}

/// A leader looks at its writes with each heartbeat: one whose disk hangs must be gone when an election timeout is over, as one
/// whose process is gone.
const fn disk_stall_max(heartbeat: Duration, election_max: Duration) -> Duration {
    election_max.saturating_sub(heartbeat)
}

fn check_disk_stall(timing: &Timing) -> Result<(), ConfigError> {
    let (field, value) = ("timing.disk_stall", timing.disk_stall);
    let most = disk_stall_max(timing.heartbeat, timing.election_max);
    let why = "a leader whose disk hangs steps down within timing.election_max, at a heartbeat";
    if value > most { Err(ConfigError::TooLong { field, value, most, why }) } else { Ok(()) }
}

/// What is refused, with the place where the setting was given.
fn unsafe_setting(layer: &Layer, error: &ConfigError) -> Failure {
    let blame = match error {
        ConfigError::Zero { field }
        | ConfigError::TooShort { field, .. }
        | ConfigError::TooLong { field, .. }
        | ConfigError::OutOfRange { field, .. } => layer.blame(field),
        ConfigError::NotAMember { .. } => layer.blame("node"),
        ConfigError::MemberCount { .. } => layer.blame("members"),
    };
    Failure::usage(format!("{blame}{error}"))
        .with_next("correct the setting; `quorate server --help` names the defaults")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{file, layer::Origin};
    use std::path::Path;

    const LEAST: &str = "node = 1\ndata_dir = \"/tmp/x\"\n";
    const MEMBERS: &str = "[members]\n1 = { peer = \"127.0.0.1:2\", client = \"127.0.0.1:1\" }\n";

    fn layer(text: &str) -> Layer {
        file::parse(text, Path::new("q.toml"), ServerRole::KEYS, ServerRole::COMMAND).unwrap()
    }

    fn refused(text: &str) -> Failure {
        ServerSettings::resolve(&layer(text), None).unwrap_err()
    }

    #[test]
    fn the_least_file_gives_the_defaults() {
        let settings = ServerSettings::resolve(&layer(&format!("{LEAST}{MEMBERS}")), None).unwrap();
        assert_eq!(settings.timing, Timing::default());
        assert_eq!(settings.lease, LeaseTimes::default());
        assert_eq!(settings.listen_peer, "127.0.0.1:2");
        assert_eq!(settings.listen_client, "127.0.0.1:1");
    }

    #[test]
    fn a_directory_that_may_have_little_keeps_a_short_log() {
        const MIB: u64 = 1 << 20;
        let log = |text: &str| {
            let layer = layer(&format!("{LEAST}held_log = \"200MiB\"\n{text}{MEMBERS}"));
            let bytes = ServerSettings::resolve(&layer, None).unwrap().core().log_bytes;
            (bytes.snapshot / MIB, bytes.trailing / MIB, bytes.held / MIB)
        };
        assert_eq!(log(""), (128, 64, 200));
        assert_eq!(log("disk.quota = \"256MiB\"\n"), (32, 16, 64));
        assert_eq!(log("disk.quota = \"100GiB\"\n"), (128, 64, 200));
    }

    #[test]
    fn a_rate_at_which_nobody_catches_up_is_refused() {
        let failure = refused(&format!("{LEAST}snapshot_rate = \"64\"\n{MEMBERS}"));
        assert!(failure.message.contains("snapshot_rate") && failure.message.contains("64KiB"), "{failure}");
        for right in ["0", "64KiB"] {
            let layer = layer(&format!("{LEAST}snapshot_rate = \"{right}\"\n{MEMBERS}"));
            assert!(ServerSettings::resolve(&layer, None).is_ok(), "{right}");
        }
    }

    #[test]
    fn the_printed_configuration_gives_the_same_settings() {
        let text = format!(
            "{LEAST}cluster_token = \"a \\\"b\\\"\"\ntiming.heartbeat = \"61ms\"\nrecord_tape = \"/tmp/t\"\nrecord_tape_limit = \"3MiB\"\nthreads = 3\n{MEMBERS}"
        );
        let settings = ServerSettings::resolve(&layer(&text), None).unwrap();
        assert_eq!(ServerSettings::resolve(&layer(&settings.to_toml()), None).unwrap(), settings);
        assert_eq!(settings.timing.heartbeat, Duration::from_millis(61));
        assert_eq!(settings.threads, 3);
        assert_eq!((settings.tape, settings.tape_limit), (Some(PathBuf::from("/tmp/t")), 3 << 20));
    }

    #[test]
    fn every_key_is_in_the_printed_configuration() {
        let settings = ServerSettings::resolve(&layer(&format!("{LEAST}{MEMBERS}")), None).unwrap();
        let printed = layer(&settings.to_toml());
        for key in ServerRole::KEYS {
            assert!(printed.get(key.name).is_some(), "{} is not printed", key.name);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(refused("").message.starts_with("members is missing"));
        assert!(refused(MEMBERS).message.starts_with("node is missing"));
        assert!(refused(&format!("node = 1\n{MEMBERS}")).message.starts_with("data_dir is missing"));
        let failure = refused(&format!("node = 7\ndata_dir = \"/tmp/x\"\n{MEMBERS}"));
        assert_eq!(failure.message, "q.toml, line 1: node is 7, but the members are 1");
    }

    #[test]
    fn a_grace_too_small_for_the_lease_is_refused_with_its_line() {
        let failure = refused(&format!("{LEAST}executor.grace = \"600ms\"\n{MEMBERS}"));
        assert!(failure.message.starts_with("q.toml, line 3: executor.grace"), "{failure}");
        assert!(failure.message.contains("600ms"), "{failure}");
    }

    #[test]
    fn a_leader_whose_disk_hangs_steps_down_within_an_election_timeout() {
        let read = |text: &str| ServerSettings::resolve(&layer(&format!("{LEAST}{text}{MEMBERS}")), None);
        let failure = read("timing.disk_stall = \"401ms\"\n").unwrap_err();
        assert!(failure.message.starts_with("q.toml, line 3: timing.disk_stall is 401ms"), "{failure}");
        assert!(failure.message.contains("at most 400ms"), "{failure}");
        let stall = |text| read(text).unwrap().timing.disk_stall.as_millis();
        assert_eq!(stall("timing.election_max = \"2s\"\ntiming.disk_stall = \"1950ms\"\n"), 1_950);
        assert_eq!(stall("timing.election_max = \"2s\"\n"), 400);
        assert_eq!(stall("timing.heartbeat = \"60ms\"\n"), 390);
    }

    #[test]
    fn a_listen_address_for_others_needs_insecure() {
        let text = format!("{LEAST}listen.client = \"0.0.0.0:7701\"\n{MEMBERS}");
        let failure = refused(&text);
        assert!(failure.message.starts_with("q.toml, line 3: listen.client is 0.0.0.0:7701"), "{failure}");
        let mut over = Layer::default();
        over.set("insecure", "true".to_owned(), Origin::Flag("insecure"));
        assert!(ServerSettings::resolve(&layer(&text).under(over), None).unwrap().insecure);
    }
}
