//! A cluster that lost the majority of its masters for good. An operator gives it up, and goes on with what one directory
//! holds: alone, or with the founders, out of the newest snapshot in it. Executors and clients stay, with what they run and
//! wait for. What nobody holds any more is lost; all else must be as it was, and nothing may run twice.

use super::{World, members::Roll, programs::Levels};
use crate::{
    disk::{Disk, Image, StoredSnapshot},
    marks::SimMark,
    master::{CLUSTER, WIPED_STORAGE},
    oracle::{Held, Logs, Reference, Rule, quorum::is_quorum},
    plan::{CorePlan, RecoveryPlan},
};
use quorate_core::{
    contract::{Entry, LogPosition},
    state::{Heir, Inheritance, Survivor},
    types::{Index, StorageId, Term},
};
use quorate_proto::v1::ClientReply;
use std::collections::BTreeSet;

/// What a new cluster begins with, and where it comes from.
struct Start {
    /// The master whose directory it comes from.
    from: usize,
    /// The masters that begin.
    masters: Vec<usize>,
    /// Up to here the old cluster's log is in it.
    last: LogPosition,
    /// Clients keep their sessions.
    sessions: bool,
    heir: Heir,
}

impl World {
    /// Every master is gone, and an operator begins anew, if the plan says so and a directory is fit for it.
    pub(super) fn give_up_cluster(&mut self) {
        let Some(recovery) = self.plan.recovery else { return };
        for place in 0..self.masters.len() as u8 {
            self.stop_master(place, true);
        }
        let planned = usize::from(recovery.master);
        let mut others: Vec<usize> = (0..self.masters.len()).filter(|at| *at != planned).collect();
        others.sort_by_key(|at| core::cmp::Reverse(self.masters[*at].disk.image.last()));
        let found = [planned].into_iter().chain(others).find_map(|at| self.start_of(at, recovery));
        self.marks.hit_if(found.as_ref().is_none_or(|start| start.from != planned), SimMark::RecoveryUnfit);
        let Some(start) = found else { return };
        self.note("gives up", || {
            format!("node {} goes on with what it has, up to {:?}", start.from + 1, start.last)
        });
        self.nothing_acknowledged_is_lost(&start);
        self.begin_anew(start);
    }

    /// What a new cluster would begin with. `None`: no cluster should go on with this directory.
    fn start_of(&mut self, at: usize, recovery: RecoveryPlan) -> Option<Start> {
        let master = &self.masters[at];
        if master.disk.image.damage().is_some() {
            return None;
        }
        let recovered = match master.disk.image.recover() {
            Ok(recovered) => recovered,
            Err(error) => {
                self.ledger.fail(Rule::Contract, format!("node {}: {error}", at + 1));
                return None;
            }
        };
        let storage = StorageId(master.storage.0 + WIPED_STORAGE);
        let made = if recovery.snapshot {
            let snapshot = recovered.snapshot?;
            // Somebody saved it while the cluster was there.
            snapshot.state.members()?;
            let last = snapshot.at;
            Heir::of_snapshot((master.cluster, CLUSTER), last.term, snapshot.state, 0)
                .map(|heir| (last, heir))
        } else {
            let survivor = match Survivor::of((master.cluster, master.id, master.storage), recovered) {
                Ok(survivor) => survivor,
                Err((index, error)) => {
                    self.ledger.fail(Rule::Contract, format!("node {}, entry {index}: {error}", at + 1));
                    return None;
                }
            };
            survivor.check().ok()?;
            let last = survivor.last;
            survivor.alone(CLUSTER, storage).map(|heir| (last, heir))
        };
        let founders = self.plan.masters.founding();
        let masters = if recovery.snapshot { (0..founders).collect() } else { vec![at] };
        match made {
            Ok((last, heir)) => Some(Start { from: at, masters, last, sessions: !recovery.snapshot, heir }),
            Err(error) => {
                self.ledger.fail(Rule::Contract, format!("node {}: {error}", at + 1));
                None
            }
        }
    }

    /// Whoever has the newest log of a majority of whole directories holds all that was committed: that is whom an operator is
    /// told to go on with.
    fn nothing_acknowledged_is_lost(&mut self, start: &Start) {
        let Some(oracles) = &self.oracles else { return };
        let own = &self.masters[start.from].disk.image;
        let newest = |place: usize| {
            let master = self.masters.get(place);
            let whole =
                master.is_some_and(|it| it.intact() && !it.disk.image.is_damaged() && self.is_member(place));
            whole
                && master.is_some_and(|it| {
                    let (its, ours) = (it.disk.image.last(), own.last());
                    (its.term, its.index) <= (ours.term, ours.index)
                })
        };
        let counts =
            start.sessions && self.masters[start.from].intact() && is_quorum(self.membership(), newest);
        let committed = oracles.consensus.entry(oracles.consensus.frontier()).map(Entry::position);
        let Some(committed) = committed else { return };
        let held = own.holds(committed) || own.whole().is_some_and(|it| it.at.index >= committed.index);
        self.ledger.hold(Rule::HeirComplete, !counts || held, || {
            format!("node {} has the newest log of a majority, and lacks {committed:?}", start.from + 1)
        });
        self.marks.hit_if(start.last.index < committed.index, SimMark::RecoveryLoses);
        self.marks.hit_if(start.last.index > committed.index, SimMark::RecoveryTail);
    }

    /// The log behind what a new cluster begins with, from the first entry on.
    fn log_of(&self, start: &Start) -> Vec<Entry> {
        let Some(oracles) = &self.oracles else { return Vec::new() };
        let image = &self.masters[start.from].disk.image;
        let own = |entry: &&Entry| entry.index <= start.last.index;
        let own: Vec<Entry> = image.entries.iter().filter(own).cloned().collect();
        // Where its own log does not reach, it has a snapshot of what was committed.
        let fits = own.last().is_some_and(|entry| entry.position() == start.last);
        let own = if fits { own } else { Vec::new() };
        let before = own.first().map_or(start.last.index.0 + 1, |entry| entry.index.0);
        let committed = (1..before).filter_map(|index| oracles.consensus.entry(Index(index)).cloned());
        committed.chain(own).collect()
    }

    /// What clients were told behind the part of the old cluster's log that goes on is lost, and they know it. What goes on may
    /// still hold what they asked, in an entry that was never committed: the new log says so.
    fn forget_lost(&mut self, log: &[Entry]) {
        let Some(oracles) = &self.oracles else { return };
        let committed = |entry: &&Entry| oracles.consensus.entry(entry.index) == Some(*entry);
        let kept = log.iter().take_while(committed).count() as u64;
        for client in &mut self.clients {
            let lost = |(_, reply): &mut (u64, ClientReply)| reply.index > kept;
            client.history.iter_mut().for_each(|it| drop(it.answer.take_if(lost)));
        }
    }

    fn begin_anew(&mut self, start: Start) {
        let log = self.log_of(&start);
        self.forget_lost(&log);
        let index = start.heir.at.index;
        if let Some(oracles) = &mut self.oracles {
            let mut reference = Reference::of(&log);
            // The hash of a state says all of it; that of the heir has changed since.
            let held = reference.state.clone().inherited(&Inheritance {
                revisions: 0,
                sessions: start.sessions,
                alone: start.heir.state.members().and_then(|it| it.get(self.masters[start.from].id)).cloned(),
            });
            let same = held.is_ok_and(|held| held.hash() == start.heir.state.hash());
            self.ledger.hold(Rule::HeirWhole, same, || {
                format!(
                    "node {} goes on, and does not hold what its log up to {:?} makes",
                    start.from + 1,
                    start.last
                )
            });
            reference.inherits(start.heir.state.clone(), start.sessions);
            oracles.consensus = oracles.consensus.heir(start.heir.at);
            oracles.reference = reference;
            (oracles.contact, oracles.logs, oracles.held) =
                (oracles.contact.anew(), Logs::default(), Held::default());
            self.marks.hit_if(oracles.truth.running() > 0, SimMark::RecoveryOrphans);
            oracles.truth.orphan_all(index);
        }
        for at in 0..self.masters.len() {
            let begins = start.masters.contains(&at);
            self.masters[at].gone = !begins;
            if begins {
                self.give_directory(at, &start.heir);
            }
        }
        self.era += 1;
        self.roll = Roll::of(start.heir.state.members().cloned());
        self.levels = Levels::of(&start.heir.state, &start.masters);
        self.follows.fill((0, Index(0)));
        self.wronged.clear();
        self.misjudged.clear();
        self.untold.clear();
        self.told_states.clear();
        self.promised.clear();
        let executors = match &self.plan.core {
            Some(core) => core.executors.clone(),
            None => (0..self.executors.len() as u8).collect(),
        };
        let masters: BTreeSet<u8> = start.masters.iter().map(|at| *at as u8).collect();
        self.core = Some(CorePlan { masters: masters.into_iter().collect(), executors });
        self.marks.hit(if start.sessions { SimMark::RecoveredAlone } else { SimMark::RecoveredSnapshot });
        self.mark(63, start.from as u8, index.0, &[]);
    }

    /// A master begins anew with the directory of an heir.
    fn give_directory(&mut self, at: usize, heir: &Heir) {
        let snapshot = StoredSnapshot { at: heir.at, chunks: heir.state.encode().collect() };
        let mut image = Image {
            hard_state: heir.hard_state(),
            voters: heir.voters.clone(),
            start: heir.at,
            ..Image::default()
        };
        image.store(snapshot);
        let master = &mut self.masters[at];
        let writes = master.disk.writes;
        master.disk = Disk { image, writes, ..Disk::default() };
        master.storage = StorageId(master.storage.0 + WIPED_STORAGE);
        master.cluster = heir.cluster;
        (master.wiped, master.rolled, master.broken) = (false, false, None);
        master.caught = 0;
        if heir.voters.is_empty() {
            // It founds a cluster, whatever it did before.
            master.joins = None;
        }
        (master.term_lost, master.forgot) = (Term(0), Term(0));
        master.copies.clear();
    }
}
