//! Everything end to end, in one program: it is linked once.

mod agents;
mod bench;
mod bugs;
mod checks;
mod commands;
mod directories;
mod input;
mod jobs;
mod layout;
mod machines;
mod masters;
mod members;
mod network;
mod recover;
mod refusals;
mod room;
mod tapes;
mod upgrade;
mod volumes;
