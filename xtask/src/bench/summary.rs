//! Many durations as three: median, 99th percentile, worst.
//!
//! Reads nanoseconds; emits a [`Summary`]. Refuses to invent: of no value there is none.

use serde::Serialize;

/// Percentiles by nearest rank; null where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    /// How many values.
    pub count: usize,
    /// Median.
    pub p50_ns: Option<u64>,
    /// 99th percentile.
    pub p99_ns: Option<u64>,
    /// Largest.
    pub max_ns: Option<u64>,
}

impl Summary {
    pub(super) fn of(values: impl IntoIterator<Item = u64>) -> Self {
        let mut values = Vec::from_iter(values);
        values.sort_unstable();
        let rank = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100);
            values.get(rank.checked_sub(1)?).copied()
        };
        Self {
            count: values.len(),
            p50_ns: rank(50),
            p99_ns: rank(99),
            max_ns: rank(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let summary = Summary::of((1..=200).rev());
        assert_eq!(
            summary,
            Summary {
                count: 200,
                p50_ns: Some(100),
                p99_ns: Some(198),
                max_ns: Some(200)
            }
        );
        assert_eq!(
            Summary::of([7]),
            Summary {
                count: 1,
                p50_ns: Some(7),
                p99_ns: Some(7),
                max_ns: Some(7)
            }
        );
        assert_eq!(Summary::of([]), Summary::default());
    }
}
