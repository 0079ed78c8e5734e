//! The instruction table and all that is derived from it: types, binary codec, assembler, disassembler, queue timing.
