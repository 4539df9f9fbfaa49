//! Attributes: names and values.
//!
//! Reads JSON; emits OTLP's. Refuses null, and what is empty: what is not known has no attribute.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use serde_json::Value;

/// A list of attributes that is being made.
#[derive(Debug, Default)]
pub(super) struct Attributes(pub(super) Vec<KeyValue>);

impl Attributes {
    /// A scalar of JSON; anything else is none.
    pub(super) fn json(&mut self, key: &str, value: Option<&Value>) {
        let value = match value {
            Some(Value::Bool(value)) => any_value::Value::BoolValue(*value),
            Some(Value::String(text)) if !text.is_empty() => {
                any_value::Value::StringValue(text.clone())
            }
            Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => any_value::Value::IntValue(int),
                (None, Some(float)) => any_value::Value::DoubleValue(float),
                (None, None) => return,
            },
            _ => return,
        };
        self.put(key, value);
    }

    /// A text.
    pub(super) fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.put(key, any_value::Value::StringValue(text.to_owned()));
        }
    }

    /// A list of one text; of none there is no list.
    pub(super) fn list(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            let value = AnyValue {
                value: Some(any_value::Value::StringValue(text.to_owned())),
            };
            let values = vec![value];
            self.put(key, any_value::Value::ArrayValue(ArrayValue { values }));
        }
    }

    fn put(&mut self, key: &str, value: any_value::Value) {
        self.0.push(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
    }
}
