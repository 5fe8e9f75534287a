//! The services on the client port: each call becomes a request to the node, or a few.

mod backup;
mod cluster;
mod fleet;
mod jobs;
mod kv;
mod logs;
mod peer;
mod requests;
mod sessions;
mod watch;

pub(crate) use peer::PeerService;
pub(crate) use watch::is_terminal;

use crate::{
    driver::{Channels, NodeHandle},
    errors::{refusal_of, status_of},
    limits::BACKUPS,
    rt::Semaphore,
};
use futures::Stream;
use quorate_proto::v1::{self as pb, client_reply, client_request};
use std::{pin::Pin, sync::Arc};
use tonic::{Response, Status};

/// What a call that answers with a stream returns.
pub(crate) type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

/// Where an answer carries the log index that it is as of.
const INDEX: &str = "quorate-index";

/// All services of the client port.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    node: NodeHandle,
    /// To executors, for their logs.
    channels: Arc<Channels>,
    /// For copies of the state.
    backups: Arc<Semaphore>,
}

impl Api {
    pub(crate) fn new(node: NodeHandle, channels: Arc<Channels>) -> Self {
        Self { node, channels, backups: Arc::new(Semaphore::new(BACKUPS)) }
    }

    /// Asks the node, and takes the kind of answer out that belongs to the request.
    async fn ask<T>(
        &self,
        body: client_request::Body,
        take: fn(client_reply::Body) -> Option<T>,
    ) -> Result<(u64, T), Status> {
        let request = pb::ClientRequest { body: Some(body) };
        let reply = self.node.request(request).await.map_err(|refused| status_of(&refused))?;
        let body = reply.body.and_then(take);
        body.map(|body| (reply.index, body))
            .ok_or_else(|| Status::internal("the node answered something else"))
    }

    /// As [`ask`](Self::ask), for a call that does nothing more.
    async fn answer<T>(
        &self,
        body: client_request::Body,
        take: fn(client_reply::Body) -> Option<T>,
    ) -> Result<Response<T>, Status> {
        let (index, body) = self.ask(body, take).await?;
        let mut response = Response::new(body);
        response.metadata_mut().insert(INDEX, index.into());
        Ok(response)
    }
}

/// A refusal as a status, for calls that refuse by themselves.
fn refuse(code: pb::RefusalCode, message: impl Into<String>) -> Status {
    status_of(&crate::errors::refusal(code, message))
}

/// Whether a status is the refusal that there is no such thing.
fn is_not_found(status: &Status) -> bool {
    refusal_of(status).is_some_and(|refused| refused.code() == pb::RefusalCode::NotFound)
}

/// A function that takes one kind of answer out of a reply.
macro_rules! take {
    ($kind:ident) => {
        |body| if let quorate_proto::v1::client_reply::Body::$kind(reply) = body { Some(reply) } else { None }
    };
}
use take;

/// One method of a service that is one request to the node; spelled as `async_trait` spells it.
macro_rules! unary {
    ($name:ident, $request:ty, $ask:ident, $reply:ty, $answer:ident) => {
        fn $name<'life0, 'async_trait>(
            &'life0 self,
            request: tonic::Request<$request>,
        ) -> futures::future::BoxFuture<'async_trait, Result<tonic::Response<$reply>, tonic::Status>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            let body = quorate_proto::v1::client_request::Body::$ask(request.into_inner());
            Box::pin(self.answer(body, crate::services::take!($answer)))
        }
    };
}
use unary;
