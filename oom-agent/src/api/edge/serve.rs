//! Connections, from their first byte to the last.
//!
//! Reads what listeners accept; emits answers of the router, over HTTP/1.1. Refuses heads that are too large
//! or too slow, peers that do not read, and those that have more than their share of the places.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, serve::Listener};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::{
    limits::Limits,
    patient::Patient,
    seats::{From, Peer, Seat, Seats},
    tls::Tls,
};
use crate::error::chain;

/// Bytes of a request's head, and of what waits to be written to one peer.
const BUFFER: usize = 16 * 1024;

/// Fields of a request's head.
const FIELDS: usize = 64;

/// That there is no room for more is said so often at most.
const SAID_AGAIN: Duration = Duration::from_mins(1);

/// Whoever has sent something is heard within this time, before somebody has to leave.
const HEARD: Duration = Duration::from_millis(1);

/// What is behind a listener.
#[derive(Clone, Debug)]
pub(super) struct Door {
    router: Router,
    limits: Limits,
    tls: Option<Arc<Tls>>,
}

impl Door {
    pub(super) const fn new(router: Router, limits: Limits, tls: Option<Arc<Tls>>) -> Self {
        Self {
            router,
            limits,
            tls,
        }
    }

    /// Serves one connection until one side has had enough.
    async fn serve<T>(self, io: T, peer: Option<Peer>, seat: &Seat, watcher: Watcher)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = Patient::new(io, self.limits.unread);
        let Some(tls) = &self.tls else {
            return self.speak(io, peer, seat, watcher).await;
        };
        let accepted = TlsAcceptor::from(tls.get()).accept(io);
        match timeout(self.limits.head, accepted).await {
            Ok(Ok(io)) => self.speak(io, peer, seat, watcher).await,
            Ok(Err(error)) => tracing::debug!("no TLS: {error}"),
            Err(_) => tracing::debug!("no TLS: it took too long"),
        }
    }

    async fn speak<T>(&self, io: T, peer: Option<Peer>, seat: &Seat, watcher: Watcher)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|mut request: Request<Incoming>| {
            seat.asked();
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            self.router.clone().oneshot(request.map(Body::new))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(BUFFER)
            .max_headers(FIELDS)
            .serve_connection(TokioIo::new(io), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!("a connection was given up: {}", chain(&error));
        }
    }
}

/// All connections, and what lets more of them in.
#[derive(Debug, Default)]
pub(super) struct Connections {
    graceful: Arc<GracefulShutdown>,
    accepting: JoinSet<()>,
}

impl Connections {
    /// Lets in who connects here.
    pub(super) fn open<L>(&mut self, mut listener: L, door: Door)
    where
        L: Listener<Addr: From>,
    {
        let graceful = self.graceful.clone();
        let room = Arc::new(Semaphore::new(door.limits.connections));
        let seats = Seats::default();
        self.accepting.spawn(async move {
            let mut said: Option<Instant> = None;
            loop {
                let (io, address) = listener.accept().await;
                let peer = address.peer();
                let most = door.limits.of_one_peer();
                let is_full = room.available_permits() == 0;
                let has_share = seats.has_share(peer, most);
                if is_full || has_share {
                    sleep(HEARD).await;
                }
                if is_full && !has_share {
                    if said.is_none_or(|said| said.elapsed() >= SAID_AGAIN) {
                        let most = door.limits.connections;
                        tracing::warn!(
                            "{most} are connected to the API: who says nothing has to leave, and others wait"
                        );
                        said = Some(Instant::now());
                    }
                    seats.make_room();
                }
                let Some(seat) = seats.take(peer, most) else {
                    tracing::debug!("{peer:?} has its share of the API's connections");
                    continue;
                };
                let Ok(place) = room.clone().acquire_owned().await else {
                    // It is never closed.
                    return;
                };
                let door = door.clone();
                let watcher = graceful.watcher();
                tokio::spawn(async move {
                    tokio::select! {
                        () = door.serve(io, peer, &seat, watcher) => {}
                        () = seat.must_leave() => tracing::debug!("{peer:?} was silent, and had to leave"),
                    }
                    drop(place);
                });
            }
        });
    }

    /// Lets nobody in any more, and lets end who is in, for so long at most.
    pub(super) async fn close(mut self, at_most: Duration) {
        self.accepting.shutdown().await;
        let Some(graceful) = Arc::into_inner(self.graceful) else {
            return;
        };
        if timeout(at_most, graceful.shutdown()).await.is_err() {
            tracing::debug!("connections are cut: they have not ended in {at_most:?}");
        }
    }
}
