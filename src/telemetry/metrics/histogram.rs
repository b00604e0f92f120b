//! Durations by size.

use prometheus::proto;

/// Upper bounds, in nanoseconds, of whole requests and of the upstream's part: 0.5 ms to 60 s.
pub(super) const DURATIONS: [u64; 17] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    20_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// Upper bounds, in nanoseconds, of our own part: 10 us to 10 ms.
pub(super) const OVERHEADS: [u64; 10] =
    [10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000];

/// Counts of durations between the bounds of a fixed list.
#[derive(Clone, Debug)]
pub(super) struct Histogram<const N: usize> {
    /// Those within each bound and above the one before it.
    within: [u64; N],
    /// All, those above the last bound included.
    count: u64,
    /// Nanoseconds. 64 bits would be full after three weeks of ten thousand requests that wait all the time.
    sum_ns: u128,
}

impl<const N: usize> Histogram<N> {
    /// Nothing counted yet.
    pub(super) const fn new() -> Self {
        Self { within: [0; N], count: 0, sum_ns: 0 }
    }

    /// Counts one duration. A duration equal to a bound is within it.
    pub(super) fn observe(&mut self, bounds: &[u64; N], ns: u64) {
        let bucket = bounds.partition_point(|bound| *bound < ns);
        if let Some(within) = self.within.get_mut(bucket) {
            *within += 1;
        }
        self.count += 1;
        self.sum_ns += u128::from(ns);
    }

    /// Adds what another has counted with the same bounds.
    pub(super) fn absorb(&mut self, other: &Self) {
        for (mine, theirs) in self.within.iter_mut().zip(other.within) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_ns += other.sum_ns;
    }

    /// Whether nothing was counted.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// As the text format has it: seconds, and counts that include all smaller ones.
    pub(super) fn to_proto(&self, bounds: &[u64; N]) -> proto::Histogram {
        let mut so_far = 0;
        let buckets = bounds.iter().zip(self.within).map(|(bound, within)| {
            so_far += within;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(seconds(u128::from(*bound)));
            bucket.set_cumulative_count(so_far);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.count);
        histogram.set_sample_sum(seconds(self.sum_ns));
        histogram
    }
}

/// Nanoseconds in seconds, rounded to what an `f64` can tell apart.
fn seconds(ns: u128) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_equal_to_a_bound_is_within_it() {
        let mut histogram = Histogram::new();
        for ns in [9_999, 10_000, 10_001, u64::MAX] {
            histogram.observe(&OVERHEADS, ns);
        }
        let proto = histogram.to_proto(&OVERHEADS);
        assert_eq!(proto.get_bucket()[0].cumulative_count(), 2);
        assert_eq!(proto.get_bucket()[1].cumulative_count(), 3);
        assert_eq!(proto.get_bucket()[9].cumulative_count(), 3, "the longest is beyond the last bound");
        assert_eq!(proto.get_sample_count(), 4);
    }

    #[test]
    fn bounds_rise_and_are_written_without_rounding_noise() {
        assert!(DURATIONS.is_sorted() && OVERHEADS.is_sorted());
        let texts = |bounds: &[u64]| bounds.iter().map(|ns| seconds(u128::from(*ns)).to_string()).collect::<Vec<_>>();
        assert_eq!(texts(&OVERHEADS)[..3], ["0.00001", "0.000025", "0.00005"]);
        assert_eq!(texts(&DURATIONS)[..2], ["0.0005", "0.001"]);
    }

    #[test]
    fn the_sum_outlives_64_bits() {
        let mut histogram = Histogram::new();
        for _ in 0..4 {
            histogram.observe(&DURATIONS, u64::MAX);
        }
        let expected = 4.0 * u64::MAX as f64 / 1e9;
        assert!((histogram.to_proto(&DURATIONS).get_sample_sum() - expected).abs() < 1.0);
    }

    #[test]
    fn absorbing_adds_bucket_by_bucket() {
        let (mut a, mut b) = (Histogram::new(), Histogram::new());
        a.observe(&OVERHEADS, 5);
        b.observe(&OVERHEADS, 5);
        b.observe(&OVERHEADS, 20_000);
        a.absorb(&b);
        let counts: Vec<_> = a.to_proto(&OVERHEADS).get_bucket().iter().map(proto::Bucket::cumulative_count).collect();
        assert_eq!(counts[..3], [2, 3, 3]);
    }
}
