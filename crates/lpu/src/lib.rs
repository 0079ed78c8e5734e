//! A deterministic LPU-style dataflow emulator: library and command.
