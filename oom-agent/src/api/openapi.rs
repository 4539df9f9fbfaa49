//! The `OpenAPI` document (3.1) of the routes: `/v1/openapi.json`.
//!
//! Reads the table of routes and the types that they take and give; emits JSON. Refuses nothing: what a
//! route does not say of itself is not in the document.

use std::sync::LazyLock;

use axum::routing::get;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    Problem, Shared,
    events::json as answer,
    route::{Answer, Form, Route},
};

/// Made when it is first asked for.
static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

pub(super) fn routes() -> Vec<Route<Shared>> {
    let handler = || async { answer(TEXT.clone()) };
    vec![
        Route::new("/v1/openapi.json", get(handler), "This document.")
            .answers::<Map<String, Value>>(),
    ]
}

/// The document.
#[must_use]
pub fn document() -> Value {
    of("oom-agent", &super::routes())
}

/// The document of these routes.
pub(super) fn of<S>(title: &str, routes: &[Route<S>]) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut schemas = settings.into_generator();
    let problem = schemas.subschema_for::<Problem>();
    let problem = json!({ "application/problem+json": { "schema": problem } });
    let mut paths = Map::new();
    for route in routes {
        let (path, operation) = operation(route, &mut schemas, &problem);
        paths.insert(path, json!({ "get": operation }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas.take_definitions(true),
        },
    })
}

fn operation<S>(
    route: &Route<S>,
    schemas: &mut SchemaGenerator,
    problem: &Value,
) -> (String, Value) {
    let (path, mut parameters) = of_path(route.path);
    for form in &route.parameters {
        parameters.extend(of_query(*form, schemas));
    }
    let (media_type, schema) = match route.answer {
        Answer::Json(form) => ("application/json", form(schemas).to_value()),
        // What is not JSON has no form that a schema could tell.
        Answer::Of(media_type) => (media_type, json!({})),
    };
    let mut content = json!({ media_type: { "schema": schema } });
    if let Some(media_type) = route.or_in {
        content[media_type] = json!({ "schema": {} });
    }
    let mut responses = Map::new();
    responses.insert(
        "200".into(),
        json!({ "description": "The answer.", "content": content }),
    );
    for status in route.failures {
        let description = match status {
            404 => "There is no such thing.",
            429 => "Too many at once: come again later.",
            503 => "Not now: come again later.",
            _ => "The request is not understood; the detail says why.",
        };
        let response = json!({ "description": description, "content": problem });
        responses.insert(status.to_string(), response);
    }
    if let Some(status) = route.also {
        let content = json!({ "text/plain": { "schema": { "type": "string" } } });
        let response =
            json!({ "description": "It is not so; the text says why.", "content": content });
        responses.insert(status.to_string(), response);
    }
    let operation = json!({
        "summary": route.summary,
        "parameters": parameters,
        "responses": responses,
    });
    (path, operation)
}

/// The path as `OpenAPI` has it, which knows no rest of a path, and its parameters.
fn of_path(path: &str) -> (String, Vec<Value>) {
    let path = path.replace("{*", "{");
    let names = path
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next());
    let parameters = names.map(|name| {
        json!({
            "name": name,
            "in": "path",
            "required": true,
            "schema": { "type": "string", "minLength": 1 },
        })
    });
    let parameters = parameters.collect();
    (path, parameters)
}

/// The members of a structure as parameters.
fn of_query(form: Form, schemas: &mut SchemaGenerator) -> Vec<Value> {
    let form = form(schemas).to_value();
    let members = form.get("properties").and_then(Value::as_object);
    let parameters = members.into_iter().flatten().map(|(name, schema)| {
        let mut schema = given(schema.clone());
        let description = schema
            .as_object_mut()
            .and_then(|of| of.remove("description"));
        json!({
            "name": name,
            "in": "query",
            "description": description.unwrap_or_default(),
            "schema": schema,
        })
    });
    parameters.collect()
}

/// A parameter that is given is not null.
fn given(mut schema: Value) -> Value {
    let null = json!("null");
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|of| *of != null);
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(Value::Array(forms)) = schema.get_mut("anyOf") {
        forms.retain(|of| of.get("type") != Some(&null));
        if let [Value::Object(only)] = forms.as_slice() {
            let only = only.clone();
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("anyOf");
                schema.extend(only);
            }
        }
    }
    schema
}
