//! Lets so many through at once and no more.

use std::sync::{Condvar, Mutex, PoisonError};

/// Counts who is inside.
#[derive(Debug)]
pub struct Turnstile {
    most: usize,
    inside: Mutex<usize>,
    left: Condvar,
}

/// Somebody inside; out when dropped.
#[derive(Debug)]
pub struct Inside<'a>(&'a Turnstile);

impl Turnstile {
    /// One that lets `most` in.
    pub const fn new(most: usize) -> Self {
        Self { most, inside: Mutex::new(0), left: Condvar::new() }
    }

    /// Waits for a place.
    pub fn enter(&self) -> Inside<'_> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |inside: &mut usize| *inside >= self.most;
        let mut inside = self.left.wait_while(inside, full).unwrap_or_else(PoisonError::into_inner);
        *inside += 1;
        Inside(self)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *self.0.inside.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_than_so_many_are_inside_at_once() {
        let (turnstile, inside, most) =
            (Turnstile::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let _place = turnstile.enter();
                    let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert_eq!(*turnstile.inside.lock().unwrap(), 0);
    }
}
