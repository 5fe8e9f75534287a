//! Keeps in the data directory that the node's state was found to differ: a start must not forget it.

use crate::{
    rt::{self, oneshot},
    storage::{Disk, differs},
};
use std::sync::Arc;

/// Until the node has stopped, or its state was found to differ.
pub(super) async fn remember(disk: Arc<dyn Disk>, found: oneshot::Receiver<String>) {
    let Ok(said) = found.await else { return };
    if let Some(Err(error)) = rt::blocking(move || differs::note(&*disk, &said)).await {
        tracing::error!(%error, "it is not kept that the state differs: do not start this master again");
    }
}
