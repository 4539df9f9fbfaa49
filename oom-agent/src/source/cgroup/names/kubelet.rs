//! The kubelet: the links that it makes to the logs of containers, whatever their runtime.
//!
//! Reads the names in `/var/log/containers`, `<pod>_<namespace>_<container>-<id>.log`, and their
//! targets, `/var/log/pods/<namespace>_<pod>_<uid>/<container>/<n>.log` (`kuberuntime/legacy.go`,
//! `helpers.go`). Emits names. Refuses a link and a target that say different things. The kubelet cuts
//! names to 255 bytes, and then the id is not whole: those are not found.

use super::{
    disk::Disk,
    files::Miss,
    spec::pod,
    survey::{Family, Shape},
    text::{NAME, kept},
};
use crate::evidence::{Names, Unreadable};

/// A node has some hundred containers; those that ended are kept for a while.
const MOST_LINKS: usize = 1 << 15;

const LINKS: &str = "var/log/containers";

/// Where links are.
pub(super) fn shapes() -> Vec<Shape> {
    vec![Shape {
        family: Family::Kubelet,
        dir: LINKS.to_owned(),
        below: ".".to_owned(),
        namespaced: false,
        file: None,
    }]
}

/// The container in a pod, by its id.
pub(super) fn ask(disk: &mut Disk, id: &str) -> Result<Names, Miss> {
    let links = disk.root.dir(LINKS)?;
    let link = disk.pick(&links, ".", MOST_LINKS, |name| {
        let stem = name.strip_suffix(".log")?.strip_suffix(id)?;
        Some((name.to_owned(), stem.strip_suffix('-')?.to_owned()))
    })?;
    let (file, said) = link;
    let mut parts = said.split('_');
    let (Some(name), Some(namespace), Some(container), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Unreadable::Malformed.into());
    };
    let target = links.link(&file)?;
    let uid = match uid(&target, name, namespace, container) {
        Some(uid) => uid.map_err(Miss::from)?,
        None => None,
    };
    let text = |text: &str| Some(text.to_owned());
    Ok(Names {
        container_name: kept(text(container), NAME)?,
        pod: pod(text(namespace), text(name), uid)?,
        ..Names::default()
    })
}

/// The uid of the pod, if the target is of the form that has it.
fn uid(
    target: &str,
    name: &str,
    namespace: &str,
    container: &str,
) -> Option<Result<Option<String>, Unreadable>> {
    let (_, path) = target.split_once("/log/pods/")?;
    let mut path = path.split('/');
    let mut pod = path.next()?.split('_');
    let said = (pod.next(), pod.next(), path.next());
    if said != (Some(namespace), Some(name), Some(container)) {
        return Some(Err(Unreadable::Mismatch));
    }
    Some(Ok(pod.next().map(str::to_owned)))
}
