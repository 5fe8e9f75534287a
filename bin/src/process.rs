//! What tells a long-running process to stop.

use crate::failure::Failure;
use futures::{FutureExt as _, future::BoxFuture};
use std::{io::Read as _, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// How long a process whose parent has gone may take to end in order.
const ORPHAN: Duration = Duration::from_secs(1);

/// Ends at SIGINT or SIGTERM, and with `parent` also when stdin is closed: a parent that holds the other end was killed.
///
/// # Errors
/// If the thread that watches stdin cannot be started.
pub(crate) fn stop_signal(parent: bool) -> Result<BoxFuture<'static, ()>, Failure> {
    let mut gone = std::future::pending().boxed();
    if parent {
        let (sender, receiver) = oneshot::channel::<()>();
        let watch = move || {
            let mut bytes = [0; 64];
            // Whatever is written is ignored: only the end counts.
            while std::io::stdin().read(&mut bytes).is_ok_and(|count| count > 0) {}
            drop(sender);
            std::thread::sleep(ORPHAN);
            // An orphan must not linger, whatever it waits for: nobody is left to end it.
            std::process::exit(1);
        };
        std::thread::Builder::new()
            .name("parent".to_owned())
            .spawn(watch)
            .map_err(|error| Failure::refused(format!("a thread cannot be started: {error}")))?;
        gone = receiver.map(drop).boxed();
    }
    let stop = async move {
        tokio::select! {
            () = interrupt() => {}
            () = gone => {}
        }
    };
    Ok(stop.boxed())
}

/// Ends at SIGINT or SIGTERM. Must be polled within a runtime.
pub(crate) async fn interrupt() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers both signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
