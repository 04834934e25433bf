//! The tasks of one loop, and all of waking.
//!
//! A wake on the loop's own thread starts in [`wake`]: if the task's row says that it waits, it becomes
//! ready, and its id goes to the right end of the deque. From anywhere else the id goes into the
//! inbox, and the loop does the same when it reads the inbox.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::body::Body;
use super::inbox::{Inbox, RemoteSpawn};
use super::local_waker::LocalWaker;
use super::ready::Ready;
use super::record::Record;
use super::table::{NewTask, Table};
use crate::base::access::{self, Object};
use crate::base::event::{Event, emit};
use crate::base::id::Id;
use crate::base::panics::catch_and_report;
use crate::base::place::Place;
use crate::base::turn;
use crate::base::world::World;

/// The parts of a loop that tasks and wakers need.
pub(crate) struct Tasks {
    pub(crate) table: Table,
    pub(crate) ready: Ready,
    /// Messages from other threads.
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) world: World,
}

// ===== waking ===================================================================================

/// Wakes a task of the loop that runs on this thread.
#[inline]
pub(crate) fn wake(task: Id) {
    let woken = CURRENT.with(|current| match &**current.borrow() {
        Some(tasks) => tasks.make_ready(task),
        None => false,
    });
    if woken {
        emit(|| Event::Wake { task, by: turn::cause() });
    }
}

impl Wake for Record {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    #[inline]
    fn wake_by_ref(self: &Arc<Self>) {
        if self.lives_on_the_running_loop() {
            wake(self.id());
        } else {
            self.wake_from_elsewhere();
        }
    }
}

impl LocalWaker {
    /// Wakes its task, or calls the foreign waker; if that panics, the panic is caught and reported.
    #[inline]
    pub(crate) fn wake(self) {
        match self {
            LocalWaker::Task(task) => wake(task),
            LocalWaker::Foreign(waker) => {
                access::record_write(Object::Anything);
                catch_and_report(|| waker.wake());
            }
        }
    }
}

impl Tasks {
    /// Puts a waiting task at the right end of the deque. False when it is in the deque already, or
    /// has ended.
    #[inline]
    fn make_ready(&self, task: Id) -> bool {
        let waited = self.table.make_ready(task);
        if waited {
            self.ready.push_back(task);
        }
        waited
    }

    /// Takes the task whose turn is next: the leftmost, or the one that a simulated world chooses.
    #[inline]
    pub(crate) fn popleft(&self) -> Option<Id> {
        self.ready.popleft(&self.world)
    }

    /// Cancels a task at its next turn.
    pub(crate) fn abort(&self, task: Id) {
        access::record_write(Object::Anything);
        if let Some(record) = self.table.abort(task) {
            Waker::from(record).wake();
        }
    }
}

// ===== spawning =================================================================================

impl Tasks {
    pub(crate) fn new(world: World, inbox: Arc<Inbox>) -> Self {
        Tasks { table: Table::new(), ready: Ready::default(), inbox, world }
    }

    /// Creates a task, at the right end of the deque unless it starts out waiting. `make_body` gets
    /// the waker with which the task will be polled; the main task has no body here. A runtime that
    /// is being dropped drops the future at once, and the join handle finds the task cancelled.
    pub(crate) fn spawn(
        &self,
        new: NewTask,
        now_ms: u64,
        make_body: impl FnOnce(Waker) -> Option<Pin<Box<dyn Body>>>,
    ) -> Id {
        if self.table.is_closed() {
            catch_and_report(|| drop(make_body));
            return Id::NOBODY;
        }
        let (at, is_ready) = (new.spawned_at, new.waits_for.is_none());
        let task = self.table.insert(new, &self.inbox, now_ms, make_body);
        if is_ready {
            self.ready.push_back(task);
        }
        self.world.spawned(task);
        self.emit_spawn(task, at);
        task
    }

    #[inline]
    fn emit_spawn(&self, task: Id, at: Place) {
        let name = || self.table.record(task)?.name().map(Arc::from);
        emit(|| Event::Spawn { task, by: turn::cause(), name: name(), at });
    }

    pub(crate) fn spawn_for_another_thread(&self, spawn: RemoteSpawn) {
        let new = NewTask { name: None, spawned_at: spawn.at, waits_for: None };
        let task = self.spawn(new, 0, |waker| Some((spawn.make_body)(waker)));
        self.table.detach(task);
    }
}

// ===== the tasks of this thread =================================================================

thread_local! {
    /// Never dropped, so that it can be used until the thread is gone, also by a runtime that is in a
    /// thread-local itself. Nothing leaks: `current::Entered` takes out what it has put in.
    static CURRENT: RefCell<ManuallyDrop<Option<Rc<Tasks>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// The tasks of the loop that runs on this thread.
pub(crate) fn current() -> Option<Rc<Tasks>> {
    CURRENT.with(|current| Option::clone(&current.borrow()))
}

/// Sets the tasks that [`current`] returns on this thread. Returns those before.
pub(crate) fn set_current(tasks: Option<Rc<Tasks>>) -> Option<Rc<Tasks>> {
    ManuallyDrop::into_inner(CURRENT.replace(ManuallyDrop::new(tasks)))
}

impl Tasks {
    /// Whether they belong to the loop that runs on this thread now.
    #[inline]
    pub(crate) fn are_running_here(&self) -> bool {
        self.inbox.is_of_the_running_loop()
    }
}
