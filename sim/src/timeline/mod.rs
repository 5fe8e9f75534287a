//! The timeline of a run: one HTML file that needs nothing else, not even a network. Its data is a block of JSON in
//! columns; its script draws on a canvas, and only as much as can be seen.

mod data;

use crate::{plan::Plan, record::Recording, run::Outcome};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPTS: [&str; 6] = [
    include_str!("data.js"),
    include_str!("layout.js"),
    include_str!("draw.js"),
    include_str!("marks.js"),
    include_str!("panel.js"),
    include_str!("main.js"),
];

/// The page. `command` is what runs the plan again.
///
/// # Errors
/// The data cannot be written as JSON.
pub fn page(plan: &Plan, outcome: &Outcome, recording: &Recording, command: &str) -> anyhow::Result<String> {
    let data = serde_json::to_string(&data::columns(plan, outcome, recording, command))?;
    let title = outcome.violation.as_ref().map_or("A clean run", |violation| violation.rule.name());
    // In the order of the page; what was put in is not looked at again.
    let parts = [
        ("{{title}}", escape(title)),
        ("{{style}}", STYLE.to_owned()),
        ("{{data}}", inert(&data)),
        ("{{script}}", SCRIPTS.join("\n")),
    ];
    let mut page = String::with_capacity(PAGE.len() + data.len() + 100_000);
    let mut rest = PAGE;
    for (place, text) in parts {
        let Some((before, after)) = rest.split_once(place) else {
            anyhow::bail!("the page of the timeline has no place for {place}");
        };
        page.push_str(before);
        page.push_str(&text);
        rest = after;
    }
    Ok(page + rest)
}

/// As text between two tags.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// JSON that cannot end the block that it is in.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        oracle::{Rule, Violation},
        plan::{Limits, generate},
        record::run_recorded,
    };
    use serde_json::Value;

    fn block(page: &str) -> Value {
        let begin = "<script id=\"data\" type=\"application/json\">";
        let (_, rest) = page.split_once(begin).unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    }

    #[test]
    fn no_text_of_a_run_can_break_the_page() {
        let plan = generate(1, &Limits { duration_min_ms: 1_000, duration_max_ms: 1_000, faults: false });
        let (mut outcome, mut recording) = run_recorded(&plan);
        let nasty = "</script><script>alert('{{data}}')</script><!-- & \u{2028} \"";
        recording.events[0].text = nasty.to_owned();
        let violation = Violation { rule: Rule::Panic, message: nasty.to_owned(), time: 5, step: 1 };
        outcome.violation = Some(violation);
        let page = page(&plan, &outcome, &recording, nasty).unwrap();
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("<script>alert") && !page.contains("http://") && !page.contains("https://"));
        let data = block(&page);
        assert_eq!(data["violation"]["message"], nasty);
        assert_eq!(data["events"]["time"].as_array().unwrap().len(), recording.events.len());
        let first = data["events"]["text"][0].as_u64().unwrap() as usize;
        assert_eq!(data["texts"][first], nasty);
    }

    #[test]
    fn columns_say_what_was_recorded() {
        let plan = generate(2, &Limits { duration_min_ms: 2_000, duration_max_ms: 2_000, faults: true });
        let (outcome, recording) = run_recorded(&plan);
        let data = block(&page(&plan, &outcome, &recording, "cargo sim replay 2").unwrap());
        let column = |name: &str| -> Vec<i64> {
            data["events"][name].as_array().unwrap().iter().map(|value| value.as_i64().unwrap()).collect()
        };
        let (mut time, times, causes) = (0, column("time"), column("cause"));
        for (id, event) in recording.events.iter().enumerate() {
            time += times[id];
            assert_eq!(time as u64, event.time);
            let cause = event.cause.map_or(0, |cause| id as i64 - i64::from(cause));
            assert_eq!(causes[id], cause);
        }
        assert_eq!(data["messages"]["from"].as_array().unwrap().len(), recording.messages.len());
        assert_eq!(data["actors"].as_array().unwrap().len(), recording.actors.len());
    }
}
