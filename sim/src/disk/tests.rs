//! Writes, crashes and damage on a disk of records.

use super::*;

fn entries(term: u64, from: u64, to: u64) -> Vec<Entry> {
    (from..=to).map(|index| Entry { term: Term(term), index: Index(index), data: Bytes::new() }).collect()
}

fn write(io: u64, entries: Vec<Entry>) -> Write {
    Write { io: WriteId(io), start: None, entries, hard_state: None, voters: None }
}

fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term: Term(term), index: Index(index) }
}

#[test]
fn entries_replace_what_the_log_holds_from_their_first_index_on() {
    let mut image = Image::default();
    image.apply(&write(1, entries(1, 1, 5))).unwrap();
    image.apply(&write(2, entries(2, 3, 4))).unwrap();
    assert_eq!(image.last(), at(2, 4));
    assert_eq!(image.term_at(Index(2)), Some(Term(1)));
    assert!(image.apply(&write(3, entries(2, 6, 6))).unwrap_err().contains("begins with entry 6"));
}

#[test]
fn a_start_that_the_log_holds_forgets_and_another_drops_all() {
    let mut image = Image::default();
    image.apply(&write(1, entries(1, 1, 5))).unwrap();
    image.apply(&Write { start: Some(at(1, 3)), ..write(2, Vec::new()) }).unwrap();
    assert_eq!((image.start, image.last()), (at(1, 3), at(1, 5)));
    image.apply(&Write { start: Some(at(2, 4)), ..write(3, entries(3, 5, 5)) }).unwrap();
    assert_eq!((image.start, image.last(), image.entries.len()), (at(2, 4), at(3, 5), 1));
}

#[test]
fn a_crash_leaves_a_prefix_and_a_torn_write_the_first_of_its_entries() {
    let mut disk = Disk::default();
    let hard_state = HardState { term: Term(4), vote: None, commit: Index(6) };
    disk.waiting.push_back(write(1, entries(1, 1, 4)));
    disk.waiting.push_back(Write { hard_state: Some(hard_state), ..write(2, entries(4, 3, 6)) });
    disk.waiting.push_back(write(3, entries(4, 7, 7)));
    assert_eq!(disk.parts(1), 5);
    let torn = |parts| {
        let mut disk = disk.clone();
        disk.crash(1, parts, |_| ()).unwrap();
        (disk.image.last(), disk.image.hard_state)
    };
    assert_eq!(torn(0), (at(1, 4), HardState::default()));
    // What it replaces is gone before the commit counts.
    assert_eq!(torn(1), (at(1, 2), hard_state));
    assert_eq!(torn(3), (at(4, 4), hard_state));
    disk.done(WriteId(2), |_| ()).unwrap();
    assert_eq!((disk.image.last(), disk.image.hard_state, disk.waiting.len()), (at(4, 6), hard_state, 1));
}

#[test]
fn a_disk_that_lied_loses_a_tail_of_what_it_said() {
    let mut disk = Disk::default();
    disk.waiting.push_back(write(1, entries(1, 1, 2)));
    disk.done(WriteId(1), |_| ()).unwrap();
    assert!(disk.after_lie(0).unwrap().is_none());
    disk.begin_lie();
    disk.waiting.push_back(write(2, entries(1, 3, 4)));
    disk.waiting.push_back(write(3, entries(1, 5, 5)));
    disk.done(WriteId(3), |_| ()).unwrap();
    let last = |kept| disk.after_lie(kept).unwrap().map(|image| image.last());
    assert_eq!((last(0), last(1), last(9)), (Some(at(1, 2)), Some(at(1, 4)), Some(disk.image.last())));
}

#[test]
fn damage_is_found_until_what_is_damaged_is_dropped() {
    let mut image = Image::default();
    let data = |mut entry: Entry| {
        entry.data = Bytes::from_static(b"value");
        entry
    };
    image.apply(&write(1, entries(1, 1, 40).into_iter().map(data).collect())).unwrap();
    assert_eq!(image.damage(), None);
    let index = image.rot_entry(7).unwrap();
    let place = index.0 as usize - 1;
    assert_ne!(image.entries[place].data, image.entries[39].data);
    assert!(image.damage().unwrap().contains(&format!("entry {index}")));
    image.apply(&Write { start: Some(at(1, 30)), ..write(2, Vec::new()) }).unwrap();
    assert_eq!(image.damage(), None);
    assert_eq!(image.rot_entry(7), None, "the last batch");
    assert_eq!(image.rot_snapshot(1), None);
    image.store(StoredSnapshot { at: at(1, 30), chunks: vec![Bytes::from_static(b"state")] });
    assert_eq!(image.rot_snapshot(3), Some(at(1, 30)));
    assert!(image.damage().unwrap().contains("snapshot"));
    image.store(StoredSnapshot { at: at(1, 31), chunks: Vec::new() });
    assert_eq!(image.damage(), None);
}

/// A master alone with its disk.
struct Alone {
    node: quorate_core::Node,
    disk: Disk,
    now: quorate_core::types::Now,
}

impl Alone {
    fn new() -> Self {
        use quorate_core::{
            Config, Node,
            contract::{Flow, LeaseTimes, MemberAddress, Timing},
            types::{ClusterId, NodeId, Now, StorageId, Time},
        };
        let address = MemberAddress { peer: "a:1".to_owned(), client: "a:2".to_owned() };
        let config = Config {
            cluster: ClusterId(1),
            node: NodeId(1),
            storage: StorageId(1),
            members: [(NodeId(1), address)].into(),
            joins: false,
            timing: Timing::default(),
            executor_lease: LeaseTimes::default(),
            snapshot_entries: 1_000,
            trailing_entries: 1_000,
            log_bytes: quorate_core::contract::LogBytes::default(),
            snapshot_rate: 0,
            flow: Flow::default(),
            level: quorate_core::level::FEATURE_LEVEL,
        };
        let now = Now { time: Time(0), wall_ms: 0 };
        let node = Node::new(config, Recovered::default(), 1, now);
        Self { node, disk: Disk::default(), now }
    }

    fn step(&mut self, input: quorate_core::Input) {
        self.node.step(self.now, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        use quorate_core::{Input, Output};
        let mut done = Vec::new();
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Write(write) => {
                    let io = write.io;
                    self.disk.waiting.push_back(write);
                    self.disk.done(io, |_| ()).unwrap();
                    done.push(Input::WriteDone { io });
                }
                Output::SaveSnapshot(snapshot) => {
                    let chunks = snapshot.state.encode().collect();
                    self.disk.store(StoredSnapshot { at: snapshot.at, chunks });
                    done.push(Input::SnapshotSaved { at: snapshot.at });
                }
                Output::Stop(reason) => panic!("{reason}"),
                _ => {}
            }
        }
        done.into_iter().for_each(|input| self.step(input));
    }

    fn run(&mut self, deadlines: u32) {
        for _ in 0..deadlines {
            let (time, _) = self.node.next_deadline().unwrap();
            self.now.time = self.now.time.max(time);
            self.step(quorate_core::Input::Deadline);
        }
    }

    /// Opens a session: one more entry.
    fn grow(&mut self, count: u64) {
        use quorate_proto::v1 as pb;
        for key in 0..count {
            let body = pb::client_request::Body::OpenSession(pb::OpenSessionRequest::default());
            let request = Box::new(pb::ClientRequest { body: Some(body) });
            let key = quorate_core::types::RequestKey(key + 1);
            self.step(quorate_core::Input::Request { key, request });
        }
    }
}

#[test]
fn an_older_snapshot_and_the_log_stand_in_for_a_damaged_one() {
    let mut image = Image::default();
    image.apply(&write(1, entries(1, 1, 40))).unwrap();
    let store = |image: &mut Image, index| {
        image.store(StoredSnapshot { at: at(1, index), chunks: vec![Bytes::from_static(b"state")] });
    };
    let whole = |image: &Image| image.whole().map(|stored| stored.at);
    store(&mut image, 10);
    image.rot_snapshot(1).unwrap();
    assert_eq!((image.damage(), whole(&image)), (None, None), "the log has all of it");
    store(&mut image, 20);
    store(&mut image, 30);
    image.rot_snapshot(1).unwrap();
    assert_eq!((image.damage(), whole(&image)), (None, Some(at(1, 20))));
    let begin = |index| Write { start: Some(at(1, index)), ..write(2, Vec::new()) };
    image.apply(&begin(20)).unwrap();
    assert_eq!(image.damage(), None);
    let mut cut = image.clone();
    cut.apply(&begin(21)).unwrap();
    assert!(cut.damage().unwrap().contains("snapshot"));
    store(&mut image, 15);
    assert_eq!(whole(&image), Some(at(1, 20)), "an older one takes nobody's place");
    store(&mut image, 33);
    assert_eq!((image.is_damaged(), whole(&image)), (false, Some(at(1, 33))));
    assert_eq!(image.older.map(|stored| stored.at), Some(at(1, 20)));
}

#[test]
fn a_node_that_is_told_of_damage_leaves_it_behind() {
    for luck in 0..40 {
        let mut alone = Alone::new();
        alone.carry_out();
        alone.run(20);
        alone.grow(100);
        let last = alone.disk.image.last();
        assert!(last.index.0 >= 100, "{last:?}");
        alone.disk.image.rot_entry(luck).unwrap();
        assert!(alone.disk.image.damage().is_some());
        alone.step(quorate_core::Input::DiskDamaged);
        assert_eq!(alone.disk.image.damage(), None);
        let image = &alone.disk.image;
        assert_eq!((image.start, image.snapshot.as_ref().unwrap().at), (last, last));
        // The snapshot rots as well, and is written anew.
        alone.disk.image.rot_snapshot(luck).unwrap();
        alone.grow(1);
        alone.step(quorate_core::Input::DiskDamaged);
        assert_eq!(alone.disk.image.damage(), None);
        let recovered = alone.disk.image.recover().unwrap();
        assert_eq!(recovered.snapshot.unwrap().state.hash(), alone.node.state().hash());
    }
}
