//! Which rules an instruction can break: those of its operands, its streams and its unit. For the reference page, and
//! for tests that hold both detections of faults to it.

use crate::operand::Kind;
use crate::queue::Unit;
use crate::rule::Rule;
use crate::table::{DelayClass, TableRow};

impl TableRow {
    /// The rules that an instruction of this row can break, in order of their numbers. Every item can overflow its
    /// queue.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let has = |kinds: &[Kind]| self.operands.iter().any(|operand| kinds.contains(&operand.kind));
        let named = |name: &str| self.operands.iter().any(|operand| operand.name == name);
        let takes = ["src", "map", "a", "b", "mask", "condition"].into_iter().any(named);
        let feeds = named("dst");
        let (reads, writes) = (
            matches!(self.delay, DelayClass::MemRead | DelayClass::MemGather),
            matches!(self.delay, DelayClass::MemWrite | DelayClass::MemScatter),
        );
        Rule::ALL
            .iter()
            .copied()
            .filter(|rule| match rule {
                // The queue itself may be one that the chip does not have.
                Rule::RangeOverflow | Rule::QueueOverflow => true,
                Rule::PortConflict | Rule::BankConflict => self.unit == Unit::Mem,
                Rule::RegisterEmpty => takes,
                Rule::WordUninitialised => reads,
                Rule::ProtectedWrite => writes,
                Rule::TwoProducers => feeds,
                Rule::AluBookedTwice => self.unit == Unit::Vxm,
                Rule::BufferNotFull => self.mnemonic == "iw",
                Rule::BufferOverwritten => has(&[Kind::LoadFormat]),
                Rule::WeightsMissing => self.delay == DelayClass::MxmPass,
                Rule::PlaneBusy => matches!(self.delay, DelayClass::MxmPass | DelayClass::MxmInstall),
                Rule::AccumulatorMisuse => matches!(self.delay, DelayClass::MxmPass | DelayClass::MxmAccumulate),
                Rule::CyclesMismatch => false,
                Rule::BarrierMissing => self.mnemonic == "sync",
                Rule::ReceiveEarly => self.delay == DelayClass::C2cReceive,
                Rule::LinkBusy => self.delay == DelayClass::C2cLink,
                Rule::FetchNotCode | Rule::FetchInvalid => self.delay == DelayClass::IcuFetch,
            })
            .collect()
    }
}
