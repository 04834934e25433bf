//! The laws of time: never early, never lost, and nothing left behind.

// Sleeps are carried out of the runs that made them.
#![allow(clippy::async_yields_async)]

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use popleft::event::Event;
use popleft::time::{
    Elapsed, MissedTickBehavior, interval, interval_at, sleep, sleep_until, timeout, timeout_at,
};
use popleft::{Runtime, spawn, yield_now};
use proptest::prelude::*;

/// Polls `future` once in the task that calls; it must not be ready.
async fn assert_pending<F: Future>(mut future: Pin<&mut F>) {
    let is_pending = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending()));
    assert!(is_pending.await);
}

const HOUR: Duration = Duration::from_secs(3600);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn sleeps_end_in_the_order_of_their_deadlines_and_never_early(
        micros in proptest::collection::vec(0u64..8_000, 1..30)
    ) {
        let ended = Rc::new(RefCell::new(vec![]));
        popleft::run(async {
            let start = Instant::now();
            let tasks: Vec<_> = micros.iter().map(|&micros| {
                let ended = ended.clone();
                let deadline = start + Duration::from_micros(micros);
                spawn(async move {
                    sleep_until(deadline).await;
                    assert!(Instant::now() >= deadline);
                    ended.borrow_mut().push(deadline);
                })
            }).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        // A deadline that had passed when its task first ran is not waited for: those come first,
        // in the order of spawning.
        let ended = ended.take();
        prop_assert_eq!(ended.len(), micros.len());
        let waited_for: Vec<_> = ended.iter().copied().skip_while(|d| *d <= ended[0]).collect();
        let mut sorted = waited_for.clone();
        sorted.sort();
        prop_assert_eq!(waited_for.last(), sorted.last());
    }
}

#[test]
fn a_sleep_is_over_only_when_its_time_has_passed() {
    popleft::run(async {
        for micros in [0, 1, 100, 999, 1_000, 1_001, 5_500] {
            let duration = Duration::from_micros(micros);
            let start = Instant::now();
            sleep(duration).await;
            assert!(start.elapsed() >= duration);
        }
    });
}

#[test]
fn a_sleep_counts_from_its_call_not_from_its_first_poll() {
    popleft::run(async {
        let made = sleep(Duration::from_millis(2));
        assert!(made.deadline() <= Instant::now() + Duration::from_millis(2));
        while Instant::now() < made.deadline() {
            yield_now().await;
        }
        let mut made = pin!(made);
        // Seen at the loop's next look at the latest.
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            made.as_mut().poll(cx)
        })
        .await;
        assert!(polls <= 2);
    });
}

#[test]
fn the_past_is_ready_at_once_and_the_far_future_is_not() {
    popleft::run(async {
        let at_once = poll_fn(|cx| {
            let past = Instant::now() - Duration::from_secs(1);
            Poll::Ready(Pin::new(&mut sleep_until(past)).poll(cx).is_ready())
        });
        assert!(at_once.await);
        for far in [Duration::MAX, HOUR * 24 * 365 * 20] {
            assert_eq!(
                timeout(Duration::from_millis(1), sleep(far)).await.map_err(|_| ()),
                Err(())
            );
        }
        assert_eq!(timeout(Duration::MAX, async { 1 }).await, Ok(1));
        assert_eq!(timeout(Duration::ZERO, async { 1 }).await, Ok(1));
        assert!(timeout(Duration::ZERO, pending::<()>()).await.is_err());
        let past = Instant::now() - Duration::from_secs(1);
        assert!(timeout_at(past, pending::<()>()).await.is_err());
    });
}

#[test]
fn of_nested_timeouts_the_earlier_one_counts() {
    popleft::run(async {
        let short = Duration::from_millis(2);
        let inner = timeout(HOUR, timeout(short, pending::<()>())).await;
        assert!(matches!(inner, Ok(Err(_))));
        let outer = timeout(short, timeout(HOUR, pending::<()>())).await;
        assert!(outer.is_err());
    });
}

#[test]
fn a_timeout_drops_what_it_gave_up() {
    struct Flag(Rc<Cell<bool>>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    popleft::run(async {
        let dropped = Rc::new(Cell::new(false));
        let flag = Flag(dropped.clone());
        let slow = async move {
            let _flag = flag;
            pending::<()>().await;
        };
        assert!(timeout(Duration::from_millis(1), slow).await.is_err());
        assert!(dropped.get());
    });
}

#[test]
fn a_timeout_ends_a_future_that_is_always_ready_to_go_on() {
    popleft::run(async {
        // It uses up the whole share of every turn.
        let greedy = async {
            loop {
                sleep_until(Instant::now() - HOUR).await;
            }
        };
        assert!(timeout(Duration::from_millis(2), greedy).await.is_err());
    });
}

#[test]
fn elapsed_becomes_an_io_error() {
    popleft::run(async {
        let elapsed: Elapsed = timeout(Duration::ZERO, pending::<()>()).await.unwrap_err();
        let error = std::io::Error::from(elapsed);
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_dropped_sleep_leaves_no_timer() {
    let log = Rc::new(RefCell::new(vec![]));
    let kept = log.clone();
    let runtime = Runtime::builder()
        .listener(move |event| match event {
            Event::TimerSet { .. } => kept.borrow_mut().push("set"),
            Event::TimerCancelled { .. } => kept.borrow_mut().push("cancelled"),
            Event::TimerFired { .. } => kept.borrow_mut().push("fired"),
            _ => {}
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut unawaited = Box::pin(sleep(HOUR));
        assert_pending(unawaited.as_mut()).await;
        drop(unawaited);
        drop(sleep(HOUR));
        let aborted = spawn(sleep(HOUR));
        yield_now().await;
        aborted.abort();
        assert!(aborted.await.is_err());
        timeout(HOUR, yield_now()).await.unwrap();
    });
    assert_eq!(*log.borrow(), ["set", "cancelled", "set", "cancelled", "set", "cancelled"]);
}

#[test]
fn a_sleep_wakes_the_task_that_awaits_it_now() {
    popleft::run(async {
        let mut moved = Box::pin(sleep(Duration::from_millis(2)));
        assert_pending(moved.as_mut()).await;
        spawn(moved).await.unwrap();
    });
}

#[test]
fn a_sleep_can_be_reset_before_and_after_its_end() {
    popleft::run(async {
        let mut nap = sleep(HOUR);
        assert_pending(Pin::new(&mut nap)).await;
        for _ in 0..2 {
            let deadline = Instant::now() + Duration::from_millis(1);
            nap.reset(deadline);
            assert!(!nap.is_elapsed());
            (&mut nap).await;
            assert!(nap.is_elapsed() && Instant::now() >= deadline);
        }
    });
}

#[test]
fn a_sleep_moves_to_the_runtime_that_awaits_it() {
    let first = Runtime::new().unwrap();
    let mut nap = first.block_on(async {
        let mut nap = sleep(Duration::from_millis(5));
        assert_pending(Pin::new(&mut nap)).await;
        nap
    });
    popleft::run(&mut nap);
    assert!(nap.is_elapsed() && Instant::now() >= nap.deadline());
}

#[test]
fn timers_fire_while_tasks_are_always_ready() {
    popleft::run(async {
        let greedy = spawn(async {
            loop {
                yield_now().await;
            }
        });
        sleep(Duration::from_millis(1)).await;
        greedy.abort();
    });
}

#[test]
fn an_interval_keeps_its_plan() {
    popleft::run(async {
        let period = Duration::from_millis(2);
        let start = Instant::now() + period;
        let mut interval = interval_at(start, period);
        assert_eq!(interval.period(), period);
        for n in 0..5 {
            let due = interval.tick().await;
            assert_eq!(due, start + period * n);
            assert!(Instant::now() >= due);
        }
    });
}

#[test]
fn a_dropped_tick_loses_nothing() {
    popleft::run(async {
        let start = Instant::now() + Duration::from_millis(3);
        let mut interval = interval_at(start, HOUR);
        assert!(timeout(Duration::ZERO, interval.tick()).await.is_err());
        assert_eq!(interval.tick().await, start);
    });
}

#[test]
fn missed_ticks_come_at_once_late_or_never() {
    popleft::run(async {
        let period = Duration::from_millis(1);
        for behavior in
            [MissedTickBehavior::Burst, MissedTickBehavior::Delay, MissedTickBehavior::Skip]
        {
            let start = Instant::now() - period * 10;
            let mut interval = interval_at(start, period);
            interval.set_missed_tick_behavior(behavior);
            assert_eq!(interval.tick().await, start);
            let taken = Instant::now();
            let second = interval.tick().await;
            match behavior {
                MissedTickBehavior::Burst => assert_eq!(second, start + period),
                MissedTickBehavior::Delay => assert!(second > start + period * 10),
                MissedTickBehavior::Skip => {
                    assert!(second >= start + period * 10);
                    assert_eq!((second - start).as_nanos() % period.as_nanos(), 0);
                    assert!(second <= taken + period);
                }
            }
        }
        // The first tick of a plain interval comes at once.
        interval(HOUR).tick().await;
    });
}

#[test]
#[should_panic(expected = "no runtime is running on this thread")]
fn a_sleep_outside_is_refused() {
    let mut nap = pin!(sleep(HOUR));
    let _ = nap.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

#[test]
fn a_sleep_that_outlives_its_runtime_is_dropped_quietly() {
    let nap = Runtime::new().unwrap().block_on(async {
        let mut nap = sleep(HOUR);
        assert_pending(Pin::new(&mut nap)).await;
        nap
    });
    drop(nap);
}

#[test]
fn a_loop_that_spins_hears_of_everything_without_ever_sleeping() {
    use popleft::net::UnixStream;

    let slept = Rc::new(Cell::new(false));
    let heard = slept.clone();
    let runtime = Runtime::builder()
        .spin(HOUR)
        .listener(move |event| {
            if let Event::Wait { at_most } = event {
                heard.set(heard.get() || *at_most != Some(Duration::ZERO));
            }
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        // A deadline, a job on another thread, and a socket.
        let start = Instant::now();
        sleep(Duration::from_millis(3)).await;
        assert!(start.elapsed() >= Duration::from_millis(3));
        assert_eq!(popleft::spawn_blocking(|| 6 * 7).await.unwrap(), 42);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let reader = spawn(async move {
            let mut word = [0; 5];
            ours.read_exact(&mut word).await.map(|()| word)
        });
        yield_now().await;
        theirs.write_all(b"hello").await.unwrap();
        assert_eq!(&reader.await.unwrap().unwrap(), b"hello");
    });
    assert!(!slept.get());
}

#[test]
fn a_loop_that_spins_sleeps_when_its_time_is_over() {
    let slept = Rc::new(Cell::new(0));
    let heard = slept.clone();
    let runtime = Runtime::builder()
        .spin(Duration::from_micros(50))
        .listener(move |event| {
            if let Event::Wait { at_most } = event {
                heard.set(heard.get() + usize::from(*at_most != Some(Duration::ZERO)));
            }
        })
        .build()
        .unwrap();
    runtime.block_on(sleep(Duration::from_millis(20)));
    assert!(slept.get() >= 1);
}
