//! How the agent is, as metrics: its sources, its audit, all that it can lose, its store and its sinks.
//!
//! Reads a [`Status`]; emits metrics. Refuses to show the counts of a detection that does not answer: they are
//! absent then, and `oom_agent_detecting` is 0.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
};

use crate::{
    deliver::SinkStatus,
    status::{Status, Summary},
};

/// What was known of the agent at one moment.
#[derive(Debug)]
pub(super) struct Figures {
    status: Status,
    /// Events that the metrics themselves have missed.
    missed: u64,
}

/// Writes families one by one.
struct Page<'a>(DescriptorEncoder<'a>);

impl Figures {
    pub(super) fn new(status: &Status, missed: u64) -> Self {
        Self {
            status: status.clone(),
            missed,
        }
    }

    /// What only a detection that answers can tell.
    fn counted(&self, page: &mut Page<'_>) -> fmt::Result {
        let Status {
            sources,
            audit,
            losses,
            store,
            ..
        } = &self.status;
        let up = sources
            .iter()
            .filter(|source| source.wanted)
            .map(|source| ([("source", source.name.as_str())], i64::from(source.up)));
        let help = "Whether a source delivers; absent where it was not asked for, or the kernel does not have it.";
        page.gauges("oom_source_up", help, up)?;
        // Neither a counter nor what Prometheus calls a gauge's name.
        if let Some(unexplained) = audit.unexplained {
            let help = "Kills that the kernel has counted since the agent's first start of this boot, less \
                        those that were told: 0 if all is well. It may fall, when a late source tells of them, \
                        and below 0. Right after kills it may be ahead for a moment.";
            let encoder = page.0.encode_descriptor(
                "oom_unexplained_kills_total",
                help,
                None,
                MetricType::Unknown,
            )?;
            ConstGauge::new(unexplained).encode(encoder)?;
        }
        if let Some(kernel) = audit.kernel {
            let help =
                "Kills that the kernel has counted since the agent's first start of this boot.";
            page.counter("oom_kernel_kills", help, kernel)?;
        }
        let help = "Victims that the kernel killed, and counted, once more.";
        page.counter("oom_repeats", help, audit.repeats)?;
        for loss in Summary::default().losses() {
            if let Some(&count) = losses.get(loss.name) {
                let family = format!("oom_{}", renamed(loss.name));
                page.counter(&family, &format!("{}.", loss.help), count)?;
            }
        }
        if let Some(store) = store {
            let help = "Events that were stored.";
            page.counter("oom_store_stored_events", help, store.stored)?;
            let help = "Events that retention has removed from the store.";
            page.counter("oom_store_removed_events", help, store.removed)?;
            let help = "Events that wait for a disk that refuses.";
            page.gauge("oom_store_waiting_events", help, store.waiting)?;
        }
        Ok(())
    }

    fn sinks(&self, page: &mut Page<'_>) -> fmt::Result {
        let sinks = &self.status.sinks;
        let of = |count: fn(&SinkStatus) -> u64| {
            let labelled = move |sink| (labels(sink), count(sink));
            sinks.iter().map(labelled)
        };
        let up = sinks
            .iter()
            .filter_map(|sink| Some((labels(sink), i64::from(sink.up?))));
        let help = "Whether a sink took what it was told last; absent as long as there was nothing to tell.";
        page.gauges("oom_sink_up", help, up)?;
        let help = "Events, of any kind, that were stored behind what a sink has been told.";
        page.gauges("oom_sink_behind_events", help, of(|sink| sink.behind))?;
        let help = "What was delivered, in a sink's own units.";
        page.counters("oom_sink_delivered", help, of(|sink| sink.delivered))?;
        let help = "What a sink will never take, in its own units; passed over.";
        page.counters("oom_sink_refused", help, of(|sink| sink.refused))?;
        let help = "Deliveries that failed, and were tried again.";
        page.counters("oom_sink_retries", help, of(|sink| sink.retries))?;
        let help = "Events that retention removed before they were delivered, at the most.";
        page.counters("oom_sink_lost_events", help, of(|sink| sink.lost))
    }
}

/// Records, where the metric has to say so.
fn renamed(loss: &str) -> &str {
    match loss {
        "kmsg_lost" => "kmsg_lost_records",
        other => other,
    }
}

fn labels(sink: &SinkStatus) -> [(&'static str, &str); 1] {
    [("sink", sink.sink.as_str())]
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.status;
        let mut page = Page(encoder);
        let tier = Info::new([("tier", status.tier.clone())]);
        let help = "How much of a kill can be seen.";
        let encoder = page
            .0
            .encode_descriptor("oom_agent_tier", help, None, MetricType::Info)?;
        tier.encode(encoder)?;
        let help = "Whether detection answers. If not, what it counts is absent.";
        page.gauge("oom_agent_detecting", help, u64::from(status.detecting))?;
        if status.detecting {
            self.counted(&mut page)?;
        }
        self.sinks(&mut page)?;
        let help = "Clients that watch live.";
        page.gauge("oom_subscribers", help, status.subscribers)?;
        let help = "Events that the metrics had no room for: oom_kills_total and the like are short of them.";
        page.counter("oom_metrics_missed_events", help, self.missed)
    }
}

type Labelled<'a, N> = ([(&'static str, &'a str); 1], N);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(count).encode(encoder)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        counts: impl Iterator<Item = Labelled<'l, u64>>,
    ) -> fmt::Result {
        let counts = counts.map(|(labels, count)| (labels, ConstCounter::new(count)));
        self.family(name, help, MetricType::Counter, counts)
    }

    fn gauges<'l, N>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = Labelled<'l, N>>,
    ) -> fmt::Result
    where
        ConstGauge<N>: EncodeMetric,
    {
        let values = values.map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family(name, help, MetricType::Gauge, values)
    }

    /// Nothing at all where there is nothing to tell.
    fn family<'l, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        metrics: impl Iterator<Item = Labelled<'l, M>>,
    ) -> fmt::Result {
        let mut metrics = metrics.peekable();
        if metrics.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, metric) in metrics {
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
