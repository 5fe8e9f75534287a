//! Ports of loopback for servers that are about to start, and to start again.

use rustix::net::{
    AddressFamily, SocketAddrAny, SocketFlags, SocketType, bind, getsockname, ipproto, socket_with,
    sockopt::set_socket_reuseaddr,
};
use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
};

/// A port of 127.0.0.1 that nobody else is given for as long as this lives.
///
/// A port that was free a moment ago may be taken by anybody's outgoing connection or listener before its server starts, and again
/// while that server is down. So this stays bound to it, without listening: the system hands out no port that is bound, and lets a
/// server listen beside a socket that does not, if both allow the address to be used again, as listeners of this crate do.
///
/// That is how Linux treats `SO_REUSEADDR` (socket(7)).
pub struct ReservedPort {
    address: SocketAddr,
    _bound: OwnedFd,
}

impl ReservedPort {
    /// A free port.
    ///
    /// # Errors
    /// If the system has none, or this process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let bound =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
        bind(&bound, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        // After it is bound: so it got a port that nobody else has bound, not even such as may be shared.
        set_socket_reuseaddr(&bound, true)?;
        let address = address_of(getsockname(&bound)?)?;
        Ok(Self { address, _bound: bound })
    }

    /// Where a server listens that is given this port, such as `127.0.0.1:40125`.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Debug for ReservedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReservedPort").field(&self.address).finish()
    }
}

fn address_of(address: SocketAddrAny) -> io::Result<SocketAddr> {
    SocketAddr::try_from(address).map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn its_server_may_listen_there_again_and_again() {
        let port = ReservedPort::new().unwrap();
        for _ in 0..3 {
            let server = TcpListener::bind(port.address()).unwrap();
            let client = TcpStream::connect(port.address()).unwrap();
            let (served, _) = server.accept().unwrap();
            drop((served, client));
        }
    }

    #[test]
    fn nobody_else_is_given_it() {
        let port = ReservedPort::new().unwrap();
        for _ in 0..100 {
            let other = ReservedPort::new().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let ports = [other.address(), listener.local_addr().unwrap(), connection.local_addr().unwrap()];
            assert!(!ports.contains(&port.address()), "{ports:?}");
        }
        // Who asks for the port without sharing it does not get it.
        let alone = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let SocketAddr::V4(address) = port.address() else { panic!("it is of IPv4") };
        assert!(bind(&alone, &address).is_err());
    }
}
