//! A loop that runs several times, is stopped, hangs, or lies where threads end: what one run has
//! seen, or was asked for, says nothing about the next.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use popleft::net::UnixStream;
use popleft::time::{Sleep, sleep};
use popleft::{RunError, Runtime, spawn, yield_now};

mod child;

/// No test here takes so long; one that would hang fails instead.
const LONG: Duration = Duration::from_secs(30);

// ===== the verdict that nothing can happen ======================================================

/// A place where a task leaves its waker, and whether it was woken.
#[derive(Clone, Default)]
struct Slot(Arc<(Mutex<Option<Waker>>, AtomicBool)>);

impl Slot {
    /// Ready once another thread has used the waker.
    async fn woken(&self) {
        poll_fn(|cx| {
            if self.0.1.load(SeqCst) {
                return Poll::Ready(());
            }
            *self.0.0.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.0.1.store(false, SeqCst);
    }

    /// Wakes, if there is somebody to wake, and lets go of the waker at once.
    fn wake(&self) -> bool {
        let Some(waker) = self.0.0.lock().unwrap().take() else {
            return false;
        };
        self.0.1.store(true, SeqCst);
        waker.wake();
        true
    }
}

/// Another thread that does this once the loop has waited for it longer than a second.
fn after_the_first_report(slot: &Slot, act: fn(Slot)) -> thread::JoinHandle<()> {
    let slot = slot.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(1500));
        act(slot);
    })
}

#[test]
fn a_wake_whose_waker_is_gone_at_once_is_not_taken_for_nothing() {
    let (slot, stop) = (Slot::default(), Arc::new(AtomicBool::new(false)));
    let (waking, stopped) = (slot.clone(), stop.clone());
    let other = thread::spawn(move || {
        while !stopped.load(SeqCst) {
            waking.wake();
        }
    });
    for round in 0..3000 {
        // The first check of each runtime comes as soon as its only task waits.
        let runtime = Runtime::new().unwrap();
        assert_eq!(runtime.try_block_on(slot.woken()), Ok(()), "round {round}");
    }
    stop.store(true, SeqCst);
    other.join().unwrap();
}

#[test]
fn a_message_whose_handle_is_gone_at_once_is_not_taken_for_nothing() {
    for round in 0..300 {
        let runtime = Runtime::new().unwrap();
        let handle = runtime.handle();
        let (sender, receiver) = mpsc::channel();
        let other = thread::spawn(move || {
            receiver.recv().unwrap();
            handle.stop();
        });
        let ended = runtime.try_block_on(async {
            sender.send(()).unwrap();
            pending::<()>().await;
        });
        assert_eq!(ended, Err(RunError::Stopped), "round {round}");
        other.join().unwrap();
    }
}

#[test]
fn a_program_that_was_quiet_for_a_while_is_still_found_to_hang() {
    let test = "a_program_that_was_quiet_for_a_while_is_still_found_to_hang";
    let Some(stderr) = child::stderr_of(test) else {
        let slot = Slot::default();
        let other = after_the_first_report(&slot, |slot| assert!(slot.wake()));
        let ended = Runtime::new().unwrap().try_block_on(async {
            slot.woken().await;
            pending::<()>().await;
        });
        assert_eq!(ended, Err(RunError::Stalled));
        return other.join().unwrap();
    };
    assert_eq!(stderr.matches("for a second no other thread has woken one").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("nothing is left that could wake one").count(), 1, "{stderr}");
}

#[test]
fn a_last_waker_that_is_dropped_unused_is_noticed() {
    let test = "a_last_waker_that_is_dropped_unused_is_noticed";
    let Some(stderr) = child::stderr_of(test) else {
        let slot = Slot::default();
        let forget = |slot: Slot| drop(slot.0.0.lock().unwrap().take());
        let other = after_the_first_report(&slot, forget);
        let ended = Runtime::new().unwrap().try_block_on(slot.woken());
        assert_eq!(ended, Err(RunError::Stalled));
        return other.join().unwrap();
    };
    assert!(stderr.contains("nothing is left that could wake one"), "{stderr}");
}

#[test]
fn a_program_may_wait_for_other_threads_without_a_word() {
    let test = "a_program_may_wait_for_other_threads_without_a_word";
    let Some(stderr) = child::stderr_of(test) else {
        let slot = Slot::default();
        let other = after_the_first_report(&slot, |slot| assert!(slot.wake()));
        let runtime = Runtime::builder().report_stalls(false).build().unwrap();
        runtime.block_on(slot.woken());
        return other.join().unwrap();
    };
    assert!(!stderr.contains("popleft:"), "{stderr}");
}

#[test]
fn a_report_says_how_long_tasks_have_waited_by_the_clock() {
    let test = "a_report_says_how_long_tasks_have_waited_by_the_clock";
    let Some(stderr) = child::stderr_of(test) else {
        let ended = Runtime::new().unwrap().try_block_on(async {
            drop(spawn(pending::<()>()));
            yield_now().await;
            // The loop cannot look at the clock meanwhile.
            thread::sleep(Duration::from_millis(1100));
            pending::<()>().await;
        });
        return assert_eq!(ended, Err(RunError::Stalled));
    };
    let line = stderr.lines().find(|line| line.contains("task 1,")).unwrap();
    let (_, age) = line.rsplit_once(", for ").unwrap();
    let seconds: f64 = age.trim_end_matches(" s").parse().unwrap();
    assert!(seconds >= 1.0, "{stderr}");
}

/// Each of them waits for the next, and the last for ever.
#[test]
fn a_long_chain_of_joins_is_reported_in_a_moment() {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let test = "a_long_chain_of_joins_is_reported_in_a_moment";
        let told = child::stderr_of(test);
        if told.is_none() {
            let ended = Runtime::new().unwrap().try_block_on(async {
                let mut last = spawn(pending::<()>());
                for _ in 0..20_000 {
                    let before = last;
                    last = spawn(async move { before.await.unwrap() });
                }
                last.await.unwrap();
            });
            assert_eq!(ended, Err(RunError::Stalled));
        }
        sender.send(told).unwrap();
    });
    // Followed again from each task it would take many minutes.
    if let Some(stderr) = receiver.recv_timeout(2 * LONG).expect("the report takes far too long") {
        assert!(stderr.contains("task 20000, spawned at"), "the last task is missing");
        assert!(!stderr.contains("in a circle"));
    }
}

#[test]
fn a_circle_of_joins_is_found_behind_a_chain_that_leads_to_it() {
    let test = "a_circle_of_joins_is_found_behind_a_chain_that_leads_to_it";
    let Some(stderr) = child::stderr_of(test) else {
        type Handle = Rc<RefCell<Option<popleft::JoinHandle<()>>>>;
        let ended = Runtime::new().unwrap().try_block_on(async {
            let slot = Handle::default();
            let first = slot.clone();
            let one = spawn(async move {
                yield_now().await;
                let two = first.take().unwrap();
                two.await.unwrap();
            });
            let two = spawn(async move { one.await.unwrap() });
            *slot.borrow_mut() = Some(two);
            // The main task is not part of it.
            pending::<()>().await;
        });
        return assert_eq!(ended, Err(RunError::Stalled));
    };
    let circle =
        "in a circle: task 1 waits for the end of task 2, which waits for the end of task 1";
    assert!(stderr.contains(circle), "{stderr}");
}

// ===== one run after the other ==================================================================

#[test]
fn a_host_that_gives_the_loop_short_runs_starves_nobody() {
    let runtime = Runtime::new().unwrap();
    let (slept, read, heard) = (Rc::<Cell<bool>>::default(), Rc::default(), Rc::default());
    let (nap, bytes, news): (_, Rc<Cell<bool>>, Rc<Cell<bool>>) =
        (slept.clone(), Rc::clone(&read), Rc::clone(&heard));
    let slot = Slot::default();
    let waits = slot.clone();
    let mut peer = runtime.block_on(async {
        let (near, far) = UnixStream::pair().unwrap();
        drop(spawn(async move {
            sleep(Duration::from_millis(1)).await;
            nap.set(true);
        }));
        drop(spawn(async move {
            near.read_exact(&mut [0; 1]).await.unwrap();
            bytes.set(true);
        }));
        drop(spawn(async move {
            waits.woken().await;
            news.set(true);
        }));
        yield_now().await;
        far.into_std()
    });
    std::io::Write::write_all(&mut peer, b"x").unwrap();
    assert!(slot.wake());
    let start = Instant::now();
    while !(slept.get() && read.get() && heard.get()) {
        assert!(start.elapsed() < LONG, "{slept:?} {read:?} {heard:?}");
        // What is ready at once never makes the loop look outside by itself.
        runtime.block_on(async {});
        runtime.block_on(yield_now());
    }
}

#[test]
fn a_stop_before_a_run_ends_it_before_its_main_task_has_a_turn() {
    let runtime = Runtime::new().unwrap();
    runtime.handle().stop();
    let ran = Cell::new(false);
    assert_eq!(runtime.try_block_on(async { ran.set(true) }), Err(RunError::Stopped));
    assert!(!ran.get());
    assert_eq!(runtime.try_block_on(async { 2 }), Ok(2));
}

#[test]
fn a_stop_that_a_run_does_not_see_is_not_meant_for_the_next() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    assert_eq!(runtime.try_block_on(async { handle.stop() }), Ok(()));
    assert_eq!(runtime.try_block_on(sleep(Duration::from_millis(1))), Ok(()));
}

#[test]
fn a_task_made_by_a_handle_before_the_run_is_not_lost_with_a_stop() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let mut made = None;
    runtime.block_on(async {
        handle.stop();
        made = Some(handle.spawn(async { 5 }));
    });
    runtime.block_on(yield_now());
    runtime.block_on(yield_now());
    assert_eq!(made.unwrap().wait().unwrap(), 5);
}

// ===== one turn after the other =================================================================

/// In its drop it arms a timer with the waker of another task.
struct ArmsATimer {
    waker: Rc<RefCell<Option<Waker>>>,
    timer: Rc<RefCell<Option<Pin<Box<Sleep>>>>>,
}

impl Drop for ArmsATimer {
    fn drop(&mut self) {
        let waker = self.waker.borrow().clone().unwrap();
        let mut timer = Box::pin(sleep(Duration::from_millis(1)));
        assert!(timer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        *self.timer.borrow_mut() = Some(timer);
    }
}

#[test]
fn what_a_cancelled_task_polls_in_its_drop_wakes_whom_it_was_asked_to() {
    let ended = Runtime::new().unwrap().try_block_on(async {
        let guard = ArmsATimer { waker: Rc::default(), timer: Rc::default() };
        let (kept, timer) = (guard.waker.clone(), guard.timer.clone());
        let victim = spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        let own = kept.clone();
        let waiter = spawn(poll_fn(move |cx| {
            *own.borrow_mut() = Some(cx.waker().clone());
            match timer.borrow_mut().as_mut() {
                Some(timer) => timer.as_mut().poll(cx),
                None => Poll::Pending,
            }
        }));
        yield_now().await;
        // It has its turn just before the victim is cancelled.
        kept.borrow().clone().unwrap().wake();
        victim.abort();
        waiter.await.unwrap();
    });
    assert_eq!(ended, Ok(()));
}

// ===== waiting for oneself ======================================================================

#[test]
fn a_task_that_awaits_its_own_handle_is_told_at_once_while_others_run() {
    popleft::run(async {
        let slot: Rc<RefCell<Option<popleft::JoinHandle<bool>>>> = Rc::default();
        let (kept, (sender, receiver)) = (slot.clone(), mpsc::channel());
        let task = spawn(async move {
            let own = kept.take().unwrap();
            let error = own.await.unwrap_err();
            sender.send((error.is_itself(), error.to_string())).unwrap();
            true
        });
        *slot.borrow_mut() = Some(task);
        let (is_itself, text) = loop {
            match receiver.try_recv() {
                Ok(told) => break told,
                Err(_) => yield_now().await,
            }
        };
        assert!(is_itself);
        assert!(text.contains("spawned at runtime/tests/runs.rs:"), "{text}");
        assert!(text.contains("awaits its own handle"), "{text}");
    });
}

#[test]
fn waiting_on_the_loops_own_thread_is_refused_also_while_it_does_not_run() {
    let runtime = Runtime::new().unwrap();
    let asked = runtime.handle().spawn(async { 1 });
    let refused = thread::scope(|_| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| asked.wait())).unwrap_err()
    });
    let text = refused.downcast_ref::<&str>().unwrap();
    assert!(text.contains("await the handle in it instead"), "{text}");
    let done = runtime.handle().spawn(async { 2 });
    runtime.block_on(yield_now());
    runtime.block_on(yield_now());
    assert_eq!(done.wait().unwrap(), 2, "what has ended can be taken anywhere");
}

// ===== tasks from other threads =================================================================

#[test]
fn a_task_from_another_thread_can_be_aborted_before_and_after_it_began() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let early = handle.spawn(async { unreachable!("it was aborted") });
    early.abort();
    let late = handle.spawn(pending::<()>());
    runtime.block_on(async {
        assert!(early.await.unwrap_err().is_cancelled());
        yield_now().await;
        late.abort();
        assert!(late.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn the_panic_of_a_task_from_another_thread_arrives_where_it_is_awaited() {
    let test = "the_panic_of_a_task_from_another_thread_arrives_where_it_is_awaited";
    let Some(stderr) = child::stderr_of(test) else {
        let runtime = Runtime::new().unwrap();
        let handle = runtime.handle();
        let other = thread::spawn(move || {
            let error = handle.spawn(async { panic!("of a kind") }).wait().unwrap_err();
            assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "of a kind");
            drop(handle.spawn(async { panic!("unheard") }));
            handle.spawn(async {}).wait().unwrap();
            handle.stop();
        });
        runtime.run_until_stopped();
        return other.join().unwrap();
    };
    assert!(!stderr.contains("popleft: task 1 panicked: of a kind"), "{stderr}");
    assert!(stderr.contains("panicked: unheard"), "{stderr}");
    assert_eq!(stderr.matches("was never joined").count(), 1, "{stderr}");
}

// ===== where threads end ========================================================================

thread_local! {
    static KEPT: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

/// Whether a thread-local is dropped before or after the library's own depends on which was used
/// first: both orders are tried.
#[test]
fn a_runtime_may_lie_in_a_thread_local() {
    let test = "a_runtime_may_lie_in_a_thread_local";
    let Some(_) = child::stderr_of(test) else {
        for library_first in [false, true] {
            let ended = thread::spawn(move || {
                if library_first {
                    popleft::run(async {
                        let lock = popleft::sync::Mutex::new(());
                        drop(lock.lock().await);
                    });
                }
                KEPT.with(|kept| {
                    let builder = Runtime::builder().listener(|_| ());
                    *kept.borrow_mut() = Some(builder.build().unwrap());
                    kept.borrow().as_ref().unwrap().block_on(async {
                        let lock = Rc::new(popleft::sync::Mutex::new(()));
                        let held = lock.clone();
                        // They go with their runtime, and so do a lock and those that wait for it.
                        drop(spawn(async move {
                            let _held = held.lock().await;
                            pending::<()>().await;
                        }));
                        for _ in 0..2 {
                            let lock = lock.clone();
                            drop(spawn(async move { drop(lock.lock().await) }));
                        }
                        drop(spawn(sleep(Duration::from_secs(1000))));
                        let nested = OnDrop(|| drop(spawn(async {})));
                        drop(spawn(async move {
                            let _nested = nested;
                            pending::<()>().await;
                        }));
                        yield_now().await;
                        yield_now().await;
                        spawn(async { 1 }).await.unwrap()
                    })
                })
            });
            assert_eq!(ended.join().unwrap(), 1);
        }
        return;
    };
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

// ===== names ====================================================================================

#[test]
fn a_name_that_no_thread_can_have_is_refused_where_it_is_given() {
    let error = Runtime::builder().name("a\0b").build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains(r#""a\0b""#), "{error}");
    // A task may have any: it is only shown.
    let name = popleft::run(async {
        let named = popleft::task::Builder::new()
            .name("a\0b")
            .spawn(async { popleft::task::current().unwrap().name().unwrap().to_string() });
        named.await.unwrap()
    });
    assert_eq!(name, "a\0b");
}
