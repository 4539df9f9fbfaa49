//! Logs of real kernels (`tests/kmsg/*.kmsg`, the records as `/dev/kmsg` returns them) and what they
//! tell (`*.expected`): the evidence, one piece a line, then the events that the agent makes of it when
//! it has nothing but the log, one field a line. What is absent is left out.
//!
//! The logs of 5.10 and later are recorded but those of `constructed` in their names; the others are
//! written after the formats of their kernels. `UPDATE_EXPECTED=1 cargo test --test kmsg` writes what is
//! told now; the diff is for a person to judge.

mod logs;
#[path = "logs/resume.rs"]
mod resume;

use std::{
    fmt::{self, Write},
    fs,
};

use regex::Regex;
use serde_json::{Map, Value};

/// The same in all of these events.
const SAME: &[&str] = &[
    "boot_id",
    "detection_latency_ns",
    "kind",
    "node",
    "open_for_ns",
    "schema",
    "time",
    "time_source",
];

#[test]
fn every_log_tells_what_is_expected() {
    let absent = Regex::new(r"(?-u)(, )?\b\w+: None\b").unwrap();
    let logs = logs::all().unwrap();
    assert!(!logs.is_empty());
    for (path, records) in logs {
        let evidence = logs::evidence(&records);
        let mut told = String::new();
        for piece in &evidence {
            told += &absent.replace_all(&format!("{piece:?}\n"), "");
        }
        for event in logs::events(Vec::new(), evidence) {
            let mut event = serde_json::to_value(event).unwrap();
            strip(&mut event);
            fields(&mut told, event.as_object_mut().unwrap()).unwrap();
        }
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &told).unwrap();
        }
        assert_eq!(
            told,
            fs::read_to_string(&expected).unwrap(),
            "{}",
            path.display()
        );
    }
}

/// An event, a field a line, and of lists of objects an object a line.
fn fields(out: &mut String, event: &mut Map<String, Value>) -> fmt::Result {
    let kind = event.get("kind").and_then(Value::as_str);
    writeln!(out, "\n{}", kind.unwrap_or_default())?;
    let kills = event.get_mut("kills").and_then(Value::as_array_mut);
    for kill in kills.into_iter().flatten().filter_map(Value::as_object_mut) {
        without_the_same(kill);
    }
    without_the_same(event);
    for (field, value) in event {
        match value {
            Value::Array(items) if items.iter().any(Value::is_object) => {
                writeln!(out, "  {field}:")?;
                for item in items {
                    writeln!(out, "    {item}")?;
                }
            }
            _ => writeln!(out, "  {field}: {value}")?,
        }
    }
    Ok(())
}

fn without_the_same(fields: &mut Map<String, Value>) {
    fields.retain(|field, _| !SAME.contains(&field.as_str()));
}

/// Takes away what is absent.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
