//! Where requests come in: sockets, and the thread that serves them.
//!
//! Reads [`Options`]; emits listening sockets ([`Bound`]) and a server ([`Server`]). Refuses a socket that
//! another agent answers on.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
    time::Duration,
};

use thiserror::Error;
use tokio::{net, runtime::Builder, sync::oneshot};

use super::{Shared, router};

/// Where the API is served.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A Unix socket.
    pub socket: Option<PathBuf>,
    /// Not to be served is a reason not to start.
    pub required: bool,
}

impl Options {
    /// Whether there is anything to serve.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        self.socket.is_some()
    }
}

/// Why the API cannot be served.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The socket cannot be made.
    #[error("cannot listen on {path}")]
    Socket {
        /// Where.
        path: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
}

/// Sockets that are bound and not served yet.
#[derive(Debug, Default)]
pub struct Bound {
    socket: Option<(PathBuf, UnixListener)>,
}

impl Bound {
    /// Whether there is nothing to serve.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.socket.is_none()
    }

    /// Binds all that is asked for.
    pub fn open(options: &Options) -> Result<Self, ApiError> {
        let socket = options.socket.as_deref().map(|path| {
            let listener = bind(path).map_err(|error| ApiError::Socket {
                path: path.display().to_string(),
                error,
            })?;
            Ok((path.to_owned(), listener))
        });
        Ok(Self {
            socket: socket.transpose()?,
        })
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The running server.
#[derive(Debug)]
pub struct Server {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
    socket: Option<PathBuf>,
}

impl Server {
    /// Starts the thread.
    pub fn start(bound: Bound, shared: Shared) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (path, listener) = bound.socket.unzip();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("api".into()).spawn(move || {
            let served = runtime.block_on(async {
                let Some(listener) = listener else {
                    return Ok(());
                };
                let listener = net::UnixListener::from_std(listener)?;
                let until = async {
                    let _ = stopped.await;
                };
                axum::serve(listener, router(shared))
                    .with_graceful_shutdown(until)
                    .await
            });
            if let Err(error) = served {
                tracing::error!("the API has ended: {error}");
            }
        })?;
        Ok(Self {
            stop,
            thread,
            socket: path,
        })
    }

    /// Lets requests end, at most this long, and removes the socket.
    pub fn stop(self, _at_most: Duration) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the API's thread had panicked");
        }
        if let Some(path) = self.socket
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!("{} stays: {error}", path.display());
        }
    }
}
