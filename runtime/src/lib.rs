//! popleft: a single-threaded cooperative runtime to read, to run and to step through.
//!
//! One thread, one deque of tasks, one loop: take the task at the left end, poll it, look outside
//! when there is nothing to do. Tasks need not be `Send`, share state in plain `Rc<RefCell<..>>`,
//! and hand control over at every `await` and nowhere else. What would block goes to a thread pool.
//!
//! # How the parts meet
//!
//! A *task* is a future in a table, the *deque* holds the ids of the tasks that are ready, and a
//! *waker* makes a task ready. The *reactor* maps file descriptors to wakers, the *timers* map
//! deadlines to wakers, and the loop knows nothing of why a task waits. Follow one byte: the kernel
//! reports its socket to the poller, the reactor finds the source and takes the waker that waits
//! there, the wake marks the task ready in the table and pushes its id to the right end of the
//! deque, the loop pops it from the left end and polls it, and inside a `net` future reads the byte.
//! A wake from another thread leaves the id in an inbox, which the loop reads when it looks outside;
//! a timer whose deadline has passed wakes its task in the same look.
//!
//! ```
//! use std::time::Duration;
//! use popleft::time::sleep;
//!
//! async fn countdown(n: u32) -> u32 {
//!     for _ in 0..n {
//!         sleep(Duration::from_millis(1)).await;
//!     }
//!     n
//! }
//!
//! let sum = popleft::run(async {
//!     let ten = popleft::spawn(countdown(10));
//!     let five = popleft::spawn(countdown(5));
//!     ten.await.unwrap() + five.await.unwrap()
//! });
//! assert_eq!(sum, 15);
//! ```
//!
//! # The sources
//!
//! A file knows files of its own layer and of those below it. If you read one file, read
//! `event_loop.rs`; `ARCHITECTURE.md` in the repository says what must stay true.
//!
//! ```text
//! ---- the front: where the parts are put together
//! builder.rs      run() and the settings of a runtime
//! cores.rs        one loop a core
//! ---- the tools
//! record/         a run's events, kept in memory or in a file, and read back
//! sim/            the simulated world: a virtual clock, chosen schedules, all schedules
//! ---- the API
//! net/            sockets: Async<T>, TcpListener, TcpStream, UnixStream, lookup_host
//! time/           sleep, timeout, interval
//! sync/           Mutex, which works under any executor
//! offload/        spawn_blocking and its thread pool
//! signal.rs       Ctrl-C and SIGTERM
//! handle.rs       how other threads reach a loop
//! generator.rs    generators on stable Rust; knows no other file
//! ---- the machine
//! event_loop.rs   the loop
//! task/           tasks.rs: all of waking; the table, the deque, the inbox, join handles, spawn
//! reactor/        file descriptors -> wakers
//! timers.rs       deadlines -> wakers
//! runtime.rs      Runtime: a loop that runs a main task
//! current.rs      which loop runs on this thread
//! stall.rs        detects programs that hang, and prints the report
//! deadlock.rs     which task waits for which, when nothing can happen any more
//! ---- the base: what need not be opened first
//! base/           ids, events, places, the turn, the clock, the wait-for graph of locks, warnings
//! base/world.rs   all that a run takes from outside: the clock, the next task, jobs
//! base/poller/    where the loop sleeps: epoll, or `polling` on other systems
//! ```

#![deny(missing_docs)]
#![deny(unsafe_code)]
#![debugger_visualizer(gdb_script_file = "debugger/popleft_gdb.py")]

#[cfg(not(unix))]
compile_error!(
    "popleft runs on Linux, macOS and the BSDs. On Windows use WSL, the Windows Subsystem for Linux."
);

pub mod generator;
pub mod net;
#[cfg(feature = "record")]
pub mod record;
#[cfg(feature = "signal")]
pub mod signal;
pub mod sim;
pub mod sync;
pub mod task;
pub mod time;

mod base;
mod builder;
mod cores;
mod current;
mod deadlock;
mod event_loop;
mod handle;
#[cfg(all(test, loom))]
mod loom_tests;
mod offload;
mod reactor;
mod runtime;
mod stall;
mod timers;

pub use base::event;
pub use builder::{Builder, run, try_run};
pub use cores::{Core, CoreListener, cores};
pub use handle::{Handle, RemoteHandle};
pub use offload::spawn_blocking;
pub use runtime::{RunError, Runtime};
pub use task::spawn::{spawn, yield_now};
pub use task::{JoinError, JoinHandle};
