//! The idea: one workload in six styles. What differs between them is the lesson.
//!
//! An item waits, and then computes on its bytes. Every function does this with each item and
//! returns when the last one is done. What is held while an item waits, and what else may compute
//! while one does: that is all there is to choose.

use popleft::{Runtime, spawn_blocking};

use super::item::Item;
use super::share_out::{gather, in_threads, share_out};
use super::worker::{self, Worker};
use super::workload::Workload;
use crate::gil::Gil;

/// The items when they are done, or what went wrong.
pub type Done = anyhow::Result<Vec<Item>>;

/// A loop over the items. While one waits, nothing is done.
pub fn one_after_another(work: &Workload) -> Done {
    let mut done = vec![];
    for mut item in work.items() {
        item.wait();
        item.compute();
        done.push(item);
    }
    Ok(done)
}

/// A thread for each item: all wait at once, and as many compute as there are processors.
pub fn threads(work: &Workload) -> Done {
    in_threads(work, |mut item| {
        item.wait();
        item.compute();
        item
    })
}

/// The same threads as Python runs them: all wait at once, and one computes.
pub fn threads_under_a_gil(work: &Workload) -> Done {
    let gil = Gil::default();
    in_threads(work, |mut item| {
        let mut interpreter = gil.acquire();
        interpreter.released(|| item.wait());
        item.compute_and(|| interpreter.tick());
        item
    })
}

/// Worker processes: as many items wait or compute at once as there are workers, and the bytes of
/// each are copied there and back.
pub fn processes(work: &Workload) -> Done {
    let workers = worker::start(work)?;
    share_out(work, workers, Worker::wait_and_compute)
}

/// A task for each item, all on one thread: all wait at once, and one computes.
pub fn tasks(work: &Workload) -> Done {
    let runtime = Runtime::new()?;
    runtime.block_on(gather(work, |mut item| async move {
        item.wait_as_a_task().await;
        item.compute();
        Ok(item)
    }))
}

/// The same tasks, and a pool of threads to compute in: all wait at once, and as many compute as
/// the pool has threads and the machine processors.
pub fn tasks_with_offload(work: &Workload) -> Done {
    let runtime = Runtime::builder().pool_size(work.workers).build()?;
    runtime.block_on(gather(work, |mut item| async move {
        item.wait_as_a_task().await;
        let computing = spawn_blocking(move || {
            item.compute();
            item
        });
        Ok(computing.await?)
    }))
}
