//! What a scenario's log holds: Raft does not look into it, so it is this suite's own.

use crate::pure::{parse_changes, show_change};
use bytes::Bytes;
use quorate_core::{
    contract::Entry,
    raft::membership::{Change, Membership, MembershipError},
};

/// How a change of several steps is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// In one step if one is enough; else through a joint configuration that is left by itself.
    Auto,
    /// Through a joint configuration that is left by itself.
    Implicit,
    /// Through a joint configuration that another change leaves.
    Explicit,
}

/// One entry's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A text; the first entry of a term has none.
    Normal(String),
    /// One change in one step.
    ConfChange(Change),
    /// Changes; without any, a joint configuration is left.
    ConfChangeV2(Transition, Vec<Change>),
}

const NORMAL: u8 = 0;
const CONF_CHANGE: u8 = 1;
const CONF_CHANGE_V2: u8 = 2;

impl Content {
    /// As it is in the log.
    pub(crate) fn encode(&self) -> Bytes {
        let (mut bytes, text) = match self {
            Self::Normal(text) if text.is_empty() => return Bytes::new(),
            Self::Normal(text) => (vec![NORMAL], text.clone()),
            Self::ConfChange(change) => (vec![CONF_CHANGE], show_change(change)),
            Self::ConfChangeV2(transition, changes) => {
                (vec![CONF_CHANGE_V2, *transition as u8], show_changes(changes))
            }
        };
        bytes.extend_from_slice(text.as_bytes());
        bytes.into()
    }

    /// Of an entry that this suite has made.
    pub(crate) fn of(entry: &Entry) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let changes = |bytes: &[u8]| parse_changes(&text(bytes)).unwrap_or_default();
        match *entry.data {
            [CONF_CHANGE, ref rest @ ..] => match changes(rest).first() {
                Some(change) => Self::ConfChange(*change),
                None => Self::Normal(text(rest)),
            },
            [CONF_CHANGE_V2, transition, ref rest @ ..] => {
                let transition = match transition {
                    0 => Transition::Auto,
                    1 => Transition::Implicit,
                    _ => Transition::Explicit,
                };
                Self::ConfChangeV2(transition, changes(rest))
            }
            [NORMAL, ref rest @ ..] => Self::Normal(text(rest)),
            ref other => Self::Normal(text(other)),
        }
    }

    /// Whether it leaves a joint configuration.
    pub(crate) fn leaves(&self) -> bool {
        matches!(self, Self::ConfChangeV2(Transition::Auto, changes) if changes.is_empty())
    }

    /// The membership after it. `None`: it changes none.
    pub(crate) fn changed(&self, membership: &Membership) -> Option<Result<Membership, MembershipError>> {
        Some(match self {
            Self::Normal(_) => return None,
            Self::ConfChange(change) => membership.simple(&[*change]),
            Self::ConfChangeV2(..) if self.leaves() => membership.leave_joint(),
            Self::ConfChangeV2(Transition::Auto, changes) if changes.len() <= 1 => membership.simple(changes),
            Self::ConfChangeV2(transition, changes) => {
                membership.enter_joint(*transition != Transition::Explicit, changes)
            }
        })
    }
}

fn show_changes(changes: &[Change]) -> String {
    let all: Vec<String> = changes.iter().map(show_change).collect();
    all.join(" ")
}

/// An entry on a line: `1/11 EntryNormal "text"`.
pub(crate) fn show(entry: &Entry) -> String {
    let place = format!("{}/{}", entry.term, entry.index);
    match Content::of(entry) {
        Content::Normal(text) => format!("{place} EntryNormal {text:?}"),
        Content::ConfChange(change) => format!("{place} EntryConfChange {}", show_change(&change)),
        Content::ConfChangeV2(_, changes) if changes.is_empty() => format!("{place} EntryConfChangeV2"),
        Content::ConfChangeV2(_, changes) => format!("{place} EntryConfChangeV2 {}", show_changes(&changes)),
    }
}
