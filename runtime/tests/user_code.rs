//! What a program may do in wakers, in destructors and between two runs, where a loop calls code
//! that is not its own, or is called while it does not run.

// Futures and handles are carried out of the runs that made them.
#![allow(clippy::async_yields_async)]

mod child;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, poll_once};
use popleft::event::Event;
use popleft::generator::{Generator, Resumed, Yielder};
use popleft::net::UnixStream;
use popleft::time::{sleep, timeout};
use popleft::{Handle, JoinHandle, RunError, Runtime, spawn, spawn_blocking, yield_now};

/// Far longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

// ===== wakers that use the runtime ==============================================================

thread_local! {
    /// The waker of the task that awaits through a `Rude` one.
    static TASK: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// A waker whose wake and whose drop do all that they can do to the loop.
struct Rude;

fn meddle() {
    if Handle::current().is_none() {
        return;
    }
    drop(spawn(async {}));
    spawn(sleep(Duration::from_secs(9))).abort();
    drop(UnixStream::pair().unwrap());
    let mut nap = pin!(sleep(Duration::from_millis(1)));
    let _ = nap.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    drop(spawn_blocking(|| ()));
}

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        meddle();
        TASK.with_borrow(|task| {
            if let Some(task) = task {
                task.wake_by_ref();
            }
        });
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        meddle();
    }
}

/// Awaits `future` through a new rude waker at every poll.
async fn rudely<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let rude = poll_fn(|cx| {
        TASK.set(Some(cx.waker().clone()));
        future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(Rude))))
    });
    timeout(LIMIT, rude).await.expect("a wake through a rude waker was lost")
}

#[test]
fn a_waker_may_use_the_runtime_when_it_is_woken_and_when_it_is_dropped() {
    popleft::run(async {
        rudely(sleep(Duration::from_millis(2))).await;
        let (ours, theirs) = UnixStream::pair().unwrap();
        let writer = spawn(async move {
            yield_now().await;
            theirs.write_all(b"hi").await.unwrap();
            theirs
        });
        let mut buffer = [0; 4];
        assert_eq!(rudely(ours.read(&mut buffer)).await.unwrap(), 2);
        drop(writer.await);
        let task = spawn(async {
            yield_now().await;
            3
        });
        assert_eq!(rudely(task).await.unwrap(), 3);
        assert_eq!(rudely(spawn_blocking(|| 4)).await.unwrap(), 4);
        let remote = Handle::current().unwrap().spawn(async { 5 });
        assert_eq!(rudely(remote).await.unwrap(), 5);
        TASK.set(None);
    });
}

/// Passes a wake on to whoever polled last.
#[derive(Default)]
struct Relay(Mutex<Option<Waker>>);

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        if let Some(waker) = &*self.0.lock().unwrap() {
            waker.wake_by_ref();
        }
    }
}

/// Awaits `future` through the same foreign waker at every poll, and polls it twice each time: as
/// a future is polled inside a `select`.
async fn through_a_relay<F: Future + Unpin>(mut future: F) -> F::Output {
    let relay = Arc::new(Relay::default());
    let waker = Waker::from(relay.clone());
    let relayed = poll_fn(|cx| {
        *relay.0.lock().unwrap() = Some(cx.waker().clone());
        let cx = &mut Context::from_waker(&waker);
        match Pin::new(&mut future).poll(cx) {
            Poll::Pending => Pin::new(&mut future).poll(cx),
            ready => ready,
        }
    });
    timeout(LIMIT, relayed).await.expect("a wake through a relay was lost")
}

#[test]
fn whatever_is_awaited_through_a_foreign_waker_is_woken_by_it_and_told() {
    let set = Rc::new(RefCell::new(vec![]));
    let kept = set.clone();
    let runtime = Runtime::builder()
        .listener(move |event| {
            if let Event::TimerFired { task, .. } = event {
                kept.borrow_mut().push(*task);
            }
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        through_a_relay(sleep(Duration::from_millis(2))).await;
        // Whom it wakes is not known, so the event names no task.
        assert_eq!(*set.borrow(), [None]);
        through_a_relay(Box::pin(yield_now())).await;
        let task = spawn(async {
            yield_now().await;
            3
        });
        assert_eq!(through_a_relay(task).await.unwrap(), 3);
        assert_eq!(through_a_relay(spawn_blocking(|| 4)).await.unwrap(), 4);
    });
}

#[test]
fn a_join_that_was_polled_with_another_tasks_waker_is_no_hope_for_that_task() {
    let test = "a_join_that_was_polled_with_another_tasks_waker_is_no_hope_for_that_task";
    if child::stderr_of(test).is_some() {
        return;
    }
    let result = Runtime::new().unwrap().try_block_on(async {
        let kept = Rc::new(RefCell::new(None));
        let there = kept.clone();
        drop(spawn(poll_fn(move |cx| {
            *there.borrow_mut() = Some(cx.waker().clone());
            Poll::<()>::Pending
        })));
        yield_now().await;
        let waker = kept.take().unwrap();
        let mut joined = spawn(pending::<()>());
        let cx = &mut Context::from_waker(&waker);
        assert!(Pin::new(&mut joined).poll(cx).is_pending());
        drop(waker);
        // The only waker of the first task is now held by the second, which nobody can wake: that
        // is certain, and said at once.
        pending::<()>().await;
    });
    assert_eq!(result, Err(RunError::Stalled));
}

#[test]
fn a_lock_that_was_asked_for_in_one_task_can_be_awaited_in_another() {
    popleft::run(async {
        let lock = Rc::new(popleft::sync::Mutex::new(0));
        let held = lock.lock().await;
        let asks = lock.clone();
        // Boxed, so that it can go on in another task.
        let mut asking = Box::pin(async move { *asks.lock().await += 1 });
        assert!(poll_once(&mut asking).await.is_none());
        let other = spawn(asking);
        yield_now().await;
        drop(held);
        timeout(LIMIT, other).await.expect("the lock was not handed on").unwrap();
        assert_eq!(*lock.lock().await, 1);
    });
}

#[test]
fn a_yield_that_is_polled_twice_in_one_turn_hands_its_value_out_once() {
    let mut generator = Generator::new(async |yielder: Yielder<i32, i32>| {
        let mut yielding = yielder.yield_(1);
        poll_fn(|cx| match Pin::new(&mut yielding).poll(cx) {
            Poll::Pending => Pin::new(&mut yielding).poll(cx),
            ready => ready,
        })
        .await
    });
    assert!(matches!(generator.resume(0), Resumed::Yielded(1)));
    assert!(matches!(generator.resume(5), Resumed::Complete(5)));
}

// ===== destructors ==============================================================================

/// Calls its function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_panic_or_a_run_in_a_destructor_keeps_no_other_task_from_being_dropped() {
    let dropped = Rc::new(Cell::new(0));
    popleft::run(async {
        for number in 0..5 {
            let dropped = dropped.clone();
            drop(spawn(async move {
                let _on_drop = OnDrop(move || {
                    dropped.set(dropped.get() + 1);
                    if number % 2 == 0 {
                        panic!("in a destructor, as it is meant to");
                    }
                    if number == 1 {
                        popleft::run(async {});
                    }
                });
                pending::<()>().await;
            }));
        }
        yield_now().await;
    });
    assert_eq!(dropped.get(), 5);
}

#[test]
fn the_payload_of_a_panic_may_panic_when_it_is_dropped() {
    thread_local! {
        static DROPPED: Cell<bool> = const { Cell::new(false) };
    }
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            DROPPED.set(true);
            panic!("in the payload's destructor, as it is meant to");
        }
    }
    popleft::run(async {
        drop(spawn(async { std::panic::panic_any(Panics) }));
        yield_now().await;
        yield_now().await;
    });
    assert!(DROPPED.get());
}

#[test]
fn a_runtime_that_is_dropped_inside_another_leaves_that_one_running() {
    popleft::run(async {
        let inner = Runtime::new().unwrap();
        let lost = inner.handle().spawn(async { 1 });
        drop(inner);
        let outer = spawn(async { 2 });
        assert!(Handle::current().is_some());
        assert!(lost.await.unwrap_err().is_cancelled());
        assert_eq!(outer.await.unwrap(), 2);
    });
}

#[test]
fn what_is_spawned_while_its_runtime_is_dropped_is_cancelled() {
    let late: Rc<RefCell<Option<JoinHandle<i32>>>> = Rc::default();
    let slot = late.clone();
    popleft::run(async {
        drop(spawn(async move {
            let _on_drop = OnDrop(move || *slot.borrow_mut() = Some(spawn(async { 5 })));
            pending::<()>().await;
        }));
        yield_now().await;
    });
    let late = late.take().unwrap();
    assert!(late.is_finished());
    assert!(block_on(late).unwrap_err().is_cancelled());
}

// ===== between two runs =========================================================================

#[test]
fn an_abort_between_two_runs_is_carried_out_in_the_next() {
    let runtime = Runtime::new().unwrap();
    let task = runtime.block_on(async {
        let task = spawn(pending::<()>());
        yield_now().await;
        task
    });
    task.abort();
    assert!(!task.is_finished());
    assert!(runtime.block_on(task).unwrap_err().is_cancelled());
}

#[test]
fn what_a_handle_spawns_between_two_runs_runs_in_those_that_follow() {
    let runtime = Runtime::new().unwrap();
    let remote = runtime.handle().spawn(async { 5 });
    runtime.block_on(async {});
    runtime.block_on(sleep(Duration::from_millis(1)));
    assert_eq!(remote.wait().unwrap(), 5);
}

#[test]
fn a_sleep_whose_time_has_passed_between_two_runs_is_not_waited_for() {
    let slept = Rc::new(Cell::new(false));
    let heard = slept.clone();
    let runtime = Runtime::builder()
        .listener(move |event| {
            if let Event::Wait { at_most, .. } = event {
                heard.set(heard.get() || *at_most != Some(Duration::ZERO));
            }
        })
        .build()
        .unwrap();
    let nap = runtime.block_on(async {
        let mut nap = Box::pin(sleep(Duration::from_millis(5)));
        assert!(poll_once(&mut nap).await.is_none());
        nap
    });
    while Instant::now() < nap.deadline() {
        std::thread::yield_now();
    }
    runtime.block_on(nap);
    assert!(!slept.get());
}

#[test]
fn a_write_that_is_given_up_at_every_try_writes_each_byte_once() {
    let data: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    popleft::run(async {
        let (near, far) = UnixStream::pair().unwrap();
        let reader = spawn(async move {
            let (mut all, mut buffer) = (vec![], vec![0; 7001]);
            loop {
                match far.read(&mut buffer).await.unwrap() {
                    0 => return all,
                    n => all.extend_from_slice(&buffer[..n]),
                }
            }
        });
        let mut at = 0;
        while at < data.len() {
            match timeout(Duration::ZERO, near.write(&data[at..])).await {
                Ok(written) => at += written.unwrap(),
                Err(_) => yield_now().await,
            }
        }
        drop(near);
        assert!(reader.await.unwrap() == data, "what was read is not what was written");
    });
}

#[test]
fn a_join_handle_that_is_polled_outside_brings_the_result_of_later_runs() {
    let runtime = Runtime::new().unwrap();
    let mut task = runtime.block_on(async {
        spawn(async {
            yield_now().await;
            3
        })
    });
    let outside = poll_once(&mut task);
    assert!(matches!(
        pin!(outside).poll(&mut Context::from_waker(Waker::noop())),
        Poll::Ready(None)
    ));
    runtime.block_on(async {
        for _ in 0..3 {
            yield_now().await;
        }
    });
    assert_eq!(block_on(task).unwrap(), 3);
}

#[test]
fn a_loop_that_has_had_a_crowd_goes_on_when_it_has_gone() {
    popleft::run(async {
        for round in 0..2 {
            let crowd: Vec<_> = (0..10_000).map(|number| spawn(async move { number })).collect();
            for (number, one) in crowd.into_iter().enumerate() {
                assert_eq!(one.await.unwrap(), number, "round {round}");
            }
            // The loop sleeps, and gives back what only a crowd needs.
            timeout(LIMIT, sleep(Duration::from_millis(1))).await.unwrap();
        }
    });
}

#[test]
fn a_runtime_that_cannot_be_made_is_an_error_or_a_panic_that_says_so() {
    let test = "a_runtime_that_cannot_be_made_is_an_error_or_a_panic_that_says_so";
    if child::stderr_of(test).is_some() {
        return;
    }
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    assert!(popleft::try_run(async {}).is_err());
    let panic = std::panic::catch_unwind(|| popleft::run(async {})).unwrap_err();
    let text = panic.downcast::<String>().unwrap();
    assert!(text.contains("cannot make"), "{text}");
}
