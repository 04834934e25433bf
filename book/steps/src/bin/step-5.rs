//! Step 5, timers: a task can wait for a time. The loop sleeps until the earliest deadline.
use popleft_steps::select::{Interest, Sockets};
use popleft_steps::{answer, arguments, listen_non_blocking, not_claimed};
use programs::{countdown, keep_yielding, nap, serve, spawn_each};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use std::{os::fd::AsFd, pin::Pin, rc::Rc};

#[path = "../programs.rs"]
mod programs;

/// Why a future has stopped.
enum Turn {
    Yield,
    Wait(Rc<dyn AsFd>, Interest),
    Sleep(Instant),
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    /// The tasks that can run now. The talk calls it `tasks`.
    static READY: RefCell<VecDeque<Task>> = RefCell::default();
    /// The tasks that wait for a socket. The talk has two: `recv_wait` and `send_wait`.
    static SOCKETS: Sockets<Task> = Sockets::default();
    /// The tasks that sleep, the earliest deadline first.
    static TIMERS: RefCell<BTreeMap<Instant, Vec<Task>>> = RefCell::default();
    /// What the future that has just stopped says. A generator's `resume` returns it; `poll` has no room for it.
    static TURN: Cell<Option<Turn>> = const { Cell::new(None) };
}

fn spawn<T>(future: impl Future<Output = T> + 'static) {
    let task = Box::pin(async { drop(future.await) });
    READY.with_borrow_mut(|ready| ready.push_back(task));
}

/// Runs `main`, and beside it all that it spawns. Before each round of turns it looks outside.
fn block_on(main: impl Future<Output = ()> + 'static) {
    spawn(main);
    while anyone_left() {
        wait_for_events();
        READY.take().into_iter().for_each(resume);
    }
}

fn anyone_left() -> bool {
    !READY.with_borrow(VecDeque::is_empty)
        || !SOCKETS.with(Sockets::is_empty)
        || !TIMERS.with_borrow(BTreeMap::is_empty)
}

fn resume(mut task: Task) {
    let mut context = Context::from_waker(Waker::noop());
    if task.as_mut().poll(&mut context).is_ready() {
        return;
    }
    match TURN.take().expect("a future stops in `pause` only") {
        Turn::Yield => READY.with_borrow_mut(|ready| ready.push_back(task)),
        Turn::Wait(socket, interest) => {
            SOCKETS.with(|sockets| sockets.watch(socket, interest, task))
        }
        Turn::Sleep(deadline) => {
            TIMERS.with_borrow_mut(|timers| timers.entry(deadline).or_default().push(task))
        }
    }
}

fn wait_for_events() {
    let next = TIMERS.with_borrow(|timers| timers.keys().next().copied());
    let now = (!READY.with_borrow(VecDeque::is_empty)).then(Instant::now);
    let until = now.or(next);
    let timeout = until.map(|at| at.saturating_duration_since(Instant::now()));
    let woken = SOCKETS.with(|sockets| sockets.wait(timeout));
    let later = TIMERS.with_borrow_mut(|timers| timers.split_off(&Instant::now()));
    let due = TIMERS.replace(later).into_values().flatten();
    READY.with_borrow_mut(|ready| ready.extend(woken.into_iter().chain(due)));
}

/// The `yield`: tells the loop why, and stops once.
async fn pause(turn: Turn) {
    TURN.set(Some(turn));
    let mut outcomes = [Poll::Pending, Poll::Ready(())].into_iter();
    poll_fn(|_| outcomes.next().expect("polled twice")).await
}

async fn yield_now() {
    pause(Turn::Yield).await
}

async fn ready(socket: &Rc<impl AsFd + 'static>, interest: Interest) {
    pause(Turn::Wait(socket.clone(), interest)).await
}

async fn sleep(duration: Duration) {
    pause(Turn::Sleep(Instant::now() + duration)).await
}

async fn compute(line: String) -> String {
    answer(&line)
}

fn main() {
    let (scenario, numbers) = arguments("sleep 300 100 200");
    block_on(async move {
        match scenario.as_str() {
            "countdown" => spawn_each(numbers, countdown),
            "sleep" => spawn_each(numbers, nap),
            "yield" => spawn_each(numbers, keep_yielding),
            "serve" | "crowd" => serve(listen_non_blocking(&numbers)).await,
            _ => not_claimed(&scenario, "countdown sleep yield serve crowd"),
        }
    });
}
