//! Worker processes that do whole items: this program again, at the other end of two pipes.
//!
//! An item's bytes go there, and come back after them goes the record of what was done. This is
//! what `ProcessPoolExecutor` does with arguments and results, less the pickling: bytes need none.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::item::{Item, Record};
use super::workload::Workload;
use crate::output;
use crate::worker_processes::{self, WORKER, end_with_the_server};

/// Starts the workers, at most one an item. The first item of each waits until its process is up.
pub(super) fn start(work: &Workload) -> anyhow::Result<Vec<Worker>> {
    let count = work.workers.min(work.items);
    let workers: io::Result<_> = (0..count).map(|_| Worker::start(work)).collect();
    workers.context("cannot start a worker process")
}

/// A worker process that does items.
#[derive(Debug)]
pub(super) struct Worker {
    process: worker_processes::Worker,
}

impl Worker {
    fn start(work: &Workload) -> io::Result<Worker> {
        let [io, cpu] = [work.io, work.cpu].map(|time| time.as_nanos().to_string().into());
        let process = worker_processes::Worker::start(&[WORKER.into(), io, cpu])?;
        Ok(Worker { process })
    }

    /// Sends an item's bytes, and waits for them to come back with the record.
    ///
    /// # Errors
    ///
    /// When the process has died.
    pub(super) fn wait_and_compute(&mut self, mut item: Item) -> anyhow::Result<Item> {
        match self.exchange(&item.bytes) {
            Ok((bytes, record)) => {
                item.bytes = bytes.into();
                item.record = record;
                Ok(item)
            }
            Err(error) => Err(anyhow!("a worker process died: {}: {error}", self.process.end())),
        }
    }

    fn exchange(&mut self, bytes: &[u8]) -> io::Result<(Vec<u8>, Record)> {
        let answers = &mut self.process.answers;
        send(&mut self.process.requests, bytes)?;
        let bytes = receive(answers)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let record = receive(answers)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((bytes, serde_json::from_slice(&record)?))
    }
}

/// A message: its length in eight bytes, and then itself.
fn send(pipe: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    pipe.write_all(&(bytes.len() as u64).to_le_bytes())?;
    pipe.write_all(bytes)?;
    pipe.flush()
}

/// The next message; `None` at the end of the pipe.
fn receive(pipe: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 8];
    match pipe.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u64::from_le_bytes(length);
    let mut bytes = vec![];
    if pipe.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(bytes))
}

// ===== in the worker process ====================================================================

/// What a worker process does: items come in by stdin, and go out by stdout when they are done.
pub(super) fn work(args: impl Iterator<Item = OsString>) -> ExitCode {
    let times: Vec<Duration> =
        args.filter_map(|arg| arg.to_str()?.parse().ok()).map(Duration::from_nanos).collect();
    let &[io, cpu] = times.as_slice() else {
        output::complain(format_args!(
            "choose {WORKER}: this is how choose starts its worker processes"
        ));
        return ExitCode::from(2);
    };
    if let Err(error) = end_with_the_server() {
        output::complain(format_args!("choose {WORKER}: {error:#}"));
        return ExitCode::FAILURE;
    }
    match work_on_all(io, cpu) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn work_on_all(io: Duration, cpu: Duration) -> io::Result<()> {
    let mut requests = io::stdin().lock();
    let mut answers = io::stdout().lock();
    while let Some(bytes) = receive(&mut requests)? {
        let bytes = Arc::from(bytes);
        let mut item = Item { io, cpu, bytes, record: Record::default() };
        item.wait();
        item.compute();
        send(&mut answers, &item.bytes)?;
        send(&mut answers, &serde_json::to_vec(&item.record)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent_and_a_torn_one_is_an_error() {
        let mut pipe = vec![];
        for message in [&b"one"[..], b"", &[7; 100_000]] {
            send(&mut pipe, message).unwrap();
        }
        let mut reading = pipe.as_slice();
        assert_eq!(receive(&mut reading).unwrap().unwrap(), b"one");
        assert_eq!(receive(&mut reading).unwrap().unwrap(), b"");
        assert_eq!(receive(&mut reading).unwrap().unwrap(), [7; 100_000]);
        assert_eq!(receive(&mut reading).unwrap(), None);
        assert!(receive(&mut &pipe[..9]).is_err());
    }
}
