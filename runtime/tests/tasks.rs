//! The laws of tasks: order, joins, cancellation, panics, and what must not happen while things
//! are dropped.

// Handles are carried out of the runs that made them: that is what several of these are about.
#![allow(clippy::async_yields_async)]

mod child;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use popleft::event::{End, Event};
use popleft::task::{self, Id};
use popleft::{JoinHandle, RunError, Runtime, spawn, yield_now};
use proptest::prelude::*;

/// A log that several tasks write.
type Log<T> = Rc<RefCell<Vec<T>>>;

fn log<T>() -> Log<T> {
    Rc::new(RefCell::new(vec![]))
}

/// A runtime that keeps its events.
fn watched() -> (Runtime, Log<Event>) {
    let events = log();
    let kept = events.clone();
    let listener = move |event: &Event| kept.borrow_mut().push(event.clone());
    let runtime = Runtime::builder().listener(listener).build().unwrap();
    (runtime, events)
}

fn polls(events: &Log<Event>) -> HashMap<Id, usize> {
    let mut polls = HashMap::new();
    for event in &*events.borrow() {
        if let Event::Poll { task } = event {
            *polls.entry(*task).or_default() += 1;
        }
    }
    polls
}

/// Lets everyone who is ready have a turn, and those whom they wake.
async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

// ===== order ====================================================================================

#[test]
fn spawned_tasks_start_in_order_and_not_before_their_turn() {
    let seen = log();
    popleft::run(async {
        for name in 0..10 {
            let seen = seen.clone();
            drop(spawn(async move { seen.borrow_mut().push(name) }));
        }
        assert!(seen.borrow().is_empty());
        yield_now().await;
        assert!(seen.borrow().iter().copied().eq(0..10));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The model is the talk's: a deque of countdowns; take one from the left, print, put it back
    /// at the right end.
    #[test]
    fn countdowns_take_turns_as_in_a_deque(starts in proptest::collection::vec(0u32..12, 0..12)) {
        let mut model: std::collections::VecDeque<(usize, u32)> =
            starts.iter().copied().enumerate().collect();
        let mut expected = vec![];
        while let Some((name, left)) = model.pop_front() {
            if left > 0 {
                expected.push((name, left));
                model.push_back((name, left - 1));
            }
        }

        let seen = log();
        popleft::run(async {
            let tasks: Vec<_> = starts.iter().copied().enumerate().map(|(name, start)| {
                let seen = seen.clone();
                spawn(async move {
                    for left in (1..=start).rev() {
                        seen.borrow_mut().push((name, left));
                        yield_now().await;
                    }
                })
            }).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        prop_assert_eq!(&*seen.borrow(), &expected);
    }

    /// Tasks that wake each other at random: who is woken goes to the right end, once, however
    /// often it is woken before its turn.
    #[test]
    fn woken_tasks_are_served_in_the_order_of_their_first_wake(
        wakes in proptest::collection::vec(0usize..8, 0..40)
    ) {
        let mut expected = vec![];
        for &task in &wakes {
            if !expected.contains(&task) {
                expected.push(task);
            }
        }

        let seen = log();
        popleft::run(async {
            let wakers: Log<Option<Waker>> = Rc::new(RefCell::new(vec![None; 8]));
            for name in 0..8 {
                let (seen, wakers) = (seen.clone(), wakers.clone());
                drop(spawn(async move {
                    let mut polled = false;
                    poll_fn(|cx| {
                        wakers.borrow_mut()[name] = Some(cx.waker().clone());
                        match std::mem::replace(&mut polled, true) {
                            true => Poll::Ready(()),
                            false => Poll::Pending,
                        }
                    })
                    .await;
                    seen.borrow_mut().push(name);
                    pending::<()>().await;
                }));
            }
            yield_now().await;
            for &task in &wakes {
                wakers.borrow()[task].as_ref().unwrap().wake_by_ref();
            }
            yield_now().await;
        });
        prop_assert_eq!(&*seen.borrow(), &expected);
    }
}

#[test]
fn a_task_woken_many_times_runs_once() {
    let (runtime, events) = watched();
    let id = runtime.block_on(async {
        let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
        let there = waker.clone();
        let task = spawn(poll_fn(move |cx| {
            *there.borrow_mut() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        yield_now().await;
        let waker = waker.take().unwrap();
        for _ in 0..100 {
            waker.wake_by_ref();
        }
        settle().await;
        task.id()
    });
    assert_eq!(polls(&events)[&id], 2);
}

/// A future that is never ready and counts its polls.
fn counting_polls() -> (impl Future<Output = ()>, Rc<Cell<usize>>) {
    let polls = Rc::new(Cell::new(0));
    let count = polls.clone();
    let future = poll_fn(move |_| {
        count.set(count.get() + 1);
        Poll::Pending
    });
    (future, polls)
}

#[test]
fn a_task_that_wakes_itself_and_is_woken_by_others_runs_once() {
    popleft::run(async {
        let polls = Rc::new(Cell::new(0));
        let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
        let (count, there) = (polls.clone(), kept.clone());
        drop(spawn(poll_fn(move |cx| {
            count.set(count.get() + 1);
            *there.borrow_mut() = Some(cx.waker().clone());
            if count.get() == 1 {
                cx.waker().wake_by_ref();
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        })));
        yield_now().await;
        // It has had its first turn, and stands in the deque again by its own doing.
        kept.take().unwrap().wake();
        settle().await;
        assert_eq!(polls.get(), 2);
    });
}

#[test]
fn a_task_that_wakes_itself_as_it_ends_costs_the_next_one_in_its_slot_nothing() {
    popleft::run(async {
        let first = spawn(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(())
        }));
        // Its row is free as soon as it is joined, and its stale wake still stands in the deque.
        first.await.unwrap();
        let (future, polls) = counting_polls();
        drop(spawn(future));
        settle().await;
        assert_eq!(polls.get(), 1);
    });
}

#[test]
fn an_old_waker_does_not_wake_the_new_task_in_its_slot() {
    popleft::run(async {
        let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
        let there = kept.clone();
        let first = spawn(poll_fn(move |cx| {
            *there.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        }));
        first.await.unwrap();
        let (future, polls) = counting_polls();
        drop(spawn(future));
        yield_now().await;
        let old = kept.take().unwrap();
        old.wake_by_ref();
        thread::spawn(move || old.wake()).join().unwrap();
        settle().await;
        popleft::time::sleep(Duration::ZERO).await;
        assert_eq!(polls.get(), 1);
    });
}

#[test]
fn a_handle_of_an_old_task_does_not_touch_the_new_one_in_its_slot() {
    popleft::run(async {
        let mut first = spawn(async {});
        let old = first.id();
        (&mut first).await.unwrap();
        let (future, polls) = counting_polls();
        let second = spawn(future);
        first.abort();
        popleft::Handle::current().unwrap().abort(old);
        popleft::time::sleep(Duration::ZERO).await;
        settle().await;
        assert!(first.is_finished() && !second.is_finished());
        assert_eq!(polls.get(), 1);
    });
}

#[test]
fn the_loop_looks_outside_after_as_many_turns_as_it_was_told() {
    for turns in [1, 7, 64] {
        let events = log();
        let kept = events.clone();
        let runtime = Runtime::builder()
            .polls_between_looks(turns)
            .listener(move |event| match event {
                Event::Poll { .. } => kept.borrow_mut().push("poll"),
                Event::TimerFired { .. } => kept.borrow_mut().push("timer"),
                _ => {}
            })
            .build()
            .unwrap();
        runtime.block_on(async {
            drop(spawn(async { popleft::time::sleep(Duration::ZERO).await }));
            for _ in 0..200 {
                yield_now().await;
            }
        });
        // The deadline is seen at the first look, though there are always tasks that are ready.
        let before = events.borrow().iter().take_while(|e| **e == "poll").count();
        assert_eq!(before, (turns as usize).max(2).div_ceil(turns as usize) * turns as usize);
    }
}

// ===== joining ==================================================================================

#[test]
fn a_join_handle_brings_the_result_before_or_after_the_end() {
    popleft::run(async {
        let early = spawn(async {
            yield_now().await;
            "early"
        });
        assert_eq!(early.await.unwrap(), "early");
        let late = spawn(async { "late" });
        settle().await;
        assert!(late.is_finished());
        assert_eq!(late.await.unwrap(), "late");
    });
}

#[test]
fn a_detached_task_runs_on_and_drops_its_result() {
    popleft::run(async {
        let token = Rc::new(());
        let result = token.clone();
        drop(spawn(async move {
            yield_now().await;
            result
        }));
        assert_eq!(Rc::strong_count(&token), 2);
        settle().await;
        assert_eq!(Rc::strong_count(&token), 1);
    });
}

#[test]
fn the_waker_of_a_join_is_replaced_when_it_is_awaited_elsewhere() {
    popleft::run(async {
        let mut task = spawn(async {
            settle().await;
            7
        });
        // Polled once here, where nobody will listen any more ..
        let here = poll_fn(|cx| Poll::Ready(Pin::new(&mut task).poll(cx).is_pending()));
        assert!(here.await);
        // .. and then awaited in another task.
        let there = spawn(task);
        assert_eq!(there.await.unwrap().unwrap(), 7);
    });
}

#[test]
fn polling_a_join_handle_after_its_result_panics() {
    popleft::run(async {
        let mut task = spawn(async {});
        (&mut task).await.unwrap();
        let again = spawn(task);
        let error = again.await.unwrap_err();
        let message = *error.into_panic().downcast::<&str>().unwrap();
        assert!(message.contains("polled after it was ready"), "{message}");
    });
}

#[test]
fn names_and_ids_are_what_was_said() {
    popleft::run(async {
        assert_eq!(task::current().unwrap().name(), Some("main"));
        let task = task::Builder::new().name("monitor").spawn(async {
            let current = task::current().unwrap();
            (current.id(), current.name().unwrap().to_string())
        });
        assert_eq!(task.name().as_deref(), Some("monitor"));
        let id = task.id();
        assert_eq!(task.await.unwrap(), (id, "monitor".to_string()));
        assert_eq!(spawn(async {}).name(), None);
    });
    assert!(task::current().is_none());
}

#[test]
fn ids_are_never_shared_by_two_tasks() {
    popleft::run(async {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let task = spawn(async {});
            assert!(seen.insert(task.id()));
            task.await.unwrap();
        }
    });
}

// ===== abort ====================================================================================

/// Sets its flag when it is dropped.
struct Flag(Rc<Cell<bool>>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn an_aborted_task_is_dropped_at_its_turn_in_each_state() {
    popleft::run(async {
        for turns_before in 0..3 {
            let dropped = Rc::new(Cell::new(false));
            let flag = Flag(dropped.clone());
            let task = spawn(async move {
                let _flag = flag;
                yield_now().await;
                pending::<()>().await;
            });
            for _ in 0..turns_before {
                yield_now().await;
            }
            task.abort();
            assert!(!dropped.get(), "not before its turn");
            assert!(!task.is_finished());
            task.abort();
            yield_now().await;
            assert!(dropped.get());
            assert!(task.is_finished());
            assert!(task.await.unwrap_err().is_cancelled());
        }
    });
}

#[test]
fn aborting_an_ended_task_changes_nothing() {
    popleft::run(async {
        let task = spawn(async { 5 });
        settle().await;
        task.abort();
        assert_eq!(task.await.unwrap(), 5);
    });
}

#[test]
fn a_task_that_aborts_itself_ends_at_its_next_await_unless_it_returns_before() {
    async fn own_handle(slot: &RefCell<Option<JoinHandle<&'static str>>>) -> Id {
        slot.borrow().as_ref().unwrap().abort();
        task::current().unwrap().id()
    }
    popleft::run(async {
        for (awaits, cancelled) in [(true, true), (false, false)] {
            let slot: Rc<RefCell<Option<JoinHandle<&str>>>> = Rc::default();
            let own = slot.clone();
            let task = spawn(async move {
                own_handle(&own).await;
                if awaits {
                    yield_now().await;
                }
                "returned"
            });
            *slot.borrow_mut() = Some(task);
            settle().await;
            let result = slot.take().unwrap().await;
            assert_eq!(result.is_err_and(|e| e.is_cancelled()), cancelled);
        }
    });
}

#[test]
fn the_main_task_can_be_aborted_through_a_handle() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let result = runtime.try_block_on(async {
        handle.abort(task::current().unwrap().id());
        pending::<()>().await;
    });
    assert_eq!(result, Err(RunError::Cancelled));
}

// ===== panics ===================================================================================

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("in drop");
        }
    }
}

/// Runs `test` with the panic hook silenced: these panics are meant.
#[expect(clippy::print_stderr, reason = "the test harness keeps what is printed")]
fn quietly(test: impl FnOnce()) {
    static HOOK: Mutex<()> = Mutex::new(());
    let _one_at_a_time = HOOK.lock().unwrap_or_else(|e| e.into_inner());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        if info
            .payload()
            .downcast_ref::<&str>()
            .is_none_or(|text| !text.contains("in drop") && !text.contains("in poll"))
        {
            eprintln!("{info}");
        }
    }));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
    std::panic::set_hook(hook);
    if let Err(payload) = result {
        std::panic::resume_unwind(payload);
    }
}

#[test]
fn a_panic_ends_its_task_and_no_other() {
    quietly(|| {
        popleft::run(async {
            let other = spawn(async {
                settle().await;
                "fine"
            });
            let task = spawn(async { panic!("in poll") });
            let error: popleft::JoinError = task.await.unwrap_err();
            assert!(error.is_panic() && !error.is_cancelled());
            assert!(error.to_string().contains("in poll"), "{error}");
            assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "in poll");
            assert_eq!(other.await.unwrap(), "fine");
        });
    });
}

#[test]
fn a_panic_while_the_future_is_dropped_is_its_end() {
    quietly(|| {
        popleft::run(async {
            // Dropped after it has returned ..
            let returned = spawn({
                let mut bomb = Some(PanicsInDrop);
                poll_fn(move |_| {
                    let _ = &mut bomb;
                    Poll::Ready(1)
                })
            });
            assert!(returned.await.unwrap_err().is_panic());
            // .. after it was aborted ..
            let aborted = spawn(async {
                let _bomb = PanicsInDrop;
                pending::<()>().await;
            });
            yield_now().await;
            aborted.abort();
            assert!(aborted.await.unwrap_err().is_panic());
            // .. and before it has ever run.
            let bomb = PanicsInDrop;
            let unborn = spawn(async move {
                let _bomb = bomb;
            });
            unborn.abort();
            assert!(unborn.await.unwrap_err().is_panic());
            settle().await;
        });
    });
}

#[test]
fn a_panic_while_an_unwanted_result_is_dropped_disturbs_nobody() {
    quietly(|| {
        popleft::run(async {
            drop(spawn(async { PanicsInDrop }));
            let ended = spawn(async { PanicsInDrop });
            settle().await;
            drop(ended);
            settle().await;
        });
    });
}

#[test]
fn a_panic_in_the_main_task_passes_through_and_the_runtime_lives_on() {
    quietly(|| {
        let runtime = Runtime::new().unwrap();
        let survivor = runtime.block_on(async { spawn(async { "survivor" }) });
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async { panic!("in poll of main") })
        }));
        let payload = panicked.unwrap_err();
        assert_eq!(*payload.downcast::<&str>().unwrap(), "in poll of main");
        assert_eq!(runtime.block_on(survivor).unwrap(), "survivor");
    });
}

#[test]
fn a_foreign_waker_that_panics_disturbs_nobody() {
    struct PanicsInWake;
    impl Wake for PanicsInWake {
        fn wake(self: Arc<Self>) {
            panic!("in wake, which is in poll");
        }
    }
    quietly(|| {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            // A combinator of somebody's passes a waker of its own on.
            let mut task = spawn(settle());
            let waker = Waker::from(Arc::new(PanicsInWake));
            assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
            std::mem::forget(task);
        });
        runtime.block_on(settle());
    });
}

#[test]
fn a_panic_that_nobody_joins_is_printed_with_the_task() {
    let Some(stderr) = child::stderr_of("a_panic_that_nobody_joins_is_printed_with_the_task")
    else {
        return popleft::run(async {
            drop(task::Builder::new().name("lonely").spawn(async { panic!("the reason") }));
            settle().await;
            let ended = spawn(async { panic!("another reason") });
            settle().await;
            drop(ended);
        });
    };
    for expected in ["task 1", "\"lonely\"", "the reason", "tasks.rs:", "task 2", "another reason"]
    {
        let reports: String = stderr.lines().filter(|l| l.contains("never joined")).collect();
        assert!(reports.contains(expected), "{expected} is not in {reports}");
    }
}

#[test]
fn a_panic_that_was_joined_is_not_printed_twice() {
    let Some(stderr) = child::stderr_of("a_panic_that_was_joined_is_not_printed_twice") else {
        return popleft::run(async {
            let task = spawn(async { panic!("the reason") });
            let _ = task.await;
        });
    };
    assert!(!stderr.contains("never joined"), "{stderr}");
}

// ===== where a runtime may run ==================================================================

#[test]
fn a_runtime_inside_a_runtime_is_refused() {
    quietly(|| {
        popleft::run(async {
            let nested = spawn(async { popleft::run(async {}) });
            let error = nested.await.unwrap_err();
            assert!(error.to_string().contains("inside a runtime"), "{error}");
        });
        popleft::run(async {});
    });
}

#[test]
#[should_panic(expected = "no runtime is running on this thread")]
fn spawning_outside_is_refused() {
    drop(spawn(async {}));
}

#[test]
fn each_thread_may_run_its_own() {
    let results: Vec<_> = (0..4)
        .map(|n| {
            thread::spawn(move || {
                popleft::run(async move { spawn(async move { n }).await.unwrap() })
            })
        })
        .collect();
    let results: Vec<_> = results.into_iter().map(|t| t.join().unwrap()).collect();
    assert_eq!(results, [0, 1, 2, 3]);
}

#[test]
fn the_main_future_may_borrow() {
    let mut counter = 0;
    let name = String::from("borrowed");
    let borrowed = popleft::run(async {
        counter += 1;
        yield_now().await;
        &name
    });
    assert_eq!(borrowed, "borrowed");
    assert_eq!(counter, 1);
}

#[test]
fn tasks_live_on_from_one_block_on_to_the_next() {
    let runtime = Runtime::new().unwrap();
    let task = runtime.block_on(async {
        spawn(async {
            for _ in 0..5 {
                yield_now().await;
            }
            "done"
        })
    });
    assert!(!task.is_finished());
    assert_eq!(runtime.block_on(task).unwrap(), "done");
}

#[test]
fn a_wake_between_two_runs_is_not_lost() {
    let runtime = Runtime::new().unwrap();
    let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
    let there = kept.clone();
    let mut polled = false;
    let task = runtime.block_on(async {
        let task = spawn(poll_fn(move |cx| {
            *there.borrow_mut() = Some(cx.waker().clone());
            match std::mem::replace(&mut polled, true) {
                true => Poll::Ready("woken"),
                false => Poll::Pending,
            }
        }));
        yield_now().await;
        task
    });
    kept.take().unwrap().wake();
    assert_eq!(runtime.block_on(task).unwrap(), "woken");
}

// ===== the end of a runtime =====================================================================

/// Does all that a destructor could do to the runtime that drops it.
struct Meddler {
    waker: Option<Waker>,
    dropped: Rc<Cell<usize>>,
    /// How many tasks it spawned that the runtime refused.
    refused: Rc<Cell<usize>>,
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.dropped.set(self.dropped.get() + 1);
        let unborn = spawn(async { unreachable!("the runtime is being dropped") });
        unborn.abort();
        if unborn.is_finished() {
            self.refused.set(self.refused.get() + 1);
        }
        drop(unborn);
        drop(popleft::spawn_blocking(|| ()));
        if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            waker.wake();
        }
        popleft::Handle::current().unwrap().stop();
        drop(popleft::time::sleep(Duration::from_secs(1)));
    }
}

#[test]
fn a_runtime_is_dropped_with_tasks_in_every_state() {
    let dropped = Rc::new(Cell::new(0));
    let refused = Rc::new(Cell::new(0));
    let meddler = |waker: Option<Waker>| Meddler {
        waker,
        dropped: dropped.clone(),
        refused: refused.clone(),
    };
    let runtime = Runtime::new().unwrap();
    let handles: Vec<JoinHandle<()>> = runtime.block_on(async {
        let mut handles = vec![];
        // Parked; parked with a timer; ready again; joined by each other.
        let parked = meddler(None);
        handles.push(spawn(async move {
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            let mut parked = parked;
            parked.waker = Some(waker);
            pending::<()>().await;
        }));
        let asleep = meddler(None);
        handles.push(spawn(async move {
            let _asleep = asleep;
            popleft::time::sleep(Duration::from_secs(1000)).await;
        }));
        let again = meddler(None);
        handles.push(spawn(async move {
            let _again = again;
            loop {
                yield_now().await;
            }
        }));
        let joining = meddler(None);
        let joined = spawn(pending::<()>());
        handles.push(spawn(async move {
            let _joining = joining;
            let _ = joined.await;
        }));
        settle().await;
        // Ended, with a result that nobody took; aborted; never run.
        let result = meddler(None);
        let ended = spawn(async move { result });
        std::mem::forget(ended);
        settle().await;
        let aborted = meddler(None);
        handles.push(spawn(async move {
            let _aborted = aborted;
            pending::<()>().await
        }));
        handles.last().unwrap().abort();
        let unborn = meddler(None);
        handles.push(spawn(async move { drop(unborn) }));
        handles
    });
    drop(runtime);
    // Panics in these destructors would end where they are: so they count.
    assert_eq!((dropped.get(), refused.get()), (7, 7));
    // Handles that outlive the runtime find their tasks cancelled.
    for handle in handles {
        assert!(handle.is_finished());
        handle.abort();
        let other = Runtime::new().unwrap();
        assert!(other.block_on(handle).unwrap_err().is_cancelled());
    }
}

#[test]
fn a_task_that_holds_its_own_handle_is_freed_with_the_runtime() {
    let token = Rc::new(());
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let slot: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let (own, held) = (slot.clone(), token.clone());
        *slot.borrow_mut() = Some(spawn(async move {
            let _held = (own, held);
            pending::<()>().await;
        }));
        settle().await;
    });
    drop(runtime);
    assert_eq!(Rc::strong_count(&token), 1);
}

#[test]
fn wakers_outlive_the_runtime_and_do_nothing() {
    let runtime = Runtime::new().unwrap();
    let wakers = log();
    runtime.block_on(async {
        for _ in 0..3 {
            let wakers = wakers.clone();
            drop(spawn(poll_fn(move |cx| {
                wakers.borrow_mut().push(cx.waker().clone());
                Poll::<()>::Pending
            })));
        }
        settle().await;
    });
    drop(runtime);
    let wakers = wakers.take();
    for waker in wakers.clone() {
        waker.wake_by_ref();
        waker.wake();
    }
    thread::spawn(move || wakers.into_iter().for_each(Waker::wake)).join().unwrap();
    // Nor do they reach a runtime that came later.
    popleft::run(settle());
}

#[test]
fn what_a_dropped_task_does_to_the_others_harms_nobody() {
    // A destructor that aborts and detaches others, wakes them and spawns, in the middle of a run.
    struct Busy(Vec<JoinHandle<()>>, Vec<Waker>);
    impl Drop for Busy {
        fn drop(&mut self) {
            self.0.iter().for_each(JoinHandle::abort);
            self.0.clear();
            self.1.drain(..).for_each(Waker::wake);
            drop(spawn(settle()));
        }
    }
    popleft::run(async {
        let wakers = log();
        let tasks = (0..10)
            .map(|_| {
                let wakers = wakers.clone();
                spawn(poll_fn(move |cx| {
                    wakers.borrow_mut().push(cx.waker().clone());
                    Poll::<()>::Pending
                }))
            })
            .collect();
        yield_now().await;
        let busy = Busy(tasks, wakers.take());
        let task = spawn(async move {
            let _busy = busy;
            pending::<()>().await;
        });
        yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        settle().await;
    });
}

#[test]
fn a_listener_may_use_the_runtime() {
    let spawned = Rc::new(Cell::new(0));
    let count = spawned.clone();
    let runtime = Runtime::builder()
        .listener(move |event| {
            if matches!(event, Event::Done { how: End::Ok, .. }) && count.get() < 3 {
                count.set(count.get() + 1);
                drop(spawn(async {}));
                let _ = task::current();
            }
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        spawn(async {}).await.unwrap();
        settle().await;
    });
    assert_eq!(spawned.get(), 3);
}

// ===== other threads ============================================================================

#[test]
fn wakes_from_other_threads_are_never_lost() {
    const ROUNDS: usize = 2_000;
    const THREADS: usize = 3;
    // In a process with a time limit: a loop that has lost a wake sleeps for ever.
    if child::stderr_of("wakes_from_other_threads_are_never_lost").is_some() {
        return;
    }
    popleft::run(async {
        let mut tasks = vec![];
        for _ in 0..THREADS {
            // A thread and a task play ping-pong: whoever loses a ball hangs the test.
            let (to_thread, balls) = mpsc::channel::<Waker>();
            let count = Arc::new(AtomicUsize::new(0));
            let hit = count.clone();
            let player = thread::spawn(move || {
                for waker in balls {
                    hit.fetch_add(1, Ordering::Release);
                    waker.wake();
                }
            });
            tasks.push(spawn(async move {
                for round in 1..=ROUNDS {
                    let mut sent = false;
                    poll_fn(|cx| {
                        if !std::mem::replace(&mut sent, true) {
                            to_thread.send(cx.waker().clone()).unwrap();
                        }
                        match count.load(Ordering::Acquire) >= round {
                            true => Poll::Ready(()),
                            false => Poll::Pending,
                        }
                    })
                    .await;
                    if round % 7 == 0 {
                        yield_now().await;
                    }
                }
                drop(to_thread);
                player
            }));
        }
        for task in tasks {
            task.await.unwrap().join().unwrap();
        }
    });
}

#[test]
fn a_storm_of_foreign_wakes_costs_a_task_one_turn() {
    let (runtime, events) = watched();
    let id = runtime.block_on(async {
        let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
        let there = kept.clone();
        let task = spawn(poll_fn(move |cx| {
            *there.borrow_mut() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        yield_now().await;
        let waker = kept.take().unwrap();
        // The loop stands still meanwhile, in this very turn.
        thread::spawn(move || (0..10_000).for_each(|_| waker.wake_by_ref())).join().unwrap();
        while polls_of(&events, task.id()) < 2 {
            popleft::time::sleep(Duration::ZERO).await;
        }
        settle().await;
        task.id()
    });
    assert_eq!(polls(&events)[&id], 2);
}

fn polls_of(events: &Log<Event>, id: Id) -> usize {
    polls(events).get(&id).copied().unwrap_or(0)
}

#[test]
fn a_handle_spawns_aborts_and_stops_from_another_thread() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let other = thread::spawn(move || {
        assert_eq!(handle.spawn(async { 6 * 7 }).wait().unwrap(), 42);
        let lost = handle.spawn(async {
            popleft::Handle::current().unwrap().abort(task::current().unwrap().id());
            pending::<()>().await;
        });
        assert!(lost.wait().unwrap_err().is_cancelled());
        handle.stop();
    });
    runtime.run_until_stopped();
    other.join().unwrap();
}

#[test]
fn a_remote_handle_is_also_a_future() {
    popleft::run(async {
        let handle = popleft::Handle::current().unwrap();
        let task = handle.spawn(async {
            yield_now().await;
            "there and back"
        });
        assert_eq!(task.await.unwrap(), "there and back");
    });
}

#[test]
fn what_is_asked_of_a_runtime_that_is_gone_is_lost_and_says_so() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let unheard = handle.spawn(async {});
    drop(runtime);
    for lost in [unheard, handle.spawn(async {})] {
        let error = lost.wait().unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(error.to_string(), "a task was cancelled before it began: its runtime is gone");
    }
    handle.stop();
}

#[test]
fn a_stop_before_the_run_stops_the_run() {
    let runtime = Runtime::new().unwrap();
    runtime.handle().stop();
    assert_eq!(runtime.try_block_on(pending::<()>()), Err(RunError::Stopped));
    assert_eq!(runtime.try_block_on(async { 1 }), Ok(1));
}

#[test]
fn waiting_for_a_remote_handle_on_the_loops_own_thread_is_refused() {
    quietly(|| {
        popleft::run(async {
            let task = spawn(async {
                let _ = popleft::Handle::current().unwrap().spawn(async {}).wait();
            });
            let error = task.await.unwrap_err();
            assert!(error.to_string().contains("await the handle in it instead"), "{error}");
        });
    });
}

// ===== programs that hang =======================================================================

#[test]
fn a_program_that_can_never_go_on_is_told_so_at_once() {
    let test = "a_program_that_can_never_go_on_is_told_so_at_once";
    let Some(stderr) = child::stderr_of(test) else {
        let result = Runtime::new().unwrap().try_block_on(async {
            let inner = task::Builder::new().name("inner").spawn(pending::<()>());
            let _ = inner.await;
        });
        return assert_eq!(result, Err(RunError::Stalled));
    };
    for expected in [
        "every task is parked, and nothing is left that could wake one",
        "task 0 (\"main\"), spawned at",
        "waits for the end of task 1 (\"inner\")",
        "tasks.rs:",
    ] {
        assert!(stderr.contains(expected), "{expected} is not in {stderr}");
    }
}

#[test]
fn a_program_that_waits_for_another_thread_is_told_so_after_a_while_and_goes_on() {
    let test = "a_program_that_waits_for_another_thread_is_told_so_after_a_while_and_goes_on";
    let Some(stderr) = child::stderr_of(test) else {
        return popleft::run(async {
            let runtime = popleft::Handle::current().unwrap();
            // It wakes nobody for longer than the loop's patience.
            let other = thread::spawn(move || {
                thread::sleep(Duration::from_millis(2300));
                runtime.spawn(async { "at last" }).wait().unwrap()
            });
            let (sender, receiver) = mpsc::channel();
            let kept = Arc::new(Mutex::new(None::<Waker>));
            let waker = kept.clone();
            thread::spawn(move || {
                sender.send(other.join().unwrap()).unwrap();
                kept.lock().unwrap().take().unwrap().wake();
            });
            poll_fn(|cx| {
                *waker.lock().unwrap() = Some(cx.waker().clone());
                match receiver.try_recv() {
                    Ok(text) => {
                        assert_eq!(text, "at last");
                        Poll::Ready(())
                    }
                    Err(_) => Poll::Pending,
                }
            })
            .await;
        });
    };
    assert_eq!(stderr.matches("for a second no other thread has woken one").count(), 1, "{stderr}");
}

#[test]
#[should_panic(expected = "nothing is left that could wake one")]
fn block_on_panics_where_it_cannot_go_on() {
    popleft::run(pending::<()>());
}
