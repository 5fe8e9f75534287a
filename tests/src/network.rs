//! A network of the test's own: a namespace for each machine, one switch between them, and ways to cut it.

use crate::tools::{need, need_root};
use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::AsFd as _,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

const NAME: &str = "quorate-e2e";
/// Frames for this address reach nobody.
const NOBODY: &str = "02:00:00:00:ff:ff";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Some machines on one switch. Removed when this is dropped.
///
/// Every machine knows the hardware address of every other one for good, so a cut in one direction is a wrong address in one
/// machine: its frames are lost without a sign, and those of the other direction arrive.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    /// From names to numbers from 1 on.
    machines: BTreeMap<String, u8>,
}

impl Network {
    /// A network of machines with these names.
    ///
    /// # Panics
    /// If this is not root, or `ip` cannot do it.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        need_root("a test that cuts a network in namespaces of its own");
        need("ip", "iproute2");
        remove_stale();
        let prefix = format!("{NAME}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let machines = names.iter().zip(1..).map(|(&name, number)| (name.to_owned(), number)).collect();
        let network = Self { prefix, machines };
        network.make();
        network
    }

    fn make(&self) {
        let switch = self.space("switch");
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for (name, &number) in &self.machines {
            let (space, port) = (self.space(name), format!("port{number}"));
            ip(&["netns", "add", &space]);
            let pair = ["link", "add", "eth0", "address", &mac(number), "type", "veth"];
            let words: Vec<&str> = ["-n", &space].iter().chain(&pair).copied().collect();
            ip(&[&words[..], &["peer", "name", &port, "netns", &switch]].concat());
            ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
            ip(&["-n", &space, "link", "set", "lo", "up"]);
            ip(&["-n", &space, "address", "add", &format!("{}/24", address(number)), "dev", "eth0"]);
            ip(&["-n", &space, "link", "set", "eth0", "up"]);
        }
        for from in self.machines.keys() {
            self.machines.keys().filter(|to| *to != from).for_each(|to| self.heal(from, to));
        }
    }

    fn space(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn number(&self, name: &str) -> u8 {
        *self.machines.get(name).unwrap_or_else(|| panic!("there is no machine {name}"))
    }

    /// A machine's address.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        address(self.number(name))
    }

    /// What to put in front of a command so that it runs on a machine.
    #[must_use]
    pub fn on(&self, name: &str) -> Vec<String> {
        ["ip", "netns", "exec", &self.space(name)].map(str::to_owned).to_vec()
    }

    /// Moves the calling thread to a machine: its new connections begin there.
    ///
    /// # Panics
    /// If the system refuses.
    pub(crate) fn enter(space: &Path) {
        let file = File::open(space).unwrap_or_else(|error| panic!("{}: {error}", space.display()));
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(file.as_fd(), kind).expect("root may enter a namespace");
    }

    /// Runs something on a machine, in a thread of its own.
    ///
    /// # Panics
    /// If the system refuses, or `action` does.
    pub fn within<T: Send + 'static>(&self, name: &str, action: impl FnOnce() -> T + Send + 'static) -> T {
        let file = self.file(name);
        let thread = thread::spawn(move || {
            Self::enter(&file);
            action()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// The file that stands for a machine's namespace.
    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        Path::new("/run/netns").join(self.space(name))
    }

    /// Pulls a machine's plug.
    pub fn unplug(&self, name: &str) {
        ip(&["-n", &self.space("switch"), "link", "set", &format!("port{}", self.number(name)), "down"]);
    }

    /// Puts it in again.
    pub fn plug(&self, name: &str) {
        ip(&["-n", &self.space("switch"), "link", "set", &format!("port{}", self.number(name)), "up"]);
    }

    /// Loses everything that `from` sends to `to`, and nothing else.
    pub fn cut(&self, from: &str, to: &str) {
        self.neighbour(from, to, NOBODY);
    }

    /// Undoes [`cut`](Self::cut).
    pub fn heal(&self, from: &str, to: &str) {
        self.neighbour(from, to, &mac(self.number(to)));
    }

    fn neighbour(&self, from: &str, to: &str, mac: &str) {
        let words =
            ["neighbour", "replace", &self.address(to), "lladdr", mac, "dev", "eth0", "nud", "permanent"];
        ip(&[&["-n", &self.space(from)], &words[..]].concat());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let names = self.machines.keys().map(String::as_str).chain(["switch"]);
        // What is left is removed by the next test.
        names.for_each(|name| drop(run_ip(&["netns", "delete", &self.space(name)])));
    }
}

fn address(number: u8) -> String {
    format!("10.213.7.{number}")
}

fn mac(number: u8) -> String {
    format!("02:00:00:00:07:{number:02x}")
}

fn run_ip(words: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("`ip {}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

fn ip(words: &[&str]) {
    run_ip(words).unwrap_or_else(|why| panic!("{why}"));
}

/// Removes namespaces of test processes that were killed.
fn remove_stale() {
    for line in run_ip(&["netns", "list"]).unwrap_or_default().lines() {
        let Some(space) = line.split(' ').next().filter(|space| space.starts_with(NAME)) else { continue };
        let pid = space[NAME.len()..].split('-').nth(1).unwrap_or_default();
        if !Path::new("/proc").join(pid).is_dir() {
            // Somebody else may remove it at the same time.
            let _gone = run_ip(&["netns", "delete", space]);
        }
    }
}
