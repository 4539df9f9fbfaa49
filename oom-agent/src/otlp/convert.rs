//! Families of metrics as OTLP's.
//!
//! Reads families; emits metrics with cumulative points, in requests of bounded size. Pure. Refuses samples whose
//! value is no number: counted, and left out.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
        metric::Data, number_data_point::Value,
    },
};

use super::{
    attributes::Attributes,
    openmetrics::{Family, Sample},
};

/// Points of one request: with the names of containers, well below the 4 MiB that collectors take.
const POINTS: usize = 2000;

/// Families that are counted from the agent's start on. All other counters go on from before it, or may do so, and
/// when they began is not known.
const SINCE_START: [&str; 10] = [
    "oom_kills",
    "oom_instances",
    "oom_detection_latency_seconds",
    "oom_victim_exit_seconds",
    "oom_stuck_victims",
    "oom_sink_delivered",
    "oom_sink_refused",
    "oom_sink_retries",
    "oom_sink_lost_events",
    "oom_metrics_missed_events",
];

/// Unix time in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The agent's start.
    pub(super) started: u64,
    /// Now.
    pub(super) now: u64,
}

/// The metrics, a list for each request, and the number of samples that are not understood.
pub(super) fn requests(families: &[Family<'_>], times: Times) -> (Vec<Vec<Metric>>, u64) {
    let mut requests = Vec::new();
    let mut request = Vec::new();
    let mut points = 0;
    let mut unknown = 0;
    for family in families {
        let is_new = SINCE_START.contains(&family.name);
        let start = if is_new { times.started } else { 0 };
        let times = Times {
            started: start,
            ..times
        };
        if family.kind == "histogram" {
            points += 1;
            request.push(metric(family, histogram(family, times)));
            continue;
        }
        for part in family.samples.chunks(POINTS) {
            if points + part.len() > POINTS {
                requests.push(std::mem::take(&mut request));
                points = 0;
            }
            points += part.len();
            let numbers: Vec<_> = part.iter().filter_map(|it| number(it, times)).collect();
            unknown += (part.len() - numbers.len()) as u64;
            request.push(metric(family, data(family, numbers)));
        }
    }
    requests.push(request);
    requests.retain(|request| !request.is_empty());
    (requests, unknown)
}

fn metric(family: &Family<'_>, data: Data) -> Metric {
    // By UCUM, as the conventions want it.
    let unit = match family.unit {
        "seconds" => "s",
        "bytes" => "By",
        other => other,
    };
    Metric {
        name: family.name.to_owned(),
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn data(family: &Family<'_>, data_points: Vec<NumberDataPoint>) -> Data {
    if family.kind == "counter" {
        Data::Sum(Sum {
            data_points,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        })
    } else {
        Data::Gauge(Gauge { data_points })
    }
}

fn number(sample: &Sample<'_>, times: Times) -> Option<NumberDataPoint> {
    let int = sample.value.parse().map(Value::AsInt);
    let value = int.or_else(|_| sample.value.parse().map(Value::AsDouble));
    Some(NumberDataPoint {
        attributes: attributes(sample, ""),
        start_time_unix_nano: times.started,
        time_unix_nano: times.now,
        value: Some(value.ok()?),
        ..NumberDataPoint::default()
    })
}

/// But for the label of this name.
fn attributes(sample: &Sample<'_>, but: &str) -> Vec<KeyValue> {
    let mut attributes = Attributes::default();
    for (name, text) in sample.labels.iter().filter(|(name, _)| *name != but) {
        attributes.text(name, text);
    }
    attributes.0
}

/// In the text each bucket has all that are below it, too.
fn histogram(family: &Family<'_>, times: Times) -> Data {
    let mut points: BTreeMap<Vec<&(&str, String)>, HistogramDataPoint> = BTreeMap::new();
    for sample in &family.samples {
        let labels: Vec<_> = sample
            .labels
            .iter()
            .filter(|(name, _)| *name != "le")
            .collect();
        let point = points.entry(labels).or_insert_with(|| HistogramDataPoint {
            attributes: attributes(sample, "le"),
            start_time_unix_nano: times.started,
            time_unix_nano: times.now,
            ..HistogramDataPoint::default()
        });
        match sample.suffix {
            "_sum" => point.sum = sample.value.parse().ok(),
            "_count" => point.count = sample.value.parse().unwrap_or(0),
            "_bucket" => {
                let below: u64 = point.bucket_counts.iter().sum();
                let all: u64 = sample.value.parse().unwrap_or(below);
                point.bucket_counts.push(all.saturating_sub(below));
                let bound = sample.labels.iter().find(|(name, _)| *name == "le");
                let bound = bound.and_then(|(_, bound)| bound.parse().ok());
                point
                    .explicit_bounds
                    .extend(bound.filter(|it: &f64| it.is_finite()));
            }
            _ => {}
        }
    }
    Data::Histogram(Histogram {
        data_points: points.into_values().collect(),
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::openmetrics::parse, *};
    use crate::{
        deliver::SinkStatus,
        event::Timestamp,
        metrics::{self, Format},
        status::{Board, Facts, Summary},
    };

    /// Families that go on from before the agent's start, besides those of losses ([`Summary::losses`]).
    const FROM_BEFORE: [&str; 6] = [
        "container_oom_events",
        "oom_kernel_kills",
        "oom_repeats",
        "oom_store_stored_events",
        "oom_store_removed_events",
        "oom_container_expired_kills",
    ];

    const TIMES: Times = Times { started: 5, now: 7 };

    fn all(text: &str) -> Vec<Metric> {
        let (families, _) = parse(text);
        let (requests, unknown) = requests(&families, TIMES);
        assert_eq!(unknown, 0);
        requests.into_iter().flatten().collect()
    }

    #[test]
    fn counters_are_cumulative_sums_with_their_start() {
        let metrics = all(
            "# HELP oom_kills Kills.\n# TYPE oom_kills counter\noom_kills_total{scope=\"memcg\"} 3\n\
             # TYPE container_oom_events counter\ncontainer_oom_events_total 9\n\
             # TYPE oom_agent_start_time_seconds gauge\n# UNIT oom_agent_start_time_seconds seconds\n\
             oom_agent_start_time_seconds 1.5\n",
        );
        let Some(Data::Sum(sum)) = &metrics[0].data else {
            panic!("{metrics:?}")
        };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
        let point = &sum.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 7));
        assert_eq!(point.value, Some(Value::AsInt(3)));
        assert_eq!(point.attributes[0].key, "scope");
        assert_eq!(
            (metrics[0].name.as_str(), metrics[0].description.as_str()),
            ("oom_kills", "Kills.")
        );
        let Some(Data::Sum(of_before)) = &metrics[1].data else {
            panic!("{metrics:?}")
        };
        assert_eq!(of_before.data_points[0].start_time_unix_nano, 0);
        let Some(Data::Gauge(gauge)) = &metrics[2].data else {
            panic!("{metrics:?}")
        };
        assert_eq!(gauge.data_points[0].value, Some(Value::AsDouble(1.5)));
        assert_eq!(metrics[2].unit, "s");
    }

    /// All that a scrape shows.
    fn everything() -> String {
        let (metrics, _queue) = metrics::start(&metrics::Options::default(), None).unwrap();
        let facts = Facts {
            store: Some("/somewhere".into()),
            ..Facts::default()
        };
        let mut counted = Summary::default();
        counted.tally.kernel_kills = Some(0);
        let detection = Box::new(move || Some(counted));
        let board = Board::new(facts, detection, Box::new(|| 0), Box::new(Vec::new));
        let mut status = board.read();
        status.sinks.push(SinkStatus {
            sink: "otlp".to_owned(),
            up: None,
            since: Timestamp::from_unix_ns(0),
            last_error: None,
            delivered: 0,
            refused: 0,
            lost: 0,
            retries: 0,
            through: 0,
            behind: 0,
        });
        // The thread has begun the book.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let text = metrics.encode(Format::OpenMetrics, &status);
            if text.contains("oom_container_series ") {
                return text;
            }
            assert!(std::time::Instant::now() < end, "{text}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn of_every_counter_it_is_said_since_when() {
        let text = everything();
        let (families, _) = parse(&text);
        let counters = families.iter().filter(|it| it.kind != "gauge");
        let shown: BTreeSet<_> = counters
            .filter(|it| ["counter", "histogram"].contains(&it.kind))
            .map(|it| it.name.to_owned())
            .collect();
        let names = |list: &[&str]| -> BTreeSet<String> {
            list.iter().map(|it| (*it).to_owned()).collect()
        };
        let new = names(&SINCE_START);
        let losses = Summary::default().losses().into_iter();
        let mut old = names(&FROM_BEFORE);
        old.extend(losses.map(|it| match it.name {
            "kmsg_lost" => "oom_kmsg_lost_records".to_owned(),
            name => format!("oom_{name}"),
        }));
        let both: Vec<_> = new.intersection(&old).collect();
        assert!(both.is_empty(), "{both:?}");
        assert_eq!(shown, &new | &old);
    }

    #[test]
    fn buckets_are_told_one_by_one() {
        let metrics = all("# TYPE oom_detection_latency_seconds histogram\n\
             oom_detection_latency_seconds_sum 0.5\noom_detection_latency_seconds_count 4\n\
             oom_detection_latency_seconds_bucket{le=\"0.1\"} 1\n\
             oom_detection_latency_seconds_bucket{le=\"0.2\"} 3\n\
             oom_detection_latency_seconds_bucket{le=\"+Inf\"} 4\n");
        let Some(Data::Histogram(histogram)) = &metrics[0].data else {
            panic!("{metrics:?}")
        };
        let point = &histogram.data_points[0];
        assert_eq!(point.bucket_counts, [1, 2, 1]);
        assert_eq!(point.explicit_bounds, [0.1, 0.2]);
        assert_eq!((point.count, point.sum), (4, Some(0.5)));
    }

    #[test]
    fn many_series_are_several_requests() {
        use std::fmt::Write as _;

        let mut text = "# TYPE container_oom_events counter\n".to_owned();
        for n in 0..5000 {
            writeln!(
                text,
                "container_oom_events_total{{container=\"c-{n}\"}} {n}"
            )
            .unwrap();
        }
        let (families, _) = parse(&text);
        let (requests, _) = requests(&families, TIMES);
        assert_eq!(requests.len(), 3);
    }
}
