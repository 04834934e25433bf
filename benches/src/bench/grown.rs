//! The table of operations beside more and more others.

use crate::bench::Bench;
use crate::bench::results::Grown;
use crate::child::{Task, done};
use crate::measure::Sample;
use crate::rows::grown::Operation;

impl Bench {
    pub(super) fn grown(&self) -> anyhow::Result<Vec<Grown>> {
        let mut tables = vec![];
        let scales: &[u64] =
            if self.quick { &[100, 1_000_000] } else { &[100, 1_000, 10_000, 100_000, 1_000_000] };
        let operations = Operation::ALL.iter().enumerate().map(|(i, (title, _))| (Some(i), *title));
        for (operation, title) in operations.chain([(None, "yield, all tasks in turn")]) {
            let cost = |&others: &u64| {
                let task = Task::Grown { operation, others, target: self.target };
                Ok(done::<Sample>(task, self.first_core)?.wall)
            };
            let round = |_| scales.iter().map(cost).collect();
            let times = if self.quick { self.rounds.min(2) } else { self.rounds };
            let rounds = (0..times).map(round).collect::<anyhow::Result<Vec<_>>>()?;
            tables.push(Grown::of(title, scales, &rounds, operation.is_some()));
        }
        if self.first_core.is_some() {
            tables.push(self.grown_echo()?);
        }
        Ok(tables)
    }

    fn grown_echo(&self) -> anyhow::Result<Grown> {
        let title = "echo, 100 connections ask, the others are idle (server CPU)";
        let scales = [200, 1_000, 9_900];
        let cost = |&connections: &u64| {
            let load = self.load_of(100, connections as usize - 100);
            let (seen, usage) = self.under_load("popleft", load, false, false)?;
            Ok(usage.cpu * 1e9 / seen.answers as f64)
        };
        let round = |_| scales.iter().map(cost).collect();
        let rounds = (0..self.rounds).map(round).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Grown::of(title, &scales, &rounds, true))
    }
}
