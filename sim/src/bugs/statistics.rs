//! What follows from so many hits in so many tries.

/// Standard deviations of a two-sided interval of 95 %.
pub const Z95: f64 = 1.959_964;
/// Of 99.9 %: for comparisons of which many are made at once.
pub const Z999: f64 = 3.290_527;

/// Wilson's interval of a share ("Probable inference, the law of succession, and statistical inference", 1927).
#[must_use]
pub fn wilson(hits: u64, tries: u64, z: f64) -> (f64, f64) {
    if tries == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (tries as f64, hits as f64 / tries as f64);
    let middle = p + z * z / (2.0 * n);
    let spread = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (((middle - spread) / scale).max(0.0), ((middle + spread) / scale).min(1.0))
}

/// How many tries it takes to hit with this probability, when each hits with the chance `share` (geometric distribution).
#[must_use]
pub fn tries_until(share: f64, probability: f64) -> f64 {
    if share <= 0.0 {
        f64::INFINITY
    } else if share >= 1.0 {
        1.0
    } else {
        ((1.0 - probability).ln() / (1.0 - share).ln()).max(1.0)
    }
}

/// Hits and tries of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How often it happened.
    pub hits: u64,
    /// How often it could have.
    pub tries: u64,
}

impl Share {
    /// The share itself; 0 of nothing.
    #[must_use]
    pub fn value(self) -> f64 {
        if self.tries == 0 { 0.0 } else { self.hits as f64 / self.tries as f64 }
    }

    /// One more try.
    pub const fn add(&mut self, hit: bool) {
        self.tries += 1;
        self.hits += hit as u64;
    }
}

/// The interval of the difference of two shares (Newcombe, "Interval estimation for the difference between independent
/// proportions", 1998, method 10).
#[must_use]
pub fn difference(one: Share, other: Share, z: f64) -> (f64, f64) {
    let (p, q) = (one.value(), other.value());
    let ((p_low, p_high), (q_low, q_high)) =
        (wilson(one.hits, one.tries, z), wilson(other.hits, other.tries, z));
    let low = p - q - ((p - p_low).powi(2) + (q_high - q).powi(2)).sqrt();
    let high = p - q + ((p_high - p).powi(2) + (q - q_low).powi(2)).sqrt();
    (low, high)
}

/// The value below which this part of the values lies; `None` of nothing.
#[must_use]
pub fn quantile(values: &mut [f64], part: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * part).ceil() as usize;
    values.get(place.saturating_sub(1).min(values.len().saturating_sub(1))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 5e-4
    }

    #[test]
    fn wilson_gives_the_published_intervals() {
        let (low, high) = wilson(81, 263, Z95);
        assert!(near(low, 0.2553) && near(high, 0.3662), "{low} {high}");
        let (low, high) = wilson(0, 20, Z95);
        assert!(near(low, 0.0) && near(high, 0.1611), "{low} {high}");
        assert_eq!(wilson(0, 0, Z95), (0.0, 1.0));
    }

    #[test]
    fn newcombe_gives_the_published_interval() {
        let (one, other) = (Share { hits: 56, tries: 70 }, Share { hits: 48, tries: 80 });
        let (low, high) = difference(one, other, Z95);
        assert!(near(low, 0.0524) && near(high, 0.3339), "{low} {high}");
    }

    #[test]
    fn tries_follow_the_geometric_distribution() {
        assert!(near(tries_until(0.5, 0.5), 1.0));
        assert!(near(tries_until(0.01, 0.95), 298.0729));
        assert_eq!(tries_until(1.0, 0.95), 1.0);
        assert!(tries_until(0.0, 0.5).is_infinite());
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!((quantile(&mut values, 0.5), quantile(&mut values, 0.95)), (Some(2.0), Some(4.0)));
        assert_eq!(quantile(&mut [], 0.5), None);
    }
}
