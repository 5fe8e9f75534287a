//! How small plans become, for each planted bug: a table.

use super::{Options, Shrunk};
use crate::plan::Limits;
use std::ops::Range;

/// One planted bug.
pub struct Row {
    /// Its key.
    pub bug: &'static str,
    /// The first seed that finds it, and what was made of its plan. `None`: no seed finds it.
    pub found: Option<(u64, Shrunk)>,
}

/// Looks for a failing seed of each planted bug, and shrinks its plan. `each` gets the rows as they come. Empty without
/// the feature `planted-bugs`.
#[cfg(feature = "planted-bugs")]
pub fn table(
    seeds: &Range<u64>,
    limits: &Limits,
    options: Options<'_>,
    mut each: impl FnMut(&Row),
) -> Vec<Row> {
    use super::shrink;
    use crate::{bugs::STACK_LAYER, plan::generate, run::run_plan};
    use quorate_core::bug::Bug;
    let before = super::planted();
    let row = |bug: &Bug| {
        quorate_core::bug::plant(Some(*bug));
        let found = seeds.clone().find_map(|seed| {
            let plan = generate(seed, limits);
            run_plan(&plan, true, None).violation?;
            Some((seed, shrink(&plan, options)?))
        });
        let row = Row { bug: bug.key(), found };
        each(&row);
        row
    };
    let rows = Bug::ALL.iter().filter(|bug| bug.layer() != STACK_LAYER).map(row).collect();
    quorate_core::bug::plant(before);
    rows
}

/// Looks for a failing seed of each planted bug, and shrinks its plan: there are none without the feature `planted-bugs`.
#[cfg(not(feature = "planted-bugs"))]
pub fn table(_: &Range<u64>, _: &Limits, _: Options<'_>, _: impl FnMut(&Row)) -> Vec<Row> {
    Vec::new()
}
