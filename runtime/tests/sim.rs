//! The laws of the simulation: nothing comes from outside, and the same choices make the same run.

mod child;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashSet};
use std::env;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::{Pin, pin};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{self, Arc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_lite::future::zip;
use popleft::event::{Event, Why};
use popleft::sim::{self, Failure, FailureKind, Options, Schedule, Shared, Sim, explore};
use popleft::sync::Mutex;
use popleft::time::{self, interval, sleep, timeout};
use popleft::{Handle, JoinHandle, spawn, spawn_blocking, yield_now};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

type Log<T> = Rc<RefCell<Vec<T>>>;

async fn join_all<T: 'static>(tasks: impl IntoIterator<Item = JoinHandle<T>>) {
    let tasks: Vec<_> = tasks.into_iter().collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap()
}

fn panic_of(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
    match payload.downcast_ref::<String>() {
        Some(text) => text.clone(),
        None => (*payload.downcast_ref::<&str>().unwrap()).to_string(),
    }
}

// ===== time =====================================================================================

#[test]
fn a_year_takes_no_time() {
    Sim::new().run(async {
        let start = time::now();
        sleep(YEAR).await;
        assert_eq!(time::now() - start, YEAR);
        assert_eq!(sim::elapsed(), YEAR);
        assert!(timeout(YEAR, pending::<()>()).await.is_err());
        assert_eq!(sim::elapsed(), 2 * YEAR);
    });
}

#[test]
fn time_stands_still_while_a_task_is_ready() {
    Sim::new().run(async {
        for _ in 0..1_000 {
            yield_now().await;
        }
        sleep(Duration::ZERO).await;
        assert_eq!(sim::elapsed(), Duration::ZERO);
        let nap = spawn(sleep(Duration::from_nanos(1)));
        for _ in 0..1_000 {
            yield_now().await;
        }
        assert!(!nap.is_finished());
        nap.await.unwrap();
        assert_eq!(sim::elapsed(), Duration::from_nanos(1));
    });
}

proptest! {
    #[test]
    fn sleeps_end_exactly_on_time_and_in_order(
        millis in proptest::collection::vec(0u64..50, 1..30)
    ) {
        let ended: Log<(u64, usize)> = Log::default();
        let tasks_of = |log: Log<(u64, usize)>, millis: Vec<u64>| async move {
            join_all(millis.into_iter().enumerate().map(|(n, millis)| {
                let log = log.clone();
                spawn(async move {
                    sleep(Duration::from_millis(millis)).await;
                    assert_eq!(sim::elapsed(), Duration::from_millis(millis));
                    log.borrow_mut().push((millis, n));
                })
            })).await;
        };
        Sim::new().run(tasks_of(ended.clone(), millis.clone()));
        let mut expected: Vec<_> = millis.iter().copied().zip(0..).collect();
        expected.sort();
        prop_assert_eq!(ended.take(), expected);
    }
}

#[test]
fn intervals_tick_by_the_virtual_clock() {
    Sim::new().run(async {
        let start = time::now();
        let mut ticks = interval(MINUTE);
        for n in 0..100 {
            assert_eq!(ticks.tick().await, start + MINUTE * n);
            assert_eq!(sim::elapsed(), MINUTE * n);
        }
    });
}

// ===== jobs =====================================================================================

#[test]
fn jobs_take_their_time_all_at_once() {
    Sim::new().job_time(MINUTE).run(async {
        let ran: Log<&str> = Log::default();
        let slow = spawn_blocking(|| "slow");
        sim::takes(SECOND);
        let quick = spawn_blocking(|| "quick");
        let other = spawn_blocking(|| "as slow");
        for (job, name) in [(slow, "slow"), (quick, "quick"), (other, "as slow")] {
            let ran = ran.clone();
            drop(spawn(async move {
                assert_eq!(job.await.unwrap(), name);
                ran.borrow_mut().push(name);
            }));
        }
        sleep(SECOND / 2).await;
        assert!(ran.borrow().is_empty());
        sleep(SECOND).await;
        assert_eq!(*ran.borrow(), ["quick"]);
        sleep(MINUTE).await;
        assert_eq!(*ran.borrow(), ["quick", "slow", "as slow"]);
        // What was said of the next job was for that one only.
        spawn_blocking(|| ()).await.unwrap();
        assert_eq!(sim::elapsed(), SECOND / 2 + SECOND + 2 * MINUTE);
    });
}

#[test]
fn the_work_is_done_when_its_time_is_over_on_this_thread() {
    Sim::new().run(async {
        let (here, start) = (std::thread::current().id(), sim::elapsed());
        let (thread, when) =
            spawn_blocking(|| (std::thread::current().id(), sim::elapsed())).await.unwrap();
        assert_eq!(thread, here);
        assert_eq!(when, start + Duration::from_millis(1));
    });
}

#[test]
fn a_job_that_panics_is_a_join_error_and_one_that_is_aborted_never_runs() {
    Sim::new().run(async {
        let broken = spawn_blocking(|| std::panic::resume_unwind(Box::new("on purpose")));
        assert!(broken.await.unwrap_err().is_panic());
        let aborted = spawn_blocking(|| unreachable!("it was aborted"));
        yield_now().await;
        aborted.abort();
        assert!(aborted.await.unwrap_err().is_cancelled());
        sleep(MINUTE).await;
    });
}

#[test]
fn a_job_finds_itself_outside_the_loop_as_on_a_thread() {
    let woken_by: Log<popleft::event::Cause> = Log::default();
    let heard = woken_by.clone();
    let sim = Sim::new().listener(move |event| {
        if let Event::Wake { by, .. } = event {
            heard.borrow_mut().push(*by);
        }
    });
    sim.run(async {
        let handle = Handle::current().unwrap();
        let asked = spawn_blocking(move || {
            assert!(Handle::current().is_none());
            handle.spawn(async { 6 * 7 })
        });
        let answer = asked.await.unwrap().await;
        assert_eq!(answer.unwrap(), 42);
    });
    assert_eq!(woken_by.borrow()[0], popleft::event::Cause::Job);
    sim.run(async {
        let handle = Handle::current().unwrap();
        let blocks = spawn_blocking(move || handle.spawn(async {}).wait());
        let error = blocks.await.unwrap_err().to_string();
        assert!(error.contains("would block the loop"), "{error}");
        let nested = spawn_blocking(|| Sim::new().run(async {}));
        let error = nested.await.unwrap_err().to_string();
        assert!(error.contains("cannot simulate inside a simulation"), "{error}");
    });
}

#[test]
fn a_job_goes_by_the_virtual_clock() {
    Sim::new().job_time(MINUTE).run(async {
        sleep(YEAR).await;
        let start = time::now();
        let inside = spawn_blocking(|| (time::now(), sim::elapsed())).await.unwrap();
        assert_eq!(inside, (start + MINUTE, YEAR + MINUTE));
    });
    // The clock of this thread is the system's again.
    assert!(time::now() < std::time::Instant::now() + MINUTE);
}

#[test]
fn a_runtime_in_a_job_is_simulated_and_takes_no_time_outside() {
    let heard: Rc<Cell<usize>> = Rc::default();
    let count = heard.clone();
    let sim = Sim::new().listener(move |event| {
        if let Event::Spawn { .. } = event {
            count.set(count.get() + 1);
        }
    });
    sim.run(async {
        sleep(MINUTE).await;
        let start = time::now();
        let job = spawn_blocking(move || {
            let runtime = popleft::Runtime::builder().name("inner").build().unwrap();
            let end = runtime.block_on(async {
                assert_eq!(popleft::task::current().unwrap().name(), Some("inner"));
                join_all((0..10).map(|_| spawn(sleep(YEAR)))).await;
                let job = spawn_blocking(time::now).await.unwrap();
                assert_eq!(job, time::now());
                let inside = spawn_blocking(|| popleft::run(async { time::now() }));
                assert_eq!(inside.await.unwrap(), job + Duration::from_millis(1));
                job
            });
            let stalled = runtime.try_block_on(pending::<()>());
            assert_eq!(stalled, Err(popleft::RunError::Stalled));
            assert_eq!(runtime.try_block_on(async { 1 }), Ok(1));
            end
        });
        let millisecond = Duration::from_millis(1);
        assert_eq!(job.await.unwrap(), start + millisecond + YEAR + millisecond);
        assert_eq!(time::now(), start + millisecond);
    });
    // The main task and the job's.
    assert_eq!(heard.get(), 2);
}

#[test]
fn a_runtime_in_a_job_that_does_not_end_is_stopped() {
    Sim::new().max_turns(1_000).run(async {
        let job = spawn_blocking(|| {
            popleft::Runtime::new().unwrap().try_block_on(async {
                loop {
                    yield_now().await;
                }
            })
        });
        assert_eq!(job.await.unwrap(), Err::<(), _>(popleft::RunError::Stopped));
    });
}

#[test]
fn a_clock_that_has_come_to_its_end_fails_the_run() {
    let failure = Sim::new()
        .try_run(async {
            sleep(YEAR * 500).await;
            sleep(YEAR * 500).await;
            unreachable!("the clock does not count so far");
        })
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::EndOfTime);
    assert!(failure.to_string().contains("it counts 584 years"), "{failure}");
    // What never comes due ends nothing.
    Sim::new().run(async {
        assert!(timeout(YEAR * 600, sleep(YEAR)).await.is_ok());
        assert_eq!(sim::elapsed(), YEAR);
    });
}

// ===== signals ==================================================================================

#[cfg(feature = "signal")]
#[test]
fn signals_come_when_they_are_raised_to_everyone_who_listens() {
    use popleft::signal::{self, SIGINT, SIGTERM};

    let sim = Sim::new().raise_after(MINUTE, SIGTERM).raise_after(2 * MINUTE, SIGINT);
    sim.run(async {
        sim::raise(SIGINT);
        let pressed = [signal::ctrl_c(), signal::ctrl_c()];
        // What came before the call does not count.
        signal::terminate().await.unwrap();
        assert_eq!(sim::elapsed(), MINUTE);
        for pressed in pressed {
            pressed.await.unwrap();
            assert_eq!(sim::elapsed(), 2 * MINUTE);
        }
        let ints = signal::listen(SIGINT).unwrap();
        sim::raise(SIGINT);
        sim::raise(SIGTERM);
        sim::raise(SIGINT);
        ints.recv().await.unwrap();
        // Two that came together count as one.
        assert!(timeout(SECOND, ints.recv()).await.is_err());
        drop(ints);
        sim::raise(SIGINT);
        assert!(signal::listen(9).unwrap_err().to_string().contains("cannot be caught"));
    });
}

// ===== the same run again =======================================================================

/// A program in which much happens: what it tells, and when.
fn story(sim: Sim) -> (Vec<(Duration, String)>, Schedule) {
    let told: Log<(Duration, String)> = Log::default();
    let heard = told.clone();
    let start = Rc::new(Cell::new(None));
    let zero = start.clone();
    let sim = sim.listener(move |event| {
        let start = zero.get().unwrap_or_else(time::now);
        zero.set(Some(start));
        let text = match event {
            Event::TimerSet { deadline, .. } => format!("set {:?}", *deadline - start),
            Event::TimerFired { deadline, .. } => format!("fired {:?}", *deadline - start),
            other => format!("{other:?}"),
        };
        heard.borrow_mut().push((sim::elapsed(), text));
    });
    let schedule = sim.run(async {
        let lock = Rc::new(Mutex::new(0));
        let tasks = (1..4).map(|n: u64| {
            let lock = lock.clone();
            spawn(async move {
                sleep(Duration::from_millis(n % 2)).await;
                let mut sum = lock.lock().await;
                yield_now().await;
                *sum += n;
                spawn_blocking(move || n).await.unwrap();
                drop(sum);
                assert!(timeout(SECOND, pending::<()>()).await.is_err());
            })
        });
        join_all(tasks).await;
        sim::schedule().unwrap()
    });
    (told.take(), schedule)
}

#[test]
fn the_same_seed_makes_the_same_run_and_its_schedule_makes_it_again() {
    let mut schedules = HashSet::new();
    for seed in 0..1_000 {
        let (told, schedule) = story(Sim::new().seed(seed));
        assert_eq!(told, story(Sim::new().seed(seed)).0, "seed {seed}");
        assert_eq!(told, story(Sim::new().schedule(schedule.clone())).0, "schedule {schedule}");
        schedules.insert(schedule);
    }
    assert!(schedules.len() > 50, "{}", schedules.len());
}

#[cfg(feature = "record")]
#[test]
fn each_run_is_recorded_to_sinks_of_its_own_and_all_are_given_the_same() {
    use popleft::record::Memory;

    let made: Log<Memory> = Log::default();
    let sink = || {
        let made = made.clone();
        move || {
            let memory = Memory::all();
            made.borrow_mut().push(memory.clone());
            memory
        }
    };
    let sim = Sim::new().seed(7).record(sink()).record(sink());
    for _ in 0..2 {
        sim.run(async { join_all([1, 2, 3].map(|_| spawn(yield_now()))).await });
    }
    let recordings: Vec<_> = made.take().iter().map(Memory::entries).collect();
    assert_eq!(recordings.len(), 4);
    assert!(recordings[0].len() > 10);
    assert!(recordings.iter().all(|recording| *recording == recordings[0]));
}

#[test]
fn unless_it_is_told_otherwise_it_takes_the_order_of_the_real_loop() {
    let order = |run: &dyn Fn(Pin<Box<dyn Future<Output = ()>>>)| {
        let log: Log<u32> = Log::default();
        let inside = log.clone();
        run(Box::pin(async move {
            let tasks = (0..5).map(|n| {
                let log = inside.clone();
                spawn(async move {
                    for _ in 0..n {
                        log.borrow_mut().push(n);
                        yield_now().await;
                    }
                })
            });
            join_all(tasks).await;
        }));
        log.take()
    };
    let real = order(&|future| popleft::run(future));
    assert_eq!(order(&|future| Sim::new().run(future)), real);
    assert_eq!(order(&|future| Sim::new().schedule(Schedule::default()).run(future)), real);
}

#[test]
fn a_schedule_that_does_not_fit_is_refused() {
    let three_tasks = || async {
        let tasks = [(); 3].map(|()| spawn(async {}));
        join_all(tasks).await;
    };
    Sim::new().schedule(schedule("2,1")).run(three_tasks());
    for (text, complaint) in [
        ("3", "its choice number 1 is 3, but only 3 tasks were ready"),
        ("0,7", "its choice number 2 is 7, but only"),
        ("0,0,0,0,0,0,0,0", "it holds 8 choices, but more than one task was ready only"),
    ] {
        let failure = Sim::new().schedule(schedule(text)).try_run(three_tasks()).unwrap_err();
        assert!(matches!(failure.kind, FailureKind::Misfit(_)), "{failure}");
        assert!(failure.to_string().contains(complaint), "{failure}");
        let told = panic_of(|| Sim::new().schedule(schedule(text)).run(three_tasks()));
        assert!(told.contains(complaint), "{told}");
    }
}

// ===== what goes wrong ==========================================================================

#[test]
fn it_runs_alone_on_its_thread() {
    let nested = "cannot simulate inside a runtime";
    let inside = |inner: fn()| panic_of(|| popleft::run(async { inner() }));
    assert!(inside(|| Sim::new().run(async {})).contains(nested));
    assert!(inside(|| drop(explore(Options::new(), || async {}))).contains(nested));
    let both = panic_of(|| Sim::new().run(async { Sim::new().run(async {}) }));
    assert!(both.contains(nested), "{both}");
    let real = panic_of(|| Sim::new().run(async { popleft::run(async {}) }));
    assert!(real.contains("cannot run a runtime inside a runtime"), "{real}");
    // And what belongs to a simulation is refused elsewhere.
    assert!(
        panic_of(|| {
            sim::elapsed();
        })
        .contains("no simulation is running")
    );
    assert!(panic_of(|| sim::raise(2)).contains("no simulation is running"));
    assert_eq!(sim::schedule(), None);
    sim::takes(YEAR);
}

#[test]
fn a_failed_run_leaves_nothing_to_the_next() {
    for _ in 0..3 {
        let told = panic_of(|| {
            Sim::new().run(async {
                let _other = spawn(sleep(YEAR));
                yield_now().await;
                std::panic::resume_unwind(Box::new("on purpose"))
            })
        });
        assert_eq!(told, "on purpose");
        let failure = Sim::new().try_run(pending::<()>()).unwrap_err();
        assert!(matches!(failure.kind, FailureKind::Deadlock(_)));
        assert_eq!(Sim::new().run(async { spawn(async { 1 }).await.unwrap() }), 1);
        assert_eq!(popleft::run(async { spawn(async { 2 }).await.unwrap() }), 2);
    }
}

#[test]
fn who_spins_for_ever_is_stopped() {
    let spins = async {
        let nap = spawn(sleep(SECOND));
        while !nap.is_finished() {
            yield_now().await;
        }
    };
    let failure = Sim::new().max_turns(1_000).try_run(spins).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Endless);
}

#[test]
fn a_run_that_is_stopped_or_aborted_says_so() {
    let stops = async {
        Handle::current().unwrap().stop();
        pending::<()>().await;
    };
    assert_eq!(Sim::new().try_run(stops).unwrap_err().kind, FailureKind::Stopped);
    let aborts = async {
        Handle::current().unwrap().abort(popleft::task::current().unwrap().id());
        pending::<()>().await;
    };
    assert_eq!(Sim::new().try_run(aborts).unwrap_err().kind, FailureKind::Cancelled);
}

#[test]
fn a_descriptor_of_the_system_is_refused() {
    Sim::new().run(async {
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let error = popleft::net::Async::new(socket).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("in a simulation"), "{error}");
    });
}

#[test]
fn aborted_tasks_are_dropped_at_their_turn() {
    struct Flag(Rc<Cell<Duration>>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.set(sim::elapsed());
        }
    }
    Sim::new().run(async {
        let dropped = Rc::new(Cell::new(Duration::MAX));
        let flag = Flag(dropped.clone());
        let sleeper = spawn(async move {
            let _flag = flag;
            sleep(YEAR).await;
        });
        sleep(SECOND).await;
        sleeper.abort();
        assert!(sleeper.await.unwrap_err().is_cancelled());
        assert_eq!(dropped.get(), SECOND);
    });
}

#[test]
fn tasks_that_are_left_are_dropped_while_the_world_still_is() {
    struct Wakes(Option<Waker>, Rc<Cell<bool>>);
    impl Drop for Wakes {
        fn drop(&mut self) {
            self.0.take().unwrap().wake();
            sim::raise(2);
            drop(spawn(async {}));
            self.1.set(sim::elapsed() == SECOND);
        }
    }
    let dropped = Rc::new(Cell::new(false));
    let flag = dropped.clone();
    Sim::new().run(async {
        drop(spawn(async move {
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            let _wakes = Wakes(Some(waker), flag);
            pending::<()>().await;
        }));
        sim::takes(YEAR);
        drop(spawn_blocking(|| unreachable!("the run is over long before")));
        assert!(timeout(SECOND, pending::<()>()).await.is_err());
    });
    assert!(dropped.get());
}

/// Panics when it is dropped.
struct Grenade(&'static str);

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

/// What may panic when it is dropped, though nobody joins it.
fn dropped_panics() -> Vec<(&'static str, Program)> {
    vec![
        (
            "a task that never ran",
            Box::new(|| {
                let grenade = Grenade("a task that never ran");
                Box::pin(async move { drop(spawn(async move { drop(grenade) })) })
            }),
        ),
        (
            "a task that waits",
            Box::new(|| {
                Box::pin(async {
                    drop(spawn(async {
                        let _grenade = Grenade("a task that waits");
                        pending::<()>().await;
                    }));
                    yield_now().await;
                })
            }),
        ),
        (
            "a result that nobody wants",
            Box::new(|| {
                Box::pin(async {
                    drop(spawn(async { Grenade("a result that nobody wants") }));
                    yield_now().await;
                })
            }),
        ),
        (
            "a result that nobody took",
            Box::new(|| {
                Box::pin(async {
                    let handle = spawn(async { Grenade("a result that nobody took") });
                    yield_now().await;
                    std::mem::forget(handle);
                })
            }),
        ),
        (
            "a job that never ran",
            Box::new(|| {
                Box::pin(async {
                    let grenade = Grenade("a job that never ran");
                    drop(spawn_blocking(move || drop(grenade)));
                })
            }),
        ),
        (
            "the main task",
            Box::new(|| {
                Box::pin(async {
                    let _grenade = Grenade("the main task");
                    yield_now().await;
                })
            }),
        ),
        (
            "the main task's future",
            Box::new(|| {
                let grenade = Grenade("the main task's future");
                Box::pin(poll_fn(move |_| {
                    let _ = &grenade;
                    Poll::Ready(())
                }))
            }),
        ),
    ]
}

type Program = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()>>>>;

#[test]
fn a_panic_in_a_drop_is_a_failure_like_any_other() {
    for (what, program) in dropped_panics() {
        let report = explore(Options::new(), &program);
        assert!(!report.failures.is_empty(), "{what}: {report}");
        for failure in &report.failures {
            assert!(matches!(&failure.kind, FailureKind::Panic(text) if text.contains(what)));
            assert!(failure.to_string().contains("runtime/tests/sim.rs:"), "{failure}");
            let again = Sim::new().schedule(failure.schedule.clone());
            assert!(again.try_run(program()).unwrap_err().to_string().contains(what));
            let reached = panic_of(|| again.run(program()));
            assert!(reached.contains(what), "{reached}");
        }
    }
}

#[test]
fn a_panic_in_a_drop_depends_on_the_schedule_like_any_other() {
    let program = || async {
        let is_armed = Rc::new(Cell::new(true));
        let disarms = is_armed.clone();
        drop(spawn(async move { disarms.set(false) }));
        drop(spawn(async move {
            struct Armed(Rc<Cell<bool>>);
            impl Drop for Armed {
                fn drop(&mut self) {
                    assert!(!self.0.get(), "it was still armed");
                }
            }
            let _armed = Armed(is_armed);
            pending::<()>().await;
        }));
        yield_now().await;
        yield_now().await;
    };
    Sim::new().run(program());
    let report = explore(Options::new(), program);
    let [failure] = &report.failures[..] else { panic!("{report}") };
    assert!(failure.to_string().contains("it was still armed"), "{failure}");
    assert!(Sim::new().schedule(failure.schedule.clone()).try_run(program()).is_err());
}

#[test]
fn what_goes_wrong_first_is_the_failure() {
    let failure = Sim::new().try_run(async {
        let _grenade = Grenade("a consequence");
        pending::<()>().await;
    });
    assert!(matches!(failure.unwrap_err().kind, FailureKind::Deadlock(_)));
    let failure = Sim::new().try_run(async {
        drop(spawn(async {
            let _grenade = Grenade("a consequence");
            pending::<()>().await;
        }));
        yield_now().await;
        panic!("the cause");
    });
    assert_eq!(failure.unwrap_err().kind, FailureKind::Panic("the cause".into()));
}

// ===== deadlocks ================================================================================

fn deadlock_of(failure: &Failure) -> &sim::Deadlock {
    match &failure.kind {
        FailureKind::Deadlock(deadlock) => deadlock,
        other => panic!("no deadlock: {other}"),
    }
}

#[test]
fn nothing_can_happen_whoever_holds_a_waker_or_a_handle() {
    let kept: Log<Waker> = Log::default();
    let wakers = kept.clone();
    let failure = Sim::new().try_run(async move {
        let _handle = Handle::current().unwrap();
        drop(popleft::task::Builder::new().name("waits").spawn(poll_fn(move |cx| {
            wakers.borrow_mut().push(cx.waker().clone());
            Poll::<()>::Pending
        })));
        sleep(SECOND).await;
        pending::<()>().await;
    });
    let failure = failure.unwrap_err();
    let deadlock = deadlock_of(&failure);
    assert_eq!(deadlock.tasks.len(), 2);
    assert_eq!(deadlock.tasks[1].name.as_deref(), Some("waits"));
    assert_eq!(deadlock.tasks[1].since, SECOND);
    assert!(deadlock.circle.is_empty());
}

#[test]
fn a_deadlock_says_since_when_each_one_waits_also_after_years() {
    let failure = Sim::new()
        .try_run(async {
            drop(spawn(pending::<()>()));
            sleep(3 * YEAR).await;
            drop(spawn(pending::<()>()));
            sleep(MINUTE).await;
            pending::<()>().await;
        })
        .unwrap_err();
    let since: Vec<_> = deadlock_of(&failure).tasks.iter().map(|task| task.since).collect();
    assert_eq!(since, [Duration::ZERO, 3 * YEAR + MINUTE, MINUTE]);
}

#[test]
fn a_deadlock_says_who_waits_for_what_and_in_which_circle() {
    let failure = Sim::new().try_run(async {
        let (left, right) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
        let take = |first: &Rc<Mutex<()>>, second: &Rc<Mutex<()>>| {
            let (first, second) = (first.clone(), second.clone());
            spawn(async move {
                let _first = first.lock().await;
                yield_now().await;
                let _second = second.lock().await;
            })
        };
        join_all([take(&left, &right), take(&right, &left)]).await;
    });
    let failure = failure.unwrap_err();
    let deadlock = deadlock_of(&failure);
    let waits: Vec<_> = deadlock
        .tasks
        .iter()
        .map(|task| (task.task.number(), task.why, task.awaits.map(|id| id.number())))
        .collect();
    assert_eq!(waits, [(0, Why::Join, Some(1)), (1, Why::Lock, Some(2)), (2, Why::Lock, Some(1))]);
    let circle: Vec<_> = deadlock.circle.iter().map(|id| id.number()).collect();
    assert_eq!(circle, [1, 2]);
    assert!(deadlock.tasks[1].at.to_string().contains("tests/sim.rs:"), "{failure}");
    let circle = "task 1 waits for a lock held by task 2, which waits for a lock held by task 1";
    assert!(failure.to_string().contains(circle), "{failure}");
}

#[test]
fn a_lock_that_was_handed_on_names_who_holds_it_now() {
    let failure = Sim::new().try_run(async {
        let lock = Rc::new(Mutex::new(()));
        let held = lock.lock().await;
        let keeps = lock.clone();
        let keeper = spawn(async move {
            let _held = keeps.lock().await;
            pending::<()>().await;
        });
        let waits = lock.clone();
        let waiter = spawn(async move { drop(waits.lock().await) });
        yield_now().await;
        drop(held);
        waiter.await.unwrap();
        keeper.await.unwrap();
    });
    let failure = failure.unwrap_err();
    let waiter = &deadlock_of(&failure).tasks[2];
    assert_eq!((waiter.why, waiter.awaits.map(|id| id.number())), (Why::Lock, Some(1)));
}

#[test]
fn joins_and_locks_make_a_circle_together() {
    let failure = Sim::new().try_run(async {
        let lock = Rc::new(Mutex::new(()));
        let _held = lock.lock().await;
        let other = lock.clone();
        spawn(async move { drop(other.lock().await) }).await.unwrap();
    });
    let failure = failure.unwrap_err();
    let circle = "task 0 waits for the end of task 1, which waits for a lock held by task 0";
    assert!(failure.to_string().contains(circle), "{failure}");
}

// ===== all schedules ============================================================================

#[test]
fn every_interleaving_is_tried_and_each_once() {
    let seen: Log<String> = Log::default();
    let report = explore(Options::new(), || {
        let (seen, log) = (seen.clone(), Rc::new(RefCell::new(String::new())));
        async move {
            let tasks = ["a", "b"].map(|name| {
                let log = log.clone();
                spawn(async move {
                    for _ in 0..3 {
                        log.borrow_mut().push_str(name);
                        yield_now().await;
                    }
                })
            });
            join_all(tasks).await;
            seen.borrow_mut().push(log.take());
        }
    });
    report.assert_ok();
    assert!(report.complete);
    // Each run is made twice, the first one 32 times.
    assert_eq!(2 * report.schedules + 30, seen.borrow().len() as u64);
    // Three of six letters are an a: 6! / (3! 3!).
    let distinct: BTreeSet<_> = seen.take().into_iter().collect();
    assert_eq!(distinct.len(), 20);
    assert!(distinct.iter().all(|order| order.matches('a').count() == 3 && order.len() == 6));
}

#[test]
fn the_number_of_schedules_is_that_of_the_orders() {
    // Nobody joins them, and the main task sleeps until they are done: n! orders.
    for (tasks, orders) in [(1, 1), (2, 2), (3, 6), (4, 24), (5, 120)] {
        let report = explore(Options::new(), || async move {
            for _ in 0..tasks {
                drop(spawn(async {}));
            }
            sleep(SECOND).await;
        });
        assert_eq!((report.schedules, report.complete), (orders, true));
    }
}

/// Two tasks that add to a count, and let others run between reading and writing.
async fn lost_update() {
    let count = Rc::new(Cell::new(0));
    let tasks = [(); 2].map(|()| {
        let count = count.clone();
        spawn(async move {
            yield_now().await;
            let before = count.get();
            yield_now().await;
            count.set(before + 1);
        })
    });
    join_all(tasks).await;
    assert_eq!(count.get(), 2, "an update was lost");
}

#[test]
fn a_lost_update_is_found_with_a_schedule_that_shows_it_again() {
    let report = explore(Options::new(), lost_update);
    assert!(report.complete);
    let [failure] = &report.failures[..] else { panic!("{report}") };
    assert!(failure.to_string().contains("an update was lost"), "{failure}");
    assert!(failure.to_string().contains("tests/sim.rs:"), "{failure}");
    let told = panic_of(|| report.assert_ok());
    let reproduced = failure.to_string();
    let text = reproduced.split("reproduced with ").nth(1).unwrap();
    assert!(told.contains(text), "{told}");
    for _ in 0..2 {
        let again = Sim::new().schedule(failure.schedule.clone()).try_run(lost_update());
        let again = again.unwrap_err();
        assert_eq!(again.schedule, failure.schedule);
        assert!(again.to_string().contains("an update was lost"));
    }
}

#[test]
fn the_shortest_schedule_is_kept() {
    // Wrong only when the last of three goes first: one choice is enough to show it.
    let report = explore(Options::new(), || async {
        let first = Rc::new(Cell::new(None));
        for n in 0..3 {
            let first = first.clone();
            drop(spawn(async move {
                first.set(first.get().or(Some(n)));
                yield_now().await;
            }));
        }
        sleep(SECOND).await;
        assert_ne!(first.get(), Some(2));
    });
    assert_eq!(report.failures.len(), 1);
    assert_eq!(report.failures[0].schedule, schedule("2"));
}

#[test]
fn a_correct_program_is_proved_correct() {
    let report = explore(Options::new(), || async {
        let count = Rc::new(Mutex::new(0));
        let tasks = [(); 3].map(|()| {
            let count = count.clone();
            spawn(async move {
                let mut count = count.lock().await;
                let before = *count;
                yield_now().await;
                *count = before + 1;
            })
        });
        join_all(tasks).await;
        assert_eq!(*count.lock().await, 3);
    });
    report.assert_ok();
    assert!(report.complete && report.schedules > 10, "{report}");
}

async fn philosophers(first_fork: impl Fn(usize) -> usize) {
    const SEATS: usize = 3;
    let forks: [_; SEATS] = std::array::from_fn(|_| Rc::new(Mutex::new(())));
    let tasks: [_; SEATS] = std::array::from_fn(|seat| {
        let first = first_fork(seat);
        let second = if first == seat { (seat + 1) % SEATS } else { seat };
        let (first, second) = (forks[first].clone(), forks[second].clone());
        spawn(async move {
            let _first = first.lock().await;
            yield_now().await;
            let _second = second.lock().await;
        })
    });
    join_all(tasks).await;
}

#[test]
fn philosophers_starve_unless_one_of_them_takes_the_other_fork_first() {
    let report = explore(Options::new(), || philosophers(|seat| seat));
    assert!(report.complete);
    let [failure] = &report.failures[..] else { panic!("{report}") };
    let mut circle: Vec<_> = deadlock_of(failure).circle.iter().map(|id| id.number()).collect();
    circle.sort();
    assert_eq!(circle, [1, 2, 3]);
    // In the order of the real loop each takes its first fork, and then they wait.
    assert_eq!(failure.schedule, Schedule::default());

    let report = explore(Options::new(), || philosophers(|seat| if seat == 2 { 0 } else { seat }));
    report.assert_ok();
    assert!(report.complete, "{report}");
}

#[test]
fn different_failures_are_told_apart() {
    let report = explore(Options::new(), || async {
        let order: Log<char> = Log::default();
        for name in ['a', 'b', 'c'] {
            let order = order.clone();
            drop(spawn(async move { order.borrow_mut().push(name) }));
        }
        sleep(SECOND).await;
        let order = order.take();
        match order[..] {
            ['b', ..] => panic!("b was first"),
            ['c', 'a', 'b'] => panic!("the last was first"),
            ['c', 'b', 'a'] => pending().await,
            _ => {}
        }
    });
    assert!(report.complete);
    let mut kinds: Vec<_> = report
        .failures
        .iter()
        .map(|failure| match &failure.kind {
            FailureKind::Panic(text) => text.lines().next().unwrap(),
            FailureKind::Deadlock(_) => "deadlock",
            other => panic!("{other}"),
        })
        .collect();
    kinds.sort();
    assert_eq!(kinds, ["b was first", "deadlock", "the last was first"]);
    for failure in &report.failures {
        assert!(report.to_string().contains(&failure.schedule.to_string()), "{report}");
    }
}

#[test]
fn a_panic_that_nobody_joins_is_a_failure_and_one_that_is_handled_is_none() {
    let unjoined = explore(Options::new(), || async {
        drop(spawn(async { panic!("into the void") }));
        yield_now().await;
    });
    let [failure] = &unjoined.failures[..] else { panic!("{unjoined}") };
    assert!(failure.to_string().contains("into the void"), "{failure}");
    assert!(failure.to_string().contains("never joined"), "{failure}");
    let alone = Sim::new().try_run(async {
        drop(spawn(async { std::panic::resume_unwind(Box::new("on purpose")) }));
        yield_now().await;
    });
    assert!(alone.unwrap_err().to_string().contains("never joined"));
    let handled = explore(Options::new(), || async {
        let broken = spawn(async { panic!("as expected") });
        assert!(broken.await.unwrap_err().is_panic());
    });
    handled.assert_ok();
}

#[test]
fn jobs_and_timers_are_part_of_what_is_explored() {
    let orders: Rc<RefCell<BTreeSet<String>>> = Rc::default();
    let report = explore(Options::new().job_time(SECOND), || {
        let orders = orders.clone();
        async move {
            let log = Rc::new(RefCell::new(String::new()));
            let (job, timer) = (log.clone(), log.clone());
            let tasks = [
                spawn(async move {
                    spawn_blocking(|| ()).await.unwrap();
                    job.borrow_mut().push('j');
                }),
                spawn(async move {
                    sleep(SECOND).await;
                    timer.borrow_mut().push('t');
                }),
            ];
            join_all(tasks).await;
            assert_eq!(sim::elapsed(), SECOND);
            orders.borrow_mut().insert(log.take());
        }
    });
    report.assert_ok();
    assert!(report.complete);
    assert_eq!(orders.take(), ["jt", "tj"].map(String::from).into());
}

#[test]
fn beyond_the_bound_it_goes_on_at_random() {
    // Wrong only in the very last of all orders: searched depth-first, far behind the bound.
    let program = || async {
        let first = Rc::new(Cell::new(None));
        for n in 0..8 {
            let first = first.clone();
            drop(spawn(async move { first.set(first.get().or(Some(n))) }));
        }
        sleep(SECOND).await;
        assert_ne!(first.get(), Some(7));
    };
    let bounded = explore(Options::new().max_schedules(50).random(0), program);
    assert_eq!((bounded.schedules, bounded.complete, bounded.failures.len()), (50, false, 0));
    let options = Options::new().max_schedules(50).random(100).seed(3);
    let beyond = explore(options.clone(), program);
    assert_eq!((beyond.schedules, beyond.complete, beyond.failures.len()), (150, false, 1));
    assert_eq!(explore(options, program), beyond, "the same seed");
    let failure = &beyond.failures[0];
    let seed = failure.seed.expect("it was found at random");
    for sim in [Sim::new().seed(seed), Sim::new().schedule(failure.schedule.clone())] {
        let again = sim.try_run(program()).unwrap_err();
        assert_eq!(again.schedule, failure.schedule);
    }
}

#[test]
fn a_run_that_does_not_end_is_a_failure() {
    let report = explore(Options::new().max_turns(50).max_schedules(5).random(5), || async {
        loop {
            yield_now().await;
        }
    });
    assert_eq!(report.failures.len(), 1);
    assert_eq!(report.failures[0].kind, FailureKind::Endless);
}

#[test]
fn a_program_that_is_not_the_same_again_is_refused() {
    let run = Cell::new(0);
    let report = explore(Options::new(), || {
        run.set(run.get() + 1);
        let tasks = run.get();
        async move {
            for _ in 0..1 + tasks {
                drop(spawn(yield_now()));
            }
            sleep(SECOND).await;
        }
    });
    assert!(!report.complete);
    let told = panic_of(|| report.assert_ok());
    assert!(told.contains("the program does not do the same again"), "{told}");
}

/// Whatever a search makes of this program, it must not be a proof.
fn is_found_out(options: Options, program: impl Fn() -> Pin<Box<dyn Future<Output = ()>>>) {
    let report = explore(options, program);
    assert!(!report.complete, "{report}");
    let told = report.to_string();
    assert!(told.contains("which is not all"), "{told}");
    let misfit = |failure: &&Failure| matches!(failure.kind, FailureKind::Misfit(_));
    let found = report.failures.iter().find(misfit).unwrap_or_else(|| panic!("{told}"));
    let expected = "the program does not do the same again under the same schedule: ";
    assert!(found.kind.to_string().starts_with(expected), "{told}");
    assert!(found.kind.to_string().contains("in one run") || told.contains("one run "), "{told}");
}

/// A number below `n`, by the order of a hash set.
fn by_hash(n: usize) -> usize {
    let set: HashSet<usize> = (0..64).collect();
    set.into_iter().next().unwrap() % n
}

#[test]
fn what_depends_on_the_order_of_a_hash_set_is_found_out_and_never_proved() {
    for _ in 0..100 {
        // Another number of tasks, or the same number in another order.
        is_found_out(Options::new(), || {
            Box::pin(async {
                join_all((0..=by_hash(3)).map(|_| spawn(yield_now()))).await;
            })
        });
        is_found_out(Options::new(), || {
            Box::pin(async {
                let first = by_hash(2);
                let tasks = [0, 1].map(|n| {
                    spawn(async move {
                        if n == first {
                            sleep(SECOND).await;
                        }
                    })
                });
                join_all(tasks).await;
            })
        });
        // Another time, and nothing else.
        is_found_out(Options::new(), || {
            Box::pin(async {
                sleep(SECOND * (1 + by_hash(8) as u32)).await;
            })
        });
        // One schedule, which fails now and then.
        is_found_out(Options::new(), || {
            Box::pin(async {
                assert!(by_hash(2) == 0, "by chance");
            })
        });
    }
}

#[test]
fn what_uses_other_data_at_every_run_is_found_out_also_where_it_changes_no_order() {
    for options in [Options::new(), Options::new().declares_all(true)] {
        is_found_out(options, || {
            Box::pin(async {
                let cells = Rc::new([(); 2].map(|()| Shared::new(0)));
                let tasks = [0, 1].map(|_| {
                    let cells = cells.clone();
                    spawn(async move {
                        cells[by_hash(2)].update(|n| *n += 1);
                        yield_now().await;
                    })
                });
                join_all(tasks).await;
            })
        });
    }
}

#[test]
fn what_differs_only_in_runs_at_random_is_found_out_too() {
    let runs = Cell::new(0);
    is_found_out(Options::new().max_schedules(1), || {
        runs.set(runs.get() + 1);
        // The first schedule is made 32 times, and so is not to blame.
        let tasks = if runs.get() > 32 { 2 + runs.get() % 2 } else { 2 };
        Box::pin(async move {
            join_all((0..tasks).map(|_| spawn(yield_now()))).await;
        })
    });
    assert_eq!(runs.get(), 34);
}

#[test]
fn a_failure_that_was_seen_before_the_difference_is_kept() {
    let failed = Rc::new(Cell::new(0));
    let report = explore(Options::new(), || {
        // The run that fails first, and its repeat, are as they should be.
        let tasks = if failed.get() < 2 { 3 } else { 5 };
        let failed = failed.clone();
        async move {
            let first = Rc::new(Cell::new(None));
            let tasks = (0..tasks).map(|n| {
                let first = first.clone();
                spawn(async move {
                    first.set(first.get().or(Some(n)));
                })
            });
            join_all(tasks).await;
            if first.get() != Some(0) {
                failed.set(failed.get() + 1);
                panic!("another was first");
            }
        }
    });
    assert!(!report.complete);
    let kinds: Vec<_> = report.failures.iter().map(|failure| &failure.kind).collect();
    assert!(matches!(kinds[..], [FailureKind::Panic(_), FailureKind::Misfit(_)]), "{report}");
}

#[test]
fn every_run_is_made_twice_and_the_first_thirty_two_times() {
    let runs = Cell::new(0);
    for tasks in [1, 2, 3, 4] {
        runs.set(0);
        let report = explore(Options::new(), || {
            runs.set(runs.get() + 1);
            async move { join_all((0..tasks).map(|_| spawn(yield_now()))).await }
        });
        report.assert_ok();
        assert!(report.complete);
        assert_eq!(runs.get(), 32 + 2 * (report.schedules - 1));
    }
}

// ===== panics that end the process ==============================================================

/// Panics in its own end as well.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in the drop as well");
    }
}

/// Ends the process under some of its schedules.
async fn double_panic() {
    let ready = Rc::new(Cell::new(false));
    let set = ready.clone();
    let first = spawn(async move {
        yield_now().await;
        set.set(true);
    });
    let second = spawn(async move {
        yield_now().await;
        if ready.get() {
            let _bomb = Bomb;
            panic!("the first panic");
        }
    });
    join_all([first, second]).await;
}

/// Runs this test as a child that aborts; returns what that wrote to standard error.
fn last_words(test: &str) -> Option<String> {
    let output = child::output_of(test)?;
    assert!(!output.status.success(), "it aborts");
    Some(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_panic_that_ends_the_process_leaves_its_messages_and_the_schedule() {
    let test = "a_panic_that_ends_the_process_leaves_its_messages_and_the_schedule";
    let Some(said) = last_words(test) else {
        explore(Options::new(), double_panic);
        return;
    };
    let first = said.find("the first panic").unwrap_or_else(|| panic!("{said}"));
    let second = said.find("in the drop as well").unwrap_or_else(|| panic!("{said}"));
    assert!(first < second, "{said}");
    assert!(said.contains("popleft: a panic in a simulated run ends the process"), "{said}");
    assert!(said.contains("tests/sim.rs:"), "{said}");
    assert!(said.contains("  reproduced with every choice first in first out"), "{said}");
}

#[test]
fn the_schedule_of_a_run_that_ends_the_process_has_it_again() {
    let test = "the_schedule_of_a_run_that_ends_the_process_has_it_again";
    let Some(said) = last_words(test) else {
        // Only in the other order than the real loop's.
        explore(Options::new(), || async {
            let order: Log<u32> = Log::default();
            let tasks = [1, 2, 3].map(|n| {
                let order = order.clone();
                spawn(async move {
                    order.borrow_mut().push(n);
                    if *order.borrow() == [3, 2] {
                        let _bomb = Bomb;
                        panic!("the first panic");
                    }
                })
            });
            join_all(tasks).await;
        });
        return;
    };
    assert!(said.contains("  reproduced with schedule 2,1\n"), "{said}");
}

#[test]
fn a_single_run_that_ends_the_process_says_its_schedule_too() {
    let test = "a_single_run_that_ends_the_process_says_its_schedule_too";
    let Some(said) = last_words(test) else {
        Sim::new().schedule(schedule("1")).run(async {
            let quiet = spawn(yield_now());
            let loud = spawn(async {
                let _bomb = Bomb;
                panic!("the first panic");
            });
            join_all([quiet, loud]).await;
        });
        return;
    };
    assert!(said.contains("the first panic"), "{said}");
    assert!(said.contains("  reproduced with schedule 1\n"), "{said}");
}

#[test]
fn a_panic_in_a_drop_that_is_caught_there_ends_nothing_and_prints_nothing() {
    let test = "a_panic_in_a_drop_that_is_caught_there_ends_nothing_and_prints_nothing";
    struct Careful;
    impl Drop for Careful {
        fn drop(&mut self) {
            drop(catch_unwind(|| panic!("caught at once")));
        }
    }
    let Some(stderr) = child::stderr_of(test) else {
        let report = explore(Options::new(), || async {
            let _careful = Careful;
            panic!("the first panic");
        });
        assert_eq!(report.failures.len(), 1);
        return;
    };
    for quiet in ["caught at once", "the first panic", "popleft:"] {
        assert!(!stderr.contains(quiet), "{stderr}");
    }
}

#[test]
fn panics_of_explored_runs_are_silent_and_others_are_not() {
    let test = "panics_of_explored_runs_are_silent_and_others_are_not";
    let Some(stderr) = child::stderr_of(test) else {
        let report = explore(Options::new(), lost_update);
        assert_eq!(report.failures.len(), 1);
        let report = explore(Options::new(), || async {
            drop(spawn(async { panic!("quiet too") }));
            let lock = Mutex::new(());
            let _held = lock.lock().await;
            drop(lock.lock().await);
        });
        assert_eq!(report.failures.len(), 1, "{report}");
        drop(catch_unwind(|| panic!("loud again")));
        return;
    };
    assert!(stderr.contains("loud again"), "{stderr}");
    for quiet in ["an update was lost", "quiet too", "popleft:"] {
        assert!(!stderr.contains(quiet), "{stderr}");
    }
}

#[test]
fn a_panic_of_another_thread_stays_loud_meanwhile() {
    let test = "a_panic_of_another_thread_stays_loud_meanwhile";
    let Some(stderr) = child::stderr_of(test) else {
        explore(Options::new(), || async {
            let other = std::thread::spawn(|| panic!("heard from another thread"));
            assert!(other.join().is_err());
        })
        .assert_ok();
        return;
    };
    assert!(stderr.contains("heard from another thread"), "{stderr}");
}

// ===== skipping =================================================================================

/// One thing that a task of a made-up program does.
#[derive(Clone, Copy, Debug)]
enum Does {
    Yield,
    Read(usize),
    Write(usize),
    /// Adds what it saw last.
    Add(usize),
    /// Panics if the cell is not as it was seen last.
    Check(usize),
    Lock(usize),
    Unlock(usize),
    TryLock(usize),
    /// Queues for a lock, and gives up unless it has it a little later.
    GiveUp(usize),
    /// Uses what the lock protects, if it holds it.
    UseHeld(usize),
    /// Waits for the locks and the child at once, behind wakers of its own making: for one lock and
    /// then the child, or the other lock, and at the same time for the third of them.
    AllAtOnce(bool),
    SpawnAdder(usize),
    SpawnLocker(usize),
    /// Looks whether the child has ended.
    IsFinished,
    Join,
    Detach,
}

/// What a task may do between two yields is one step to the search.
fn does() -> impl Strategy<Value = Does> {
    use Does::*;
    let cell = || 0usize..3;
    let lock = || 0usize..2;
    prop_oneof![
        8 => Just(Yield),
        2 => cell().prop_map(Read),
        2 => cell().prop_map(Write),
        2 => cell().prop_map(Add),
        1 => cell().prop_map(Check),
        3 => lock().prop_map(Lock),
        2 => lock().prop_map(Unlock),
        1 => lock().prop_map(TryLock),
        1 => lock().prop_map(GiveUp),
        2 => lock().prop_map(UseHeld),
        1 => any::<bool>().prop_map(AllAtOnce),
        1 => cell().prop_map(SpawnAdder),
        1 => lock().prop_map(SpawnLocker),
        1 => Just(IsFinished),
        1 => Just(Join),
        1 => Just(Detach),
    ]
}

/// Some of it touches no cell: then only a promise makes it declared.
fn does_without_cells() -> impl Strategy<Value = Does> {
    does().prop_map(|does| match does {
        Does::Read(n) | Does::Write(n) | Does::Add(n) | Does::Check(n) | Does::SpawnAdder(n) => {
            Does::UseHeld(n % 2)
        }
        other => other,
    })
}

/// All that a run can see: what each task has seen, and what there is in the end. Two runs that
/// see the same are equivalent; two that do not, are not.
type Seen = Vec<Vec<usize>>;

/// What the tasks of a made-up program share.
struct World {
    cells: [Shared<usize>; 3],
    locks: [Mutex<usize>; 2],
}

/// Tells who waits for several futures which of them was woken, and wakes it once.
struct Bell {
    rang: AtomicBool,
    whom: Arc<sync::Mutex<Option<Waker>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rang.store(true, Ordering::Relaxed);
        let whom = self.whom.lock().unwrap().take();
        if let Some(whom) = whom {
            whom.wake();
        }
    }
}

/// Waits for all of them, as they come, and polls only those that were woken. Returns what came,
/// and in how many turns.
async fn all_behind_bells(mut futures: Vec<Pin<Box<dyn Future<Output = usize> + '_>>>) -> usize {
    let whom = Arc::new(sync::Mutex::new(None));
    let bell = |_: &_| Arc::new(Bell { rang: AtomicBool::new(true), whom: whom.clone() });
    let mut bells: Vec<_> = futures.iter().map(bell).collect();
    let mut saw = 0;
    poll_fn(|cx| {
        saw = 10 * saw + 1; // one turn more
        *whom.lock().unwrap() = Some(cx.waker().clone());
        let mut at = 0;
        while at < futures.len() {
            let is_woken = bells[at].rang.swap(false, Ordering::Relaxed);
            let waker = Waker::from(bells[at].clone());
            let mut own = Context::from_waker(&waker);
            match is_woken.then(|| futures[at].as_mut().poll(&mut own)) {
                Some(Poll::Ready(value)) => {
                    saw = 10 * saw + value;
                    drop(futures.remove(at));
                    drop(bells.remove(at));
                }
                _ => at += 1,
            }
        }
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    saw
}

async fn add_one(lock: &Mutex<usize>) -> usize {
    let mut value = lock.lock().await;
    *value += 1;
    *value
}

async fn one_of_the_tasks(number: usize, does: Vec<Does>, world: Rc<World>) -> Vec<usize> {
    let mut saw = vec![number];
    let mut held = [None, None];
    let mut child: Option<JoinHandle<()>> = None;
    for one in does {
        let last = *saw.last().unwrap();
        match one {
            Does::Yield => yield_now().await,
            Does::Read(cell) => saw.push(world.cells[cell].get()),
            Does::Write(cell) => world.cells[cell].set(10 * (last + 1) + number),
            Does::Add(cell) => world.cells[cell].update(|value| *value += last),
            Does::Check(cell) => world.cells[cell].read(|&now| assert_eq!(now, last)),
            Does::Lock(0) if held[0].is_none() => held[0] = Some(world.locks[0].lock().await),
            Does::Lock(1) if held[1].is_none() => held[1] = Some(world.locks[1].lock().await),
            Does::Lock(_) => {}
            Does::Unlock(lock) => held[lock] = None,
            Does::TryLock(lock) => {
                let got = world.locks[lock].try_lock();
                saw.push(usize::from(got.is_some()));
                if got.is_some() {
                    held[lock] = got;
                }
            }
            Does::GiveUp(lock) => {
                let mut asks = pin!(world.locks[lock].lock());
                let mut tries = 2;
                let got = poll_fn(|cx| {
                    tries -= 1;
                    match asks.as_mut().poll(cx) {
                        Poll::Ready(held) => Poll::Ready(Some(held)),
                        Poll::Pending if tries == 0 => Poll::Ready(None),
                        Poll::Pending => Poll::Pending,
                    }
                });
                // Whoever else polls it again is the yield, once.
                let (got, ()) = zip(got, yield_now()).await;
                saw.push(usize::from(got.is_some()));
            }
            Does::UseHeld(lock) => {
                if let Some(value) = &mut held[lock] {
                    **value = 10 * (**value + 1) + number;
                    saw.push(**value);
                }
            }
            Does::AllAtOnce(join_first) if held.iter().all(Option::is_none) => {
                let child = child.take();
                let join = async || match child {
                    Some(child) => child.await.map_or(8, |()| 9),
                    None => 7,
                };
                let [low, high] = &world.locks;
                let all: Vec<Pin<Box<dyn Future<Output = usize>>>> = match join_first {
                    true => vec![
                        Box::pin(async move { 10 * add_one(low).await + join().await }),
                        Box::pin(add_one(high)),
                    ],
                    false => vec![
                        Box::pin(async { 10 * add_one(low).await + add_one(high).await }),
                        Box::pin(join()),
                    ],
                };
                saw.push(all_behind_bells(all).await);
            }
            Does::AllAtOnce(_) => {}
            Does::SpawnAdder(cell) => {
                let world = world.clone();
                child = Some(spawn(async move { world.cells[cell].update(|value| *value += 1) }));
                saw.extend(child.as_ref().map(|child| child.id().number() as usize));
            }
            Does::SpawnLocker(lock) => {
                let world = world.clone();
                child = Some(spawn(async move { *world.locks[lock].lock().await += 1 }));
                saw.extend(child.as_ref().map(|child| child.id().number() as usize));
            }
            Does::IsFinished => {
                saw.extend(child.as_ref().map(|child| usize::from(child.is_finished())));
            }
            Does::Join => {
                if let Some(child) = child.take() {
                    child.await.unwrap();
                }
            }
            Does::Detach => drop(child.take()),
        }
    }
    saw
}

async fn made_up(tasks: Vec<Vec<Does>>, seen: Rc<RefCell<BTreeSet<Seen>>>) {
    let world = Rc::new(World {
        cells: std::array::from_fn(|_| Shared::new(0)),
        locks: std::array::from_fn(|lock| Mutex::new(5 * lock)),
    });
    let tasks: Vec<_> = tasks
        .into_iter()
        .enumerate()
        .map(|(number, does)| {
            let task = one_of_the_tasks(number, does, world.clone());
            // From lines of their own, by which deadlocks are told apart.
            match number {
                0 => spawn(task),
                1 => spawn(task),
                _ => spawn(task),
            }
        })
        .collect();
    let mut saw = vec![];
    for task in tasks {
        saw.push(task.await.unwrap());
    }
    saw.push(world.cells.iter().map(Shared::get).collect());
    let free = world.locks.iter().filter_map(|lock| lock.try_lock().map(|value| *value));
    saw.push(free.collect());
    seen.borrow_mut().insert(saw);
}

/// What tells one failure from another, and does not depend on the run that was kept.
fn kind_of(failure: &Failure) -> String {
    match &failure.kind {
        FailureKind::Panic(_) => String::from("panic"),
        FailureKind::Deadlock(deadlock) => {
            let each = deadlock.tasks.iter();
            let mut waits: Vec<_> = each
                .map(|task| format!("{} {:?} {}", task.spawned_at, task.why, task.at))
                .collect();
            waits.sort();
            waits.join("; ")
        }
        other => other.to_string(),
    }
}

/// Explores with and without skipping: it must find the same failures, and the runs that do not
/// fail must see the same. Returns how many runs there were without, with, and with when all is
/// declared; `None` when there are too many to try.
fn compare(tasks: &[Vec<Does>]) -> Option<[u64; 3]> {
    compare_within(20_000, tasks)
}

/// The same for programs of at most so many schedules.
fn compare_within(most: u64, tasks: &[Vec<Does>]) -> Option<[u64; 3]> {
    let explore_with = |options: Options| {
        let seen = Rc::new(RefCell::new(BTreeSet::new()));
        let options = options.max_schedules(most).random(0);
        let report = explore(options, || made_up(tasks.to_vec(), seen.clone()));
        let kinds: BTreeSet<_> = report.failures.iter().map(kind_of).collect();
        (report, kinds, seen.take())
    };
    let (all, all_kinds, all_seen) = explore_with(Options::new().skip_equivalent(false));
    if !all.complete {
        return None;
    }
    let mut ran = [all.schedules, 0, 0];
    let skipping = [Options::new(), Options::new().declares_all(true)];
    for (options, ran) in skipping.into_iter().zip(&mut ran[1..]) {
        let (some, some_kinds, some_seen) = explore_with(options);
        *ran = some.schedules;
        assert!(some.complete);
        assert!(some.schedules <= all.schedules, "{some}\n{all}");
        assert_eq!(some_kinds, all_kinds);
        assert_eq!(some.failures.len(), all.failures.len());
        assert_eq!(some_seen, all_seen);
    }
    Some(ran)
}

/// How many schedules a program made by chance may have. Most of those that have more have far more,
/// and would take most of the time only to be left out.
const MOST_BY_CHANCE: u64 = 2_000;

/// Programs of two or three tasks.
fn programs(does: impl Strategy<Value = Does>) -> impl Strategy<Value = Vec<Vec<Does>>> {
    proptest::collection::vec(proptest::collection::vec(does, 1..7), 2..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn skipping_finds_what_not_skipping_finds(tasks in programs(does())) {
        prop_assume!(compare_within(MOST_BY_CHANCE, &tasks).is_some());
    }

    #[test]
    fn skipping_by_locks_and_joins_finds_what_not_skipping_finds(
        tasks in programs(does_without_cells())
    ) {
        prop_assume!(compare_within(MOST_BY_CHANCE, &tasks).is_some());
    }
}

/// The same with a yield after each thing that is done.
fn in_steps<const N: usize>(does: [Does; N]) -> Vec<Does> {
    does.into_iter().flat_map(|one| [one, Does::Yield]).collect()
}

#[test]
fn skipping_tells_reads_from_writes() {
    use Does::{Add, Check, Read, Write};

    let of_one_cell = [Read(0), Write(0), Read(0), Add(0)];
    let other_way = [Write(0), Read(0), Add(0), Read(0)];
    compare(&[in_steps(of_one_cell), in_steps(other_way)]).unwrap();
    let across = [[Read(0), Write(1), Read(0)], [Read(1), Write(0), Read(1)]];
    compare(&across.map(in_steps)).unwrap();
    compare(&[in_steps([Read(0), Check(0)]), in_steps([Add(1), Write(0)]), in_steps([Read(1)])])
        .unwrap();
    // Those who only read are alike in any order; those who write are not.
    let [all, some, fewest] = compare(&[in_steps([Read(0); 4]), in_steps([Read(0); 4])]).unwrap();
    assert!(some * 5 < all && fewest <= some, "{fewest} and {some} of {all}");
    let [all, some, _] = compare(&[in_steps([Add(0); 4]), in_steps([Add(0); 4])]).unwrap();
    assert!(some * 5 > all, "{some} of {all}");
}

#[test]
fn skipping_tells_locks_apart() {
    use Does::{AllAtOnce, Lock, SpawnLocker, Unlock, UseHeld, Yield};

    let uses = |lock| vec![Lock(lock), Yield, UseHeld(lock), Unlock(lock), Yield];
    let [all, without_a_promise, same_lock] = compare(&[uses(0), uses(0)]).unwrap();
    assert_eq!(all, without_a_promise);
    let [_, _, two_locks] = compare(&[uses(0), uses(1)]).unwrap();
    assert!(two_locks < same_lock, "{two_locks} {same_lock} of {all}");
    // A circle, and one that somebody outside it may close or not.
    let both = |one, two| vec![Lock(one), Yield, Lock(two), Unlock(one), Unlock(two)];
    compare(&[both(0, 1), both(1, 0)]).unwrap();
    compare(&[both(0, 1), vec![Lock(1), SpawnLocker(0), Does::Join]]).unwrap();
    // Who waits for several behind wakers of its own is told by each of them, and woken by one.
    let holds = |lock| vec![Lock(lock), Yield, Unlock(lock)];
    for join_first in [true, false] {
        let all_at_once = vec![Does::SpawnAdder(0), AllAtOnce(join_first)];
        // The first to be joined: until it has ended, the main task does not interfere.
        compare(&[all_at_once, holds(0), holds(1)]).unwrap();
    }
}

#[test]
fn skipping_sees_what_a_task_can_know_of_others() {
    use Does::{IsFinished, SpawnAdder, SpawnLocker, Yield};

    // Whether a child has ended, and how many tasks were spawned before it.
    compare(&[vec![SpawnAdder(0), Yield, IsFinished, Yield, IsFinished, Yield]]).unwrap();
    compare(&[vec![SpawnAdder(0), Yield], vec![SpawnLocker(1), Yield, SpawnAdder(1)]]).unwrap();
}

/// Spawns the diners, each of whom takes two forks, and waits for them.
async fn dinner(diners: usize, forks_of: impl Fn(usize) -> (usize, usize)) {
    let forks: Rc<[Mutex<()>]> = (0..diners).map(|_| Mutex::new(())).collect();
    let seats = (0..diners).map(|me| {
        let (forks, (one, two)) = (forks.clone(), forks_of(me));
        spawn(async move {
            let _one = forks[one].lock().await;
            yield_now().await;
            let _two = forks[two].lock().await;
        })
    });
    join_all(seats).await;
}

#[test]
fn five_philosophers_are_proved_to_starve_or_not_to() {
    let left_first = |me| (me, (me + 1) % 5);
    let low_first = |me| if me == 4 { (0, 4) } else { (me, me + 1) };
    let options = || Options::new().declares_all(true).max_schedules(20_000).random(0);
    let broken = explore(options(), || dinner(5, left_first));
    assert!(broken.complete, "{broken}");
    let [failure] = &broken.failures[..] else { panic!("{broken}") };
    assert_eq!(deadlock_of(failure).circle.len(), 5);
    let again = Sim::new().schedule(failure.schedule.clone()).try_run(dinner(5, left_first));
    assert_eq!(deadlock_of(&again.unwrap_err()).circle, deadlock_of(failure).circle);
    let mended = explore(options(), || dinner(5, low_first));
    assert!(mended.complete, "{mended}");
    mended.assert_ok();
}

/// The run is over when the main task ends, whoever is about to do something.
#[test]
fn the_end_of_the_main_task_is_never_passed_over() {
    let program = || async {
        drop(spawn(async { panic!("too late") }));
        yield_now().await;
    };
    for promise in [false, true] {
        let report = explore(Options::new().declares_all(promise), program);
        assert!(report.complete && report.failures.len() == 1, "{report}");
    }
}

#[test]
fn skipping_leaves_few_runs_of_tasks_that_share_nothing() {
    let program = |cells: usize| {
        move || async move {
            let cells: Vec<_> = (0..cells).map(|_| Rc::new(Shared::new(0))).collect();
            let tasks = (0..2).map(|n| {
                let cell = cells[n % cells.len()].clone();
                spawn(async move {
                    for _ in 0..5 {
                        cell.update(|value| *value += 1);
                        yield_now().await;
                    }
                })
            });
            join_all(tasks).await;
        }
    };
    let count = |cells, skip| {
        let report = explore(Options::new().skip_equivalent(skip), program(cells));
        report.assert_ok();
        assert!(report.complete);
        report.schedules
    };
    let all = count(2, false);
    assert_eq!(count(1, false), all);
    // With one cell every order of the ten steps is another run, with two all of them are one;
    // what is left are the orders in which the tasks end and are joined.
    assert!(count(1, true) >= 252);
    assert!(count(2, true) * 10 < all, "{} of {all}", count(2, true));
}

#[test]
fn an_undeclared_use_beside_the_lock_is_never_skipped() {
    // The lock is taken without a wake or any other event: it has to count all the same.
    let orders: Rc<RefCell<BTreeSet<String>>> = Rc::default();
    let report = explore(Options::new(), || {
        let orders = orders.clone();
        async move {
            let lock = Rc::new(Mutex::new(String::new()));
            let own = [(); 2].map(|()| Rc::new(Shared::new(0)));
            let tasks = [0, 1].map(|n| {
                let (lock, own) = (lock.clone(), own[n].clone());
                spawn(async move {
                    own.set(1);
                    lock.try_lock().unwrap().push(if n == 0 { 'a' } else { 'b' });
                    yield_now().await;
                })
            });
            join_all(tasks).await;
            orders.borrow_mut().insert(lock.try_lock().unwrap().clone());
        }
    });
    report.assert_ok();
    assert_eq!(orders.take(), ["ab", "ba"].map(String::from).into());
}

#[test]
fn a_lock_that_is_taken_and_kept_is_never_skipped() {
    let outcomes: Rc<RefCell<BTreeSet<[bool; 2]>>> = Rc::default();
    let report = explore(Options::new(), || {
        let outcomes = outcomes.clone();
        async move {
            let lock = Rc::new(Mutex::new(()));
            let tasks = [(); 2].map(|()| {
                let (lock, own) = (lock.clone(), Shared::new(0));
                spawn(async move {
                    own.set(1);
                    yield_now().await;
                    own.set(2);
                    let held = lock.try_lock();
                    yield_now().await;
                    own.set(3);
                    yield_now().await;
                    held.is_some()
                })
            });
            let [first, second] = tasks;
            let got = [first.await.unwrap(), second.await.unwrap()];
            outcomes.borrow_mut().insert(got);
        }
    });
    report.assert_ok();
    let expected = [[true, false], [false, true], [true, true]];
    assert_eq!(outcomes.take(), expected.into());
}

#[test]
fn a_shared_cell_is_a_cell() {
    let cell = Shared::new(vec![1]);
    cell.update(|list| list.push(2));
    assert_eq!(cell.replace(vec![3]), [1, 2]);
    assert_eq!((cell.get(), cell.read(Vec::len)), (vec![3], 1));
    cell.set(vec![]);
    assert_eq!(format!("{cell:?}"), "Shared(RefCell { value: [] })");
    assert_eq!(Shared::<u8>::default().get(), 0);
}

// ===== the system ===============================================================================

#[test]
fn no_socket_thread_or_clock_of_the_system_is_touched() {
    let version = Command::new("strace").arg("--version").stdout(Stdio::null()).status();
    if version.is_err() {
        assert!(env::var_os("POPLEFT_REQUIRE_TOOLS").is_none(), "strace is missing");
        println!("skipped: no strace");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let this_test = env::current_exe().unwrap();
    // target/debug/deps/sim-0123456789
    let target = this_test.ancestors().nth(3).unwrap();
    let built = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--quiet", "--locked", "-p", "popleft", "--example", "simulated"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(root)
        .status();
    assert!(built.unwrap().success());
    let program = target.join("debug/examples/simulated");
    let calls_of = |how: &str| {
        let traced = Command::new("strace")
            .args(["-f", "-qq", "-e", "signal=none", "-e"])
            .arg(
                "trace=%network,%signal,openat,futex,/epoll,/eventfd,/timerfd,/clone,/fork,\
                 /sleep,/clock,/gettime,/poll,/select",
            )
            .arg(&program)
            .arg(how)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&traced.stderr).into_owned();
        assert!(traced.status.success(), "{text}");
        // Before `main`, std looks at descriptors 0 to 2 and sets its own handlers.
        let run = text.split_once("the-run-begins-here").expect("it marks its beginning").1;
        let run = run.split_once("the-run-ends-here").expect("it marks its end").0;
        // The rests of the lines with the marks.
        let calls: Vec<_> = run.lines().skip(1).map(String::from).collect();
        calls[..calls.len() - 1].to_vec()
    };
    let real = calls_of("real");
    assert!(real.iter().any(|call| call.contains("epoll_")), "{real:#?}");
    assert!(real.iter().any(|call| call.contains("clone")), "{real:#?}");
    assert!(real.iter().any(|call| call.contains("socket(")), "{real:#?}");
    let simulated = calls_of("simulated");
    assert!(simulated.is_empty(), "{simulated:#?}");
}
