//! Randomness by counting: each draw is a hash of a seed, what it is for, and a counter.

/// Draws that depend only on the seed and on how many were made before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draws {
    seed: u64,
    count: u64,
}

impl Draws {
    /// Draws for one purpose: two purposes of one seed share nothing.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Self {
        Self { seed: mix(seed ^ mix(purpose)), count: 0 }
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        mix(self.seed ^ self.count.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number from `least` to `most`, both included. `least` if they cross.
    pub fn range(&mut self, least: u64, most: u64) -> u64 {
        let span = most.saturating_sub(least);
        // The bias of the remainder is below 2^-32 for spans that fit 32 bits.
        least + if span == u64::MAX { self.any() } else { self.any() % (span + 1) }
    }
}

/// SplitMix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[must_use]
pub const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
