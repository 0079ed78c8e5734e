//! What the switch units do, each stated once more as where a lane of the result comes from.

use lpu_isa::{BlockSide, GroupWidth, Instruction, Stream};
use lpu_lanes::switch;

const LANES: usize = 32;
const S: Stream = Stream::east(0);

/// Distinct bytes, never zero.
fn source(streams: usize) -> Vec<u8> {
    (0..streams * LANES).map(|index| (index * 7 % 255) as u8 + 1).collect()
}

fn run(instruction: Instruction, value: &[u8], streams: usize) -> Vec<u8> {
    let mut out = vec![0xaa; streams * LANES];
    switch(&instruction, value, &mut out, LANES);
    out
}

#[test]
fn a_permutation_takes_each_lane_once() {
    let source = source(2);
    let map = |lane: usize| match lane {
        3 => 40,                    // no such lane
        5 => 256 + (LANES - 1 - 4), // the high byte counts
        6 => LANES - 1 - 4,         // taken by lane 4
        _ => LANES - 1 - lane,
    };
    let mut value = source.clone();
    value.extend((0..LANES).map(|lane| map(lane) as u8));
    value.extend((0..LANES).map(|lane| (map(lane) >> 8) as u8));
    let out = run(Instruction::Permute { width: GroupWidth::Two, src: S, map: S, dst: S }, &value, 2);
    for lane in 0..LANES {
        for stream in 0..2 {
            let expected = if [3, 5, 6].contains(&lane) { 0 } else { source[stream * LANES + LANES - 1 - lane] };
            assert_eq!(out[stream * LANES + lane], expected, "lane {lane}");
        }
    }
}

#[test]
fn distribution_stays_within_a_superlane() {
    let source = source(1);
    let mut value = source.clone();
    value.extend((0..LANES).map(|lane| (lane % 18) as u8));
    let out = run(Instruction::Distribute { width: GroupWidth::One, src: S, map: S, dst: S }, &value, 1);
    for lane in 0..LANES {
        let from = lane % 18;
        assert_eq!(out[lane], if from > 15 { 0 } else { source[lane / 16 * 16 + from] }, "lane {lane}");
    }
}

#[test]
fn every_rotation_of_every_block() {
    for side in BlockSide::ALL {
        let n = usize::from(side.side());
        let source = source(1);
        let out = run(Instruction::Rotate { side: *side, src: S, dst: S }, &source, n * n);
        for (stream, lane) in (0..n * n).flat_map(|stream| (0..LANES).map(move |lane| (stream, lane))) {
            let (row, column) = (lane % 16 / n, lane % 16 % n);
            let expected = if row < n {
                source[lane / 16 * 16 + (row + stream / n) % n * n + (column + stream % n) % n]
            } else {
                0
            };
            assert_eq!(out[stream * LANES + lane], expected, "{n}, stream {stream}, lane {lane}");
        }
    }
}

#[test]
fn selection_is_lane_by_lane_in_all_streams() {
    let (a, b) = (source(4), vec![0; 4 * LANES]);
    let mut value = a.clone();
    value.extend(&b);
    value.extend((0..LANES).map(|lane| if lane % 3 == 0 { 0 } else { 0x80 }));
    let out = run(Instruction::SelectLanes { width: GroupWidth::Four, a: S, b: S, mask: S, dst: S }, &value, 4);
    for (index, cell) in out.iter().enumerate() {
        assert_eq!(*cell, if (index % LANES).is_multiple_of(3) { 0 } else { a[index] });
    }
}
