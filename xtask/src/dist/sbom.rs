//! The bill of materials of one binary, in JSON, by <https://cyclonedx.org/docs/1.6/json/>.
//!
//! Takes the linked crates and what is linked besides; emits each as a component with its package URL and licence,
//! a crate with the sum of its archive, others with the name that they have where vulnerabilities are told, and
//! who needs whom. Has no serial number and no other date than the source's: the same source
//! makes the same bytes.

use anyhow::Result;
use serde_json::{Value, json};

use super::{besides::Besides, crates::Crate};

/// What it is of.
pub(super) struct Subject<'a> {
    pub(super) version: &'a str,
    pub(super) target: &'a str,
    /// Sum of the binary.
    pub(super) sha256: &'a str,
    /// RFC 3339, UTC.
    pub(super) time: &'a str,
}

/// The document.
pub(super) fn document(
    subject: &Subject<'_>,
    crates: &[Crate],
    besides: &[Besides],
) -> Result<Vec<u8>> {
    let is_root = |of: &Crate| of.name == "oom-agent";
    let components: Vec<Value> = crates
        .iter()
        .filter(|of| !is_root(of))
        .map(component)
        .chain(besides.iter().map(component_besides))
        .collect();
    let dependencies: Vec<Value> = crates
        .iter()
        .map(|of| {
            let needs = of.needs.iter().filter_map(|&at| crates.get(at)).map(purl);
            // Their program is in the agent's, though it is no dependency of it for cargo.
            let ebpf = crates
                .iter()
                .filter(|it| is_root(of) && it.name == "oom-ebpf");
            let others = besides.iter().filter(|it| it.of == of.name);
            let all = needs.chain(ebpf.map(purl)).chain(others.map(purl_besides));
            json!({ "ref": purl(of), "dependsOn": all.collect::<Vec<_>>() })
        })
        .collect();
    let root = crates.iter().find(|of| is_root(of)).map(|of| {
        let mut root = component(of);
        root["type"] = json!("application");
        root["hashes"] = json!([{ "alg": "SHA-256", "content": subject.sha256 }]);
        root
    });
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": subject.time,
            "tools": { "components": [
                { "type": "application", "name": "cargo xtask dist", "version": subject.version }
            ] },
            "component": root,
            "properties": [
                { "name": "cargo:target", "value": subject.target },
            ],
        },
        "components": components,
        "dependencies": dependencies,
    });
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn component(of: &Crate) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(of),
        "name": of.name,
        "version": of.version,
        "purl": purl(of),
        "scope": "required",
    });
    if let Some(text) = &of.description {
        component["description"] = json!(text.trim());
    }
    if let Some(licence) = &of.licence {
        // The old form of cargo for a choice.
        let expression = licence.replace('/', " OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    }
    if let Some(sum) = &of.sha256 {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    if let Some(url) = &of.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": url }]);
    }
    component
}

fn component_besides(of: &Besides) -> Value {
    json!({
        "type": "library",
        "bom-ref": purl_besides(of),
        "name": of.name,
        "version": of.version,
        "purl": purl_besides(of),
        "cpe": format!("cpe:2.3:a:{}:{}:*:*:*:*:*:*:*", of.known_as, of.version),
        "scope": "required",
        "licenses": [{ "expression": of.licence }],
        "externalReferences": [{ "type": "vcs", "url": of.repository }],
    })
}

fn purl_besides(of: &Besides) -> String {
    format!("pkg:generic/{}@{}", of.name, of.version)
}

/// `pkg:cargo/NAME@VERSION`; build metadata has a `+`, which a URL writes as %2B.
fn purl(of: &Crate) -> String {
    format!("pkg:cargo/{}@{}", of.name, of.version.replace('+', "%2B"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn crates_are_components_and_their_needs_are_told() {
        let of = |name: &str, version: &str, needs| Crate {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: Some("MIT/Apache-2.0".to_owned()),
            repository: None,
            description: None,
            dir: PathBuf::new(),
            sha256: (name != "oom-agent").then(|| "aa".to_owned()),
            needs,
        };
        let subject = Subject {
            version: "1",
            target: "t",
            sha256: "bb",
            time: "1970-01-01T00:00:00Z",
        };
        let crates = [of("oom-agent", "1", vec![1]), of("x", "2+c", vec![])];
        let besides = [Besides {
            name: "c",
            version: "1.2".to_owned(),
            licence: "MIT",
            known_as: "them:c",
            repository: "https://c.example/",
            of: "x",
        }];
        let document = document(&subject, &crates, &besides).unwrap();
        let document: Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(
            document["metadata"]["component"]["hashes"][0]["content"],
            "bb"
        );
        let x = &document["components"][0];
        assert_eq!(x["purl"], "pkg:cargo/x@2%2Bc");
        assert_eq!(x["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(document["dependencies"][0]["dependsOn"][0], x["bom-ref"]);
        let c = &document["components"][1];
        assert_eq!(c["cpe"], "cpe:2.3:a:them:c:1.2:*:*:*:*:*:*:*");
        assert_eq!(document["dependencies"][1]["dependsOn"][0], c["bom-ref"]);
    }
}
