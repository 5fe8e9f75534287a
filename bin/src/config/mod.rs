//! Configuration: a TOML file, then the environment, then flags, each over the one before.

pub(crate) mod agent;
pub(crate) mod environment;
pub(crate) mod file;
pub(crate) mod identity;
pub(crate) mod join;
pub(crate) mod keys;
pub(crate) mod layer;
pub(crate) mod logs;
pub(crate) mod server;
pub(crate) mod values;

use crate::failure::Failure;
use keys::Role;
use layer::Layer;
use std::path::{Path, PathBuf};

/// Names the file when no flag does.
const FILE_VARIABLE: &str = "QUORATE_CONFIG";

/// All settings of a role that were given, merged.
///
/// # Errors
/// Wrong use: the file or a variable is wrong.
pub(crate) fn gather<R: Role>(file: Option<&Path>, flags: Layer) -> Result<Layer, Failure> {
    let named = std::env::var_os(FILE_VARIABLE).map(PathBuf::from);
    let layer = match file.or(named.as_deref()) {
        Some(path) => file::read(path, R::KEYS, R::COMMAND)?,
        None => Layer::default(),
    };
    let environment = environment::read(std::env::vars_os(), R::KEYS)?;
    Ok(layer.under(environment).under(flags))
}

/// Refuses to listen where others can reach it, as long as nothing proves who they are.
///
/// # Errors
/// Wrong use, unless `insecure` is set or the address is a loopback one.
pub(crate) fn check_loopback(
    layer: &Layer,
    name: &str,
    address: &str,
    insecure: bool,
) -> Result<(), Failure> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if loopback || insecure {
        return Ok(());
    }
    let blame = layer.blame(name);
    Err(Failure::usage(format!(
        "{blame}{name} is {address}, which is not a loopback address: this version has no TLS, so anyone who reaches \
         the address controls the cluster"
    ))
    .with_next("listen on 127.0.0.1, or pass --insecure on a network that you trust (TLS comes later)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    #[test]
    fn only_loopback_is_taken_unless_insecure() {
        let check =
            |address: &str, insecure| check_loopback(&Layer::default(), "listen.client", address, insecure);
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"] {
            assert_eq!(check(address, false), Ok(()), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "host.example:1"] {
            let failure = check(address, false).unwrap_err();
            assert_eq!(failure.kind, Kind::Usage);
            assert!(failure.message.contains(address) && failure.next.unwrap().contains("--insecure"));
            assert_eq!(check(address, true), Ok(()), "{address}");
        }
    }
}
