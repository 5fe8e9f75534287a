//! Charts as SVG in a page: no script, colours by the names that the page gives them.

use crate::timeline::escape;
use core::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 26.0;
/// The widest bar.
const BAR_MAX: f64 = 36.0;
/// Of the width that a value has, so much is its bar.
const BAR_SHARE: f64 = 0.72;

/// One value of a chart.
pub(super) struct Value {
    /// Below the axis.
    pub(super) label: String,
    /// How much, at least 0.
    pub(super) value: f64,
    /// Shown when it is pointed at.
    pub(super) tip: String,
    /// Something failed.
    pub(super) failed: bool,
}

/// Bars, one a value. `what` says in words what is drawn.
pub(super) fn bars(values: &[Value], what: &str) -> String {
    let frame = Frame::of(values);
    let mut text = frame.begin(what);
    let wide = (frame.step() * BAR_SHARE).min(BAR_MAX);
    for (place, value) in values.iter().enumerate() {
        let (x, y) = (frame.x(place), frame.y(value.value));
        let _ = write!(
            text,
            "<g><title>{}</title><rect class=\"bar\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{:.1}\"/>",
            escape(&value.tip),
            x - wide / 2.0,
            HEIGHT - BOTTOM - y
        );
        if value.failed {
            let _ = write!(text, "<circle class=\"failed\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3.5\"/>", y - 6.0);
        }
        text.push_str("</g>");
    }
    frame.end(text, values)
}

/// A line through all values.
pub(super) fn line(values: &[Value], what: &str) -> String {
    let frame = Frame::of(values);
    let mut text = frame.begin(what);
    let points: Vec<String> = (values.iter().enumerate())
        .map(|(place, value)| format!("{:.1},{:.1}", frame.x(place), frame.y(value.value)))
        .collect();
    let _ = write!(text, "<polyline class=\"line\" points=\"{}\"/>", points.join(" "));
    for (place, value) in values.iter().enumerate() {
        let class = if value.failed { "failed" } else { "point" };
        let _ = write!(
            text,
            "<g><title>{}</title><circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/></g>",
            escape(&value.tip),
            frame.x(place),
            frame.y(value.value)
        );
    }
    frame.end(text, values)
}

/// The axes of a chart.
struct Frame {
    count: usize,
    most: f64,
}

impl Frame {
    fn of(values: &[Value]) -> Self {
        let most = values.iter().map(|value| value.value).fold(0.0, f64::max);
        Self { count: values.len(), most: round_up(most) }
    }

    /// The width of one value.
    fn step(&self) -> f64 {
        (WIDTH - LEFT - RIGHT) / self.count.max(1) as f64
    }

    fn x(&self, place: usize) -> f64 {
        LEFT + self.step() * (place as f64 + 0.5)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value / self.most).clamp(0.0, 1.0)
    }

    fn begin(&self, what: &str) -> String {
        let mut text =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escape(what));
        for part in [0.0, 0.5, 1.0] {
            let (value, right) = (self.most * part, WIDTH - RIGHT);
            let y = self.y(value);
            let _ = write!(
                text,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                brief(value)
            );
        }
        text
    }

    /// The labels of the first value, the middle one and the last one.
    fn end(&self, mut text: String, values: &[Value]) -> String {
        let last = values.len().saturating_sub(1);
        let mut places = vec![0, last / 2, last];
        places.dedup();
        // Two that are neighbours would lie on each other.
        if last < 2 {
            places.truncate(last + 1);
        }
        for place in places {
            let Some(value) = values.get(place) else { continue };
            let _ = write!(
                text,
                "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                self.x(place).clamp(LEFT + 20.0, WIDTH - RIGHT - 30.0),
                HEIGHT - 8.0,
                escape(&value.label)
            );
        }
        text + "</svg>"
    }
}

/// The next number of the row 1, 2, 5, 10, 20, 50 and so on.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let unit = 10f64.powf(value.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| unit * times >= value);
    unit * times.unwrap_or(10.0)
}

/// A number in a few letters.
pub(super) fn brief(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e9 => (value / 1e9, "G"),
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e4 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let text = if value.fract().abs() < 0.05 || value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    };
    text + unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(value: f64, failed: bool) -> Value {
        Value { label: "<day>".to_owned(), value, tip: "a & b".to_owned(), failed }
    }

    #[test]
    fn scales_end_at_round_numbers() {
        for (value, most) in [(0.0, 1.0), (1.0, 1.0), (1.1, 2.0), (34.0, 50.0), (51.0, 100.0), (0.03, 0.05)] {
            assert!((round_up(value) - most).abs() < 1e-9, "{value}: {}", round_up(value));
        }
        let told = [0.0, 2.5, 950.0, 20_000.0, 1.5e6, 3e9].map(brief);
        assert_eq!(told, ["0", "2.5", "950", "20k", "1.5M", "3G"]);
    }

    #[test]
    fn each_value_is_drawn_and_texts_cannot_break_out() {
        for count in [0, 1, 2, 3, 90] {
            let values: Vec<Value> = (0..count).map(|place| value(place as f64, place % 2 == 1)).collect();
            for text in [bars(&values, "\"seeds\""), line(&values, "\"seeds\"")] {
                assert_eq!(text.matches("<title>a &amp; b</title>").count(), count);
                assert_eq!(text.matches("&lt;day&gt;").count(), count.min(3));
                assert!(text.contains("aria-label=\"&quot;seeds&quot;\"") && !text.contains("NaN"), "{text}");
                assert_eq!(text.matches("class=\"failed\"").count(), count / 2);
            }
        }
    }
}
