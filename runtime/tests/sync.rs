//! The laws of the lock: one at a time, first come first served, and no place in the queue lost.

mod child;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_lite::future::zip;
use popleft::event::{Event, Why};
use popleft::sync::{Lock, Mutex, MutexGuard};
use popleft::time::{sleep, timeout};
use popleft::{Runtime, spawn, yield_now};
use proptest::prelude::*;

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Polls without a runtime.
fn poll<'a, T>(lock: &mut Pin<Box<Lock<'a, T>>>, waker: &Waker) -> Option<MutexGuard<'a, T>> {
    match lock.as_mut().poll(&mut Context::from_waker(waker)) {
        Poll::Ready(guard) => Some(guard),
        Poll::Pending => None,
    }
}

#[test]
fn one_at_a_time_and_in_the_order_in_which_they_asked() {
    popleft::run(async {
        let log = Rc::new(Mutex::new(vec![]));
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let log = log.clone();
                spawn(async move {
                    let mut log = log.lock().await;
                    log.push((n, "in"));
                    for _ in 0..n % 4 {
                        yield_now().await;
                    }
                    log.push((n, "out"));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let expected: Vec<_> = (0..20).flat_map(|n| [(n, "in"), (n, "out")]).collect();
        assert_eq!(*log.lock().await, expected);
    });
}

#[test]
fn who_locks_again_and_again_does_not_starve_the_others() {
    popleft::run(async {
        let lock = Rc::new(Mutex::new(()));
        let taken = Rc::new(Cell::new(0));
        let (theirs, count) = (lock.clone(), taken.clone());
        // It stops in the end, so that starving is seen and not waited for.
        let greedy = spawn(async move {
            for _ in 0..1_000 {
                let held = theirs.lock().await;
                count.set(count.get() + 1);
                yield_now().await;
                drop(held);
            }
        });
        yield_now().await;
        for round in 1..=10 {
            let held = lock.lock().await;
            // Whoever asks next is next: between two of our rounds it has one.
            assert_eq!(taken.get(), round);
            yield_now().await;
            drop(held);
        }
        greedy.abort();
    });
}

#[test]
fn a_free_lock_that_is_always_ready_yields_after_a_turns_share() {
    popleft::run(async {
        let others = Rc::new(Cell::new(0));
        let count = others.clone();
        let other = spawn(async move {
            loop {
                count.set(count.get() + 1);
                yield_now().await;
            }
        });
        let lock = Mutex::new(0);
        for _ in 0..1_000 {
            *lock.lock().await += 1;
        }
        assert!(others.get() >= 5, "{}", others.get());
        other.abort();
    });
}

#[test]
fn try_lock_takes_what_is_free_and_never_jumps_the_queue() {
    let lock = Mutex::new(1);
    let held = lock.try_lock().unwrap();
    assert!(lock.try_lock().is_none());
    let mut waits = Box::pin(lock.lock());
    assert!(poll(&mut waits, Waker::noop()).is_none());
    drop(held);
    // It is the waiter's, though the waiter does not know yet.
    assert!(lock.try_lock().is_none());
    let handed = poll(&mut waits, Waker::noop()).unwrap();
    assert_eq!(*handed, 1);
    drop(handed);
    drop(waits);
    *lock.try_lock().unwrap() = 2;
    assert_eq!(lock.into_inner(), 2);
}

#[test]
fn it_works_without_any_runtime() {
    let lock = Rc::new(Mutex::new(0));
    let add = async || {
        for _ in 0..1_000 {
            let mut n = lock.lock().await;
            futures_lite::future::yield_now().await;
            *n += 1;
        }
    };
    futures_lite::future::block_on(zip(add(), add()));
    assert_eq!(*lock.try_lock().unwrap(), 2_000);
}

#[test]
fn a_waiter_that_gives_up_loses_nobody_the_lock() {
    let lock = Mutex::new(());
    let counts = [(); 3].map(|()| Arc::new(Count::default()));
    let wakers = counts.clone().map(Waker::from);
    let held = lock.try_lock().unwrap();
    let mut first = Box::pin(lock.lock());
    let mut second = Box::pin(lock.lock());
    let mut third = Box::pin(lock.lock());
    for (waits, waker) in [&mut first, &mut second, &mut third].into_iter().zip(&wakers) {
        assert!(poll(waits, waker).is_none());
    }
    // From the middle of the queue.
    drop(second);
    drop(held);
    assert_eq!([&counts[0], &counts[1], &counts[2]].map(|count| count.get()), [1, 0, 0]);
    // The one that was just handed the lock, and did not come for it.
    drop(first);
    assert_eq!(counts[2].get(), 1);
    let held = poll(&mut third, &wakers[2]).unwrap();
    drop(held);
    assert!(lock.try_lock().is_some());
}

#[test]
fn the_last_waiter_that_was_handed_the_lock_and_gives_up_leaves_it_free() {
    let lock = Mutex::new(());
    let held = lock.try_lock().unwrap();
    let mut only = Box::pin(lock.lock());
    assert!(poll(&mut only, Waker::noop()).is_none());
    drop(held);
    drop(only);
    assert!(lock.try_lock().is_some());
}

#[test]
fn an_aborted_task_that_was_just_handed_the_lock_passes_it_on() {
    popleft::run(async {
        let lock = Rc::new(Mutex::new(()));
        let held = lock.lock().await;
        let tasks = [(); 2].map(|()| {
            let lock = lock.clone();
            spawn(async move { drop(lock.lock().await) })
        });
        yield_now().await;
        drop(held);
        tasks[0].abort();
        let [first, second] = tasks;
        assert!(first.await.unwrap_err().is_cancelled());
        second.await.unwrap();
        assert!(lock.try_lock().is_some());
    });
}

#[test]
fn the_waker_of_the_last_poll_is_woken() {
    let lock = Mutex::new(());
    let held = lock.try_lock().unwrap();
    let counts = [(); 2].map(|()| Arc::new(Count::default()));
    let mut waits = Box::pin(lock.lock());
    for count in &counts {
        assert!(poll(&mut waits, &Waker::from(count.clone())).is_none());
    }
    drop(held);
    assert_eq!([counts[0].get(), counts[1].get()], [0, 1]);
}

#[test]
fn a_panic_releases_the_lock() {
    popleft::run(async {
        let lock = Rc::new(Mutex::new(5));
        let other = lock.clone();
        let broken = spawn(async move {
            let _held = other.lock().await;
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(broken.await.unwrap_err().is_panic());
        assert_eq!(*lock.lock().await, 5);
    });
}

#[test]
#[should_panic(expected = "polled after it was ready")]
fn polling_it_again_after_it_was_ready_panics() {
    let lock = Mutex::new(());
    let mut once = Box::pin(lock.lock());
    drop(poll(&mut once, Waker::noop()).unwrap());
    let _ = poll(&mut once, Waker::noop());
}

#[test]
fn it_shows_its_value_unless_it_is_locked() {
    let mut lock = Mutex::from(7);
    assert_eq!(format!("{lock:?}"), "Mutex { value: 7 }");
    let held = lock.try_lock().unwrap();
    assert_eq!(format!("{held:?} {lock:?}"), "7 Mutex { value: <locked> }");
    let waits = lock.lock();
    assert_eq!(format!("{waits:?}"), "Lock { queued: false, .. }");
    drop(waits);
    drop(held);
    *lock.get_mut() = 8;
    assert_eq!(*Mutex::<i32>::default().try_lock().unwrap(), 0);
    assert_eq!(lock.into_inner(), 8);
}

#[test]
fn who_waits_says_who_holds_it() {
    let parked = Rc::new(RefCell::new(vec![]));
    let heard = parked.clone();
    let runtime = Runtime::builder()
        .listener(move |event| {
            if let Event::Pending { task, why: Why::Lock, .. } = event {
                heard.borrow_mut().push(task.number());
            }
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        let lock = Rc::new(Mutex::new(()));
        let other = lock.clone();
        let held = lock.lock().await;
        let waits = spawn(async move { drop(other.lock().await) });
        yield_now().await;
        drop(held);
        waits.await.unwrap();
    });
    assert_eq!(*parked.borrow(), [1]);
}

/// Two tasks that lock two locks the other way round, while a third keeps the loop busy.
async fn lock_in_a_circle() {
    let (left, right) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
    let take = |first: &Rc<Mutex<()>>, second: &Rc<Mutex<()>>| {
        let (first, second) = (first.clone(), second.clone());
        spawn(async move {
            let _first = first.lock().await;
            yield_now().await;
            let _second = second.lock().await;
        })
    };
    let tasks = [take(&left, &right), take(&right, &left)];
    for _ in 0..10 {
        yield_now().await;
    }
    // When one of them is gone, the other can go on.
    let [first, second] = tasks;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    second.await.unwrap();
    assert!(left.try_lock().is_some() && right.try_lock().is_some());
}

#[test]
fn a_circle_is_reported_when_it_closes_also_while_others_run() {
    let test = "a_circle_is_reported_when_it_closes_also_while_others_run";
    let Some(stderr) = child::stderr_of(test) else {
        popleft::run(lock_in_a_circle());
        return;
    };
    let told: Vec<_> = stderr.lines().filter(|line| line.contains("a circle of locks")).collect();
    assert_eq!(told.len(), 1, "{stderr}");
    for part in [
        "popleft: a circle of locks: task 2 waits at runtime/tests/sync.rs:",
        "for a lock held by task 1, which waits at runtime/tests/sync.rs:",
        "for a lock held by task 2; unless one of them gives up, none of them can go on",
    ] {
        assert!(told[0].contains(part), "{stderr}");
    }
}

async fn slowly_add_one(lock: &Mutex<u32>) {
    let mut value = lock.lock().await;
    sleep(Duration::from_millis(1)).await;
    *value += 1;
}

#[test]
fn no_circle_is_reported_where_there_is_none() {
    let test = "no_circle_is_reported_where_there_is_none";
    let Some(stderr) = child::stderr_of(test) else {
        popleft::run(async {
            let (left, right) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
            let held = left.lock().await;
            for _ in 0..5 {
                let left = left.clone();
                drop(spawn(async move { drop(left.lock().await) }));
            }
            // It gives up waiting for the lock of this task before this task waits for its own.
            let (first, second, gave_up) = (left.clone(), right.clone(), Rc::new(Cell::new(false)));
            let told = gave_up.clone();
            let other = spawn(async move {
                let _held = second.lock().await;
                assert!(timeout(Duration::ZERO, first.lock()).await.is_err());
                told.set(true);
                sleep(Duration::from_millis(1)).await;
            });
            while !gave_up.get() {
                yield_now().await;
            }
            drop(right.lock().await);
            other.await.unwrap();
            drop(held);
        });
        popleft::run(async {
            // One branch of a task waits for the lock that another branch of it holds: alone, and
            // in what would be a circle with another task.
            let (left, right) = (Rc::new(Mutex::new(0)), Rc::new(Mutex::new(0)));
            zip(slowly_add_one(&left), slowly_add_one(&left)).await;
            let (l, r) = (left.clone(), right.clone());
            let other = spawn(async move {
                let _held = r.lock().await;
                slowly_add_one(&l).await;
            });
            yield_now().await;
            zip(slowly_add_one(&left), slowly_add_one(&right)).await;
            other.await.unwrap();
            assert_eq!((*left.lock().await, *right.lock().await), (4, 1));
        });
        popleft::run(async {
            // The first lets go of what the third asks for; the second has it, but not had its
            // turn yet. The first waits for the third, but nobody waits for the first.
            let (left, right) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
            let (l, r) = (left.clone(), right.clone());
            let first = spawn(async move {
                let held = l.lock().await;
                yield_now().await;
                drop(held);
                drop(r.lock().await);
            });
            let (l, r) = (left.clone(), right.clone());
            let third = async move {
                let _held = r.lock().await;
                yield_now().await;
                drop(l.lock().await);
            };
            let queue = [(); 2].map(|()| {
                let left = left.clone();
                spawn(async move { drop(left.lock().await) })
            });
            let third = spawn(third);
            for task in queue.into_iter().chain([first, third]) {
                task.await.unwrap();
            }
        });
        return;
    };
    assert!(!stderr.contains("popleft:"), "{stderr}");
}

#[test]
fn a_program_that_hangs_in_a_circle_is_told_at_once() {
    let test = "a_program_that_hangs_in_a_circle_is_told_at_once";
    let Some(stderr) = child::stderr_of(test) else {
        let runtime = Runtime::new().unwrap();
        let ended = runtime.try_block_on(async {
            let lock = Mutex::new(());
            let _held = lock.lock().await;
            drop(lock.lock().await);
        });
        assert_eq!(ended, Err(popleft::RunError::Stalled));
        return;
    };
    for part in [
        "popleft: task 0 waits at runtime/tests/sync.rs:",
        "for a lock that it holds itself; unless it gives up, it cannot go on",
        "the only task is parked, and nothing is left that could wake one",
        "waits for a lock held by task 0 (\"main\") at runtime/tests/sync.rs:",
        "in a circle: task 0 waits for a lock held by task 0\n",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask,
    Poll(usize),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Ask),
        3 => (0usize..8).prop_map(Step::Poll),
        2 => (0usize..8).prop_map(Step::Drop),
    ]
}

proptest! {
    /// The model is a list of those who asked and have neither had the lock and given it back nor
    /// given up: the first of them has it or is handed it.
    #[test]
    fn it_behaves_as_a_queue(steps in proptest::collection::vec(step(), 0..200)) {
        enum One<'a> {
            Waits(Pin<Box<Lock<'a, ()>>>, Arc<Count>),
            Holds(#[allow(dead_code)] MutexGuard<'a, ()>),
        }
        let lock = Mutex::new(());
        let mut queue: Vec<One<'_>> = vec![];
        for step in steps {
            match step {
                Step::Ask => {
                    let count = Arc::new(Count::default());
                    let mut waits = Box::pin(lock.lock());
                    let got = poll(&mut waits, &Waker::from(count.clone()));
                    prop_assert_eq!(got.is_some(), queue.is_empty());
                    queue.push(match got {
                        Some(guard) => One::Holds(guard),
                        None => One::Waits(waits, count),
                    });
                }
                Step::Poll(which) => {
                    let is_first = which == 0;
                    if let Some(one) = queue.get_mut(which)
                        && let One::Waits(waits, count) = one
                    {
                        let got = poll(waits, &Waker::from(count.clone()));
                        prop_assert_eq!(got.is_some(), is_first);
                        if let Some(guard) = got {
                            *one = One::Holds(guard);
                        }
                    }
                }
                Step::Drop(which) => {
                    if which < queue.len() {
                        drop(queue.remove(which));
                    }
                }
            }
            if let Some(One::Waits(_, count)) = queue.first() {
                prop_assert_eq!(count.get(), 1, "whose turn it is was woken once");
            }
            for one in queue.iter().skip(1) {
                if let One::Waits(_, count) = one {
                    prop_assert_eq!(count.get(), 0, "nobody else was woken");
                }
            }
            prop_assert_eq!(lock.try_lock().is_some(), queue.is_empty());
        }
    }
}

#[test]
fn a_waiter_may_be_finished_by_another_task_than_the_one_that_began() {
    popleft::run(async {
        let lock = Rc::new(Mutex::new(()));
        let held = lock.lock().await;
        let mut waits = pin!(lock.lock());
        let pending = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx).is_pending()));
        assert!(pending.await);
        drop(held);
        drop(waits.await);
        assert!(lock.try_lock().is_some());
    });
}
