//! Machines within the machine: LXC and Incus, systemd-nspawn and others that register with systemd,
//! libvirt.
//!
//! Reads a name and those above it; emits the owner. Refuses a name without a machine in it, and the
//! monitors of LXC, which are the host's.

use super::names;
use crate::event::{Owner, OwnerKind, Runtime};

/// A machine: a container with a system of its own in it (LXC, systemd-nspawn), or a virtual one.
pub(super) fn guest(name: &str, above: &[&str], slices: bool) -> Option<Owner> {
    let machine = |runtime, machine: &str| {
        (!machine.is_empty()).then(|| Owner {
            runtime,
            machine: Some(machine.to_owned()),
            ..Owner::of(OwnerKind::Machine)
        })
    };
    match above {
        [] => return machine(Some(Runtime::Lxc), name.strip_prefix("lxc.payload.")?),
        ["lxc" | "lxc.payload"] => return machine(Some(Runtime::Lxc), name),
        ["machine"] => {
            let (name, driver) = name.rsplit_once('.')?;
            let libvirt = matches!(driver, "libvirt-qemu" | "libvirt-lxc");
            return machine(Some(Runtime::Libvirt), of_libvirt(name).unwrap_or(name))
                .filter(|_| libvirt);
        }
        _ => {}
    }
    let of_unit = |before, after| {
        let name = name.strip_prefix(before)?.strip_suffix(after)?;
        slices.then(|| names::unescape(name))
    };
    let found = if let Some(found) = of_unit("machine-", ".scope") {
        match of_libvirt(&found) {
            Some(name) => machine(Some(Runtime::Libvirt), name)?,
            None => machine(None, &found)?,
        }
    } else {
        let found = of_unit("systemd-nspawn@", ".service")?;
        machine(Some(Runtime::Nspawn), &found)?
    };
    Some(Owner {
        unit: Some(name.to_owned()),
        ..found
    })
}

/// libvirt's name for a machine, `qemu-1-web`, without driver and number.
fn of_libvirt(name: &str) -> Option<&str> {
    let rest = name
        .strip_prefix("qemu-")
        .or_else(|| name.strip_prefix("lxc-"))?;
    let (number, name) = rest.split_once('-')?;
    names::number(number, "", "").map(|_| name)
}
