//! The settings of an executor.

use super::{
    check_loopback,
    keys::{Key, Role},
    layer::Layer,
    logs::{self, Logs},
    values::{
        parse_address, parse_bool, parse_drift, parse_duration, parse_endpoints, parse_number, parse_pair,
        parse_period,
    },
};
use crate::failure::Failure;
use quorate_core::{agent::AgentConfig, contract::LeaseTimes, limits};
use std::{path::PathBuf, time::Duration};

/// `quorate agent`.
#[derive(Clone, Debug)]
pub(crate) struct AgentRole;

const ANY_LOOPBACK_PORT: &str = "127.0.0.1:0";

impl Role for AgentRole {
    const COMMAND: &'static str = "quorate agent";
    #[rustfmt::skip]
    const KEYS: &'static [Key] = &[
        Key { name: "endpoints", flag: "endpoints", variable: "QUORATE_ENDPOINTS", value: "LIST", help: "" },
        Key { name: "name", flag: "name", variable: "QUORATE_NAME", value: "NAME", help: "What people call this executor [default: the host's name]" },
        Key { name: "listen", flag: "listen", variable: "QUORATE_LISTEN", value: "ADDRESS", help: "Where to listen for masters; port 0 lets the system choose [default: 127.0.0.1:0]" },
        Key { name: "advertise", flag: "advertise", variable: "QUORATE_ADVERTISE", value: "ADDRESS", help: "Where masters reach this executor [default: where it listens]" },
        Key { name: "slots", flag: "slots", variable: "QUORATE_SLOTS", value: "NUMBER", help: "How many task slots it offers, 1 to 1000 [default: one for each processor]" },
        Key { name: "data_dir", flag: "data-dir", variable: "QUORATE_DATA_DIR", value: "DIRECTORY", help: "Where working directories and outputs of tasks are kept" },
        Key { name: "labels", flag: "labels", variable: "QUORATE_LABELS", value: "LIST", help: "Labels of this executor: zone=a,disk=fast" },
        Key { name: "executor.heartbeat", flag: "executor-heartbeat", variable: "QUORATE_EXECUTOR_HEARTBEAT", value: "DURATION", help: "Between two heartbeats to the masters [default: 500ms]" },
        Key { name: "executor.check", flag: "executor-check", variable: "QUORATE_EXECUTOR_CHECK", value: "DURATION", help: "How often it looks at its deadline; no more than the masters assume [default: 200ms]" },
        Key { name: "executor.kill", flag: "executor-kill", variable: "QUORATE_EXECUTOR_KILL", value: "DURATION", help: "How long killing a task takes at most, as the masters assume [default: 500ms]" },
        Key { name: "executor.drift_ppm", flag: "executor-drift-ppm", variable: "QUORATE_EXECUTOR_DRIFT_PPM", value: "NUMBER", help: "How far two clocks may run apart, in parts of a million, as the masters assume [default: 1000]" },
        Key { name: "insecure", flag: "insecure", variable: "QUORATE_INSECURE", value: "", help: "Allow addresses that are not loopback, although there is no TLS yet" },
        logs::FORMAT,
        logs::LEVEL,
    ];
}

/// What an executor runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentSettings {
    pub(crate) endpoints: Vec<String>,
    pub(crate) name: String,
    pub(crate) listen: String,
    pub(crate) advertise: Option<String>,
    pub(crate) slots: u32,
    pub(crate) data_dir: PathBuf,
    /// Sorted by name.
    pub(crate) labels: Vec<(String, String)>,
    /// Between two heartbeats.
    pub(crate) heartbeat: Duration,
    /// Check period, kill time and drift; the masters say ttl and grace.
    pub(crate) lease: LeaseTimes,
    pub(crate) logs: Logs,
}

impl AgentSettings {
    /// Reads and checks all settings; `endpoints` if none were given.
    ///
    /// # Errors
    /// Wrong use: the first setting that is missing or wrong, and where it was given.
    pub(crate) fn resolve(layer: &Layer, endpoints: &str) -> Result<Self, Failure> {
        let data_dir = layer.read("data_dir", PathBuf::new(), |text| Ok(PathBuf::from(text)))?;
        if data_dir.as_os_str().is_empty() {
            return Err(Failure::usage("data_dir is missing: an executor must know where its tasks work")
                .with_next("give --data-dir with a directory on a local disk"));
        }
        let settings = Self {
            endpoints: layer.read(
                "endpoints",
                parse_endpoints(endpoints).map_err(Failure::usage)?,
                parse_endpoints,
            )?,
            name: layer.read("name", host_name(), parse_name)?,
            listen: layer.read("listen", ANY_LOOPBACK_PORT.to_owned(), |text| parse_address(text, true))?,
            advertise: layer.read("advertise", None, |text| parse_address(text, false).map(Some))?,
            slots: layer.read("slots", processors(), parse_slots)?,
            data_dir,
            labels: layer.read("labels", Vec::new(), parse_labels)?,
            heartbeat: layer.read("executor.heartbeat", AgentConfig::default().heartbeat, parse_period)?,
            lease: lease(layer)?,
            logs: Logs::resolve(layer)?,
        };
        let insecure = layer.read("insecure", false, parse_bool)?;
        check_loopback(layer, "listen", &settings.listen, insecure)?;
        if settings.listen.starts_with("0.0.0.0:") && settings.advertise.is_none() {
            return Err(Failure::usage(format!(
                "{}listen is {}: masters cannot call that",
                layer.blame("listen"),
                settings.listen
            ))
            .with_next("give --advertise with the address at which masters reach this executor"));
        }
        Ok(settings)
    }
}

fn lease(layer: &Layer) -> Result<LeaseTimes, Failure> {
    let default = LeaseTimes::default();
    Ok(LeaseTimes {
        check: layer.read("executor.check", default.check, parse_period)?,
        kill: layer.read("executor.kill", default.kill, parse_duration)?,
        drift_ppm: layer.read("executor.drift_ppm", default.drift_ppm, parse_drift)?,
        ..default
    })
}

fn parse_slots(text: &str) -> Result<u32, String> {
    parse_number(text, 1, u64::from(limits::EXECUTOR_SLOTS)).map(|number| number as u32)
}

fn parse_name(text: &str) -> Result<String, String> {
    if (1..=63).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` has {} bytes: a name has 1 to 63", text.len()))
}

fn parse_labels(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut labels = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        labels.push(parse_pair(part)?);
    }
    labels.sort();
    match labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(format!("label `{}` is given twice", pair[0].0)),
        None => Ok(labels),
    }
}

fn processors() -> u32 {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(count).unwrap_or(limits::EXECUTOR_SLOTS).min(limits::EXECUTOR_SLOTS)
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    parse_name(&name).unwrap_or_else(|_| "executor".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;
    use std::path::Path;

    fn resolve(text: &str) -> Result<AgentSettings, Failure> {
        let layer = file::parse(text, Path::new("a.toml"), AgentRole::KEYS, AgentRole::COMMAND).unwrap();
        AgentSettings::resolve(&layer, "127.0.0.1:7701")
    }

    #[test]
    fn the_least_file_gives_the_defaults() {
        let settings = resolve("data_dir = \"/tmp/x\"").unwrap();
        assert_eq!(settings.endpoints, ["127.0.0.1:7701"]);
        assert_eq!(settings.listen, ANY_LOOPBACK_PORT);
        assert!(settings.slots >= 1 && !settings.name.is_empty());
    }

    #[test]
    fn everything_can_be_set() {
        let text = "data_dir = \"/tmp/x\"\nendpoints = [\"a:1\", \"b:2\"]\nslots = 4\nname = \"n\"\nlabels = \"b=2,a=1\"";
        let settings = resolve(text).unwrap();
        assert_eq!(settings.endpoints, ["a:1", "b:2"]);
        assert_eq!((settings.slots, settings.name.as_str()), (4, "n"));
        assert_eq!(settings.labels[0], ("a".to_owned(), "1".to_owned()));
    }

    #[test]
    fn wrong_settings_are_named_with_their_line() {
        for (text, part) in [
            ("slots = 0", "a.toml, line 2: slots: `0` is wrong: it must be a whole number from 1 to 1000"),
            ("slots = 1001", "from 1 to 1000"),
            ("name = \"\"", "a.toml, line 2: name"),
            ("labels = \"a\"", "write NAME=VALUE"),
            ("labels = \"a=1,a=2\"", "given twice"),
            ("listen = \"10.0.0.1:0\"", "not a loopback address"),
            ("insecure = true\nlisten = \"0.0.0.0:0\"", "masters cannot call that"),
        ] {
            let failure = resolve(&format!("data_dir = \"/tmp/x\"\n{text}")).unwrap_err();
            assert!(failure.message.contains(part), "{failure}");
        }
        assert!(resolve("").unwrap_err().message.starts_with("data_dir is missing"));
    }
}
