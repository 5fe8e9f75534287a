//! Inputs that are fed together: what leaves for them leaves together, and means the same.

use super::*;
use pb::envelope::Body;

fn put(session: u64, sequence: u64) -> Input {
    let request_id = Some(pb::RequestId { session, sequence, lowest_open: 1 });
    let put =
        pb::PutRequest { request_id, key: format!("k{sequence}").into(), value: sequence.to_string().into() };
    let request = Box::new(pb::ClientRequest { body: Some(Request::Put(put)) });
    Input::Request { key: RequestKey(1_000 + sequence), request }
}

impl Cluster {
    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    /// Feeds a node, ends the batch, and takes what comes out of each of the two.
    fn feed(&mut self, id: NodeId, inputs: Vec<Input>) -> (Vec<Output>, Vec<Output>) {
        let now = self.now;
        let node = self.node(id);
        let drain = |node: &mut Node| std::iter::from_fn(|| node.poll_output()).collect::<Vec<_>>();
        let mut fed = Vec::new();
        for input in inputs {
            node.feed(now, input);
            fed.extend(drain(node));
        }
        node.step(now, Input::Deadline);
        (fed, drain(node))
    }

    /// As [`settle`](Self::settle), but every node takes all that waits for it as one batch.
    fn settle_fed(&mut self, mut waiting: BTreeMap<NodeId, Vec<Input>>) {
        while let Some((id, inputs)) = waiting.pop_first() {
            let (fed, ended) = self.feed(id, inputs);
            for output in fed.into_iter().chain(ended) {
                match output {
                    Output::Send { to, envelope, .. } => {
                        waiting.entry(to).or_default().push(Input::Peer(envelope));
                    }
                    Output::Write(write) => {
                        waiting.entry(id).or_default().push(Input::WriteDone { io: write.io });
                    }
                    Output::SaveSnapshot(snapshot) => {
                        waiting.entry(id).or_default().push(Input::SnapshotSaved { at: snapshot.at });
                    }
                    Output::Reply { key, reply } => _ = self.replies.insert(key, *reply),
                    _ => {}
                }
            }
        }
    }
}

fn leads(cluster: &mut Cluster) -> (NodeId, u64) {
    cluster.run(Duration::from_secs(1));
    let leader = cluster.leader();
    let session = cluster.session(leader);
    cluster.run(Duration::from_millis(200));
    (leader, session)
}

#[test]
fn what_is_fed_together_leaves_in_one_write_and_one_message_to_each() {
    let mut cluster = Cluster::new(3);
    let (leader, session) = leads(&mut cluster);
    let (fed, ended) = cluster.feed(leader, (1..=5).map(|sequence| put(session, sequence)).collect());
    let works = |output: &Output| matches!(output, Output::Write(_) | Output::Send { .. });
    assert!(!fed.iter().any(works), "{fed:?}");
    let writes: Vec<usize> = ended
        .iter()
        .filter_map(|output| if let Output::Write(write) = output { Some(write.entries.len()) } else { None })
        .collect();
    assert_eq!(writes, [5]);
    let appends: Vec<usize> = ended
        .iter()
        .filter_map(|output| match output {
            Output::Send { envelope, .. } => match &envelope.body {
                Some(Body::Append(append)) => Some(append.entries.len()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(appends, [5, 5]);
}

#[test]
fn appends_that_are_fed_together_are_acknowledged_once_when_they_are_written() {
    let mut cluster = Cluster::new(3);
    let (leader, session) = leads(&mut cluster);
    let follower = cluster.follower();
    let mut appends = Vec::new();
    for sequence in 1..=3 {
        let (_, ended) = cluster.feed(leader, vec![put(session, sequence)]);
        appends.extend(ended.into_iter().filter_map(|output| match output {
            Output::Send { to, envelope, .. } if to == follower => Some(Input::Peer(envelope)),
            _ => None,
        }));
    }
    assert_eq!(appends.len(), 3);
    let answers = |outputs: &[Output]| -> Vec<u64> {
        let answer = |output: &Output| match output {
            Output::Send { envelope, .. } => match &envelope.body {
                Some(Body::AppendReply(reply)) => Some(reply.index),
                _ => None,
            },
            _ => None,
        };
        outputs.iter().filter_map(answer).collect()
    };
    let (fed, ended) = cluster.feed(follower, appends);
    assert!(answers(&fed).is_empty() && answers(&ended).is_empty());
    let io = ended.iter().find_map(|it| if let Output::Write(write) = it { Some(write.io) } else { None });
    let (fed, ended) = cluster.feed(follower, vec![Input::WriteDone { io: io.expect("one write") }]);
    let last = cluster.node(leader).raft.last_index().0;
    assert_eq!([answers(&fed), answers(&ended)].concat(), [last]);
}

#[test]
fn a_cluster_that_is_fed_in_batches_answers_and_holds_what_one_that_steps_does() {
    let (mut fed, mut stepped) = (Cluster::new(3), Cluster::new(3));
    let (leader, session) = leads(&mut fed);
    assert_eq!(leads(&mut stepped), (leader, session));
    let follower = fed.follower();
    // Of each ten some come to the leader and some are forwarded.
    for ten in 0..10 {
        let of = |rest| (ten * 10 + 1..=ten * 10 + 10).filter(move |it| it % 3 == rest);
        let puts = |rest| of(rest).map(|it| put(session, it)).collect::<Vec<_>>();
        fed.settle_fed([(leader, [puts(0), puts(1)].concat()), (follower, puts(2))].into());
        for (node, rest) in [(leader, 0), (leader, 1), (follower, 2)] {
            for sequence in of(rest) {
                let now = stepped.now;
                stepped.node(node).step(now, put(session, sequence));
                stepped.settle();
            }
        }
    }
    assert_eq!(fed.replies.len(), 100);
    let refused = |reply: &pb::ClientReply| matches!(reply.body, Some(Reply::Refusal(_)));
    assert!(!fed.replies.values().any(refused));
    fed.run(Duration::from_millis(200));
    stepped.run(Duration::from_millis(200));
    let keys = |cluster: &Cluster, id: NodeId| cluster.nodes[&id].state().sizes();
    for id in [1, 2, 3].map(NodeId) {
        assert_eq!(fed.nodes[&id].state().hash(), fed.nodes[&leader].state().hash());
        assert_eq!(keys(&fed, id), keys(&stepped, id));
    }
}

#[test]
fn who_is_handed_to_in_batches_leads_before_any_time_passes() {
    for puts in 0..10 {
        let mut cluster = Cluster::new(3);
        let (leader, session) = leads(&mut cluster);
        let to = cluster.follower();
        let body = Request::TransferLeader(pb::TransferLeaderRequest { to: to.0, from: leader.0 });
        let transfer = Box::new(pb::ClientRequest { body: Some(body) });
        let transfer = Input::Request { key: RequestKey(1), request: transfer };
        let all: Vec<Input> = (1..=puts).map(|it| put(session, it)).chain([transfer]).collect();
        cluster.settle_fed([(leader, all)].into());
        assert_eq!(cluster.nodes[&to].raft().role(), Role::Leader, "behind {puts} puts");
    }
}
