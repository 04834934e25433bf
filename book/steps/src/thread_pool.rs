//! A pool of threads, as Python has it in `concurrent.futures`: give it a job, and one of four threads runs it.

use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::thread;

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
    for _ in 0..THREADS {
        let receiver = receiver.clone();
        thread::spawn(move || {
            while let Some(job) = next_job(&receiver) {
                job()
            }
        });
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
