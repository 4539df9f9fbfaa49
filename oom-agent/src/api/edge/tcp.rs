//! TCP addresses.
//!
//! Reads an address; emits a listening socket. Refuses to keep what a peer has vanished from.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use rustix::net::sockopt;

/// What was sent and not acknowledged for so long is sent to nobody (tcp(7)). Connections inherit it.
const GONE_MS: u32 = 30_000;

/// Listens.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    sockopt::set_tcp_user_timeout(&listener, GONE_MS)?;
    // Answers are written in one piece, and events must not wait for more.
    sockopt::set_tcp_nodelay(&listener, true)?;
    Ok(listener)
}
