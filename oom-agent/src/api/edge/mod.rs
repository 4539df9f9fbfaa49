//! Where requests come in: sockets, who may ask, how much, and the thread that serves them.
//!
//! ```text
//!  unix ─────────┐
//!                ├─▶ serve (seats, slow readers) ─▶ limits ────────────────┬─▶ router
//!  tcp ─ secret ─┘         tls                     guard, rate (TCP) ──────┘
//! ```
//! Reads [`Options`]; emits listening sockets ([`Bound`]) and a server ([`Server`]). Refuses a socket that
//! somebody else answers on, and addresses that others reach without a token and TLS.
//!
//! A handler must not panic: a panic on any thread ends the process, and with it the watch (`main.rs`).

mod guard;
mod limits;
mod patient;
mod rate;
mod seats;
mod secret;
mod serve;
mod tcp;
mod tls;
mod unix;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::Router;
use thiserror::Error;
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::{Builder, Runtime},
    sync::oneshot,
};

use self::{guard::Guard, limits::Limits, rate::Rate, serve::Door, unix::SocketFile};
pub use self::{secret::SecretError, tls::TlsFiles, unix::SocketError};
use crate::realtime;

/// Where the API is served, and to whom.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A Unix socket; its mode says who may ask.
    pub socket: Option<PathBuf>,
    /// The group of that socket, by name or number.
    pub group: Option<String>,
    /// TCP addresses.
    pub listen: Vec<SocketAddr>,
    /// TLS for them.
    pub tls: Option<TlsFiles>,
    /// A file with the token that they want.
    pub token: Option<PathBuf>,
    /// Addresses that others reach are taken without a token and TLS, too.
    pub insecure: bool,
    /// Not to be served is a reason not to start.
    pub required: bool,
}

impl Options {
    /// Whether there is anything to serve.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        self.socket.is_some() || !self.listen.is_empty()
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
        error: SocketError,
    },
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// Others could ask unseen.
    #[error(
        "{address} can be reached from other machines: that takes a token (--token-file) and TLS (--tls-cert, --tls-key), or --insecure-listen-anywhere"
    )]
    Exposed {
        /// Which.
        address: SocketAddr,
    },
    /// A certificate, key or token cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Sockets that are bound and not served yet.
#[derive(Debug, Default)]
pub struct Bound {
    unix: Option<(SocketFile, std::os::unix::net::UnixListener)>,
    tcp: Vec<std::net::TcpListener>,
    tls: Option<tls::Tls>,
    token: Option<guard::Token>,
    /// How many may be open in this process.
    files: u64,
}

impl Bound {
    /// Whether there is nothing to serve.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.unix.is_none() && self.tcp.is_empty()
    }

    /// Binds all that is asked for, and reads what is secret.
    pub fn open(options: &Options) -> Result<Self, ApiError> {
        let protected = options.insecure || options.token.is_some() && options.tls.is_some();
        let exposed = |address: &&SocketAddr| !is_loopback(**address);
        if !protected && let Some(&address) = options.listen.iter().find(exposed) {
            return Err(ApiError::Exposed { address });
        }
        let unix = options.socket.as_deref().map(|path| {
            unix::listen(path, options.group.as_deref()).map_err(|error| ApiError::Socket {
                path: path.display().to_string(),
                error,
            })
        });
        let tcp = options.listen.iter().map(|&address| {
            tcp::listen(address).map_err(|error| ApiError::Listen { address, error })
        });
        Ok(Self {
            files: realtime::raise_files(limits::FILES),
            unix: unix.transpose()?,
            tcp: tcp.collect::<Result<_, _>>()?,
            tls: options.tls.clone().map(tls::open).transpose()?,
            token: options.token.clone().map(guard::token).transpose()?,
        })
    }

    /// Addresses that were bound.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let addresses = self.tcp.iter().map(std::net::TcpListener::local_addr);
        addresses.filter_map(Result::ok)
    }
}

/// Whether no other machine reaches it.
fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The running server.
#[derive(Debug)]
pub struct Server {
    stop: oneshot::Sender<Duration>,
    thread: JoinHandle<()>,
    /// Removed when this is dropped.
    _socket: Option<SocketFile>,
}

impl Server {
    /// Starts the thread.
    pub fn start(bound: Bound, router: Router) -> io::Result<Self> {
        let listeners = bound.tcp.len() + usize::from(bound.unix.is_some());
        let limits = Limits::default().fitting(bound.files, listeners);
        Self::start_with(bound, router, limits)
    }

    /// The same with this router and these limits.
    fn start_with(mut bound: Bound, router: Router, limits: Limits) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let addresses = bound.addresses().map(|address| address.to_string());
        let path = bound.unix.iter().map(|(file, _)| file.to_string());
        let asked_at: Vec<_> = path.chain(addresses).collect();
        tracing::info!("can be asked at {}", asked_at.join(", "));
        let (socket, unix) = bound.unix.take().unzip();
        let runtime = runtime()?;
        let thread = thread::Builder::new().name("api".into()).spawn(move || {
            if let Err(note) = realtime::defer_thread() {
                tracing::debug!("{note}");
            }
            let served = runtime.block_on(serve_all(unix, bound, router, limits, stopped));
            if let Err(error) = served {
                tracing::error!("the API has ended: {error}");
            }
            // What reads a disk that never answers is left behind.
            runtime.shutdown_background();
        })?;
        Ok(Self {
            stop,
            thread,
            _socket: socket,
        })
    }

    /// Takes no more requests, lets those that are there end, for so long at most, and removes the socket.
    /// Streams end with their subscriptions.
    pub fn stop(self, at_most: Duration) {
        // It has ended by itself, and said why.
        let _ = self.stop.send(at_most);
        if self.thread.join().is_err() {
            tracing::error!("the API's thread had panicked");
        }
    }
}

/// One thread for all connections, and a few that may wait for disks.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .thread_name("api-ask")
        .max_blocking_threads(limits::ASKING)
        .build()
}

async fn serve_all(
    unix: Option<std::os::unix::net::UnixListener>,
    bound: Bound,
    router: Router,
    limits: Limits,
    stopped: oneshot::Receiver<Duration>,
) -> io::Result<()> {
    let Bound {
        tcp, tls, token, ..
    } = bound;
    let mut connections = serve::Connections::default();
    let router = limits::within(router, limits);
    if let Some(listener) = unix {
        let door = Door::new(router.clone(), limits, None);
        connections.open(UnixListener::from_std(listener)?, door);
    }
    let tls = tls.map(Arc::new);
    let token = token.map(Arc::new);
    for listener in tcp {
        let named = token.is_none() && is_loopback(listener.local_addr()?);
        let router = guard::guarded(router.clone(), Guard::new(token.clone(), named));
        let router = rate::within(router, Rate::default());
        let door = Door::new(router, limits, tls.clone());
        connections.open(TcpListener::from_std(listener)?, door);
    }
    let renewing = secret::renew(tls, token);
    let at_most = tokio::select! {
        at_most = stopped => at_most.unwrap_or_default(),
        () = renewing => Duration::ZERO,
    };
    connections.close(at_most).await;
    Ok(())
}

#[cfg(test)]
mod tests;
