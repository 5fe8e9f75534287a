//! What the rules answer and what they leave behind, pinned over some histories. Replicas compare their states, and answers are in
//! them with their texts: two programs that differ in one word of a refusal differ in their states. So whoever has to change the
//! number below makes a new feature level, and gives the new word only there.

use super::{super::hash, members::record, *};
use crate::random::Draws;
use bytes::Bytes;
use pb::member_change::Change;
use prost::Message;

const HISTORIES: u64 = 60;
const STEPS: u64 = 150;

fn change(draws: &mut Draws) -> Command {
    let id = draws.range(1, 6);
    let change = match draws.range(0, 6) {
        0 => Change::Add(pb::AddMember {
            id,
            peer_address: format!("m{}:1", draws.range(1, 7)),
            client_address: format!("m{id}:2"),
        }),
        1 => Change::Promote(id),
        2 => Change::Demote(id),
        3 => Change::Remove(id),
        4 => Change::Replace(id),
        5 => Change::Update(pb::AddMember {
            id,
            peer_address: format!("n{}:1", draws.range(1, 7)),
            client_address: format!("n{id}:2"),
        }),
        _ => Change::Priority(pb::MemberPriority { id, priority: draws.range(0, 9) as i32 - 4 }),
    };
    Command::ChangeMembers { changes: vec![pb::MemberChange { change: Some(change) }] }
}

impl World {
    fn of_jobs(&mut self, draws: &mut Draws) -> Applied {
        let job = format!("j{}", draws.range(0, 3));
        let number = draws.range(0, 2) as u32;
        let held = self.state.task(&key(&job, number)).is_some();
        match draws.range(0, 9) {
            0 | 1 => {
                let tasks = draws.range(1, 3) as u32;
                self.submit(&job, |it| it.tasks = tasks)
            }
            2 => self.cancel(&job, 50),
            3 => self.client(Command::DeleteJob { id: id(&job) }),
            4 => self.internal(Command::ForceCancel { jobs: vec![id(&job)] }),
            5 if held => self.online(&job, number),
            6 if held => {
                let code = draws.range(0, 2) as i32;
                self.exits(&job, number, code)
            }
            _ => self.internal(Command::Place),
        }
    }

    fn of_executors(&mut self, draws: &mut Draws) -> Applied {
        let executor = ExecutorId(draws.range(1, 5));
        let incarnation = Incarnation(draws.range(6, 7));
        match draws.range(0, 5) {
            0..=2 => {
                let name = format!("box{}", draws.range(0, 3));
                let request = pb::RegisterExecutorRequest {
                    address: format!("{name}:9"),
                    name,
                    slots: draws.range(1, 3) as u32,
                    incarnation: incarnation.0,
                    ..Default::default()
                };
                self.client(Command::RegisterExecutor { request, ttl_ms: 5_000, grace_ms: 2_000 })
            }
            3 => self.client(Command::DeregisterExecutor { executor, incarnation }),
            4 => self.client(Command::RemoveExecutor { executor }),
            _ => {
                // The first is that of the session that all requests go through.
                let leases = vec![crate::types::LeaseId(draws.range(2, 9))];
                self.internal(Command::ExpireLeases { leases })
            }
        }
    }

    /// One that is open, was closed, or never was; not the one that all requests go through.
    fn some_session(&self, draws: &mut Draws) -> SessionId {
        let last = self.opened.len() as u64 - 1;
        let chosen = self.opened.get(draws.range(1, last + 1) as usize);
        chosen.copied().unwrap_or(SessionId(0))
    }

    fn of_keys(&mut self, draws: &mut Draws) -> Applied {
        use crate::command::Expected;
        let key = Bytes::from(format!("k{}", draws.range(0, 2)));
        let value = Bytes::from(format!("v{}", draws.range(0, 2)));
        self.client(match draws.range(0, 4) {
            0 | 1 => Command::Put { key, value },
            2 => Command::Delete { key },
            3 => Command::CompareAndSet { key, expected: Expected::Value(value.clone()), value },
            _ => Command::CompareAndSet { key, expected: Expected::ModRevision(draws.range(1, 20)), value },
        })
    }

    fn of_the_cluster(&mut self, draws: &mut Draws) -> Applied {
        let node = draws.range(1, 4);
        let storage = 10 * draws.range(1, 4);
        match draws.range(0, 9) {
            0 => self.internal(Command::OpenSession { ttl_ms: 60_000 }),
            1 => self.internal(Command::CloseSession { session: self.some_session(draws) }),
            2 => self.internal(Command::KnowMember {
                node: crate::types::NodeId(node),
                storage: crate::types::StorageId(storage),
            }),
            3 => self.internal(Command::RaiseAlarm {
                alarm: pb::Alarm {
                    node,
                    kind: draws.range(1, 2) as i32,
                    message: "no room".into(),
                    index: 256,
                    storage,
                    ..Default::default()
                },
            }),
            4 | 5 => self.client(Command::DisarmAlarm { node: None }),
            6 => {
                self.sequence += draws.range(0, 300);
                self.client(Command::RefuseChange { reason: "nobody answers".into() })
            }
            7 => {
                let other = self.some_session(draws);
                let own = std::mem::replace(&mut self.session, other);
                let applied = self.client(put("k0", "v0"));
                self.session = own;
                applied
            }
            _ => {
                let change = change(draws);
                self.client(change)
            }
        }
    }
}

#[test]
fn what_histories_answer_and_leave_is_pinned() {
    let (mut sum, mut refusals) = (0_u128, std::collections::BTreeSet::new());
    for seed in 0..HISTORIES {
        let (mut world, mut draws) = (World::new(), Draws::new(seed, 0));
        world.internal(Command::FoundMembers { members: (1..=3).map(|id| record(id, 10 * id)).collect() });
        for step in 0..STEPS {
            world.time += draws.range(0, 400);
            let applied = match draws.range(0, 9) {
                0..=3 => world.of_jobs(&mut draws),
                4 | 5 => world.of_executors(&mut draws),
                6 | 7 => world.of_keys(&mut draws),
                _ => world.of_the_cluster(&mut draws),
            };
            let bytes = applied.reply.encode_to_vec();
            sum = sum.wrapping_add(hash::digest(hash::Kind::Reply, &[seed, step], &[&bytes]));
            if let Some(Body::Refusal(refusal)) = applied.reply.body {
                let words = refusal.message.split(|sign: char| !sign.is_alphabetic());
                refusals.insert(words.filter(|word| word.len() > 2).take(6).collect::<Vec<_>>().join(" "));
            }
        }
        sum = sum.wrapping_add(world.state.hash().0);
    }
    assert!(refusals.len() >= 15, "the histories refuse too little: {refusals:#?}");
    assert_eq!(format!("{sum:032x}"), "fbc43003c993b6fea2cc6a3b7202fbdf");
}
