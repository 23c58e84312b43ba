//! How many attempts may be under way: a rolling window in which offers always leave room for order news.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A rolling window.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    /// What offers may take of it.
    offers_max: usize,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    offers: usize,
}

/// How many more fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Attempts of any kind.
    pub(super) any: usize,
    /// Of those, offers at most.
    pub(super) offers: usize,
}

/// One attempt's place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    window: Arc<Window>,
    offer: bool,
}

impl Window {
    /// An eighth, and at least one place, is not for offers; a window of one place is for both.
    pub(super) fn new(size: usize) -> Arc<Window> {
        let size = size.max(1);
        let offers_max = (size - (size / 8).max(1)).max(1);
        Arc::new(Window { size, offers_max, taken: Mutex::default(), freed: Notify::new() })
    }

    pub(super) fn room(&self) -> Room {
        let taken = self.taken();
        let any = self.size.saturating_sub(taken.all);
        Room { any, offers: self.offers_max.saturating_sub(taken.offers).min(any) }
    }

    /// Whether no attempt is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.taken().all == 0
    }

    /// Takes a place; whoever takes must have seen that there is room, and be the only one who takes.
    pub(super) fn take(self: &Arc<Window>, offer: bool) -> Place {
        let mut taken = self.taken();
        taken.all += 1;
        taken.offers += usize::from(offer);
        Place { window: Arc::clone(self), offer }
    }

    /// Waits until a place has become free since the last time.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.window.taken();
        taken.all -= 1;
        taken.offers -= usize::from(self.offer);
        drop(taken);
        self.window.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_leave_room_for_orders() {
        for (size, offers) in [(1, 1), (2, 1), (6, 5), (8, 7), (16, 14), (512, 448)] {
            let window = Window::new(size);
            let mut places: Vec<Place> = (0..offers).map(|_| window.take(true)).collect();
            assert_eq!(window.room(), Room { any: size - offers, offers: 0 }, "{size}");
            places.extend((offers..size).map(|_| window.take(false)));
            assert_eq!(window.room(), Room { any: 0, offers: 0 });
            drop(places);
            assert!(window.is_idle());
            assert_eq!(window.room(), Room { any: size, offers });
        }
    }

    #[test]
    fn orders_may_take_it_all() {
        let window = Window::new(8);
        let _places: Vec<Place> = (0..4).map(|_| window.take(false)).collect();
        assert_eq!(window.room(), Room { any: 4, offers: 4 });
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_hears_of_a_place_that_was_freed_before() {
        let window = Window::new(2);
        drop(window.take(true));
        window.freed().await;
    }
}
