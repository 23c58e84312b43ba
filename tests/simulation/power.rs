//! When a node is cut off: at an instant, or in the middle of a call to the store or to a push service.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The power of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Power(Arc<Supply>);

#[derive(Debug, Default)]
struct Supply {
    calls_left: Mutex<Option<u32>>,
    dead: Notify,
}

impl Power {
    /// Cuts the node off after so many further passages.
    pub(crate) fn cut_after(&self, passages: u32) {
        *self.0.calls_left.lock().unwrap_or_else(PoisonError::into_inner) = Some(passages);
    }

    /// A place at which a crash may happen; does not return once it has.
    pub(crate) async fn pass(&self) {
        if !self.spend() {
            self.0.dead.notify_one();
            std::future::pending().await
        }
    }

    /// Returns when the node is cut off.
    pub(crate) async fn failed(&self) {
        self.0.dead.notified().await;
    }

    fn spend(&self) -> bool {
        let mut left = self.0.calls_left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.as_mut() {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}
