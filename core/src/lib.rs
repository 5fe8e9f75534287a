//! The pure state machines of Quorate: everything that decides, and nothing that acts.
//!
//! # The contract
//!
//! A [`Node`] is one master. It reads no clock, starts no thread, does no IO and has no randomness of its own: time, events
//! and a seed are handed to it, and it hands out what is to be done. The same seed and the same inputs at the same times
//! give the same outputs, which is why what a simulator has run is what runs in production. An [`agent::Agent`] is an
//! executor's side, under the same contract.
//!
//! **The single-mutation rule.** [`Node::step`] is the only mutation. After each, [`Node::poll_output`] is drained until it
//! returns `None`, before the next step. Then [`Node::next_deadline`] says when the node wants to be stepped though nothing
//! happened. A driver that has several inputs may hand all but the last one to [`Node::feed`], which is the first half of a step:
//! what they set going leaves together.
//!
//! **Nothing fails.** `step` and `poll_output` never fail, block or panic, whatever comes in. A client's request over a limit
//! is answered `RESOURCE_EXHAUSTED`; a peer's message may be dropped by anybody at any time; a finished write and a deadline
//! may not.
//!
//! **Durability is a message.** [`Output::Write`] is made durable by the driver, in the order of the write ids, and then
//! [`Input::WriteDone`] says so. One id speaks for all before it. Whatever promises something that must survive a crash stays
//! inside the node until then. A write that fails is final: the node stops.
//!
//! **Time** is monotonic, and never goes back between two steps of a node. The wall clock is a label for people.
//!
//! **Work per step is bounded.** What is longer goes on at the next deadline, which is then at once. Every bound has a name in
//! [`limits`].
//!
//! # A driver
//!
//! ```
//! use quorate_core::{Config, Input, Node, Output, types::{Now, Time, WriteId}};
//! # use quorate_core::{contract::{Flow, LeaseTimes, LogBytes, MemberAddress, Recovered, Timing}, types::{ClusterId, NodeId, StorageId}};
//! # let config = Config {
//! #     cluster: ClusterId(7), node: NodeId(1), storage: StorageId(3),
//! #     members: [(NodeId(1), MemberAddress { peer: "a:1".into(), client: "a:2".into() })].into(),
//! #     timing: Timing::default(), executor_lease: LeaseTimes::default(), snapshot_entries: 100, trailing_entries: 10,
//! #     log_bytes: LogBytes::default(), flow: Flow::default(), snapshot_rate: 0, joins: false, level: quorate_core::level::FEATURE_LEVEL,
//! # };
//! config.validate()?;
//! let mut now = Now { time: Time(0), wall_ms: 0 };
//! let mut node = Node::new(config, Recovered::default(), 42, now);
//! let mut written: Option<WriteId> = None;
//! for _ in 0..20 {
//!     // 1. Carry out everything that the last step asked for.
//!     while let Some(output) = node.poll_output() {
//!         match output {
//!             Output::Write(write) => written = Some(write.io), // append, sync
//!             Output::Stop(reason) => return Err(reason.into()),
//!             _ => {} // send it, reply it, call it
//!         }
//!     }
//!     // 2. Take the next event: a finished write, a message, a request; or let the deadline come.
//!     let input = match written.take() {
//!         Some(io) => Input::WriteDone { io },
//!         None => {
//!             let (at, _why) = node.next_deadline().expect("a node that has not stopped has one");
//!             now.time = now.time.max(at);
//!             Input::Deadline
//!         }
//!     };
//!     // 3. The one mutation.
//!     node.step(now, input);
//! }
//! assert_eq!(node.raft().leader(), Some(NodeId(1)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The rooms
//!
//! [`raft`] is consensus over opaque bytes and knows no command. [`state`] is the replicated state machine, and
//! [`state::State::apply`] the only code that changes it. [`lead`] is what only a leader does, and forgets when it is deposed.
//! [`identity`] keeps directories that forgot something from voting. [`node`] puts these together and holds no rule of its
//! own. [`agent`] is the executor's side. [`tape`] takes down what a node was given, and replays it.

pub mod agent;
pub mod bug;
pub mod codec;
pub mod command;
pub mod config;
pub mod contract;
pub mod fingerprint;
pub mod identity;
pub mod lead;
pub mod level;
pub mod limits;
pub mod mark;
pub mod node;
pub mod point;
pub mod raft;
pub mod random;
pub mod state;
pub mod tape;
pub mod trace;
pub mod types;

pub use contract::{Config, Input, Output};
pub use node::Node;
