//! Keys and values.

use super::{Api, unary};
use quorate_proto::v1::{self as pb, key_value_store_server::KeyValueStore};

#[tonic::async_trait]
impl KeyValueStore for Api {
    unary!(put, pb::PutRequest, Put, pb::PutReply, Put);
    unary!(get, pb::GetRequest, Get, pb::GetReply, Get);
    unary!(delete, pb::DeleteRequest, Delete, pb::DeleteReply, Delete);
    unary!(compare_and_set, pb::CompareAndSetRequest, CompareAndSet, pb::CompareAndSetReply, CompareAndSet);
    unary!(list, pb::ListRequest, List, pb::ListReply, List);
}
