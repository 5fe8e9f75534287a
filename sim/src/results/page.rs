//! Results as one page: HTML that needs nothing else, in light and dark, without a script.

use super::{
    chart::{Value, bars, brief, line},
    moment::Moment,
    view::{CommitRow, GroupRow, Kind, View},
};
use crate::{oracle::signature, timeline::escape};
use core::fmt::Write;
use std::collections::BTreeMap;

const STYLE: &str = include_str!("page.css");
/// Days that the chart of seeds shows.
const DAYS_MAX: u64 = 90;
/// Commits that the chart of speeds shows.
const POINTS_MAX: usize = 60;
/// Commits in the table.
const COMMITS_MAX: usize = 100;

/// The page. `made`: when.
#[must_use]
pub fn page(view: &View, made: Moment) -> String {
    let mut text = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Simulated seeds of Quorate</title>\n<style>\n",
    );
    text += STYLE;
    text += "</style>\n</head>\n<body>\n<header>\n<h1>Simulated seeds of Quorate</h1>\n";
    let _ = writeln!(text, "<p class=\"soft\">{}</p>", span(view, made));
    figures(&mut text, view);
    text += "</header>\n<main>\n<h2>Groups of failures</h2>\n";
    groups(&mut text, view);
    text += "<h2>Seeds a day</h2>\n<div class=\"charts\">\n";
    for (kind, days) in &view.days {
        chart(&mut text, kind, &bars(&days_of(days), &format!("seeds a day, {}", kind.text())));
    }
    text += "</div>\n<h2>Speed over commits</h2>\n\
             <p class=\"soft\">Simulated seconds by second and thread, the oldest commit first.</p>\n<div class=\"charts\">\n";
    for kind in view.days.keys() {
        chart(&mut text, kind, &line(&speeds(view, kind), &format!("speed over commits, {}", kind.text())));
    }
    text += "</div>\n<h2>Commits</h2>\n";
    commits(&mut text, view);
    text += "</main>\n</body>\n</html>\n";
    text
}

fn span(view: &View, made: Moment) -> String {
    let first = view.commits.iter().map(|row| row.first).min();
    let last = view.commits.iter().map(|row| row.last).max();
    match (first, last) {
        (Some(first), Some(last)) => format!("From {} to {}; drawn {made}.", first.date(), last.date()),
        _ => format!("No search matches; drawn {made}."),
    }
}

fn figures(text: &mut String, view: &View) {
    let sum = |of: fn(&CommitRow) -> u64| view.commits.iter().map(of).fold(0, u64::saturating_add);
    let simulated: f64 = view.commits.iter().map(|row| row.simulated_seconds).sum();
    let mut codes: Vec<_> = view.commits.iter().map(|row| &row.code).collect();
    codes.sort();
    codes.dedup();
    let failed = sum(|row| row.failed);
    text.push_str("<div class=\"figures\">\n");
    for (bad, value, what) in [
        (false, brief(sum(|row| row.seeds) as f64), "seeds"),
        (false, brief(simulated / 3_600.0), "simulated hours"),
        (false, sum(|row| row.searches).to_string(), "searches"),
        (false, codes.len().to_string(), "commits"),
        (failed > 0, failed.to_string(), "failing seeds"),
        (!view.groups.is_empty(), view.groups.len().to_string(), "groups of failures"),
    ] {
        let class = if bad { " class=\"bad\"" } else { "" };
        let _ = writeln!(text, "<div{class}><b>{value}</b>{what}</div>");
    }
    text.push_str("</div>\n");
}

fn chart(text: &mut String, kind: &Kind, svg: &str) {
    let _ = writeln!(text, "<section><h3>{}</h3>{svg}</section>", escape(&kind.text()));
}

/// One value a day, also for days without a search.
fn days_of(days: &BTreeMap<u64, (u64, u64)>) -> Vec<Value> {
    let (Some((&first, _)), Some((&last, _))) = (days.first_key_value(), days.last_key_value()) else {
        return Vec::new();
    };
    let first = first.max((last + 1).saturating_sub(DAYS_MAX));
    let value = |day: u64| {
        let (seeds, failed) = days.get(&day).copied().unwrap_or_default();
        let label = Moment::of_day(day).date();
        let tip = format!("{label}: {seeds} seeds, {failed} failed");
        Value { label, value: seeds as f64, tip, failed: failed > 0 }
    };
    (first..=last).map(value).collect()
}

fn speeds(view: &View, kind: &Kind) -> Vec<Value> {
    let rows = view.commits.iter().filter(|row| row.kind == *kind).take(POINTS_MAX);
    let mut values: Vec<Value> = rows
        .map(|row| Value {
            label: row.code.short(),
            value: row.speed,
            tip: format!(
                "{}, {}: {:.0} simulated s/s a thread, {:.1} seeds/s, {} failed",
                row.code.short(),
                row.first.date(),
                row.speed,
                row.seeds_per_second,
                row.failed
            ),
            failed: row.failed > 0,
        })
        .collect();
    values.reverse();
    values
}

fn groups(text: &mut String, view: &View) {
    if view.groups.is_empty() {
        text.push_str("<p><span class=\"tag\">none</span></p>\n");
        return;
    }
    text.push_str(
        "<div class=\"wide\"><table>\n<thead><tr><th>Rule</th><th>Level</th><th>First commit</th><th>Last commit</th>\
         <th class=\"number\">Commits</th><th class=\"number\">Failing seeds</th>\
         <th class=\"number\">Clean seeds since</th></tr></thead>\n",
    );
    for row in &view.groups {
        group(text, row);
    }
    text.push_str("</table></div>\n");
}

fn group(text: &mut String, row: &GroupRow) {
    let failing = &row.fastest;
    let _ = writeln!(
        text,
        "<tbody id=\"{}\"><tr><td><b>{}</b></td><td>{}</td>\
         <td><code title=\"{}\">{}</code> <span class=\"soft\">{}</span></td>\
         <td><code title=\"{}\">{}</code> <span class=\"soft\">{}</span></td>\
         <td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
        escape(&signature(&format!("{} {}", row.kind.text(), row.signature))),
        escape(&row.rule),
        escape(&row.kind.text()),
        escape(&row.first.commit),
        escape(&row.first.short()),
        row.first_at.date(),
        escape(&row.last.commit),
        escape(&row.last.short()),
        row.last_at.date(),
        row.commits,
        row.seeds,
        row.clean_since,
    );
    let _ = writeln!(
        text,
        "<tr class=\"detail\"><td colspan=\"7\"><p class=\"message\">{}</p><pre>{}</pre>\
         <p class=\"soft\">Seed {} after {} events and {} simulated s, found {}.</p></td></tr></tbody>",
        escape(&failing.message),
        escape(&row.commands().join("\n")),
        failing.seed,
        failing.events,
        failing.seconds,
        failing.origin.at,
    );
}

fn commits(text: &mut String, view: &View) {
    text.push_str(
        "<div class=\"wide\"><table>\n<thead><tr><th>Commit</th><th>Level</th><th>First</th><th>Last</th>\
         <th class=\"number\">Searches</th><th class=\"number\">Seeds</th><th class=\"number\">Simulated hours</th>\
         <th class=\"number\">Seeds/s</th><th class=\"number\">Marks missing</th><th>Outcome</th></tr></thead>\n<tbody>\n",
    );
    for row in view.commits.iter().take(COMMITS_MAX) {
        let outcome = match row.failed {
            0 => "<span class=\"tag\">clean</span>".to_owned(),
            failed => format!("<span class=\"tag bad\">{failed} failed</span>"),
        };
        let missing: Vec<&str> = row.marks_missing.iter().map(String::as_str).collect();
        let _ = writeln!(
            text,
            "<tr><td><code title=\"{}\">{}</code></td><td>{}</td><td>{}</td><td>{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{:.1}</td><td class=\"number\" title=\"{}\">{}</td><td>{outcome}</td></tr>",
            escape(&row.code.commit),
            escape(&row.code.short()),
            escape(&row.kind.text()),
            row.first.date(),
            row.last.date(),
            row.searches,
            row.seeds,
            brief(row.simulated_seconds / 3_600.0),
            row.seeds_per_second,
            escape(&missing.join(", ")),
            missing.len(),
        );
    }
    text.push_str("</tbody>\n</table></div>\n");
    if let Some(older) = view.commits.len().checked_sub(COMMITS_MAX).filter(|&older| older > 0) {
        let _ = writeln!(text, "<p class=\"soft\">{older} older ones are not shown.</p>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{
        Query, Record,
        record::tests::{failing, search},
    };

    #[test]
    fn the_page_needs_nothing_else_and_says_how_to_replay() {
        let mut bad = failing(86_400, "aaaaaaaaaaaaaaaa", "g1-<script>", 17, 90);
        bad.message = "<img src=x> & \"more\"".to_owned();
        bad.plan = Some("repro/g1/plan.json".to_owned());
        let records = [
            Record::Search(search(86_400, "aaaaaaaaaaaaaaaa", &[("g1-<script>", 2)])),
            Record::Search(search(5 * 86_400, "bbb", &[])),
            Record::Failure(bad),
        ];
        let page = page(&View::new(&records, &Query::default()), Moment(6 * 86_400));
        assert!(page.starts_with("<!DOCTYPE html>"));
        for outside in ["http:", "https:", "src=x>", "<script", "<link", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("&lt;img src=x&gt; &amp; &quot;more&quot;"));
        assert!(page.contains("git checkout aaaaaaaaaaaaaaaa &amp;&amp; cargo sim replay 17"), "{page}");
        assert!(page.contains("cargo sim replay repro/g1/plan.json"));
        assert!(page.contains("prefers-color-scheme: dark"));
        // Days without a search are there.
        assert_eq!(page.matches("class=\"bar\"").count(), 5);
        assert!(page.contains("1970-01-03: 0 seeds, 0 failed"));
        for tag in ["div", "table", "tbody", "tr", "td", "svg", "g", "section"] {
            let open = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn a_page_of_nothing_says_so() {
        let page = page(&View::default(), Moment(0));
        assert!(page.contains("No search matches") && page.contains("none"));
    }

    #[test]
    fn long_times_show_their_last_days() {
        let days = BTreeMap::from([(10, (5, 0)), (1_000, (7, 1))]);
        let values = days_of(&days);
        assert_eq!(values.len() as u64, DAYS_MAX);
        assert!(values.last().is_some_and(|value| value.failed && value.value > 6.0));
    }
}
