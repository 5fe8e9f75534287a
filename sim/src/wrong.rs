//! Requests that must be refused, one of each kind, and how they must be refused.

use crate::plan::Wrong;
use bytes::Bytes;
use quorate_core::limits::{CANCEL_TIMEOUT_MS, KEY_BYTES, PAGE_ITEMS, REQUEST_BYTES, VALUE_BYTES};
use quorate_proto::v1::{self as pb, RefusalCode, client_request::Body as Ask};

/// The request, of a session.
#[must_use]
pub fn request(which: Wrong, id: pb::RequestId) -> pb::ClientRequest {
    let put = |key: Bytes, value: Bytes, request_id| Ask::Put(pb::PutRequest { request_id, key, value });
    let with = |id| put("wrong".into(), "wrong".into(), id);
    let zeros = |size: usize| Bytes::from(vec![0; size]);
    let body = match which {
        Wrong::Body => return pb::ClientRequest { body: None },
        Wrong::OwnRecord => put("/_frame/jobs/wrong".into(), "wrong".into(), Some(id)),
        Wrong::EmptyKey => put(Bytes::new(), "wrong".into(), Some(id)),
        Wrong::LongKey => put(zeros(KEY_BYTES + 1), "wrong".into(), Some(id)),
        Wrong::LongValue => put("wrong".into(), zeros(VALUE_BYTES + 1), Some(id)),
        Wrong::Size => put("wrong".into(), zeros(REQUEST_BYTES), Some(id)),
        Wrong::ReadKey => Ask::Get(pb::GetRequest::default()),
        Wrong::Limit => Ask::List(pb::ListRequest { limit: PAGE_ITEMS as u32 + 1, ..Default::default() }),
        Wrong::Number => Ask::CancelJob(pb::CancelJobRequest {
            request_id: Some(id),
            id: "wrong".to_owned(),
            timeout_ms: CANCEL_TIMEOUT_MS.0 + 1,
        }),
        Wrong::JobId => {
            Ask::DeleteJob(pb::DeleteJobRequest { request_id: Some(id), id: "wrong/id".to_owned() })
        }
        Wrong::Specification => Ask::SubmitJob(pb::SubmitJobRequest {
            request_id: Some(id),
            id: "wrong".to_owned(),
            specification: Some(pb::JobSpecification {
                r#type: pb::JobType::Batch.into(),
                ..pb::JobSpecification::default()
            }),
        }),
        Wrong::NoRequestId => with(None),
        Wrong::NoSession => with(Some(pb::RequestId { session: 0, ..id })),
        Wrong::Sequence => with(Some(pb::RequestId { sequence: 0, ..id })),
        Wrong::LowestOpen => with(Some(pb::RequestId { lowest_open: id.sequence + 1, ..id })),
        Wrong::Expectation => Ask::CompareAndSet(pb::CompareAndSetRequest {
            request_id: Some(id),
            key: "wrong".into(),
            new_value: "wrong".into(),
            expected: None,
        }),
        Wrong::Executor => {
            Ask::RemoveExecutor(pb::RemoveExecutorRequest { request_id: Some(id), executor: 0 })
        }
    };
    pb::ClientRequest { body: Some(body) }
}

/// How it must be refused, if anybody could look at it at all.
#[must_use]
pub const fn code(which: Wrong) -> RefusalCode {
    match which {
        // It is over a limit as a whole, before anybody looks at what it asks.
        Wrong::Size => RefusalCode::Exhausted,
        _ => RefusalCode::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use quorate_core::{command::Command, config::LeaseTimes};

    #[test]
    fn each_is_wrong_in_its_own_way() {
        let id = pb::RequestId { session: 1, sequence: 2, lowest_open: 2 };
        let mut messages = std::collections::BTreeSet::new();
        for which in Wrong::ALL {
            let request = request(which, id);
            assert_eq!(request.encoded_len() > REQUEST_BYTES, which == Wrong::Size, "{which:?}");
            match Command::from_request(&request, &LeaseTimes::default()) {
                Err(refusal) => {
                    assert_eq!(refusal.code(), RefusalCode::Invalid);
                    assert!(messages.insert(refusal.message.clone()), "{which:?}: {}", refusal.message);
                }
                // Reads are refused by the state.
                Ok(command) => {
                    assert!(command.is_none() && matches!(which, Wrong::ReadKey | Wrong::Limit), "{which:?}");
                }
            }
        }
    }
}
