//! One task for each thing that a task can wait for, to be looked at in a debugger.
//!
//! ```console
//! $ cargo build -p popleft --example who_waits
//! $ gdb -q -iex 'add-auto-load-safe-path .' -ex 'break who_waits::look_here' -ex run \
//!       -ex 'popleft tasks' -ex 'popleft bt' target/debug/examples/who_waits
//! ```

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::mpsc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, future};
use popleft::net::UnixStream;
use popleft::time::{sleep, timeout};
use popleft::{spawn_blocking, task, yield_now};

const HOUR: Duration = Duration::from_secs(3600);

fn main() {
    popleft::run(async {
        let (job, finish) = start_all();
        for _ in 0..3 {
            yield_now().await; // all others come to their awaits
        }
        look_here();
        finish.send(()).expect("the job waits for it");
        job.await;
    });
}

/// A place for a breakpoint: here the main task runs, and all others wait.
#[inline(never)]
fn look_here() {
    std::hint::black_box(());
}

/// Spawns a task of each kind. Returns what has to be awaited, and what ends the job.
fn start_all() -> (impl Future<Output = ()>, mpsc::Sender<()>) {
    name("reader").spawn(read_forever()).detach();
    name("nested").spawn(outer(3)).detach();
    name("guarded").spawn(read_for_an_hour()).detach();
    name("boxed").spawn(boxed()).detach();
    name("either").spawn(either()).detach();
    name("through a trait").spawn(read_by_trait()).detach();
    name("foreign").spawn(pending::<()>()).detach();
    let sleeper = name("sleeper").spawn(sleep(2 * HOUR));
    name("joiner").spawn(async { sleeper.await.unwrap() }).detach();
    let (finish, finished) = mpsc::channel();
    let job = spawn_blocking(move || finished.recv().unwrap());
    let waits_for_job = name("waits for job").spawn(async { job.await.unwrap() });
    let ready = name("always ready").spawn(async {
        loop {
            yield_now().await;
        }
    });
    let end = async move {
        waits_for_job.await.unwrap();
        ready.abort();
    };
    (end, finish)
}

fn name(name: &str) -> task::Builder {
    task::Builder::new().name(name)
}

trait Detach {
    fn detach(self);
}

impl<T> Detach for popleft::JoinHandle<T> {
    fn detach(self) {
        drop(self);
    }
}

async fn read_forever() {
    let (near, _far) = UnixStream::pair().unwrap();
    near.read(&mut [0; 8]).await.unwrap(); // reader waits
}

async fn read_for_an_hour() {
    let (near, _far) = UnixStream::pair().unwrap();
    let _ = timeout(HOUR, near.read(&mut [0; 8])).await; // guarded waits
}

async fn read_by_trait() {
    let (mut near, _far) = UnixStream::pair().unwrap();
    AsyncReadExt::read(&mut near, &mut [0; 8]).await.unwrap(); // trait waits
}

async fn outer(depth: u32) {
    if depth > 0 {
        inner(depth * 2).await; // outer waits
    }
}

async fn inner(hours: u32) {
    sleep(HOUR * hours).await; // inner waits
}

async fn boxed() {
    let boxed: Pin<Box<dyn Future<Output = ()>>> = Box::pin(outer(1));
    boxed.await; // boxed waits
}

async fn either() {
    future::or(outer(5), pending()).await; // either waits
}
