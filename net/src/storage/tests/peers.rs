//! What broke in other systems, told as stories of a disk. docs/regressions.md names them all.

use super::*;
use crate::storage::{Disk, segment::parse_file_name};
use core::time::Duration;
use pb::{client_reply::Body as Reply, client_request::Body as Request};
use quorate_core::{
    Config, Input, Node, Output,
    contract::{Flow, LeaseTimes, MemberAddress, Snapshot, Timing},
    random::Draws,
    types::{Now, RequestKey, Time},
};
use quorate_proto::v1 as pb;

/// A cluster of one on a disk that breaks: its log and its snapshots are files.
struct Alone {
    node: Node,
    storage: Storage,
    now: Now,
    /// The disk has failed: nothing more is written, and nothing answered.
    broken: bool,
    answer: Option<Reply>,
}

impl Alone {
    fn open(disk: &Arc<MemoryDisk>, now: Now) -> Result<Self, OpenError> {
        let dyn_disk: Arc<MemoryDisk> = Arc::clone(disk);
        let options = StorageOptions { segment_bytes: 2_000 };
        let (storage, recovered) = Storage::open(dyn_disk, IDENTITY, options)?;
        let own = MemberAddress { peer: "p:1".into(), client: "c:1".into() };
        let config = Config {
            cluster: IDENTITY.cluster,
            node: IDENTITY.node,
            storage: IDENTITY.storage,
            members: [(IDENTITY.node, own)].into(),
            joins: false,
            timing: Timing::default(),
            executor_lease: LeaseTimes::default(),
            snapshot_entries: 5,
            trailing_entries: 2,
            log_bytes: quorate_core::contract::LogBytes::default(),
            snapshot_rate: 0,
            flow: Flow::default(),
            level: quorate_core::level::FEATURE_LEVEL,
        };
        let node = Node::new(config, recovered, 1, now);
        let mut alone = Self { node, storage, now, broken: false, answer: None };
        alone.settle();
        alone.run(Duration::from_secs(2));
        Ok(alone)
    }

    fn settle(&mut self) {
        while let Some(output) = self.node.poll_output() {
            let done = match output {
                Output::Write(write) => {
                    let written = self.storage.write(std::slice::from_ref(&write));
                    written.map(|()| Input::WriteDone { io: write.io })
                }
                Output::SaveSnapshot(snapshot) => {
                    let Snapshot { at, .. } = *snapshot;
                    let saved = self.storage.snapshots().save(&snapshot);
                    saved.map(|()| Input::SnapshotSaved { at })
                }
                Output::Reply { reply, .. } => {
                    self.answer = reply.body;
                    continue;
                }
                _ => continue,
            };
            match done {
                Ok(input) if !self.broken => self.node.step(self.now, input),
                Ok(_) => {}
                Err(_) => self.broken = true,
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now.time + time;
        while let Some((at, _)) = self.node.next_deadline()
            && at <= end
            && !self.broken
        {
            self.now.time = self.now.time.max(at);
            self.node.step(self.now, Input::Deadline);
            self.settle();
        }
        self.now.time = end;
    }

    fn ask(&mut self, request: Request) -> Option<Reply> {
        let request = Box::new(pb::ClientRequest { body: Some(request) });
        self.node.step(self.now, Input::Request { key: RequestKey(1), request });
        self.settle();
        self.answer.take()
    }

    /// The revision of the key that this gave it; none: nobody was answered.
    fn put(&mut self, session: u64, sequence: u64) -> Option<u64> {
        let request_id = Some(pb::RequestId { session, sequence, lowest_open: sequence });
        let value = sequence.to_be_bytes().to_vec().into();
        match self.ask(Request::Put(pb::PutRequest { request_id, key: "k".into(), value }))? {
            Reply::Put(reply) => Some(reply.revision),
            other => panic!("{other:?}"),
        }
    }

    fn get(&mut self) -> Option<(u64, u64)> {
        match self.ask(Request::Get(pb::GetRequest { key: "k".into(), stale: false }))? {
            Reply::Get(reply) => {
                let item = reply.item?;
                let value = u64::from_be_bytes(item.value.as_ref().try_into().unwrap());
                Some((item.mod_revision, value))
            }
            other => panic!("{other:?}"),
        }
    }

    fn session(&mut self) -> u64 {
        match self.ask(Request::OpenSession(pb::OpenSessionRequest { ttl_ms: 0 })) {
            Some(Reply::OpenSession(reply)) => reply.session,
            other => panic!("{other:?}"),
        }
    }
}

/// Puts of one session, with the state written aside and the log shortened every few of them, until the disk breaks. The
/// last put that was answered, with its revision.
fn puts(alone: &mut Alone, session: u64) -> (u64, u64) {
    let mut last = (0, 0);
    for sequence in 1..=25 {
        match alone.put(session, sequence) {
            Some(revision) => {
                assert!(revision > last.1, "revisions grow");
                last = (sequence, revision);
            }
            None => break,
        }
    }
    last
}

#[test]
fn a_crash_between_apply_and_persist_or_while_the_log_is_shortened_never_takes_the_revision_back() {
    let began = Arc::new(MemoryDisk::new());
    let mut alone = Alone::open(&began, Now { time: Time(1), wall_ms: 0 }).unwrap();
    let session = alone.session();
    let (now, before) = (alone.now, began.operations());
    drop(alone);
    let mut runs = 0;
    for steps in 0.. {
        for seed in 0..4 {
            let disk = Arc::new(MemoryDisk::clone(&began));
            let mut alone = Alone::open(&disk, now).unwrap();
            disk.halt_after(steps);
            let (sequence, revision) = puts(&mut alone, session);
            let (finished, now) = (!alone.broken, alone.now);
            drop(alone);
            if seed == 0 {
                disk.crash();
            } else {
                disk.power_loss(&mut Draws::new(seed, steps));
            }
            let mut again = Alone::open(&disk, now).unwrap();
            let found = again.get().unwrap_or_default();
            // What nobody was answered may be there, or not.
            let unanswered = u64::from(!finished);
            let at = format!("step {steps}, seed {seed}: {found:?}");
            assert!((sequence..=sequence + unanswered).contains(&found.1), "{at}, answered {sequence}");
            assert!((revision..=revision + unanswered).contains(&found.0), "{at}, answered {revision}");
            assert!(again.put(session, sequence + 2).unwrap() > found.0.max(revision), "{at}");
            runs += 1;
            if finished && seed == 3 {
                assert!(steps > 60 && began.operations() == before, "{runs} runs, {steps} steps");
                return;
            }
        }
    }
}

#[test]
fn a_log_that_was_cut_short_is_not_an_empty_log() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_sized(&disk, 600).unwrap();
    for index in 1..=12 {
        storage.write(&[entries(1, index, index, 150)]).unwrap();
    }
    drop(storage);
    let names = disk.list().unwrap();
    let segments: Vec<_> = names.iter().filter(|name| parse_file_name(name).is_some()).collect();
    assert!(segments.len() > 3, "{names:?}");
    for name in &segments {
        let size = disk.size(name).unwrap();
        for left in (0..size).step_by(7) {
            let copy = Arc::new(MemoryDisk::clone(&disk));
            copy.truncate(name, left).unwrap();
            match open(&copy) {
                // What is missing at the end of the newest file may never have been written. What was in front of it is there,
                // and peers that were told of more do not let such a directory take part.
                Ok((_, recovered)) => {
                    assert_eq!(Some(name), segments.last(), "{left} bytes are left of {size}");
                    let held = &recovered.entries;
                    assert!(held.len() >= 10, "{} entries, {left} bytes are left of {size}", held.len());
                    assert!(held.iter().zip(1..).all(|(held, index)| *held == entry(1, index, 150)));
                }
                Err(error) => {
                    assert!(error.to_string().contains(name.as_str()), "{error}");
                }
            }
        }
    }
}
