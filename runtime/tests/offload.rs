//! The laws of the thread pool: what is cancelled, what is counted, and what is waited for.

// Handles are carried out of the runs that made them.
#![allow(clippy::async_yields_async)]

mod child;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use popleft::event::Event;
use popleft::{RunError, Runtime, spawn_blocking, yield_now};

/// A gate that jobs wait at until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        let (open, _) = self.0.1.wait_timeout_while(open, LIMIT, |open| !*open).unwrap();
        assert!(*open, "nobody opened the gate within {LIMIT:?}");
    }
}

/// Far longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, and fails when it does not come to hold.
fn wait_until(condition: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "it does not come to hold within {LIMIT:?}");
        thread::yield_now();
    }
}

fn pool_of(threads: usize) -> Runtime {
    Runtime::builder().pool_size(threads).build().unwrap()
}

#[test]
fn a_job_runs_on_another_thread_and_brings_its_result() {
    popleft::run(async {
        let here = thread::current().id();
        let there = spawn_blocking(|| thread::current().id()).await.unwrap();
        assert_ne!(here, there);
    });
}

#[test]
fn the_loop_goes_on_while_a_job_runs() {
    popleft::run(async {
        let gate = Gate::default();
        let closed = gate.clone();
        let job = spawn_blocking(move || closed.wait());
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!job.is_finished());
        gate.open();
        job.await.unwrap();
    });
}

#[test]
fn jobs_run_at_once_up_to_the_pools_size_and_in_order() {
    pool_of(3).block_on(async {
        // Three meet at the barrier: that many run at once.
        let barrier = Arc::new(Barrier::new(3));
        let meet = || {
            let barrier = barrier.clone();
            spawn_blocking(move || barrier.wait().is_leader())
        };
        for job in [meet(), meet(), meet()] {
            job.await.unwrap();
        }
    });
    pool_of(1).block_on(async {
        let running = Arc::new(AtomicUsize::new(0));
        let order = Arc::new(Mutex::new(vec![]));
        let jobs: Vec<_> = (0..50)
            .map(|n| {
                let (running, order) = (running.clone(), order.clone());
                spawn_blocking(move || {
                    assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                    order.lock().unwrap().push(n);
                    running.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for job in jobs {
            job.await.unwrap();
        }
        assert!(order.lock().unwrap().iter().copied().eq(0..50));
    });
}

#[test]
fn more_jobs_than_threads_all_have_their_turn() {
    pool_of(4).block_on(async {
        let jobs: Vec<_> = (0..1000).map(|n| spawn_blocking(move || n)).collect();
        for (n, job) in jobs.into_iter().enumerate() {
            assert_eq!(job.await.unwrap(), n);
        }
    });
}

#[test]
fn idle_threads_end_and_new_ones_come() {
    let runtime =
        Runtime::builder().name("idle-test").pool_idle(Duration::from_millis(1)).build().unwrap();
    runtime.block_on(async {
        let mut threads = HashSet::new();
        // Every job finds a thread, though the one before has ended; as soon as a second thread is
        // seen, the first has gone.
        while threads.len() < 2 {
            threads.insert(spawn_blocking(|| thread::current().id()).await.unwrap());
            popleft::time::sleep(Duration::from_millis(3)).await;
        }
        let name = spawn_blocking(|| thread::current().name().map(str::to_string)).await.unwrap();
        assert!(name.unwrap().starts_with("idle-test-pool-"));
    });
}

#[test]
fn one_thread_is_enough_for_jobs_that_come_one_by_one() {
    popleft::run(async {
        let mut threads = HashSet::new();
        for _ in 0..100 {
            threads.insert(spawn_blocking(|| thread::current().id()).await.unwrap());
        }
        // The next job may come before the thread has put itself down as idle; then there are two.
        assert!(threads.len() <= 3, "{}", threads.len());
    });
}

#[test]
fn a_panic_reaches_the_handle_and_the_thread_lives_on() {
    pool_of(1).block_on(async {
        let thread_of = || spawn_blocking(|| thread::current().id());
        let before = thread_of().await.unwrap();
        let error = spawn_blocking(|| panic!("meant to be")).await.unwrap_err();
        assert!(error.is_panic());
        assert!(error.to_string().contains("meant to be"), "{error}");
        assert_eq!(thread_of().await.unwrap(), before);
    });
}

// ===== cancellation in each state ===============================================================

#[test]
fn a_queued_job_that_is_aborted_never_runs() {
    pool_of(1).block_on(async {
        let gate = Gate::default();
        let closed = gate.clone();
        let first = spawn_blocking(move || closed.wait());
        let ran = Arc::new(AtomicBool::new(false));
        let flag = ran.clone();
        let token = Arc::new(());
        let held = token.clone();
        let queued = spawn_blocking(move || {
            flag.store(true, Ordering::SeqCst);
            drop(held);
        });
        queued.abort();
        assert!(queued.await.unwrap_err().is_cancelled());
        assert_eq!(Arc::strong_count(&token), 1, "what the job held is dropped with it");
        gate.open();
        first.await.unwrap();
        spawn_blocking(|| ()).await.unwrap();
        assert!(!ran.load(Ordering::SeqCst));
    });
}

#[test]
fn a_running_job_that_is_aborted_is_abandoned_and_its_result_dropped() {
    pool_of(1).block_on(async {
        let (begun, begins) = mpsc::channel();
        let gate = Gate::default();
        let closed = gate.clone();
        let token = Arc::new(());
        let result = token.clone();
        let job = spawn_blocking(move || {
            begun.send(()).unwrap();
            closed.wait();
            result
        });
        begins.recv_timeout(LIMIT).unwrap();
        job.abort();
        assert!(job.await.unwrap_err().is_cancelled());
        gate.open();
        // The pool's only thread comes to this job after it has dropped that result.
        spawn_blocking(|| ()).await.unwrap();
        assert_eq!(Arc::strong_count(&token), 1);
    });
}

#[test]
fn a_job_that_is_aborted_after_its_end_keeps_its_result_if_it_was_seen() {
    popleft::run(async {
        let job = spawn_blocking(|| 5);
        while !job.is_finished() {
            yield_now().await;
        }
        job.abort();
        assert_eq!(job.await.unwrap(), 5);
    });
}

#[test]
fn a_detached_job_runs_and_its_result_is_dropped() {
    pool_of(1).block_on(async {
        let token = Arc::new(());
        let result = token.clone();
        let gate = Gate::default();
        let opens = gate.clone();
        drop(spawn_blocking(move || {
            opens.open();
            result
        }));
        gate.wait();
        spawn_blocking(|| ()).await.unwrap();
        let end = Instant::now() + LIMIT;
        while Arc::strong_count(&token) > 1 {
            assert!(Instant::now() < end, "the result was not dropped within {LIMIT:?}");
            yield_now().await;
        }
    });
}

#[test]
fn a_job_may_panic_in_its_destructors() {
    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("in drop, as it is meant to");
        }
    }
    pool_of(1).block_on(async {
        // Its result, which nobody wants ..
        let (begun, begins) = mpsc::channel();
        let job = spawn_blocking(move || {
            begun.send(()).unwrap();
            PanicsInDrop
        });
        begins.recv_timeout(LIMIT).unwrap();
        job.abort();
        let _ = job.await.map(std::mem::forget);
        // .. and what it holds, when it is taken out of the queue.
        let gate = Gate::default();
        let closed = gate.clone();
        let first = spawn_blocking(move || closed.wait());
        let bomb = PanicsInDrop;
        let queued = spawn_blocking(move || std::mem::forget(bomb));
        queued.abort();
        assert!(queued.await.unwrap_err().is_panic());
        gate.open();
        first.await.unwrap();
        spawn_blocking(|| ()).await.unwrap();
    });
}

// ===== what the loop knows of it ================================================================

#[test]
fn many_results_wake_the_loop_once() {
    let looks = Rc::new(Cell::new(0));
    let count = looks.clone();
    let runtime = Runtime::builder()
        .pool_size(4)
        .listener(move |event| {
            if let Event::Wait { at_most: None, .. } = event {
                count.set(count.get() + 1);
            }
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        let finished = Arc::new(AtomicUsize::new(0));
        let jobs: Vec<_> = (0..200)
            .map(|n| {
                let finished = finished.clone();
                spawn_blocking(move || {
                    finished.fetch_add(1, Ordering::SeqCst);
                    n
                })
            })
            .collect();
        yield_now().await;
        // The loop stands still until all results are there.
        wait_until(|| finished.load(Ordering::SeqCst) == 200);
        for (n, job) in jobs.into_iter().enumerate() {
            assert_eq!(job.await.unwrap(), n);
        }
    });
    // One sleep for the last few that were counted but not yet delivered, and some to spare.
    assert!(looks.get() <= 8, "the loop slept {} times", looks.get());
}

#[test]
fn each_job_is_told_when_it_goes_and_when_it_comes_back() {
    let events = Rc::new(RefCell::new(vec![]));
    let kept = events.clone();
    let runtime = Runtime::builder()
        .listener(move |event| match event {
            Event::JobSubmit { task, .. } => kept.borrow_mut().push(("submit", *task)),
            Event::JobDone { task, .. } => kept.borrow_mut().push(("done", *task)),
            _ => {}
        })
        .build()
        .unwrap();
    let id = runtime.block_on(async {
        let job = spawn_blocking(|| ());
        let id = job.id();
        job.await.unwrap();
        id
    });
    assert_eq!(*events.borrow(), [("submit", id), ("done", id)]);
}

#[test]
fn a_loop_that_is_owed_a_result_does_not_call_itself_stalled() {
    let test = "a_loop_that_is_owed_a_result_does_not_call_itself_stalled";
    let Some(stderr) = child::stderr_of(test) else {
        return popleft::run(async {
            // Longer than the loop's patience with wakers that it knows nothing of.
            let slow = || thread::sleep(Duration::from_millis(1200));
            spawn_blocking(slow).await.unwrap();
        });
    };
    assert!(!stderr.contains("popleft:"), "{stderr}");
}

#[test]
fn a_loop_that_gave_up_its_jobs_is_owed_nothing() {
    let gate = Gate::default();
    let closed = gate.clone();
    let runtime = pool_of(1);
    let result = runtime.try_block_on(async {
        let job = spawn_blocking(move || closed.wait());
        job.abort();
        let _ = job.await;
        pending::<()>().await;
    });
    assert_eq!(result, Err(RunError::Stalled));
    gate.open();
}

// ===== the end ==================================================================================

#[test]
fn dropping_the_runtime_waits_for_running_jobs_but_not_for_ever() {
    let patient = Runtime::builder().shutdown_timeout(Duration::from_secs(30)).build().unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    let (begun, begins) = mpsc::channel();
    patient.block_on(async {
        drop(spawn_blocking(move || {
            begun.send(()).unwrap();
            thread::sleep(Duration::from_millis(20));
            flag.store(true, Ordering::SeqCst);
        }));
        begins.recv_timeout(LIMIT).unwrap();
    });
    drop(patient);
    assert!(ended.load(Ordering::SeqCst));

    let hasty = Runtime::builder().shutdown_timeout(Duration::from_millis(1)).build().unwrap();
    let gate = Gate::default();
    let closed = gate.clone();
    let (begun, begins) = mpsc::channel();
    hasty.block_on(async {
        drop(spawn_blocking(move || {
            begun.send(()).unwrap();
            closed.wait();
        }));
        begins.recv_timeout(LIMIT).unwrap();
    });
    // It would hang here.
    drop(hasty);
    gate.open();
}

#[test]
fn queued_jobs_are_dropped_with_the_runtime() {
    let runtime =
        Runtime::builder().pool_size(1).shutdown_timeout(Duration::from_millis(1)).build().unwrap();
    let gate = Gate::default();
    let closed = gate.clone();
    let token = Arc::new(());
    let held = token.clone();
    let ran = Arc::new(AtomicBool::new(false));
    let flag = ran.clone();
    let (begun, begins) = mpsc::channel();
    runtime.block_on(async {
        drop(spawn_blocking(move || {
            begun.send(()).unwrap();
            closed.wait();
        }));
        begins.recv_timeout(LIMIT).unwrap();
        drop(spawn_blocking(move || {
            flag.store(true, Ordering::SeqCst);
            drop(held);
        }));
    });
    drop(runtime);
    assert_eq!(Arc::strong_count(&token), 1);
    gate.open();
    assert!(!ran.load(Ordering::SeqCst));
}

#[test]
fn a_result_that_comes_after_the_runtime_is_gone_is_dropped() {
    let runtime = Runtime::builder().shutdown_timeout(Duration::ZERO).build().unwrap();
    let gate = Gate::default();
    let closed = gate.clone();
    let token = Arc::new(());
    let result = token.clone();
    let (begun, begins) = mpsc::channel();
    let job = runtime.block_on(async {
        let job = spawn_blocking(move || {
            begun.send(()).unwrap();
            closed.wait();
            result
        });
        begins.recv_timeout(LIMIT).unwrap();
        job
    });
    drop(runtime);
    assert!(job.is_finished());
    gate.open();
    wait_until(|| Arc::strong_count(&token) == 1);
}

#[test]
#[should_panic(expected = "no runtime is running on this thread")]
fn a_job_outside_is_refused() {
    drop(spawn_blocking(|| ()));
}

/// Bounds the memory of this process: `more` bytes than it has now, or no bound.
#[cfg(target_os = "linux")]
fn set_limit(more: Option<u64>) {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
    let used = pages * rustix::param::page_size() as u64;
    let limit = Rlimit { current: more.map(|more| used + more), maximum: None };
    setrlimit(Resource::As, limit).unwrap();
}

/// Not even the address space for one more stack, but enough for small things.
#[cfg(target_os = "linux")]
const LITTLE: u64 = 1 << 20;

#[cfg(target_os = "linux")]
#[test]
fn when_no_thread_can_be_started_a_job_waits_for_one_or_fails() {
    let test = "when_no_thread_can_be_started_a_job_waits_for_one_or_fails";
    if child::stderr_of(test).is_some() {
        return;
    }
    popleft::run(async {
        set_limit(Some(LITTLE));
        let refused = spawn_blocking(|| ()).await.unwrap_err();
        let reason: &io::Error = refused.not_started_because().unwrap();
        assert_eq!(reason.kind(), io::ErrorKind::WouldBlock, "{reason}");
        assert!(refused.to_string().contains("never began"), "{refused}");
        assert!(std::error::Error::source(&refused).is_some());
        set_limit(None);

        let gate = Gate::default();
        let closed = gate.clone();
        let (begun, begins) = mpsc::channel();
        let first = spawn_blocking(move || {
            begun.send(()).unwrap();
            closed.wait();
        });
        begins.recv_timeout(LIMIT).unwrap();
        set_limit(Some(LITTLE));
        let second = spawn_blocking(|| "waited");
        yield_now().await;
        assert!(!second.is_finished());
        gate.open();
        first.await.unwrap();
        assert_eq!(second.await.unwrap(), "waited");
        set_limit(None);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_job_that_no_thread_can_be_started_for_fails_also_where_somebody_listens() {
    let test = "a_job_that_no_thread_can_be_started_for_fails_also_where_somebody_listens";
    if child::stderr_of(test).is_some() {
        return;
    }
    Runtime::builder().listener(|_| ()).build().unwrap().block_on(async {
        set_limit(Some(LITTLE));
        let refused = spawn_blocking(|| ()).await.unwrap_err();
        set_limit(None);
        assert!(refused.not_started_because().is_some(), "{refused}");
    });
}
