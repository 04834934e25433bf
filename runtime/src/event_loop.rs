//! The loop.
//!
//! *Take tasks from the left of the deque and poll them. When the deque is empty, or after N polls,
//! look outside: which sockets does the kernel say are ready, what did other threads leave in the
//! inbox, which deadlines have passed; sleeping exactly until the next deadline when there is
//! nothing else to do. Again.*
//!
//! If you read one file of this library, read this one. Follow one byte through it: the kernel
//! tells the reactor that a source is readable; the reactor wakes the source's waker; the waker
//! pushes its task to the right end of the deque; the loop pops it from the left end and polls it;
//! inside, a `net` future reads the byte.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::event::{Cause, End, Event, emit};
use crate::base::id::Id;
use crate::base::lock_graph;
use crate::base::place::Why;
use crate::base::turn;
use crate::base::world::{self, Jobs, Until, World};
use crate::reactor::{Backend, Reactor};
use crate::stall::StallDetector;
use crate::task::body::Body;
use crate::task::inbox::{Inbox, Message};
use crate::task::table::Taken;
use crate::task::tasks::{self, Tasks};
use crate::timers::Timers;

/// One loop and all that it looks at.
pub(crate) struct EventLoop {
    pub(crate) tasks: Rc<Tasks>,
    pub(crate) timers: Rc<Timers>,
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) clock: Clock,
    pub(crate) jobs: Box<dyn Jobs>,
    /// How many results of jobs are still to come.
    pub(crate) pending_jobs: Rc<Cell<usize>>,
    /// Held by every [`Handle`](crate::Handle): whoever has one may still send a message.
    pub(crate) handles: Arc<()>,
    pub(crate) name: String,
    pub(crate) stall: StallDetector,
    /// N: how many turns are taken before the loop looks outside, though more tasks are ready.
    polls_between_looks: u32,
    /// How long it looks again and again before it sleeps.
    spin: Duration,
    stopped: Cell<bool>,
    /// Memory for the inbox's messages, used again and again.
    messages: Cell<Vec<Message>>,
}

/// What a loop is set to.
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) polls_between_looks: u32,
    pub(crate) spin: Duration,
    pub(crate) report_stalls: bool,
}

/// Why the loop returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitReason {
    /// The main task has ended.
    MainEnded,
    /// Another thread asked it to stop.
    Stopped,
    /// Nothing can ever happen again; a report has been printed.
    Stalled,
}

// ===== the loop =================================================================================

impl EventLoop {
    /// Runs tasks until the main one has ended. Its future lies on the caller's stack.
    pub(crate) fn run(&self, main: Id, mut main_body: Pin<&mut dyn Body>) -> ExitReason {
        while !self.stopped.get() {
            for _ in 0..self.polls_between_looks {
                let Some(task) = self.tasks.popleft() else {
                    break;
                };
                let ended = self.take_turn(task, main_body.as_mut());
                if ended && task == main {
                    return ExitReason::MainEnded;
                }
            }
            let Some(until) = self.how_long_to_sleep() else {
                return ExitReason::Stalled;
            };
            self.look_outside(until);
        }
        ExitReason::Stopped
    }

    /// Time has passed since the last run, if there was one, and much may have come. A program that
    /// gives the loop many short runs must not starve what is outside.
    pub(crate) fn begin_run(&self) {
        self.stopped.set(false);
        self.stall.begin();
        self.clock.look();
        let was_left_something =
            self.reactor.has_sources() || self.timers.next_deadline().is_some();
        if was_left_something || self.tasks.inbox.may_have_messages() {
            self.look_outside(Until::Now);
        }
    }

    /// Whoever asked this run to stop did not mean the next one.
    pub(crate) fn end_run(&self) {
        self.tasks.inbox.forget_stops();
    }

    /// One turn of one task: from the deque to its next `await` that is not ready, or to its end.
    fn take_turn(&self, task: Id, main_body: Pin<&mut dyn Body>) -> bool {
        let Some(mut taken) = self.tasks.table.begin_turn(task) else {
            return false;
        };
        turn::begin(task);
        emit(|| Event::Poll { task });
        let body: Pin<&mut dyn Body> = match &mut taken.body {
            Some(body) => body.as_mut(),
            None => main_body,
        };
        let polled =
            if taken.aborted { Poll::Ready(body.cancel(task)) } else { poll_task(task, body) };
        match polled {
            Poll::Pending if turn::has_yielded() => self.put_back(task, taken),
            Poll::Pending => self.park(task, taken),
            Poll::Ready(how) => self.finish(task, taken, how),
        }
        polled.is_ready()
    }

    /// The task only lets the others go first: to the right end of the deque with it.
    fn put_back(&self, task: Id, taken: Taken) {
        let is_new = self.tasks.table.end_turn_ready(task, taken.body);
        emit(|| {
            let (why, at) = turn::parked();
            lock_graph::pending(task, why, at.place())
        });
        if is_new {
            self.tasks.ready.push_back(task);
            emit(|| Event::Wake { task, by: turn::cause() });
        }
    }

    /// The task waits for something.
    fn park(&self, task: Id, taken: Taken) {
        let (why, at) = turn::parked();
        let (at, since) = (at.place(), self.clock.looked_at_ms());
        self.tasks.table.end_turn_waiting(task, taken.body, (why, at), since);
        emit(|| lock_graph::pending(task, why, at));
        if why == Why::Lock {
            lock_graph::turn_ended(task);
        }
    }

    /// The task has ended: its joiner goes on, and what nobody wants is dropped.
    fn finish(&self, task: Id, taken: Taken, how: End) {
        let left = self.tasks.table.finish(task, taken.body);
        emit(|| Event::Done { task, how });
        left.joiner.wake();
        if let Some(ended) = left.unwanted {
            self.tasks.table.discard(ended);
        }
    }

    /// `None` when nothing can ever happen again.
    fn how_long_to_sleep(&self) -> Option<Until> {
        if !self.tasks.ready.is_empty() || self.tasks.inbox.may_have_messages() {
            return Some(Until::Now);
        }
        if let Some(deadline) = self.timers.next_deadline() {
            return Some(Until::Deadline(deadline));
        }
        let asked = self.reactor.has_waiters() || self.pending_jobs.get() > 0;
        if self.tasks.world.may_answer(asked) {
            return Some(Until::Forever);
        }
        let others_may_send = Arc::strong_count(&self.handles) > 1;
        self.stall.check(&self.tasks, &self.clock, others_may_send)
    }

    fn look_outside(&self, until: Until) {
        turn::set_cause(Cause::Outside);
        emit(|| Event::LookOutside);
        if until != Until::Now {
            self.give_memory_back();
        }
        let found = until != Until::Now && self.spin_until_something_happens();
        if !found && (until != Until::Now || self.reactor.has_sources()) {
            wait_for_events(self, until);
        }
        self.read_inbox();
        self.clock.look();
        self.timers.fire(self.clock.looked_at());
        turn::set_cause(Cause::Outside);
    }

    /// Looks again and again, as long as the loop is set to. True when something has happened.
    fn spin_until_something_happens(&self) -> bool {
        if self.spin.is_zero() {
            return false;
        }
        let end = world::deadline(self.clock.now(), self.spin);
        let end = self.timers.next_deadline().map_or(end, |due| due.min(end));
        while self.clock.now() < end {
            wait_for_events(self, Until::Now);
            if !self.tasks.ready.is_empty() || self.tasks.inbox.may_have_messages() {
                return true;
            }
        }
        false
    }

    fn read_inbox(&self) {
        let inbox = &self.tasks.inbox;
        if !inbox.may_have_messages() {
            return;
        }
        let mut messages = self.messages.take();
        inbox.take(&mut messages);
        self.stall.note_external_wake();
        for message in messages.drain(..) {
            turn::set_cause(Cause::Thread);
            match message {
                Message::Wake(task) => {
                    turn::set_cause(self.tasks.table.wake_cause(task));
                    tasks::wake(task);
                }
                // Of a job that was given up nobody speaks any more.
                Message::JobStarted(task) if self.tasks.table.has_ended(task) => {}
                Message::JobStarted(task) => emit(|| Event::JobStart { task }),
                Message::Spawn(spawn) => self.tasks.spawn_for_another_thread(spawn),
                Message::Abort(task) => self.tasks.abort(task),
                Message::Stop => self.stopped.set(true),
            }
        }
        self.messages.set(messages);
    }

    /// Gives back the memory of a peak that is over. For when there is time: before a sleep.
    fn give_memory_back(&self) {
        self.tasks.ready.give_back();
        self.tasks.table.give_back();
        self.timers.give_back();
        self.reactor.give_back();
    }
}

/// A door for debuggers: every task that is polled passes here.
#[inline(never)]
pub(crate) fn poll_task(task: Id, body: Pin<&mut dyn Body>) -> Poll<End> {
    body.poll(task)
}

/// A door for debuggers: here the loop asks the system what is ready, and sleeps if it may.
#[inline(never)]
pub(crate) fn wait_for_events(event_loop: &EventLoop, mut until: Until) {
    // Between the last look into the inbox and the sleep a message may come: then no sleep.
    let inbox = &event_loop.tasks.inbox;
    let asleep = until != Until::Now && inbox.fall_asleep();
    if !asleep {
        until = Until::Now;
    }
    emit(|| Event::Wait { at_most: event_loop.clock.duration_of(until) });
    if let Err(error) = event_loop.reactor.wait(until, || event_loop.clock.now()) {
        panic!("the system refuses to say what is ready: {error}");
    }
    if asleep {
        inbox.wake_up();
    }
}

// ===== what tasks and other threads ask of it ===================================================

impl EventLoop {
    pub(crate) fn new(
        settings: Settings,
        world: World,
        backend: Backend,
        jobs: Box<dyn Jobs>,
    ) -> Self {
        let Settings { name, polls_between_looks, spin, report_stalls } = settings;
        let clock = Clock::new(world.clone());
        let inbox = Arc::new(Inbox::new(backend.notifier()));
        EventLoop {
            timers: Rc::new(Timers::new(clock.started())),
            reactor: Rc::new(Reactor::new(backend, inbox.clone())),
            tasks: Rc::new(Tasks::new(world, inbox)),
            clock,
            jobs,
            pending_jobs: Rc::default(),
            handles: Arc::new(()),
            name,
            stall: StallDetector::new(report_stalls),
            polls_between_looks,
            spin,
            stopped: Cell::new(false),
            messages: Cell::new(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::base::world::tests::CLOCK_READS;

    #[test]
    fn the_clock_is_read_once_a_look_and_not_at_every_turn() {
        let runtime = crate::Runtime::builder().polls_between_looks(64).build();
        let turns = 64 * 100;
        let before = CLOCK_READS.get();
        runtime.unwrap().block_on(async {
            for _ in 0..turns {
                crate::yield_now().await;
            }
        });
        let reads = CLOCK_READS.get() - before;
        assert!(reads <= turns / 64 + 5, "{reads}");
    }
}
