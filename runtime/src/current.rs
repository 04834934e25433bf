//! The loop that runs on this thread.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use crate::base::event::Cause;
use crate::base::turn;
use crate::event_loop::EventLoop;
use crate::task::tasks::{self, Tasks};

thread_local! {
    /// Never dropped, so that it can be used until the thread is gone, also by a runtime that is in a
    /// thread-local itself. Nothing leaks: [`Entered`] takes out what it has put in.
    static CURRENT: RefCell<ManuallyDrop<Option<Rc<EventLoop>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// The loop that runs on this thread.
pub(crate) fn event_loop() -> Option<Rc<EventLoop>> {
    CURRENT.with(|current| Option::clone(&current.borrow()))
}

fn replace_current(event_loop: Option<Rc<EventLoop>>) -> Option<Rc<EventLoop>> {
    ManuallyDrop::into_inner(CURRENT.replace(ManuallyDrop::new(event_loop)))
}

/// Makes `event_loop` the one that runs on this thread, until the guard is dropped.
pub(crate) fn enter(event_loop: Rc<EventLoop>) -> Entered {
    let tasks = event_loop.tasks.clone();
    let cause_before = turn::cause();
    turn::set_cause(Cause::Outside);
    Entered {
        cause_before,
        address_before: turn::set_running_loop(tasks.inbox.address()),
        loop_before: replace_current(Some(event_loop)),
        tasks_before: tasks::set_current(Some(tasks)),
    }
}

/// Makes this thread one on which no loop runs, but which must not block either, until the guard is
/// dropped: for the simulated jobs of a loop, which would otherwise run on another thread.
pub(crate) fn leave() -> Entered {
    Entered {
        cause_before: turn::cause(),
        loop_before: replace_current(None),
        tasks_before: tasks::set_current(None),
        address_before: turn::set_running_loop(turn::NO_LOOP_HERE),
    }
}

/// Restores the loop before when it is dropped.
pub(crate) struct Entered {
    cause_before: Cause,
    loop_before: Option<Rc<EventLoop>>,
    tasks_before: Option<Rc<Tasks>>,
    address_before: usize,
}

impl Drop for Entered {
    fn drop(&mut self) {
        turn::set_running_loop(self.address_before);
        turn::set_cause(self.cause_before);
        let left = tasks::set_current(self.tasks_before.take());
        drop(left);
        let left = replace_current(self.loop_before.take());
        drop(left);
    }
}
