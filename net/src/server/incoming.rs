//! Connections as they come in: so many at a time, and each must say soon what it is.
//!
//! A connection on which HTTP/2 has begun is asked whether it is alive, again and again. Before that nobody asks: whoever opens
//! connections and says nothing would keep them, and their descriptors, for ever.

use crate::{
    limits::{CONNECTIONS, CONNECTIONS_MIN, GREETING_BYTES, GREETING_WITHIN, OWN_DESCRIPTORS},
    rt::{self, OwnedSemaphorePermit, Semaphore, Sleep},
};
use futures::{Stream, StreamExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

/// The connections that come in at a listener. What is over the limit is closed at once: its client asks another master.
pub(crate) fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Incoming>> + Send {
    at_most(connections(descriptors()), listener)
}

/// Raises how many files and connections this process may have open to what the system lets it: the usual limit is for programs
/// that count them in a bitmap. What is left as it was is no error: fewer clients are served.
pub(super) fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, ?limit, "the limit of open files cannot be raised");
    }
    let (descriptors, connections) = (descriptors(), connections(descriptors()));
    tracing::debug!(descriptors, connections, "connections at a time to each port");
}

/// How many files and connections this process may have open.
fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Connections to one of two ports, so that as many descriptors stay free as a process needs for its own files and connections:
/// a log that cannot open its next file is the end of a master.
fn connections(descriptors: u64) -> usize {
    let left = descriptors.saturating_sub(OWN_DESCRIPTORS) / 2;
    usize::try_from(left).unwrap_or(usize::MAX).clamp(CONNECTIONS_MIN, CONNECTIONS)
}

fn at_most(limit: usize, listener: TcpListener) -> impl Stream<Item = io::Result<Incoming>> + Send {
    let room = Arc::new(Semaphore::new(limit));
    TcpIncoming::from(listener).with_nodelay(Some(true)).filter_map(move |accepted| {
        let permit = Arc::clone(&room).try_acquire_owned();
        std::future::ready(match (accepted, permit) {
            (Ok(stream), Ok(permit)) => Some(Ok(Incoming::new(stream, permit))),
            (Ok(stream), Err(_)) => {
                tracing::warn!(from = ?stream.peer_addr(), limit, "one connection too many is closed");
                None
            }
            (Err(error), _) => Some(Err(error)),
        })
    })
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: TcpStream,
    /// What is to come of its greeting, in bytes, and until when.
    greeting: Option<(usize, Pin<Box<Sleep>>)>,
    _permit: OwnedSemaphorePermit,
}

impl Incoming {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit) -> Self {
        let greeting = Some((GREETING_BYTES, Box::pin(rt::sleep(GREETING_WITHIN))));
        Self { stream, greeting, _permit: permit }
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Some((left, until)) = &mut self.greeting else {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        };
        if until.as_mut().poll(context).is_ready() {
            let text = format!("its greeting did not come within {GREETING_WITHIN:?}");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
        }
        let left = *left;
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let came = buffer.filled().len() - before;
        match (left.checked_sub(came).filter(|left| *left > 0), &mut self.greeting) {
            (Some(still), Some((left, _))) => *left = still,
            _ => self.greeting = None,
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Incoming {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn connections_leave_descriptors_for_the_files() {
        assert_eq!(connections(1_024), 256);
        assert_eq!(connections(65_536), CONNECTIONS);
        assert_eq!(connections(u64::MAX), CONNECTIONS);
        assert_eq!(connections(300), CONNECTIONS_MIN, "few are better than none");
        raise_descriptors();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_there_is_room_when_another_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = Box::pin(at_most(2, listener));
        let mut clients = Vec::new();
        let mut served = Vec::new();
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).await.unwrap());
            served.push(connections.next().await.unwrap().unwrap());
        }
        let mut third = TcpStream::connect(address).await.unwrap();
        let mut fourth = TcpStream::connect(address).await.unwrap();
        // The third is taken and closed on the way to the next one.
        assert!(rt::timeout(rt::Duration::from_millis(200), connections.next()).await.is_none());
        assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0);
        assert_eq!(fourth.read(&mut [0]).await.unwrap_or(0), 0);
        served.pop();
        clients.push(TcpStream::connect(address).await.unwrap());
        let mut last = connections.next().await.unwrap().unwrap();
        clients[2].write_all(b"x").await.unwrap();
        assert_eq!(last.read(&mut [0]).await.unwrap(), 1);
    }
}
