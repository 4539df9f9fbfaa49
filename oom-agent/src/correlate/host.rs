//! Where events are from.
//!
//! Reads the boot id and the names that it is given.

use std::sync::Arc;

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
