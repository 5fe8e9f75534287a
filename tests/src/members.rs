//! What tests do with the members of a cluster, through the command line.

use crate::{cluster::Cluster, wait::wait_until};
use serde_json::Value;
use std::{collections::BTreeMap, fs, time::Duration};

/// What a change, and whoever has to catch up for it, may take.
const WITHIN: Duration = Duration::from_secs(30);

impl Cluster {
    /// The part of each member, as these masters see it.
    ///
    /// # Errors
    /// If they do not answer.
    pub fn parts(&self, ids: &[u64]) -> Result<BTreeMap<u64, String>, String> {
        let list = self.cli_to(ids).within("2s").try_json(&["member", "list"])?;
        let members = list["members"].as_array().cloned().unwrap_or_default();
        let one = |it: &Value| (it["id"].as_u64().unwrap_or(0), it["part"].as_str().unwrap_or("").to_owned());
        Ok(members.iter().map(one).collect())
    }

    /// Waits until the members are these, all of them voters.
    pub fn wait_voters(&self, ask: &[u64], voters: &[u64]) {
        let wanted: BTreeMap<u64, String> = voters.iter().map(|&id| (id, "voter".to_owned())).collect();
        wait_until(WITHIN, &format!("the voters {voters:?}"), || {
            let parts = self.parts(ask)?;
            if parts == wanted { Ok(()) } else { Err(format!("{parts:?}")) }
        });
    }

    /// Adds a master with an empty directory, and waits until it votes. `others`: whom it joins over.
    pub fn grow(&mut self, id: u64, others: &[u64]) {
        self.learn(id, others);
        self.promote(id, others);
    }

    /// Adds a master with an empty directory, as a learner. `others`: whom it joins over.
    pub fn learn(&mut self, id: u64, others: &[u64]) {
        let _nothing_there = fs::remove_dir_all(self.data(id));
        self.joiner(id, others);
        let (peer, client) = (self.peer(id).to_owned(), self.endpoint(id).to_owned());
        let words = ["member", "add", &id.to_string(), "--peer", &peer, "--client", &client];
        self.cli_to(others).run(&words).ok();
        self.master(id).start();
    }

    /// Waits until a learner is taken for a voter.
    pub fn promote(&mut self, id: u64, others: &[u64]) {
        self.promote_with(id, others, &[]);
        wait_until(WITHIN, &format!("master {id} is a voter"), || {
            let parts = self.parts(others)?;
            if parts.get(&id).is_some_and(|part| part == "voter") {
                Ok(())
            } else {
                Err(format!("{parts:?}"))
            }
        });
    }

    /// Promotes a learner as soon as it has caught up, with these options.
    pub fn promote_with(&self, id: u64, others: &[u64], options: &[&str]) {
        let id = id.to_string();
        let words = [&["member", "promote", &id], options].concat();
        wait_until(WITHIN, &format!("master {id} has caught up, and is promoted"), || {
            let output = self.cli_to(others).run(&words);
            if output.code == 0 { Ok(()) } else { Err(output.to_string()) }
        });
    }

    /// Waits until a master says that something is wrong, in these words.
    #[must_use]
    pub fn wait_alarm(&self, id: u64, parts: &[&str]) -> Value {
        wait_until(WITHIN, &format!("master {id} says {parts:?}"), || {
            let status = self.status(id)?;
            let alarms = status["alarms"].to_string();
            if parts.iter().all(|part| alarms.contains(part)) { Ok(status) } else { Err(status.to_string()) }
        })
    }
}
