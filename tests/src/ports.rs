//! Ports for servers that must be able to take them again after a restart.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below what systems hand out for outgoing connections: nobody takes such a port while its server is down.
const FIRST: u16 = 15_000;
const COUNT: u16 = 15_000;
/// Two processes begin at places of their own.
const STRIDE: u16 = 97;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port on loopback that is free, and that this process has not handed out before.
///
/// # Panics
/// If none is.
#[must_use]
pub(crate) fn free_port() -> u16 {
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let place = (u32::from(start) * u32::from(STRIDE) + step) % u32::from(COUNT);
        let port = FIRST + place as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {FIRST} to {} is free on 127.0.0.1", FIRST + COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_never_the_same() {
        let (one, other) = (free_port(), free_port());
        assert_ne!(one, other);
        TcpListener::bind(("127.0.0.1", one)).unwrap();
    }
}
