//! The publications in force, and who waits for the next ones.
//!
//! Those who wait are woken in the order in which they came: a simulated run is a function of its seed, and a channel
//! that wakes by lot would make it another one each time.

use std::sync::{PoisonError, RwLock};

use control_api::publish::Publications;
use tokio::sync::Notify;

/// Written by the writer alone, read by everybody.
#[derive(Default)]
pub(crate) struct Shown {
    current: RwLock<Edition>,
    changed: Notify,
}

#[derive(Clone, Default)]
struct Edition {
    number: u64,
    publications: Publications,
}

impl Shown {
    /// Hands what is in force to `look`, which must not wait for anything.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Publications) -> T) -> T {
        look(&self.read().publications)
    }

    pub(crate) fn replace(&self, publications: Publications) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let next = Edition {
            number: current.number + 1,
            publications,
        };
        let previous = std::mem::replace(&mut *current, next);
        drop(current);
        drop(previous);
        self.changed.notify_waiters();
    }

    /// Tells of every edition after the present one.
    pub(crate) fn follow(&self) -> Follower<'_> {
        Follower {
            shown: self,
            seen: None,
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Edition> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits for what is new.
pub(crate) struct Follower<'a> {
    shown: &'a Shown,
    /// The edition that was looked at last.
    seen: Option<u64>,
}

impl Follower<'_> {
    /// As [`Shown::with`]; what is in force now counts as seen.
    pub(crate) fn look<T>(&mut self, look: impl FnOnce(&Publications) -> T) -> T {
        let current = self.shown.read();
        self.seen = Some(current.number);

        look(&current.publications)
    }

    /// Returns once there is an edition that was not looked at.
    pub(crate) async fn changed(&self) {
        // Made before the look: an edition in between is not missed.
        let notified = self.shown.changed.notified();
        if self.seen == Some(self.shown.read().number) {
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn what_came_since_the_last_look_is_told_at_once() {
        let shown = Shown::default();
        let mut follower = shown.follow();
        follower.changed().await;
        follower.look(|_| ());
        shown.replace(Publications::new());

        follower.changed().await;
    }

    #[tokio::test]
    async fn followers_are_woken_in_the_order_in_which_they_wait() {
        let (shown, woken) = (Arc::new(Shown::default()), Arc::new(Mutex::new(Vec::new())));
        let waiting = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..100)
            .map(|number| {
                let (shown, woken, waiting) = (shown.clone(), woken.clone(), waiting.clone());
                tokio::spawn(async move {
                    let mut follower = shown.follow();
                    follower.look(|_| ());
                    waiting.fetch_add(1, Ordering::Relaxed);
                    follower.changed().await;
                    woken.lock().unwrap().push(number);
                })
            })
            .collect();
        while waiting.load(Ordering::Relaxed) < 100 {
            tokio::task::yield_now().await;
        }
        shown.replace(Publications::new());
        for task in tasks {
            task.await.unwrap();
        }

        assert!(woken.lock().unwrap().is_sorted(), "{woken:?}");
    }
}
