//! What the daemon takes while it runs, for its confinement: features, and directories that it writes to.

use std::path::Path;

use super::{CgroupWatch, Options};
use crate::confine::Feature;

/// Features of an agent with these sources.
pub(super) fn features(options: &Options, bpf: bool, log: bool) -> Vec<Feature> {
    let features = [
        (Feature::Bpf, bpf),
        (Feature::Log, log),
        (Feature::Names, options.helpers.watch != CgroupWatch::Off),
        (Feature::Store, options.store.path.is_some()),
        (Feature::Server, options.api.is_served()),
        (Feature::Client, options.sinks.is_used()),
    ];
    let used = features.into_iter().filter(|(_, used)| *used);
    used.map(|(feature, _)| feature).collect()
}

/// Directories that it writes to. Where one cannot be made yet, it is the nearest above it.
pub(super) fn writable(options: &Options) -> Vec<&Path> {
    let store = options.store.path.as_deref().and_then(Path::parent);
    // What a predecessor has pinned is removed once its records are durable.
    let pins = options.pin_path.as_deref().filter(|dir| dir.is_dir());
    // The socket is removed at the end.
    let socket = options.api.socket.as_deref().and_then(Path::parent);
    let socket = socket.map(|dir| {
        if dir == Path::new("") {
            Path::new(".")
        } else {
            dir
        }
    });
    let socket = socket.filter(|dir| dir.is_dir());
    let store = store.map(existing);
    store.into_iter().chain(pins).chain(socket).collect()
}

fn existing(directory: &Path) -> &Path {
    let mut above = directory.ancestors();
    let found = above.find(|path| path.is_dir());
    // A relative path begins in the working directory.
    found.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_yet_is_made_in_what_is() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(existing(dir), dir);
        assert_eq!(existing(&dir.join("a/b")), dir);
        assert_eq!(existing(Path::new("")), Path::new("."));
        assert_eq!(existing(Path::new("nonexistent")), Path::new("."));
    }
}
