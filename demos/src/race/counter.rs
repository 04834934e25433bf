//! The counter that the tasks of [`race`](super) share. It also keeps the story of what they do, so
//! that their code is nothing but the bug.

use popleft::sim::Shared;

use crate::exploring::{End, Story};

pub(super) struct Counter {
    value: Shared<u64>,
    /// How a read is told.
    reads: &'static str,
    story: Story,
}

impl Counter {
    pub(super) fn new(story: Story) -> Self {
        Counter { value: Shared::new(0), reads: "reads", story }
    }

    /// A counter that is only used by the task that holds its lock.
    pub(super) fn with_a_lock(story: Story) -> Self {
        Counter { reads: "has the lock and reads", ..Counter::new(story) }
    }

    pub(super) fn get(&self) -> u64 {
        let value = self.value.get();
        self.story.tell_of_this_task(format_args!("{} {value}", self.reads));
        value
    }

    pub(super) fn set(&self, value: u64) {
        self.value.set(value);
        self.story.tell_of_this_task(format_args!("writes {value}"));
    }

    /// Both tasks are done: have both been counted?
    pub(super) fn check(&self) -> End {
        match self.value.get() {
            2 => Ok(()),
            counted => Err(format!(
                "an update was lost: both have added one, and the counter says {counted}"
            )),
        }
    }
}
