//! What was measured, and whether it reaches the goals.

use serde::Serialize;

use crate::measure::median;
use crate::peers;
use crate::rows::Goal;
use crate::share;

/// The result of one runtime in one row.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The runtime.
    pub peer: &'static str,
    /// The median of what the row counts.
    pub value: f64,
    /// All rounds.
    pub rounds: Vec<f64>,
    /// Time computed for each operation or request, in nanoseconds.
    pub cpu: Option<f64>,
    /// Allocations for each operation or request.
    pub allocations: Option<f64>,
    /// System calls for each request.
    pub syscalls: Option<f64>,
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The row.
    pub row: &'static str,
    /// In words.
    pub title: &'static str,
    /// In what it is counted.
    pub unit: &'static str,
    /// Whether less is better.
    pub lower_is_better: bool,
    /// The runtimes that were measured.
    pub cells: Vec<Cell>,
    /// The runtimes that could not be measured, and why.
    pub absent: Vec<(&'static str, String)>,
}

/// An operation with more and more of everything else.
#[derive(Clone, Debug, Serialize)]
pub struct Grown {
    /// The operation.
    pub title: String,
    /// How many others there were, and what an operation cost then.
    pub steps: Vec<(u64, f64)>,
    /// The unit of the cost.
    pub unit: &'static str,
    /// How many times what it cost with the fewest others it costs with more, at the most.
    pub grows: f64,
    /// Whether the goal holds for it.
    pub has_goal: bool,
}

impl Grown {
    /// Of rounds that each held one measurement a scale. Within a round the machine is about as
    /// fast at its end as it was at its beginning, so the growth is taken round by round.
    pub(super) fn of(title: &str, scales: &[u64], rounds: &[Vec<f64>], has_goal: bool) -> Grown {
        let cost = |at: usize| median(&rounds.iter().map(|round| round[at]).collect::<Vec<_>>());
        let growth = |at: usize| {
            median(&rounds.iter().map(|round| round[at] / round[0]).collect::<Vec<_>>())
        };
        Grown {
            title: title.to_string(),
            steps: (0..scales.len()).map(|at| (scales[at], cost(at))).collect(),
            unit: "ns",
            grows: (0..scales.len()).map(growth).fold(1.0, f64::max),
            has_goal,
        }
    }
}

/// A distribution, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Spread {
    /// The runtime.
    pub peer: &'static str,
    /// Under what.
    pub title: &'static str,
    /// Half are at most this.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
}

/// One connection across two cores.
#[derive(Clone, Debug, Serialize)]
pub struct Spin {
    /// The server, and what it does when it is idle.
    pub title: &'static str,
    /// Requests a second.
    pub rate: f64,
    /// Time that the server computed for each, in microseconds.
    pub cpu: f64,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What the machine is.
    pub machine: String,
    /// How it was measured.
    pub settings: String,
    /// The table.
    pub rows: Vec<Measured>,
    /// Operations beside many others.
    pub grown: Vec<Grown>,
    /// How late timers were.
    pub lateness: Vec<Spread>,
    /// How long an echo took.
    pub latency: Vec<Spread>,
    /// What it buys and costs to spin before sleeping.
    pub spin: Vec<Spin>,
    /// What perf2 kept beside perf1.
    pub share: Vec<share::Kept>,
}

/// Whether a goal is reached; `None` when what it compares with was not measured.
pub fn is_reached(goal: Goal, measured: &Measured) -> Option<bool> {
    let ours = measured.of("popleft")?;
    Some(match goal {
        Goal::OfBestAtMost(times) => ours <= times * measured.best_peer(|_| true)?,
        Goal::OfLimitAtMost(times) => ours <= times * measured.of("limit")?,
        Goal::OfLimitAtLeast(share) => ours >= share * measured.of("limit")?,
        Goal::AheadOnEpoll => ours >= measured.best_peer(peers::is_on_epoll)?,
        Goal::AtMost(number) => ours <= number,
    })
}

impl Measured {
    /// The result of a runtime.
    pub fn of(&self, peer: &str) -> Option<f64> {
        self.cells.iter().find(|cell| cell.peer == peer).map(|cell| cell.value)
    }

    /// The best among those peers that are meant.
    pub fn best_peer(&self, meant: impl Fn(&str) -> bool) -> Option<f64> {
        let peers = self.cells.iter().filter(|cell| !matches!(cell.peer, "popleft" | "limit"));
        let values = peers.filter(|cell| meant(cell.peer)).map(|cell| cell.value);
        if self.lower_is_better { values.reduce(f64::min) } else { values.reduce(f64::max) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(lower_is_better: bool, values: &[(&'static str, f64)]) -> Measured {
        let cell = |&(peer, value)| Cell {
            peer,
            value,
            rounds: vec![value],
            cpu: None,
            allocations: None,
            syscalls: None,
        };
        Measured {
            row: "row",
            title: "a row",
            unit: "ns",
            lower_is_better,
            cells: values.iter().map(cell).collect(),
            absent: vec![],
        }
    }

    #[test]
    fn goals_compare_with_the_best_peer_and_with_the_limit() {
        let cost =
            measured(true, &[("popleft", 10.0), ("limit", 2.0), ("tokio", 50.0), ("compio", 20.0)]);
        assert_eq!(is_reached(Goal::OfBestAtMost(0.5), &cost), Some(true));
        assert_eq!(is_reached(Goal::OfBestAtMost(0.45), &cost), Some(false));
        assert_eq!(is_reached(Goal::OfLimitAtMost(1.05), &cost), Some(false));
        assert_eq!(is_reached(Goal::AtMost(10.0), &cost), Some(true));
        let rate = measured(
            false,
            &[("popleft", 99.0), ("limit", 100.0), ("tokio", 90.0), ("compio", 120.0)],
        );
        assert_eq!(is_reached(Goal::OfLimitAtLeast(0.98), &rate), Some(true));
        assert_eq!(is_reached(Goal::AheadOnEpoll, &rate), Some(true));
        let alone = measured(false, &[("popleft", 99.0)]);
        assert_eq!(is_reached(Goal::AheadOnEpoll, &alone), None);
    }
}
