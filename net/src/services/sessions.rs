//! Sessions of clients.

use super::{Api, unary};
use quorate_proto::v1::{self as pb, sessions_server::Sessions};

#[tonic::async_trait]
impl Sessions for Api {
    unary!(open, pb::OpenSessionRequest, OpenSession, pb::OpenSessionReply, OpenSession);
    unary!(keep, pb::KeepSessionRequest, KeepSession, pb::KeepSessionReply, KeepSession);
    unary!(close, pb::CloseSessionRequest, CloseSession, pb::CloseSessionReply, CloseSession);
}
