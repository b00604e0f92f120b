//! When a map gives back the memory of what it no longer holds.
//!
//! Removing entries does not make a map smaller: after a flood, or with a tenth of the keys, it would stay as large as it
//! ever was. Whoever sweeps a map asks here, with the most that it held since the last time: a map that fills again and
//! again to the same height keeps its room.

/// How many times what it holds a map may have room for.
const ROOM_MAX: usize = 4;

/// Whether a map with room for `capacity` entries should give some back, if `most` is what it held of late.
#[must_use]
pub const fn is_excessive(capacity: usize, most: usize) -> bool {
    capacity > ROOM_MAX.saturating_mul(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_keeps_the_room_that_it_fills_now_and_then() {
        assert_eq!(
            [(0, 0), (400, 100), (401, 100), (3, 0), (3, 1)].map(|(capacity, most)| is_excessive(capacity, most)),
            [false, false, true, true, false]
        );
        assert!(!is_excessive(usize::MAX, usize::MAX));
    }
}
