//! The scenes that programs are composed of.

use lpu::isa::{
    Accumulator, BlockSide, Edge, Format, GroupWidth, Instruction, Kind, LoadFormat, Mode, Operand, OperandRow,
    Orientation, PassFormat, PlanePort, Queue, Row, Shift, SliceId, Source, Stream, Superlanes, TABLE, TableRow, Unit,
    WindowBits, Word,
};

use crate::memory::KNOWN;
use crate::stage::{FRESH, Stage, plane};

/// Plays one scene. The first scenes of a program are of every kind in turn, so that most programs have every unit.
pub(crate) fn play(stage: &mut Stage<'_>, number: usize, fetched: Option<Queue>) {
    let kind = if number < 6 { number } else { stage.dice.below(7) };
    match kind {
        0 => passes(stage),
        1 => chain(stage, fetched),
        2 => switch(stage),
        3 => link(stage),
        4 => addresses(stage),
        5 => copy(stage),
        _ => transpose(stage),
    }
}

/// A word to another slice of the side, and once more from there.
fn copy(stage: &mut Stage<'_>) {
    let (side, out) = stage.side();
    let outward = stage.dice.below(2) == 0;
    let (near, far) = (stage.slices(side, 0..8, 1)[0], stage.slices(side, 12..20, 1)[0]);
    let (from, to) = if outward { (near, far) } else { (far, near) };
    let stream = stage.group(out, outward, 1);
    let read = Instruction::Read { word: Word(stage.pick(&KNOWN)), dst: stream };
    let put = stage.start + stage.delay(&read);
    stage.cue(from.queue(), stage.start, read);
    let distance = u64::from(stage.chip.slice_position(from).abs_diff(stage.chip.slice_position(to)));
    let word = Word(stage.pick(&FRESH));
    let write = Instruction::Write { word, src: stream };
    stage.cue(to.queue(), put + distance, write);
    if stage.dice.below(2) == 0 {
        let late = put + distance + stage.delay(&write) + 1 + stage.dice.below(3) as u64;
        let back = stage.group(out, !outward, 1);
        stage.cue(to.queue(), late, Instruction::Read { word, dst: back });
    }
    if stage.dice.below(3) == 0 {
        let count = Superlanes(1 + stage.dice.below(4) as u16);
        stage.cue(to.queue(), put + distance - 1, Instruction::Config { superlanes: count });
    }
}

/// Operations one after another, through streams and latches.
fn chain(stage: &mut Stage<'_>, fetched: Option<Queue>) {
    let (side, out) = stage.side();
    let src = stage.group(out, false, 4);
    let slices = stage.slices(side, 0..20, 4);
    let at = stage.start;
    stage.read(&slices, src, 0, at);
    let alus: Vec<u8> = {
        let first = stage.dice.below(12) as u8;
        (0..3).map(|step| first + step).collect()
    };
    let last = fetched.filter(|_| at > 60);
    let one = operation(stage, Source::Stream(src));
    stage.cue(Queue::Vxm(u16::from(alus[0])), at, one);
    let ready = at + stage.delay(&one);
    let two = operation(stage, Source::Latch(alus[0]));
    stage.cue(Queue::Vxm(u16::from(alus[1])), ready, two);
    let ready = ready + stage.delay(&two);
    let (back, away) = stage.side();
    let dst = stage.group(away, true, 4);
    let three = Instruction::Convert {
        from: Format::F32,
        to: stage.pick(Format::ALL),
        dst: Some(dst),
        a: Source::Latch(alus[1]),
    };
    stage.cue(last.unwrap_or(Queue::Vxm(u16::from(alus[2]))), ready, three);
    let width = match three {
        Instruction::Convert { to, .. } => usize::from(to.bytes()),
        _ => 0,
    };
    let targets = stage.slices(back, 0..20, width);
    stage.write(&targets, dst, 0, ready + stage.delay(&three));
}

/// Any ALU operation of the table that takes `a` first, four streams of it if it is a stream, and leaves its result in
/// the latch.
fn operation(stage: &mut Stage<'_>, a: Source) -> Instruction {
    let rows: Vec<&TableRow> = TABLE.iter().filter(|row| row.unit == Unit::Vxm).collect();
    loop {
        let row = stage.pick(&rows);
        let mut first = Some(a);
        let mut bits = |operand: &OperandRow| match operand.kind {
            Kind::Target => 0,
            Kind::Source => first.take().unwrap_or(Source::Immediate(0x3fc0_0000)).to_bits(),
            kind => stage.dice.roll() & ((1 << kind.width()) - 1),
        };
        let bits: Vec<u64> = row.operands.iter().map(&mut bits).collect();
        let drawn = Instruction::from_bits(row.opcode, &bits)
            .filter(|drawn| drawn.streams().iter().all(|used| used.width == 4));
        if let Some(drawn) = drawn {
            return drawn;
        }
    }
}

/// Weights into a plane or a pair, one or two passes, results straight out or through an accumulator.
fn passes(stage: &mut Stage<'_>) {
    let (side, out) = stage.side();
    let at = stage.start + 12;
    let position = stage.chip.mxm_position(side);
    let sources: Vec<SliceId> = (0..16).map(|index| SliceId { side, index }).collect();
    let src = stage.group(out, true, 16);
    let orientation = stage.pick(Orientation::ALL);
    let loads = 1 + stage.dice.below(3) as u64;
    let format = stage.pick(PassFormat::ALL);
    let number = if format == PassFormat::F16 { 0 } else { stage.dice.below(2) as u16 };
    let fill = if format == PassFormat::F16 { LoadFormat::Widen } else { LoadFormat::Bytes };
    // Rows go on passing for two cycles: a load at another time finds some.
    for extra in loads..loads + 2 {
        stage.read(&sources, src, position, at + extra);
    }
    for load in 0..loads {
        stage.read(&sources, src, position, at + load);
        let lw = Instruction::Lw { src, row: Row(16 * load as u16), orientation, format: fill };
        stage.cue(plane(side, number, PlanePort::Load), at + load, lw);
    }
    let rows = Row(16 * loads as u16);
    let install = at + loads + stage.dice.below(2) as u64;
    let planes = if format == PassFormat::F16 { 0..2 } else { number..number + 1 };
    for plane_number in planes {
        stage.cue(plane(side, plane_number, PlanePort::Install), install, Instruction::Iw { rows });
    }
    let first = install + u64::from(stage.chip.values().mxm_install);
    let width = if format == PassFormat::F16 { 2 } else { 1 };
    let held = stage.dice.below(3) > 0;
    let accumulator = Accumulator(stage.dice.below(2) as u8);
    let activation = stage.group(out, true, width);
    let slices: Vec<SliceId> = (0..u16::from(width)).map(|index| SliceId { side, index: 16 + index }).collect();
    let passes = 1 + stage.dice.below(3) as u64;
    for at in first - 1..first + passes * u64::from(width) + 1 {
        stage.read(&slices, activation, position, at);
    }
    for pass in 0..passes {
        let at = first + pass * u64::from(width);
        let dst = stage.group(out, false, 4);
        let abc = Instruction::Abc { format, src: activation, dst: (!held).then_some(dst) };
        stage.cue(plane(side, number, PlanePort::Activate), at, abc);
        let landed = at + stage.delay(&abc);
        let targets = stage.slices(side, 0..20, 4);
        if held {
            let mode = if pass == 0 { Mode::Set } else { Mode::Add };
            let acc = Instruction::Acc { accumulator, mode, dst: Some(dst) };
            stage.cue(plane(side, number, PlanePort::Accumulate), landed, acc);
            stage.write(&targets, dst, position, landed + stage.delay(&acc));
        } else {
            stage.write(&targets, dst, position, landed);
        }
    }
}

/// Something that a switch unit does within a group of streams.
fn switch(stage: &mut Stage<'_>) {
    let (side, out) = stage.side();
    let position = stage.chip.sxm_position(side);
    let at = stage.start + 10;
    let width = stage.pick(GroupWidth::ALL);
    let streams = width.streams();
    let src = stage.group(out, true, streams);
    let dst = stage.group(out, false, streams);
    let slices = stage.slices(side, 0..12, usize::from(streams));
    stage.read(&slices, src, position, at);
    let other = out.stream(true, (src.number() + 8) % 32 / 4 * 4);
    let shift = |stage: &mut Stage<'_>, most: usize| Shift(stage.dice.below(2 * most + 1) as i16 - most as i16);
    let edge = stage.pick(Edge::ALL);
    let instruction = match stage.dice.below(6) {
        0 => Instruction::ShiftLanes { width, src, dst, by: shift(stage, 15), edge },
        1 => Instruction::ShiftSuperlanes { width, src, dst, by: shift(stage, 3), edge },
        2 => {
            let maps = stage.slices(side, 12..20, 2);
            stage.read(&maps, other, position, at);
            Instruction::Permute { width, src, map: other, dst }
        }
        3 => {
            let maps = stage.slices(side, 12..20, 1);
            stage.read(&maps, other, position, at);
            Instruction::Distribute { width, src, map: other, dst }
        }
        4 => Instruction::Rotate { side: stage.pick(BlockSide::ALL), src, dst: stage.group(out, false, 16) },
        _ => {
            let masks = stage.slices(side, 12..20, 1);
            stage.read(&masks, other, position, at);
            Instruction::SelectLanes { width, a: src, b: src, mask: other, dst }
        }
    };
    let unit = stage.dice.below(7) as u16;
    stage.cue(Queue::Sxm(side, unit), at, instruction);
    let targets = stage.slices(side, 0..20, usize::from(streams));
    let dst = match instruction {
        Instruction::Rotate { dst, .. } => dst,
        _ => dst,
    };
    stage.write(&targets, dst, position, at + stage.delay(&instruction));
}

/// Sixteen streams through a transposer.
fn transpose(stage: &mut Stage<'_>) {
    let (side, out) = stage.side();
    let position = stage.chip.sxm_position(side);
    let at = stage.start + 10;
    let (src, dst) = (stage.group(out, true, 16), stage.group(out, false, 16));
    let sources: Vec<SliceId> = (0..16).map(|index| SliceId { side, index }).collect();
    stage.read(&sources, src, position, at);
    let transpose = Instruction::Transpose { src, dst };
    let unit = stage.dice.below(2) as u16;
    stage.cue(Queue::Sxm(side, unit), at, transpose);
    let targets = stage.slices(side, 0..20, 5);
    stage.write(&targets, dst, position, at + stage.delay(&transpose));
}

/// An address from one word, a word from that address and a word to that address.
fn addresses(stage: &mut Stage<'_>) {
    let (side, out) = stage.side();
    let map = stage.group(out, true, 2);
    let near = stage.slices(side, 0..4, 2);
    let target = stage.slices(side, 8..20, 1)[0];
    let position = stage.chip.slice_position(target);
    let at = stage.start + 10;
    stage.read(&near, map, position, at);
    let bits = WindowBits(stage.dice.below(3) as u8);
    if stage.dice.below(2) == 0 {
        let dst = stage.group(out, false, 1);
        let gather = Instruction::Gather { dst, map, base: Word(stage.pick(&[0, 256])), bits };
        stage.cue(target.queue(), at, gather);
        let near = stage.slices(side, 0..4, 1);
        stage.write(&near, dst, position, at + stage.delay(&gather));
    } else {
        let src = out.stream(true, (map.number() + 6) % 32);
        let data = stage.slices(side, 4..8, 1);
        stage.read(&data, src, position, at);
        let base = Word(stage.pick(&FRESH));
        stage.cue(target.queue(), at, Instruction::Scatter { src, map, base, bits });
    }
}

/// A vector or two to the other chip.
fn link(stage: &mut Stage<'_>) {
    let side = lpu::isa::Hemisphere::East;
    let source = stage.slices(side, 0..20, 1);
    let position = stage.chip.mxm_position(side);
    let at = stage.start + 12;
    let stream = Stream::east(stage.dice.below(32) as u8);
    let count = 1 + stage.dice.below(2) as u64;
    let interval = u64::from(stage.chip.values().c2c_interval) + stage.dice.below(3) as u64;
    for at in at - 1..at + count * interval {
        stage.read(&source, stream, position, at);
    }
    for vector in 0..count {
        stage.cue(Queue::C2c(0), at + vector * interval, Instruction::Send { src: stream });
    }
    stage.at = 1;
    let arrival = at + u64::from(stage.chip.values().c2c_link);
    let back = Stream::west(stage.dice.below(32) as u8);
    let target = stage.slices(side, 0..4, 1);
    for vector in 0..count {
        let receive = Instruction::Receive { dst: back };
        let at = arrival + vector * interval + stage.dice.below(2) as u64;
        stage.cue(Queue::C2c(1), at, receive);
        stage.write(&target, back, position, at + stage.delay(&receive));
    }
}
