//! Results that are kept: what each search ran and found, on which commit. Lines of JSON in a file that is only appended to;
//! files of several machines are merged, queried, and drawn as one page.

mod chart;
mod commit;
mod file;
mod keep;
mod merge;
mod moment;
mod page;
mod record;
mod view;

pub use commit::{Commit, UNKNOWN, parse as parse_commit};
pub use file::{Keeper, read, write};
pub use keep::{Searched, records};
pub use merge::{Bounds, FAILURES_MAX, Merged, SEARCHES_MAX, merge};
pub use moment::Moment;
pub use page::page;
pub use record::{Failing, Origin, Record, Search, VERSION};
pub use view::{CommitRow, GroupRow, Query, View};
