//! Counts of a program's work, for reports.

use lpu_chip::Chip;
use lpu_isa::{DelayClass, Flow, Instruction, PassFormat, Program, Unit, expand};
use lpu_report::{Counts, Units};

/// What a program dispatches, repetitions included.
#[must_use]
pub fn counts(chip: &Chip, program: &Program) -> Counts {
    let mut counts = Counts::default();
    for issue in program.queues.iter().flat_map(|queues| queues.values()).flat_map(|items| expand(items)) {
        let row = issue.instruction.row();
        match (row.unit, row.delay) {
            (Unit::Mem, DelayClass::MemRead | DelayClass::MemGather) => counts.reads += 1,
            (Unit::Mem, _) => counts.writes += 1,
            (Unit::Vxm, _) => counts.alu_issues += 1,
            (Unit::Sxm, _) => counts.switch_issues += 1,
            (Unit::Mxm, DelayClass::MxmLoad) => counts.plane_cycles += 1,
            (Unit::Mxm, DelayClass::MxmPass) => {
                counts.plane_cycles += match issue.instruction {
                    Instruction::Abc { format: PassFormat::F16, .. } => 2 * u64::from(chip.values().mxm_f16_interval),
                    _ => 1,
                };
            }
            _ => {}
        }
        let fed = issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::Out);
        counts.stream_values += fed.map(|used| u64::from(used.width)).sum::<u64>();
    }
    counts
}

/// The units of one chip.
#[must_use]
pub fn units(chip: &Chip) -> Units {
    let values = chip.values();
    Units {
        planes: 2 * u64::from(values.planes_per_side),
        alus: u64::from(values.alus),
        switches: 2 * u64::from(values.sxm_per_side),
        slices: 2 * u64::from(values.slices_per_side),
        streams: 2 * u64::from(values.streams),
    }
}
