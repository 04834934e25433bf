//! The laws of time: never early, never lost, and nothing left behind.
//!
//! Most of them hold by whatever clock, and are put to the simulated one: there nobody waits, and
//! what has to come at a certain moment must come exactly then. The real clock is for those that
//! are about it: that it is never early, that it goes on while tasks are ready, and for loops that
//! spin.

// Sleeps are carried out of the runs that made them.
#![allow(clippy::async_yields_async)]

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use popleft::event::Event;
use popleft::sim::{self, Sim};
use popleft::time::{
    Elapsed, MissedTickBehavior, interval, interval_at, now, sleep, sleep_until, timeout,
    timeout_at,
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
    #[test]
    fn sleeps_end_in_the_order_of_their_deadlines_each_at_its_own(
        micros in proptest::collection::vec(1u64..8_000, 1..30)
    ) {
        let ended = Rc::new(RefCell::new(vec![]));
        Sim::new().run(async {
            let start = now();
            let tasks: Vec<_> = micros.iter().enumerate().map(|(number, &micros)| {
                let ended = ended.clone();
                let deadline = start + Duration::from_micros(micros);
                spawn(async move {
                    sleep_until(deadline).await;
                    assert_eq!(now(), deadline);
                    ended.borrow_mut().push((micros, number));
                })
            }).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        // Equal deadlines end in the order in which they were set.
        let mut sorted: Vec<_> = micros.iter().copied().zip(0..).collect();
        sorted.sort();
        prop_assert_eq!(ended.take(), sorted);
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
    Sim::new().run(async {
        let made = sleep(HOUR);
        assert_eq!(made.deadline(), now() + HOUR);
        sleep(HOUR / 2).await;
        made.await;
        assert_eq!(sim::elapsed(), HOUR);
        let mut made = sleep(HOUR);
        sleep(HOUR + Duration::from_nanos(1)).await;
        let at_once = poll_fn(|cx| Poll::Ready(Pin::new(&mut made).poll(cx).is_ready()));
        assert!(at_once.await);
    });
}

#[test]
fn the_past_is_ready_at_once_and_the_far_future_is_not() {
    Sim::new().run(async {
        sleep(HOUR).await;
        let at_once = poll_fn(|cx| {
            let past = now() - HOUR;
            Poll::Ready(Pin::new(&mut sleep_until(past)).poll(cx).is_ready())
        });
        assert!(at_once.await);
        let years = HOUR * 24 * 365;
        for far in [Duration::MAX, years * 20] {
            assert!(timeout(years, sleep(far)).await.is_err());
        }
        assert_eq!(timeout(Duration::MAX, async { 1 }).await, Ok(1));
        assert_eq!(timeout(Duration::ZERO, async { 1 }).await, Ok(1));
        assert!(timeout(Duration::ZERO, pending::<()>()).await.is_err());
        assert!(timeout_at(now() - HOUR, pending::<()>()).await.is_err());
        assert_eq!(sim::elapsed(), HOUR + years * 2);
    });
}

#[test]
fn of_nested_timeouts_the_earlier_one_counts() {
    Sim::new().run(async {
        let short = Duration::from_millis(2);
        let inner = timeout(HOUR, timeout(short, pending::<()>())).await;
        assert!(matches!(inner, Ok(Err(_))));
        assert_eq!(sim::elapsed(), short);
        let outer = timeout(short, timeout(HOUR, pending::<()>())).await;
        assert!(outer.is_err());
        assert_eq!(sim::elapsed(), short * 2);
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
    Sim::new().run(async {
        let dropped = Rc::new(Cell::new(false));
        let flag = Flag(dropped.clone());
        let slow = async move {
            let _flag = flag;
            pending::<()>().await;
        };
        assert!(timeout(HOUR, slow).await.is_err());
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
    Sim::new().run(async {
        let mut moved = Box::pin(sleep(HOUR));
        assert_pending(moved.as_mut()).await;
        spawn(moved).await.unwrap();
        assert_eq!(sim::elapsed(), HOUR);
    });
}

#[test]
fn a_sleep_can_be_reset_before_and_after_its_end() {
    Sim::new().run(async {
        let mut nap = sleep(HOUR);
        assert_pending(Pin::new(&mut nap)).await;
        for _ in 0..2 {
            let deadline = now() + HOUR / 2;
            nap.reset(deadline);
            assert!(!nap.is_elapsed());
            (&mut nap).await;
            assert!(nap.is_elapsed() && now() == deadline);
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
        // It ends when the test has failed.
        let enough = Instant::now() + Duration::from_secs(60);
        let greedy = spawn(async move {
            while Instant::now() < enough {
                yield_now().await;
            }
        });
        sleep(Duration::from_millis(1)).await;
        assert!(!greedy.is_finished(), "no timer fired while a task was ready");
    });
}

#[test]
fn an_endless_sleep_that_is_given_up_or_set_back_delays_none_after_it() {
    const LIMIT: Duration = Duration::from_secs(60);
    popleft::run(async {
        let short = || sleep(Duration::from_millis(1));
        for _ in 0..3 {
            let mut endless = pin!(sleep(Duration::MAX));
            assert_pending(endless.as_mut()).await;
            // The loop looks outside while it is set.
            short().await;
        }
        assert!(timeout(LIMIT, short()).await.is_ok());
        let mut endless = sleep(Duration::MAX);
        assert_pending(Pin::new(&mut endless)).await;
        endless.reset(Instant::now() + Duration::from_millis(1));
        assert!(timeout(LIMIT, endless).await.is_ok());
    });
}

#[test]
fn milliseconds_that_overflow_a_number_of_32_bits_are_days_and_not_moments() {
    popleft::run(async {
        let short = Duration::from_millis(2);
        for ms in
            [(1u64 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, u64::MAX / 1_000_000, u64::MAX]
        {
            assert!(timeout(short, sleep(Duration::from_millis(ms))).await.is_err(), "{ms}");
        }
    });
}

#[test]
fn an_interval_keeps_its_plan() {
    Sim::new().run(async {
        let start = now() + HOUR;
        let mut interval = interval_at(start, HOUR);
        assert_eq!(interval.period(), HOUR);
        for n in 0..5 {
            let due = interval.tick().await;
            assert_eq!(due, start + HOUR * n);
            assert_eq!(now(), due);
        }
    });
}

#[test]
fn a_dropped_tick_loses_nothing() {
    Sim::new().run(async {
        let start = now() + HOUR;
        let mut interval = interval_at(start, HOUR);
        assert!(timeout(Duration::ZERO, interval.tick()).await.is_err());
        assert_eq!(interval.tick().await, start);
    });
}

#[test]
fn missed_ticks_come_at_once_late_or_never() {
    Sim::new().run(async {
        let second = Duration::from_secs(1);
        for behavior in
            [MissedTickBehavior::Burst, MissedTickBehavior::Delay, MissedTickBehavior::Skip]
        {
            let start = now();
            let mut interval = interval_at(start, HOUR);
            interval.set_missed_tick_behavior(behavior);
            sleep(HOUR * 10 + second).await;
            let first = interval.tick().await;
            assert_eq!((first, now()), (start, start + HOUR * 10 + second));
            let then = interval.tick().await;
            match behavior {
                MissedTickBehavior::Burst => {
                    assert_eq!((then, now()), (start + HOUR, start + HOUR * 10 + second));
                    for n in 2..12 {
                        assert_eq!(interval.tick().await, start + HOUR * n);
                    }
                    assert_eq!(now(), start + HOUR * 11);
                }
                MissedTickBehavior::Delay => {
                    assert_eq!((then, now()), (start + HOUR * 11 + second, then));
                }
                MissedTickBehavior::Skip => {
                    assert_eq!((then, now()), (start + HOUR * 11, then));
                }
            }
        }
        // The first tick of a plain interval comes at once.
        let before = now();
        interval(HOUR).tick().await;
        assert_eq!(now(), before);
    });
}

#[test]
fn an_interval_of_the_real_clock_is_never_early() {
    popleft::run(async {
        let period = Duration::from_millis(1);
        let start = Instant::now() + period;
        let mut interval = interval_at(start, period);
        for n in 0..3 {
            let due = interval.tick().await;
            assert_eq!(due, start + period * n);
            assert!(Instant::now() >= due);
        }
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
            if let Event::Wait { at_most, .. } = event {
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
            if let Event::Wait { at_most, .. } = event {
                heard.set(heard.get() + usize::from(*at_most != Some(Duration::ZERO)));
            }
        })
        .build()
        .unwrap();
    runtime.block_on(sleep(Duration::from_millis(20)));
    assert!(slept.get() >= 1);
}
