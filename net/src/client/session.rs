//! A client's session: it numbers the changes, so that a retry of one is applied once.

use crate::rt::{Duration, Instant, Semaphore, SemaphorePermit, lock};
use quorate_core::{
    bug::{self, Bug},
    limits::SESSION_REPLIES,
};
use quorate_proto::v1 as pb;
use std::{collections::BTreeSet, sync::Mutex};

/// Changes of one session that wait for their answers; the others wait in the client. Below what the cluster keeps.
const OPEN_CHANGES: usize = SESSION_REPLIES / 2;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) ttl: Duration,
    places: Semaphore,
    numbers: Mutex<Numbers>,
}

#[derive(Debug)]
struct Numbers {
    next: u64,
    open: BTreeSet<u64>,
    /// When the newest request was sent whose answer came.
    renewed: Instant,
}

impl Session {
    /// A session that was asked for at `sent`.
    pub(crate) fn new(id: u64, ttl: Duration, sent: Instant) -> Self {
        let numbers = Numbers { next: 1, open: BTreeSet::new(), renewed: sent };
        Self { id, ttl, places: Semaphore::new(OPEN_CHANGES), numbers: Mutex::new(numbers) }
    }

    /// A number for one change. Waits while too many are open.
    pub(crate) async fn ticket(&self) -> Ticket<'_> {
        let place = self.places.acquire().await.ok();
        let mut numbers = lock(&self.numbers);
        let sequence = numbers.next;
        numbers.next += 1;
        numbers.open.insert(sequence);
        Ticket { session: self, sequence, _place: place }
    }

    /// An answer came to what was sent then.
    pub(crate) fn renewed(&self, sent: Instant) {
        let mut numbers = lock(&self.numbers);
        numbers.renewed = numbers.renewed.max(sent);
    }

    /// When it was renewed last.
    pub(crate) fn last_renewal(&self) -> Instant {
        lock(&self.numbers).renewed
    }
}

/// The number of one change, open until this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    session: &'a Session,
    sequence: u64,
    _place: Option<SemaphorePermit<'a>>,
}

impl Ticket<'_> {
    /// For the next try: the number stays, the lowest open one may have grown.
    pub(crate) fn request_id(&self) -> pb::RequestId {
        let mut numbers = lock(&self.session.numbers);
        if bug::planted(Bug::NetFreshIds) {
            numbers.next += 1;
            return pb::RequestId { session: self.session.id, sequence: numbers.next, lowest_open: 1 };
        }
        let lowest_open = numbers.open.first().copied().unwrap_or(self.sequence);
        pb::RequestId { session: self.session.id, sequence: self.sequence, lowest_open }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(&self.session.numbers).open.remove(&self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn session() -> Session {
        Session::new(9, Duration::from_secs(60), Instant::now())
    }

    fn ticket(session: &Session) -> Ticket<'_> {
        session.ticket().now_or_never().expect("there is room")
    }

    #[test]
    fn numbers_grow_by_one_and_the_lowest_open_one_follows() {
        let session = session();
        let (first, second) = (ticket(&session), ticket(&session));
        let id = |ticket: &Ticket<'_>| (ticket.request_id().sequence, ticket.request_id().lowest_open);
        assert_eq!((id(&first), id(&second)), ((1, 1), (2, 1)));
        drop(first);
        assert_eq!(id(&second), (2, 2));
        let third = ticket(&session);
        drop(second);
        assert_eq!(id(&third), (3, 3));
    }

    #[test]
    fn no_more_changes_are_open_than_the_cluster_keeps_answers_for() {
        let session = session();
        let mut open: Vec<_> = (0..OPEN_CHANGES).map(|_| ticket(&session)).collect();
        assert!(session.ticket().now_or_never().is_none());
        open.pop();
        assert_eq!(ticket(&session).request_id().lowest_open, 1);
    }
}
