//! The instruction table. One row defines an instruction: mnemonic, opcode, unit, delay class, operands,
//! and one sentence of meaning. Types, codec, assembler, reference page and generators follow from it.

use smallvec::SmallVec;
use thiserror::Error;

use crate::operand::{
    Accumulator, Arithmetic, BlockSide, Count, Edge, Format, GroupWidth, Kind, LoadFormat, Mode, Number, Operand,
    Orientation, PassFormat, Row, Shift, Source, Stream, Stride, Superlanes, Target, WindowBits, Word,
};
use crate::unit::Unit;

/// Names a delay of the chip description: dispatch to effect at the unit's own position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DelayClass {
    /// No effect outside the queue itself.
    None,
    /// Instruction fetch, dispatch to the earliest issue of what it brings.
    IcuFetch,
    /// Notify to sync.
    IcuBarrier,
    /// MEM read.
    MemRead,
    /// MEM write.
    MemWrite,
    /// MEM gather.
    MemGather,
    /// MEM scatter.
    MemScatter,
    /// VXM simple operation.
    VxmSimple,
    /// VXM exp, tanh, rsqrt, reciprocal.
    VxmSpecial,
    /// SXM within a superlane.
    SxmLocal,
    /// SXM across superlanes.
    SxmAcross,
    /// MXM load of weight rows into the buffer.
    MxmLoad,
    /// MXM install of the buffer into the array.
    MxmInstall,
    /// MXM pass, activation in to result out.
    MxmPass,
    /// MXM accumulate.
    MxmAccumulate,
    /// Link, send to the earliest receive at the other end.
    C2cLink,
    /// C2C receive.
    C2cReceive,
}

impl DelayClass {
    /// The name in the chip description and in the reference page.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DelayClass::None => "none",
            DelayClass::IcuFetch => "icu_fetch",
            DelayClass::IcuBarrier => "icu_barrier",
            DelayClass::MemRead => "mem_read",
            DelayClass::MemWrite => "mem_write",
            DelayClass::MemGather => "mem_gather",
            DelayClass::MemScatter => "mem_scatter",
            DelayClass::VxmSimple => "vxm_simple",
            DelayClass::VxmSpecial => "vxm_special",
            DelayClass::SxmLocal => "sxm_local",
            DelayClass::SxmAcross => "sxm_across",
            DelayClass::MxmLoad => "mxm_load",
            DelayClass::MxmInstall => "mxm_install",
            DelayClass::MxmPass => "mxm_pass",
            DelayClass::MxmAccumulate => "mxm_accumulate",
            DelayClass::C2cLink => "c2c_link",
            DelayClass::C2cReceive => "c2c_receive",
        }
    }
}

/// Where an instruction comes from. Encodings, delays and everything about operands that the papers leave open are
/// assumed for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Named in the published instruction set (ISCA 2020, Table I).
    Published,
    /// Ours, within a published class of operations such as "unary" or "binary" of the VXM.
    Assumed,
}

impl Origin {
    /// The tag in the reference page.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Published => "published",
            Origin::Assumed => "assumed",
        }
    }
}

/// One operand of a row: its name and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperandRow {
    /// The operand's name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRow {
    /// The mnemonic in text.
    pub mnemonic: &'static str,
    /// The opcode in the binary encoding.
    pub opcode: u8,
    /// The unit that executes it.
    pub unit: Unit,
    /// Where the instruction comes from.
    pub origin: Origin,
    /// The delay class.
    pub delay: DelayClass,
    /// Operands in written and encoded order.
    pub operands: &'static [OperandRow],
    /// The operand that a Repeat strides over, by index.
    pub strided: Option<usize>,
    /// What it does.
    pub meaning: &'static str,
}

impl TableRow {
    /// Width of opcode, pair flag and operands together, in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        9 + self.operands.iter().map(|operand| operand.kind.width()).sum::<usize>()
    }

    /// The row of a mnemonic.
    #[must_use]
    pub fn by_mnemonic(mnemonic: &str) -> Option<&'static TableRow> {
        TABLE.iter().find(|row| row.mnemonic == mnemonic)
    }

    /// The row of an opcode.
    #[must_use]
    pub fn by_opcode(opcode: u8) -> Option<&'static TableRow> {
        TABLE.iter().find(|row| row.opcode == opcode)
    }
}

/// Operand values as bits, in the order of the row.
pub type OperandBits = SmallVec<[u64; 5]>;

const fn strided_index(operands: &[OperandRow], kind: Option<Kind>) -> Option<usize> {
    let Some(kind) = kind else { return None };
    let mut index = 0;
    while index < operands.len() {
        if operands[index].kind as u8 == kind as u8 {
            return Some(index);
        }
        index += 1;
    }
    None
}

macro_rules! instructions {
    ($(
        $unit:ident $origin:ident $delay:ident $opcode:literal $mnemonic:literal
        $variant:ident { $($operand:ident: $type:ident $([$($use:tt)+])?),* $(,)? }
        $(strides $strided:ident)?, $meaning:literal;
    )*) => {
        /// An instruction with its operands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "operands are documented by the table's meaning column")]
        pub enum Instruction {
            $(#[doc = $meaning] $variant { $($operand: $type),* }),*
        }

        /// Every instruction, one row each.
        pub static TABLE: &[TableRow] = &[$({
            const OPERANDS: &[OperandRow] =
                &[$(OperandRow { name: stringify!($operand), kind: <$type as Operand>::KIND }),*];
            TableRow {
                mnemonic: $mnemonic,
                opcode: $opcode,
                unit: Unit::$unit,
                origin: Origin::$origin,
                delay: DelayClass::$delay,
                operands: OPERANDS,
                strided: strided_index(OPERANDS, instructions!(@strided $($strided)?)),
                meaning: $meaning,
            }
        }),*];

        impl Instruction {
            const fn index(&self) -> usize {
                #[repr(usize)]
                enum Index { $($variant),* }
                match self { $(Instruction::$variant { .. } => Index::$variant as usize),* }
            }

            /// The operands as bits, in the order of the row.
            #[must_use]
            pub fn operand_bits(&self) -> OperandBits {
                let mut bits = OperandBits::new();
                match *self {
                    $(Instruction::$variant { $($operand),* } => { $(bits.push($operand.to_bits());)* })*
                }
                bits
            }

            /// The instruction of a row with these operand bits; nothing where an operand has no such value or
            /// their number is wrong. [`Instruction::validate`] says whether the operands fit one another.
            #[must_use]
            pub fn from_bits(opcode: u8, bits: &[u64]) -> Option<Self> {
                let mut bits = bits.iter().copied();
                let instruction = match opcode {
                    $($opcode => Instruction::$variant {
                        $($operand: <$type as Operand>::from_bits(bits.next()?)?),*
                    },)*
                    _ => return None,
                };
                bits.next().is_none().then_some(instruction)
            }

            /// The stream groups it touches, inputs first, in operand order.
            #[must_use]
            #[inline]
            pub fn streams(&self) -> SmallVec<[StreamUse; 4]> {
                let mut uses = SmallVec::new();
                match *self {
                    $(Instruction::$variant { $($operand),* } => {
                        $(instructions!(@taken uses $operand $($($use)+)?);)*
                        $(instructions!(@fed uses $operand $($($use)+)?);)*
                    })*
                }
                uses
            }

            /// Where an ALU operation takes its operands, in operand order, each with the number of streams that it
            /// takes when it is a stream group; nothing for other instructions.
            #[must_use]
            #[inline]
            pub fn sources(&self) -> SmallVec<[(Source, u8); 3]> {
                let mut sources = SmallVec::new();
                match *self {
                    $(Instruction::$variant { $($operand),* } => {
                        if matches!(Unit::$unit, Unit::Vxm) {
                            $(instructions!(@source sources $operand $($($use)+)?);)*
                        }
                    })*
                }
                sources
            }

            /// An ALU operation without where its operands come from and where its result goes: what it does to its
            /// sources. Other instructions stay as they are.
            #[must_use]
            pub fn bare(mut self) -> Self {
                if self.row().unit == Unit::Vxm {
                    match &mut self {
                        $(Instruction::$variant { $($operand),* } => { $($operand.clear();)* })*
                    }
                }
                self
            }
        }
    };
    (@strided) => { None };
    (@strided $kind:ident) => { Some(Kind::$kind) };
    (@taken $uses:ident $operand:ident in $width:expr) => {
        if let Some(Source::Stream(first)) = $operand.place() {
            $uses.push(StreamUse { first, width: $width, flow: Flow::In });
        }
    };
    (@fed $uses:ident $operand:ident out $width:expr) => {
        if let Some(Source::Stream(first)) = $operand.place() {
            $uses.push(StreamUse { first, width: $width, flow: Flow::Out });
        }
    };
    (@source $sources:ident $operand:ident in $width:expr) => {
        if let Some(place) = $operand.place() {
            $sources.push((place, $width));
        }
    };
    (@$list:ident $uses:ident $operand:ident $($other:tt)*) => { let _ = $operand; };
}

instructions! {
    Icu Published None 0x01 "nop" Nop { count: Count },
        "Issues nothing for `count` cycles.";
    Icu Published None 0x02 "repeat" Repeat { count: Count, distance: Count, stride: Stride },
        "Issues the instruction before it `count` more times, `distance` cycles apart, its strided operand growing by \
        `stride` each time; takes no cycle of its own.";
    Icu Published IcuFetch 0x03 "ifetch" Ifetch { src: Stream [in 2] },
        "Takes the two vectors on stream pair `src`, words of `code` regions, and appends the instructions that they \
        hold to this queue; issues in the cycle of the instruction after it and takes none of its own.";
    Icu Published None 0x04 "sync" Sync {},
        "Parks the queue until a notify of the same chip reaches it; the next instruction issues in that cycle.";
    Icu Published IcuBarrier 0x05 "notify" Notify {},
        "Reaches every queue of the chip that is parked by a sync.";
    Icu Published None 0x06 "config" Config { superlanes: Superlanes },
        "Powers down all but the first `superlanes` superlanes for the later instructions of this queue: what they \
        take and put is zero there.";

    Mem Published MemRead 0x10 "read" Read { word: Word, dst: Stream [out 1] } strides Word,
        "Puts `word` on stream `dst`; the word is accessed at dispatch.";
    Mem Published MemWrite 0x11 "write" Write { word: Word, src: Stream [in 1] } strides Word,
        "Takes the value passing on `src` at dispatch into `word`; the word is accessed when it lands.";
    Mem Published MemGather 0x12 "gather" Gather {
        dst: Stream [out 1], map: Stream [in 2], base: Word, bits: WindowBits,
    } strides Word,
        "Takes an unsigned 16-bit address from lane 0 of stream pair `map` at dispatch and puts word `base + (address \
        mod 2^bits)` on `dst`.";
    Mem Published MemScatter 0x13 "scatter" Scatter {
        src: Stream [in 1], map: Stream [in 2], base: Word, bits: WindowBits,
    } strides Word,
        "Takes the value on `src` and an unsigned 16-bit address from lane 0 of stream pair `map` at dispatch and \
        writes word `base + (address mod 2^bits)`.";

    Vxm Published VxmSimple 0x20 "add" Add {
        arithmetic: Arithmetic,
        dst: Target [out arithmetic.bytes()],
        a: Source [in arithmetic.bytes()],
        b: Source [in arithmetic.bytes()],
    },
        "a + b in every lane.";
    Vxm Assumed VxmSimple 0x21 "sub" Sub {
        arithmetic: Arithmetic,
        dst: Target [out arithmetic.bytes()],
        a: Source [in arithmetic.bytes()],
        b: Source [in arithmetic.bytes()],
    },
        "a - b in every lane.";
    Vxm Published VxmSimple 0x22 "mul" Mul {
        arithmetic: Arithmetic,
        dst: Target [out arithmetic.bytes()],
        a: Source [in arithmetic.bytes()],
        b: Source [in arithmetic.bytes()],
    },
        "a * b in every lane.";
    Vxm Assumed VxmSimple 0x23 "max" Max { number: Number, dst: Target [out 4], a: Source [in 4], b: Source [in 4] },
        "The larger of a and b in every lane; a NaN gives a NaN.";
    Vxm Assumed VxmSimple 0x24 "min" Min { number: Number, dst: Target [out 4], a: Source [in 4], b: Source [in 4] },
        "The smaller of a and b in every lane; a NaN gives a NaN.";
    Vxm Assumed VxmSimple 0x25 "negate" Negate {
        arithmetic: Arithmetic, dst: Target [out arithmetic.bytes()], a: Source [in arithmetic.bytes()],
    },
        "-a in every lane.";
    Vxm Assumed VxmSimple 0x26 "abs" Abs {
        arithmetic: Arithmetic, dst: Target [out arithmetic.bytes()], a: Source [in arithmetic.bytes()],
    },
        "The magnitude of a in every lane.";
    Vxm Published VxmSimple 0x27 "relu" Relu { number: Number, dst: Target [out 4], a: Source [in 4] },
        "The larger of a and zero in every lane.";
    Vxm Assumed VxmSimple 0x28 "greater" Greater {
        number: Number, dst: Target [out 4], a: Source [in 4], b: Source [in 4],
    },
        "Integer 1 in every lane where a > b, else 0.";
    Vxm Assumed VxmSimple 0x29 "equal" Equal {
        number: Number, dst: Target [out 4], a: Source [in 4], b: Source [in 4],
    },
        "Integer 1 in every lane where a = b, else 0.";
    Vxm Assumed VxmSimple 0x2a "mask" Mask { dst: Target [out 4], condition: Source [in 4], a: Source [in 4] },
        "The bits of a in every lane where any bit of `condition` is set, else zero.";
    Vxm Assumed VxmSimple 0x2b "select" Select {
        dst: Target [out 4], condition: Source [in 4], a: Source [in 4], b: Source [in 4],
    },
        "The bits of a in every lane where any bit of `condition` is set, else those of b.";
    Vxm Published VxmSimple 0x2c "convert" Convert {
        from: Format, to: Format, dst: Target [out to.bytes()], a: Source [in from.bytes()],
    },
        "a, read as `from`, in format `to`: rounded to nearest, ties to even, integers saturating.";
    Vxm Published VxmSpecial 0x30 "exp" Exp { dst: Target [out 4], a: Source [in 4] },
        "e^a in every lane, binary32.";
    Vxm Published VxmSpecial 0x31 "tanh" Tanh { dst: Target [out 4], a: Source [in 4] },
        "Hyperbolic tangent of a in every lane, binary32.";
    Vxm Published VxmSpecial 0x32 "rsqrt" Rsqrt { dst: Target [out 4], a: Source [in 4] },
        "1 / sqrt(a) in every lane, binary32.";
    Vxm Assumed VxmSpecial 0x33 "reciprocal" Reciprocal { dst: Target [out 4], a: Source [in 4] },
        "1 / a in every lane, binary32.";

    Mxm Published MxmLoad 0x40 "lw" Lw {
        src: Stream [in 16], row: Row, orientation: Orientation, format: LoadFormat,
    } strides Row,
        "Takes the 16 streams from `src` as rows `row` to `row + 15` of the plane's weight buffer; `widen` converts \
        int8 exactly to fp16 and fills these rows of both planes of the pair, low bytes in the even, high bytes in \
        the odd plane. With `out` a row holds the weights of one output, with `in` those of one input.";
    Mxm Published MxmInstall 0x41 "iw" Iw { rows: Row },
        "Installs the buffer's rows 0 to `rows - 1` into the array, all other weights zero, and empties the buffer; \
        the buffer is sampled at dispatch.";
    Mxm Published MxmPass 0x42 "abc" Abc { format: PassFormat, src: Stream [in format.streams()], dst: Target [out 4] },
        "Passes the activation on `src` (`f16`: a pair) through the array; 32-bit results leave on `dst`, or with `_` \
        wait at the result port for `acc` in that same cycle.";
    Mxm Published MxmAccumulate 0x43 "acc" Acc { accumulator: Accumulator, mode: Mode, dst: Target [out 4] },
        "Takes the result at the port into `accumulator` and, with a `dst`, puts the new sum on it.";

    Sxm Published SxmLocal 0x50 "shift_lanes" ShiftLanes {
        width: GroupWidth, src: Stream [in width.streams()], dst: Stream [out width.streams()], by: Shift, edge: Edge,
    },
        "Moves every value of `src` up by `by` lanes within its superlane.";
    Sxm Published SxmAcross 0x51 "shift_superlanes" ShiftSuperlanes {
        width: GroupWidth, src: Stream [in width.streams()], dst: Stream [out width.streams()], by: Shift, edge: Edge,
    },
        "Moves every value of `src` up by `by` superlanes.";
    Sxm Published SxmLocal 0x52 "transpose" Transpose { src: Stream [in 16], dst: Stream [out 16] },
        "Transposes each superlane's 16x16 block: lane i of stream `src + j` goes to lane j of stream `dst + i`.";
    Sxm Published SxmAcross 0x53 "permute" Permute {
        width: GroupWidth, src: Stream [in width.streams()], map: Stream [in 2], dst: Stream [out width.streams()],
    },
        "Lane i of `dst` is the lane of `src` that lane i of stream pair `map` numbers (unsigned, 16 bits); zero \
        where there is no such lane, or a lower lane of `dst` has it already.";
    Sxm Published SxmLocal 0x54 "distribute" Distribute {
        width: GroupWidth, src: Stream [in width.streams()], map: Stream [in 1], dst: Stream [out width.streams()],
    },
        "Lane i of `dst` is the lane of `src` within the same superlane that lane i of stream `map` numbers; zero \
        where the number exceeds 15.";
    Sxm Published SxmLocal 0x55 "rotate" Rotate {
        side: BlockSide, src: Stream [in 1], dst: Stream [out side.streams()],
    },
        "Reads the first `side * side` lanes of each superlane of `src` as a block, row after row; stream `dst + side \
        * i + j` is the block with rows moved up by i and columns moved left by j, cyclically, and zero in the other \
        lanes.";
    Sxm Published SxmLocal 0x56 "select_lanes" SelectLanes {
        width: GroupWidth,
        a: Stream [in width.streams()],
        b: Stream [in width.streams()],
        mask: Stream [in 1],
        dst: Stream [out width.streams()],
    },
        "Lane i of `dst` is that of `a` where lane i of stream `mask` is not zero, else that of `b`.";

    C2c Published C2cLink 0x60 "send" Send { src: Stream [in 1] },
        "Sends the vector on `src` over the queue's link; it waits at the other end, after those sent before it, \
        from its arrival on.";
    C2c Published C2cReceive 0x61 "receive" Receive { dst: Stream [out 1] },
        "Puts the vector that waits longest at the queue's link on `dst`.";
    C2c Published None 0x62 "deskew" Deskew {},
        "Parks the queue until the counter that the chips of a system share next overflows; the next instruction \
        issues in that cycle.";
}

/// Whether a stream group is taken or fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Read at dispatch.
    In,
    /// Written when the effect lands.
    Out,
}

/// A stream group that an instruction touches at its unit's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamUse {
    /// First stream of the group.
    pub first: Stream,
    /// Number of streams.
    pub width: u8,
    /// Taken or fed.
    pub flow: Flow,
}

/// Operands that do not fit one another, whatever the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// A group of streams starts at a number that the least power of two not below its width does not divide.
    #[error("stream {stream} starts a group of {width}, so its number must be a multiple of {alignment}")]
    Alignment {
        /// First stream of the group.
        stream: Stream,
        /// Number of streams.
        width: u8,
        /// What must divide the number.
        alignment: u8,
    },
    /// A group of streams runs past number 127.
    #[error("the group of {width} streams from {stream} runs past number 127")]
    PastEnd {
        /// First stream of the group.
        stream: Stream,
        /// Number of streams.
        width: u8,
    },
    /// A weight row that is not a multiple of 16, or an install of no rows.
    #[error("{rows} rows: a plane loads and installs rows in sixteens")]
    Rows {
        /// The rows given.
        rows: u16,
    },
}

impl Instruction {
    /// The instruction's row of the table.
    #[must_use]
    pub fn row(&self) -> &'static TableRow {
        &TABLE[self.index()]
    }

    /// Whether the operands fit one another, whatever the chip.
    ///
    /// # Errors
    /// [`Malformed`] names the operand that does not fit.
    pub fn validate(&self) -> Result<(), Malformed> {
        for StreamUse { first, width, .. } in self.streams() {
            let alignment = width.next_power_of_two();
            if first.number() % alignment != 0 {
                return Err(Malformed::Alignment { stream: first, width, alignment });
            }
            if u32::from(first.number()) + u32::from(width) > 128 {
                return Err(Malformed::PastEnd { stream: first, width });
            }
        }
        match *self {
            Instruction::Lw { row: Row(rows), .. } if rows % 16 != 0 => Err(Malformed::Rows { rows }),
            Instruction::Iw { rows: Row(rows) } if rows == 0 || rows % 16 != 0 => Err(Malformed::Rows { rows }),
            _ => Ok(()),
        }
    }

    /// The instruction as its `times`-th repetition issues it: the strided operand moves by `times * stride`,
    /// modulo the operand's width.
    #[must_use]
    pub fn strided(&self, stride: Stride, times: u32) -> Self {
        let step = i64::from(stride.0) * i64::from(times);
        let move_word = |word: Word| Word(((i64::from(word.0) + step) & 0xff_ffff) as u32);
        let mut moved = *self;
        match &mut moved {
            Instruction::Read { word, .. } | Instruction::Write { word, .. } => *word = move_word(*word),
            Instruction::Gather { base, .. } | Instruction::Scatter { base, .. } => *base = move_word(*base),
            Instruction::Lw { row, .. } => *row = Row(((i64::from(row.0) + step) & 0xffff) as u16),
            _ => {}
        }
        moved
    }
}
