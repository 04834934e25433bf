//! Step 6, wakers: the loop need not know what a task waits for. Who makes it true wakes the task.
use popleft_steps::select::{Interest, Sockets};
use popleft_steps::{answer, arguments, listen_non_blocking, not_claimed};
use programs::{countdown, keep_yielding, nap, serve, spawn_each};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use std::{env, os::fd::AsFd, pin::Pin, rc::Rc};

#[path = "../programs.rs"]
mod programs;

type Task = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static TASKS: RefCell<HashMap<usize, Task>> = RefCell::default();
    /// Which tasks can run now, by their numbers.
    static READY: RefCell<VecDeque<usize>> = RefCell::default();
    /// Who is woken when a socket is ready, and who at a deadline.
    static SOCKETS: Sockets<Waker> = Sockets::default();
    static TIMERS: RefCell<BTreeMap<Instant, Vec<Waker>>> = RefCell::default();
    static LAST_ID: Cell<usize> = const { Cell::new(0) };
    static POLLS: Cell<u64> = const { Cell::new(0) };
}
/// The draft that comes first: who must wait asks for another turn at once, and looks again.
static BUSY: LazyLock<bool> = LazyLock::new(|| env::args().any(|word| word == "--busy"));

struct TaskWaker(usize);

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        READY.with_borrow_mut(|ready| ready.push_back(self.0));
    }
}

fn spawn<T>(future: impl Future<Output = T> + 'static) {
    let id = LAST_ID.replace(LAST_ID.get() + 1);
    let task = Box::pin(async { drop(future.await) });
    TASKS.with_borrow_mut(|tasks| tasks.insert(id, task));
    Arc::new(TaskWaker(id)).wake();
}

/// Runs `main`, and beside it all that it spawns. Before each round of turns it looks outside.
fn block_on(main: impl Future<Output = ()> + 'static) {
    spawn(main);
    while !TASKS.with_borrow(HashMap::is_empty) {
        wait_for_events();
        READY.take().into_iter().for_each(resume);
    }
    eprintln!("{} polls", POLLS.get());
}

fn resume(id: usize) {
    let Some(mut task) = TASKS.with_borrow_mut(|tasks| tasks.remove(&id)) else {
        return; // It has ended, and was woken once more.
    };
    let waker = Waker::from(Arc::new(TaskWaker(id)));
    let mut context = Context::from_waker(&waker);
    POLLS.set(POLLS.get() + 1);
    if task.as_mut().poll(&mut context).is_pending() {
        TASKS.with_borrow_mut(|tasks| tasks.insert(id, task));
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
    woken.into_iter().chain(due).for_each(Waker::wake);
}

/// Stops once, and leaves the waker with those who know when to go on.
async fn park(leave: impl FnOnce(Waker)) {
    let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
    if *BUSY {
        waker.wake();
    } else {
        leave(waker);
    }
    let mut outcomes = [Poll::Pending, Poll::Ready(())].into_iter();
    poll_fn(|_| outcomes.next().expect("polled twice")).await
}

async fn yield_now() {
    park(Waker::wake).await
}

async fn ready(socket: &Rc<impl AsFd + 'static>, interest: Interest) {
    park(|waker| SOCKETS.with(|sockets| sockets.watch(socket.clone(), interest, waker))).await
}

async fn sleep(duration: Duration) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        park(|waker| TIMERS.with_borrow_mut(|timers| timers.entry(end).or_default().push(waker)))
            .await;
    }
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
