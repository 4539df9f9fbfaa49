//! TCP addresses.
//!
//! Reads an address; emits a listening socket. Refuses to keep what a peer has vanished from. `[::]` is every
//! address, of IPv6 and IPv4, whatever `net.ipv6.bindv6only` says, and those of IPv4 where the kernel has no
//! IPv6: one manifest is for nodes of all kinds.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

use rustix::{
    io::Errno,
    net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt},
};

/// What was sent and not acknowledged for so long is sent to nobody (tcp(7)). Connections inherit it.
const GONE_MS: u32 = 30_000;

/// How many may wait to be accepted, as many as the standard library's.
const BACKLOG: i32 = 128;

/// Listens.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = if address.ip() == Ipv6Addr::UNSPECIFIED {
        everywhere(address)?
    } else {
        TcpListener::bind(address)?
    };
    listener.set_nonblocking(true)?;
    sockopt::set_tcp_user_timeout(&listener, GONE_MS)?;
    // Answers are written in one piece, and events must not wait for more.
    sockopt::set_tcp_nodelay(&listener, true)?;
    Ok(listener)
}

fn everywhere(address: SocketAddr) -> io::Result<TcpListener> {
    let flags = SocketFlags::CLOEXEC;
    let tcp = Some(ipproto::TCP);
    let socket = match net::socket_with(AddressFamily::INET6, SocketType::STREAM, flags, tcp) {
        Err(Errno::AFNOSUPPORT) => {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            tracing::info!("no IPv6 here: asked at {address}");
            return TcpListener::bind(address);
        }
        socket => socket?,
    };
    sockopt::set_ipv6_v6only(&socket, false)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn everywhere_is_of_both_families() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap();
        if address.is_ipv6() {
            assert!(!sockopt::ipv6_v6only(&listener).unwrap());
        }
    }
}
