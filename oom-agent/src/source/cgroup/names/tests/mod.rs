//! Every runtime's files as it writes them, look-alikes, and files that no runtime writes.

mod containerd;
mod crio;
mod docker;
mod exits;
mod hostile;
mod kubelet;
mod paths;
mod podman;
mod runc;
mod users;

use std::{fmt::Write as _, fs, path::Path};

use tempfile::TempDir;

use super::{Counters, Finder};
use crate::{
    event::Runtime,
    evidence::{Lookup, Names, PodNames, Unreadable},
};

const ID: &str = "39291bf5d1dda83a99f53fc177fe8188b8f0646db3adde8bb9f51b73ddc2a05c";
const OTHER: &str = "0e9ab7d1c2f34455667788990011223344556677889900aabbccddeeff001122";
const UID: &str = "6b1f0c2e-7d3a-4f55-9a61-0b7f4c1de911";

/// A host with these files.
struct Host(TempDir);

impl Host {
    fn new(files: &[(&str, &str)]) -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for (path, content) in files {
            host.write(path, content);
        }
        host
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.path().join(fill(path).trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn finder(&self) -> Finder {
        Finder::new(self.root())
    }

    fn lookup(&self, path: &str) -> Lookup {
        self.finder().lookup(&fill(path))
    }
}

/// Puts ids in.
fn fill(text: &str) -> String {
    text.replace("{id}", ID)
        .replace("{other}", OTHER)
        .replace("{uid}", UID)
        .replace("{u_id}", &UID.replace('-', "_"))
}

/// A bundle; `annotations` is JSON.
fn bundle(annotations: &str, cgroups_path: &str) -> String {
    let head = r#""ociVersion":"1.0.2-dev","process":{"user":{"uid":0,"gid":0},"args":["/h"],"cwd":"/",
        "rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}],"noNewPrivileges":true},
        "root":{"path":"rootfs"},"mounts":[{"destination":"/proc","type":"proc","source":"proc"}]"#;
    let linux = format!(
        r#""linux":{{"resources":{{"cpu":{{"shares":1024}}}},"cgroupsPath":"{cgroups_path}",
        "namespaces":[{{"type":"pid"}}],"maskedPaths":["/proc/acpi"]}}"#
    );
    fill(&format!(
        r#"{{{head},"annotations":{annotations},{linux}}}"#
    ))
}

/// The names, in one line: `Runtime id=… name=… image=… pod=namespace/name/uid sandbox`.
fn told(lookup: &Lookup) -> String {
    let names = match lookup {
        Lookup::Found(names) => names,
        other => return format!("{other:?}"),
    };
    let Names {
        container_id,
        runtime,
        container_name,
        image,
        pod,
        sandbox,
    } = names.as_ref();
    let mut told = runtime.map_or("?".to_owned(), |runtime| format!("{runtime:?}"));
    let pod = pod.as_ref().map(
        |PodNames {
             namespace,
             name,
             uid,
         }| {
            let parts = [namespace, name, uid].map(|part| part.as_deref().unwrap_or("-"));
            parts.join("/")
        },
    );
    for (word, said) in [
        ("id", container_id),
        ("name", container_name),
        ("image", image),
        ("pod", &pod),
    ] {
        if let Some(said) = said {
            write!(told, " {word}={said}").unwrap();
        }
    }
    if *sandbox {
        told += " sandbox";
    }
    told
}
