//! The rows of the table: each runtime is measured in turn, round by round.

use std::time::Duration;

use crate::bench::Bench;
use crate::bench::results::{Cell, Measured};
use crate::child::{Task, done, last_words};
use crate::measure::{Sample, median};
use crate::peers;
use crate::rows::{Kind, Row};

impl Bench {
    pub(super) fn measure_row(&self, row: &'static Row) -> anyhow::Result<Measured> {
        let (unit, lower_is_better) = match row.kind {
            Kind::Operation { .. } => ("ns", true),
            Kind::Bytes { .. } | Kind::IdleConnection { .. } => ("bytes", true),
            Kind::Server { .. } => ("1000/s", false),
        };
        let mut measured = Measured {
            row: row.name,
            title: row.title,
            unit,
            lower_is_better,
            cells: vec![],
            absent: self.absent.clone(),
        };
        let mut peers = vec![];
        for &peer in &self.peers {
            if has_row(row, peer) {
                peers.push(peer);
            } else {
                measured.absent.push((peer, format!("{}: nothing to measure", row.title)));
            }
        }
        let rounds = match row.kind {
            Kind::Bytes { .. } | Kind::IdleConnection { .. } => 1,
            _ => self.rounds,
        };
        let mut samples: Vec<Vec<Sample>> = vec![vec![]; peers.len()];
        let mut failed: Vec<Option<String>> = vec![None; peers.len()];
        for _ in 0..rounds {
            for (i, peer) in peers.iter().enumerate() {
                if failed[i].is_some() {
                    continue;
                }
                self.progress.set_message(format!("{}: {peer}", row.title));
                match self.sample(row, peer, false) {
                    Ok(sample) => samples[i].push(sample),
                    // What one cannot do must not keep the others from being measured.
                    Err(error) if *peer != "popleft" => failed[i] = Some(last_words(&error)),
                    Err(error) => return Err(error),
                }
                self.progress.inc(1);
            }
        }
        for (i, &peer) in peers.iter().enumerate() {
            match failed[i].take() {
                Some(why) => measured.absent.push((peer, format!("{}: {why}", row.title))),
                None => measured.cells.push(self.cell(row, peer, &samples[i])?),
            }
        }
        Ok(measured)
    }

    fn cell(&self, row: &Row, peer: &'static str, samples: &[Sample]) -> anyhow::Result<Cell> {
        let wall: Vec<_> = samples.iter().map(|sample| sample.wall).collect();
        let cpu: Vec<_> = samples.iter().map(|sample| sample.cpu).collect();
        let cpu = median(&cpu);
        let counts = matches!(row.kind, Kind::Operation { .. } | Kind::Server { .. });
        // Counting takes time, so it is done once more and apart.
        let allocations =
            if counts { Some(self.sample(row, peer, true)?.allocations) } else { None };
        let syscalls = match row.kind {
            Kind::Server { load, one_core } if !self.quick => self.syscalls(peer, load, one_core),
            _ => None,
        };
        let is_cpu = matches!(row.kind, Kind::Operation { cpu: true, .. });
        let rounds = match row.kind {
            Kind::Server { .. } => wall.iter().map(|ns| 1e6 / ns).collect(),
            _ if is_cpu => samples.iter().map(|sample| sample.cpu).collect(),
            _ => wall,
        };
        Ok(Cell {
            peer,
            value: median(&rounds),
            rounds,
            cpu: counts.then_some(cpu),
            allocations,
            syscalls,
        })
    }

    /// One measurement; of a server, the time between two answers.
    fn sample(&self, row: &Row, peer: &str, count: bool) -> anyhow::Result<Sample> {
        let of_bytes = |bytes| Sample { wall: bytes, cpu: 0.0, allocations: 0.0 };
        let (name, peer) = (row.name.to_string(), peer.to_string());
        match row.kind {
            Kind::Operation { .. } => {
                let target = self.target;
                done(Task::Operation { row: name, peer, target, count }, self.first_core)
            }
            Kind::Bytes { .. } => {
                done(Task::Bytes { row: name, peer }, self.first_core).map(of_bytes)
            }
            Kind::Server { load, one_core } => {
                let (seen, usage) = self.under_load(&peer, load, one_core, count)?;
                let answers = seen.answers as f64;
                Ok(Sample {
                    wall: seen.seconds * 1e9 / answers,
                    cpu: usage.cpu * 1e9 / answers,
                    allocations: usage.allocations as f64 / answers,
                })
            }
            Kind::IdleConnection { connections } => {
                self.bytes_of_a_connection(&peer, connections).map(of_bytes)
            }
        }
    }
}

/// Why a runtime cannot take part: not in this build, or not on this machine.
pub(super) fn why_not(peer: &'static str) -> Option<String> {
    if let Some(why) = peers::why_not(peer) {
        return Some(why.to_string());
    }
    if peer == "limit" {
        return None;
    }
    // Whoever cannot do this, for want of a system call perhaps, can do nothing here.
    let task = Task::Operation {
        row: "yield-1".to_string(),
        peer: peer.to_string(),
        target: Duration::ZERO,
        count: false,
    };
    let error = done::<Sample>(task, None).err()?;
    Some(format!("does not run here: {}", last_words(&error)))
}

fn has_row(row: &Row, peer: &str) -> bool {
    match row.kind {
        Kind::Operation { limit, .. } => peer != "limit" || limit.is_some(),
        Kind::Bytes { .. } => true,
        Kind::Server { .. } | Kind::IdleConnection { .. } => cfg!(target_os = "linux"),
    }
}
