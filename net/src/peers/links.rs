//! A stream to each member but this node, as members come and go.

use super::{Link, Outbox};
use crate::{
    driver::{Lanes, WorkDone},
    limits::VISITORS,
    rt::{self, JoinHandle, lock},
};
use quorate_core::{
    bug::{self, Bug},
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
pub(crate) struct Directory {
    known: Arc<Mutex<Arc<Known>>>,
    /// Who speaks is answered on the stream that it opened, as long as none is open to it: it may be unknown, or somewhere else
    /// than this node was told.
    visitors: Arc<Mutex<BTreeMap<NodeId, Arc<Outbox>>>>,
}

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
        let known = Arc::new(Mutex::new(Arc::new(Known { members, outboxes: BTreeMap::new() })));
        Self { known, visitors: Arc::default() }
    }

    /// The members as of now.
    pub(crate) fn known(&self) -> Arc<Known> {
        Arc::clone(&lock(&self.known))
    }

    /// Somebody has a stream to this node: what it is to be told, and cannot be told otherwise, comes here until the visit is
    /// dropped. `None`: it is not known, and too many such are there.
    pub(crate) fn visit(&self, node: NodeId) -> Option<Visit> {
        let known = self.known();
        let mut visitors = lock(&self.visitors);
        let is_new = !known.members.contains_key(&node) && !visitors.contains_key(&node);
        let strangers = || visitors.keys().filter(|node| !known.members.contains_key(node)).count();
        if is_new && strangers() >= VISITORS {
            return None;
        }
        let outbox = Arc::new(Outbox::default());
        visitors.insert(node, Arc::clone(&outbox));
        Some(Visit { node, outbox, visitors: Arc::clone(&self.visitors) })
    }

    fn visitor(&self, node: NodeId) -> Option<Arc<Outbox>> {
        lock(&self.visitors).get(&node).cloned()
    }
}

/// A stream that somebody opened.
#[derive(Debug)]
pub(crate) struct Visit {
    node: NodeId,
    pub(crate) outbox: Arc<Outbox>,
    visitors: Arc<Mutex<BTreeMap<NodeId, Arc<Outbox>>>>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut visitors = lock(&self.visitors);
        // It may have opened another one meanwhile.
        if visitors.get(&self.node).is_some_and(|outbox| Arc::ptr_eq(outbox, &self.outbox)) {
            visitors.remove(&self.node);
        }
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
    work: Arc<WorkDone>,
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
    pub(crate) const fn new(me: NodeId, lanes: Lanes, directory: Directory, work: Arc<WorkDone>) -> Self {
        Self { me, lanes, open: BTreeMap::new(), directory, work }
    }

    /// Hands a message to the stream to its receiver. Where there is none, to the one that this opened, or else to the next
    /// that is opened to it; to nobody, if there is no such member, and none that visits.
    pub(crate) fn push(&self, to: NodeId, lane: Lane, envelope: pb::Envelope) {
        let own = self.open.get(&to).map(|open| &open.outbox);
        if let Some(outbox) = own.filter(|outbox| outbox.flows()) {
            outbox.push(lane, envelope);
        } else if let Some(outbox) =
            self.directory.visitor(to).filter(|_| !bug::planted(Bug::NetOwnStreamOnly))
        {
            outbox.push(lane, envelope);
        } else if let Some(outbox) = own {
            outbox.push(lane, envelope);
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
                let link = Link {
                    peer,
                    address: address.clone(),
                    outbox: waiting,
                    lanes,
                    work: Arc::clone(&self.work),
                };
                Open { address, outbox, task: rt::spawn(link.run()) }
            });
        }
        let outboxes = self.open.iter().map(|(&peer, open)| (peer, Arc::clone(&open.outbox))).collect();
        *lock(&self.directory.known) = Arc::new(Known { members, outboxes });
    }
}
