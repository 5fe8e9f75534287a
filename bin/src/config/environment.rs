//! Settings from environment variables.

use super::{
    keys::{self, Key, Role as _},
    layer::{Layer, Origin},
};
use crate::{
    config::{agent::AgentRole, server::ServerRole},
    failure::Failure,
};

/// What every variable of Quorate begins with.
const PREFIX: &str = "QUORATE_";
/// Known variables that are no setting of a role: those of the command line, and those that tasks get.
const OTHERS: [&str; 8] = [
    "QUORATE_ENDPOINTS",
    "QUORATE_OUTPUT",
    "QUORATE_TIMEOUT",
    "QUORATE_CONFIG",
    "QUORATE_JOB",
    "QUORATE_TASK",
    "QUORATE_EPOCH",
    "QUORATE_EXECUTOR",
];

/// Takes the settings of `known` from variables.
///
/// # Errors
/// Wrong use: a variable begins with `QUORATE_` and is not known, or is not UTF-8.
pub(crate) fn read(
    variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    known: &'static [Key],
) -> Result<Layer, Failure> {
    let mut layer = Layer::default();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if let Some(key) = known.iter().find(|key| key.variable == name) {
            let value = value.into_string().map_err(|_| {
                Failure::usage(format!("environment variable {name}: its value is not UTF-8"))
            })?;
            layer.set(key.name, value, Origin::Variable(name.to_owned()));
        } else if !is_known(name) && !is_service_link(name) {
            return Err(unknown(name));
        }
    }
    Ok(layer)
}

/// Both roles may share one environment.
fn all() -> impl Iterator<Item = &'static str> {
    let roles = ServerRole::KEYS.iter().chain(AgentRole::KEYS).map(|key| key.variable);
    roles.chain(OTHERS)
}

fn is_known(name: &str) -> bool {
    all().any(|known| known == name)
}

/// Kubernetes sets these in every pod when a service is called `quorate` or `quorate-...`.
fn is_service_link(name: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || name.ends_with("_PORT")
}

fn unknown(name: &str) -> Failure {
    let meant =
        keys::nearest(name, all()).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
    Failure::usage(format!("unknown environment variable {name}{meant}")).with_next(format!(
        "unset it, or correct its name: `{} --help` names all settings",
        ServerRole::COMMAND
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_server(variables: &[(&str, &str)]) -> Result<Layer, Failure> {
        read(variables.iter().map(|(name, value)| (name.into(), value.into())), ServerRole::KEYS)
    }

    #[test]
    fn variables_are_settings() {
        let layer =
            read_server(&[("PATH", "/bin"), ("QUORATE_TIMING_HEARTBEAT", "60ms"), ("QUORATE_SLOTS", "3")])
                .unwrap();
        assert_eq!(layer.get("timing.heartbeat").unwrap().text, "60ms");
        assert!(layer.get("slots").is_none());
    }

    #[test]
    fn an_unknown_variable_is_named_with_the_nearest_known_one() {
        let failure = read_server(&[("QUORATE_NOD", "1")]).unwrap_err();
        assert_eq!(failure.message, "unknown environment variable QUORATE_NOD; did you mean QUORATE_NODE?");
        assert_eq!(failure.kind, crate::failure::Kind::Usage);
        assert!(failure.next.is_some());
    }

    #[test]
    fn what_kubernetes_sets_is_left_alone() {
        let names =
            ["QUORATE_SERVICE_HOST", "QUORATE_PORT", "QUORATE_PORT_7701_TCP", "QUORATE_PEERS_SERVICE_PORT"];
        for name in names {
            assert!(read_server(&[(name, "x")]).is_ok(), "{name}");
        }
    }
}
