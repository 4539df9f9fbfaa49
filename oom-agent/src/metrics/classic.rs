//! How metrics are written: `OpenMetrics`, or for who does not take that, Prometheus' text format 0.0.4.
//!
//! Reads the `Accept` header and text in `OpenMetrics`; emits the format to write, and that text in the classic
//! format. Pure. Refuses nobody: who accepts neither gets the classic format, as from any exporter.
//!
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>,
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Classic,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// What to write for who sends these words as `Accept`. Prometheus names both, `OpenMetrics` first.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let (mut open, mut classic) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            // RFC 9110, 12.4.2: 1 if it is not said.
            let quality: f32 = quality.map_or(1.0, |q| q.parse().unwrap_or(0.0));
            if kind.eq_ignore_ascii_case(OPEN_METRICS) {
                open = quality.max(open);
            } else if ["text/plain", "text/*"].contains(&kind) {
                classic = quality.max(classic);
            }
        }
        if open > 0.0 && open >= classic {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    /// Its `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The same metrics in the classic format. There a family has the name of its samples, and no unit; an info
/// is a gauge.
#[must_use]
pub(super) fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // It stands before the type, and needs to know it.
    let mut help = None;
    for line in open_metrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            text.extend([line, "\n"]);
            continue;
        };
        let (word, rest) = comment.split_once(' ').unwrap_or_default();
        let (name, rest) = rest.split_once(' ').unwrap_or_default();
        match word {
            "HELP" => help = Some(rest),
            "TYPE" => {
                let (suffix, kind) = match rest {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                if let Some(help) = help.take() {
                    text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
                }
                text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            // The unit, and the mark of the end.
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_names_openmetrics_first_gets_it() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,\
                            application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                            encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;\
                            escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.3,*/*;q=0.2";
        let before_2_5 = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                          encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        for (accept, format) in [
            (prometheus_2, Format::OpenMetrics),
            (prometheus_3, Format::OpenMetrics),
            ("Application/OpenMetrics-Text", Format::OpenMetrics),
            (before_2_5, Format::Classic),
            ("*/*", Format::Classic),
            ("", Format::Classic),
            ("text/html, */*;q=0.8", Format::Classic),
            ("application/json", Format::Classic),
            ("application/openmetrics-text;q=0", Format::Classic),
            ("application/openmetrics-text; q=nonsense", Format::Classic),
            (
                "application/openmetrics-text;q=0.2, text/plain;q=0.9",
                Format::Classic,
            ),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }

    #[test]
    fn the_classic_format_has_what_it_knows() {
        let open = "\
# HELP a Counts # things.
# TYPE a counter
a_total{path=\"# \\n x\"} 1
# HELP b A build.
# TYPE b info
b_info{v=\"1\"} 1
# HELP c_seconds Time.
# TYPE c_seconds histogram
# UNIT c_seconds seconds
c_seconds_sum 1.5
c_seconds_count 1
c_seconds_bucket{le=\"+Inf\"} 1
# HELP d_total May fall.
# TYPE d_total unknown
d_total -1
# EOF
";
        let text = "\
# HELP a_total Counts # things.
# TYPE a_total counter
a_total{path=\"# \\n x\"} 1
# HELP b_info A build.
# TYPE b_info gauge
b_info{v=\"1\"} 1
# HELP c_seconds Time.
# TYPE c_seconds histogram
c_seconds_sum 1.5
c_seconds_count 1
c_seconds_bucket{le=\"+Inf\"} 1
# HELP d_total May fall.
# TYPE d_total untyped
d_total -1
";
        assert_eq!(classic(open), text);
    }
}
