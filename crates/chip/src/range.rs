//! Operands that name something the chip does not have.

use crate::chip::Chip;
use lpu_isa::{Accumulator, Fault, Instruction, PassFormat, Queue, Row, Shift, Source, Superlanes, WindowBits, Word};

/// The first operand of an instruction that names something the chip does not have.
#[must_use]
pub fn out_of_range(chip: &Chip, queue: Queue, instruction: &Instruction) -> Option<Fault> {
    let values = chip.values();
    let over = |what, value: i64, limit: i64| Some(Fault::RangeOverflow { what, value, limit });
    for used in instruction.streams() {
        let last = i64::from(used.first.number()) + i64::from(used.width) - 1;
        if last >= i64::from(values.streams) {
            return over("stream", last, i64::from(values.streams));
        }
    }
    for (source, _) in instruction.sources() {
        if let Source::Latch(alu) = source
            && u32::from(alu) >= values.alus
        {
            return over("ALU", i64::from(alu), i64::from(values.alus));
        }
    }
    match *instruction {
        Instruction::Read { word: Word(word), .. } | Instruction::Write { word: Word(word), .. } => {
            (word >= chip.words_per_slice()).then_some(())?;
            over("word", i64::from(word), i64::from(chip.words_per_slice()))
        }
        Instruction::Gather { base: Word(base), bits: WindowBits(bits), .. }
        | Instruction::Scatter { base: Word(base), bits: WindowBits(bits), .. } => {
            let last = u64::from(base) + (1u64 << bits) - 1;
            let bank_end = (u64::from(chip.bank(base)) + 1) * u64::from(values.words_per_bank);
            (base >= chip.words_per_slice() || last >= bank_end).then_some(())?;
            over("window end", last as i64, bank_end.min(u64::from(chip.words_per_slice())) as i64)
        }
        Instruction::Lw { row: Row(row), .. } => {
            let lanes = chip.lanes() as i64;
            (i64::from(row) + 16 > lanes).then_some(())?;
            over("row", i64::from(row) + 15, lanes)
        }
        Instruction::Iw { rows: Row(rows) } => {
            (usize::from(rows) > chip.lanes()).then_some(())?;
            over("rows", i64::from(rows), chip.lanes() as i64)
        }
        Instruction::Abc { format, .. } => match queue {
            Queue::Mxm(_, plane, _) if format == PassFormat::F16 && plane % 2 == 1 => {
                over("even plane of an fp16 pass", i64::from(plane), i64::from(values.planes_per_side))
            }
            _ => None,
        },
        Instruction::Acc { accumulator: Accumulator(accumulator), .. } => {
            (u32::from(accumulator) >= values.accumulators).then_some(())?;
            over("accumulator", i64::from(accumulator), i64::from(values.accumulators))
        }
        Instruction::ShiftLanes { by: Shift(by), .. } => {
            let most = i64::from(values.lanes_per_superlane) - 1;
            (i64::from(by).abs() > most).then_some(())?;
            over("lane shift", i64::from(by), most)
        }
        Instruction::ShiftSuperlanes { by: Shift(by), .. } => {
            let most = i64::from(values.superlanes) - 1;
            (i64::from(by).abs() > most).then_some(())?;
            over("superlane shift", i64::from(by), most)
        }
        Instruction::Transpose { .. } => match queue {
            Queue::Sxm(_, unit) if u32::from(unit) >= values.transposers_per_side => {
                over("transposer", i64::from(unit), i64::from(values.transposers_per_side))
            }
            _ => None,
        },
        Instruction::Add { .. }
        | Instruction::Sub { .. }
        | Instruction::Mul { .. }
        | Instruction::Max { .. }
        | Instruction::Min { .. }
        | Instruction::Negate { .. }
        | Instruction::Abs { .. }
        | Instruction::Relu { .. }
        | Instruction::Greater { .. }
        | Instruction::Equal { .. }
        | Instruction::Mask { .. }
        | Instruction::Select { .. }
        | Instruction::Convert { .. }
        | Instruction::Exp { .. }
        | Instruction::Tanh { .. }
        | Instruction::Rsqrt { .. }
        | Instruction::Reciprocal { .. }
        | Instruction::Permute { .. }
        | Instruction::Distribute { .. }
        | Instruction::Rotate { .. }
        | Instruction::SelectLanes { .. }
        | Instruction::Nop { .. }
        | Instruction::Repeat { .. }
        | Instruction::Ifetch { .. }
        | Instruction::Sync {}
        | Instruction::Notify {}
        | Instruction::Send { .. }
        | Instruction::Receive { .. }
        | Instruction::Deskew {} => None,
        Instruction::Config { superlanes: Superlanes(count) } => {
            (count == 0 || u32::from(count) > values.superlanes).then_some(())?;
            over("superlanes powered", i64::from(count), i64::from(values.superlanes))
        }
    }
}
