//! An image for container runtimes, made without one: an archive of an OCI layout (image-spec 1.1).
//!
//! Takes a static binary for each architecture; emits a tar archive that `podman load` and `skopeo` take: one
//! index, one manifest, configuration and layer for each of them. In the image are the program, and
//! directories of its own for the store and the socket, nothing else: no shell, no certificates, no user but a
//! number.

use anyhow::Result;
use serde_json::{Value, json};

use super::tree::{Tree, gzip, sha256};

/// Nobody's on any machine, as images without a shell have it.
const USER: u64 = 65_532;

/// Media types.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What the image says of itself.
pub(super) struct Image<'a> {
    pub(super) version: &'a str,
    /// RFC 3339, UTC.
    pub(super) time: &'a str,
    /// Seconds since 1970.
    pub(super) mtime: u64,
}

/// A binary, and the name that Go gives its architecture: `amd64`.
pub(super) struct Platform<'a> {
    pub(super) arch: &'a str,
    pub(super) binary: &'a [u8],
}

impl Image<'_> {
    /// The archive.
    pub(super) fn archive(&self, platforms: &[Platform<'_>]) -> Result<Vec<u8>> {
        let mut layout = Tree::default();
        let mut blobs = Blobs(&mut layout);
        let mut manifests = Vec::new();
        for platform in platforms {
            let layer = self.layer(platform)?;
            let config = self.config(platform, &layer);
            let layer = blobs.put(LAYER, gzip(&layer)?)?;
            let config = blobs.put_json(CONFIG, &config)?;
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": config,
                "layers": [layer],
                "annotations": self.labels(),
            });
            let mut manifest = blobs.put_json(MANIFEST, &manifest)?;
            manifest["platform"] = json!({ "architecture": platform.arch, "os": "linux" });
            manifests.push(manifest);
        }
        let name = format!("oom-agent:{}", self.version);
        let name = json!({ "org.opencontainers.image.ref.name": name });
        let named = match manifests.as_mut_slice() {
            [one] => {
                one["annotations"] = name;
                one.clone()
            }
            // Who takes it looks for his own platform there.
            all => {
                let all = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": all });
                let mut all = blobs.put_json(INDEX, &all)?;
                all["annotations"] = name;
                all
            }
        };
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [named] });
        layout.file("index.json", 0o644, serde_json::to_vec(&index)?)?;
        let version = json!({ "imageLayoutVersion": "1.0.0" });
        layout.file("oci-layout", 0o644, serde_json::to_vec(&version)?)?;
        layout.tar("", self.mtime)
    }

    fn layer(&self, platform: &Platform<'_>) -> Result<Vec<u8>> {
        let mut tree = Tree::default();
        tree.file("oom-agent", 0o755, platform.binary.to_vec())?;
        tree.dir("var/lib/oom-agent", 0o700, USER)?;
        tree.dir("run/oom-agent", 0o755, USER)?;
        // Where the host is mounted.
        tree.dir("host", 0o755, 0)?;
        tree.tar("", self.mtime)
    }

    fn config(&self, platform: &Platform<'_>, layer: &[u8]) -> Value {
        json!({
            "architecture": platform.arch,
            "os": "linux",
            "created": self.time,
            "config": {
                "User": format!("{USER}:{USER}"),
                "Entrypoint": ["/oom-agent"],
                "Cmd": ["run", "--output", "json", "--host-root", "/host"],
                "WorkingDir": "/",
                "Volumes": { "/var/lib/oom-agent": {} },
                "Labels": self.labels(),
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(layer))] },
            "history": [{ "created": self.time, "created_by": "cargo xtask dist" }],
        })
    }

    fn labels(&self) -> Value {
        json!({
            "org.opencontainers.image.title": "oom-agent",
            "org.opencontainers.image.description":
                "Reports every process that the kernel kills for memory",
            "org.opencontainers.image.version": self.version,
            "org.opencontainers.image.created": self.time,
            "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
        })
    }
}

/// Contents by their sums.
struct Blobs<'a>(&'a mut Tree);

impl Blobs<'_> {
    /// Puts it there; what refers to it.
    fn put(&mut self, kind: &str, bytes: Vec<u8>) -> Result<Value> {
        let sum = sha256(&bytes);
        let size = bytes.len();
        self.0.file(&format!("blobs/sha256/{sum}"), 0o644, bytes)?;
        Ok(json!({ "mediaType": kind, "digest": format!("sha256:{sum}"), "size": size }))
    }

    fn put_json(&mut self, kind: &str, value: &Value) -> Result<Value> {
        self.put(kind, serde_json::to_vec(value)?)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use super::*;

    type Files = BTreeMap<String, Vec<u8>>;

    fn files(archive: &[u8]) -> Files {
        let mut archive = tar::Archive::new(archive);
        let files = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        files.collect()
    }

    /// What it refers to, which is there and has its sum and size.
    fn follow(files: &Files, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap();
        let sum = digest.strip_prefix("sha256:").unwrap();
        let bytes = &files[&format!("blobs/sha256/{sum}")];
        assert_eq!(sha256(bytes), sum);
        assert_eq!(descriptor["size"], bytes.len());
        bytes.clone()
    }

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn every_reference_leads_to_what_it_says() {
        let image = Image {
            version: "1",
            time: "2001-09-09T01:46:40Z",
            mtime: 1_000_000_000,
        };
        let platform = |arch, binary| Platform { arch, binary };
        let both = [platform("amd64", b"a".as_slice()), platform("arm64", b"b")];
        for platforms in [&both[..1], &both[..]] {
            let archive = image.archive(platforms).unwrap();
            assert_eq!(archive, image.archive(platforms).unwrap());
            let files = files(&archive);
            let index = json(&files["index.json"]);
            let mut manifests = vec![index["manifests"][0].clone()];
            assert_eq!(
                manifests[0]["annotations"]["org.opencontainers.image.ref.name"],
                "oom-agent:1"
            );
            if platforms.len() > 1 {
                let inner = json(&follow(&files, &manifests[0]));
                manifests = inner["manifests"].as_array().unwrap().clone();
            }
            assert_eq!(manifests.len(), platforms.len());
            for (of, platform) in manifests.iter().zip(platforms) {
                assert_eq!(of["platform"]["architecture"], platform.arch);
                let manifest = json(&follow(&files, of));
                let config = json(&follow(&files, &manifest["config"]));
                assert_eq!(config["config"]["User"], "65532:65532");
                let layer = follow(&files, &manifest["layers"][0]);
                let mut tar = Vec::new();
                flate2::read::GzDecoder::new(layer.as_slice())
                    .read_to_end(&mut tar)
                    .unwrap();
                assert_eq!(
                    config["rootfs"]["diff_ids"][0],
                    format!("sha256:{}", sha256(&tar))
                );
            }
        }
    }
}
