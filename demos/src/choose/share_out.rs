//! How items get to threads and to tasks: what `ThreadPoolExecutor.map` and `asyncio.gather` are in
//! Python.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Context;

use super::item::Item;
use super::styles::Done;
use super::workload::Workload;
use crate::output;

/// How much address space each thread reserves for its stack; what is touched becomes memory.
pub(super) const STACK: usize = 2 << 20;

/// Starts a thread for each item, or as many as there may be, and makes them handle all items.
pub(super) fn in_threads(work: &Workload, handle: impl Fn(Item) -> Item + Sync) -> Done {
    share_out(work, vec![(); work.threads()], |(), item| Ok(handle(item)))
}

/// Starts a thread for each of `hands`, which takes the next item, handles it with that hand, and
/// again, until none is left. Returns the items when the last thread has ended.
///
/// When the system refuses a thread, those that there are do all of it, and a line on stderr says
/// so.
///
/// # Errors
///
/// When no thread can be started; and the first error of `handle`, after which no further item is
/// begun.
pub(super) fn share_out<Hand: Send>(
    work: &Workload,
    hands: Vec<Hand>,
    handle: impl Fn(&mut Hand, Item) -> anyhow::Result<Item> + Sync,
) -> Done {
    let left = Mutex::new(work.items());
    let done = Mutex::new(Ok(vec![]));
    let take_turns = |mut hand: Hand| {
        while let Some(item) = next(&left, &done) {
            let handled = handle(&mut hand, item);
            let mut done = lock(&done);
            match (&mut *done, handled) {
                (Ok(items), Ok(item)) => items.push(item),
                (Ok(_), Err(error)) => *done = Err(error),
                (Err(_), _) => {}
            }
        }
    };
    let wanted = hands.len();
    thread::scope(|scope| {
        for (started, hand) in hands.into_iter().enumerate() {
            let take_turns = &take_turns;
            let thread = thread::Builder::new().stack_size(STACK);
            match thread.spawn_scoped(scope, move || take_turns(hand)) {
                Ok(_) => {}
                Err(error) if started == 0 => return Err(error).context("cannot start a thread"),
                Err(error) => {
                    output::complain(format_args!(
                        "choose: {started} of {wanted} threads were started: {error}"
                    ));
                    break;
                }
            }
        }
        Ok(())
    })?;
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The next item; `None` when all are taken, or one has failed.
fn next<T>(
    left: &Mutex<impl Iterator<Item = Item>>,
    done: &Mutex<anyhow::Result<T>>,
) -> Option<Item> {
    if lock(done).is_err() {
        return None;
    }
    lock(left).next()
}

/// Spawns a task for each item, and waits for all of them.
///
/// # Errors
///
/// The first error of a task.
pub(super) async fn gather<Handling>(work: &Workload, handle: impl Fn(Item) -> Handling) -> Done
where
    Handling: Future<Output = anyhow::Result<Item>> + 'static,
{
    let tasks: Vec<_> = work.items().map(|item| popleft::spawn(handle(item))).collect();
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(task.await??);
    }
    Ok(done)
}

// Nothing that panics runs while one is locked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_item_is_done_once_by_whatever_number_of_threads() {
        for (items, threads) in [(1, 1), (7, 1), (7, 3), (3, 7)] {
            let work = Workload { items, ..Workload::of_nothing() };
            let done = share_out(&work, vec![(); threads], |(), item| Ok(item)).unwrap();
            assert_eq!(done.len(), items);
        }
    }

    #[test]
    fn after_an_error_no_further_item_is_begun() {
        let work = Workload { items: 100, ..Workload::of_nothing() };
        let begun = AtomicUsize::new(0);
        let failed = share_out(&work, vec![()], |(), item| {
            if begun.fetch_add(1, Ordering::Relaxed) == 3 {
                bail!("the fourth is bad");
            }
            Ok(item)
        });
        assert_eq!(failed.unwrap_err().to_string(), "the fourth is bad");
        assert_eq!(begun.into_inner(), 4);
    }

    #[test]
    fn gathering_returns_what_a_task_failed_with() {
        let work = Workload { items: 3, ..Workload::of_nothing() };
        let gathered = popleft::run(gather(&work, |_| async { bail!("no") }));
        assert_eq!(gathered.unwrap_err().to_string(), "no");
    }
}
