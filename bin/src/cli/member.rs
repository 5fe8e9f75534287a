//! `quorate member`: the masters of the cluster.

use super::Shared;
use crate::{
    failure::Failure,
    output::{self, Format, Table, records},
};
use clap::Subcommand;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  See the masters and which of them leads:
    quorate member list";

/// What can be asked about masters.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum MemberCommand {
    /// List the masters and which of them leads
    #[command(after_help = EXAMPLES)]
    List,
}

impl MemberCommand {
    pub(super) async fn run(self, shared: &Shared) -> Result<(), Failure> {
        let Self::List = self;
        let reply = shared.cluster()?.members().await?;
        if shared.output == Format::Json {
            let members: Vec<Value> = reply.members.iter().map(records::member).collect();
            return output::json(&json!({ "cluster": records::hex(reply.cluster), "members": members }));
        }
        let mut table = Table::new(["ID", "LEADER", "PEER ADDRESS", "CLIENT ADDRESS"]);
        for member in reply.members {
            let leads = if member.is_leader { "yes" } else { "" };
            table.row([member.id.to_string(), leads.to_owned(), member.peer_address, member.client_address]);
        }
        table.print()
    }
}
