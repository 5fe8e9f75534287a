//! A relay in front of a master that breaks after so many bytes: what a broken network does, at a place that is known.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

/// So much is passed on at once, bytes.
const CHUNK: usize = 16 * 1024;

/// Passes connections on to an endpoint, for as long as the test runs, and breaks each one when so many bytes came back on it.
/// Gives where it listens.
///
/// # Panics
/// If there is no port.
#[must_use]
pub fn relay_that_breaks(endpoint: &str, after: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let address = listener.local_addr().expect("it has one").to_string();
    let endpoint = endpoint.to_owned();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(master) = TcpStream::connect(&endpoint) else { continue };
            let both = || Some((client.try_clone().ok()?, master.try_clone().ok()?));
            if let Some((from, to)) = both() {
                thread::spawn(move || pass_on(&from, &to, usize::MAX));
            }
            thread::spawn(move || pass_on(&master, &client, after));
        }
    });
    address
}

/// Until so many bytes were passed on, or one end is closed: then both are.
fn pass_on(mut from: &TcpStream, mut to: &TcpStream, most: usize) {
    let (mut left, mut bytes) = (most, vec![0; CHUNK]);
    while left > 0 {
        let room = left.min(CHUNK);
        match from.read(&mut bytes[..room]) {
            Ok(count) if count > 0 && to.write_all(&bytes[..count]).is_ok() => left -= count,
            _ => break,
        }
    }
    // Closed already, perhaps.
    let _closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
