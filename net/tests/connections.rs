//! Clients that keep connections and say nothing: what broke elsewhere, and must not here. docs/regressions.md names them.
#![cfg(not(madsim))]
#![allow(missing_docs, clippy::unwrap_used)]

use quorate_core::{
    Config,
    contract::{Flow, LeaseTimes, MemberAddress, Timing},
    types::{ClusterId, NodeId, StorageId},
};
use quorate_net::{
    Client, ClientOptions, RunningNode, ServerConfig,
    limits::{CONNECTION_ALIVE, GREETING_WITHIN},
    ports::ReservedPort,
    rt::{Duration, Instant, timeout},
    start_server,
};
use std::{fs, path::PathBuf, process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How HTTP/2 begins, with settings that are empty.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// For a machine that is busy.
const SLACK: Duration = Duration::from_secs(10);

/// A cluster of one.
struct Alone {
    directory: PathBuf,
    address: MemberAddress,
    _ports: [ReservedPort; 2],
    _node: RunningNode,
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Alone {
    async fn start(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("quorate-net-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&directory);
        let ports = [(); 2].map(|()| ReservedPort::new().unwrap());
        let [peer, client] = [0, 1].map(|at: usize| ports[at].address().to_string());
        let address = MemberAddress { peer, client };
        let core = Config {
            cluster: ClusterId(77),
            node: NodeId(1),
            storage: StorageId(1),
            members: [(NodeId(1), address.clone())].into(),
            joins: false,
            timing: Timing::default(),
            executor_lease: LeaseTimes::default(),
            snapshot_entries: 50,
            trailing_entries: 10,
            log_bytes: quorate_core::contract::LogBytes::default(),
            snapshot_rate: 0,
            flow: Flow::default(),
            level: quorate_core::level::FEATURE_LEVEL,
        };
        let config = ServerConfig {
            core,
            data_dir: directory.join("1"),
            peer_listen: address.peer.clone(),
            client_listen: address.client.clone(),
            insecure: false,
            space: quorate_net::storage::SpaceLimits::default(),
            scrub: quorate_net::ScrubOptions::default(),
            tape: None,
        };
        let node = start_server(config).await.unwrap();
        Self { directory, address, _ports: ports, _node: node }
    }

    async fn works(&self) {
        let client =
            Client::new(std::slice::from_ref(&self.address.client), ClientOptions::default()).unwrap();
        client.put("k", "v").await.unwrap();
    }
}

/// How long it took until the other side ended the connection.
async fn ended(mut connection: TcpStream, within: Duration) -> Duration {
    let began = Instant::now();
    let mut bytes = Vec::new();
    let end = timeout(within + SLACK, connection.read_to_end(&mut bytes)).await;
    assert!(end.is_some(), "it is still there after {:?}", began.elapsed());
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_never_says_what_it_is_is_closed() {
    let alone = Alone::start("silent").await;
    alone.works().await;
    for address in [&alone.address.client, &alone.address.peer] {
        let silent = TcpStream::connect(address).await.unwrap();
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(&GREETING[..10]).await.unwrap();
        let (silent, half) = tokio::join!(ended(silent, GREETING_WITHIN), ended(half, GREETING_WITHIN));
        for took in [silent, half] {
            assert!(took > GREETING_WITHIN / 2, "it had some time: {took:?}");
        }
    }
    alone.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greeting_that_comes_byte_by_byte_has_no_more_time() {
    let alone = Alone::start("slow").await;
    let mut slow = TcpStream::connect(&alone.address.client).await.unwrap();
    let began = Instant::now();
    let mut sent = 0;
    // One byte a second would take ten times as long as a connection has; it ends while bytes are still coming.
    while began.elapsed() < GREETING_WITHIN + SLACK {
        let pause = Duration::from_secs(1);
        match timeout(pause, slow.read(&mut [0; 256])).await {
            Some(Ok(0) | Err(_)) => {
                assert!((1..24).contains(&sent), "{sent} bytes");
                return;
            }
            // The server has a greeting of its own.
            Some(Ok(_)) => continue,
            None => {}
        }
        let _ = slow.write_all(&GREETING[sent..=sent]).await;
        sent += 1;
    }
    panic!("it is still there after {sent} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_headers_never_end_is_given_up_with_its_connection() {
    let alone = Alone::start("headers").await;
    let mut stuck = TcpStream::connect(&alone.address.client).await.unwrap();
    stuck.write_all(GREETING).await.unwrap();
    // Headers of a hundred bytes, of which ten come. Nor is it answered when the server asks whether anybody is there.
    stuck.write_all(b"\0\0\x64\x01\x04\0\0\0\x010123456789").await.unwrap();
    ended(stuck, CONNECTION_ALIVE * 2).await;
    alone.works().await;
}
