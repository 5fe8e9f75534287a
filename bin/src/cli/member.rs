//! `quorate member`: the masters of the cluster.

use super::Shared;
use crate::{
    failure::Failure,
    output::{self, Format, Table, records},
};
use clap::{Args, Subcommand};
use pb::member_change::Change;
use quorate_proto::v1 as pb;
use serde_json::{Value, json};
use std::time::Duration;

/// How long is waited for who leads after a change that was made.
const LIST_WITHIN: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  See the masters, what each does, and which of them leads:
    quorate member list
  Add a master; it gets the log, and has no vote yet:
    quorate member add 4 --peer 10.0.0.4:7700 --client 10.0.0.4:7701
  Let it vote, once it has caught up:
    quorate member promote 4
  Let it vote in place of master 2, which is taken out in the same change:
    quorate member promote 4 --instead-of 2
  Take a master out, or several in one change:
    quorate member remove 2
    quorate member remove 4 5
  Let another master lead, for example before this one is stopped:
    quorate member transfer-leader
  Let masters 1 and 2 lead rather than 3, which is far away:
    quorate member set-priority 3 -1
  Master 3 lost its disk: take its next directory for it, as a learner:
    quorate member replace 3";

/// What can be asked about masters.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum MemberCommand {
    /// List the masters, what each does, and which of them leads
    #[command(after_help = EXAMPLES)]
    List,
    /// Add a master: it gets the log, and votes when it is promoted
    #[command(after_help = EXAMPLES)]
    Add(Place),
    /// Let a learner vote that has caught up
    #[command(after_help = EXAMPLES)]
    Promote {
        #[command(flatten)]
        which: Several,
        /// Take these masters out in the same change, so that the number of voters stays as it is
        #[arg(long, value_name = "ID", value_delimiter = ',')]
        instead_of: Vec<u64>,
    },
    /// Take a master's vote; it still gets the log
    #[command(after_help = EXAMPLES)]
    Demote(Several),
    /// Take a master out for good
    #[command(after_help = EXAMPLES)]
    Remove(Several),
    /// Take the next data directory that comes under this id for the master's, as a learner
    #[command(after_help = EXAMPLES)]
    Replace(Which),
    /// Let another master lead, and wait until it does
    #[command(after_help = EXAMPLES)]
    TransferLeader {
        /// Id of the master; default: the voter that has most of the log
        #[arg(value_name = "ID")]
        id: Option<u64>,
    },
    /// Say which master leads rather than others: of those that are there, one with the highest priority
    #[command(after_help = EXAMPLES)]
    SetPriority {
        /// Id of the master
        #[arg(value_name = "ID")]
        id: u64,
        /// -100 to 100; all begin with 0. Below 0: it leads only if nobody else can
        #[arg(value_name = "PRIORITY", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100..=100))]
        priority: i32,
    },
    /// Say where a master is reached from now on
    #[command(after_help = EXAMPLES)]
    Update(Place),
}

/// One master.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Id of the master
    #[arg(value_name = "ID")]
    id: u64,
}

/// One master, or several.
#[derive(Debug, Args)]
pub(super) struct Several {
    /// Id of the master; of several, all change together or none does
    #[arg(value_name = "ID", required = true)]
    ids: Vec<u64>,
}

impl Several {
    fn each(self, change: fn(u64) -> Change) -> Vec<Change> {
        self.ids.into_iter().map(change).collect()
    }
}

/// A master and where it is.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Id of the master
    #[arg(value_name = "ID")]
    id: u64,
    /// Where other masters reach it
    #[arg(long, value_name = "ADDRESS")]
    peer: String,
    /// Where clients reach it
    #[arg(long, value_name = "ADDRESS")]
    client: String,
}

impl Place {
    fn member(self) -> pb::AddMember {
        pb::AddMember { id: self.id, peer_address: self.peer, client_address: self.client }
    }
}

impl MemberCommand {
    pub(super) async fn run(self, shared: &Shared) -> Result<(), Failure> {
        let changes = match self {
            Self::List => return show(shared, shared.cluster()?.members().await?),
            Self::Add(place) => vec![Change::Add(place.member())],
            Self::Promote { which, instead_of } => {
                if let Some(id) = instead_of.iter().find(|id| which.ids.contains(id)) {
                    return Err(Failure::usage(format!(
                        "--instead-of names {id}, which is to be promoted: name another one"
                    )));
                }
                let gone = instead_of.into_iter().map(Change::Remove);
                which.each(Change::Promote).into_iter().chain(gone).collect()
            }
            Self::Demote(which) => which.each(Change::Demote),
            Self::Remove(which) => which.each(Change::Remove),
            Self::Replace(which) => vec![Change::Replace(which.id)],
            Self::Update(place) => vec![Change::Update(place.member())],
            Self::SetPriority { id, priority } => vec![Change::Priority(pb::MemberPriority { id, priority })],
            Self::TransferLeader { id } => {
                shared.cluster()?.transfer_leader(id).await?;
                return show(shared, shared.cluster()?.members().await?);
            }
        };
        let cluster = shared.cluster()?;
        let change = |change| pb::MemberChange { change: Some(change) };
        let made = cluster.change_members(changes.into_iter().map(change).collect()).await?;
        // It is made, whatever can be told of it now: who was asked may have been taken out.
        let listed = tokio::time::timeout(LIST_WITHIN, async { cluster.members().await }).await;
        show(shared, listed.ok().and_then(Result::ok).unwrap_or_else(|| told(made)))
    }
}

/// The members as the answer to a change has them: which cluster that is, and who leads, it does not say.
fn told(made: pb::Membership) -> pb::ListMembersReply {
    let member = |record: pb::MemberRecord| pb::Member {
        id: record.id,
        peer_address: record.peer_address,
        client_address: record.client_address,
        is_leader: false,
        part: record.part,
        storage: record.storage,
        priority: record.priority,
    };
    let members = made.members.into_iter().map(member).collect();
    pb::ListMembersReply { members, cluster: 0, index: made.index }
}

fn show(shared: &Shared, reply: pb::ListMembersReply) -> Result<(), Failure> {
    if shared.output == Format::Json {
        let members: Vec<Value> = reply.members.iter().map(records::member).collect();
        let cluster = (reply.cluster != 0).then(|| records::hex(reply.cluster));
        return output::json(&json!({ "cluster": cluster, "members": members }));
    }
    let mut table = Table::new(["ID", "PART", "LEADER", "PRIORITY", "PEER ADDRESS", "CLIENT ADDRESS"]);
    for member in reply.members {
        let part = records::part(member.part()).to_owned();
        let leads = if member.is_leader { "yes" } else { "" };
        let id = member.id.to_string();
        let priority = member.priority.to_string();
        table.row([id, part, leads.to_owned(), priority, member.peer_address, member.client_address]);
    }
    table.print()
}
