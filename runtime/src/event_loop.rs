//! The loop.
//!
//! *Take tasks from the left of the deque and poll them. When the deque is empty, or after N polls,
//! look outside: which sockets does the kernel report as ready, what did other threads put into the
//! inbox, which deadlines have passed; sleeping exactly until the next deadline when there is
//! nothing else to do. Repeat.*
//!
//! If you read one file of this library, read this one. Follow one byte through it: the kernel
//! reports to the reactor that a source is readable; the reactor wakes the source's waker; the
//! waker pushes its task to the right end of the deque; the loop pops it from the left end and
//! polls it; inside, a `net` future reads the byte.

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

/// One loop with its tasks, timers, reactor and thread pool.
pub(crate) struct EventLoop {
    pub(crate) tasks: Rc<Tasks>,
    pub(crate) timers: Rc<Timers>,
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) clock: Clock,
    pub(crate) jobs: Box<dyn Jobs>,
    /// How many jobs have been submitted whose futures have neither delivered a result nor been
    /// dropped. While there are any, a message may come.
    pub(crate) pending_jobs: Rc<Cell<usize>>,
    /// Cloned into every [`Handle`](crate::Handle): its count tells whether a handle may still send
    /// a message.
    pub(crate) handles: Arc<()>,
    pub(crate) name: String,
    pub(crate) stall: StallDetector,
    /// N: how many turns are taken before the loop looks outside, although tasks are ready.
    polls_between_looks: u32,
    /// How long it polls the system without sleeping before it sleeps.
    spin: Duration,
    /// The current run is to return. Set by a message, cleared when a run begins.
    stopped: Cell<bool>,
    /// Reused for the messages of the inbox. Empty outside of `read_inbox`.
    messages: Cell<Vec<Message>>,
}

/// The settings of a loop.
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
    /// A handle stopped it.
    Stopped,
    /// Nothing can ever happen again. A report has been printed.
    Stalled,
}

// ===== the loop =================================================================================

impl EventLoop {
    /// Runs tasks until the main task has ended. The main task's future is on the caller's stack.
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

    /// Prepares a run. Time has passed since the last one, so if there is anything outside, the
    /// loop looks there first: otherwise a program of many short runs would starve I/O and timers.
    pub(crate) fn begin_run(&self) {
        self.stopped.set(false);
        self.stall.begin();
        self.clock.look();
        let has_sources_or_timers = self.reactor.has_sources() || !self.timers.is_empty();
        if has_sources_or_timers || self.tasks.inbox.may_have_messages() {
            self.look_outside(Until::Now);
        }
    }

    /// A stop message that arrived too late for this run must not end the next one.
    pub(crate) fn end_run(&self) {
        self.tasks.inbox.forget_stops();
    }

    /// One turn of one task: up to its next `await` that is not ready, or to its end. True if it
    /// has ended.
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

    /// The task has yielded: it goes to the right end of the deque.
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
        let (at, since_ms) = (at.place(), self.clock.looked_at_ms());
        self.tasks.table.end_turn_waiting(task, taken.body, (why, at), since_ms);
        emit(|| lock_graph::pending(task, why, at));
        if why == Why::Lock {
            lock_graph::turn_ended(task);
        }
    }

    /// The task has ended: its joiner is woken, or if it is detached, its result is dropped.
    fn finish(&self, task: Id, taken: Taken, how: End) {
        let left = self.tasks.table.finish(task, taken.body);
        emit(|| Event::Done { task, how });
        left.joiner.wake();
        if let Some(ended) = left.unwanted {
            self.tasks.table.discard(ended);
        }
    }

    /// How long the loop may sleep; `None` when nothing can ever happen again.
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

    /// Wakes the tasks whose events have happened outside, in three phases: I/O, inbox, timers.
    fn look_outside(&self, until: Until) {
        turn::set_cause(Cause::Outside);
        emit(|| Event::LookOutside);
        let may_sleep = until != Until::Now;

        // ----- I/O: the only phase in which the loop sleeps.
        //
        // Why only before a sleep: giving memory back takes time, and ready tasks should not wait
        // for it.
        if may_sleep {
            self.give_memory_back();
        }
        // Why only before a sleep: spinning replaces one. When tasks are ready, a single look is
        // enough.
        let found = may_sleep && self.spin_until_something_happens();
        // Why not after a successful spin: it has asked the system, and there is work to do now.
        // Why not without sources when tasks are ready: the system call would return nothing.
        if !found && (may_sleep || self.reactor.has_sources()) {
            wait_for_events(self, until);
        }

        // ----- Inbox: after the sleep, which a message may have ended.
        self.read_inbox();

        // ----- Clock and timers: after the sleep, since time has passed. The clock is read once,
        // for the timers and for all turns until the next look.
        self.clock.look();
        self.timers.fire(self.clock.looked_at());

        // The wakes above have set the cause to what woke each task.
        turn::set_cause(Cause::Outside);
    }

    /// Polls the system without sleeping for as long as `Builder::spin` allows. True when something
    /// has happened.
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

    /// Does what other threads have requested, in the order in which the messages were sent.
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
                // The future of the job has been dropped meanwhile: no event.
                Message::JobStarted(task) if self.tasks.table.has_ended(task) => {}
                Message::JobStarted(task) => emit(|| Event::JobStart { task }),
                Message::Spawn(spawn) => self.tasks.spawn_for_another_thread(spawn),
                Message::Abort(task) => self.tasks.abort(task),
                Message::Stop => self.stopped.set(true),
            }
        }
        self.messages.set(messages);
    }

    /// Gives back the memory of a peak that is over.
    fn give_memory_back(&self) {
        self.tasks.ready.give_back();
        self.tasks.table.give_back();
        self.timers.give_back();
        self.reactor.give_back();
    }
}

/// A place for breakpoints: every poll of a task goes through here.
#[inline(never)]
pub(crate) fn poll_task(task: Id, body: Pin<&mut dyn Body>) -> Poll<End> {
    body.poll(task)
}

/// A place for breakpoints: here the loop asks the system what is ready, and sleeps if it may.
#[inline(never)]
pub(crate) fn wait_for_events(event_loop: &EventLoop, mut until: Until) {
    // If a message has arrived since the loop last checked the inbox, it must not sleep.
    let inbox = &event_loop.tasks.inbox;
    let asleep = until != Until::Now && inbox.fall_asleep();
    if !asleep {
        until = Until::Now;
    }
    emit(|| Event::Wait { at_most: event_loop.clock.duration_of(until) });
    if let Err(error) = event_loop.reactor.wait(until, || event_loop.clock.now()) {
        panic!("the system cannot report what is ready: {error}");
    }
    if asleep {
        inbox.wake_up();
    }
}

// ===== construction =============================================================================

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
    fn the_clock_is_read_once_per_look_and_not_in_every_turn() {
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
