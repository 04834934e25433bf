//! The two tables of distributions: how late timers fire, and how long an echo takes.

use crate::bench::Bench;
use crate::bench::results::Spread;
use crate::child::{Task, done};
use crate::load::Seen;
use crate::measure::{median, quantile};

impl Bench {
    pub(super) fn lateness(&self) -> anyhow::Result<Vec<Spread>> {
        let sleeps = if self.quick { 200 } else { 2_000 };
        let mut tables = vec![];
        for (busy, title) in [(false, "idle"), (true, "beside a busy task")] {
            for &peer in self.peers.iter().filter(|&&peer| !(busy && peer == "limit")) {
                let task = Task::Lateness { peer: peer.to_string(), busy, sleeps };
                let late: Vec<f64> = match done(task, self.first_core) {
                    Ok(late) => late,
                    Err(error) if peer == "popleft" => return Err(error),
                    Err(_) => vec![f64::INFINITY],
                };
                tables.push(Spread {
                    peer,
                    title,
                    p50: quantile(&late, 0.5),
                    p99: quantile(&late, 0.99),
                    p999: quantile(&late, 0.999),
                });
            }
        }
        Ok(tables)
    }

    pub(super) fn latency(&self) -> anyhow::Result<Vec<Spread>> {
        if self.first_core.is_none() {
            return Ok(vec![]);
        }
        let load = self.load_of(100, 0);
        let mut rounds: Vec<Vec<Seen>> = vec![vec![]; self.peers.len()];
        // A round is a distribution by itself.
        for _ in 0..if self.quick { 1 } else { self.rounds } {
            for (peer, rounds) in self.peers.iter().zip(&mut rounds) {
                rounds.push(self.under_load(peer, load, false, false)?.0);
            }
        }
        let of = |rounds: &[Seen], pick: fn(&Seen) -> f64| {
            median(&rounds.iter().map(pick).collect::<Vec<_>>())
        };
        let spread = |(&peer, rounds): (&&'static str, &Vec<Seen>)| Spread {
            peer,
            title: "100 connections",
            p50: of(rounds, |seen| seen.p50),
            p99: of(rounds, |seen| seen.p99),
            p999: of(rounds, |seen| seen.p999),
        };
        Ok(self.peers.iter().zip(&rounds).map(spread).collect())
    }
}
