//! Why a store cannot be used.

use std::{io, path::PathBuf};

use rusqlite::ErrorCode;

/// What is wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another agent writes it.
    #[error(
        "the store {} is in use by {}",
        path.display(),
        pid.map_or_else(|| "another process".into(), |pid| format!("the agent with pid {pid}"))
    )]
    Held {
        /// The store.
        path: PathBuf,
        /// Who holds it, as its lock file says.
        pid: Option<u32>,
    },
    /// A later version of the agent made it.
    #[error(
        "the store {} has schema {found}, and this agent knows schemas up to {known}: use the \
         agent that wrote it, or give another path",
        path.display()
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It is a database, but not ours.
    #[error("{} is a database of another program: give another path", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot use the store {}", path.display())]
    Io {
        /// The store, its directory or its lock.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database refuses.
    #[error("the store")]
    Database(#[from] rusqlite::Error),
    /// An event that is no JSON.
    #[error("an event cannot be written")]
    Json(#[from] serde_json::Error),
}

impl StoreError {
    /// Whether somebody has to do something about it: no later try will do better by itself.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Held { .. } | Self::Newer { .. } | Self::Foreign { .. }
        )
    }

    /// Whether it may pass by itself: somebody holds the file up, or the disk is full.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Database(error) if matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull)
        ))
    }

    /// Whether the file is not, or not any more, a database.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Database(error) if matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ))
    }
}
