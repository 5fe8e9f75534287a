//! Refusals on the wire: a gRPC code for everyone, and the refusal itself in the details for those who know it.

use prost::Message;
use quorate_proto::v1 as pb;
use tonic::{Code, Status};

/// A refusal without a leader.
#[must_use]
pub fn refusal(code: pb::RefusalCode, message: impl Into<String>) -> pb::Refusal {
    pb::Refusal { code: code.into(), message: message.into(), leader: 0 }
}

/// The gRPC code that stands for a refusal.
#[must_use]
pub const fn grpc_code(code: pb::RefusalCode) -> Code {
    match code {
        pb::RefusalCode::Invalid => Code::InvalidArgument,
        pb::RefusalCode::NotFound => Code::NotFound,
        pb::RefusalCode::AlreadyExists => Code::AlreadyExists,
        pb::RefusalCode::Precondition | pb::RefusalCode::Stale => Code::FailedPrecondition,
        pb::RefusalCode::Exhausted => Code::ResourceExhausted,
        pb::RefusalCode::Unavailable => Code::Unavailable,
        pb::RefusalCode::SessionExpired => Code::Aborted,
        pb::RefusalCode::Unspecified => Code::Unknown,
    }
}

/// A refusal as an answer of a service.
#[must_use]
pub fn status_of(refusal: &pb::Refusal) -> Status {
    Status::with_details(grpc_code(refusal.code()), refusal.message.clone(), refusal.encode_to_vec().into())
}

/// The refusal in an answer. `None`: no Quorate process refused; the transport failed.
#[must_use]
pub fn refusal_of(status: &Status) -> Option<pb::Refusal> {
    if status.details().is_empty() {
        return None;
    }
    pb::Refusal::decode(status.details())
        .ok()
        .filter(|refusal| refusal.code() != pb::RefusalCode::Unspecified)
}

/// A status as one line for people: its code, its text and what is behind them.
#[must_use]
pub fn describe(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_comes_back_whole() {
        for code in 1..=8 {
            let code = pb::RefusalCode::try_from(code).unwrap();
            let refused =
                pb::Refusal { code: code.into(), message: "slots is 0: 1 to 1,000".into(), leader: 3 };
            let status = status_of(&refused);
            assert_ne!(status.code(), Code::Internal, "{code:?} is no bug");
            assert_ne!(status.code(), Code::Unknown, "{code:?} has a code");
            assert_eq!(status.message(), refused.message);
            assert_eq!(refusal_of(&status), Some(refused));
        }
    }

    #[test]
    fn codes_are_those_of_the_documentation() {
        let documented = [
            (pb::RefusalCode::Invalid, Code::InvalidArgument),
            (pb::RefusalCode::NotFound, Code::NotFound),
            (pb::RefusalCode::AlreadyExists, Code::AlreadyExists),
            (pb::RefusalCode::Precondition, Code::FailedPrecondition),
            (pb::RefusalCode::Exhausted, Code::ResourceExhausted),
            (pb::RefusalCode::Unavailable, Code::Unavailable),
            (pb::RefusalCode::SessionExpired, Code::Aborted),
            (pb::RefusalCode::Stale, Code::FailedPrecondition),
        ];
        for (refused, code) in documented {
            assert_eq!(grpc_code(refused), code);
        }
    }

    #[test]
    fn details_of_others_are_no_refusal() {
        assert_eq!(refusal_of(&Status::unavailable("connection reset")), None);
        let strange = Status::with_details(Code::Unavailable, "", vec![0xFF, 0x01, 0x02].into());
        assert_eq!(refusal_of(&strange), None);
        let empty =
            Status::with_details(Code::Unavailable, "", pb::Refusal::default().encode_to_vec().into());
        assert_eq!(refusal_of(&empty), None);
    }
}
