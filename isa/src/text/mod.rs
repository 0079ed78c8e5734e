//! Written forms that assembler and disassembler share: operands by their kind, places, names and queues.

pub(crate) mod immediate;
pub(crate) mod operand;
pub(crate) mod place;
