//! Which container runtimes have left files here, and whether they may be read: names come from there.
//!
//! Reads below the host's root what the watch of cgroups would. Refuses to call it a fault that there is
//! nothing: not every machine has containers.

use std::path::Path;

use super::{Check, State};
use crate::{
    render::units::count,
    source::cgroup::names::{
        Finder,
        survey::{Family, Place},
    },
};

const FAMILIES: [(Family, &str); 5] = [
    (Family::Containerd, "containerd"),
    (Family::Storage, "CRI-O, podman"),
    (Family::Docker, "docker"),
    (Family::Runc, "runc, crun"),
    (Family::Kubelet, "kubelet"),
];

pub(super) fn checks(host_root: &Path) -> Vec<Check> {
    let places = Finder::new(host_root).places();
    let of = |(family, name)| {
        let places: Vec<&Place> = places.iter().filter(|it| it.family == family).collect();
        runtime(name, family, &places, host_root)
    };
    FAMILIES.map(of).into()
}

fn runtime(name: &'static str, family: Family, places: &[&Place], host_root: &Path) -> Check {
    let at = |path: &str| {
        let path = host_root.join(path.trim_start_matches('/'));
        path.display().to_string()
    };
    let mut refused: Vec<String> = places
        .iter()
        .filter_map(|place| place.refused.as_deref().map(at))
        .collect();
    refused.dedup();
    if !refused.is_empty() {
        let cost = match family {
            Family::Kubelet => "names of pods come from the runtimes' own files alone",
            _ => "its containers are told by the ids in their paths, without names",
        };
        let found = format!("not readable: {}", refused.join(", "));
        return Check::new(name, State::Missing, found).cost(cost).fix(
            "root, or CAP_DAC_READ_SEARCH; in a container: mount the host's / read-only and give it \
             as --host-root",
        );
    }
    if places.is_empty() {
        let found = format!("nothing found below {}", host_root.display());
        return Check::ok(name, found);
    }
    let (one, many) = match family {
        Family::Kubelet => ("link", "links"),
        _ => ("container", "containers"),
    };
    let found: Vec<String> = places
        .iter()
        .map(|place| {
            let containers = count(place.containers as u64, one, many);
            format!("{containers} in {}", at(&place.path))
        })
        .collect();
    Check::ok(name, found.join(", "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_there_is_counted_and_nothing_is_no_fault() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        let bundle = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "{}").unwrap();
        };
        let tasks = "run/containerd/io.containerd.runtime.v2.task";
        bundle(&format!("{tasks}/k8s.io/a/config.json"));
        bundle(&format!("{tasks}/k8s.io/b/config.json"));
        bundle(&format!("{tasks}/moby/c/config.json"));
        bundle("var/lib/containers/storage/overlay-containers/d/userdata/config.json");
        bundle("var/lib/containers/storage/overlay-containers/containers.json");
        fs::create_dir_all(root.join("run/crun")).unwrap();
        bundle("var/log/containers/p_n_c-e.log");
        let found: Vec<_> = checks(root)
            .into_iter()
            .map(|check| (check.state, check.found))
            .collect();
        let at = root.display();
        let wanted = [
            format!("3 containers in {at}/{tasks}"),
            format!("1 container in {at}/var/lib/containers/storage/overlay-containers"),
            format!("nothing found below {at}"),
            format!("0 containers in {at}/run/crun"),
            format!("1 link in {at}/var/log/containers"),
        ];
        assert_eq!(found, wanted.map(|found| (State::Ok, found)));
    }

    #[test]
    fn what_may_not_be_read_costs_names() {
        let refused = Place {
            family: Family::Docker,
            path: "/var/lib/docker/containers".to_owned(),
            containers: 0,
            refused: Some("/var/lib/docker/containers".to_owned()),
        };
        let check = runtime("docker", Family::Docker, &[&refused], Path::new("/host"));
        assert_eq!(check.state, State::Missing);
        assert_eq!(check.found, "not readable: /host/var/lib/docker/containers");
        assert!(check.cost.is_some() && check.fix.is_some());
        let nowhere = checks(Path::new("/nowhere at all"));
        assert!(nowhere.iter().all(|check| check.state == State::Missing));
    }
}
