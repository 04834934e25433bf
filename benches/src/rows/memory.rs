//! What a task costs while it does nothing.

use std::future::{Future, pending};
use std::hint::black_box;
use std::pin::Pin;
use std::time::Duration;

use crate::allocations::{allocated, start_counting};
use crate::peers::Peer;

/// So many tasks wait for ever, each a future of 64 bytes. The bytes that are in use for each, all
/// tables counted.
pub fn bytes_of_a_parked_task<P: Peer>(tasks: u64) -> f64 {
    P::run(async move {
        P::spawn(async {}).await;
        start_counting();
        let before = allocated().bytes;
        for i in 0..tasks {
            P::spawn_detached(parked(i));
        }
        // All have had their turn, and nothing is ready.
        P::sleep(Duration::from_millis(10)).await;
        (allocated().bytes - before) as f64 / tasks as f64
    })
}

/// The state is what it keeps, and where it stands.
fn parked(i: u64) -> impl Future<Output = ()> {
    let kept = [i; 7];
    let future = async move {
        pending::<()>().await;
        black_box(&kept);
    };
    assert_eq!(size_of_val(&future), 64);
    future
}

/// The limit: the future in a box, and the box in a list.
pub fn limit(tasks: u64) -> f64 {
    start_counting();
    let before = allocated().bytes;
    let mut list: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::with_capacity(tasks as usize);
    list.extend((0..tasks).map(|i| Box::pin(parked(i)) as Pin<Box<dyn Future<Output = ()>>>));
    let bytes = allocated().bytes - before;
    drop(black_box(list));
    bytes as f64 / tasks as f64
}
