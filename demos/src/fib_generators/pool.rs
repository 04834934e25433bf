//! Futures: a pool of threads that compute, and how the loop learns that a result is there.

use std::cell::Cell;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;

use popleft::generator::{Generator, Yielder};

use super::socket::AsyncSocket;
use super::{Scheduler, Task, Wait};
use crate::fib::fib;
use crate::stop::PAUSE;

/// Names a future in the table of the tasks that wait for one.
pub(super) type FutureId = u64;

/// Threads that compute, and how the loop learns that they are done.
pub(super) struct Pool {
    has_threads: bool,
    jobs: mpsc::Sender<Job>,
    last_id: Cell<FutureId>,
    done: mpsc::Sender<FutureId>,
    /// A byte sent here is received by the loop, which wakes when it sleeps.
    future_notify: Arc<UnixStream>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Pool {
    pub(super) fn start(
        threads: usize,
        done: mpsc::Sender<FutureId>,
        future_notify: UnixStream,
    ) -> io::Result<Pool> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = queue.clone();
            thread::Builder::new().spawn(move || while run_next_job(&queue) {})?;
        }
        Ok(Pool {
            has_threads: threads > 0,
            jobs,
            last_id: Cell::new(0),
            done,
            future_notify: Arc::new(future_notify),
        })
    }

    /// Queues `work`; the receiver has its result once the future with this id is done.
    fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> (FutureId, mpsc::Receiver<T>) {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let (sender, result) = mpsc::channel();
        let done = self.done.clone();
        let future_notify = Arc::downgrade(&self.future_notify);
        let job = move || {
            // Sending fails only when the loop has ended and no task waits any more.
            let _ = sender.send(work());
            let _ = done.send(id);
            wake_the_loop(&future_notify);
        };
        self.jobs.send(Box::new(job)).expect("the threads run on");
        (id, result)
    }
}

/// Sends the byte: without it a task could wait for ever. So it is tried for as long as there is a
/// loop.
fn wake_the_loop(future_notify: &Weak<UnixStream>) {
    while let Some(future_notify) = future_notify.upgrade() {
        match (&*future_notify).write(b"x") {
            Ok(_) => return,
            // It is full: then the loop is going to wake anyway.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// `false` when the pool is gone.
fn run_next_job(queue: &Mutex<mpsc::Receiver<Job>>) -> bool {
    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
    match next {
        Ok(job) => job(),
        Err(mpsc::RecvError) => return false,
    }
    true
}

impl Scheduler {
    /// Yields while a thread of the pool computes; without threads it computes here.
    pub(super) async fn fib(&self, y: &Yielder<Wait>, n: u64) -> u64 {
        if self.pool.has_threads { self.run_in_pool(y, move || fib(n)).await } else { fib(n) }
    }

    async fn run_in_pool<T: Send + 'static>(
        &self,
        y: &Yielder<Wait>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (id, result) = self.pool.submit(work);
        y.yield_(Wait::Future(id)).await;
        result.recv().expect("the future is done")
    }
}

/// A task that makes the tasks ready whose future is done. It runs between turns like every other
/// task, so the task that has submitted a future stands in the table before it looks there.
pub(super) fn future_monitor(
    scheduler: Rc<Scheduler>,
    future_event: Rc<AsyncSocket>,
    done: mpsc::Receiver<FutureId>,
) -> Task {
    Generator::new(move |y| async move {
        loop {
            future_event.recv_in_any_case(&y, &mut [0; 100]).await;
            for id in done.try_iter() {
                let task = scheduler.future_wait.borrow_mut().remove(&id);
                scheduler.tasks.borrow_mut().extend(task);
            }
        }
    })
}
