//! The world of one run: its clock, its choices, its jobs and its signals.
//!
//! Time stands still while any task is ready. When none is, the clock jumps to the next thing that
//! happens: the loop's own earliest deadline, what stands in the agenda, or what arrives over the
//! network, whichever comes first.

use std::cell::{Cell, OnceCell, RefCell};
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::network::settings::Network;
use super::network::sockets::InMemory;
use super::random::Random;
use super::schedule::Schedule;
use super::search::{Advice, Search};
use super::trail::Trail;
use crate::base::access::{self, Object};
use crate::base::event::Cause;
use crate::base::network::Network as _;
use crate::base::network::Report;
use crate::base::panics::catch_and_report;
use crate::base::turn;
use crate::base::world::{self, Job, Jobs, SignalStream, Simulation, Until};
use crate::current;
use crate::task::Id;
use crate::task::inbox::{Inbox, Message};

/// What chooses the next task.
pub(super) enum Chooser {
    /// No choice: the one that has waited longest goes next.
    Fifo,
    Seeded(Random),
    /// The choices of a schedule, and how many of them have been made.
    Listed(Schedule, usize),
    Search(Rc<RefCell<Search>>),
}

/// Why a run was stopped from outside the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// All that could come has been seen in other runs.
    GivenUp,
    /// The schedule does not fit the program.
    ScheduleMismatch(String),
    /// The program does not do again what it did; this differs.
    NotTheSame(String),
    /// It took more turns than it was allowed.
    TooLong,
    /// The clock cannot count any further.
    EndOfTime,
}

/// The simulated world.
pub(super) struct Simulated {
    now: Cell<Instant>,
    /// The last moment that timers can tell from later ones.
    end_of_time: Instant,
    chooser: RefCell<Chooser>,
    /// The choices that were made, where there was one.
    chosen: RefCell<Vec<u32>>,
    /// What the run is held against, if it is.
    trail: RefCell<Option<Trail>>,
    turns_left: Cell<u64>,
    halt: RefCell<Option<Halt>>,
    /// Where the loop is told to stop.
    inbox: OnceCell<Arc<Inbox>>,
    agenda: RefCell<BinaryHeap<Reverse<Scheduled>>>,
    next_sequence: Cell<u64>,
    job_time: Duration,
    next_job_time: Cell<Option<Duration>>,
    listeners: RefCell<Vec<Weak<Listener>>>,
    pub(super) network: InMemory,
}

/// Something that was set going and happens later. What is due at the same time happens in the
/// order in which it was set going.
struct Scheduled {
    due: Instant,
    sequence: u64,
    action: Action,
}

enum Action {
    /// A job is done.
    Job(Arc<dyn Job>),
    /// A signal comes.
    Signal(i32),
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.sequence).cmp(&(other.due, other.sequence))
    }
}

impl Simulated {
    pub(super) fn new(
        chooser: Chooser,
        job_time: Duration,
        max_turns: u64,
        network: Network,
    ) -> Self {
        Simulated::from(world::zero(), chooser, job_time, max_turns, network)
    }

    /// A world for a loop that is run by a job of this one, or by a job of such a loop: it begins at
    /// the time at which that job is done.
    pub(super) fn for_a_job(&self) -> Self {
        let (began, turns) = (world::now_outside_loops(), self.turns_left.get());
        Simulated::from(began, Chooser::Fifo, self.job_time, turns, self.network.settings())
    }

    fn from(
        began: Instant,
        chooser: Chooser,
        job_time: Duration,
        max_turns: u64,
        network: Network,
    ) -> Self {
        Simulated {
            now: Cell::new(began),
            end_of_time: began + Duration::from_nanos(u64::MAX),
            chooser: RefCell::new(chooser),
            chosen: RefCell::default(),
            trail: RefCell::new(None),
            turns_left: Cell::new(max_turns),
            halt: RefCell::new(None),
            inbox: OnceCell::new(),
            agenda: RefCell::default(),
            next_sequence: Cell::new(0),
            job_time,
            next_job_time: Cell::new(None),
            listeners: RefCell::default(),
            network: InMemory::new(network, began),
        }
    }

    /// The loop that runs in this world can be stopped through its inbox.
    pub(super) fn set_inbox(&self, inbox: Arc<Inbox>) {
        assert!(self.inbox.set(inbox).is_ok(), "a simulated world has one loop");
    }

    /// Has the run held against what this trail knows.
    pub(super) fn follow(&self, trail: Trail) {
        self.trail.replace(Some(trail));
    }

    /// The trail with this run on it, and whether it was as it had to be.
    pub(super) fn take_trail(&self) -> Option<Trail> {
        self.trail.take()
    }

    /// How much time has passed.
    pub(super) fn elapsed(&self) -> Duration {
        self.now.get() - world::zero()
    }

    /// The choices so far.
    pub(super) fn schedule(&self) -> Schedule {
        Schedule::new(self.chosen.borrow().clone())
    }

    /// The choices so far, where it is not known what the thread was doing.
    pub(super) fn schedule_if_free(&self) -> Option<Schedule> {
        self.chosen.try_borrow().ok().map(|chosen| Schedule::new(chosen.clone()))
    }

    pub(super) fn take_halt(&self) -> Option<Halt> {
        self.halt.take()
    }

    /// How many choices of a schedule have not been made.
    pub(super) fn unused_choices(&self) -> Option<(usize, usize)> {
        match &*self.chooser.borrow() {
            Chooser::Listed(schedule, used) if *used < schedule.choices().len() => {
                Some((*used, schedule.choices().len()))
            }
            _ => None,
        }
    }

    pub(super) fn set_next_job_time(&self, time: Duration) {
        self.next_job_time.set(Some(time));
    }

    /// Has something happen after this time.
    fn happens_after(&self, time: Duration, action: Action) {
        let sequence = self.next_sequence.replace(self.next_sequence.get() + 1);
        let due = world::deadline(self.now.get(), time);
        self.agenda.borrow_mut().push(Reverse(Scheduled { due, sequence, action }));
    }

    /// Has a signal come after this time.
    pub(super) fn raise_after(&self, time: Duration, signal: i32) {
        self.happens_after(time, Action::Signal(signal));
    }

    // ===== choosing =============================================================================

    /// An index among `ready`, which holds at least one task.
    fn pick(&self, ready: &VecDeque<Id>) -> Result<usize, Halt> {
        if let Some(trail) = &mut *self.trail.borrow_mut() {
            trail.pass(ready, self.elapsed()).map_err(Halt::NotTheSame)?;
        }
        match &mut *self.chooser.borrow_mut() {
            Chooser::Search(search) => match search.borrow_mut().choose(ready) {
                Advice::Take(index) => Ok(index),
                Advice::GiveUp => Err(Halt::GivenUp),
                Advice::NotTheSame => Err(Halt::NotTheSame(format!(
                    "a task used other data in turn {} of one run than in that of the next",
                    search.borrow().turns_taken()
                ))),
            },
            _ if ready.len() == 1 => Ok(0),
            Chooser::Fifo => Ok(0),
            Chooser::Seeded(random) => Ok(random.below(ready.len())),
            Chooser::Listed(schedule, used) => {
                let Some(&index) = schedule.choices().get(*used) else {
                    return Ok(0);
                };
                *used += 1;
                if index as usize >= ready.len() {
                    return Err(Halt::ScheduleMismatch(format!(
                        "the schedule {schedule} does not fit the program: its choice number \
                         {used} is {index}, but only {} tasks were ready",
                        ready.len()
                    )));
                }
                Ok(index as usize)
            }
        }
    }

    /// No task has another turn.
    #[cold]
    fn stop(&self, halt: Halt) {
        self.halt.replace(Some(halt));
        if let Some(inbox) = self.inbox.get() {
            inbox.send(Message::Stop);
        }
    }

    // ===== time =================================================================================

    /// What happens next, apart from the loop's own deadlines: the earliest of all that is under
    /// way.
    fn earliest(&self) -> Option<Instant> {
        let agenda = self.agenda.borrow().peek().map(|Reverse(entry)| entry.due);
        agenda.into_iter().chain(self.network.next_event()).min()
    }

    fn pop_due(&self) -> Option<Action> {
        let mut agenda = self.agenda.borrow_mut();
        let is_due = agenda.peek().is_some_and(|Reverse(entry)| entry.due <= self.now.get());
        is_due.then(|| agenda.pop().map(|Reverse(entry)| entry.action)).flatten()
    }

    fn happen(&self, action: Action) {
        match action {
            Action::Job(job) => {
                // On another thread it would find no loop; nor does it here.
                let _elsewhere = current::leave();
                let _clock = world::stop_clock(self.now.get());
                turn::set_cause(Cause::Job);
                job.run();
            }
            Action::Signal(signal) => self.raise(signal),
        }
    }

    /// A signal comes now.
    pub(super) fn raise(&self, signal: i32) {
        access::record_write(Object::Anything);
        let mut heard = Vec::new();
        self.listeners.borrow_mut().retain(|listener| match listener.upgrade() {
            Some(listener) => {
                heard.push(listener);
                true
            }
            None => false,
        });
        for listener in heard {
            listener.hear(signal);
        }
    }
}

impl Simulation for Simulated {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn spawned(&self, task: Id) {
        self.network.spawned(task);
    }

    fn choose(&self, ready: &mut VecDeque<Id>) -> Option<Id> {
        if ready.is_empty() || self.halt.borrow().is_some() {
            return None;
        }
        let picked = match self.turns_left.get().checked_sub(1) {
            Some(left) => {
                self.turns_left.set(left);
                self.pick(ready)
            }
            None => Err(Halt::TooLong),
        };
        match picked {
            Ok(index) => {
                if ready.len() > 1 {
                    self.chosen.borrow_mut().push(index as u32);
                }
                ready.remove(index)
            }
            Err(halt) => {
                self.stop(halt);
                None
            }
        }
    }

    fn wait(&self, until: Until, reports: &mut Vec<Report>) {
        let deadline = match until {
            Until::Now => Some(self.now.get()),
            Until::Deadline(deadline) => Some(deadline),
            Until::Forever => None,
        };
        let next = deadline.into_iter().chain(self.earliest()).min();
        if let Some(next) = next {
            if next >= self.end_of_time {
                return self.stop(Halt::EndOfTime);
            }
            self.now.set(next.max(self.now.get()));
        }
        while let Some(action) = self.pop_due() {
            self.happen(action);
        }
        self.network.advance(self.now.get(), reports);
    }

    fn next_event(&self) -> Option<Instant> {
        self.earliest()
    }

    fn network(&self) -> &dyn crate::base::network::Network {
        &self.network
    }

    fn listen(&self, signal: i32) -> Rc<dyn SignalStream> {
        let listener =
            Rc::new(Listener { signal, heard: Cell::new(false), waiting: RefCell::default() });
        access::record_write(Object::Anything);
        self.listeners.borrow_mut().push(Rc::downgrade(&listener));
        listener
    }
}

/// Jobs that take no thread, only time: as many at once as there are.
pub(super) struct SimulatedJobs(pub(super) Rc<Simulated>);

impl Jobs for SimulatedJobs {
    fn submit(&self, job: Arc<dyn Job>) {
        let time = self.0.next_job_time.take().unwrap_or(self.0.job_time);
        self.0.happens_after(time, Action::Job(job));
    }

    /// The jobs that are left have been given up; they hold nothing any more.
    fn shut_down(&self) {
        let left = self.0.agenda.take();
        drop(left);
    }
}

/// Hears of one signal.
struct Listener {
    signal: i32,
    heard: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Listener {
    fn hear(&self, signal: i32) {
        if signal != self.signal {
            return;
        }
        self.heard.set(true);
        let waiting = self.waiting.take();
        for waker in waiting {
            catch_and_report(|| waker.wake());
        }
    }
}

impl SignalStream for Listener {
    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<()> {
        access::record_write(Object::Anything);
        if self.heard.replace(false) {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|other| other.will_wake(&waker)) {
            waiting.push(waker);
        }
        Poll::Pending
    }
}

// ===== the world that is simulated here =========================================================

thread_local! {
    static RUNNING: RefCell<Option<Rc<Simulated>>> = const { RefCell::new(None) };
}

/// Makes a world the one that is simulated on this thread, until it is dropped.
pub(super) struct Running;

impl Running {
    pub(super) fn begin(simulated: Rc<Simulated>) -> Running {
        RUNNING.replace(Some(simulated));
        Running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.replace(None);
    }
}

pub(in crate::sim) fn running() -> Option<Rc<Simulated>> {
    RUNNING.with_borrow(Clone::clone)
}

/// The same where it is not known what this thread was doing.
pub(super) fn running_if_any() -> Option<Rc<Simulated>> {
    RUNNING.try_with(|running| running.try_borrow().ok()?.clone()).ok()?
}
