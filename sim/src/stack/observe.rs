//! Asks each master again and again what it knows of itself.

use super::stage::Stage;
use quorate_core::types::{Index, Term};
use quorate_net::rt::{Duration, timeout};
use quorate_proto::v1::{self as pb, client_reply::Body, client_request::Body as Ask};

/// Between two questions, milliseconds.
const PERIOD_MS: u64 = 40;
const PATIENCE: Duration = Duration::from_millis(500);

impl Stage {
    /// Looks at one master for as long as the run lasts.
    pub(super) async fn observe(self, place: usize) {
        loop {
            self.wait_ms(PERIOD_MS).await;
            let (handle, run, asked) = {
                let world = self.world();
                let master = &world.masters[place];
                (master.handle.clone().filter(|_| master.up), master.run, world.time())
            };
            let Some(handle) = handle else { continue };
            let ask = pb::ClientRequest { body: Some(Ask::Status(pb::StatusRequest {})) };
            if let Some(Ok(reply)) = timeout(PATIENCE, handle.request(ask)).await
                && let Some(Body::Status(status)) = reply.body
            {
                self.observed(place, run, asked, status);
            }
        }
    }

    fn observed(&self, place: usize, run: u64, asked: u64, status: pb::StatusReply) {
        let mut world = self.world();
        let world = &mut *world;
        if world.masters[place].run != run || !world.masters[place].up {
            return;
        }
        world.commits.status(&mut world.ledger, place, &status);
        let before = world.masters[place].status.as_ref().map(|(_, status)| status.clone());
        if let Some(before) = &before {
            world.commits.grows(&mut world.ledger, place, before, &status);
        }
        if status.role() == pb::Role::Leader
            && world.commits.leads(&mut world.ledger, place, Term(status.term))
        {
            world.count("leader elected");
        }
        let brief = |status: &pb::StatusReply| {
            (status.role(), status.term, status.leader, status.commit_index, status.applied_index)
        };
        if before.as_ref().map(brief) != Some(brief(&status)) {
            let (role, term, leader, commit, applied) = brief(&status);
            let alarms = status.alarms.join("; ");
            world.tell_master(place, "status", || {
                let (commit, applied) = (Index(commit), Index(applied));
                format!("{role:?} term {term} leader {leader} committed {commit} applied {applied} {alarms}")
            });
        }
        world.masters[place].status = Some((asked, status));
        world.damage_is_mended(place);
    }
}
