//! A cluster of child processes on loopback: what `dev` keeps running and what `demo` breaks.

use crate::{
    cluster::Cluster,
    config::{
        identity::random_id,
        values::{Members, format_members, parse_members},
    },
    failure::Failure,
};
use quorate_core::{contract::MemberAddress, types::NodeId};
use quorate_net::ports::ReservedPort;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// The masters' addresses, kept so that a data directory can be started again.
const MEMBERS_FILE: &str = "members";
const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);
/// Lines of a child's log that an error shows.
const LOG_LINES: usize = 5;

/// A directory that is removed with this, unless it is to be kept.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    /// The given directory, which is kept; or a new one in the system's place for temporary files.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn new(given: Option<PathBuf>, prefix: &str, keep: bool) -> Result<Self, Failure> {
        let keep = keep || given.is_some();
        let path = match given {
            Some(path) => path,
            None => std::env::temp_dir().join(format!("{prefix}-{:016x}", random_id()?)),
        };
        let failed =
            |error| Failure::refused(format!("directory {} cannot be made: {error}", path.display()));
        fs::create_dir_all(&path).map_err(failed)?;
        let path = fs::canonicalize(&path).map_err(failed)?;
        Ok(Self { path, keep })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays.
    pub(crate) const fn is_kept(&self) -> bool {
        self.keep
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed is in the system's place for temporary files.
            let _left = fs::remove_dir_all(&self.path);
        }
    }
}

/// One child process, running or not.
#[derive(Debug)]
pub(crate) struct Process {
    /// `master-1`, `agent-2`: also the name of its directory and of its log.
    pub(crate) name: String,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    fn new(directory: &Path, name: String, mut arguments: Vec<String>) -> Self {
        let data = directory.join(&name).to_string_lossy().into_owned();
        arguments.extend(["--data-dir".to_owned(), data, "--exit-with-parent".to_owned()]);
        Self { log: directory.join(format!("{name}.log")), name, arguments, child: None }
    }

    /// Starts it. Its stdin is a pipe that it watches, so that it ends even if this process is killed.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        let failed =
            |error: std::io::Error| Failure::refused(format!("{} cannot be started: {error}", self.name));
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        // Ctrl-C in a terminal goes to the whole group: this process alone decides in which order all end.
        command.process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("QUORATE_") {
                command.env_remove(name);
            }
        }
        self.child = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    /// How it ended by itself, said once.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(format!("{} ended by itself ({status}){}", self.name, self.last_lines()))
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only if it has ended.
            let _ended = child.kill().await;
        }
    }

    fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            // Fails only if it has ended.
            let _ended = kill_process(id, signal);
        }
    }

    async fn wait(&mut self, deadline: Instant) {
        if let Some(child) = self.child.as_mut() {
            let left = deadline.saturating_duration_since(Instant::now());
            if timeout(left, child.wait()).await.is_err() {
                self.kill().await;
            }
            self.child = None;
        }
    }

    fn last_lines(&self) -> String {
        let text =
            fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(LOG_LINES).collect();
        lines.iter().rev().map(|line| format!("\n  {line}")).collect()
    }
}

/// The processes of a cluster.
#[derive(Debug)]
pub(crate) struct LocalCluster {
    /// Masters, by number from 1 on.
    pub(crate) masters: Vec<Process>,
    /// Executors, by number from 1 on.
    pub(crate) agents: Vec<Process>,
    /// Client addresses of the masters, in the same order.
    pub(crate) endpoints: Vec<String>,
    /// Nobody else takes a master's port while that master is down.
    _ports: Vec<ReservedPort>,
}

impl LocalCluster {
    /// Starts so many masters and executors in this directory. Ports are those of the last start there, or free ones.
    ///
    /// # Errors
    /// If no ports are free, or a process cannot be started.
    pub(crate) fn start(directory: &Path, masters: u64, agents: u64, slots: u32) -> Result<Self, Failure> {
        let (members, ports) = members(directory, masters)?;
        let endpoints: Vec<String> = members.values().map(|address| address.client.clone()).collect();
        let list = format_members(&members);
        let master = |id: &NodeId| {
            let arguments =
                ["server", "--node", &id.to_string(), "--members", &list].map(str::to_owned).to_vec();
            Process::new(directory, format!("master-{id}"), arguments)
        };
        let agent = |number: u64| {
            let name = format!("agent-{number}");
            let (masters, slots) = (endpoints.join(","), slots.to_string());
            let arguments =
                ["agent", "--endpoints", &masters, "--name", &name, "--slots", &slots].map(str::to_owned);
            Process::new(directory, name, arguments.to_vec())
        };
        let mut cluster = Self {
            masters: members.keys().map(master).collect(),
            agents: (1..=agents).map(agent).collect(),
            endpoints: endpoints.clone(),
            _ports: ports,
        };
        cluster.processes().try_for_each(Process::start)?;
        Ok(cluster)
    }

    /// All processes, masters first.
    pub(crate) fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.masters.iter_mut().chain(&mut self.agents)
    }

    /// The first process that has ended although nobody asked it to.
    ///
    /// # Errors
    /// How it ended, with the end of its log.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.processes().find_map(Process::ended) {
            Some(end) => Err(Failure::refused(end)),
            None => Ok(()),
        }
    }

    /// Waits until a master leads and all executors are registered.
    ///
    /// # Errors
    /// If a process ends, or it takes too long.
    pub(crate) async fn ready(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_WITHIN;
        let mut missing = "no master answered".to_owned();
        while Instant::now() < deadline {
            self.check()?;
            match cluster.list_executors(0, 0).await {
                Ok(reply) if reply.executors.len() >= self.agents.len() => return Ok(()),
                Ok(reply) => {
                    missing =
                        format!("{} of {} executors registered", reply.executors.len(), self.agents.len());
                }
                Err(failure) => missing = failure.message,
            }
            sleep(POLL).await;
        }
        let log = self.masters.first().map(Process::last_lines).unwrap_or_default();
        Err(Failure::refused(format!("the cluster was not ready within {READY_WITHIN:?}: {missing}{log}")))
    }

    /// Ends all processes: executors before masters, and by SIGKILL if they take long.
    pub(crate) async fn stop(&mut self) {
        for group in [&mut self.agents, &mut self.masters] {
            group.iter().for_each(Process::terminate);
            let deadline = Instant::now() + STOP_WITHIN;
            for process in group {
                process.wait(deadline).await;
            }
        }
    }
}

/// The masters' addresses: those kept in the directory, else free ones, which are kept, and reserved.
fn members(directory: &Path, masters: u64) -> Result<(Members, Vec<ReservedPort>), Failure> {
    let path = directory.join(MEMBERS_FILE);
    let broken = |why: String| Failure::refused(format!("{} cannot be used: {why}", path.display()));
    if let Ok(text) = fs::read_to_string(&path) {
        let members = parse_members(text.trim())
            .map_err(|why| broken(why).with_next("remove the directory, or name another"))?;
        return Ok((members, Vec::new()));
    }
    let (members, ports) = free_members(masters)
        .map_err(|error| Failure::refused(format!("no free port on 127.0.0.1 could be found: {error}")))?;
    let mut file = fs::File::create(&path).map_err(|error| broken(error.to_string()))?;
    writeln!(file, "{}", format_members(&members)).map_err(|error| broken(error.to_string()))?;
    Ok((members, ports))
}

fn free_members(masters: u64) -> std::io::Result<(Members, Vec<ReservedPort>)> {
    let mut reserved = Vec::new();
    let mut free = || {
        let port = ReservedPort::new()?;
        let address = port.address().to_string();
        reserved.push(port);
        Ok::<_, std::io::Error>(address)
    };
    let members = (1..=masters)
        .map(|id| Ok((NodeId(id), MemberAddress { peer: free()?, client: free()? })))
        .collect::<std::io::Result<_>>()?;
    Ok((members, reserved))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_ports() {
        let directory = Directory::new(None, "quorate-test", false).unwrap();
        let (first, reserved) = members(directory.path(), 3).unwrap();
        assert_eq!((first.len(), reserved.len()), (3, 6));
        assert_eq!(members(directory.path(), 3).unwrap().0, first);
    }

    #[test]
    fn a_temporary_directory_goes_away_and_a_given_one_stays() {
        let outer = Directory::new(None, "quorate-test", false).unwrap();
        let path = outer.path().to_owned();
        let given = Directory::new(Some(path.join("given")), "unused", false).unwrap();
        drop(given);
        assert!(path.join("given").is_dir());
        drop(outer);
        assert!(!path.exists());
    }
}
