//! A cluster of real processes.

use crate::{
    binary::binary, cli::Cli, directory::Directory, network::Network, ports::free_address, process::Process,
    serial::Serial, truth::Truth, wait::wait_until,
};
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, thread, time::Duration};

/// What a test's executors and their masters agree on, milliseconds: ttl, grace, check, kill. Shorter than the defaults, so that
/// tests that wait for a lease end soon, and far above what a busy machine takes for a heartbeat.
pub const LEASE_MS: [u64; 4] = [2_000, 1_500, 200, 500];
/// A new cluster works after so long.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// A new leader is there after so long: many times the default election timeout, since the machine is shared.
const LEADER_WITHIN: Duration = Duration::from_secs(15);
const PEER_PORT: u16 = 7702;
const CLIENT_PORT: u16 = 7701;
/// The machine that commands and clients run on, in a network of the test's own.
const CLIENT: &str = "client";

/// What a cluster consists of.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Masters, with ids from 1 on.
    pub masters: u64,
    /// Executors, with numbers from 1 on.
    pub agents: u64,
    /// Slots of each executor.
    pub slots: u32,
    /// Each process on a machine of its own, in a network that can be cut.
    pub network: bool,
    /// Masters record tapes.
    pub tapes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { masters: 3, agents: 0, slots: 8, network: false, tapes: false }
    }
}

/// Masters and executors. All are killed, and their data is removed, when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    masters: BTreeMap<u64, Process>,
    agents: BTreeMap<u64, Process>,
    /// Client addresses.
    addresses: BTreeMap<u64, String>,
    /// Peer addresses.
    peers: BTreeMap<u64, String>,
    /// What the masters are told of each other.
    members: String,
    network: Option<Network>,
    truth: Truth,
    directory: Directory,
    _serial: Serial,
}

/// The name of a master's machine and process.
fn master_name(id: u64) -> String {
    format!("master{id}")
}

fn agent_name(number: u64) -> String {
    format!("agent{number}")
}

impl Cluster {
    /// Starts a cluster, and waits until it works.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let mut cluster = Self::prepare(options);
        cluster.start_all();
        cluster.wait_ready();
        cluster
    }

    /// Everything but the processes: those are there, and not started.
    #[must_use]
    pub fn prepare(options: Options) -> Self {
        let serial = Serial::take();
        let directory = Directory::new();
        let names = (1..=options.masters).map(master_name).chain((1..=options.agents).map(agent_name));
        let names: Vec<String> = names.chain([CLIENT.to_owned()]).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let network = options.network.then(|| Network::new(&names));
        let mut cluster = Self {
            masters: BTreeMap::new(),
            agents: BTreeMap::new(),
            addresses: BTreeMap::new(),
            peers: BTreeMap::new(),
            members: String::new(),
            truth: Truth::new(directory.path()),
            network,
            directory,
            _serial: serial,
        };
        let members: Vec<(u64, String, String)> =
            (1..=options.masters).map(|id| cluster.member(id)).collect();
        let list: Vec<String> =
            members.iter().map(|(id, peer, client)| format!("{id}={peer}/{client}")).collect();
        cluster.members = list.join(",");
        for (id, peer, client) in members {
            cluster.addresses.insert(id, client);
            cluster.peers.insert(id, peer);
            let who = ["--members", &cluster.members];
            cluster.masters.insert(id, cluster.master_process(id, &who, options.tapes));
        }
        for number in 1..=options.agents {
            cluster.agents.insert(number, cluster.agent_process(number, options.slots));
        }
        cluster
    }

    fn member(&self, id: u64) -> (u64, String, String) {
        match &self.network {
            Some(network) => {
                let host = network.address(&master_name(id));
                (id, format!("{host}:{PEER_PORT}"), format!("{host}:{CLIENT_PORT}"))
            }
            None => (id, free_address(), free_address()),
        }
    }

    fn command(&self, name: &str, words: &[&str]) -> Vec<String> {
        let data = self.directory.path().join(name);
        let mut command = self.network.as_ref().map(|network| network.on(name)).unwrap_or_default();
        command.push(binary().to_string_lossy().into_owned());
        command.extend(words.iter().map(|&word| word.to_owned()));
        command.extend(["--data-dir".to_owned(), data.to_string_lossy().into_owned()]);
        if self.network.is_some() {
            command.push("--insecure".to_owned());
        }
        command
    }

    /// A master that joins, over one of these; not started, and no member yet. In place of one of that id that there was.
    pub fn joiner(&mut self, id: u64, via: &[u64]) {
        let via: Vec<&str> = via.iter().map(|&id| self.endpoint(id)).collect();
        let via = via.join(",");
        let process = self.master_process(id, &["--join", &via], false);
        if !self.addresses.contains_key(&id) {
            let (_, peer, client) = self.member(id);
            self.addresses.insert(id, client);
            self.peers.insert(id, peer);
        }
        self.masters.insert(id, process);
    }

    /// Kills a master, and forgets it: it is no part of the cluster any more. Its directory stays.
    pub fn forget(&mut self, id: u64) {
        self.masters.remove(&id);
        self.addresses.remove(&id);
        self.peers.remove(&id);
    }

    /// What the masters that found the cluster are told of each other.
    #[must_use]
    pub fn members(&self) -> &str {
        &self.members
    }

    /// Where other masters reach a master.
    ///
    /// # Panics
    /// If there is none of that id.
    #[must_use]
    pub fn peer(&self, id: u64) -> &str {
        &self.peers[&id]
    }

    fn master_process(&self, id: u64, who: &[&str], tapes: bool) -> Process {
        let (name, id, ms) = (master_name(id), id.to_string(), LEASE_MS.map(|ms| format!("{ms}ms")));
        let lease = ["--executor-ttl", &ms[0], "--executor-grace", &ms[1], "--executor-check", &ms[2]];
        let words = ["server", "--node", &id, "--executor-kill", &ms[3]];
        let file = self.tape(&name).to_string_lossy().into_owned();
        let tape = ["--record-tape", &file];
        let tape: &[&str] = if tapes { &tape } else { &[] };
        let words = [&words[..], who, &lease, tape].concat();
        Process::new(self.directory.path(), &name, self.command(&name, &words))
    }

    /// Where the first tape of a master is.
    fn tape(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.tape"))
    }

    /// The tapes of a master, in the order of its starts.
    #[must_use]
    pub fn tapes(&self, id: u64) -> Vec<PathBuf> {
        let first = self.tape(&master_name(id));
        let number = |number| first.with_extension(format!("tape.{number}"));
        let files = core::iter::once(first.clone()).chain((1..).map(number));
        files.take_while(|file| file.exists()).collect()
    }

    fn agent_process(&self, number: u64, slots: u32) -> Process {
        let (name, slots) = (agent_name(number), slots.to_string());
        let listen = match &self.network {
            Some(network) => format!("{}:7801", network.address(&name)),
            None => free_address(),
        };
        let masters = self.endpoints().join(",");
        let words =
            ["agent", "--name", &name, "--slots", &slots, "--endpoints", &masters, "--listen", &listen];
        Process::new(self.directory.path(), &name, self.command(&name, &words))
    }

    /// Starts all processes.
    pub fn start_all(&mut self) {
        self.masters.values_mut().chain(self.agents.values_mut()).for_each(Process::start);
    }

    /// Starts all processes, the masters with these arguments more, and waits until they work.
    pub fn start_with(&mut self, arguments: &[&str]) {
        for master in self.masters.values_mut() {
            arguments.iter().for_each(|argument| master.argument(argument));
        }
        self.start_all();
        self.wait_ready();
    }

    /// Waits until a master leads and all executors are registered.
    ///
    /// # Panics
    /// If it takes too long, or a process ends.
    pub fn wait_ready(&mut self) {
        let cli = self.cli().within("2s");
        let agents: Vec<String> = self.agents.keys().map(|&number| agent_name(number)).collect();
        let processes: Vec<&mut Process> =
            self.masters.values_mut().chain(self.agents.values_mut()).collect();
        let mut processes = processes;
        wait_until(READY_WITHIN, "a cluster that works", || {
            assert!(processes.iter_mut().all(|process| process.is_running()), "a process ended by itself");
            let names = executor_names(&cli.try_json(&["executor", "list"])?);
            if agents.iter().all(|name| names.contains(name)) { Ok(()) } else { Err(format!("{names:?}")) }
        });
    }

    /// A master.
    ///
    /// # Panics
    /// If there is none of that id.
    pub fn master(&mut self, id: u64) -> &mut Process {
        self.masters.get_mut(&id).unwrap_or_else(|| panic!("there is no master {id}"))
    }

    /// An executor.
    ///
    /// # Panics
    /// If there is none of that number.
    pub fn agent(&mut self, number: u64) -> &mut Process {
        self.agents.get_mut(&number).unwrap_or_else(|| panic!("there is no agent {number}"))
    }

    /// Ids of the masters.
    #[must_use]
    pub fn ids(&self) -> Vec<u64> {
        self.masters.keys().copied().collect()
    }

    /// Ids of all masters but this one.
    #[must_use]
    pub fn others(&self, id: u64) -> Vec<u64> {
        self.ids().into_iter().filter(|&other| other != id).collect()
    }

    /// Where a master keeps its data.
    #[must_use]
    pub fn data(&self, id: u64) -> PathBuf {
        self.directory.path().join(master_name(id))
    }

    /// A directory for the test's own files.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What this cluster's tasks write.
    #[must_use]
    pub const fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The network that it runs in.
    ///
    /// # Panics
    /// If it has none of its own.
    #[must_use]
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("the cluster was started with a network")
    }

    /// Client addresses of all masters.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.addresses.values().cloned().collect()
    }

    /// The client address of a master.
    ///
    /// # Panics
    /// If there is none of that id.
    #[must_use]
    pub fn endpoint(&self, id: u64) -> &str {
        &self.addresses[&id]
    }

    /// The namespace of clients, if there is a network.
    pub(crate) fn client_space(&self) -> Option<PathBuf> {
        self.network.as_ref().map(|network| network.file(CLIENT))
    }

    /// Commands for all masters.
    #[must_use]
    pub fn cli(&self) -> Cli {
        self.cli_to(&self.ids())
    }

    /// Commands that know only these masters.
    #[must_use]
    pub fn cli_to(&self, ids: &[u64]) -> Cli {
        let endpoints: Vec<&str> = ids.iter().map(|&id| self.endpoint(id)).collect();
        let prefix = self.network.as_ref().map(|network| network.on(CLIENT)).unwrap_or_default();
        Cli::to(&endpoints.join(",")).from(prefix)
    }

    /// What a master says of itself.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn status(&self, id: u64) -> Result<Value, String> {
        let mut reply = self.cli_to(&[id]).within("1s").try_json(&["status", "--only"])?;
        Ok(reply["masters"][0].take())
    }

    /// What a master says of itself, asked from its own machine: its network may be cut.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn status_there(&self, id: u64) -> Result<Value, String> {
        let on = self.network().on(&master_name(id));
        let cli = Cli::to(self.endpoint(id)).from(on).within("1s");
        Ok(cli.try_json(&["status", "--only"])?["masters"][0].take())
    }

    /// Waits until one of these masters leads, and says so itself.
    #[must_use]
    pub fn leader_among(&self, ids: &[u64]) -> u64 {
        wait_until(LEADER_WITHIN, &format!("a leader among {ids:?}"), || {
            let statuses: Vec<Value> = ids.iter().filter_map(|&id| self.status(id).ok()).collect();
            let leads = statuses.iter().filter(|status| status["role"] == "leader");
            let newest = leads.max_by_key(|status| status["term"].as_u64());
            newest.and_then(|status| status["node"].as_u64()).ok_or_else(|| roles(&statuses))
        })
    }

    /// Waits until one of all masters leads.
    #[must_use]
    pub fn leader(&self) -> u64 {
        self.leader_among(&self.ids())
    }

    /// Waits until a master has applied all that these have committed, and serves.
    pub fn wait_caught_up(&self, id: u64) {
        let goal = self.others(id).into_iter().filter_map(|other| self.status(other).ok());
        let goal = goal.filter_map(|status| status["commit_index"].as_u64()).max().unwrap_or(0);
        wait_until(READY_WITHIN, &format!("master {id} has applied {goal}"), || {
            let status = self.status(id)?;
            let healthy = ["leader", "follower"].iter().any(|role| status["role"] == *role);
            let applied = status["applied_index"].as_u64().unwrap_or(0);
            if healthy && applied >= goal { Ok(()) } else { Err(roles(&[status])) }
        });
    }

    /// Everything that a master has logged.
    #[must_use]
    pub fn master_log(&self, id: u64) -> String {
        self.masters.get(&id).map(Process::log).unwrap_or_default()
    }

    /// All keys that begin with `prefix`, by a linearizable read.
    ///
    /// # Panics
    /// If they cannot be read.
    #[must_use]
    pub fn keys(&self, prefix: &str) -> BTreeMap<String, String> {
        self.keys_from(&self.ids(), prefix)
    }

    /// As [`keys`](Self::keys), asking only these masters.
    ///
    /// # Panics
    /// If they cannot be read.
    #[must_use]
    pub fn keys_from(&self, ids: &[u64], prefix: &str) -> BTreeMap<String, String> {
        let reply = self.cli_to(ids).json(&["kv", "list", prefix]);
        let items = reply["items"].as_array().expect("a list has items");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        items.iter().map(|item| (text(&item["key"]), text(&item["value"]))).collect()
    }

    /// The id of the executor that runs under this number, as long as it is registered.
    #[must_use]
    pub fn executor(&self, number: u64) -> Option<u64> {
        let list = self.cli().json(&["executor", "list"]);
        let name = agent_name(number);
        let mut executors = list["executors"].as_array().cloned().unwrap_or_default();
        executors.retain(|executor| executor["name"] == name.as_str());
        executors.iter().filter_map(|executor| executor["id"].as_u64()).max()
    }
}

fn executor_names(list: &Value) -> Vec<String> {
    let executors = list["executors"].as_array().map(Vec::as_slice).unwrap_or_default();
    executors.iter().filter_map(|executor| executor["name"].as_str()).map(str::to_owned).collect()
}

fn roles(statuses: &[Value]) -> String {
    let one = |status: &Value| {
        let (node, role, term) = (&status["node"], &status["role"], &status["term"]);
        format!(
            "master {node} is {role} in term {term}, applied {}, alarms {}",
            status["applied_index"], status["alarms"]
        )
    };
    statuses.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            for id in self.ids() {
                let status = self.status(id).map_or_else(|why| why, |status| roles(&[status]));
                eprintln!("---- status of master {id}: {status}");
            }
            self.masters.values().chain(self.agents.values()).for_each(Process::show_log);
        }
        // Executors first: their guards end what they run. All before their network and their directory.
        self.agents.clear();
        self.masters.clear();
    }
}
