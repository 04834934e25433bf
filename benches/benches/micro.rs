//! The small rows of popleft and their limits, for use while tuning.
//!
//!     cargo bench -p popleft-benches                     all, in about a minute
//!     cargo bench -p popleft-benches -- --quick          all, in a few seconds
//!     cargo bench -p popleft-benches -- spawn            some

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use popleft_benches::measure::Sample;
use popleft_benches::rows::{self, Kind};

fn micro(criterion: &mut Criterion) {
    for row in rows::ALL {
        let Kind::Operation { peer, limit, cpu, .. } = row.kind else {
            continue;
        };
        let time = move |sample: Sample| if cpu { sample.cpu } else { sample.wall };
        let took = move |sample, operations: u64| {
            Duration::from_nanos((time(sample) * operations as f64) as u64)
        };
        let mut group = criterion.benchmark_group(row.name);
        let popleft = |operations| peer("popleft", operations).expect("it is in every build");
        group.bench_function("popleft", |bencher| {
            bencher.iter_custom(|operations| took(popleft(operations), operations));
        });
        if let Some(limit) = limit {
            group.bench_function("limit", |bencher| {
                bencher.iter_custom(|operations| took(limit(operations), operations));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = micro
}
criterion_main!(benches);
