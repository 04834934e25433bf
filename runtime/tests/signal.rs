//! The laws of signals. Each test has a process of its own: a signal is for the whole of it.

#![cfg(feature = "signal")]

mod child;

use std::rc::Rc;
use std::time::Duration;

use popleft::signal;
use popleft::time::{sleep, timeout};
use rustix::process::{Signal, getpid, kill_process};

fn send(signal: Signal) {
    kill_process(getpid(), signal).unwrap();
}

#[test]
fn ctrl_c_and_terminate_are_heard_by_everyone_who_listens() {
    if child::stderr_of("ctrl_c_and_terminate_are_heard_by_everyone_who_listens").is_some() {
        return;
    }
    popleft::run(async {
        let pressed = [signal::ctrl_c(), signal::ctrl_c()];
        let asked = signal::terminate();
        send(Signal::INT);
        for pressed in pressed {
            pressed.await.unwrap();
        }
        send(Signal::TERM);
        asked.await.unwrap();
        // What came before the call does not count.
        let later = timeout(Duration::from_millis(5), signal::ctrl_c()).await;
        assert!(later.is_err());
    });
}

#[test]
fn a_signal_interrupts_the_loops_sleep_and_nothing_else() {
    if child::stderr_of("a_signal_interrupts_the_loops_sleep_and_nothing_else").is_some() {
        return;
    }
    popleft::run(async {
        let signals = signal::listen(Signal::USR1.as_raw()).unwrap();
        let other = popleft::spawn(sleep(Duration::from_millis(30)));
        let sender = std::thread::spawn(|| {
            for _ in 0..20 {
                send(Signal::USR1);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        signals.recv().await.unwrap();
        other.await.unwrap();
        sender.join().unwrap();
        drop(signals);
        // Nobody listens: it does nothing, rather than what it would by itself.
        send(Signal::USR1);
    });
}

#[test]
fn many_signals_at_once_count_as_no_more_than_they_are() {
    if child::stderr_of("many_signals_at_once_count_as_no_more_than_they_are").is_some() {
        return;
    }
    popleft::run(async {
        let signals = signal::listen(Signal::USR2.as_raw()).unwrap();
        for _ in 0..200 {
            send(Signal::USR2);
        }
        signals.recv().await.unwrap();
        let mut counted = 1;
        while timeout(Duration::from_millis(5), signals.recv()).await.is_ok() {
            counted += 1;
        }
        assert!(counted <= 200, "{counted}");
    });
}

/// Far longer than a signal takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_signal_is_heard_by_each_of_many_who_listen() {
    if child::stderr_of("a_signal_is_heard_by_each_of_many_who_listen").is_some() {
        return;
    }
    popleft::run(async {
        let listeners: Vec<_> =
            (0..20).map(|_| signal::listen(Signal::USR1.as_raw()).unwrap()).collect();
        send(Signal::USR1);
        for listener in &listeners {
            timeout(LIMIT, listener.recv()).await.unwrap().unwrap();
        }
    });
}

#[test]
fn more_signals_than_a_pipe_holds_that_nobody_reads_leave_the_next_one_heard() {
    let test = "more_signals_than_a_pipe_holds_that_nobody_reads_leave_the_next_one_heard";
    if child::stderr_of(test).is_some() {
        return;
    }
    popleft::run(async {
        let signals = signal::listen(Signal::USR2.as_raw()).unwrap();
        for _ in 0..100_000 {
            send(Signal::USR2);
        }
        timeout(LIMIT, signals.recv()).await.unwrap().unwrap();
        // What is left of them is one more at the most.
        while timeout(Duration::from_millis(50), signals.recv()).await.is_ok() {}
        send(Signal::USR2);
        timeout(LIMIT, signals.recv()).await.unwrap().unwrap();
    });
}

#[test]
fn a_signal_that_comes_between_two_runs_is_heard_in_the_next() {
    if child::stderr_of("a_signal_that_comes_between_two_runs_is_heard_in_the_next").is_some() {
        return;
    }
    let runtime = popleft::Runtime::new().unwrap();
    let signals = runtime.block_on(async { signal::listen(Signal::USR2.as_raw()).unwrap() });
    send(Signal::USR2);
    runtime.block_on(async { timeout(LIMIT, signals.recv()).await }).unwrap().unwrap();
}

#[test]
fn of_two_tasks_that_await_one_listener_each_signal_is_heard_by_one() {
    let test = "of_two_tasks_that_await_one_listener_each_signal_is_heard_by_one";
    if child::stderr_of(test).is_some() {
        return;
    }
    popleft::run(async {
        let signals = Rc::new(signal::listen(Signal::USR2.as_raw()).unwrap());
        let tasks = [(); 2].map(|()| {
            let signals = signals.clone();
            popleft::spawn(async move { timeout(LIMIT, signals.recv()).await })
        });
        sleep(Duration::ZERO).await;
        for heard in 1..=2 {
            send(Signal::USR2);
            while tasks.iter().filter(|task| task.is_finished()).count() < heard {
                sleep(Duration::from_millis(1)).await;
            }
            // Time for a second one to hear the same signal, which it must not.
            for _ in 0..10 {
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(tasks.iter().filter(|task| task.is_finished()).count(), heard);
        }
        for task in tasks {
            task.await.unwrap().unwrap().unwrap();
        }
    });
}

#[test]
fn what_cannot_be_caught_is_refused() {
    popleft::run(async {
        let error = signal::listen(Signal::KILL.as_raw()).unwrap_err();
        assert!(error.to_string().contains("cannot be caught"), "{error}");
        assert!(signal::listen(100_000).is_err());
    });
    assert!(signal::listen(Signal::USR1.as_raw()).is_err(), "no runtime runs here");
}
