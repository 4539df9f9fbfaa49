//! Who tells: the agent, and the host that it runs on.
//!
//! Reads the host's name and its `/etc/machine-id` (machine-id(5)), wherever its files are, before confinement; emits a resource by
//! <https://opentelemetry.io/docs/specs/semconv/resource/>. What was given by hand goes before what was found.

use std::path::Path;

use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource};

use super::attributes::Attributes;
use crate::{host::Host, machine::machine_id};

/// The agent.
const NAME: &str = "oom-agent";

/// Of the schema whose names are used.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Of an agent on this node, whose files are below `root`.
pub(super) fn of(host: &Host, root: &Path, given: &[(String, String)]) -> Resource {
    let machine = machine_id(root).unwrap_or_default();
    let found = [
        ("service.name", NAME),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", host.node.as_deref().unwrap_or_default()),
        (
            "k8s.cluster.name",
            host.cluster.as_deref().unwrap_or_default(),
        ),
        ("host.id", &machine),
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

#[cfg(test)]
mod tests {
    use std::fs;

    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn told(resource: &Resource, key: &str) -> Option<String> {
        let found = resource.attributes.iter().find(|it| it.key == key)?;
        match found.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_host_is_the_one_whose_files_are_mounted() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new("boot", "node-1");
        let bare = of(&host, root.path(), &[]);
        assert_eq!(told(&bare, "host.id"), None);
        assert_eq!(told(&bare, "host.name").as_deref(), Some("node-1"));
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/machine-id"), format!("{ID}\n")).unwrap();
        let found = of(&host, root.path(), &[]);
        assert_eq!(told(&found, "host.id").as_deref(), Some(ID));
        let given = [("host.id".to_owned(), "mine".to_owned())];
        let given = of(&host, root.path(), &given);
        assert_eq!(told(&given, "host.id").as_deref(), Some("mine"));
    }
}
