//! A JSON Schema validator for the keywords that the schema of the events uses.
//!
//! Reads a schema and a value; emits the first thing that does not fit. Stricter than the standard:
//! refuses a keyword that it does not know, and a member that the schema does not describe.

use std::{collections::BTreeSet, iter};

use serde_json::{Map, Value};

/// Whether `value` fits the schema `root`; the error says where it does not.
pub(crate) fn validate(root: &Value, value: &Value) -> Result<(), String> {
    Validator { root }.check(root, value)
}

struct Validator<'a> {
    root: &'a Value,
}

impl Validator<'_> {
    fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        self.keywords(schema, value)?;
        let described = self.described(schema)?;
        for name in value.as_object().into_iter().flat_map(Map::keys) {
            let known = described.is_empty() || described.contains(name.as_str());
            ensure(known, || format!("{name} is not described"))?;
        }
        Ok(())
    }

    fn keywords(&self, schema: &Value, value: &Value) -> Result<(), String> {
        for (keyword, rule) in object(schema)? {
            self.keyword(keyword, rule, value)
                .map_err(|error| format!("{keyword}: {error}"))?;
        }
        Ok(())
    }

    fn keyword(&self, keyword: &str, rule: &Value, value: &Value) -> Result<(), String> {
        match keyword {
            "$schema" | "$defs" | "title" | "description" | "default" => Ok(()),
            "$ref" => self.keywords(self.resolve(rule)?, value),
            "const" => ensure(rule == value, || format!("{value} is not {rule}")),
            "type" => {
                let types = rule
                    .as_array()
                    .map_or(std::slice::from_ref(rule), Vec::as_slice);
                let fits = types.iter().any(|name| is_type(name, value));
                ensure(fits, || format!("{value} is not {rule}"))
            }
            "anyOf" | "oneOf" => {
                let schemas = rule.as_array().ok_or("not a list")?;
                let fits = schemas.iter().map(|schema| self.check(schema, value));
                let errors: Vec<_> = fits.filter_map(Result::err).collect();
                let fitting = schemas.len() - errors.len();
                let fits = fitting == 1 || (fitting > 1 && keyword == "anyOf");
                ensure(fits, || format!("fits {fitting}: {}", errors.join("; ")))
            }
            "minimum" => in_range(value, |number| Some(number) >= rule.as_f64()),
            "maximum" => in_range(value, |number| Some(number) <= rule.as_f64()),
            "format" if rule == "date-time" => value
                .as_str()
                .map_or(Ok(()), |text| text.parse::<jiff::Timestamp>().map(drop))
                .map_err(|error| error.to_string()),
            // Widths of integers: minimum and maximum say it where it matters.
            "format" => ensure(value.is_number() || value.is_null(), || rule.to_string()),
            "items" => value
                .as_array()
                .into_iter()
                .flatten()
                .try_for_each(|item| self.check(rule, item)),
            "required" => strings(rule).try_for_each(|name| {
                let missing = value.is_object() && value.get(name).is_none();
                ensure(!missing, || format!("{name} is missing"))
            }),
            "properties" => object(rule)?.iter().try_for_each(|(name, schema)| {
                let member = value.get(name);
                member
                    .map_or(Ok(()), |member| self.check(schema, member))
                    .map_err(|error| format!("{name}: {error}"))
            }),
            _ => Err("a keyword that this validator does not know".to_owned()),
        }
    }

    /// Names of the members that the schema describes, itself or where it refers to.
    fn described<'b>(&'b self, schema: &'b Value) -> Result<BTreeSet<&'b str>, String> {
        let referred = schema.get("$ref").map(|to| self.resolve(to)).transpose()?;
        let both = iter::once(schema).chain(referred);
        let properties = both.filter_map(|schema| schema.get("properties")?.as_object());
        Ok(properties.flat_map(Map::keys).map(String::as_str).collect())
    }

    fn resolve(&self, reference: &Value) -> Result<&Value, String> {
        let pointer = reference.as_str().and_then(|to| to.strip_prefix('#'));
        pointer
            .and_then(|pointer| self.root.pointer(pointer))
            .ok_or_else(|| format!("{reference} leads nowhere"))
    }
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}

fn in_range(value: &Value, fits: impl Fn(f64) -> bool) -> Result<(), String> {
    ensure(value.as_f64().is_none_or(fits), || {
        format!("{value} is out of range")
    })
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| format!("{value} is not an object"))
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn ensure(fits: bool, error: impl Fn() -> String) -> Result<(), String> {
    if fits { Ok(()) } else { Err(error()) }
}
