//! Which node and which boot this is.

use std::{fs, io};

use crate::correlate::Host;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

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
