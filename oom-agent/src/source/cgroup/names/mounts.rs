//! On which file systems a user's place lies, decided before anything on them is touched.
//!
//! Reads `/proc/self/mountinfo` (proc(5)), and links where all above is known to be local; emits the
//! path without links. Refuses file systems for which a process or another machine answers (FUSE, NFS,
//! autofs): one that does not would keep us waiting for ever. A point with several mounts counts as
//! all of them: which is on top need not be known.

use std::fs;

use super::files::Miss;
use crate::{evidence::Unreadable, hierarchy::unescape};

/// File systems that only the kernel answers for; `ext3` and the like are named as they were mounted.
const LOCAL: [&str; 16] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "jfs", "reiserfs", "tmpfs",
    "ramfs", "overlay", "squashfs", "rootfs", "erofs",
];

/// Links that are followed on one path.
const MOST_LINKS: usize = 8;

/// What is mounted in the agent's mount namespace.
#[derive(Debug)]
pub(super) struct Mounts(Vec<Mount>);

#[derive(Debug)]
struct Mount {
    /// `STATX_MNT_ID`.
    id: u64,
    /// From the agent's root.
    point: Vec<u8>,
    local: bool,
}

/// A path without links, in two parts; `.` for none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// To the innermost mount point.
    pub(super) mount: String,
    /// From there.
    pub(super) rest: String,
}

impl Mounts {
    pub(super) fn read() -> Result<Self, Miss> {
        let text = fs::read("/proc/self/mountinfo").map_err(|_| Unreadable::Refused)?;
        // A user may mount at any name. What is no text is none of the paths that are asked for.
        let mounts = Self::parse(&String::from_utf8_lossy(&text));
        mounts.ok_or(Unreadable::Malformed.into())
    }

    /// `ID PARENT DEV ROOT POINT OPTIONS [TAG…] - TYPE SOURCE SUPER_OPTIONS`; all lines or none, for the
    /// one that is not understood may be the one that counts.
    fn parse(text: &str) -> Option<Self> {
        let parse = |line: &str| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ');
            Some(Mount {
                id: left.next()?.parse().ok()?,
                point: unescape(left.nth(3)?),
                local: LOCAL.contains(&right.split(' ').next()?),
            })
        };
        text.lines().map(parse).collect::<Option<_>>().map(Self)
    }

    /// Whether this is the id of a mount of a local file system here: that of another mount namespace is
    /// not.
    pub(super) fn is_local(&self, id: u64) -> bool {
        self.0.iter().any(|mount| mount.id == id && mount.local)
    }

    /// Follows `path` from `root`, a directory on a local file system. `link` says where the link at a
    /// path from there leads to, if it is one; it is asked only where all above is local and no link.
    pub(super) fn resolve(
        &self,
        root: &str,
        path: &str,
        mut link: impl FnMut(&str) -> Result<Option<String>, Miss>,
    ) -> Result<Resolved, Miss> {
        let root = root.trim_end_matches('/');
        let mut left = names_backwards(path);
        let mut at: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            at.push(name);
            let here = at.join("/");
            if let Some(local) = self.mounted(&format!("{root}/{here}")) {
                if !local {
                    return Err(Unreadable::Refused.into());
                }
            } else if let Some(target) = link(&here)? {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Unreadable::Refused.into());
                }
                at.pop();
                if target.starts_with('/') {
                    at.clear();
                }
                left.extend(names_backwards(&target));
            }
        }
        let is_mount = |depth: &usize| {
            self.mounted(&format!("{root}/{}", at[..*depth].join("/")))
                .is_some()
        };
        let depth = (1..=at.len()).rev().find(is_mount).unwrap_or(0);
        let part = |names: &[String]| match names {
            [] => ".".to_owned(),
            names => names.join("/"),
        };
        Ok(Resolved {
            mount: part(&at[..depth]),
            rest: part(&at[depth..]),
        })
    }

    /// Whether all that is mounted at this very point is local; `None` if nothing is.
    fn mounted(&self, point: &str) -> Option<bool> {
        let here = self
            .0
            .iter()
            .filter(|mount| mount.point == point.as_bytes());
        here.map(|mount| mount.local)
            .reduce(|all, local| all && local)
    }
}

fn names_backwards(path: &str) -> Vec<String> {
    let names = path.split('/').rev();
    let names = names.filter(|name| !matches!(*name, "" | "."));
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `\040` is a blank; `/stack` has a FUSE mount below a local one.
    const TEXT: &str = r"20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
21 20 0:21 / /proc rw,relatime shared:2 master:1 - proc proc rw
22 20 8:2 / /home rw - xfs /dev/sdb rw
23 22 0:30 / /home/fuse rw - fuse.sshfs me@there:/ rw
24 22 0:31 / /home/a\040b rw - fuse fuse rw
25 20 0:32 / /nfs rw - nfs4 there:/home rw
26 20 0:33 / /auto rw - autofs systemd-1 rw
27 20 0:34 / /run/user/7 rw - tmpfs tmpfs rw
28 20 0:35 / /stack rw - fuse fuse rw
29 20 0:36 / /stack rw - tmpfs tmpfs rw
30 20 0:37 / /new rw - newfs none rw
31 20 8:3 / /host rw - btrfs /dev/sdc rw
32 31 0:38 / /host/home rw - 9p there rw
33 31 8:4 / /host/users rw - zfs pool rw
";

    const REFUSED: Result<(&str, &str), Miss> = Err(Miss::Unusable(Unreadable::Refused));

    #[track_caller]
    fn check(root: &str, path: &str, expected: Result<(&str, &str), Miss>) {
        let mounts = Mounts::parse(TEXT).unwrap();
        let mut asked = Vec::new();
        let found = mounts.resolve(root, path, |path| {
            asked.push(path.to_owned());
            let target = match path {
                "home/link" => "fuse",
                "u" => "/home",
                "far" => "nfs/a",
                "up" => "../../users/./ann",
                "home/out" => "../run/user/7/x",
                "loop" => "/loop",
                "home/none" => return Err(Miss::Absent),
                path => {
                    let number = path.strip_prefix('c').and_then(|rest| rest.parse().ok());
                    let next = number.and_then(|number: usize| number.checked_sub(1));
                    return Ok(next.map(|next| format!("c{next}")));
                }
            };
            Ok(Some(target.to_owned()))
        });
        let expected = expected.map(|(mount, rest)| Resolved {
            mount: mount.to_owned(),
            rest: rest.to_owned(),
        });
        assert_eq!(found, expected, "{root} {path}");
        // Nothing was touched of what is not local.
        let foreign = |path: &String| {
            let path = format!("{}/{path}/", root.trim_end_matches('/'));
            let mut foreign = mounts.0.iter().filter(|mount| !mount.local);
            foreign.any(|mount| {
                path.as_bytes()
                    .starts_with(&[&mount.point[..], b"/"].concat())
            })
        };
        assert!(!asked.iter().any(foreign), "{asked:?}");
    }

    #[test]
    fn homes_on_all_kinds_of_file_systems() {
        for (path, expected) in [
            ("/", Ok((".", "."))),
            ("/root", Ok((".", "root"))),
            ("//root/./x/", Ok((".", "root/x"))),
            ("/home/ann", Ok(("home", "ann"))),
            ("/home", Ok(("home", "."))),
            ("/run/user/7", Ok(("run/user/7", "."))),
            ("/run/user/8", Ok((".", "run/user/8"))),
            ("/home/fuse", REFUSED),
            ("/home/fuse/x", REFUSED),
            ("/home/fuser", Ok(("home", "fuser"))),
            ("/home/a b", REFUSED),
            ("/nfs/ann", REFUSED),
            ("/auto/ann", REFUSED),
            ("/proc/self", REFUSED),
            ("/new/ann", REFUSED),
            ("/stack/ann", REFUSED),
            ("/home/none/x", Err(Miss::Absent)),
        ] {
            check("/", path, expected);
        }
    }

    #[test]
    fn links_on_the_way() {
        for (path, expected) in [
            ("/u/ann", Ok(("home", "ann"))),
            ("/u/fuse", REFUSED),
            ("/home/link", REFUSED),
            ("/far", REFUSED),
            ("/up", Ok((".", "users/ann"))),
            ("/home/out", Ok(("run/user/7", "x"))),
            ("/home/../nfs", REFUSED),
            ("/loop", REFUSED),
            ("/c8/x", Ok((".", "c0/x"))),
            ("/c9/x", REFUSED),
        ] {
            check("/", path, expected);
        }
    }

    #[test]
    fn where_the_hosts_files_are_mounted() {
        for (path, expected) in [
            ("/home/ann", REFUSED),
            ("/users/ann", Ok(("users", "ann"))),
            ("/nfs/ann", Ok((".", "nfs/ann"))),
            // A link leads no further up than to the host's root.
            ("/up", Ok(("users", "ann"))),
            ("/u/ann", REFUSED),
        ] {
            check("/host", path, expected);
        }
    }

    #[test]
    fn damaged_lines_leave_nothing_known() {
        for line in [
            "",
            " - ",
            "1 2 3 - ext4",
            "x 1 8:1 / / rw - ext4 a rw",
            "1 1 8:1 / / rw ext4",
        ] {
            let text = format!("{TEXT}{line}\n");
            assert!(Mounts::parse(&text).is_none(), "{line}");
        }
        let mounts = Mounts::parse(TEXT).unwrap();
        assert!(mounts.is_local(22) && !mounts.is_local(23) && !mounts.is_local(99));
    }
}
