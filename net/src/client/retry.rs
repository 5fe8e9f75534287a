//! What to do after a try that failed. Pure: it knows no clock and no connection.

use super::ClientError;
use crate::{errors::refusal_of, rt::Duration};
use quorate_core::random::Draws;
use quorate_proto::v1::RefusalCode;
use std::collections::BTreeSet;
use tonic::{Code, Status};

/// The first wait between two tries.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// The longest wait after a node refused because it knows no leader: there is one soon, and to ask costs little.
const BACKOFF_LEADER_MAX: Duration = Duration::from_millis(60);
/// So many tries may wait no longer than that; an election that takes longer is in trouble.
const LEADER_TRIES: u32 = 24;
/// Tries of a request that is refused because a limit is reached.
const EXHAUSTED_TRIES: u32 = 4;

/// What one try ended with.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A status came, of a node or of the transport.
    Status(Status),
    /// The same, before the request had left.
    NotSent(Status),
    /// Nothing came in time.
    NoAnswer,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing more.
    Fail(ClientError),
    /// The same again, at another endpoint.
    Rotate { after: Duration },
    /// The same again, at the same endpoint.
    Again { after: Duration },
    /// The same again, at the leader that was named.
    Leader { leader: u64, after: Duration },
    /// The session is gone, and no try can have been applied: the same again, in a new one.
    NewSession,
}

/// The tries of one request.
#[derive(Debug)]
pub(crate) struct Retry {
    endpoints: usize,
    failures: u32,
    exhausted: u32,
    /// It asks for a change: what is not known of a try is told.
    changes: bool,
    /// A try ended in a way that leaves open whether it was applied.
    uncertain: bool,
    /// Some node has answered.
    answered: Option<RefusalCode>,
    tried: BTreeSet<String>,
    last: String,
    draws: Draws,
}

impl Retry {
    /// For a client that knows so many endpoints.
    pub(crate) fn new(endpoints: usize, seed: u64) -> Self {
        let draws = Draws::new(seed, 1);
        let (tried, last) = (BTreeSet::new(), "no try was made".to_owned());
        Self {
            endpoints,
            failures: 0,
            exhausted: 0,
            changes: false,
            uncertain: false,
            answered: None,
            tried,
            last,
            draws,
        }
    }

    /// Of a request that changes something.
    pub(crate) fn of_a_change(self) -> Self {
        Self { changes: true, ..self }
    }

    /// After one more try that failed.
    pub(crate) fn judge(&mut self, endpoint: &str, failure: &Failure) -> Verdict {
        self.tried.insert(endpoint.to_owned());
        let (status, sent) = match failure {
            Failure::Status(status) => (status, true),
            Failure::NotSent(status) => (status, false),
            Failure::NoAnswer => {
                self.uncertain = true;
                self.answered = None;
                self.last = format!("{endpoint} did not answer in time");
                return Verdict::Rotate { after: self.backoff(true) };
            }
        };
        let Some(refused) = refusal_of(status) else { return self.judge_status(endpoint, status, sent) };
        let code = refused.code();
        self.answered = Some(code);
        self.last.clone_from(&refused.message);
        match code {
            RefusalCode::Unavailable => {
                self.uncertain |= sent;
                // Who hands over says to whom, and that one is there already.
                let first = self.failures == 0 && refused.leader != 0;
                let backoff = self.backoff(false);
                let after = if first { Duration::ZERO } else { backoff };
                match refused.leader {
                    0 => Verdict::Rotate { after },
                    leader => Verdict::Leader { leader, after },
                }
            }
            RefusalCode::Exhausted if self.exhausted + 1 < EXHAUSTED_TRIES => {
                self.exhausted += 1;
                Verdict::Again { after: self.backoff(false) }
            }
            // This try was not applied; one before it may have been.
            RefusalCode::Exhausted if self.uncertain => Verdict::Fail(self.give_up()),
            RefusalCode::SessionExpired if self.uncertain => Verdict::Fail(ClientError::SessionExpired),
            RefusalCode::SessionExpired => Verdict::NewSession,
            RefusalCode::Exhausted
            | RefusalCode::Invalid
            | RefusalCode::NotFound
            | RefusalCode::AlreadyExists
            | RefusalCode::Precondition
            | RefusalCode::Stale
            | RefusalCode::Unspecified => {
                Verdict::Fail(ClientError::Refused { code, message: refused.message })
            }
        }
    }

    /// A status that no node made: most are a connection that broke.
    fn judge_status(&mut self, endpoint: &str, status: &Status, sent: bool) -> Verdict {
        let code = match status.code() {
            Code::InvalidArgument => RefusalCode::Invalid,
            Code::OutOfRange => RefusalCode::Exhausted,
            Code::Unimplemented
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated => RefusalCode::Precondition,
            _ => {
                self.uncertain |= sent;
                self.answered = None;
                self.last = format!("{endpoint}: {}", crate::errors::describe(status));
                return Verdict::Rotate { after: self.backoff(true) };
            }
        };
        let message = format!("{endpoint} does not take the request: {}", crate::errors::describe(status));
        // Nor does that say what became of a try before it.
        if self.changes && self.uncertain {
            self.last = message;
            return Verdict::Fail(self.give_up());
        }
        Verdict::Fail(ClientError::Refused { code, message })
    }

    /// No more tries are made: time is over.
    pub(crate) fn give_up(&self) -> ClientError {
        let last = self.last.clone();
        match self.answered {
            _ if self.changes && self.uncertain => ClientError::Deadline { last },
            Some(code) => ClientError::Refused { code, message: last },
            None => ClientError::Unreachable { endpoints: self.tried.iter().cloned().collect(), last },
        }
    }

    /// Grows with the tries, and spreads over a half: clients that failed together do not come back together.
    /// The first round through the endpoints does not wait when they are away.
    fn backoff(&mut self, away: bool) -> Duration {
        self.failures += 1;
        let round = usize::try_from(self.failures).unwrap_or(usize::MAX);
        if away && round < self.endpoints {
            return Duration::ZERO;
        }
        let most = match self.answered {
            Some(RefusalCode::Unavailable) if self.failures <= LEADER_TRIES => BACKOFF_LEADER_MAX,
            _ => BACKOFF_MAX,
        };
        let full = BACKOFF_MIN.saturating_mul(1 << self.failures.min(6)).min(most);
        let full = u64::try_from(full.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.draws.range(full / 2, full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::{refusal, status_of};

    fn refused(code: RefusalCode) -> Failure {
        Failure::Status(status_of(&refusal(code, "why")))
    }

    fn broken() -> Failure {
        Failure::Status(Status::unavailable("connection reset"))
    }

    #[test]
    fn final_refusals_are_not_retried() {
        use RefusalCode::{AlreadyExists, Invalid, NotFound, Precondition, Stale};
        for code in [Invalid, NotFound, AlreadyExists, Precondition, Stale] {
            let verdict = Retry::new(3, 1).judge("a:1", &refused(code));
            assert_eq!(verdict, Verdict::Fail(ClientError::Refused { code, message: "why".into() }));
        }
    }

    #[test]
    fn the_first_round_does_not_wait_and_later_ones_do_up_to_a_cap() {
        let mut retry = Retry::new(3, 1);
        let waits: Vec<Duration> = (0..20)
            .map(|_| match retry.judge("a:1", &broken()) {
                Verdict::Rotate { after } => after,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(waits[..2], [Duration::ZERO; 2]);
        assert!(waits[2..].iter().all(|wait| *wait >= BACKOFF_MIN && *wait <= BACKOFF_MAX), "{waits:?}");
        assert!(waits[19] >= BACKOFF_MAX / 2);
    }

    #[test]
    fn a_named_leader_is_asked_next() {
        let mut named = refusal(RefusalCode::Unavailable, "not the leader");
        named.leader = 2;
        let verdict = Retry::new(3, 1).judge("a:1", &Failure::Status(status_of(&named)));
        assert!(matches!(verdict, Verdict::Leader { leader: 2, .. }), "{verdict:?}");
    }

    #[test]
    fn the_first_leader_that_is_named_is_asked_at_once_and_the_next_ones_soon() {
        let mut named = refusal(RefusalCode::Unavailable, "not the leader");
        named.leader = 2;
        let mut retry = Retry::new(3, 1);
        let mut waits = Vec::new();
        for _ in 0..LEADER_TRIES {
            match retry.judge("a:1", &Failure::Status(status_of(&named))) {
                Verdict::Leader { after, .. } => waits.push(after),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(waits[0], Duration::ZERO);
        let soon = |wait: &Duration| *wait >= BACKOFF_MIN / 2 && *wait <= BACKOFF_LEADER_MAX;
        assert!(waits[1..].iter().all(soon), "{waits:?}");
    }

    #[test]
    fn an_expired_session_is_opened_again_only_if_nothing_can_have_been_applied() {
        let expired = refused(RefusalCode::SessionExpired);
        assert_eq!(Retry::new(3, 1).judge("a:1", &expired), Verdict::NewSession);
        for doubt in [broken(), Failure::NoAnswer, refused(RefusalCode::Unavailable)] {
            let mut retry = Retry::new(3, 1);
            retry.judge("a:1", &doubt);
            assert_eq!(retry.judge("b:2", &expired), Verdict::Fail(ClientError::SessionExpired), "{doubt:?}");
        }
        let mut retry = Retry::new(3, 1);
        retry.judge("a:1", &refused(RefusalCode::Exhausted));
        assert_eq!(retry.judge("a:1", &expired), Verdict::NewSession, "what is refused is not applied");
    }

    #[test]
    fn a_limit_is_tried_a_few_times() {
        let mut retry = Retry::new(3, 1);
        for _ in 1..EXHAUSTED_TRIES {
            let verdict = retry.judge("a:1", &refused(RefusalCode::Exhausted));
            assert!(matches!(verdict, Verdict::Again { .. }), "{verdict:?}");
        }
        let verdict = retry.judge("a:1", &refused(RefusalCode::Exhausted));
        assert!(matches!(verdict, Verdict::Fail(ClientError::Refused { .. })), "{verdict:?}");
    }

    #[test]
    fn a_limit_that_is_reached_after_a_doubtful_try_leaves_open_what_was_done() {
        for doubt in [broken(), Failure::NoAnswer, refused(RefusalCode::Unavailable)] {
            let mut retry = Retry::new(3, 1).of_a_change();
            retry.judge("a:1", &doubt);
            for _ in 1..EXHAUSTED_TRIES {
                let verdict = retry.judge("b:2", &refused(RefusalCode::Exhausted));
                assert!(matches!(verdict, Verdict::Again { .. }), "{verdict:?}");
                assert!(matches!(retry.give_up(), ClientError::Deadline { .. }), "{doubt:?}");
            }
            let verdict = retry.judge("b:2", &refused(RefusalCode::Exhausted));
            let open = ClientError::Deadline { last: "why".to_owned() };
            assert_eq!(verdict, Verdict::Fail(open), "{doubt:?}");
        }
    }

    #[test]
    fn what_is_said_at_the_deadline_tells_the_three_cases_apart() {
        let mut retry = Retry::new(2, 1);
        retry.judge("a:1", &broken());
        retry.judge("b:2", &broken());
        let error = retry.give_up();
        assert!(
            matches!(&error, ClientError::Unreachable { endpoints, .. } if endpoints.len() == 2),
            "{error:?}"
        );
        retry.judge("a:1", &Failure::NoAnswer);
        assert!(matches!(retry.give_up(), ClientError::Unreachable { .. }), "a read may be asked again");
        let mut change = Retry::new(2, 1).of_a_change();
        change.judge("a:1", &Failure::NoAnswer);
        assert!(matches!(change.give_up(), ClientError::Deadline { .. }));
        retry.judge("b:2", &refused(RefusalCode::Unavailable));
        let error = retry.give_up();
        assert!(matches!(error, ClientError::Refused { code: RefusalCode::Unavailable, .. }), "{error:?}");
        assert!(error.is_unreachable() && error.retryable());
    }

    #[test]
    fn a_change_that_had_left_once_is_in_doubt_whatever_comes_later() {
        let not_sent = || Failure::NotSent(Status::unavailable("connection refused"));
        let mut retry = Retry::new(1, 1).of_a_change();
        retry.judge("a:1", &not_sent());
        assert!(matches!(retry.give_up(), ClientError::Unreachable { .. }), "nobody can have applied it");
        assert_eq!(retry.judge("a:1", &refused(RefusalCode::SessionExpired)), Verdict::NewSession);
        for doubt in [broken(), Failure::NoAnswer, refused(RefusalCode::Unavailable)] {
            let mut retry = Retry::new(1, 1).of_a_change();
            retry.judge("a:1", &doubt);
            for later in [not_sent(), refused(RefusalCode::Unavailable)] {
                retry.judge("a:1", &later);
                assert!(matches!(retry.give_up(), ClientError::Deadline { .. }), "{doubt:?}, then {later:?}");
            }
            let stranger = Failure::Status(Status::unimplemented("another port"));
            let verdict = retry.judge("b:2", &stranger);
            assert!(matches!(verdict, Verdict::Fail(ClientError::Deadline { .. })), "{verdict:?}");
        }
    }

    #[test]
    fn a_transport_that_refuses_the_request_is_final() {
        let large = Failure::Status(Status::out_of_range("message too large"));
        let verdict = Retry::new(1, 1).judge("a:1", &large);
        assert!(matches!(verdict, Verdict::Fail(ClientError::Refused { code: RefusalCode::Exhausted, .. })));
    }
}
