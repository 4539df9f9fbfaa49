//! Who tells: the agent, and the host that it runs on.
//!
//! Reads the host's name and `/etc/machine-id` (machine-id(5)), before confinement; emits a resource by
//! <https://opentelemetry.io/docs/specs/semconv/resource/>. What was given by hand goes before what was found.

use std::{fs, path::Path};

use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource};

use super::attributes::Attributes;
use crate::correlate::Host;

/// The agent.
const NAME: &str = "oom-agent";

/// Of the schema whose names are used.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Of an agent on this node.
pub(super) fn of(host: &Host, given: &[(String, String)]) -> Resource {
    let machine = fs::read_to_string(Path::new("/etc/machine-id")).unwrap_or_default();
    let found = [
        ("service.name", NAME),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", host.node.as_deref().unwrap_or_default()),
        (
            "k8s.cluster.name",
            host.cluster.as_deref().unwrap_or_default(),
        ),
        ("host.id", machine.trim()),
    ];
    let mut attributes = Attributes::default();
    for (key, value) in found {
        if !given.iter().any(|(name, _)| name == key) {
            attributes.text(key, value);
        }
    }
    for (key, value) in given {
        attributes.text(key, value);
    }
    Resource {
        attributes: attributes.0,
        ..Resource::default()
    }
}

/// What makes the records and metrics.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}
