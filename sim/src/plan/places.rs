//! Which machines a fault names, and the same fault after machines were taken out. It works on the written form of a
//! fault, so that a new kind needs nothing here as long as its fields are named as those of the others.

use super::FaultKind;
use crate::record::Actor;
use serde_json::Value;

/// Fields that name masters.
const MASTERS: [&str; 7] = ["master", "side", "masters", "from", "to", "order", "back"];
/// Fields that name executors.
const EXECUTORS: [&str; 1] = ["executor"];
/// Fields that name clients.
const CLIENTS: [&str; 1] = ["client"];

/// The new place of each machine of one kind; `None`: it is gone.
type Move<'a> = &'a dyn Fn(u8) -> Option<u8>;

/// The new places of all machines.
#[derive(Clone, Copy)]
pub(crate) struct Moves<'a> {
    /// Of masters.
    pub(crate) master: Move<'a>,
    /// Of executors.
    pub(crate) executor: Move<'a>,
    /// Of clients.
    pub(crate) client: Move<'a>,
}

impl Moves<'_> {
    /// All stay where they are.
    pub(crate) const NONE: Self = Self { master: &Some, executor: &Some, client: &Some };

    fn of(&self, name: &str) -> Option<Move<'_>> {
        let lists: [(&[&str], Move<'_>); 3] =
            [(&MASTERS, self.master), (&EXECUTORS, self.executor), (&CLIENTS, self.client)];
        lists.into_iter().find(|(names, _)| names.contains(&name)).map(|(_, place)| place)
    }
}

/// Whether this field names machines.
pub(crate) fn names(field: &str) -> bool {
    Moves::NONE.of(field).is_some()
}

fn numbers(value: &Value) -> Vec<u8> {
    let one = |value: &Value| value.as_u64().and_then(|place| u8::try_from(place).ok());
    match value {
        Value::Array(all) => all.iter().filter_map(one).collect(),
        other => one(other).into_iter().collect(),
    }
}

/// The machines that a fault touches; all masters, if it names none.
#[must_use]
pub fn touches(kind: &FaultKind, masters: u8) -> Vec<Actor> {
    let mut touched = Vec::new();
    if let Ok(Value::Object(fields)) = serde_json::to_value(kind) {
        for (name, value) in &fields {
            if MASTERS.contains(&name.as_str()) {
                touched.extend(numbers(value).into_iter().map(Actor::Master));
            } else if EXECUTORS.contains(&name.as_str()) {
                touched.extend(numbers(value).into_iter().map(Actor::Executor));
            } else if CLIENTS.contains(&name.as_str()) {
                touched.extend(numbers(value).into_iter().map(Actor::Client));
            }
        }
    }
    if touched.is_empty() {
        touched.extend((0..masters).map(Actor::Master));
    }
    touched
}

/// The same fault when the machines have other places. `None`: it names one that is gone.
pub(crate) fn moved(kind: &FaultKind, moves: Moves<'_>) -> Option<FaultKind> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(kind) else { return None };
    for (name, value) in &mut fields {
        if let Some(place) = moves.of(name) {
            *value = replace(value, place)?;
        }
    }
    serde_json::from_value(Value::Object(fields)).ok()
}

fn replace(value: &Value, place: Move<'_>) -> Option<Value> {
    let left: Vec<u8> = numbers(value).into_iter().filter_map(place).collect();
    match value {
        Value::Array(_) => (!left.is_empty()).then(|| Value::from(left)),
        _ => left.first().map(|&place| Value::from(place)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_follow_their_machines() {
        let master = |place: u8| [Some(0), None, Some(1)][usize::from(place)];
        let executor = |place: u8| (place > 0).then(|| place - 1);
        let moves = Moves { master: &master, executor: &executor, client: &|_| None };
        let cut = FaultKind::Cut { side: vec![1, 2] };
        assert_eq!(touches(&cut, 3), [Actor::Master(1), Actor::Master(2)]);
        assert_eq!(moved(&cut, moves), Some(FaultKind::Cut { side: vec![1] }));
        assert_eq!(moved(&FaultKind::Crash { master: 1 }, moves), None);
        assert_eq!(moved(&FaultKind::Cut { side: vec![1] }, moves), None);
        let frozen = FaultKind::MachineFreeze { executor: 2 };
        assert_eq!(touches(&frozen, 3), [Actor::Executor(2)]);
        assert_eq!(moved(&frozen, moves), Some(FaultKind::MachineFreeze { executor: 1 }));
        assert_eq!(moved(&FaultKind::ClientStall { client: 0 }, moves), None);
        let swizzle = FaultKind::SwizzleClog { order: vec![0, 1, 2], back: vec![2, 1], step_ms: 5 };
        let left = FaultKind::SwizzleClog { order: vec![0, 1], back: vec![1], step_ms: 5 };
        assert_eq!(moved(&swizzle, moves), Some(left));
        assert_eq!(touches(&FaultKind::Ring {}, 2), [Actor::Master(0), Actor::Master(1)]);
    }

    #[test]
    fn no_number_of_a_fault_is_taken_for_a_machine_or_the_other_way_round() {
        let magnitudes = [
            "ppm",
            "most_ms",
            "by_ms",
            "period_ms",
            "step_ms",
            "step_us",
            "sync_ms",
            "up_ms",
            "times",
            "ppb",
            "one_in",
            "level",
        ];
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..500 {
            for fault in crate::plan::generate(seed, &crate::plan::Limits::default()).faults {
                let Ok(Value::Object(fields)) = serde_json::to_value(&fault.kind) else {
                    panic!("{fault:?}")
                };
                for (name, _) in fields.iter().filter(|(_, value)| value.is_number() || value.is_array()) {
                    assert!(names(name) != magnitudes.contains(&name.as_str()), "{name} of {fault:?}");
                    seen.insert(name.clone());
                }
            }
        }
        assert!(seen.len() > 10, "{seen:?}");
    }
}
