//! What differs between two outputs, for people.

use crate::arguments::Compared;

/// `None`: nothing does.
pub(crate) fn between(expected: &str, came: &str, compared: Compared) -> Option<String> {
    let lines = |text: &str| -> Vec<String> {
        let lines = text.trim_end_matches('\n').lines().map(|line| line.trim_end().to_owned());
        match compared {
            Compared::Exactly => lines.collect(),
            Compared::State => lines.map(|line| common(&line)).collect(),
        }
    };
    let (expected, came) = (lines(expected), lines(came));
    (expected != came).then(|| show(&expected, &came))
}

/// What differs among the suites of this grammar, and is no state of Raft: what a follower has said to have committed (no
/// follower says so here), where a follower begins to be probed once it has a snapshot, and in a log that has no entry yet,
/// and the length of the bars of `committed`.
fn common(line: &str) -> String {
    if let Some((_, rest)) =
        line.split_once('>').filter(|(bar, rest)| bar.chars().all(|it| it == 'x') && rest.ends_with(')'))
    {
        return format!(">{}", rest.trim_start());
    }
    let snapshot = line.contains(": StateSnapshot");
    if !snapshot && !line.contains(": State") {
        return line.to_owned();
    }
    let passed_over = |word: &&str| word.starts_with("commit=") || (snapshot && word.starts_with("next="));
    let words: Vec<&str> = line.split(' ').filter(|word| !passed_over(word)).collect();
    words.join(" ").replace("next=0", "next=1")
}

/// Lines of both, in order; those of one alone are marked.
fn show(expected: &[String], came: &[String]) -> String {
    // How many lines the rests from here on have in common.
    let mut common = vec![vec![0_usize; came.len() + 1]; expected.len() + 1];
    for left in (0..expected.len()).rev() {
        for right in (0..came.len()).rev() {
            common[left][right] = if expected[left] == came[right] {
                common[left + 1][right + 1] + 1
            } else {
                common[left + 1][right].max(common[left][right + 1])
            };
        }
    }
    let (mut left, mut right, mut text) = (0, 0, String::new());
    while left < expected.len() || right < came.len() {
        if left < expected.len() && right < came.len() && expected[left] == came[right] {
            text += &format!("    {}\n", expected[left]);
            (left, right) = (left + 1, right + 1);
        } else if right == came.len()
            || (left < expected.len() && common[left + 1][right] >= common[left][right + 1])
        {
            text += &format!("  - {}\n", expected[left]);
            left += 1;
        } else {
            text += &format!("  + {}\n", came[right]);
            right += 1;
        }
    }
    text
}
