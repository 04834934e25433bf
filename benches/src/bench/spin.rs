//! The table of spinning: what it buys and costs before a loop sleeps.

use crate::bench::Bench;
use crate::bench::results::Spin;
use crate::measure::median;
use crate::rows::echo;

impl Bench {
    pub(super) fn spin(&self) -> anyhow::Result<Vec<Spin>> {
        let kinds = [
            ("popleft, sleeps at once", "popleft"),
            ("popleft, spins for 50 us first", echo::SPINNING),
            ("limit, sleeps at once", "limit"),
        ];
        if self.second_core.is_none() {
            return Ok(vec![]);
        }
        let load = self.load_of(1, 0);
        let mut rounds: Vec<Vec<(f64, f64)>> = vec![vec![]; kinds.len()];
        for _ in 0..self.rounds {
            for ((_, peer), rounds) in kinds.iter().zip(&mut rounds) {
                let (seen, usage) = self.under_load(peer, load, false, false)?;
                let answers = seen.answers as f64;
                rounds.push((answers / seen.seconds, usage.cpu * 1e6 / answers));
            }
        }
        let of = |rounds: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| {
            median(&rounds.iter().map(pick).collect::<Vec<_>>())
        };
        let spin = |((title, _), rounds): (&(&'static str, &str), &Vec<(f64, f64)>)| Spin {
            title,
            rate: of(rounds, |round| round.0),
            cpu: of(rounds, |round| round.1),
        };
        Ok(kinds.iter().zip(&rounds).map(spin).collect())
    }
}
