//! A server of a test: a thread of its own, a port on loopback.
//!
//! Stops with all its connections, and comes back at the same address. What it serves is the caller's.

use std::{
    net::SocketAddr,
    thread::{self, JoinHandle},
};

use anyhow::Result;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime,
    sync::oneshot,
};

/// Where a server is, and what runs it; stopped when dropped.
#[derive(Debug)]
pub struct Loopback {
    address: SocketAddr,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Loopback {
    /// A server that has yet to go on, at a port that the system gives.
    #[must_use]
    pub fn new() -> Self {
        Self {
            address: ([127, 0, 0, 1], 0).into(),
            running: None,
        }
    }

    /// Listens, at the address that it has had, if any; this serves whoever comes.
    pub fn go_on<S: Future>(
        &mut self,
        serve: impl FnOnce(TcpListener) -> S + Send + 'static,
    ) -> Result<()> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(self.address)?;
            let _runtime = runtime.enter();
            socket.listen(128)?
        };
        self.address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener) => {}
                    _ = stopped => {}
                }
            });
            // With all its connections.
            runtime.shutdown_background();
        });
        self.running = Some((stop, thread));
        Ok(())
    }

    /// Closes its port and all connections.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Default for Loopback {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.stop();
    }
}
