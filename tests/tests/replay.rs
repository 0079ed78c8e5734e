//! The fast engine against the reference engine: every word of SRAM, faults and cycles, whatever the number of threads.

use std::path::{Path, PathBuf};

use lpu::model::Checkpoint;
use lpu::{Options, Precision, chip, compiler};
use lpu_tests::equal::Pair;

const CONTEXT: usize = 48;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)
}

#[test]
fn compiled_decode_steps_are_equal() {
    let tsp = chip::preset("tsp-v1").unwrap();
    for name in ["plain", "gqa", "odd", "wide", "wide_head", "deep"] {
        let checkpoint = Checkpoint::open(&folder(name)).unwrap();
        for precision in [Precision::F16, Precision::W8A8] {
            let compiled = compiler::compile(&checkpoint, &tsp, &Options { precision, context: CONTEXT }).unwrap();
            let mut pair = Pair::new(&tsp, &compiled.image, &compiled.programs[0], &[1, 2, 3]);
            for position in 0..3 {
                let mut row = vec![0.0; checkpoint.config.hidden];
                checkpoint.embedding_row(5 + 7 * position as u32, &mut row).unwrap();
                for (region, bytes) in compiler::host::inputs(&checkpoint.config, tsp.lanes(), CONTEXT, position, &row) {
                    pair.input(&region, &bytes);
                }
                assert_eq!(pair.run(), Ok(true), "{name} {} token {position}", precision.name());
            }
        }
    }
}
