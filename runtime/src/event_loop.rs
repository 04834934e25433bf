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

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::access::{self, Object};
use crate::event::{Cause, End, Event, Place, Why, tell};
use crate::locks;
use crate::reactor::Reactor;
use crate::stall::{self, Hope};
use crate::task::Id;
use crate::task::body::{Body, catching};
use crate::task::deque::{Inbox, Message, Ready, RemoteSpawn};
use crate::task::table::{NewTask, Table, Taken};
use crate::timers::Timers;
use crate::turn;
use crate::world::{self, Jobs, Until};

/// One loop and all that it looks at.
pub(crate) struct EventLoop {
    pub(crate) ready: Ready,
    pub(crate) tasks: Table,
    pub(crate) timers: Timers,
    pub(crate) reactor: Reactor,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) jobs: Box<dyn Jobs>,
    /// How many results of jobs are still to come.
    pub(crate) owed: Cell<usize>,
    /// Held by every [`Handle`](crate::Handle): whoever has one may still send a message.
    pub(crate) handles: Arc<()>,
    pub(crate) name: String,
    pub(crate) hope: Hope,
    /// N: how many turns are taken before the loop looks outside, though more tasks are ready.
    polls_between_looks: u32,
    /// How long it looks again and again before it sleeps.
    spin: Duration,
    started: Instant,
    /// When the loop last looked outside.
    looked_at: Cell<Instant>,
    /// The same in milliseconds since it started, for those who park until the next look.
    looked_at_ms: Cell<u64>,
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
pub(crate) enum Returned {
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
    pub(crate) fn run(&self, main: Id, mut main_body: Pin<&mut dyn Body>) -> Returned {
        while !self.stopped.get() {
            for _ in 0..self.polls_between_looks {
                let Some(task) = self.ready.popleft() else {
                    break;
                };
                let ended = self.take_turn(task, main_body.as_mut());
                if ended && task == main {
                    return Returned::MainEnded;
                }
            }
            let Some(until) = self.how_long_to_sleep() else {
                return Returned::Stalled;
            };
            self.look_outside(until);
        }
        Returned::Stopped
    }

    /// Time has passed since the last run, if there was one, and much may have come. A program that
    /// gives the loop many short runs must not starve what is outside.
    pub(crate) fn begin_run(&self) {
        self.stopped.set(false);
        self.hope.begin();
        self.look_at_the_clock();
        let was_left_something =
            self.reactor.has_sources() || self.timers.next_deadline().is_some();
        if was_left_something || self.inbox.may_have_messages() {
            self.look_outside(Until::Now);
        }
    }

    /// Whoever asked this run to stop did not mean the next one.
    pub(crate) fn end_run(&self) {
        self.inbox.forget_stops();
    }

    /// One turn of one task: from the deque to its next `await` that is not ready, or to its end.
    fn take_turn(&self, task: Id, main_body: Pin<&mut dyn Body>) -> bool {
        let Some(mut taken) = self.tasks.begin_turn(task) else {
            return false;
        };
        turn::begin(task);
        tell(|| Event::Poll { task });
        let body: Pin<&mut dyn Body> = match &mut taken.body {
            Some(body) => body.as_mut(),
            None => main_body,
        };
        let polled = match taken.aborted {
            false => poll_task(task, body),
            true => Poll::Ready(body.cancel(task)),
        };
        match polled {
            Poll::Pending if turn::wants_another() => self.put_back(task, taken),
            Poll::Pending => self.park(task, taken),
            Poll::Ready(how) => self.finish(task, taken, how),
        }
        polled.is_ready()
    }

    /// The task only lets the others go first: to the right end of the deque with it.
    fn put_back(&self, task: Id, taken: Taken) {
        let is_new = self.tasks.end_turn_ready(task, taken.body);
        tell(|| {
            let (why, at) = turn::parked();
            Event::pending(task, why, at.place())
        });
        if is_new {
            self.ready.push_back(task);
            tell_of_wake(task);
        }
    }

    /// The task waits for something.
    fn park(&self, task: Id, taken: Taken) {
        let (why, at) = turn::parked();
        let (at, since) = (at.place(), self.looked_at_ms.get());
        self.tasks.end_turn_waiting(task, taken.body, (why, at), since);
        tell(|| Event::pending(task, why, at));
        if why == Why::Lock {
            locks::turn_ended(task);
        }
    }

    /// The task has ended: its joiner goes on, and what nobody wants is dropped.
    fn finish(&self, task: Id, taken: Taken, how: End) {
        let left = self.tasks.finish(task, taken.body);
        tell(|| Event::Done { task, how });
        left.joiner.wake();
        if let Some(ended) = left.unwanted {
            self.tasks.discard(ended);
        }
    }

    /// Wakes a task: puts it at the right end of the deque, unless it stands there already.
    fn wake(&self, task: Id) {
        if self.put_into_the_deque(task) {
            tell_of_wake(task);
        }
    }

    /// False when it is there already, or has ended.
    #[inline]
    fn put_into_the_deque(&self, task: Id) -> bool {
        let is_new = self.tasks.make_ready(task);
        if is_new {
            self.ready.push_back(task);
        }
        is_new
    }

    /// `None` when nothing can ever happen again.
    fn how_long_to_sleep(&self) -> Option<Until> {
        if !self.ready.is_empty() || self.inbox.may_have_messages() {
            return Some(Until::Now);
        }
        if let Some(deadline) = self.timers.next_deadline() {
            return Some(Until::Deadline(deadline));
        }
        let asked = self.reactor.is_waited_for() || self.owed.get() > 0;
        if self.ready.world().may_answer(asked) {
            return Some(Until::Forever);
        }
        stall::how_long_to_hope(self)
    }

    fn look_outside(&self, until: Until) {
        turn::set_cause(Cause::Outside);
        tell(|| Event::LookOutside);
        if until != Until::Now {
            self.give_memory_back();
        }
        let found = until != Until::Now && self.spin_until_something_happens();
        if !found && (until != Until::Now || self.reactor.has_sources()) {
            wait_for_events(self, until);
        }
        self.read_inbox();
        self.look_at_the_clock();
        self.timers.fire(self.looked_at.get());
        turn::set_cause(Cause::Outside);
    }

    /// Looks again and again, as long as the loop is set to. True when something has happened.
    fn spin_until_something_happens(&self) -> bool {
        if self.spin.is_zero() {
            return false;
        }
        let end = world::deadline(self.now(), self.spin);
        let end = self.timers.next_deadline().map_or(end, |due| due.min(end));
        while self.now() < end {
            wait_for_events(self, Until::Now);
            if !self.ready.is_empty() || self.inbox.may_have_messages() {
                return true;
            }
        }
        false
    }

    fn read_inbox(&self) {
        if !self.inbox.may_have_messages() {
            return;
        }
        let mut messages = self.messages.take();
        self.inbox.take(&mut messages);
        self.hope.heard_from_outside();
        for message in messages.drain(..) {
            turn::set_cause(Cause::Thread);
            match message {
                Message::Wake(task) => {
                    turn::set_cause(self.tasks.left_inbox(task));
                    self.wake(task);
                }
                // Of a job that was given up nobody speaks any more.
                Message::JobStarted(task) if self.tasks.has_ended(task) => {}
                Message::JobStarted(task) => tell(|| Event::JobStart { task }),
                Message::Spawn(spawn) => self.spawn_for_another_thread(spawn),
                Message::Abort(task) => self.abort(task),
                Message::Stop => self.stopped.set(true),
            }
        }
        self.messages.set(messages);
    }

    pub(crate) fn look_at_the_clock(&self) {
        let now = self.now();
        self.looked_at.set(now);
        let life = now.saturating_duration_since(self.started);
        self.looked_at_ms.set(life.as_millis() as u64);
    }

    /// Gives back the memory of a peak that is over. For when there is time: before a sleep.
    fn give_memory_back(&self) {
        self.ready.give_back();
        self.tasks.give_back();
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
    let asleep = until != Until::Now && event_loop.inbox.fall_asleep();
    if !asleep {
        until = Until::Now;
    }
    tell(|| Event::Wait { at_most: event_loop.duration_of(until) });
    if let Err(error) = event_loop.reactor.wait(until, || event_loop.now()) {
        panic!("the system refuses to say what is ready: {error}");
    }
    if asleep {
        event_loop.inbox.wake_up();
    }
}

// ===== what tasks and other threads ask of it ===================================================

impl EventLoop {
    pub(crate) fn new(
        settings: Settings,
        ready: Ready,
        reactor: Reactor,
        jobs: Box<dyn Jobs>,
    ) -> Self {
        let started = ready.world().now();
        let Settings { name, polls_between_looks, spin, report_stalls } = settings;
        EventLoop {
            inbox: Arc::new(Inbox::new(reactor.doorbell())),
            ready,
            tasks: Table::new(),
            timers: Timers::new(started),
            reactor,
            jobs,
            owed: Cell::new(0),
            handles: Arc::new(()),
            name,
            hope: Hope::new(report_stalls),
            polls_between_looks,
            spin,
            started,
            looked_at: Cell::new(started),
            looked_at_ms: Cell::new(0),
            stopped: Cell::new(false),
            messages: Cell::new(Vec::new()),
        }
    }

    /// Makes a task and puts it at the right end of the deque, unless it is to wait first.
    /// `make_body` is given the waker that the task is polled with; the main task has no body here.
    /// A runtime that is being dropped drops the future at once; its join handle finds it
    /// cancelled.
    pub(crate) fn spawn(
        &self,
        new: NewTask,
        make_body: impl FnOnce(Waker) -> Option<Pin<Box<dyn Body>>>,
    ) -> Id {
        if self.tasks.is_closed() {
            catching(|| drop(make_body));
            return Id::NOBODY;
        }
        let (at, is_ready) = (new.spawned_at, new.waits_for.is_none());
        let task = self.tasks.insert(new, &self.inbox, self.looked_at_ms(), make_body);
        if is_ready {
            self.ready.push_back(task);
        }
        self.ready.world().spawned(task);
        self.tell_of_spawn(task, at);
        task
    }

    #[inline]
    fn tell_of_spawn(&self, task: Id, at: Place) {
        let name = || self.tasks.record(task)?.name().map(Arc::from);
        tell(|| Event::Spawn { task, by: turn::cause(), name: name(), at });
    }

    fn spawn_for_another_thread(&self, spawn: RemoteSpawn) {
        let new = NewTask { name: None, spawned_at: spawn.at, waits_for: None };
        let task = self.spawn(new, |waker| Some((spawn.make_body)(waker)));
        self.tasks.detach(task);
    }

    /// Cancels a task at its next turn.
    pub(crate) fn abort(&self, task: Id) {
        access::touch(Object::Anything);
        if let Some(record) = self.tasks.abort(task) {
            Waker::from(record).wake();
        }
    }

    /// Whether this is the loop that runs on this thread now.
    #[inline]
    pub(crate) fn is_running_here(&self) -> bool {
        turn::running_loop() == Arc::as_ptr(&self.inbox).addr()
    }

    pub(crate) fn now(&self) -> Instant {
        self.ready.world().now()
    }

    /// When the loop last looked outside: a clock that costs nothing and is never fast.
    pub(crate) fn looked_at(&self) -> Instant {
        self.looked_at.get()
    }

    /// How many milliseconds of the loop's life had passed at its last look outside.
    pub(crate) fn looked_at_ms(&self) -> u64 {
        self.looked_at_ms.get()
    }

    fn duration_of(&self, until: Until) -> Option<Duration> {
        match until {
            Until::Now => Some(Duration::ZERO),
            Until::Deadline(deadline) => Some(deadline.saturating_duration_since(self.now())),
            Until::Forever => None,
        }
    }
}

// ===== the loop of this thread ==================================================================

thread_local! {
    /// It is never dropped, so it is there until the thread is gone, also for a runtime that lies
    /// in a thread-local itself. Nothing leaks: [`Entered`] takes out what it has put in.
    static CURRENT: RefCell<ManuallyDrop<Option<Rc<EventLoop>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// The loop that runs on this thread.
pub(crate) fn current() -> Option<Rc<EventLoop>> {
    CURRENT.with(|current| Option::clone(&current.borrow()))
}

fn replace_current(event_loop: Option<Rc<EventLoop>>) -> Option<Rc<EventLoop>> {
    ManuallyDrop::into_inner(CURRENT.replace(ManuallyDrop::new(event_loop)))
}

/// Wakes a task of the loop that runs on this thread.
#[inline]
pub(crate) fn wake(task: Id) {
    let is_news = |event_loop: &Rc<EventLoop>| event_loop.put_into_the_deque(task);
    if CURRENT.with(|current| current.borrow().as_ref().is_some_and(is_news)) {
        tell_of_wake(task);
    }
}

fn tell_of_wake(task: Id) {
    tell(|| Event::Wake { task, by: turn::cause() });
}

/// Makes `event_loop` the one that runs on this thread, until the guard is dropped.
pub(crate) fn enter(event_loop: Rc<EventLoop>) -> Entered {
    let address = Arc::as_ptr(&event_loop.inbox).addr();
    let cause_before = turn::cause();
    turn::set_cause(Cause::Outside);
    Entered {
        cause_before,
        loop_before: replace_current(Some(event_loop)),
        address_before: turn::set_running_loop(address),
    }
}

/// Has this thread be as one that runs no loop, but must not block either, until the guard is
/// dropped: for what would be done on another thread.
pub(crate) fn step_out() -> Entered {
    Entered {
        cause_before: turn::cause(),
        loop_before: replace_current(None),
        address_before: turn::set_running_loop(turn::NO_LOOP_HERE),
    }
}

/// Puts back what was before.
pub(crate) struct Entered {
    cause_before: Cause,
    loop_before: Option<Rc<EventLoop>>,
    address_before: usize,
}

impl Drop for Entered {
    fn drop(&mut self) {
        turn::set_running_loop(self.address_before);
        turn::set_cause(self.cause_before);
        let left = replace_current(self.loop_before.take());
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use crate::world::tests::CLOCK_READS;

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
