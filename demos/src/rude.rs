//! A task that never yields, and what the others pay.
//!
//! A turn lasts until the next `await` that has to wait. A task that computes for long and does not
//! await keeps the loop for all that time: no other task runs, no timer fires and no socket is read.
//! Yielding between two pieces of work helps only on a fair loop, first in, first out; a thread
//! helps under every schedule. In the book: "The simulator".

mod clock;
mod program;
mod work;

use popleft::{spawn_blocking, yield_now};

pub use self::program::{main, run_from};
use self::work::{PIECES, SHORT, Work, compute};

/// Keeps the loop until all is done.
async fn rude(work: Work) {
    for _ in 0..PIECES {
        work.do_a_piece();
    }
}

/// Lets others run between two pieces.
async fn polite(work: Work) {
    for _ in 0..PIECES {
        work.do_a_piece();
        yield_now().await;
    }
}

/// Makes a thread do it, and waits for the thread.
async fn with_a_thread() {
    let pieces = spawn_blocking(|| (0..PIECES).for_each(|_| compute(SHORT)));
    pieces.await.expect("computing does not panic");
}

/// Comes, and is served at its next turn. How many pieces of work were done between the two?
async fn client(work: Work) -> u32 {
    let before = work.done_in_the_loop();
    yield_now().await;
    work.done_in_the_loop() - before
}
