//! How a container ended, where its runtime leaves that on disk.
//!
//! Reads what conmon writes, the exit code in decimal (conmon `src/conmon.c`): `<exit dir>/<id>` of
//! podman and CRI-O, and `exit` in the directory of the container (podman 5). Emits the code. Refuses
//! what is not one.

use super::{
    disk::Disk,
    files::Miss,
    storage::{DRIVERS, Storage},
};

/// A few digits.
const MOST_BYTES: usize = 16;
/// Exit directories of podman and CRI-O.
const DIRS: [&str; 2] = ["run/libpod/exits", "run/crio/exits"];

/// What conmon wrote of the end of a container.
pub(super) fn of_conmon(
    disk: &mut Disk,
    storage: &Storage,
    id: &str,
    user: Option<u32>,
) -> Option<i32> {
    if let Some(uid) = user {
        let dir = disk.root.user_dir(&format!("run/user/{uid}"), uid);
        let text = dir.and_then(|dir| {
            let path = format!("libpod/tmp/exits/{id}");
            disk.text(&dir, &path, MOST_BYTES).map(str::to_owned)
        });
        return code(text);
    }
    let mut read = |dir: &str, path: &str| {
        let dir = disk.root.dir(dir)?;
        disk.text(&dir, path, MOST_BYTES).map(str::to_owned)
    };
    let in_dirs = DIRS.iter().find_map(|dir| code(read(dir, id)));
    in_dirs.or_else(|| {
        DRIVERS.iter().find_map(|driver| {
            let path = format!("{driver}-containers/{id}/userdata/exit");
            code(read(storage.graph_root(), &path))
        })
    })
}

fn code(text: Result<String, Miss>) -> Option<i32> {
    text.ok()?.trim_end().parse().ok()
}
