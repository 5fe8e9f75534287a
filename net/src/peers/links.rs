//! A stream to each member but this node, as members come and go.

use super::{Link, Outbox};
use crate::{
    driver::Lanes,
    rt::{self, JoinHandle, lock},
};
use quorate_core::{
    contract::{Lane, MemberAddress},
    types::NodeId,
};
use quorate_proto::v1 as pb;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// Where members are, for whoever asks; the driver keeps it up to date.
#[derive(Clone, Debug)]
pub(crate) struct Directory(Arc<Mutex<Arc<Known>>>);

/// The members as of some time.
#[derive(Debug)]
pub(crate) struct Known {
    /// All of them, this node among them unless it is none.
    pub(crate) members: BTreeMap<NodeId, MemberAddress>,
    outboxes: BTreeMap<NodeId, Arc<Outbox>>,
}

impl Directory {
    /// These members, until the driver has been told of others.
    pub(crate) fn new(members: BTreeMap<NodeId, MemberAddress>) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(Known { members, outboxes: BTreeMap::new() }))))
    }

    /// The members as of now.
    pub(crate) fn known(&self) -> Arc<Known> {
        Arc::clone(&lock(&self.0))
    }
}

impl Known {
    /// A member spoke: a connection to it is worth trying at once.
    pub(crate) fn kick(&self, peer: NodeId) {
        if let Some(outbox) = self.outboxes.get(&peer) {
            outbox.kick();
        }
    }
}

/// The streams themselves. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Links {
    me: NodeId,
    lanes: Lanes,
    open: BTreeMap<NodeId, Open>,
    directory: Directory,
}

#[derive(Debug)]
struct Open {
    address: String,
    outbox: Arc<Outbox>,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Links {
    /// None yet.
    pub(crate) const fn new(me: NodeId, lanes: Lanes, directory: Directory) -> Self {
        Self { me, lanes, open: BTreeMap::new(), directory }
    }

    /// Hands a message to its stream; to nobody, if there is no such member.
    pub(crate) fn push(&self, to: NodeId, lane: Lane, envelope: pb::Envelope) {
        if let Some(open) = self.open.get(&to) {
            open.outbox.push(lane, envelope);
        }
    }

    /// Ends the streams to who is none or somewhere else, and opens those that are new.
    pub(crate) fn follow(&mut self, members: BTreeMap<NodeId, MemberAddress>) {
        let stays =
            |peer: &NodeId, open: &mut Open| members.get(peer).is_some_and(|it| it.peer == open.address);
        self.open.retain(stays);
        for (&peer, address) in members.iter().filter(|(peer, _)| **peer != self.me) {
            self.open.entry(peer).or_insert_with(|| {
                let (address, outbox) = (address.peer.clone(), Arc::new(Outbox::default()));
                let (lanes, waiting) = (self.lanes.clone(), Arc::clone(&outbox));
                let link = Link { peer, address: address.clone(), outbox: waiting, lanes };
                Open { address, outbox, task: rt::spawn(link.run()) }
            });
        }
        let outboxes = self.open.iter().map(|(&peer, open)| (peer, Arc::clone(&open.outbox))).collect();
        *lock(&self.directory.0) = Arc::new(Known { members, outboxes });
    }
}
