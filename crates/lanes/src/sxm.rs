//! What the switch units do to the lanes of vectors.

use lpu_isa::{Edge, Instruction};

/// What a switch unit makes of its source streams, which lie one after another in `value`, as do the resulting streams in `out`.
///
/// # Panics
/// When the instruction is none of a switch unit's.
pub fn switch(instruction: &Instruction, value: &[u8], out: &mut [u8], lanes: usize) {
    match *instruction {
        Instruction::ShiftLanes { by, edge, .. } => shift(value, out, 16, 1, i32::from(by.0), edge),
        Instruction::ShiftSuperlanes { by, edge, .. } => shift(value, out, lanes, 16, i32::from(by.0), edge),
        Instruction::Transpose { .. } => transpose(value, out, lanes),
        _ => unreachable!("{} is no instruction of a switch unit", instruction.row().mnemonic),
    }
}

/// Moves `block` lanes at a time up by `by` blocks within every group of `group` lanes.
fn shift(value: &[u8], out: &mut [u8], group: usize, block: usize, by: i32, edge: Edge) {
    let blocks = (group / block) as i32;
    for (source, target) in value.chunks_exact(group).zip(out.chunks_exact_mut(group)) {
        for index in 0..blocks {
            let from = index - by;
            let cells = &mut target[index as usize * block..(index as usize + 1) * block];
            let from = match edge {
                Edge::Wrap => from.rem_euclid(blocks),
                Edge::Zero if (0..blocks).contains(&from) => from,
                Edge::Zero => {
                    cells.fill(0);
                    continue;
                }
            };
            cells.copy_from_slice(&source[from as usize * block..(from as usize + 1) * block]);
        }
    }
}

/// Transposes the 16x16 block of every superlane: `value` and `out` hold sixteen vectors one after another.
fn transpose(value: &[u8], out: &mut [u8], lanes: usize) {
    for superlane in (0..lanes).step_by(16) {
        for stream in 0..16 {
            for lane in 0..16 {
                out[lane * lanes + superlane + stream] = value[stream * lanes + superlane + lane];
            }
        }
    }
}
