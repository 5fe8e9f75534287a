//! Majorities, counted here and not by the code that is looked at.

use quorate_core::{raft::membership::Membership, types::NodeId};
use std::collections::BTreeSet;

/// Where a node is.
pub fn place_of(node: NodeId) -> Option<usize> {
    usize::try_from(node.0.checked_sub(1)?).ok()
}

/// The two configurations that decide; the same one twice, unless they are joint.
fn both(members: &Membership) -> [&BTreeSet<NodeId>; 2] {
    let old = if members.outgoing().is_empty() { members.voters() } else { members.outgoing() };
    [members.voters(), old]
}

/// Whether the places that fulfil this are a majority of the voters, of both configurations while they are joint.
pub fn is_quorum(members: &Membership, holds: impl Fn(usize) -> bool) -> bool {
    both(members).into_iter().all(|voters| {
        let holders = voters.iter().filter(|node| place_of(**node).is_some_and(&holds)).count();
        holders > voters.len() / 2
    })
}

/// The highest value that such a majority has at least.
pub fn reached(members: &Membership, value: impl Fn(NodeId) -> u64) -> u64 {
    let of = |voters: &BTreeSet<NodeId>| {
        let mut values: Vec<u64> = voters.iter().map(|node| value(*node)).collect();
        values.sort_unstable();
        values.get(values.len().saturating_sub(voters.len() / 2 + 1)).copied().unwrap_or(0)
    };
    both(members).into_iter().map(of).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(voters: &[u64], outgoing: &[u64]) -> Membership {
        let nodes = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect();
        Membership::from_parts([nodes(voters), nodes(outgoing), BTreeSet::new(), BTreeSet::new()], false)
            .unwrap()
    }

    #[test]
    fn a_majority_of_each_side_is_needed() {
        assert!(is_quorum(&members(&[1, 2, 3], &[]), |place| place < 2));
        assert!(!is_quorum(&members(&[1, 2, 3], &[]), |place| place == 1));
        assert!(!is_quorum(&members(&[1, 2], &[]), |place| place == 1));
        let joint = members(&[1, 2, 3], &[3, 4, 5]);
        assert!(!is_quorum(&joint, |place| place < 3));
        assert!(is_quorum(&joint, |place| (1..4).contains(&place)));
        assert!(!is_quorum(&Membership::default(), |_| true));
    }

    #[test]
    fn what_a_majority_of_each_side_has() {
        assert_eq!(reached(&members(&[1, 2, 3], &[]), |node| node.0 * 10), 20);
        assert_eq!(reached(&members(&[1, 2, 3, 4], &[]), |node| node.0 * 10), 20);
        assert_eq!(reached(&members(&[3, 4, 5], &[1, 2, 3]), |node| node.0 * 10), 20);
        assert_eq!(reached(&Membership::default(), |_| 7), 0);
    }
}
