//! The contract of the API: the committed `OpenAPI` document is that of the routes.
//!
//! `UPDATE_EXPECTED=1 cargo test -p oom-agent --test openapi` writes it anew.

use std::{fs, path::Path};

use serde_json::Value;

#[test]
fn the_committed_document_is_that_of_the_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/openapi.json");
    let document = serde_json::to_string_pretty(&oom_agent::api::document()).unwrap() + "\n";
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, &document).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(committed == document, "{} is out of date", path.display());
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(root: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(to)) = members.get("$ref") {
                    assert!(root.pointer(&to[1..]).is_some(), "{to}");
                }
                members.values().for_each(|value| walk(root, value));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(root, value)),
            _ => {}
        }
    }
    let document = oom_agent::api::document();
    walk(&document, &document);
    assert!(
        document["paths"]["/v1/events"]["get"]["parameters"]
            .as_array()
            .unwrap()
            .len()
            > 10
    );
}
