//! What can be said of a share that was counted on a number of seeds.

/// Of a normal distribution, 95 % lie within so many deviations.
const DEVIATIONS: f64 = 1.959_963_985;

/// The interval in which a share lies with 95 % confidence, when `hits` of `trials` were counted (Wilson's score interval,
/// which also holds for shares near 0 and 1). From 0 to 1 without a trial.
#[must_use]
pub fn wilson(hits: u64, trials: u64) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let count = trials as f64;
    let share = hits.min(trials) as f64 / count;
    let square = DEVIATIONS * DEVIATIONS;
    let middle = share + square / (2.0 * count);
    let spread = DEVIATIONS * (share * (1.0 - share) / count + square / (4.0 * count * count)).sqrt();
    let whole = 1.0 + square / count;
    let (low, high) = ((middle - spread) / whole, (middle + spread) / whole);
    // At the ends the formula gives 0 and 1 but for rounding.
    (if hits == 0 { 0.0 } else { low.max(0.0) }, if hits >= trials { 1.0 } else { high.min(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: (f64, f64), low: f64, high: f64) {
        assert!(
            (found.0 - low).abs() < 5e-4 && (found.1 - high).abs() < 5e-4,
            "{found:?}, not {low} to {high}"
        );
    }

    #[test]
    fn intervals_are_those_of_published_tables() {
        near(wilson(0, 10), 0.0, 0.2775);
        near(wilson(10, 10), 0.7225, 1.0);
        near(wilson(5, 10), 0.2366, 0.7634);
        near(wilson(81, 263), 0.2553, 0.3662);
        near(wilson(0, 0), 0.0, 1.0);
    }

    #[test]
    fn more_trials_say_more_and_the_share_is_within() {
        let mut before = 1.0;
        for trials in [10, 100, 1_000, 100_000] {
            let (low, high) = wilson(trials / 5, trials);
            assert!(low < 0.2 && 0.2 < high && high - low < before);
            before = high - low;
        }
    }
}
