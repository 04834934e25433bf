//! One act: its server, four measurements, and their numbers.
//!
//! The loads are threads of this process with blocking sockets: the kernel schedules them and the
//! server against each other, as it would with clients on the same machine. With two processors a
//! load, the server and a long computation are three that want to run; so even the best server
//! loses some of its rate here.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use serde::Serialize;

use super::acts::Act;
use super::stage::Server;
use crate::loads::{Answered, Happened, Load, NoThread, median};

/// What an act came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Numbers {
    /// perf2 by itself: requests a second.
    pub(super) short_alone: f64,
    /// perf2 beside one perf1, which came first.
    pub(super) short_beside: f64,
    /// perf1 by itself: how long the middle one of its requests took, in seconds.
    pub(super) long_alone: f64,
    /// perf1 beside another, over the requests of both.
    pub(super) long_beside: f64,
    /// Of two perf1, how many got no answer at all.
    pub(super) left_waiting: usize,
}

impl Numbers {
    /// How much of its rate perf2 keeps beside perf1, from 0 to 1.
    pub(super) fn kept(&self) -> f64 {
        self.short_beside / self.short_alone
    }

    /// How many times as long a long request takes beside another.
    pub(super) fn stretched(&self) -> f64 {
        self.long_beside / self.long_alone
    }
}

/// Plays an act. `doing` is called with what is being measured.
pub(super) fn act(
    act: &Act,
    n: u64,
    window: Duration,
    ctrl_c: &CtrlC,
    doing: impl Fn(&str),
) -> anyhow::Result<Numbers> {
    doing("starting the server");
    let mut server = Server::start(act)?;
    let measured = four_times(&server, n, window, ctrl_c, doing);
    measured.map_err(|error| {
        if error.is::<Interrupted>() || error.is::<NoThread>() {
            error
        } else {
            error.context(server.how_it_ended(act))
        }
    })
}

fn four_times(
    server: &Server,
    n: u64,
    window: Duration,
    ctrl_c: &CtrlC,
    doing: impl Fn(&str),
) -> anyhow::Result<Numbers> {
    let addr = server.addr();

    doing("perf2 alone");
    let perf2 = Perf2::start(addr)?;
    let short_alone = perf2.rate(window, ctrl_c, &[])?;
    perf2.load.stop();

    doing("perf2 beside perf1");
    let perf1 = Perf1::start(addr, 1, n)?;
    perf1.wait_until_served(ctrl_c)?;
    let perf2 = Perf2::start(addr)?;
    let short_beside = perf2.rate(window, ctrl_c, &[&perf1.load])?;
    // The load that holds the server leaves first.
    perf1.load.stop();
    perf2.load.stop();

    doing("perf1 alone");
    let perf1 = Perf1::start(addr, 1, n)?;
    perf1.wait_until_served(ctrl_c)?;
    let (alone, _) = perf1.times(window, ctrl_c)?;
    perf1.load.stop();

    doing("perf1 beside another");
    let perf1 = Perf1::start(addr, 2, n)?;
    perf1.wait_until_served(ctrl_c)?;
    let (beside, left_waiting) = perf1.times(window, ctrl_c)?;
    perf1.load.stop();

    Ok(Numbers {
        short_alone,
        short_beside,
        long_alone: median(&alone),
        long_beside: median(&beside),
        left_waiting,
    })
}

// ===== the loads ================================================================================

struct Perf2 {
    load: Load,
    served: Arc<AtomicU64>,
}

impl Perf2 {
    fn start(addr: &str) -> anyhow::Result<Perf2> {
        let served = Arc::new(AtomicU64::new(0));
        let count = served.clone();
        let load = Load::start(addr, 1, 1, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })?;
        Ok(Perf2 { load, served })
    }

    /// How many requests a second are served, while `others` work as well.
    fn rate(&self, window: Duration, ctrl_c: &CtrlC, others: &[&Load]) -> anyhow::Result<f64> {
        let failure = || {
            let other = others.iter().find_map(|load| load.failure());
            self.load.failure().or(other)
        };
        let start = Instant::now();
        let before = self.served.load(Ordering::Relaxed);
        ctrl_c.wait(window, failure)?;
        let served = self.served.load(Ordering::Relaxed) - before;
        Ok(served as f64 / start.elapsed().as_secs_f64())
    }
}

struct Perf1 {
    load: Load,
    clients: usize,
    answers: Arc<Mutex<Vec<Answered>>>,
}

impl Perf1 {
    fn start(addr: &str, clients: usize, n: u64) -> anyhow::Result<Perf1> {
        let answers = Arc::new(Mutex::new(vec![]));
        let kept = answers.clone();
        let load = Load::start(addr, clients, n, move |answer| {
            lock(&kept).push(answer);
        })?;
        Ok(Perf1 { load, clients, answers })
    }

    /// The first answer shows that the server is at work for it.
    fn wait_until_served(&self, ctrl_c: &CtrlC) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while lock(&self.answers).is_empty() {
            if Instant::now() >= deadline {
                bail!("no answer in 10 s");
            }
            ctrl_c.wait(Duration::from_millis(2), || self.load.failure())?;
        }
        Ok(())
    }

    /// How long each request took that was answered in the window, and how many clients got no
    /// answer. The window lasts until there is one answer.
    fn times(&self, window: Duration, ctrl_c: &CtrlC) -> anyhow::Result<(Vec<f64>, usize)> {
        lock(&self.answers).clear();
        ctrl_c.wait(window, || self.load.failure())?;
        self.wait_until_served(ctrl_c)?;
        let answers = lock(&self.answers);
        let times = answers.iter().map(|a| a.took.as_secs_f64()).collect();
        let unanswered = |client: &usize| answers.iter().all(|a| a.client != *client);
        Ok((times, (1..=self.clients).filter(unanswered).count()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// ===== waiting ==================================================================================

/// Waits that end at Ctrl-C.
pub(super) struct CtrlC {
    happened: mpsc::Receiver<Happened>,
}

/// Ctrl-C was pressed.
#[derive(Debug)]
pub(super) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl CtrlC {
    pub(super) fn new(happened: mpsc::Receiver<Happened>) -> CtrlC {
        CtrlC { happened }
    }

    /// Lets `duration` pass, unless Ctrl-C is pressed or a load fails.
    pub(super) fn wait(
        &self,
        duration: Duration,
        failure: impl Fn() -> Option<anyhow::Error>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + duration;
        loop {
            if let Some(error) = failure() {
                return Err(error);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let look_again = left.min(Duration::from_millis(50));
            match self.happened.recv_timeout(look_again) {
                Ok(Happened::Interrupted) | Err(RecvTimeoutError::Disconnected) => {
                    bail!(Interrupted)
                }
                Ok(Happened::Answered(_)) => unreachable!("the loads keep their answers"),
                Err(RecvTimeoutError::Timeout) if left == look_again => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_ratios_are_against_the_same_act_alone() {
        let numbers = Numbers {
            short_alone: 1000.0,
            short_beside: 250.0,
            long_alone: 0.1,
            long_beside: 0.2,
            left_waiting: 0,
        };
        assert_eq!(numbers.kept(), 0.25);
        assert_eq!(numbers.stretched(), 2.0);
    }

    #[test]
    fn a_wait_ends_at_its_time_at_a_failure_and_at_ctrl_c() {
        let (sender, happened) = mpsc::channel();
        let ctrl_c = CtrlC::new(happened);
        ctrl_c.wait(Duration::from_millis(1), || None).unwrap();
        let failed = ctrl_c.wait(Duration::from_secs(60), || Some(anyhow::anyhow!("lost")));
        assert_eq!(failed.unwrap_err().to_string(), "lost");
        sender.send(Happened::Interrupted).unwrap();
        let interrupted = ctrl_c.wait(Duration::from_secs(60), || None).unwrap_err();
        assert!(interrupted.is::<Interrupted>());
    }
}
