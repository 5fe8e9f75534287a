//! Which machines a fault names, and the same fault after machines were taken out. It works on the written form of a
//! fault, so that a new kind needs nothing here as long as its fields are named as those of the others.

use super::FaultKind;
use crate::record::Actor;
use serde_json::Value;

/// Fields that name masters.
const MASTERS: [&str; 8] = ["master", "side", "masters", "from", "to", "peer", "order", "back"];
/// Fields that name executors.
const EXECUTORS: [&str; 2] = ["executor", "executors"];
/// The field that names a client.
const CLIENT: &str = "client";

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
            } else if name == CLIENT {
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
pub fn moved(
    kind: &FaultKind,
    master: &impl Fn(u8) -> Option<u8>,
    executor: &impl Fn(u8) -> Option<u8>,
) -> Option<FaultKind> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(kind) else { return None };
    for (name, value) in &mut fields {
        if MASTERS.contains(&name.as_str()) {
            *value = replace(value, master)?;
        } else if EXECUTORS.contains(&name.as_str()) {
            *value = replace(value, executor)?;
        }
    }
    serde_json::from_value(Value::Object(fields)).ok()
}

fn replace(value: &Value, place: &impl Fn(u8) -> Option<u8>) -> Option<Value> {
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
        let cut = FaultKind::Cut { side: vec![1, 2] };
        assert_eq!(touches(&cut, 3), [Actor::Master(1), Actor::Master(2)]);
        assert_eq!(moved(&cut, &master, &executor), Some(FaultKind::Cut { side: vec![1] }));
        assert_eq!(moved(&FaultKind::Crash { master: 1 }, &master, &executor), None);
        assert_eq!(moved(&FaultKind::Cut { side: vec![1] }, &master, &executor), None);
        let frozen = FaultKind::MachineFreeze { executor: 2 };
        assert_eq!(touches(&frozen, 3), [Actor::Executor(2)]);
        assert_eq!(moved(&frozen, &master, &executor), Some(FaultKind::MachineFreeze { executor: 1 }));
        assert_eq!(touches(&FaultKind::Ring {}, 2), [Actor::Master(0), Actor::Master(1)]);
    }
}
