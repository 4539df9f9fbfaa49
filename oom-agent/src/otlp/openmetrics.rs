//! Families of metrics out of the text that `/metrics` serves.
//!
//! Reads `OpenMetrics` 1.0 as the agent itself writes it; emits families with their samples. Refuses no line:
//! what it does not understand is counted, and left out.

/// A family of metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Family<'a> {
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    /// `counter`, `gauge`, `histogram`, `info`, `unknown`.
    pub(super) kind: &'a str,
    pub(super) unit: &'a str,
    pub(super) samples: Vec<Sample<'a>>,
}

/// A sample of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    /// Behind the name of the family: `_total`, `_bucket`, …
    pub(super) suffix: &'a str,
    pub(super) labels: Vec<(&'a str, String)>,
    /// As it was written.
    pub(super) value: &'a str,
}

/// All families, and the number of lines that are not understood.
pub(super) fn parse(text: &str) -> (Vec<Family<'_>>, u64) {
    let mut families: Vec<Family<'_>> = Vec::new();
    let mut unknown = 0;
    for line in text.lines().filter(|line| *line != "# EOF") {
        let understood = match line.strip_prefix("# ") {
            Some(comment) => describe(comment, &mut families),
            None => sample(line, &mut families),
        };
        unknown += u64::from(understood.is_none());
    }
    (families, unknown)
}

fn describe<'a>(comment: &'a str, families: &mut Vec<Family<'a>>) -> Option<()> {
    let (word, rest) = comment.split_once(' ')?;
    let (name, rest) = rest.split_once(' ')?;
    if families.last().is_none_or(|family| family.name != name) {
        families.push(Family {
            name,
            ..Family::default()
        });
    }
    let family = families.last_mut()?;
    match word {
        "HELP" => family.help = rest,
        "TYPE" => family.kind = rest,
        "UNIT" => family.unit = rest,
        _ => return None,
    }
    Some(())
}

fn sample<'a>(line: &'a str, families: &mut [Family<'a>]) -> Option<()> {
    let family = families.last_mut()?;
    let rest = line.strip_prefix(family.name)?;
    let end = rest.find(['{', ' '])?;
    let (suffix, rest) = rest.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // Behind it may be a timestamp, or an exemplar.
    let value = rest.split_ascii_whitespace().next()?;
    family.samples.push(Sample {
        suffix,
        labels,
        value,
    });
    Some(())
}

type Labels<'a> = Vec<(&'a str, String)>;

/// `name="value",…}` and what is behind it.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, value) = rest.split_once("=\"")?;
        let mut text = String::new();
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => text.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => text.push(other),
            }
        };
        labels.push((name.trim_start_matches(','), text));
        rest = &value[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
# HELP oom_kills Processes that the kernel killed.
# TYPE oom_kills counter
oom_kills_total{owner=\"pod\",scope=\"memcg\"} 3
oom_kills_total{owner=\"a\\\\b \\\"c\\\"\\n,}\",scope=\"\"} 0
# HELP oom_detection_latency_seconds Time.
# TYPE oom_detection_latency_seconds histogram
# UNIT oom_detection_latency_seconds seconds
oom_detection_latency_seconds_sum 0.25
oom_detection_latency_seconds_bucket{le=\"+Inf\"} 2
# HELP oom_subscribers Clients.
# TYPE oom_subscribers gauge
oom_subscribers 1
# EOF
";

    #[test]
    fn families_with_their_samples() {
        let (families, unknown) = parse(TEXT);
        assert_eq!((families.len(), unknown), (3, 0));
        let kills = &families[0];
        assert_eq!((kills.kind, kills.samples[0].suffix), ("counter", "_total"));
        assert_eq!(kills.samples[0].labels[1], ("scope", "memcg".to_owned()));
        let escaped = ("owner", "a\\b \"c\"\n,}".to_owned());
        assert_eq!(kills.samples[1].labels[0], escaped);
        assert_eq!(families[1].unit, "seconds");
        assert_eq!(families[2].samples[0].value, "1");
        assert_eq!(parse("nonsense\n# X y\n").1, 2);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "(# (TYPE|HELP) a [a-z]{1,3}\n)?(a[_a{\"=,}\\\\ 1\n]{0,40}){0,3}") {
            let _ = parse(&text);
        }
    }
}
