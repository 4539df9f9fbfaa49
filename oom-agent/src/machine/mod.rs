//! The machine as far as work on OOM kills needs it, in the words of cAdvisor's `MachineInfo` where it has
//! some: who it is, and how much memory, CPUs and NUMA nodes there are.
//!
//! Reads `/proc`, `/sys` and the host's `/etc`; emits a [`Machine`]. Refuses to guess: what a file does not
//! say is null.

mod parse;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use rustix::{param::page_size, system::uname};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{hierarchy::Hierarchy, host::Host};

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Node name, as events have it.
    pub node: Option<String>,
    /// `/etc/machine-id` (machine-id(5)): of this installation.
    pub machine_id: Option<String>,
    /// `/proc/sys/kernel/random/boot_id`: of this boot.
    pub boot_id: Option<String>,
    /// What the firmware calls the machine (SMBIOS, or the device tree).
    pub system_uuid: Option<String>,
    /// Release of the kernel.
    pub kernel: String,
    /// Version of the kernel: when and how it was built.
    pub kernel_version: String,
    /// Name of the operating system with its version (os-release(5)).
    pub os: Option<String>,
    /// Architecture, as `uname -m` says it.
    pub architecture: String,
    /// CPUs that are online.
    pub cpus: Cpus,
    /// RAM that the kernel manages, in bytes.
    pub memory_bytes: Option<u64>,
    /// Swap, in bytes; 0 without.
    pub swap_bytes: Option<u64>,
    /// Size of a page, in bytes.
    pub page_bytes: u64,
    /// NUMA nodes; null where the kernel tells of none.
    pub numa: Option<Vec<NumaNode>>,
    /// Version of the hierarchy that has the memory controller.
    pub cgroup_version: Option<u8>,
}

/// CPUs that are online.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cpus {
    /// What the scheduler counts: hardware threads.
    pub logical: Option<u32>,
    /// Cores.
    pub cores: Option<u32>,
    /// Packages.
    pub sockets: Option<u32>,
}

/// Memory, and the CPUs that are near it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NumaNode {
    /// Its number.
    pub id: u32,
    /// Its memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Its CPUs.
    pub cpus: Option<Vec<u32>>,
}

/// Where to look.
#[derive(Clone, Debug)]
pub struct Places {
    /// procfs.
    pub proc: PathBuf,
    /// sysfs.
    pub sys: PathBuf,
    /// The host's files.
    pub root: PathBuf,
}

impl Places {
    /// Of a machine whose files are below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            proc: "/proc".into(),
            sys: "/sys".into(),
            root: root.to_owned(),
        }
    }
}

impl Machine {
    /// Reads what is there now. May wait for a disk.
    #[must_use]
    pub fn read(host: &Host, places: &Places) -> Self {
        let Places { proc, sys, root } = places;
        let uname = uname();
        let meminfo = text(&proc.join("meminfo"));
        let memory = |name| parse::kibibytes(meminfo.as_deref()?, name);
        Self {
            node: host.node.as_deref().map(str::to_owned),
            machine_id: machine_id(root),
            boot_id: host.boot_id.as_deref().map(str::to_owned),
            system_uuid: first(
                &[
                    sys.join("class/dmi/id/product_uuid"),
                    proc.join("device-tree/vm,uuid"),
                    proc.join("device-tree/system-id"),
                ],
                parse::word,
            ),
            kernel: uname.release().to_string_lossy().into_owned(),
            kernel_version: uname.version().to_string_lossy().into_owned(),
            os: first(
                &[root.join("etc/os-release"), root.join("usr/lib/os-release")],
                parse::os_name,
            ),
            architecture: uname.machine().to_string_lossy().into_owned(),
            cpus: cpus(&sys.join("devices/system/cpu")),
            memory_bytes: memory("MemTotal"),
            swap_bytes: memory("SwapTotal"),
            page_bytes: u64::try_from(page_size()).unwrap_or_default(),
            numa: numa(&sys.join("devices/system/node")),
            cgroup_version: Hierarchy::find().ok().map(|it| it.version.number()),
        }
    }
}

/// `/etc/machine-id` (machine-id(5)) of the host whose files are below `root`.
#[must_use]
pub fn machine_id(root: &Path) -> Option<String> {
    let places = ["etc/machine-id", "var/lib/dbus/machine-id"];
    first(&places.map(|it| root.join(it)), parse::machine_id)
}

fn text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the first of these files says that says something.
fn first(paths: &[PathBuf], parse: impl Fn(&str) -> Option<String>) -> Option<String> {
    paths.iter().find_map(|path| parse(&text(path)?))
}

/// Documentation/admin-guide/cputopology.rst.
fn cpus(dir: &Path) -> Cpus {
    let Some(online) = text(&dir.join("online")).and_then(|list| parse::list(&list)) else {
        return Cpus::default();
    };
    let differing = |name: &str| {
        let of = |cpu| text(&dir.join(format!("cpu{cpu}/topology/{name}")));
        let values: Option<BTreeSet<_>> = online.iter().map(of).collect();
        u32::try_from(values?.len()).ok()
    };
    Cpus {
        logical: u32::try_from(online.len()).ok(),
        // Those that share a core have the same siblings.
        cores: differing("thread_siblings_list"),
        sockets: differing("physical_package_id"),
    }
}

fn numa(dir: &Path) -> Option<Vec<NumaNode>> {
    let online = parse::list(&text(&dir.join("online"))?)?;
    let node = |id| {
        let of = dir.join(format!("node{id}"));
        let meminfo = text(&of.join("meminfo"));
        NumaNode {
            id,
            memory_bytes: meminfo.and_then(|text| parse::kibibytes(&text, "MemTotal")),
            cpus: text(&of.join("cpulist")).and_then(|list| parse::list(&list)),
        }
    };
    Some(online.into_iter().map(node).collect())
}

#[cfg(test)]
mod tests;
