//! A master that joins a cluster asks a member which cluster that is, and who takes part. What it was told is kept in its
//! data directory, so that it comes up again when nobody else does.

use super::{
    layer::{Layer, Origin},
    server,
    values::{Members, format_members, parse_endpoints, parse_members},
};
use crate::{cluster::Cluster, failure::Failure};
use quorate_core::{
    contract::MemberAddress,
    types::{ClusterId, NodeId},
};
use quorate_net::storage::make_directory;
use std::{fs, io, io::Write as _, path::Path, time::Duration};

/// What a master is told before it joins.
const FILE: &str = "joined";
/// How long it asks.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fills the members in, and names the cluster, if the settings say that this master joins one. Nothing otherwise. `keeps`: what
/// it is told is for the data directory, too.
///
/// # Errors
/// Wrong use: members as well, addresses that are none, or no node or directory. Refused: nobody answers, or the node is no
/// member.
pub(crate) async fn fill(layer: &mut Layer, keeps: bool) -> Result<Option<ClusterId>, Failure> {
    if layer.get("join").is_none_or(|setting| setting.text.is_empty()) {
        return Ok(None);
    }
    let endpoints = layer.read("join", Vec::new(), parse_endpoints)?;
    if layer.get("members").is_some() {
        let blame = layer.blame("members");
        return Err(Failure::usage(format!(
            "{blame}members are given, and join as well: a master founds a cluster or joins one"
        ))
        .with_next("leave one of them out"));
    }
    let node = server::node(layer)?;
    let path = server::data_dir(layer)?.join(FILE);
    let (cluster, members) = match read(&path) {
        Some(kept) => kept,
        None => {
            let told = ask(&endpoints, node).await?;
            if keeps {
                keep(&path, &told)
                    .map_err(|error| Failure::refused(format!("{}: {error}", path.display())))?;
            }
            told
        }
    };
    layer.set("members", format_members(&members), Origin::Flag("join"));
    Ok(Some(cluster))
}

async fn ask(endpoints: &[String], node: NodeId) -> Result<(ClusterId, Members), Failure> {
    let cluster = Cluster::new(endpoints, PATIENCE)?;
    // Nobody may lead because this very master is missing.
    let reply = match cluster.members().await {
        Ok(reply) => reply,
        Err(error) => cluster.known_members().await.map_err(|_| error)?,
    };
    let address = |member: quorate_proto::v1::Member| {
        (NodeId(member.id), MemberAddress { peer: member.peer_address, client: member.client_address })
    };
    let members: Members = reply.members.into_iter().map(address).collect();
    if members.contains_key(&node) {
        return Ok((ClusterId(reply.cluster), members));
    }
    let all: Vec<String> = members.keys().map(ToString::to_string).collect();
    Err(Failure::refused(format!("node {node} is no member of this cluster, which has {}", all.join(", ")))
        .with_next(format!("add it first: quorate member add {node} --peer HOST:PORT --client HOST:PORT")))
}

fn read(path: &Path) -> Option<(ClusterId, Members)> {
    let text = fs::read_to_string(path).ok()?;
    let (cluster, members) = text.trim_end().split_once('\n')?;
    Some((ClusterId(u64::from_str_radix(cluster, 16).ok()?), parse_members(members).ok()?))
}

fn keep(path: &Path, (cluster, members): &(ClusterId, Members)) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    make_directory(directory)?;
    // A start removes what was left half written.
    let aside = path.with_extension("tmp");
    let mut file = fs::File::create(&aside)?;
    writeln!(file, "{cluster}\n{}", format_members(members))?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_read_again_and_nothing_else_is() {
        let directory = std::env::temp_dir().join(format!("quorate-joined-{}", std::process::id()));
        let path = directory.join(FILE);
        let members = parse_members("1=a:1/a:2,4=b:1/b:2").unwrap();
        let told = (ClusterId(0x77), members);
        keep(&path, &told).unwrap();
        assert_eq!(read(&path), Some(told));
        for wrong in ["", "77", "xyz\n1=a:1/a:2\n", "77\n1=a\n"] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(read(&path), None, "{wrong:?}");
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
