//! The way to a server, which a test can close and open.
//!
//! Passes bytes between loopback connections and one server while it is open. Closed, it breaks what there is and
//! what comes, as a firewall that answers.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::Result;

/// A way. It is closed when dropped.
#[derive(Debug)]
pub struct Way {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    open: Vec<TcpStream>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Way {
    /// To this port of this machine.
    pub fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let way = Self {
            port: listener.local_addr()?.port(),
            state: Arc::default(),
        };
        let state = way.state.clone();
        // It ends with the process.
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // What fails is closed, and tried again by who wants it.
                let _ = join(&state, near, port);
            }
        });
        Ok(way)
    }

    /// Where it begins.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Breaks all connections, and each that comes.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets them through again.
    pub fn open(&self) {
        lock(&self.state).is_closed = false;
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.close();
    }
}

fn join(state: &Mutex<State>, near: TcpStream, port: u16) -> io::Result<()> {
    let mut state = lock(state);
    if state.is_closed {
        return Ok(());
    }
    let far = TcpStream::connect(("127.0.0.1", port))?;
    for (mut from, mut to) in [
        (near.try_clone()?, far.try_clone()?),
        (far.try_clone()?, near.try_clone()?),
    ] {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    state.open.extend([near, far]);
    Ok(())
}
