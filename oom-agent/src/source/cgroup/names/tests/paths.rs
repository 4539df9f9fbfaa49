//! Paths that cannot be a container's: nothing is read for them.

use super::*;

#[test]
fn paths_that_cannot_be_a_container_are_not_looked_for() {
    let host = Host::new(&[]);
    let mut finder = host.finder();
    for path in [
        "",
        "/",
        "/kubepods",
        "/kubepods.slice/kubepods-burstable.slice",
        "/kubepods/burstable/pod{uid}",
        "/system.slice",
        "/system.slice/ssh.service",
        "/init.scope",
        "/user.slice/user-1000.slice",
        "/user.slice/user-1000.slice/session-3.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice",
        "/machine.slice/machine-box.scope/payload",
        "/lxc.payload.web/system.slice",
        // In a container.
        "/docker/{id}/init",
        "/kubepods/pod{uid}/{id}/x",
        "/machine.slice/libpod-{id}.scope/container",
        // No id.
        "/default/a b",
        "/default/.hidden",
        "/default/ä",
    ] {
        assert_eq!(finder.lookup(&fill(path)), Lookup::NotNeeded, "{path}");
    }
    assert_eq!(finder.counters(), Counters::default());
}
