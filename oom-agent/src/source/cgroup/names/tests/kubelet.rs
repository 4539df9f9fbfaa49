//! The links that the kubelet makes for logs, after its sources.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn the_kubelets_links() {
    let path = "/kubepods/burstable/pod{uid}/{id}";
    let pods = "/var/log/pods";
    for (name, target, expected) in [
        (
            "app-x_shop_app-{id}.log",
            format!("{pods}/shop_app-x_{{uid}}/app/0.log"),
            "? id={id} name=app pod=shop/app-x/{uid}",
        ),
        (
            "app-x_shop_app-{id}.log",
            "/var/lib/docker/containers/x.log".to_owned(),
            "? id={id} name=app pod=shop/app-x/-",
        ),
        (
            "app-x_shop_app-{id}.log",
            format!("{pods}/shop_other_{{uid}}/app/0.log"),
            "Unreadable(Mismatch)",
        ),
        (
            "app-x_shop_app-{id}.log",
            format!("{pods}/shop_app-x_1/app/0.log"),
            "Unreadable(Mismatch)",
        ),
        (
            "app-x_shop-{id}.log",
            format!("{pods}/shop_app-x_{{uid}}/app/0.log"),
            "Unreadable(Malformed)",
        ),
        (
            "app-x_shop_app-{other}.log",
            format!("{pods}/shop_app-x_{{uid}}/app/0.log"),
            "Absent",
        ),
    ] {
        let host = Host::new(&[("var/log/containers/readme", "")]);
        let link = host.root().join("var/log/containers").join(fill(name));
        symlink(fill(&target), link).unwrap();
        assert_eq!(told(&host.lookup(path)), fill(expected), "{name} {target}");
        // Of no pod.
        assert_eq!(host.lookup("/docker/{id}"), Lookup::Absent);
    }
}
