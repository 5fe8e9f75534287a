//! What clients and executors were told, against the committed log: the log as witness (one pass, no search).

use super::{Consensus, Ledger, Reference, Rule, pages, reference::refusal};
use bytes::Bytes;
use quorate_core::{
    limits,
    state::Members,
    types::{ExecutorId, Index},
};
use quorate_proto::v1::{self as pb, client_reply::Body, client_request::Body as Ask};
use std::collections::BTreeSet;

/// How the keys of Quorate's own records begin.
const FRAME_PREFIX: &[u8] = b"/_frame/";

/// The rules' memory.
#[derive(Default)]
pub struct Answers {
    /// The highest index that any answer was as of.
    floor: Index,
}

/// The request id of a request that changes something.
#[must_use]
pub fn request_id(request: &pb::ClientRequest) -> Option<&pb::RequestId> {
    match request.body.as_ref()? {
        Ask::Put(ask) => ask.request_id.as_ref(),
        Ask::Delete(ask) => ask.request_id.as_ref(),
        Ask::CompareAndSet(ask) => ask.request_id.as_ref(),
        Ask::RegisterExecutor(ask) => ask.request_id.as_ref(),
        Ask::DeregisterExecutor(ask) => ask.request_id.as_ref(),
        Ask::RemoveExecutor(ask) => ask.request_id.as_ref(),
        Ask::SubmitJob(ask) => ask.request_id.as_ref(),
        Ask::CancelJob(ask) => ask.request_id.as_ref(),
        Ask::DeleteJob(ask) => ask.request_id.as_ref(),
        Ask::ChangeMembers(ask) => ask.request_id.as_ref(),
        Ask::DisarmAlarm(ask) => ask.request_id.as_ref(),
        _ => None,
    }
}

/// Whether a request reads Quorate's own records.
#[must_use]
pub fn of_records(request: &pb::ClientRequest) -> bool {
    match &request.body {
        Some(Ask::Get(ask)) => ask.key.starts_with(FRAME_PREFIX),
        Some(Ask::List(ask)) => ask.prefix.starts_with(FRAME_PREFIX),
        _ => false,
    }
}

/// Whether a right answer needs a leader that knows, by a quorum, that it leads.
#[must_use]
pub fn confirmed(request: &pb::ClientRequest) -> bool {
    match &request.body {
        Some(Ask::Get(ask)) => !ask.stale,
        Some(Ask::List(ask)) => !ask.stale,
        Some(Ask::GetJob(ask)) => !ask.stale,
        Some(Ask::ListMembers(ask)) => !ask.stale,
        Some(
            Ask::KeepSession(_)
            | Ask::Heartbeat(_)
            | Ask::ListExecutors(_)
            | Ask::GetExecutor(_)
            | Ask::ListJobs(_),
        ) => true,
        _ => false,
    }
}

/// Whether any master answers it from its own state.
#[must_use]
pub const fn is_stale_read(request: &pb::ClientRequest) -> bool {
    matches!(
        &request.body,
        Some(
            Ask::Get(pb::GetRequest { stale: true, .. })
                | Ask::List(pb::ListRequest { stale: true, .. })
                | Ask::GetJob(pb::GetJobRequest { stale: true, .. })
        )
    )
}

/// Whether nothing is wrong with the names in a request. Plans make everything else right, unless they say so.
fn well_named(request: &pb::ClientRequest) -> bool {
    let key = |key: &Bytes| (1..=limits::KEY_BYTES).contains(&key.len());
    match &request.body {
        Some(Ask::Put(ask)) => key(&ask.key),
        Some(Ask::Delete(ask)) => key(&ask.key),
        Some(Ask::CompareAndSet(ask)) => key(&ask.key),
        Some(Ask::Get(ask)) => key(&ask.key),
        _ => true,
    }
}

/// What was asked by plan, with nothing wrong in it, is not refused as invalid.
pub fn taken(ledger: &mut Ledger, request: &pb::ClientRequest, reply: &pb::ClientReply) {
    let invalid = refusal(reply).filter(|refusal| refusal.code() == pb::RefusalCode::Invalid);
    ledger.hold(Rule::ValidTaken, invalid.is_none() || !well_named(request), || {
        format!("{} is refused as invalid: {invalid:?}", brief(request))
    });
}

/// Whether an answer as of `index` may be given to who knew, when it asked, what was answered up to `floor`. `inherited`: up to
/// here all is of a cluster that was given up. Some of what it had answered may be lost, and what its heir kept of it is older;
/// reads are of the heir.
fn in_real_time(index: Index, floor: Index, changes: bool, inherited: Index) -> bool {
    index > floor || (index == floor && !changes) || (changes && index.max(floor) <= inherited)
}

impl Answers {
    /// What an operation that is asked for from here on must at least know.
    #[must_use]
    pub const fn floor(&self) -> Index {
        self.floor
    }

    /// Somebody got an answer. `floor`: as it was when the request was asked for the first time.
    pub fn answered(
        &mut self,
        ledger: &mut Ledger,
        consensus: &Consensus,
        reference: &Reference,
        request: &pb::ClientRequest,
        floor: Index,
        reply: &pb::ClientReply,
    ) {
        let index = Index(reply.index);
        if index == Index(0) {
            let code = refusal(reply).map(pb::Refusal::code);
            let kept = request_id(request).is_some_and(|id| id.session != 0);
            // What the log does not say may be otherwise when it is asked again: who asked must know that.
            let passes = matches!(
                code,
                None | Some(
                    pb::RefusalCode::Unavailable | pb::RefusalCode::Exhausted | pb::RefusalCode::Invalid
                )
            );
            ledger.hold(Rule::AnswerCommitted, !kept || passes, || {
                format!("{} is refused for ever as of no entry: {code:?}", brief(request))
            });
            return reference.alarms.answered(ledger, request, floor, reply);
        }
        let told = || format!("{} is answered as of {index}", brief(request));
        ledger.hold(Rule::AnswerCommitted, index <= consensus.frontier(), || {
            format!("{}; committed is {}", told(), consensus.frontier())
        });
        let id = request_id(request);
        if !is_stale_read(request) {
            let holds = in_real_time(index, floor, id.is_some(), consensus.inherited());
            ledger.hold(Rule::RealTime, holds, || {
                format!("{}; when it was asked, {floor} had been answered", told())
            });
            self.floor = self.floor.max(index);
        }
        if let Some(id) = id.filter(|id| id.session != 0) {
            let effect = reference.requests.get(&(id.session, id.sequence));
            let expired =
                refusal(reply).is_some_and(|refusal| refusal.code() == pb::RefusalCode::SessionExpired);
            let holds = expired
                || effect.is_some_and(|effect| effect.reply.body == reply.body && effect.index == index);
            ledger.hold(Rule::AnswerCommitted, holds, || {
                format!("{}: {:?}; the log says {effect:?}", told(), reply.body)
            });
        }
        self.value(ledger, reference, request, reply);
    }

    #[allow(clippy::unused_self, reason = "it belongs to the rules of answers")]
    fn value(
        &self,
        ledger: &mut Ledger,
        reference: &Reference,
        request: &pb::ClientRequest,
        reply: &pb::ClientReply,
    ) {
        let index = Index(reply.index);
        let told = || format!("{} is answered {:?}", brief(request), reply);
        if of_records(request) {
            // Only the state knows its own records; and only where it stands.
            if reference.index() == index {
                let known = reference.state.query(request);
                ledger.hold(Rule::AnswerValue, known == *reply, || {
                    format!("{}; the log says {known:?}", told())
                });
            }
            return;
        }
        if reference.index() == index {
            pages::check(ledger, &reference.state, request, reply);
        }
        match (&request.body, &reply.body) {
            (Some(Ask::Get(ask)), Some(Body::Get(got))) => {
                let known = reference.item_at(&ask.key, index);
                let current = reference.index() != index || got.revision == reference.revision();
                ledger.hold(Rule::AnswerValue, got.item == known && current, || {
                    format!("{}; the log says {known:?}, at revision {}", told(), reference.revision())
                });
            }
            (Some(Ask::List(ask)), Some(Body::List(list))) => {
                let said = &list.items;
                let at = |key: &Bytes| {
                    let mut item = reference.item_at(key, index)?;
                    if ask.keys_only {
                        item.value.clear();
                    }
                    Some(item)
                };
                let behind = |key: &&Bytes| {
                    key.starts_with(&ask.prefix) && (ask.after.is_empty() || **key > ask.after)
                };
                let all: Vec<_> = reference.keys.keys().filter(behind).filter_map(at).collect();
                let whole = all.len();
                let (known, more) = pages::page(all, ask.limit);
                ledger.hold(Rule::AnswerValue, *said == known && list.more == more, || {
                    format!("{}; the log says {known:?} of {whole} keys", told())
                });
            }
            (Some(Ask::GetJob(_)), Some(Body::Job(status))) => self.job(ledger, reference, status, index),
            (Some(Ask::GetJob(ask)), Some(Body::Refusal(refusal)))
                if refusal.code() == pb::RefusalCode::NotFound =>
            {
                let known = reference.jobs.job_at(&ask.id, index);
                ledger.hold(Rule::JobKept, known.is_none(), || format!("{}; the log says {known:?}", told()));
            }
            (Some(Ask::ListJobs(ask)), Some(Body::ListJobs(list))) => {
                for status in &list.jobs {
                    self.job(ledger, reference, status, index);
                }
                let all = ask.after.is_empty() && ask.state == 0 && ask.r#type == 0 && !list.more;
                if !all {
                    return;
                }
                let said: BTreeSet<&str> =
                    list.jobs.iter().filter_map(|status| Some(status.job.as_ref()?.id.as_str())).collect();
                let there = |id: &&str| reference.jobs.job_at(id, index).is_some();
                let known: BTreeSet<&str> =
                    reference.jobs.history.keys().map(String::as_str).filter(there).collect();
                ledger.hold(Rule::JobKept, said == known, || format!("{}; the log says {known:?}", told()));
            }
            (Some(Ask::ListMembers(_)), Some(Body::ListMembers(list))) if reference.index() == index => {
                let known = reference.state.members().map(Members::record).unwrap_or_default();
                let said: Vec<_> = list.members.iter().map(|it| (it.id, it.part, it.storage)).collect();
                let members: Vec<_> = known.members.iter().map(|it| (it.id, it.part, it.storage)).collect();
                let begun = known.index > 0;
                ledger.hold(Rule::AnswerValue, !begun || said == members, || {
                    format!("{}; the log says {members:?}", told())
                });
            }
            (Some(Ask::Heartbeat(ask)), Some(Body::Heartbeat(beat))) => {
                let known = reference.jobs.executor_at(ExecutorId(ask.executor), Index(beat.index));
                ledger.hold(Rule::ExecutorFresh, known, || {
                    format!(
                        "a heartbeat of executor {} is acknowledged as of {}, where it is not",
                        ask.executor, beat.index
                    )
                });
                let brought = beat.desired.iter().filter(|it| it.specification.is_some()).count();
                ledger.hold(Rule::SetBounded, brought <= limits::HEARTBEAT_SPECIFICATIONS, || {
                    format!("executor {} is brought {brought} specifications at once", ask.executor)
                });
            }
            _ => {}
        }
    }

    #[allow(clippy::unused_self, reason = "it belongs to the rules of answers")]
    fn job(&self, ledger: &mut Ledger, reference: &Reference, status: &pb::JobStatus, index: Index) {
        let Some(job) = &status.job else { return };
        let known = reference.jobs.job_at(&job.id, index);
        ledger.hold(Rule::AnswerValue, known == Some(job.state()), || {
            format!("job {} is said to be {:?} as of {index}; the log says {known:?}", job.id, job.state())
        });
    }
}

/// A value, or how it begins.
fn short(value: &Bytes) -> String {
    const SHOWN: usize = 40;
    if value.len() <= SHOWN {
        return format!("{value:?}");
    }
    format!("{:?}... of {} bytes", value.slice(..SHOWN), value.len())
}

/// A request in a few words.
#[must_use]
pub fn brief(request: &pb::ClientRequest) -> String {
    let id = request_id(request).map_or_else(String::new, |id| format!(" {}/{}", id.session, id.sequence));
    let what = match &request.body {
        Some(Ask::Put(ask)) => format!("put {:?}={}", ask.key, short(&ask.value)),
        Some(Ask::Get(ask)) => format!("get {:?}{}", ask.key, if ask.stale { " stale" } else { "" }),
        Some(Ask::Delete(ask)) => format!("delete {:?}", ask.key),
        Some(Ask::CompareAndSet(ask)) => format!("cas {:?} {:?}->{:?}", ask.key, ask.expected, ask.new_value),
        Some(Ask::List(_)) => "list".to_owned(),
        Some(Ask::SubmitJob(ask)) => format!("submit {:?}", ask.id),
        Some(Ask::CancelJob(ask)) => format!("cancel {:?}", ask.id),
        Some(Ask::GetJob(ask)) => format!("job {:?}", ask.id),
        Some(Ask::ListJobs(_)) => "jobs".to_owned(),
        Some(Ask::DeleteJob(ask)) => format!("delete job {:?}", ask.id),
        Some(Ask::Heartbeat(ask)) => format!("heartbeat {}.{}", ask.executor, ask.sequence),
        Some(Ask::RegisterExecutor(ask)) => format!("register {}", ask.name),
        Some(Ask::OpenSession(_)) => "open session".to_owned(),
        Some(other) => format!("{other:?}"),
        None => "nothing".to_owned(),
    };
    format!("{what}{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_behind_what_was_known_but_for_what_an_heir_lost() {
        let holds = |index, floor, changes, inherited| {
            in_real_time(Index(index), Index(floor), changes, Index(inherited))
        };
        assert!(holds(133, 132, true, 0) && holds(132, 132, false, 0));
        assert!(!holds(132, 132, true, 0) && !holds(130, 132, true, 0) && !holds(131, 132, false, 0));
        // A retry of what the survivor held, and the majority that was lost had not.
        assert!(holds(130, 132, true, 1000));
        assert!(!holds(130, 1001, true, 1000), "it was asked for of the heir, and is new there");
        assert!(!holds(1001, 1002, true, 1000));
        assert!(!holds(130, 132, false, 1000), "a master of the old cluster");
    }
}
