//! The idea: one workload in six styles. What differs between them is the lesson.
//!
//! An item waits, and then computes on its bytes. Every function does this with each item and
//! returns when the last one is done. What is held while an item waits, and who else may compute
//! while one does: that is all there is to choose.

use popleft::{Runtime, spawn_blocking};

use super::item::Item;
use super::share_out::{gather, share_out};
use super::worker;
use super::workload::Workload;
use crate::gil::Gil;

/// A loop over the items. While one waits, nothing is done.
pub fn one_after_another(work: &Workload) -> anyhow::Result<Vec<Item>> {
    let mut done = vec![];
    for mut item in work.items() {
        item.wait();
        item.compute();
        done.push(item);
    }
    Ok(done)
}

/// A thread for each item: all wait at once, and as many compute as there are processors.
pub fn threads(work: &Workload) -> anyhow::Result<Vec<Item>> {
    share_out(work.items(), vec![(); work.threads()], |_, mut item| {
        item.wait();
        item.compute();
        Ok(item)
    })
}

/// The same threads as Python runs them: all wait at once, and one computes.
pub fn threads_under_a_gil(work: &Workload) -> anyhow::Result<Vec<Item>> {
    let gil = Gil::default();
    share_out(work.items(), vec![(); work.threads()], |_, mut item| {
        let mut interpreter = gil.acquire();
        interpreter.released(|| item.wait());
        item.compute_and(|| interpreter.tick());
        Ok(item)
    })
}

/// Worker processes: as many items wait or compute at once as there are workers, and the bytes of
/// each are copied there and back.
pub fn processes(work: &Workload) -> anyhow::Result<Vec<Item>> {
    let workers = worker::start(work)?;
    share_out(work.items(), workers, |worker, item| worker.wait_and_compute(item))
}

/// A task for each item, all on one thread: all wait at once, and one computes.
pub fn tasks(work: &Workload) -> anyhow::Result<Vec<Item>> {
    Runtime::new()?.block_on(gather(work.items().map(|mut item| async move {
        item.wait_as_a_task().await;
        item.compute();
        Ok(item)
    })))
}

/// The same tasks, and a pool of threads to compute in: all wait at once, and as many compute as
/// the pool has threads and the machine processors.
pub fn tasks_with_offload(work: &Workload) -> anyhow::Result<Vec<Item>> {
    let runtime = Runtime::builder().pool_size(work.workers).build()?;
    runtime.block_on(gather(work.items().map(|mut item| async move {
        item.wait_as_a_task().await;
        let computing = spawn_blocking(move || {
            item.compute();
            item
        });
        Ok(computing.await?)
    })))
}
