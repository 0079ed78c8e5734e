//! What the switch units do to the lanes of vectors.

use lpu_isa::{Edge, Instruction};

/// What a switch unit makes of its source streams, which are one after another in `value` in the order of
/// [`Instruction::streams`], as do the resulting streams in `out`.
///
/// # Panics
/// When the instruction is none of a switch unit's.
pub fn switch(instruction: &Instruction, value: &[u8], out: &mut [u8], lanes: usize) {
    match *instruction {
        Instruction::ShiftLanes { by, edge, .. } => shift(value, out, 16, 1, i32::from(by.0), edge),
        Instruction::ShiftSuperlanes { by, edge, .. } => shift(value, out, lanes, 16, i32::from(by.0), edge),
        Instruction::Transpose { .. } => transpose(value, out, lanes),
        Instruction::Permute { .. } => permute(value, out, lanes),
        Instruction::Distribute { .. } => distribute(value, out, lanes),
        Instruction::Rotate { side, .. } => rotate(value, out, lanes, usize::from(side.side())),
        Instruction::SelectLanes { .. } => select(value, out, lanes),
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

/// `value` is the source streams and the map's two bytes.
fn permute(value: &[u8], out: &mut [u8], lanes: usize) {
    let (source, map) = value.split_at(out.len());
    let mut taken = vec![false; lanes];
    out.fill(0);
    for lane in 0..lanes {
        let from = usize::from(map[lane]) | usize::from(map[lanes + lane]) << 8;
        if from < lanes && !std::mem::replace(&mut taken[from], true) {
            for (source, target) in source.chunks_exact(lanes).zip(out.chunks_exact_mut(lanes)) {
                target[lane] = source[from];
            }
        }
    }
}

/// `value` is the source streams and the map.
fn distribute(value: &[u8], out: &mut [u8], lanes: usize) {
    let (source, map) = value.split_at(out.len());
    for (source, target) in source.chunks_exact(lanes).zip(out.chunks_exact_mut(lanes)) {
        for (lane, cell) in target.iter_mut().enumerate() {
            let from = usize::from(map[lane]);
            *cell = if from < 16 { source[lane / 16 * 16 + from] } else { 0 };
        }
    }
}

fn rotate(value: &[u8], out: &mut [u8], lanes: usize, side: usize) {
    out.fill(0);
    for (rotation, target) in out.chunks_exact_mut(lanes).enumerate() {
        let (up, left) = (rotation / side, rotation % side);
        for (source, target) in value.chunks_exact(16).zip(target.chunks_exact_mut(16)) {
            for (place, cell) in target[..side * side].iter_mut().enumerate() {
                *cell = source[(place / side + up) % side * side + (place % side + left) % side];
            }
        }
    }
}

/// `value` is the streams of both sources and the mask.
fn select(value: &[u8], out: &mut [u8], lanes: usize) {
    let (a, rest) = value.split_at(out.len());
    let (b, mask) = rest.split_at(out.len());
    for (index, cell) in out.iter_mut().enumerate() {
        *cell = if mask[index % lanes] != 0 { a[index] } else { b[index] };
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
