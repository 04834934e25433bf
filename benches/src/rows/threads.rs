//! Across threads: being woken by another, and having another do something.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use crate::measure::{Sample, Stopwatch};
use crate::peers::Peer;

/// How many jobs are under way at once in the second row.
const IN_FLIGHT: u64 = 100;

/// What the two threads share: the waker of the task, and how often it was woken.
struct Bell {
    waker: Mutex<Option<Waker>>,
    rung: AtomicU64,
}

/// A task asks another thread to wake it, sleeps, and is woken.
pub fn woken<P: Peer>(operations: u64) -> Sample {
    let bell = Arc::new(Bell { waker: Mutex::new(None), rung: AtomicU64::new(0) });
    let theirs = bell.clone();
    let other = thread::spawn(move || {
        while theirs.rung.load(Acquire) < operations {
            thread::park();
            let waker = theirs.waker.lock().unwrap().take();
            if let Some(waker) = waker {
                theirs.rung.fetch_add(1, AcqRel);
                waker.wake();
            }
        }
    });
    let ringer = other.thread().clone();
    let sample = P::run(async move {
        let watch = Stopwatch::start();
        for i in 0..operations {
            let mut asked = false;
            poll_fn(|cx| {
                if bell.rung.load(Acquire) > i {
                    return Poll::Ready(());
                }
                if !asked {
                    asked = true;
                    *bell.waker.lock().unwrap() = Some(cx.waker().clone());
                    ringer.unpark();
                }
                Poll::Pending
            })
            .await;
        }
        watch.stop(operations)
    });
    other.join().unwrap();
    sample
}

/// One job after the other: each is handed over when the one before is back.
pub fn offloaded_in_turn<P: Peer>(operations: u64) -> Sample {
    P::run(async move {
        P::offload(|| 0).await;
        let watch = Stopwatch::start();
        for i in 0..operations {
            P::offload(move || i).await;
        }
        watch.stop(operations)
    })
}

/// A hundred jobs are handed over, then all are awaited.
pub fn offloaded_together<P: Peer>(operations: u64) -> Sample {
    P::run(async move {
        P::offload(|| 0).await;
        let batches = operations.div_ceil(IN_FLIGHT);
        let mut jobs = Vec::with_capacity(IN_FLIGHT as usize);
        let watch = Stopwatch::start();
        for _ in 0..batches {
            jobs.extend((0..IN_FLIGHT).map(|i| P::offload(move || i)));
            for job in jobs.drain(..) {
                job.await;
            }
        }
        watch.stop(batches * IN_FLIGHT)
    })
}

/// The limits, from the system's own means: epoll to sleep, an eventfd to be woken.
#[cfg(target_os = "linux")]
pub mod limit {
    use std::collections::VecDeque;
    use std::hint::black_box;
    use std::os::fd::OwnedFd;
    use std::sync::{Arc, Condvar, Mutex};
    use std::thread;

    use rustix::event::{EventfdFlags, epoll, eventfd};

    use super::IN_FLIGHT;
    use crate::measure::{Sample, Stopwatch};

    /// An eventfd in an epoll of its own, edge-triggered: a ring is one write, a sleep one wait,
    /// and it is never read.
    struct Doorbell {
        epoll: OwnedFd,
        bell: OwnedFd,
    }

    impl Doorbell {
        fn new() -> Self {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            let bell = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&epoll, &bell, epoll::EventData::new_u64(0), flags).unwrap();
            Doorbell { epoll, bell }
        }

        fn ring(&self) {
            rustix::io::write(&self.bell, &1u64.to_ne_bytes()).unwrap();
        }

        fn wait(&self) {
            let mut events = Vec::with_capacity(1);
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        }
    }

    /// One thread unparks another, sleeps, and is rung up.
    pub fn woken(operations: u64) -> Sample {
        let doorbell = Arc::new(Doorbell::new());
        let theirs = doorbell.clone();
        let asked = Arc::new((Mutex::new(0), Condvar::new()));
        let questions = asked.clone();
        let other = thread::spawn(move || {
            for i in 0..operations {
                let number = questions.0.lock().unwrap();
                drop(questions.1.wait_while(number, |number| *number <= i).unwrap());
                theirs.ring();
            }
        });
        let watch = Stopwatch::start();
        for _ in 0..operations {
            *asked.0.lock().unwrap() += 1;
            asked.1.notify_one();
            doorbell.wait();
        }
        let sample = watch.stop(operations);
        other.join().unwrap();
        sample
    }

    /// One worker with a queue of jobs, and a list of results that rings when it was empty.
    struct Worker {
        jobs: Mutex<VecDeque<Option<u64>>>,
        submitted: Condvar,
        results: Mutex<Vec<u64>>,
        doorbell: Doorbell,
    }

    impl Worker {
        fn work(&self) {
            loop {
                let jobs = self.jobs.lock().unwrap();
                let mut jobs = self.submitted.wait_while(jobs, |jobs| jobs.is_empty()).unwrap();
                let Some(Some(job)) = jobs.pop_front() else {
                    return;
                };
                drop(jobs);
                let mut results = self.results.lock().unwrap();
                results.push(black_box(job));
                let is_first = results.len() == 1;
                drop(results);
                if is_first {
                    self.doorbell.ring();
                }
            }
        }

        fn submit(&self, job: Option<u64>) {
            let mut jobs = self.jobs.lock().unwrap();
            jobs.push_back(job);
            let is_first = jobs.len() == 1;
            drop(jobs);
            if is_first {
                self.submitted.notify_one();
            }
        }
    }

    fn offloaded(together: u64, operations: u64) -> Sample {
        let worker = Arc::new(Worker {
            jobs: Mutex::default(),
            submitted: Condvar::new(),
            results: Mutex::default(),
            doorbell: Doorbell::new(),
        });
        let theirs = worker.clone();
        let thread = thread::spawn(move || theirs.work());
        let batches = operations.div_ceil(together);
        let watch = Stopwatch::start();
        for _ in 0..batches {
            for i in 0..together {
                worker.submit(Some(i));
            }
            let mut missing = together as usize;
            while missing > 0 {
                let results = std::mem::take(&mut *worker.results.lock().unwrap());
                missing -= results.len();
                if results.is_empty() {
                    worker.doorbell.wait();
                }
            }
        }
        let sample = watch.stop(batches * together);
        worker.submit(None);
        thread.join().unwrap();
        sample
    }

    /// One job after the other.
    pub fn offloaded_in_turn(operations: u64) -> Sample {
        offloaded(1, operations)
    }

    /// A hundred jobs at once.
    pub fn offloaded_together(operations: u64) -> Sample {
        offloaded(IN_FLIGHT, operations)
    }
}
