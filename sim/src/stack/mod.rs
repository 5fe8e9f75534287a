//! The simulator, stack level: the runtime's own driver, storage, peers, services and client library on madsim, which gives
//! them its time, its network, its kills and pauses; the disks are ours. Plans, draws and oracles are those of the core level.
//!
//! * [`stage`]: what all machines of one run share: the plan, the oracles, the trace.
//! * [`masters`], [`disk`]: a master's machine. [`commits`]: its log as it is on disks, which is what the oracles look at.
//! * [`roll`]: who the masters are by that log, and who decides. [`members`]: who asks for others, and what follows from it.
//! * [`executors`], [`service`], [`processes`]: an executor's machine, and what really runs on it.
//! * [`clients`], [`history`]: the workload, and what it was told.
//! * [`faults`], [`links`], [`damage`]: what breaks. [`mend`], [`settle`]: what is mended, and what has to come of it.
//! * [`run`]: one plan on one fresh thread.
//!
//! What madsim lacks is left out of the plans or done here: masters have one clock, agents have their own; messages are not
//! repeated; a disk loses what was not synced.

mod clients;
mod commits;
mod damage;
mod disk;
mod executors;
mod faults;
mod free;
mod history;
mod links;
mod masters;
mod members;
mod mend;
mod observe;
mod processes;
mod roll;
mod service;
mod settle;
mod stage;

pub mod run;
