//! Certificates, keys and tokens: read at the start, and read again when their files have changed.
//!
//! Reads files; emits what was made of them last. Refuses to give up what worked: files that cannot be
//! used any more are said, and what they were is kept.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{guard::Token, tls::Tls};
use crate::error::chain;

/// How soon a renewed certificate or token is used.
const AGAIN: Duration = Duration::from_secs(2);

/// Why a certificate, key or token cannot be used.
#[derive(Debug, Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// It is no PEM (RFC 7468), or nothing of what it should hold is in it.
    #[error("{path} is no {what}")]
    Malformed {
        /// Which.
        path: String,
        /// What it should be.
        what: &'static str,
    },
    /// Certificate and key cannot be used together.
    #[error("the certificate and its key cannot be used")]
    Tls(#[from] rustls::Error),
}

impl SecretError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Read {
            path: path.display().to_string(),
            error,
        }
    }

    pub(super) fn malformed(path: &Path, what: &'static str) -> Self {
        Self::Malformed {
            path: path.display().to_string(),
            what,
        }
    }
}

type Make<T> = dyn Fn() -> Result<T, SecretError> + Send + Sync;

/// What is made from files.
pub(super) struct Secret<T> {
    files: Vec<PathBuf>,
    make: Box<Make<T>>,
    value: RwLock<Arc<T>>,
    seen: Mutex<Vec<Stamp>>,
}

/// Which file it was; `None` if it could not be looked at.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

impl<T> Secret<T> {
    /// Makes it.
    pub(super) fn open(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, SecretError> + Send + Sync + 'static,
    ) -> Result<Self, SecretError> {
        // Before they are read: what changes meanwhile is read again.
        let seen = stamps(&files);
        Ok(Self {
            value: RwLock::new(Arc::new(make()?)),
            seen: Mutex::new(seen),
            make: Box::new(make),
            files,
        })
    }

    /// What it is now.
    pub(super) fn get(&self) -> Arc<T> {
        let value = self.value.read().unwrap_or_else(PoisonError::into_inner);
        value.clone()
    }

    /// Makes it again if a file has changed.
    fn look(&self) {
        let now = stamps(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return;
        }
        *seen = now;
        match (self.make)() {
            Ok(value) => {
                *self.value.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                tracing::info!("read again: {}", self.files[0].display());
            }
            Err(error) => tracing::warn!("the former one is kept: {}", chain(&error)),
        }
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let about = fs::metadata(file).ok()?;
        let changed = (about.ctime(), about.ctime_nsec());
        Some((about.dev(), about.ino(), changed.0, changed.1, about.size()))
    };
    files.iter().map(stamp).collect()
}

/// Says so if strangers can read it.
pub(super) fn warn_if_open(path: &Path) {
    let others = fs::metadata(path).is_ok_and(|about| about.mode() & 0o004 != 0);
    if others {
        tracing::warn!("{} can be read by every user", path.display());
    }
}

/// Keeps them fresh; never ends.
pub(super) async fn renew(tls: Option<Arc<Tls>>, token: Option<Arc<Token>>) {
    if tls.is_none() && token.is_none() {
        return std::future::pending().await;
    }
    let mut clock = interval(AGAIN);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let (tls, token) = (tls.clone(), token.clone());
        let look = spawn_blocking(move || {
            if let Some(tls) = tls {
                tls.look();
            }
            if let Some(token) = token {
                token.look();
            }
        });
        if let Err(error) = look.await {
            tracing::warn!("certificates and tokens are not looked at: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_read_again_and_what_is_broken_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "one").unwrap();
        let of = path.clone();
        let secret = Secret::open(vec![path.clone()], move || {
            let text = fs::read_to_string(&of).map_err(SecretError::read(&of))?;
            if text.is_empty() {
                return Err(SecretError::malformed(&of, "text"));
            }
            Ok(text)
        });
        let secret = secret.unwrap();
        secret.look();
        assert_eq!(*secret.get(), "one");
        fs::write(&path, "three").unwrap();
        secret.look();
        assert_eq!(*secret.get(), "three");
        fs::write(&path, "").unwrap();
        secret.look();
        assert_eq!(*secret.get(), "three");
        fs::remove_file(&path).unwrap();
        secret.look();
        assert_eq!(*secret.get(), "three");
        // As Kubernetes does it: another file in its place.
        let next = dir.path().join("next");
        fs::write(&next, "four!").unwrap();
        fs::rename(&next, &path).unwrap();
        secret.look();
        assert_eq!(*secret.get(), "four!");
    }
}
