//! The feature level: see [`level`](crate::level). Leaders raise and lower it; operators say how far it may go.

#[cfg(feature = "next-format")]
use super::Counters;
use super::{Outcome, Turn};
#[cfg(feature = "next-format")]
use crate::bug::{self, Bug};
use crate::mark::{self, Mark};
use pb::client_reply::Body;
use quorate_proto::v1 as pb;

/// Bounds the level. 0 = it may rise.
pub(crate) fn hold(turn: &mut Turn<'_>, most: u32) -> Outcome {
    let record = turn.records.tables().level;
    if record.most != most {
        turn.put_level(pb::FeatureLevel { most, ..record });
    }
    Ok(Body::HoldLevel(pb::HoldLevelReply { level: *turn.level, most }))
}

/// Sets the level. Nothing, if it may not be this one.
pub(crate) fn set(turn: &mut Turn<'_>, level: u32) {
    let (old, record) = (*turn.level, turn.records.tables().level);
    if !is_taken(old, record.most, level) {
        return;
    }
    *turn.level = level;
    if level > old {
        mark::hit(Mark::LevelRaised);
        turn.put_level(record);
    } else {
        mark::hit(Mark::LevelLowered);
        // Of an earlier lowering something may be left in somebody's log.
        let lowered_from = old.max(record.lowered_from);
        turn.put_level(pb::FeatureLevel { lowered_at: turn.index.0, lowered_from, ..record });
        #[cfg(feature = "next-format")]
        if !bug::planted(Bug::LevelKeepsNews) {
            turn.counters.next = 0;
        }
    }
}

/// Whether a cluster at level `old`, held at `most` (0 = not held), goes to `level`.
pub(crate) const fn is_taken(old: u32, most: u32, level: u32) -> bool {
    (level > old && (most == 0 || level <= most)) || (level < old && most != 0 && level >= most)
}

/// What the next format knows and this one does not: a number in the state.
#[cfg(feature = "next-format")]
pub(crate) const fn count(level: u32, counters: &mut Counters) {
    if level >= 2 {
        counters.next += 1;
    }
}
