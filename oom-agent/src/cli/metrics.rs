//! What `oom-agent run` takes about metrics.

use std::time::Duration;

use clap::Args;
use jiff::{Span, SpanRelativeTo};

use crate::metrics::Options;

#[derive(Debug, Args)]
#[command(next_help_heading = "Metrics")]
pub(super) struct MetricsArgs {
    /// How long the metrics of a container are kept after its last kill ("24h", "7d").
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = keep)]
    metrics_keep: Duration,
    /// Of how many containers there may be metrics; the kills of all others are one series.
    #[arg(long, value_name = "SERIES", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    metrics_series: u32,
}

impl From<MetricsArgs> for Options {
    fn from(args: MetricsArgs) -> Self {
        Self {
            keep: args.metrics_keep,
            series: usize::try_from(args.metrics_series).unwrap_or(usize::MAX),
        }
    }
}

fn keep(text: &str) -> Result<Duration, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let time = time.map_err(|error| error.to_string())?;
    let time = Duration::try_from(time).ok().filter(|time| !time.is_zero());
    time.ok_or_else(|| "nothing would be kept".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_its_unit() {
        assert_eq!(keep("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(keep("7d"), Ok(Duration::from_hours(7 * 24)));
        for refused in ["", "24", "-1h", "0s", "1 month"] {
            assert!(keep(refused).is_err(), "{refused}");
        }
    }
}
