//! Users of the host: where their own containers are.
//!
//! Reads `/etc/passwd` (passwd(5)); emits a home. Refuses users that only a directory service knows.

use super::{
    disk::{Disk, MOST_BYTES},
    files::Miss,
};

/// The home of a user.
pub(super) fn home(disk: &mut Disk, uid: u32) -> Result<String, Miss> {
    let etc = disk.root.dir("etc")?;
    let text = disk.text(&etc, "passwd", MOST_BYTES)?;
    let home = text.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let same = fields.next()?.parse() == Ok(uid);
        let home = fields.nth(2)?;
        (same && home.starts_with('/')).then(|| home.to_owned())
    });
    home.ok_or(Miss::Absent)
}
