//! How much is searched.

/// From where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Three empty disks.
    Empty,
    /// Node 1 leads in term 1, its first entry is committed and durable everywhere, and nothing is on its way.
    Led,
}

/// What may happen, and how often in one run. Everything else (deliveries, writes that become durable) has no bound of its
/// own: it follows from these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) text: &'static str,
    /// From where.
    pub(crate) start: Start,
    /// The highest term.
    pub(crate) terms: u64,
    /// Commands that leaders are asked for.
    pub(crate) commands: u8,
    /// Crashes. What was not durable is lost from any point on.
    pub(crate) crashes: u8,
    /// Messages that are delivered twice.
    pub(crate) duplicates: u8,
    /// Messages that are taken away. One that is never delivered is as good as lost; this only tells apart what stays.
    pub(crate) drops: u8,
    /// Heartbeats of leaders. Without any, those of a new leader are lost as well.
    pub(crate) heartbeats: u8,
    /// Timers of followers and candidates that run out.
    pub(crate) timeouts: u8,
    /// Pre-votes and their answers are messages like others. If not, they arrive at once, since they change nothing at
    /// whoever answers, and refusals are lost.
    pub(crate) pre_votes: bool,
}

const NONE: Scope = Scope {
    name: "",
    text: "",
    start: Start::Led,
    terms: 2,
    commands: 0,
    crashes: 0,
    duplicates: 0,
    drops: 0,
    heartbeats: 0,
    timeouts: 1,
    pre_votes: false,
};

/// The scopes that can be named.
pub(crate) const SCOPES: &[Scope] = &[
    Scope {
        name: "election",
        text: "two candidates of one term, with a crash; from empty disks",
        start: Start::Empty,
        terms: 1,
        crashes: 1,
        timeouts: 2,
        ..NONE
    },
    Scope {
        name: "pre-vote",
        text: "an election whose pre-votes are messages like others; from empty disks",
        start: Start::Empty,
        terms: 1,
        timeouts: 2,
        pre_votes: true,
        ..NONE
    },
    Scope { name: "takeover", text: "a leader with a command is replaced by another", commands: 1, ..NONE },
    Scope {
        name: "crash",
        text: "the same, with a crash of anybody at any moment",
        commands: 1,
        crashes: 1,
        ..NONE
    },
    Scope { name: "large", text: "two terms, two commands, one crash", commands: 2, crashes: 1, ..NONE },
    Scope {
        name: "rivals",
        text: "the same, with two candidates in the second term",
        commands: 2,
        crashes: 1,
        timeouts: 2,
        ..NONE
    },
    Scope {
        name: "network",
        text: "two terms, a command, heartbeats, a message that comes twice, and one that is lost",
        commands: 1,
        duplicates: 1,
        drops: 1,
        heartbeats: 1,
        ..NONE
    },
];

/// The scope of this name.
#[must_use]
pub(crate) fn named(name: &str) -> Option<Scope> {
    SCOPES.iter().copied().find(|scope| scope.name == name)
}
