//! When a node is cut off: at an instant, or in the middle of a call to the store or to a push service. What the node
//! was doing never goes on, as if its process were gone.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// The power of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Power(Arc<Supply>);

#[derive(Debug, Default)]
struct Supply {
    calls_left: Mutex<Option<u32>>,
    dead: CancellationToken,
}

impl Power {
    /// Cuts the node off after so many further passages.
    pub(crate) fn cut_after(&self, passages: u32) {
        *self.left() = Some(passages);
    }

    /// Cuts the node off now.
    pub(crate) fn cut(&self) {
        *self.left() = Some(0);
        self.0.dead.cancel();
    }

    /// A place at which a crash may happen; does not return once it has.
    pub(crate) async fn pass(&self) {
        if !self.spend() {
            self.0.dead.cancel();
            std::future::pending().await
        }
    }

    /// Returns when the node is cut off.
    pub(crate) async fn failed(&self) {
        self.0.dead.cancelled().await;
    }

    fn spend(&self) -> bool {
        match self.left().as_mut() {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Option<u32>> {
        self.0.calls_left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
