//! Which deaths are stored, by thread and time: for a ring that nobody has read while another source told.
//!
//! Reads the newest ones, so many at most.

use super::{error::StoreError, write::Store};

/// More than a ring of the usual size holds.
const MOST: u32 = 16_384;

impl Store {
    /// Threads that died in this boot, and when (`CLOCK_MONOTONIC`), the newest first.
    pub fn deaths(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        let sql = "SELECT json_extract(body, '$.victim.tid'), json_extract(body, '$.monotonic_ns') \
                   FROM event WHERE kind = 'OomKill' AND boot_id = ? ORDER BY seq DESC LIMIT ?";
        let mut statement = self.db.prepare(sql)?;
        let rows = statement.query_map((&self.boot_id, MOST), |row| {
            let (tid, at_ns) = (row.get::<_, Option<u32>>(0)?, row.get::<_, Option<i64>>(1)?);
            Ok(tid.zip(at_ns.map(i64::cast_unsigned)))
        })?;
        let deaths: Vec<Option<_>> = rows.collect::<Result<_, _>>()?;
        // A death without thread or time cannot be compared.
        Ok(deaths.into_iter().flatten().collect())
    }
}
