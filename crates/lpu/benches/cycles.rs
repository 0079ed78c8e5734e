//! Chip cycles a second of the reference engine on compiled decode steps of the model that ships, on one core.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lpu::{Engines, Options, Precision, Session, chip, model::Checkpoint};

fn decode(criterion: &mut Criterion) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/model");
    let tsp = chip::preset("tsp-v1").expect("the preset is valid");
    let mut group = criterion.benchmark_group("reference");
    for precision in [Precision::F16, Precision::W8A8] {
        let checkpoint = Checkpoint::open(folder.as_ref()).expect("the model ships");
        let options = Options { precision, context: 4096, ..Options::default() };
        let mut session = Session::compile_for(checkpoint, &tsp, &options, &Engines::REFERENCE).expect("it fits");
        group.throughput(Throughput::Elements(session.stated_cycles()));
        group.sample_size(10);
        group.bench_function(precision.name(), |bencher| {
            bencher.iter(|| session.feed(3).expect("the program is legal"))
        });
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
