//! The series of containers as metrics.
//!
//! Reads the book; emits its families. Holds its lock only while it copies the counts. Refuses to show any
//! before those of the last start are in it: a counter that begins too low would be taken for one that was
//! reset.

use std::{
    fmt,
    sync::{Arc, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::{
    Kept,
    labels::{Labels, OVERFLOW},
};
use crate::event::Timestamp;

/// Writes what the book holds at a scrape.
#[derive(Debug)]
pub(super) struct Series(pub(super) Kept);

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (mut all, overflow, expired) = {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(book) = &*kept else {
                return Ok(());
            };
            (book.series(), book.overflow(), book.expired())
        };
        let series = all.len() as u64;
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let overflow = overflow.map(|count| (Arc::new(Labels::alone(OVERFLOW)), count));
        all.extend(overflow);

        let mut kills = encoder.encode_descriptor(
            "container_oom_events",
            "Processes that the kernel killed for memory in a container, or in another cgroup; kept when it \
             has gone.",
            None,
            MetricType::Counter,
        )?;
        for (labels, count) in &all {
            ConstCounter::new(count.kills).encode(kills.encode_family(&**labels)?)?;
        }
        let mut last = encoder.encode_descriptor(
            "oom_container_last_kill_timestamp",
            "When the last of them was, in seconds since 1970.",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for (labels, count) in &all {
            if let Some(time) = count.last {
                ConstGauge::new(unix_seconds(time)).encode(last.encode_family(&**labels)?)?;
            }
        }
        let number = encoder.encode_descriptor(
            "oom_container_series",
            "Series of container_oom_events_total, without that of the overflow.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(series).encode(number)?;
        let ended = encoder.encode_descriptor(
            "oom_container_expired_kills",
            "Kills of series of container_oom_events_total that have ended.",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(expired).encode(ended)
    }
}

/// Seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "microseconds of our time fit")]
pub(super) fn unix_seconds(time: Timestamp) -> f64 {
    (time.as_unix_ns() / 1000) as f64 / 1e6
}
