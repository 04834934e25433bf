//! A pool of threads, as Python has it in `concurrent.futures`: give it a job, and one of four threads runs it.

use crate::complain;
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::{process, thread};

const THREADS: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

static JOBS: LazyLock<mpsc::Sender<Job>> = LazyLock::new(start_threads);

/// Puts the job behind those that wait for a thread, and returns at once.
///
/// A job that panics ends its thread.
pub fn submit(job: impl FnOnce() + Send + 'static) {
    let sent = JOBS.send(Box::new(job));
    sent.expect("a thread of the pool is alive");
}

fn start_threads() -> mpsc::Sender<Job> {
    let (sender, receiver) = mpsc::channel();
    let receiver = Arc::new(Mutex::new(receiver));
    for started in 0..THREADS {
        let receiver = receiver.clone();
        let work = move || {
            while let Some(job) = next_job(&receiver) {
                job()
            }
        };
        match thread::Builder::new().spawn(work) {
            Ok(_) => {}
            Err(error) if started == 0 => {
                complain(&format!("cannot start a thread: {error}"));
                process::exit(1);
            }
            // Those that there are do all of it.
            Err(_) => break,
        }
    }
    sender
}

/// Alone in a function, so that the lock is free again when the job runs.
fn next_job(receiver: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    receiver.lock().expect("no thread panics here").recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_run_beside_one_another() {
        let (sender, receiver) = mpsc::channel();
        let meet = Arc::new(std::sync::Barrier::new(THREADS));
        for _ in 0..THREADS {
            let (sender, meet) = (sender.clone(), meet.clone());
            submit(move || {
                meet.wait();
                sender.send(()).unwrap();
            });
        }
        drop(sender);
        assert_eq!(receiver.iter().count(), THREADS);
    }
}
