//! The program around the server: its options, and what is made before the first task runs.
//!
//! **The second client** is served at once. With `--compute inline`, `fib` runs in the loop:
//! while it computes no other client is served, since nothing yields there. With `--compute
//! threads`, as at the end of the talk, a pool computes and short requests keep most of their rate.

use std::cell::RefCell;
use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc;

use anyhow::Context;
use clap::Parser;
use polling::Poller;

use super::pool::{Pool, future_monitor};
use super::shortage::Shortage;
use super::socket::AsyncSocket;
use super::stopping::{Clients, stop_monitor};
use super::{Scheduler, Task, fib_server};
use crate::cli::{self, ComputeOptions, ServerOptions};
use crate::protocol::Rules;
use crate::stop::{self, CANNOT_CATCH};

/// The Fibonacci server on generators, as the talk builds it
///
/// One thread serves all clients. What it would wait for, a generator yields.
#[derive(Debug, Parser)]
#[command(name = "fib-generators", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    server: ServerOptions,

    #[command(flatten)]
    compute: ComputeOptions,
}

const EXAMPLES: &str = "\
Examples:
  fib-generators                        listen on 127.0.0.1:25000, compute in 4 threads
  fib-generators --compute inline       compute in the loop, and see who pays
  fib-generators --workers 2            compute two requests at once";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the server with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    cli::run("fib-generators", args, serve)
}

fn serve(options: Options) -> anyhow::Result<()> {
    let threads = options.compute.threads()?;
    let listener = options.server.listen()?;
    let addr = listener.local_addr().context("cannot learn the listener's address")?;
    let signal_event = stop::signals().context(CANNOT_CATCH)?;
    stop::at_signal(|| {})?;
    let (scheduler, monitor) = new_scheduler(threads)?;
    start_server(&scheduler, listener, signal_event, options.server.rules())?;
    scheduler.spawn(monitor);
    cli::announce(addr)?;
    scheduler.run();
    Ok(())
}

fn new_scheduler(threads: Option<usize>) -> anyhow::Result<(Rc<Scheduler>, Task)> {
    let (future_notify, future_event) = UnixStream::pair().context("cannot make a socket pair")?;
    future_notify.set_nonblocking(true).context("cannot make a socket non-blocking")?;
    let (done_sender, done) = mpsc::channel();
    let poller = Rc::new(Poller::new().context("cannot make the poller")?);
    let pool = Pool::start(threads.unwrap_or(0), done_sender, future_notify);
    let scheduler = Rc::new(Scheduler {
        tasks: RefCell::default(),
        recv_wait: RefCell::default(),
        send_wait: RefCell::default(),
        future_wait: RefCell::default(),
        poller: poller.clone(),
        pool: pool.context("cannot start a thread of the pool")?,
        clients: Clients::default(),
        shortage: Shortage::default(),
    });
    let future_event = AsyncSocket::new(OwnedFd::from(future_event).into(), &poller);
    let future_event = future_event.context(CANNOT_WATCH)?;
    let monitor = future_monitor(scheduler.clone(), future_event, done);
    Ok((scheduler, monitor))
}

/// What is said when a socket that the server itself needs cannot be added to the poller.
const CANNOT_WATCH: &str = "cannot watch a socket";

fn start_server(
    scheduler: &Rc<Scheduler>,
    listener: TcpListener,
    signal_event: UnixStream,
    rules: Rules,
) -> anyhow::Result<()> {
    let listener = AsyncSocket::new(listener.into(), &scheduler.poller).context(CANNOT_WATCH)?;
    let signal_event = AsyncSocket::new(OwnedFd::from(signal_event).into(), &scheduler.poller);
    let signal_event = signal_event.context(CANNOT_WATCH)?;
    let listener_key = listener.key();
    scheduler.spawn(fib_server(scheduler.clone(), listener, rules));
    scheduler.spawn(stop_monitor(scheduler.clone(), signal_event, listener_key));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    use popleft::generator::{Generator, Resumed};

    use crate::fib::fib;

    /// Runs the scheduler until all of `tasks` have ended.
    fn run(scheduler: &Rc<Scheduler>, monitor: Task, tasks: Vec<Task>) {
        let left = Rc::new(Cell::new(tasks.len()));
        scheduler.spawn(monitor);
        for mut task in tasks {
            let left = left.clone();
            let scheduler_to_stop = scheduler.clone();
            scheduler.spawn(Generator::new(move |y| async move {
                while let Resumed::Yielded(wait) = task.resume(()) {
                    y.yield_(wait).await;
                }
                left.set(left.get() - 1);
                scheduler_to_stop.clients.stopping.set(left.get() == 0);
                Ok(())
            }));
        }
        scheduler.run();
        assert_eq!(left.get(), 0);
    }

    fn socket_pair(scheduler: &Scheduler) -> [Rc<AsyncSocket>; 2] {
        let (left, right) = UnixStream::pair().unwrap();
        [left, right]
            .map(|end| AsyncSocket::new(OwnedFd::from(end).into(), &scheduler.poller).unwrap())
    }

    #[test]
    fn one_task_sends_more_than_fits_while_another_receives() {
        const LENGTH: usize = 3_000_000;
        let (scheduler, monitor) = new_scheduler(Some(1)).unwrap();
        let [sender, receiver] = socket_pair(&scheduler);
        let received = Rc::new(Cell::new(0));
        let count = received.clone();
        let send: Task = Generator::new(|y| async move {
            sender.send_all(&y, &vec![7; LENGTH]).await?;
            sender.hang_up(&y).await
        });
        let receive: Task = Generator::new(|y| async move {
            let mut buffer = [0; 10_000];
            loop {
                match receiver.recv(&y, &mut buffer).await? {
                    0 => return Ok(()),
                    length => count.set(count.get() + length),
                }
            }
        });
        run(&scheduler, monitor, vec![receive, send]);
        assert_eq!(received.get(), LENGTH);
    }

    #[test]
    fn every_future_s_result_comes_to_the_task_that_waits_for_it() {
        let (scheduler, monitor) = new_scheduler(Some(3)).unwrap();
        let results = Rc::new(RefCell::new(vec![]));
        let tasks = (1..=200).map(|n| {
            let scheduler = scheduler.clone();
            let results = results.clone();
            let task: Task = Generator::new(move |y| async move {
                for _ in 0..5 {
                    let result = scheduler.fib(&y, n % 20 + 1).await;
                    results.borrow_mut().push(result == fib(n % 20 + 1));
                }
                Ok(())
            });
            task
        });
        run(&scheduler, monitor, tasks.collect());
        assert_eq!(*results.borrow(), vec![true; 1000]);
    }

    #[test]
    fn inline_nothing_is_yielded_while_fib_computes() {
        let (scheduler, _monitor) = new_scheduler(None).unwrap();
        let computing = scheduler.clone();
        let mut task: Task = Generator::new(move |y| async move {
            assert_eq!(computing.fib(&y, 10).await, 55);
            Ok(())
        });
        assert!(matches!(task.resume(()), Resumed::Complete(Ok(()))));
    }
}
