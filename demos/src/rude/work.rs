//! The work of [`rude`](super), in pieces. It also keeps the story of what the tasks do, so that
//! their code is nothing but the bug.

use std::cell::Cell;
use std::rc::Rc;

use popleft::{task, yield_now};
use serde::Serialize;

use super::{client, polite, rude, with_a_thread};
use crate::exploring::{End, Story};
use crate::fib::fib;

/// How many pieces of work there are.
pub(super) const PIECES: u32 = 5;

/// The `n` of a piece whose length does not matter.
pub(super) const SHORT: u64 = 10;

pub(super) fn compute(n: u64) {
    std::hint::black_box(fib(std::hint::black_box(n)));
}

/// What the task that computes is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Manners {
    Rude,
    Polite,
    Helped,
}

/// The work of one run, and how many pieces of it the loop has done itself.
#[derive(Clone)]
pub(super) struct Work {
    manners: Manners,
    done_in_the_loop: Rc<Cell<u32>>,
    story: Story,
}

impl Work {
    fn new(manners: Manners, story: Story) -> Self {
        Work { manners, done_in_the_loop: Rc::default(), story }
    }

    pub(super) fn do_a_piece(&self) {
        compute(SHORT);
        let done = self.done_in_the_loop() + 1;
        self.done_in_the_loop.set(done);
        if self.manners == Manners::Polite {
            self.story.tell(format!("the polite task computes piece {done} and yields"));
        } else if done == PIECES {
            self.story.tell(format!("the rude task computes {PIECES} pieces in one turn"));
        }
    }

    pub(super) fn done_in_the_loop(&self) -> u32 {
        self.done_in_the_loop.get()
    }
}

/// A client, and a little later a task that computes.
pub(super) async fn program(manners: Manners, story: Story) -> End {
    let work = Work::new(manners, story.clone());
    let client = task::Builder::new().name("client").spawn(serve_client(work.clone()));
    yield_now().await;
    let computes = task::Builder::new().name("computes");
    let computes = match manners {
        Manners::Rude => computes.spawn(rude(work)),
        Manners::Polite => computes.spawn(polite(work)),
        Manners::Helped => computes.spawn(async move {
            story.tell("the task has a thread compute");
            with_a_thread().await;
            story.tell("the thread is done");
        }),
    };
    let served = client.await.expect("the client is not cancelled");
    computes.await.expect("computing does not panic");
    served
}

async fn serve_client(work: Work) -> End {
    let story = work.story.clone();
    story.tell("the client comes");
    let waited = client(work).await;
    story.tell(format!("the client is served, after {waited} pieces of work"));
    match waited {
        0 | 1 => Ok(()),
        _ => Err(format!("the client had to wait for {waited} pieces of somebody else's work")),
    }
}
