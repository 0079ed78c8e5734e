//! Operand types: each is a newtype or a small enum with a fixed width in bits and one written form.

use std::fmt;

/// The largest word address that the format can express (24 bits).
pub const MAX_WORD: u32 = 0xff_ffff;

/// What an operand is: its width in the encoding and its written form follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A stream or the first of an aligned group: `e0`, `w31`.
    Stream,
    /// A stream group that receives a result, or `_` for none.
    Target,
    /// Where an ALU takes a value: stream group `e4`, latch `a3`, or immediate `#0.5`, `#i7`.
    Source,
    /// A word address of a MEM slice.
    Word,
    /// The number of low address bits that a Gather or Scatter takes from its stream, 0 to 16.
    WindowBits,
    /// A row of a plane, or a number of rows.
    Row,
    /// A count from 1 to 65,535.
    Count,
    /// What a Repeat adds to the strided operand at each repetition.
    Stride,
    /// A number format.
    Format,
    /// Kind of arithmetic: `f32`, `sat`, `mod`, and the narrower integers.
    Arithmetic,
    /// Kind of number compared: `f32`, `i32`.
    Number,
    /// How a weight row is: `out` or `in`.
    Orientation,
    /// What a weight load does with its rows: `bytes` or `widen`.
    LoadFormat,
    /// Number format of a pass: `i8` or `f16`.
    PassFormat,
    /// What an accumulator does with a result: `set` or `add`.
    Mode,
    /// An accumulator of a plane.
    Accumulator,
    /// A signed distance in lanes or superlanes.
    Shift,
    /// Number of streams moved together: `1`, `2`, `4`.
    GroupWidth,
    /// What a shift brings in at the edge: `zero` or `wrap`.
    Edge,
    /// Side of a block that is rotated: `3` or `4`.
    BlockSide,
    /// A number of superlanes.
    Superlanes,
}

impl Kind {
    /// Width of the operand in the binary encoding, in bits.
    #[must_use]
    pub const fn width(self) -> usize {
        match self {
            Kind::Stream | Kind::Accumulator => 8,
            Kind::Target => 9,
            Kind::Source => 34,
            Kind::Word => 24,
            Kind::WindowBits => 5,
            Kind::Row | Kind::Count | Kind::Stride | Kind::Shift | Kind::Superlanes => 16,
            Kind::Format | Kind::Arithmetic => 3,
            Kind::GroupWidth => 2,
            Kind::Number
            | Kind::Orientation
            | Kind::LoadFormat
            | Kind::PassFormat
            | Kind::Mode
            | Kind::Edge
            | Kind::BlockSide => 1,
        }
    }
}

impl Kind {
    /// Whether the operand is written as a number.
    #[must_use]
    pub const fn is_number(self) -> bool {
        match self {
            Kind::Word
            | Kind::WindowBits
            | Kind::Row
            | Kind::Count
            | Kind::Stride
            | Kind::Accumulator
            | Kind::Shift
            | Kind::Superlanes => true,
            Kind::Stream
            | Kind::Target
            | Kind::Source
            | Kind::Format
            | Kind::Arithmetic
            | Kind::Number
            | Kind::Orientation
            | Kind::LoadFormat
            | Kind::PassFormat
            | Kind::Mode
            | Kind::GroupWidth
            | Kind::Edge
            | Kind::BlockSide => false,
        }
    }
}

/// A typed operand, held in the low [`Kind::width`] bits of a `u64`.
pub trait Operand: Copy {
    /// What the operand is.
    const KIND: Kind;
    /// The encoded bits.
    fn to_bits(self) -> u64;
    /// The operand, or nothing where no operand has these bits.
    fn from_bits(bits: u64) -> Option<Self>;
    /// The stream, latch or immediate that the operand names; nothing for operands of other kinds, and for a result
    /// that goes on no stream.
    #[inline]
    fn place(self) -> Option<Source> {
        None
    }
    /// Makes the operand name no stream and no latch, if it is of a kind that may.
    fn clear(&mut self) {}
}

/// Direction in which a stream flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Towards larger positions.
    East,
    /// Towards smaller positions.
    West,
}

/// One stream, or the first stream of an aligned group. Encoded as direction (bit 7) and number (bits 0 to 6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream(u8);

impl Stream {
    /// Stream `number` flowing in `direction`; numbers reach 127 in the format, the chip decides how many exist.
    ///
    /// # Panics
    /// When `number` exceeds 127.
    #[must_use]
    pub const fn new(direction: Direction, number: u8) -> Self {
        assert!(number < 128, "stream numbers have 7 bits");
        Self(number | if matches!(direction, Direction::West) { 0x80 } else { 0 })
    }

    /// An eastward stream.
    #[must_use]
    pub const fn east(number: u8) -> Self {
        Self::new(Direction::East, number)
    }

    /// A westward stream.
    #[must_use]
    pub const fn west(number: u8) -> Self {
        Self::new(Direction::West, number)
    }

    /// The direction of flow.
    #[must_use]
    pub const fn direction(self) -> Direction {
        if self.0 & 0x80 == 0 { Direction::East } else { Direction::West }
    }

    /// The number among the streams of its direction.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0 & 0x7f
    }

    /// The stream `offset` places further in the same direction of flow.
    ///
    /// # Panics
    /// When the number would exceed 127.
    #[must_use]
    pub const fn plus(self, offset: u8) -> Self {
        Self::new(self.direction(), self.number() + offset)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.direction() {
            Direction::East => 'e',
            Direction::West => 'w',
        };
        write!(f, "{letter}{}", self.number())
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Operand for Stream {
    const KIND: Kind = Kind::Stream;
    fn to_bits(self) -> u64 {
        u64::from(self.0)
    }
    fn from_bits(bits: u64) -> Option<Self> {
        u8::try_from(bits).ok().map(Self)
    }
    #[inline]
    fn place(self) -> Option<Source> {
        Some(Source::Stream(self))
    }
}

/// The stream group that receives a result, or none.
pub type Target = Option<Stream>;

impl Operand for Target {
    const KIND: Kind = Kind::Target;
    fn to_bits(self) -> u64 {
        self.map_or(0, |stream| 0x100 | stream.to_bits())
    }
    fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            0 => Some(None),
            0x100..=0x1ff => Some(Some(Stream((bits & 0xff) as u8))),
            _ => None,
        }
    }
    #[inline]
    fn place(self) -> Option<Source> {
        self.map(Source::Stream)
    }
    fn clear(&mut self) {
        *self = None;
    }
}

/// Where an ALU takes a value from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The stream group that starts here, as it passes the VXM.
    Stream(Stream),
    /// The last result of this ALU, all 320 lanes of it.
    Latch(u8),
    /// The same 32 bits in every lane.
    Immediate(u32),
}

impl Operand for Source {
    const KIND: Kind = Kind::Source;
    fn to_bits(self) -> u64 {
        match self {
            Source::Stream(stream) => stream.to_bits(),
            Source::Latch(alu) => (1 << 32) | u64::from(alu),
            Source::Immediate(value) => (2 << 32) | u64::from(value),
        }
    }
    fn from_bits(bits: u64) -> Option<Self> {
        let low = (bits & 0xffff_ffff) as u32;
        match bits >> 32 {
            0 => Stream::from_bits(u64::from(low)).map(Source::Stream),
            1 => u8::try_from(low).ok().map(Source::Latch),
            2 => Some(Source::Immediate(low)),
            _ => None,
        }
    }
    #[inline]
    fn place(self) -> Option<Source> {
        Some(self)
    }
    fn clear(&mut self) {
        *self = Source::Immediate(0);
    }
}

macro_rules! integer_operand {
    ($($(#[$doc:meta])* $name:ident($repr:ty), $kind:ident, $range:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $repr);

        impl Operand for $name {
            const KIND: Kind = Kind::$kind;
            fn to_bits(self) -> u64 {
                (self.0 as i64 as u64) & ((1 << Kind::$kind.width()) - 1)
            }
            fn from_bits(bits: u64) -> Option<Self> {
                let unused = 64 - Kind::$kind.width() as u32;
                let value = if <$repr>::MIN == 0 { bits as i64 } else { ((bits << unused) as i64) >> unused };
                ($range).contains(&value).then_some(Self(value as $repr))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    )*};
}

integer_operand! {
    /// A word address of a MEM slice, bank included.
    Word(u32), Word, 0..=i64::from(MAX_WORD);
    /// The number of low address bits that a Gather or Scatter takes from its stream.
    WindowBits(u8), WindowBits, 0..=16;
    /// A row of a plane, or a number of rows.
    Row(u16), Row, 0..=65_535;
    /// A count from 1 to 65,535: cycles of a Nop, repetitions and distance of a Repeat.
    Count(u16), Count, 1..=65_535;
    /// What a Repeat adds to the strided operand at each repetition.
    Stride(i16), Stride, -32_768..=32_767;
    /// A signed distance in lanes or superlanes; positive moves values to higher lanes.
    Shift(i16), Shift, -32_768..=32_767;
    /// An accumulator of a plane.
    Accumulator(u8), Accumulator, 0..=255;
    /// A number of superlanes.
    Superlanes(u16), Superlanes, 0..=65_535;
}

macro_rules! word_operand {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            /// All values, in order of their encoding.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The written form.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl Operand for $name {
            const KIND: Kind = Kind::$name;
            fn to_bits(self) -> u64 {
                self as u64
            }
            fn from_bits(bits: u64) -> Option<Self> {
                usize::try_from(bits).ok().and_then(|index| Self::ALL.get(index).copied())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
            }
        }
    )*};
}

word_operand! {
    /// A number format; integers are two's complement, all are little-endian over their streams.
    Format {
        /// 8-bit integer, one stream.
        I8 = "i8",
        /// 16-bit integer, two streams.
        I16 = "i16",
        /// 32-bit integer, four streams.
        I32 = "i32",
        /// IEEE binary16, two streams.
        F16 = "f16",
        /// bfloat16, two streams.
        Bf16 = "bf16",
        /// IEEE binary32, four streams.
        F32 = "f32",
    }
    /// Kind of arithmetic of an ALU operation.
    Arithmetic {
        /// IEEE binary32, rounded to nearest, ties to even.
        F32 = "f32",
        /// 32-bit integers, saturating.
        Sat = "sat",
        /// 32-bit integers, modulo 2^32.
        Mod = "mod",
        /// 16-bit integers, saturating.
        Sat16 = "sat16",
        /// 16-bit integers, modulo 2^16.
        Mod16 = "mod16",
        /// 8-bit integers, saturating.
        Sat8 = "sat8",
        /// 8-bit integers, modulo 2^8.
        Mod8 = "mod8",
    }
    /// Kind of number that an ALU compares.
    Number {
        /// IEEE binary32.
        F32 = "f32",
        /// 32-bit integer.
        I32 = "i32",
    }
    /// How a weight row is in a plane.
    Orientation {
        /// Row r holds the weights of output r, one a input lane.
        Out = "out",
        /// Row r holds the weights of input r, one a output lane (assumed extension).
        In = "in",
    }
    /// What a weight load does with its rows.
    LoadFormat {
        /// Takes them as they are, into its own plane's buffer.
        Bytes = "bytes",
        /// Converts 8-bit integers exactly to binary16 and fills both buffers of a pair of planes, low bytes
        /// into the even plane's, high bytes into the odd plane's (assumed extension).
        Widen = "widen",
    }
    /// Number format of a pass of a plane.
    PassFormat {
        /// 8-bit integers to 32-bit integers, on one plane.
        I8 = "i8",
        /// binary16 to binary32, on both planes of a hemisphere.
        F16 = "f16",
    }
    /// What an accumulator does with a result.
    Mode {
        /// Takes its value.
        Set = "set",
        /// Adds its value to what it holds.
        Add = "add",
    }
    /// Number of streams moved together.
    GroupWidth {
        /// One stream.
        One = "1",
        /// An aligned pair.
        Two = "2",
        /// An aligned group of four.
        Four = "4",
    }
    /// What a shift brings in at the edge.
    Edge {
        /// Zero bytes.
        Zero = "zero",
        /// The lanes that left at the other edge (assumed extension).
        Wrap = "wrap",
    }
    /// Side of a block that is rotated.
    BlockSide {
        /// Blocks of 3x3.
        Three = "3",
        /// Blocks of 4x4.
        Four = "4",
    }
}

impl Arithmetic {
    /// Bytes a lane of operands and result, which is also the number of streams.
    #[must_use]
    pub const fn bytes(self) -> u8 {
        match self {
            Arithmetic::F32 | Arithmetic::Sat | Arithmetic::Mod => 4,
            Arithmetic::Sat16 | Arithmetic::Mod16 => 2,
            Arithmetic::Sat8 | Arithmetic::Mod8 => 1,
        }
    }
}

impl PassFormat {
    /// Bytes a lane of an activation, which is also the number of streams.
    #[must_use]
    pub const fn streams(self) -> u8 {
        match self {
            PassFormat::I8 => 1,
            PassFormat::F16 => 2,
        }
    }
}

impl BlockSide {
    /// Rows and columns of a block.
    #[must_use]
    pub const fn side(self) -> u8 {
        match self {
            BlockSide::Three => 3,
            BlockSide::Four => 4,
        }
    }

    /// Streams of the rotations of a block, which is also the number of its elements.
    #[must_use]
    pub const fn streams(self) -> u8 {
        self.side() * self.side()
    }
}

impl Format {
    /// Bytes a lane, which is also the number of streams.
    #[must_use]
    pub const fn bytes(self) -> u8 {
        match self {
            Format::I8 => 1,
            Format::I16 | Format::F16 | Format::Bf16 => 2,
            Format::I32 | Format::F32 => 4,
        }
    }
}

impl GroupWidth {
    /// The number of streams.
    #[must_use]
    pub const fn streams(self) -> u8 {
        match self {
            GroupWidth::One => 1,
            GroupWidth::Two => 2,
            GroupWidth::Four => 4,
        }
    }
}
