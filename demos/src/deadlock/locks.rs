//! The locks that the tasks of [`deadlock`](super) share. They also keep the story of what the tasks
//! do, so that their code is nothing but the bug.

use popleft::sync::{Mutex, MutexGuard};

use crate::exploring::Story;

pub(super) struct Locks {
    locks: Vec<Mutex<()>>,
    story: Story,
}

impl Locks {
    pub(super) fn new(count: usize, story: Story) -> Self {
        Locks { locks: (0..count).map(|_| Mutex::new(())).collect(), story }
    }

    pub(super) async fn take_first(&self, number: usize) -> MutexGuard<'_, ()> {
        let guard = self.locks[number].lock().await;
        self.story.tell_of_this_task(format_args!("takes lock {}", number + 1));
        guard
    }

    /// Takes a lock while another one is held.
    pub(super) async fn take_second(&self, number: usize) -> MutexGuard<'_, ()> {
        self.story.tell_of_this_task(format_args!("wants lock {}", number + 1));
        let guard = self.locks[number].lock().await;
        self.story.tell_of_this_task("has both, and lets go of them");
        guard
    }
}
