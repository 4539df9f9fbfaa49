//! Bundles of CRI-O, after its sources.

use super::*;

#[test]
fn cri_o() {
    let container = r#"{"io.container.manager":"cri-o","io.kubernetes.container.hash":"5","io.kubernetes.container.name":"app",
        "io.kubernetes.cri-o.ContainerID":"{id}","io.kubernetes.cri-o.ContainerType":"container",
        "io.kubernetes.cri-o.Image":"0f3c","io.kubernetes.cri-o.ImageName":"quay.io/shop/app:1",
        "io.kubernetes.cri-o.Labels":"{\"io.kubernetes.container.name\":\"app\"}",
        "io.kubernetes.pod.name":"app-x","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"{uid}"}"#;
    let sandbox = r#"{"io.container.manager":"cri-o","io.kubernetes.cri-o.ContainerType":"sandbox",
        "io.kubernetes.container.name":"POD","io.kubernetes.cri-o.Image":"registry.k8s.io/pause:3.9",
        "io.kubernetes.pod.name":"app-x","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"{uid}"}"#;
    let slice = "/kubepods.slice/kubepods-pod{u_id}.slice/crio-{id}.scope";
    for root in ["var/lib/containers/storage", "run/containers/storage"] {
        for (annotations, path, expected) in [
            (
                container,
                slice,
                "Crio id={id} name=app image=quay.io/shop/app:1 pod=shop/app-x/{uid}",
            ),
            (
                container,
                "/kubepods/pod{uid}/{id}",
                "Crio id={id} name=app image=quay.io/shop/app:1 pod=shop/app-x/{uid}",
            ),
            (sandbox, slice, "Crio id={id} pod=shop/app-x/{uid} sandbox"),
            (
                container,
                "/kubepods/pod00000000-7d3a-4f55-9a61-0b7f4c1de911/crio-{id}",
                "Unreadable(Mismatch)",
            ),
        ] {
            let file = format!("{root}/overlay-containers/{{id}}/userdata/config.json");
            let host = Host::new(&[(&file, &bundle(annotations, "/x"))]);
            assert_eq!(told(&host.lookup(path)), fill(expected), "{path}");
        }
    }
}
