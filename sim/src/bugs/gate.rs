//! The gate: each bug of a fixed list must be noticed within a fixed number of fixed seeds. Counted, never timed.

/// The list of the core level: a bug and the seeds that it is given, from 0 on, in each line.
pub const LIST: &str = include_str!("gate.txt");
/// The list of the stack level, of bugs below the core.
pub const STACK_LIST: &str = include_str!("gate-stack.txt");

/// One bug of the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// It must be noticed by one of so many seeds.
    pub seeds: u64,
}

/// Reads a list.
///
/// # Errors
/// The line that is no name and number.
pub fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let entry = line.split_once(' ').and_then(|(key, seeds)| {
                let seeds = seeds.trim().parse().ok().filter(|seeds| *seeds > 0)?;
                Some(Entry { key: key.to_owned(), seeds })
            });
            entry.ok_or_else(|| format!("{line:?}: a line of the gate is a bug and its number of seeds"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_and_nonsense_is_named() {
        let entry = |key: &str, seeds| Entry { key: key.to_owned(), seeds };
        assert_eq!(parse("# a\n\na-b 7\n c 12 \n"), Ok(vec![entry("a-b", 7), entry("c", 12)]));
        for wrong in ["a", "a b", "a 0"] {
            assert!(parse(wrong).unwrap_err().contains("a bug and its number"), "{wrong}");
        }
        assert!(!parse(LIST).unwrap().is_empty() && !parse(STACK_LIST).unwrap().is_empty());
    }

    /// Of each bug, docs/planted-bugs.md says who notices it.
    #[cfg(feature = "planted-bugs")]
    #[test]
    fn every_bug_has_a_row() {
        let page = include_str!("../../../docs/planted-bugs.md");
        let rows: Vec<_> =
            page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).collect();
        for bug in quorate_core::bug::Bug::ALL {
            assert!(rows.iter().any(|(name, _)| *name == bug.key()), "{} has no row", bug.key());
        }
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn the_lists_name_bugs_of_their_level_that_there_are_each_once() {
        for (list, below) in [(LIST, false), (STACK_LIST, true)] {
            let entries = parse(list).unwrap();
            let names: std::collections::BTreeSet<_> =
                entries.iter().map(|entry| entry.key.as_str()).collect();
            assert_eq!(names.len(), entries.len());
            for name in names {
                let bug = quorate_core::bug::Bug::named(name).unwrap_or_else(|| panic!("{name}"));
                assert_eq!(bug.layer() == "net", below, "{name}");
            }
        }
    }
}
