//! Which node and which boot this is: where events are from.
//!
//! Reads the boot id, and the names that it is given; emits [`Host`]. Refuses to make up a cluster.

use std::{fs, io, sync::Arc};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Where and in which boot this is.
#[derive(Clone, Debug)]
pub struct Host {
    /// `/proc/sys/kernel/random/boot_id`; unknown to a log.
    pub boot_id: Option<Arc<str>>,
    /// What makes ids unique among boots: the same without dashes, or what stands for it.
    pub boot: Arc<str>,
    /// Node name.
    pub node: Option<Arc<str>>,
    /// Name of its cluster; `None`: nobody has told.
    pub cluster: Option<Arc<str>>,
}

impl Host {
    /// From the kernel's boot id and the node's name.
    #[must_use]
    pub fn new(boot_id: &str, node: &str) -> Self {
        Self {
            boot_id: Some(boot_id.into()),
            boot: boot_id.replace('-', "").into(),
            node: Some(node.into()),
            cluster: None,
        }
    }
}

/// Reads the boot id; the node is `name`, else the host's name. Of the cluster nothing on the host tells.
pub fn read(name: Option<&str>, cluster: Option<&str>) -> io::Result<Host> {
    let boot_id = fs::read_to_string(BOOT_ID)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot read {BOOT_ID}: {error}")))?;
    let node = match name {
        Some(name) => name.to_owned(),
        None => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
    };
    Ok(Host {
        cluster: cluster.map(Into::into),
        ..Host::new(boot_id.trim(), &node)
    })
}
