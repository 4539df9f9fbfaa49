//! Where the memory controller lives: cgroup v1 or v2, and where it is mounted.
//!
//! Reads `/proc/self/mountinfo` and `/proc/self/cgroup`; emits [`Hierarchy`]. Refuses to guess: a
//! machine without a memory controller is an error that says what to do.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why the hierarchy of the memory controller cannot be used.
#[derive(Debug, Error)]
pub enum HierarchyError {
    /// No memory controller is mounted.
    #[error(
        "no memory controller in /proc/self/mountinfo: mount cgroup v2, or boot without cgroup_disable=memory"
    )]
    NoMemoryController,
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// `PROC_CGROUP_INIT_INO` (`include/linux/proc_ns.h`): the inode of the initial cgroup namespace.
const INIT_CGROUP_NAMESPACE: &str = "cgroup:[4026531835]";

/// Version of a cgroup hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

impl CgroupVersion {
    /// 1 or 2, as events say it.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// Name of the file that holds the limit.
    #[must_use]
    pub fn limit_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.limit_in_bytes",
            Self::V2 => "memory.max",
        }
    }
}

/// The mounted hierarchy that has the memory controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its version.
    pub version: CgroupVersion,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The cgroup that is mounted there: `/`, or a deeper one inside a container.
    pub root: String,
    /// Whether this process is in the initial cgroup namespace, so that `root` is what the kernel
    /// itself would print.
    pub initial_namespace: bool,
}

impl Hierarchy {
    /// Finds the hierarchy of the memory controller.
    pub fn find() -> Result<Self, HierarchyError> {
        let mountinfo = read(Path::new("/proc/self/mountinfo"))?;
        let initial_namespace = match fs::read_link("/proc/self/ns/cgroup") {
            Ok(link) => link.as_os_str() == INIT_CGROUP_NAMESPACE,
            // Kernels before 4.6 have no cgroup namespaces, so everybody is in the initial one.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        cgroup_mounts(&mountinfo)
            .into_iter()
            .find(|mount| match mount.version {
                CgroupVersion::V1 => mount.memory,
                CgroupVersion::V2 => fs::read_to_string(mount.path.join("cgroup.controllers"))
                    .is_ok_and(|controllers| controllers.split_whitespace().any(|c| c == "memory")),
            })
            .map(|mount| Self {
                version: mount.version,
                mount: mount.path,
                root: mount.root,
                initial_namespace,
            })
            .ok_or(HierarchyError::NoMemoryController)
    }

    /// The path of a directory below the mount as `/proc/<pid>/cgroup` shows it to this process.
    #[must_use]
    pub fn path_of(&self, dir: &Path) -> Option<String> {
        let relative = dir.strip_prefix(&self.mount).ok()?.to_str()?;
        let root = self.root.trim_end_matches('/');
        Some(match (root, relative) {
            ("", "") => "/".to_owned(),
            (root, "") => root.to_owned(),
            (root, relative) => format!("{root}/{relative}"),
        })
    }

    /// The directory of a cgroup path, the reverse of [`Self::path_of`]; `None` where it is not below
    /// the mount.
    #[must_use]
    pub fn dir_of(&self, path: &str) -> Option<PathBuf> {
        let relative = path.strip_prefix(self.root.trim_end_matches('/'))?;
        if relative.is_empty() {
            return Some(self.mount.clone());
        }
        Some(self.mount.join(relative.strip_prefix('/')?))
    }

    /// The smallest memory limit from `dir` up to the mount; `None` where no level has one.
    pub fn effective_limit(&self, dir: &Path) -> Result<Option<u64>, HierarchyError> {
        let mut smallest = None;
        for level in dir
            .ancestors()
            .take_while(|level| level.starts_with(&self.mount))
        {
            let file = level.join(self.version.limit_file());
            let text = match fs::read_to_string(&file) {
                Ok(text) => text,
                // The root of a v2 hierarchy has no limit file, nor has a level without the controller.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(HierarchyError::Read { path: file, source }),
            };
            if let Ok(limit) = text.trim().parse::<u64>() {
                smallest = Some(smallest.map_or(limit, |least: u64| least.min(limit)));
            }
        }
        Ok(smallest)
    }
}

/// The memory cgroup in the text of a `/proc/<pid>/cgroup`.
#[must_use]
pub fn memory_cgroup(text: &str, version: CgroupVersion) -> Option<&str> {
    text.lines().find_map(|line| {
        let (id, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let matches = match version {
            CgroupVersion::V1 => controllers.split(',').any(|c| c == "memory"),
            CgroupVersion::V2 => id == "0" && controllers.is_empty(),
        };
        matches.then_some(path)
    })
}

/// One cgroup mount of mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct CgroupMount {
    version: CgroupVersion,
    path: PathBuf,
    root: String,
    /// Whether the mount's options name the memory controller (v1).
    memory: bool,
}

/// `ID PARENT DEV ROOT MOUNT OPTIONS [TAG…] - TYPE SOURCE SUPER_OPTIONS` (proc(5)).
fn cgroup_mounts(mountinfo: &str) -> Vec<CgroupMount> {
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, path) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let version = match right.next()? {
            "cgroup" => CgroupVersion::V1,
            "cgroup2" => CgroupVersion::V2,
            _ => return None,
        };
        Some(CgroupMount {
            version,
            path: OsString::from_vec(unescape(path)).into(),
            root: String::from_utf8(unescape(root)).ok()?,
            memory: right.nth(1)?.split(',').any(|option| option == "memory"),
        })
    };
    mountinfo.lines().filter_map(parse).collect()
}

/// Undoes the octal escapes (`\040`) that the kernel writes for blanks and backslashes.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(byte));
        at += if octal.is_some() { 4 } else { 1 };
    }
    out
}

fn read(path: &Path) -> Result<String, HierarchyError> {
    fs::read_to_string(path).map_err(|source| HierarchyError::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,size=12334460k
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn mounts_of_both_versions_are_found() {
        let mounts = cgroup_mounts(HYBRID);
        assert_eq!(mounts.len(), 3);
        assert!(mounts[0].memory);
        assert_eq!(mounts[0].path, Path::new("/sys/fs/cgroup/memory"));
        assert!(!mounts[1].memory);
        assert_eq!(mounts[2].version, CgroupVersion::V2);
    }

    #[test]
    fn blanks_in_a_mount_point_are_unescaped() {
        let line = r"1 2 0:1 /a\040b /mnt/c\134d rw - cgroup2 cgroup2 rw";
        let mounts = cgroup_mounts(line);
        assert_eq!(mounts[0].root, "/a b");
        assert_eq!(mounts[0].path, Path::new(r"/mnt/c\d"));
    }

    #[test]
    fn damaged_lines_are_no_mounts() {
        for line in ["", " - ", "1 2 3 - cgroup", "1 2 3 / /x rw - cgroup"] {
            assert_eq!(cgroup_mounts(line), []);
        }
    }

    #[test]
    fn paths_are_told_from_the_root_of_the_hierarchy() {
        let mut hierarchy = Hierarchy {
            version: CgroupVersion::V2,
            mount: "/sys/fs/cgroup".into(),
            root: "/".into(),
            initial_namespace: true,
        };
        let path = |hierarchy: &Hierarchy, dir: &str| hierarchy.path_of(Path::new(dir));
        assert_eq!(path(&hierarchy, "/sys/fs/cgroup").unwrap(), "/");
        assert_eq!(path(&hierarchy, "/sys/fs/cgroup/a, b").unwrap(), "/a, b");
        assert_eq!(path(&hierarchy, "/elsewhere"), None);
        hierarchy.root = "/pod".into();
        assert_eq!(path(&hierarchy, "/sys/fs/cgroup").unwrap(), "/pod");
        assert_eq!(path(&hierarchy, "/sys/fs/cgroup/a").unwrap(), "/pod/a");
        for dir in ["/sys/fs/cgroup", "/sys/fs/cgroup/a, b/c"] {
            let path = path(&hierarchy, dir).unwrap();
            assert_eq!(hierarchy.dir_of(&path).unwrap(), Path::new(dir));
        }
        assert_eq!(hierarchy.dir_of("/pods/a"), None);
        assert_eq!(hierarchy.dir_of("/"), None);
    }

    #[test]
    fn the_memory_line_is_picked_by_version() {
        let text = "9:name=systemd:/\n4:cpu,memory:/a:b\n0::/c\n";
        assert_eq!(memory_cgroup(text, CgroupVersion::V1), Some("/a:b"));
        assert_eq!(memory_cgroup(text, CgroupVersion::V2), Some("/c"));
        assert_eq!(memory_cgroup("nonsense", CgroupVersion::V2), None);
    }
}
