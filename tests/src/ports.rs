//! Addresses for servers that must be able to take them again after a restart.

use quorate_net::ports::ReservedPort;
use std::sync::Mutex;

/// Until this process ends, so that nobody takes the port of a server that is down.
static RESERVED: Mutex<Vec<ReservedPort>> = Mutex::new(Vec::new());

/// An address of loopback that nobody else is given while this process runs.
///
/// # Panics
/// If the system has no free port.
#[must_use]
pub(crate) fn free_address() -> String {
    let port = ReservedPort::new().expect("there is a free port on 127.0.0.1");
    let address = port.address().to_string();
    RESERVED.lock().expect("nobody panics while it is held").push(port);
    address
}
