//! Clocks and counters.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use serde::{Deserialize, Serialize};

use crate::allocations;

/// What one operation cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Time that passed, in nanoseconds.
    pub wall: f64,
    /// Time that the process computed, all threads together, in nanoseconds.
    pub cpu: f64,
    /// How often something was allocated, if that was counted.
    pub allocations: f64,
}

/// Measures from its start to its stop.
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
    allocations: u64,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Stopwatch {
            allocations: allocations::allocated().times,
            cpu: cpu_time(),
            wall: Instant::now(),
        }
    }

    /// What each of so many operations has cost since the start.
    pub fn stop(self, operations: u64) -> Sample {
        let wall = self.wall.elapsed();
        let cpu = cpu_time() - self.cpu;
        let each = |total: f64| total / operations as f64;
        Sample {
            wall: each(wall.as_nanos() as f64),
            cpu: each(cpu.as_nanos() as f64),
            allocations: each((allocations::allocated().times - self.allocations) as f64),
        }
    }
}

static SLOWED_DOWN: AtomicBool = AtomicBool::new(false);

/// Says that this process is watched by something that makes it some fifty times slower.
pub fn expect_to_be_slow() {
    SLOWED_DOWN.store(true, Relaxed);
}

/// Whether this process is some fifty times slower than it would be by itself.
pub fn is_slowed_down() -> bool {
    SLOWED_DOWN.load(Relaxed)
}

/// How long this process has computed, all threads together.
pub fn cpu_time() -> Duration {
    ProcessTime::now().as_duration()
}

/// Repeats `run`, with more and more operations, until it takes at least `target`; what an
/// operation cost in the last one.
pub fn for_at_least(target: Duration, first: u64, run: impl Fn(u64) -> Sample) -> Sample {
    let mut operations = first;
    loop {
        let sample = run(operations);
        let took = sample.wall * operations as f64;
        let wanted = target.as_nanos() as f64;
        if took >= wanted {
            return sample;
        }
        let more = (1.2 * wanted / took.max(1.0)).clamp(2.0, 20.0);
        operations = (operations as f64 * more) as u64;
    }
}

/// The value in the middle; of two middle ones the higher.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that a share of the others does not exceed.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Keeps this thread, and those that it starts from now on, on one processor. The error says why
/// it cannot be done here.
#[cfg(target_os = "linux")]
pub fn stay_on_core(core: usize) -> Result<(), String> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| format!("cannot stay on core {core}: {error}"))
}

/// Keeps this thread, and those that it starts from now on, on one processor. The error says why
/// it cannot be done here.
#[cfg(not(target_os = "linux"))]
pub fn stay_on_core(_: usize) -> Result<(), String> {
    Err("only Linux keeps a process on one core when it is asked to".to_string())
}

/// The processors that this process may use.
#[cfg(target_os = "linux")]
pub fn cores() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        Err(_) => vec![0],
    }
}

/// The processors that this process may use.
#[cfg(not(target_os = "linux"))]
pub fn cores() -> Vec<usize> {
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_hundred_values() {
        let values: Vec<f64> = (0..100).rev().map(f64::from).collect();
        assert_eq!(median(&values), 50.0);
        assert_eq!(quantile(&values, 0.99), 99.0);
        assert_eq!(quantile(&values, 1.0), 99.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_run_is_repeated_until_it_is_long_enough() {
        let counted = std::cell::Cell::new(0);
        let sample = for_at_least(Duration::from_nanos(5_000), 10, |operations| {
            counted.set(operations);
            Sample { wall: 7.0, cpu: 7.0, allocations: 0.0 }
        });
        assert_eq!(sample.wall, 7.0);
        assert!(counted.get() * 7 >= 5_000 && counted.get() < 5_000);
    }
}
