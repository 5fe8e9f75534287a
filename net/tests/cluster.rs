//! Three masters in one process, on loopback, with data directories of their own.
#![cfg(not(madsim))]
#![allow(missing_docs, clippy::unwrap_used)]

use futures::StreamExt;
use pb::member_change::Change;
use quorate_core::{
    Config,
    contract::{Flow, LeaseTimes, MemberAddress, Timing},
    types::{ClusterId, NodeId, StorageId},
};
use quorate_net::{
    Client, ClientError, ClientOptions, RunningNode, ServerConfig,
    client::Expected,
    ports::ReservedPort,
    rt::{self, Duration, Instant, timeout},
    start_server,
};
use quorate_proto::v1 as pb;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process,
};

struct Cluster {
    directory: PathBuf,
    members: BTreeMap<NodeId, MemberAddress>,
    nodes: BTreeMap<NodeId, RunningNode>,
    /// Masters that join a cluster that there is.
    joined: BTreeSet<NodeId>,
    timing: Timing,
    /// Those of masters that are down as well.
    ports: Vec<ReservedPort>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Cluster {
    async fn start(name: &str) -> Self {
        Self::start_with(name, Timing::default()).await
    }

    async fn start_with(name: &str, timing: Timing) -> Self {
        let directory = std::env::temp_dir().join(format!("quorate-net-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&directory);
        let ports: Vec<_> = (0..6).map(|_| ReservedPort::new().unwrap()).collect();
        let address = |number: usize| ports[number].address().to_string();
        let members = (0..3).map(|number| {
            let member = MemberAddress { peer: address(number), client: address(number + 3) };
            (NodeId(number as u64 + 1), member)
        });
        let members = members.collect();
        let (nodes, joined) = (BTreeMap::new(), BTreeSet::new());
        let mut cluster = Self { directory, members, nodes, joined, timing, ports };
        cluster.start_all().await;
        cluster
    }

    fn config(&self, node: NodeId) -> ServerConfig {
        let core = Config {
            cluster: ClusterId(77),
            node,
            storage: StorageId(1),
            members: self.members.clone(),
            joins: self.joined.contains(&node),
            timing: self.timing,
            executor_lease: LeaseTimes::default(),
            snapshot_entries: 50,
            trailing_entries: 10,
            log_bytes: quorate_core::contract::LogBytes::default(),
            snapshot_rate: 0,
            flow: Flow::default(),
            level: quorate_core::level::FEATURE_LEVEL,
        };
        ServerConfig {
            core,
            data_dir: self.directory.join(node.to_string()),
            peer_listen: self.members[&node].peer.clone(),
            client_listen: self.members[&node].client.clone(),
            insecure: false,
            space: quorate_net::storage::SpaceLimits::default(),
            scrub: quorate_net::ScrubOptions::default(),
            tape: None,
        }
    }

    async fn start_node(&mut self, node: NodeId) {
        let running = start_server(self.config(node)).await.unwrap();
        self.nodes.insert(node, running);
    }

    async fn start_all(&mut self) {
        for node in self.members.keys().copied().collect::<Vec<_>>() {
            self.start_node(node).await;
        }
    }

    async fn stop(&mut self, node: NodeId) {
        self.nodes.remove(&node).unwrap().shutdown().await;
    }

    async fn stop_all(&mut self) {
        for node in self.members.keys().copied().collect::<Vec<_>>() {
            if self.nodes.contains_key(&node) {
                self.stop(node).await;
            }
        }
    }

    fn client(&self) -> Client {
        let endpoints: Vec<_> = self.members.values().map(|member| member.client.clone()).collect();
        Client::new(&endpoints, ClientOptions::default()).unwrap()
    }

    fn client_of(&self, node: NodeId) -> Client {
        Client::new(&[self.members[&node].client.clone()], ClientOptions::default()).unwrap()
    }

    /// Asks until a node names a leader that runs.
    async fn leader(&self, client: &Client) -> NodeId {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Ok(reply) = client.leader().await
                && self.nodes.contains_key(&NodeId(reply.leader))
            {
                return NodeId(reply.leader);
            }
            rt::sleep(Duration::from_millis(20)).await;
        }
        panic!("no leader");
    }
}

/// Asks until it is so.
async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so().await {
        assert!(Instant::now() < deadline, "{what}");
        rt::sleep(Duration::from_millis(20)).await;
    }
}

impl Cluster {
    /// A new master with an address of its own, which is not a member yet.
    fn another(&mut self, node: NodeId) -> pb::AddMember {
        let ports = [(); 2].map(|()| ReservedPort::new().unwrap());
        let [peer, client] = [0, 1].map(|at: usize| ports[at].address().to_string());
        self.ports.extend(ports);
        self.members.insert(node, MemberAddress { peer: peer.clone(), client: client.clone() });
        self.joined.insert(node);
        pb::AddMember { id: node.0, peer_address: peer, client_address: client }
    }

    /// Promotes a learner as soon as it may vote.
    async fn promote(&self, client: &Client, node: NodeId) {
        until("it catches up", || async {
            let change = pb::MemberChange { change: Some(Change::Promote(node.0)) };
            let answer = client.change_members(vec![change]).await;
            answer.is_ok()
        })
        .await;
    }
}

async fn change(client: &Client, change: Change) -> pb::Membership {
    client.change_members(vec![pb::MemberChange { change: Some(change) }]).await.unwrap()
}

async fn parts(client: &Client) -> Vec<(u64, pb::MemberPart)> {
    let reply = client.members().await.unwrap();
    reply.members.iter().map(|member| (member.id, member.part())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_come_and_go_while_the_cluster_serves() {
    use pb::MemberPart::{Learner, Voter};
    let mut cluster = Cluster::start("members").await;
    let founders = cluster.client();
    for number in 0..120 {
        founders.put(format!("key/{number}"), "value").await.unwrap();
    }
    // What a newcomer lacks comes in a snapshot: the log was cut.
    let four = NodeId(4);
    let address = cluster.another(four);
    change(&founders, Change::Add(address)).await;
    assert_eq!(parts(&founders).await[3], (4, Learner));
    cluster.start_node(four).await;
    cluster.promote(&founders, four).await;
    assert_eq!(parts(&founders).await, [1, 2, 3, 4].map(|id| (id, Voter)));
    let own = cluster.client_of(four);
    assert!(own.get("key/7").await.unwrap().item.is_some());

    let leader = cluster.leader(&founders).await;
    change(&founders, Change::Remove(leader.0)).await;
    cluster.stop(leader).await;
    cluster.members.remove(&leader);
    let rest = cluster.client();
    rest.put("after", "it").await.unwrap();
    assert_eq!(parts(&rest).await.len(), 3);

    // A master loses its disk: its directory is replaced under its id.
    let lost = *cluster.members.keys().find(|id| **id != four).unwrap();
    cluster.stop(lost).await;
    fs::remove_dir_all(cluster.directory.join(lost.to_string())).unwrap();
    change(&rest, Change::Replace(lost.0)).await;
    cluster.joined.insert(lost);
    cluster.start_node(lost).await;
    cluster.promote(&rest, lost).await;
    assert!(parts(&rest).await.iter().all(|(_, part)| *part == Voter));

    // Everybody comes up again, and knows who votes.
    cluster.stop_all().await;
    cluster.start_all().await;
    rest.put("again", "there").await.unwrap();
    assert_eq!(&rest.get("after").await.unwrap().item.unwrap().value[..], b"it");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_away_while_all_others_were_replaced_finds_the_cluster() {
    let mut cluster = Cluster::start("away").await;
    let founders = cluster.client();
    founders.put("before", "it").await.unwrap();
    let away = NodeId(3);
    let founded = cluster.members.clone();
    cluster.stop(away).await;
    for node in [4, 5].map(NodeId) {
        let address = cluster.another(node);
        change(&founders, Change::Add(address)).await;
        cluster.start_node(node).await;
        cluster.promote(&founders, node).await;
    }
    for node in [1, 2].map(NodeId) {
        // Who is removed may lead, and then another one answers.
        let change = pb::MemberChange { change: Some(Change::Remove(node.0)) };
        cluster.client().change_members(vec![change]).await.unwrap();
        cluster.stop(node).await;
        cluster.members.remove(&node);
    }
    cluster.client().put("after", "it").await.unwrap();
    // It knows nobody who is still there.
    let now = std::mem::replace(&mut cluster.members, founded);
    cluster.start_node(away).await;
    cluster.members = now;
    let own = cluster.client_of(away);
    until("it is served", || async { own.get("after").await.is_ok_and(|it| it.item.is_some()) }).await;
    cluster.stop_all().await;
}

/// Whether another master leads when a leader is about to end. It would stay if nobody asked it to go.
fn hands_over(name: &str) -> bool {
    let (election_min, election_max) = (Duration::from_secs(1), Duration::from_secs(2));
    let timing = Timing { election_min, election_max, ..Timing::default() };
    // On this thread alone, so that a planted bug is everywhere.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut cluster = Cluster::start_with(name, timing).await;
        let leader = cluster.leader(&cluster.client()).await;
        let follower = cluster.client_of(leader);
        // On a busy machine the first may take too long.
        let mut handed_over = false;
        for _ in 0..5 {
            cluster.nodes[&leader].hand_over().await;
            handed_over |= follower.leader().await.is_ok_and(|it| it.leader != leader.0);
        }
        cluster.stop_all().await;
        handed_over
    })
}

#[test]
fn who_is_to_end_leads_no_more() {
    assert!(hands_over("hand-over"));
}

#[cfg(feature = "planted-bugs")]
#[test]
fn who_ends_as_a_leader_is_noticed() {
    use quorate_core::bug::{Bug, plant};
    plant(Some(Bug::NetEndsAsLeader));
    let noticed = !hands_over("no-hand-over");
    plant(None);
    assert!(noticed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_has_stopped_uses_its_directory_no_more() {
    let mut cluster = Cluster::start("again").await;
    for _ in 0..50 {
        cluster.stop(NodeId(1)).await;
        // Fails if the directory is locked.
        cluster.start_node(NodeId(1)).await;
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_moved_is_answered_by_those_who_know_only_where_it_was() {
    let mut cluster = Cluster::start("moved").await;
    let founders = cluster.client();
    founders.put("before", "it").await.unwrap();
    let leader = cluster.leader(&founders).await;
    let away = *cluster.members.keys().find(|node| **node != leader).unwrap();
    cluster.stop(away).await;
    let before = cluster.members.clone();
    let address = cluster.another(leader);
    cluster.joined.remove(&leader);
    change(&founders, Change::Update(address)).await;
    cluster.stop(leader).await;
    cluster.start_node(leader).await;
    let client = cluster.client();
    until("it leads", || async { client.transfer_leader(Some(leader.0)).await.is_ok() }).await;
    client.put("after", "it").await.unwrap();
    let newcomer = NodeId(4);
    change(&client, Change::Add(cluster.another(newcomer))).await;
    // Neither can reach the leader, which has to write the newcomer's directory down.
    let four = cluster.members[&newcomer].clone();
    let now = std::mem::replace(&mut cluster.members, before);
    cluster.members.insert(newcomer, four);
    cluster.start_node(away).await;
    cluster.start_node(newcomer).await;
    cluster.members = now;
    for node in [away, newcomer] {
        let own = cluster.client_of(node);
        until("it is served", || async { own.get("after").await.is_ok_and(|it| it.item.is_some()) }).await;
    }
    assert_eq!(cluster.leader(&client).await, leader);
    cluster.stop_all().await;
}

fn sleeper() -> pb::JobSpecification {
    pb::JobSpecification {
        r#type: pb::JobType::Batch.into(),
        argv: vec!["true".into()],
        tasks: 2,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_jobs_are_served_by_every_master() {
    let cluster = Cluster::start("serve").await;
    let client = cluster.client();
    let first = client.put("a/1", "one").await.unwrap();
    assert!(client.put("a/2", "two").await.unwrap().revision > first.revision);
    for node in [1, 2, 3].map(NodeId) {
        let item = cluster.client_of(node).get("a/1").await.unwrap().item.unwrap();
        assert_eq!((&item.value[..], item.version), (&b"one"[..], 1), "node {node}");
        let key = format!("by/{node}");
        cluster.client_of(node).put(key.clone(), "x").await.unwrap();
        assert!(client.get(key).await.unwrap().item.is_some(), "node {node} wrote");
    }
    let refused = client.compare_and_set("a/1", Expected::Value("two".into()), "three").await.unwrap();
    assert_eq!((refused.succeeded, &refused.current.unwrap().value[..]), (false, &b"one"[..]));
    assert!(client.compare_and_set("a/1", Expected::Value("one".into()), "three").await.unwrap().succeeded);
    assert!(client.compare_and_set("new", Expected::Absent, "1").await.unwrap().succeeded);
    assert!(client.delete("new").await.unwrap().deleted);
    let listed = client.list(pb::ListRequest { prefix: "a/".into(), ..Default::default() }).await.unwrap();
    let keys: Vec<_> = listed.items.iter().map(|item| item.key.clone()).collect();
    assert_eq!(keys, ["a/1", "a/2"]);

    let submitted = client.submit_job("first", sleeper()).await.unwrap();
    assert_eq!(submitted.job.unwrap().state(), pb::JobState::Created);
    let read =
        client.get_job(pb::GetJobRequest { id: "first".into(), tasks: true, ..Default::default() }).await;
    let read = read.unwrap();
    assert_eq!(read.tasks.len(), 2);
    assert!(read.tasks.iter().all(|task| task.state() == pb::TaskState::Pending), "{:?}", read.tasks);
    let jobs = client.list_jobs(pb::ListJobsRequest::default()).await.unwrap().jobs;
    assert_eq!(jobs.len(), 1);
    let logs = client.job_logs("first", 0, 0).await.err().unwrap();
    assert!(
        matches!(&logs, ClientError::Refused { message, .. } if message.contains("not been given")),
        "{logs:?}"
    );

    let members = client.members().await.unwrap();
    assert_eq!((members.members.len(), members.cluster), (3, 77));
    let endpoint = &members.members[0].client_address;
    let status = client.status(endpoint).await.unwrap();
    assert_eq!((status.node, status.cluster, status.version.is_empty()), (1, 77, false));
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_sees_a_job_end_across_a_change_of_masters() {
    let mut cluster = Cluster::start("watch").await;
    let client = cluster.client();
    client.submit_job("watched", sleeper()).await.unwrap();
    let mut watch = client.watch_job("watched");
    let first = watch.next().await.unwrap().unwrap();
    assert_eq!(first.job.unwrap().state(), pb::JobState::Created);
    let leader = cluster.leader(&client).await;
    cluster.stop(leader).await;
    client.cancel_job("watched", None).await.unwrap();
    let mut states = Vec::new();
    while let Some(status) = watch.next().await {
        states.push(status.unwrap().job.unwrap().state());
    }
    assert_eq!(states.last(), Some(&pb::JobState::Canceled), "{states:?}");
    client.delete_job("watched").await.unwrap();
    let gone = client.watch_job("watched").next().await.unwrap().unwrap_err();
    assert!(matches!(gone, ClientError::Refused { code: pb::RefusalCode::NotFound, .. }), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_without_the_leader_and_nothing_is_lost_by_a_restart_of_all() {
    let mut cluster = Cluster::start("restart").await;
    let client = cluster.client();
    // More than the entries between two snapshots.
    for number in 0..150 {
        client.put(format!("k/{number:03}"), format!("{number}")).await.unwrap();
    }
    let leader = cluster.leader(&client).await;
    cluster.stop(leader).await;
    let stopped = Instant::now();
    client.put("after", "the leader").await.unwrap();
    // An election takes less than half a second; waiting for the old leader takes `request_timeout`.
    assert!(stopped.elapsed() < Timing::default().request_timeout / 2, "{:?}", stopped.elapsed());
    client.submit_job("kept", sleeper()).await.unwrap();
    assert_ne!(cluster.leader(&client).await, leader);
    cluster.start_node(leader).await;
    cluster.stop_all().await;

    let away = Client::new(
        &client.endpoints(),
        ClientOptions { deadline: Duration::from_millis(300), ..Default::default() },
    );
    let error = away.unwrap().get("after").await.unwrap_err();
    assert!(error.is_unreachable() && matches!(error, ClientError::Unreachable { .. }), "{error:?}");

    cluster.start_all().await;
    assert_eq!(&client.get("after").await.unwrap().item.unwrap().value[..], b"the leader");
    let listed = client
        .list(pb::ListRequest { prefix: "k/".into(), limit: 1000, ..Default::default() })
        .await
        .unwrap();
    assert_eq!(listed.items.len(), 150);
    let kept = client.get_job(pb::GetJobRequest { id: "kept".into(), ..Default::default() }).await.unwrap();
    assert_eq!(kept.job.unwrap().state(), pb::JobState::Created);
    client.put("again", "1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_by_name() {
    let cluster = Cluster::start("refuse").await;
    let client = cluster.client();
    let large = client.put("k", vec![0; quorate_core::limits::REQUEST_BYTES]).await.unwrap_err();
    assert!(
        matches!(&large, ClientError::Refused { message, .. } if message.contains("REQUEST_BYTES")),
        "{large:?}"
    );
    let empty = client.put("", "v").await.unwrap_err();
    assert!(matches!(empty, ClientError::Refused { code: pb::RefusalCode::Invalid, .. }), "{empty:?}");
    let unknown =
        client.get_job(pb::GetJobRequest { id: "none".into(), ..Default::default() }).await.unwrap_err();
    assert!(matches!(unknown, ClientError::Refused { code: pb::RefusalCode::NotFound, .. }), "{unknown:?}");
    client.submit_job("twice", sleeper()).await.unwrap();
    let twice = client.submit_job("twice", sleeper()).await.unwrap_err();
    assert!(matches!(twice, ClientError::Refused { code: pb::RefusalCode::AlreadyExists, .. }), "{twice:?}");
    assert!(!twice.retryable() && !twice.is_unreachable());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_a_job_that_is_deleted_meanwhile_says_so_and_shows_nothing_of_its_namesake() {
    let cluster = Cluster::start("deleted").await;
    let client = cluster.client();
    client.submit_job("short", sleeper()).await.unwrap();
    let mut watch = client.watch_job("short");
    let first = watch.next().await.unwrap().unwrap();
    let first = first.job.unwrap();
    // It ends and goes at once; another takes its name. The watch may miss what was in between, and must not miss the end.
    client.cancel_job("short", None).await.unwrap();
    until("the job ends", || async { client.delete_job("short").await.is_ok() }).await;
    client.submit_job("short", sleeper()).await.unwrap();
    let end = timeout(Duration::from_secs(10), async {
        loop {
            match watch.next().await {
                Some(Ok(status)) => {
                    let job = status.job.unwrap();
                    assert_eq!(job.created_index, first.created_index, "another job of the same name");
                    if job.state() == pb::JobState::Canceled {
                        return;
                    }
                }
                Some(Err(ClientError::Refused { code: pb::RefusalCode::NotFound, .. })) | None => return,
                Some(Err(error)) => panic!("{error:?}"),
            }
        }
    });
    assert!(end.await.is_some(), "it waits for ever");
}

/// Its state is well, and the hash that it says of it is not: so it can be started again when an operator says so.
#[cfg(feature = "fault-points")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_differed_starts_again_only_when_an_operator_says_so() {
    use quorate_core::{limits::CHECKPOINT_ENTRIES, point::Point};
    use quorate_net::{ServerError, storage::OpenError};
    let mut cluster = Cluster::start("differs").await;
    let client = cluster.client();
    let leader = cluster.leader(&client).await;
    let wrong = *cluster.nodes.keys().find(|node| **node != leader).unwrap();
    assert!(cluster.nodes[&wrong].handle().fault_point(Point::HashWrong, 1).await);
    let mark = cluster.directory.join(wrong.to_string()).join("differs");
    for number in 0.. {
        assert!(number < 20 * CHECKPOINT_ENTRIES, "nobody compares them");
        client.put("key", format!("{number}")).await.unwrap();
        if mark.exists() {
            break;
        }
    }
    cluster.stop(wrong).await;
    let refused = start_server(cluster.config(wrong)).await;
    let Err(ServerError::Open(OpenError::Differs { said, .. })) = refused else { panic!("{refused:?}") };
    assert!(said.starts_with(&format!("the state of node {wrong} at index ")), "{said}");
    client.put("key", "it goes on without").await.unwrap();
    fs::remove_file(mark).unwrap();
    cluster.start_node(wrong).await;
    let own = cluster.client_of(wrong);
    let is_there =
        async || own.get("key").await.is_ok_and(|it| it.item.unwrap().value == "it goes on without");
    until("it serves again", is_there).await;
    cluster.stop_all().await;
}
