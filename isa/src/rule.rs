//! The rules of a legal program, by name and number. The numbers order faults that are observed in the
//! same cycle at the same queue.

use std::fmt;

macro_rules! rules {
    ($($number:literal $variant:ident $name:literal, $text:literal;)*) => {
        /// A rule that a program may break.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = $text] $variant = $number),*
        }

        impl Rule {
            /// All rules in order of their numbers.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant),*];

            /// The short name, as errors and documents use it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Rule::$variant => $name),* }
            }

            /// One sentence that says what the rule forbids.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Rule::$variant => $text),* }
            }

            /// The number that orders faults of one cycle and queue.
            #[must_use]
            pub const fn number(self) -> u8 {
                self as u8
            }
        }
    };
}

rules! {
    1 RangeOverflow "range-overflow", "An operand names a word, stream, lane, row, ALU, accumulator or queue that the \
        chip does not have, or the program a chip that the system does not have.";
    2 QueueOverflow "queue-overflow", "A queue holds more instructions than its depth.";
    3 PortConflict "port-conflict", "Two reads or two writes access one slice in one cycle.";
    4 BankConflict "bank-conflict", "A read and a write access one bank in one cycle.";
    5 RegisterEmpty "register-empty", "A unit reads a stream register or an ALU latch that no producer fed.";
    6 WordUninitialised "word-uninitialised", "A read or gather touches a word that is not initialised.";
    7 ProtectedWrite "protected-write", "A write or scatter touches a word of a const or code region.";
    8 TwoProducers "two-producers", "Two values are put on one stream register in one cycle.";
    9 AluBookedTwice "alu-booked-twice", "Two results of one ALU land in one cycle.";
    10 BufferNotFull "buffer-not-full", "An install finds rows missing, or rows beyond those it installs.";
    11 BufferOverwritten "buffer-overwritten", "A load replaces a row that is not yet installed, or mixes \
        orientations.";
    12 WeightsMissing "weights-missing", "A pass finds no installed weights.";
    13 PlaneBusy "plane-busy", "A pass starts on a plane that another pass occupies, or weights change under a pass.";
    14 AccumulatorMisuse "accumulator-misuse", "An accumulate finds no result or no earlier value of its type, or a \
        held result is not taken.";
    15 CyclesMismatch "cycles-mismatch", "The stated cycle count is not the derived one.";
    16 BarrierMissing "barrier-missing", "A sync waits for a notify that never comes.";
    17 ReceiveEarly "receive-before-arrival", "A receive finds no vector that has arrived.";
    18 LinkBusy "link-busy", "A send starts while the link still carries the vector before it.";
    19 FetchNotCode "fetch-not-code", "An ifetch takes something other than words read from code regions.";
    20 FetchInvalid "fetch-invalid", "What an ifetch takes is no instructions of its queue, or starts with a paired \
        one or a repeat.";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
