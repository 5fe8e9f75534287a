//! The same driver, peers, services and client on a simulated runtime, network and disk.
#![cfg(madsim)]
#![allow(missing_docs, clippy::unwrap_used)]

use madsim::runtime::{Handle, NodeHandle};
use quorate_core::{
    Config,
    contract::{Flow, LeaseTimes, MemberAddress, Timing},
    types::{ClusterId, NodeId, StorageId},
};
use quorate_net::{
    Client, ClientOptions, NodeParts,
    rt::{Duration, Instant, Listener, sleep},
    start_node,
    storage::{Identity, MemoryDisk, Storage, StorageOptions},
};
use quorate_proto::v1 as pb;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

const CLUSTER: ClusterId = ClusterId(77);

fn members() -> BTreeMap<NodeId, MemberAddress> {
    let address = |id: u64, port: u16| format!("10.0.0.{id}:{port}");
    let member = |id| (NodeId(id), MemberAddress { peer: address(id, 7001), client: address(id, 7002) });
    (1..=3).map(member).collect()
}

/// A machine that starts its master again whenever it is restarted.
fn machine(id: u64) -> NodeHandle {
    let disk = MemoryDisk::new();
    let start = move || {
        let disk = disk.clone();
        async move {
            let identity = Identity::new(CLUSTER, NodeId(id), StorageId(id * 11));
            let options = StorageOptions { segment_bytes: 64 << 10 };
            let (mut log, recovered) = Storage::open(Arc::new(disk), identity, options).unwrap();
            let config = Config {
                cluster: CLUSTER,
                node: NodeId(id),
                storage: log.identity().storage,
                members: members(),
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
            let member = &members()[&NodeId(id)];
            let peer_listener = Listener::bind(&member.peer).await.unwrap();
            let client_listener = Listener::bind(&member.client).await.unwrap();
            let (snapshots, helper, seed) = (log.snapshots(), log.helper(), id);
            let tape = None;
            let parts = NodeParts {
                config,
                recovered,
                seed,
                log,
                helper,
                snapshots,
                peer_listener,
                client_listener,
                tape,
            };
            let mut node = start_node(parts).unwrap();
            panic!("stopped: {:?}", node.stopped().await);
        }
    };
    let address: IpAddr = format!("10.0.0.{id}").parse().unwrap();
    Handle::current().create_node().name(format!("master-{id}")).ip(address).init(start).build()
}

fn client(seed: u64) -> Client {
    let endpoints: Vec<_> = members().values().map(|member| member.client.clone()).collect();
    Client::new(&endpoints, ClientOptions { seed: Some(seed), ..Default::default() }).unwrap()
}

#[madsim::test]
async fn a_cluster_survives_kills_of_its_leaders() {
    let handle = Handle::current();
    let machines: BTreeMap<u64, NodeHandle> = (1..=3).map(|id| (id, machine(id))).collect();
    let person = handle.create_node().name("person").ip("10.0.1.1".parse().unwrap()).build();
    let story = person.spawn(async move {
        let client = client(1);
        for round in 0..4_u64 {
            for number in 0..30 {
                client.put(format!("k/{round}/{number:02}"), "v").await.unwrap();
            }
            let leader = loop {
                match client.leader().await.unwrap().leader {
                    0 => sleep(Duration::from_millis(20)).await,
                    leader => break leader,
                }
            };
            let killed = Instant::now();
            Handle::current().kill(machines[&leader].id());
            client.put("after", format!("{round}")).await.unwrap();
            assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
            Handle::current().restart(machines[&leader].id());
            let submitted = client.submit_job(&format!("job-{round}"), job()).await.unwrap();
            assert_eq!(submitted.job.unwrap().state(), pb::JobState::Created);
        }
        let asked =
            pb::ListRequest { prefix: "k/".into(), limit: 1_000, keys_only: true, ..Default::default() };
        assert_eq!(client.list(asked).await.unwrap().items.len(), 120);
        sleep(Duration::from_secs(2)).await;
        let mut hashes = Vec::new();
        for member in members().values() {
            hashes.push(client.status(&member.client).await.unwrap().state_hash);
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    });
    story.await.unwrap();
}

fn job() -> pb::JobSpecification {
    let argv = vec!["true".to_owned()];
    pb::JobSpecification { r#type: pb::JobType::Batch.into(), argv, tasks: 1, ..Default::default() }
}
