//! What a run showed, for people and for machines.

use super::{Kind, masters::Difference, measure::Measured};
use crate::{
    failure::Failure,
    output::{self, Format, Table},
};
use serde_json::{Map, Value, json};

/// The quantiles that are shown.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// A run, and how it was made.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) kind: Kind,
    pub(super) clients: u32,
    pub(super) connections: u32,
    pub(super) value_size: usize,
    pub(super) key_space: u64,
    pub(super) rate: Option<u64>,
    pub(super) measured: &'a Measured,
}

impl Report<'_> {
    pub(super) fn print(&self, format: Format) -> Result<(), Failure> {
        if format == Format::Json { output::json(&self.to_json()) } else { self.to_table() }
    }

    fn answers(&self) -> f64 {
        self.measured.times.len() as f64
    }

    fn per_second(&self) -> f64 {
        self.answers() / self.measured.elapsed.as_secs_f64().max(1e-9)
    }

    fn milliseconds(&self) -> Vec<(String, f64)> {
        let times = &self.measured.times;
        let of = |micros: u64| micros as f64 / 1_000.0;
        let mut named = vec![("mean".to_owned(), times.mean() / 1_000.0)];
        let quantiles =
            QUANTILES.map(|(name, quantile)| (name.to_owned(), of(times.value_at_quantile(quantile))));
        named.extend(quantiles);
        named.push(("max".to_owned(), of(times.max())));
        named
    }

    /// Processor time of an answer, in microseconds: of the load, and of everything.
    fn processor(&self) -> (f64, f64) {
        let load = self.measured.processor.as_micros() as f64;
        let masters: u64 = self.measured.masters.iter().map(|it| it.work.cpu_us).sum();
        (load / self.answers(), (load + masters as f64) / self.answers())
    }

    fn to_json(&self) -> Value {
        let mut figures = Map::new();
        let mut put = |name: &str, value: Value| figures.insert(name.to_owned(), value);
        put("kind", json!(self.kind.name()));
        put("clients", json!(self.clients));
        put("connections", json!(self.connections));
        put("value_bytes", json!(self.value_size));
        put("key_space", json!(self.key_space));
        put("asked_per_second", json!(self.rate));
        put("elapsed_s", json!(self.measured.elapsed.as_secs_f64()));
        put("answers", json!(self.measured.times.len()));
        put("per_second", json!(self.per_second()));
        for (name, value) in self.milliseconds() {
            put(&format!("{name}_ms"), json!(value));
        }
        let error = |(kind, (count, first)): (&&str, &(u64, String))| {
            ((*kind).to_owned(), json!({ "count": count, "first": first }))
        };
        put("errors", Value::Object(self.measured.errors.iter().map(error).collect()));
        let (load, all) = self.processor();
        put("load_cpu_us_per_answer", json!(load));
        put("all_cpu_us_per_answer", json!(all));
        let master = |it: &Difference| self.master(it);
        put("masters", self.measured.masters.iter().map(master).collect());
        Value::Object(figures)
    }

    fn master(&self, it: &Difference) -> Value {
        let work = &it.work;
        json!({
            "node": it.node,
            "role": it.role,
            "syncs_per_second": over(work.syncs, it.seconds),
            "sync_ms": over(work.sync_us, work.syncs as f64) / 1_000.0,
            "entries_per_sync": over(work.entries, work.syncs as f64),
            "bytes_per_second": over(work.bytes, it.seconds),
            "inputs_per_turn": over(work.inputs, work.turns as f64),
            "peer_batches_per_second": over(work.peer_batches, it.seconds),
            "messages_per_batch": over(work.peer_messages, work.peer_batches as f64),
            "answers": work.answers,
            "cpu_us_per_answer": over(work.cpu_us, self.answers()),
            "processors": over(work.cpu_us, it.seconds * 1e6),
        })
    }

    fn to_table(&self) -> Result<(), Failure> {
        let seconds = self.measured.elapsed.as_secs_f64();
        output::line(&format!(
            "{}: {:.0} a second: {} answers in {seconds:.2} s",
            self.kind.name(),
            self.per_second(),
            self.measured.times.len()
        ))?;
        let times: Vec<String> =
            self.milliseconds().into_iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
        output::line(&format!("milliseconds: {}", times.join("  ")))?;
        for (kind, (count, first)) in &self.measured.errors {
            output::line(&format!("errors: {count} {kind}; the first: {first}"))?;
        }
        let (load, all) = self.processor();
        output::line(&format!(
            "processor time an answer, in microseconds: {load:.1} of the load, {all:.1} with the masters"
        ))?;
        self.masters_table()
    }

    fn masters_table(&self) -> Result<(), Failure> {
        if self.measured.masters.is_empty() {
            return Ok(());
        }
        let mut table = Table::new([
            "NODE",
            "ROLE",
            "SYNCS/S",
            "SYNC MS",
            "ENTRIES/SYNC",
            "KIB/S",
            "INPUTS/TURN",
            "BATCHES/S",
            "MESSAGES/BATCH",
            "CPU US/ANSWER",
        ]);
        for it in &self.measured.masters {
            let work = &it.work;
            table.row([
                it.node.to_string(),
                it.role.to_owned(),
                format!("{:.0}", over(work.syncs, it.seconds)),
                format!("{:.3}", over(work.sync_us, work.syncs as f64) / 1_000.0),
                format!("{:.1}", over(work.entries, work.syncs as f64)),
                format!("{:.0}", over(work.bytes, it.seconds) / 1_024.0),
                format!("{:.1}", over(work.inputs, work.turns as f64)),
                format!("{:.0}", over(work.peer_batches, it.seconds)),
                format!("{:.1}", over(work.peer_messages, work.peer_batches as f64)),
                format!("{:.1}", over(work.cpu_us, self.answers())),
            ]);
        }
        table.print()
    }
}

fn over(count: u64, of: f64) -> f64 {
    if of > 0.0 { count as f64 / of } else { 0.0 }
}
