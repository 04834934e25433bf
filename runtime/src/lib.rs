//! popleft: a single-threaded cooperative runtime to read, to run and to step through.
//!
//! One thread, one deque of tasks, one loop: take the task at the left end, poll it, look outside
//! when there is nothing to do. Tasks need not be `Send`, share state in plain `Rc<RefCell<..>>`,
//! and hand control over at every `await` and nowhere else. What would block goes to a thread pool.
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
//! # The rooms
//!
//! A room knows the rooms below it, never those above. If you read one file, read `event_loop.rs`.
//!
//! ```text
//! ---- what people use
//! net/            sockets: Async<T>, TcpListener, TcpStream, UnixStream, lookup_host
//! time/           sleep, timeout, interval
//! sync/           Mutex (knows only the ground: works under any executor)
//! offload/        the escape hatch: spawn_blocking and its thread pool
//! signal.rs       Ctrl-C and SIGTERM
//! spawn.rs        spawn, yield_now, and what a task knows of itself
//! builder.rs      run() and the settings of a runtime
//! handle.rs       how other threads reach a loop
//! cores.rs        one loop a core
//! generator.rs    generators on stable Rust (knows none of the others)
//! ---- the machine
//! runtime.rs      Runtime: a loop that runs a main task
//! event_loop.rs   the loop
//! stall.rs        the report for a program that hangs
//! task/           the table of tasks, the deque, wakers, join handles
//! reactor/        file descriptors -> wakers
//! timers.rs       deadlines -> wakers
//! ---- the ground
//! event.rs        what happens in a run, and the one function that tells it
//! turn.rs         whose turn it is on this thread, and how it ends
//! access.rs       what a turn touches that other tasks may notice
//! atomics.rs      what the inbox is made of: the standard library's, or loom's in its tests
//! locks.rs        who waits for which lock, and who holds it
//! peak.rs         giving memory back after a peak
//! network.rs      what can be watched; what is asked of a network that is not the system's
//! world.rs        all that a run takes from outside: clock, choice of the next task, jobs
//! ---- the windows, which look in
//! deadlock.rs     who waits for whom when nothing can happen; the loop opens it when it gives up
//! record/         a run's events, kept in memory or in a file, and read back
//! sim/            the simulated world: a virtual clock, chosen schedules, all schedules
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
