//! `quorate kv`: the key-value store.

use super::Shared;
use crate::{
    cluster::{Cluster, Expected},
    failure::Failure,
    output::{self, Format, Table, records},
};
use bytes::Bytes;
use clap::{ArgGroup, Args, Subcommand};
use quorate_core::limits;
use quorate_proto::v1 as pb;
use serde_json::{Value, json};
use std::io::Read as _;

const EXAMPLES: &str = "\
Examples:
  Set a key, and read it back:
    quorate kv put greeting hello
    quorate kv get greeting
  Store a file:
    quorate kv put config/app - < app.toml
  List all keys that begin with config/:
    quorate kv list config/ --keys-only
  Take a lock only if nobody has it:
    quorate kv cas lock me --if-absent";

/// What can be done with keys. Every read sees every write that was acknowledged before it.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum KvCommand {
    /// Set a key
    #[command(after_help = EXAMPLES)]
    Put {
        /// The key
        key: String,
        /// The value; `-` reads it from stdin
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Print a key's value
    #[command(after_help = EXAMPLES)]
    Get {
        /// The key
        key: String,
        /// Answer from the state of the first master reached, which may be behind
        #[arg(long)]
        stale: bool,
    },
    /// Remove a key
    #[command(after_help = EXAMPLES)]
    Delete {
        /// The key
        key: String,
    },
    /// Set a key only if it is as expected (compare and set)
    #[command(after_help = EXAMPLES)]
    Cas(CasArgs),
    /// List keys in their order
    #[command(after_help = EXAMPLES)]
    List(ListArgs),
}

/// A change on a condition.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("expected").required(true)))]
pub(super) struct CasArgs {
    /// The key
    key: String,
    /// The value to set; `-` reads it from stdin
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Only if there is no such key
    #[arg(long, group = "expected")]
    if_absent: bool,
    /// Only if the key has this value
    #[arg(long, group = "expected", value_name = "VALUE", allow_hyphen_values = true)]
    if_value: Option<String>,
    /// Only if the key was last changed at this revision
    #[arg(long, group = "expected", value_name = "REVISION")]
    if_revision: Option<u64>,
}

/// Which keys to list.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only keys that begin with this
    #[arg(default_value = "")]
    prefix: String,
    /// Only keys after this one
    #[arg(long, default_value = "", value_name = "KEY")]
    after: String,
    /// At most so many; without it, all
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Without values
    #[arg(long)]
    keys_only: bool,
    /// Answer from the state of the first master reached, which may be behind
    #[arg(long)]
    stale: bool,
}

impl KvCommand {
    pub(super) async fn run(self, shared: &Shared) -> Result<(), Failure> {
        let (cluster, format) = (shared.cluster()?, shared.output);
        match self {
            Self::Put { key, value } => {
                let reply = cluster.put(key.into(), read_value(value)?).await?;
                done(format, &json!({ "revision": reply.revision }), &format!("revision {}", reply.revision))
            }
            Self::Get { key, stale } => get(&cluster, key, stale, format).await,
            Self::Delete { key } => {
                let reply = cluster.delete(key.clone().into()).await?;
                if !reply.deleted {
                    return Err(absent(&key));
                }
                let value = json!({ "revision": reply.revision, "deleted": true });
                done(format, &value, &format!("revision {}", reply.revision))
            }
            Self::Cas(args) => args.run(&cluster, format).await,
            Self::List(args) => args.run(&cluster, format).await,
        }
    }
}

impl CasArgs {
    async fn run(self, cluster: &Cluster, format: Format) -> Result<(), Failure> {
        let expected = match (self.if_value, self.if_revision) {
            (Some(value), _) => Expected::Value(value.into()),
            (None, Some(revision)) => Expected::Revision(revision),
            (None, None) => Expected::Absent,
        };
        let reply =
            cluster.compare_and_set(self.key.clone().into(), expected, read_value(self.value)?).await?;
        if reply.succeeded {
            let value = json!({ "revision": reply.revision, "succeeded": true });
            return done(format, &value, &format!("revision {}", reply.revision));
        }
        let current = match &reply.current {
            None => "there is no such key".to_owned(),
            Some(item) => {
                let value = output::short(&String::from_utf8_lossy(&item.value), 60);
                format!("its value is `{value}` (revision {})", item.mod_revision)
            }
        };
        Err(Failure::refused(format!("{} was not changed: {current}", self.key))
            .with_next("read the key again, and decide from what it is"))
    }
}

impl ListArgs {
    async fn run(self, cluster: &Cluster, format: Format) -> Result<(), Failure> {
        let items = self.all(cluster).await?;
        if format == Format::Json {
            let items: Vec<Value> =
                items.iter().map(|item| records::key_value(item, self.keys_only)).collect();
            return output::json(&json!({ "items": items }));
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
        if self.keys_only {
            return items.iter().try_for_each(|item| output::line(&text(&item.key)));
        }
        let mut table = Table::new(["KEY", "REVISION", "VALUE"]);
        for item in &items {
            table.row([text(&item.key), item.mod_revision.to_string(), text(&item.value)]);
        }
        table.print()
    }

    /// Page by page, up to the limit.
    async fn all(&self, cluster: &Cluster) -> Result<Vec<pb::KeyValue>, Failure> {
        let most = self.limit.map_or(usize::MAX, |limit| limit as usize);
        let mut items: Vec<pb::KeyValue> = Vec::new();
        loop {
            let after = items.last().map_or_else(|| self.after.clone().into(), |item| item.key.clone());
            let page = most.saturating_sub(items.len()).min(limits::PAGE_ITEMS);
            let request = pb::ListRequest {
                prefix: self.prefix.clone().into(),
                after,
                limit: u32::try_from(page).unwrap_or(0),
                keys_only: self.keys_only,
                stale: self.stale,
            };
            let reply = cluster.list(request).await?;
            let empty = reply.items.is_empty();
            items.extend(reply.items);
            if empty || !reply.more || items.len() >= most {
                return Ok(items);
            }
        }
    }
}

async fn get(cluster: &Cluster, key: String, stale: bool, format: Format) -> Result<(), Failure> {
    let reply = cluster.get(key.clone().into(), stale).await?;
    let Some(item) = reply.item else { return Err(absent(&key)) };
    if format == Format::Json {
        return output::json(&records::key_value(&item, false));
    }
    output::raw(&[&item.value[..], b"\n"].concat())
}

fn done(format: Format, value: &Value, text: &str) -> Result<(), Failure> {
    match format {
        Format::Table => output::line(text),
        Format::Json => output::json(value),
    }
}

fn absent(key: &str) -> Failure {
    Failure::refused(format!("there is no key `{key}`"))
        .with_next("`quorate kv list` shows the keys that exist")
}

/// The value itself, or all of stdin for `-`.
fn read_value(value: String) -> Result<Bytes, Failure> {
    if value != "-" {
        return Ok(value.into());
    }
    let mut bytes = Vec::new();
    let most = limits::VALUE_BYTES as u64;
    std::io::stdin()
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::refused(format!("stdin cannot be read: {error}")))?;
    if bytes.len() as u64 > most {
        return Err(Failure::refused(format!("the value from stdin has more than {most} bytes"))
            .with_next("store it elsewhere, and its address here"));
    }
    Ok(bytes.into())
}
