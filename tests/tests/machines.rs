//! Networks of machines that a test can cut: that they do what the other tests take for granted.

use quorate_tests::{Directory, Network, Process, Serial, wait_until};
use std::{
    io::{ErrorKind, Read as _},
    net::{TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

#[test]
fn a_cut_has_one_direction_and_a_plug_both() {
    let _serial = Serial::take();
    let network = Network::new(&["a", "b"]);
    let address = |name: &str| format!("{}:7000", network.address(name));
    let bind = |name: &'static str| {
        let address = address(name);
        network.within(name, move || {
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            socket
        })
    };
    let (a, b) = (bind("a"), bind("b"));
    let arrives = |from: &UdpSocket, to: &UdpSocket, name: &str| {
        // A machine without a plug may refuse to send.
        let _lost = from.send_to(b"x", address(name));
        let mut bytes = [0; 8];
        match to.recv(&mut bytes) {
            Ok(count) => count == 1,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                false
            }
        }
    };
    let both = || (arrives(&a, &b, "b"), arrives(&b, &a, "a"));
    assert_eq!(both(), (true, true));
    network.cut("a", "b");
    assert_eq!(both(), (false, true));
    network.heal("a", "b");
    network.unplug("b");
    assert_eq!(both(), (false, false));
    network.plug("b");
    wait_until(Duration::from_secs(5), "the plug", || {
        if both() == (true, true) { Ok(()) } else { Err("a frame was lost".to_owned()) }
    });
}

#[test]
fn a_command_runs_on_its_machine() {
    let _serial = Serial::take();
    let (network, directory) = (Network::new(&["a", "b"]), Directory::new());
    let listener = {
        let address = format!("{}:7000", network.address("a"));
        network.within("a", move || TcpListener::bind(address).unwrap())
    };
    let script = format!("exec 3<>/dev/tcp/{}/7000; echo hello >&3", network.address("a"));
    let words = [network.on("b"), ["bash", "-c", &script].map(str::to_owned).to_vec()].concat();
    let mut process = Process::new(directory.path(), "there", words);
    process.start();
    let (mut stream, from): (TcpStream, _) = listener.accept().unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), from.ip().to_string()), ("hello\n", network.address("b")));
    assert!(process.ended(Duration::from_secs(5)).success());
}
