//! The instruction set: one table, and everything that is derived from it.
//!
//! The table ([`mod@table`]) defines each instruction once. The types, the binary codec, the assembler,
//! the disassembler, the reference page and the timed expansion of queues all follow from it.
//! This crate does no I/O and detects no faults: it says what a program *is*, never whether it is legal.

pub mod asm;
mod breaks;
mod chips;
pub mod codec;
pub mod container;
pub mod disasm;
mod error;
pub mod fault;
mod fetch;
pub mod image;
mod near;
pub mod operand;
mod place;
pub mod program;
pub mod queue;
mod reference;
pub mod region;
pub mod rule;
mod sets;
pub mod table;
mod text;
pub mod timeline;
mod unit;

pub use asm::{AsmError, SourceMap, Span, assemble};
pub use codec::{decode_queue, encode_queue};
pub use container::{ContentError, Encoded, FormatError, Frame};
pub use disasm::{disassemble, item_text};
pub use fault::{Fault, Held, Site, Violation};
pub use fetch::{block_items, blocks};
pub use image::{ByPlace, Extent, Fill, Image};
pub use near::{Arrival, Landing, Near, Producer};
pub use operand::{
    Accumulator, Arithmetic, BlockSide, Count, Direction, Edge, Format, GroupWidth, Kind, LoadFormat, Mode, Number,
    Operand, Orientation, PassFormat, Row, Shift, Source, Stream, Stride, Superlanes, Target, WindowBits, Word,
};
pub use place::{ChipId, SliceId, WordRun};
pub use program::{ChipProgram, ChipRef, Container, Program, QueueSet, Region, RegionKind};
pub use queue::{Hemisphere, Item, PlanePort, Queue};
pub use reference::reference;
pub use region::{RegionError, Sram};
pub use rule::Rule;
pub use table::{DelayClass, Flow, Instruction, Malformed, OperandRow, Origin, StreamUse, TABLE, TableRow};
pub use text::place::NotWritten;
pub use timeline::{Clock, Cursor, Issue, MAX_CYCLES, QueueError, Slots, compress, expand, validate};
pub use unit::Unit;
