//! Quantised types against the numbers that `gguf.quants.dequantize` makes of the same blocks, and against any bytes.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// Blocks that `make_gguf_families.py` made, each followed by its elements as float32.
fn stored(name: &str) -> (usize, Vec<u8>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/checkpoints/gguf/blocks")
        .join(format!("{name}.npy"));
    let bytes = fs::read(path).unwrap();
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    let width = file.shape()[1] as usize;
    (width, file.into_vec().unwrap())
}

#[test]
fn blocks_have_the_bits_of_the_reference() {
    let (mut finite, mut other) = (0, 0);
    for Blocks { dtype, name, elements, bytes, .. } in &BLOCKS {
        let (width, rows) = stored(name);
        assert_eq!(width, bytes + 4 * elements, "{name}");
        for (row, bytes_of_row) in rows.chunks_exact(width).enumerate() {
            let (raw, expected) = bytes_of_row.split_at(*bytes);
            let mut found = vec![0.0; *elements];
            dtype.read(raw, &mut found);
            for (index, (found, expected)) in found.iter().zip(expected.chunks_exact(4)).enumerate() {
                let expected = f32::from_le_bytes([expected[0], expected[1], expected[2], expected[3]]);
                // One not-a-number is as good as another.
                let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                assert!(same, "{name}, block {row}, element {index}: {found:e} {expected:e}");
                *(if expected.is_finite() { &mut finite } else { &mut other }) += 1;
            }
        }
    }
    assert!(finite > 15_000 && other > 1_000, "{finite} finite elements, {other} others");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any bytes are numbers, the same ones by the block and by the element.
    #[test]
    fn any_bytes_are_read(raw in prop::collection::vec(any::<u8>(), 2 * 292..=2 * 292)) {
        for dtype in BLOCKS.iter().map(|blocks| blocks.dtype) {
            let (elements, bytes) = dtype.block();
            prop_assert!(elements <= LARGEST);
            let raw = &raw[..2 * bytes];
            let mut found = vec![0.0; 2 * elements];
            dtype.read(raw, &mut found);
            for index in [0, 1, elements - 1, elements, 2 * elements - 1] {
                prop_assert_eq!(dtype.element(raw, index).to_bits(), found[index].to_bits());
            }
        }
    }
}
