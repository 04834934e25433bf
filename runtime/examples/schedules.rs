//! How many schedules of a small program can be tried in a second.
#![expect(clippy::print_stdout, reason = "an example may print")]
use std::time::Instant;

use popleft::sim::{ExploreOptions, explore};
use popleft::{spawn, yield_now};

/// Two tasks of four yields.
async fn program() {
    let tasks = [(); 2].map(|()| {
        spawn(async {
            for _ in 0..4 {
                yield_now().await;
            }
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
}

fn main() {
    let start = Instant::now();
    let mut schedules = 0;
    while start.elapsed().as_secs_f64() < 2.0 {
        let report = explore(ExploreOptions::new(), program);
        assert!(report.complete && report.failures.is_empty());
        schedules += report.schedules;
    }
    let each_second = schedules as f64 / start.elapsed().as_secs_f64();
    println!("{each_second:.0} schedules a second");
}
