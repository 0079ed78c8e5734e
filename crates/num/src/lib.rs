//! All arithmetic of the machine: integers, fp16, bf16, fp32, sums, transcendental functions.
//!
//! Every function is defined by IEEE 754 binary32 and binary64 `+ - * / sqrt` and integer operations alone, so it
//! returns the same bits on every host. `docs/numerics.md` states each definition; the scalar code here is that
//! definition, and vector code is proven equal to it.
//!
//! - [`fp32`]: the operations of the vector unit on binary32.
//! - [`fp64`]: functions for tables made at compile time.
//! - [`half`]: fp16 and bf16 as bit patterns, widened and narrowed.
//! - [`int`]: int32 arithmetic and conversions between integers and binary32.
//! - [`vectors`]: vectors of bytes to vectors of numbers and back, at speed.
//! - [`dot`]: one pass of a plane, int8 and fp16.

#[cfg(all(target_arch = "x86", not(target_feature = "sse2")))]
compile_error!("x87 arithmetic rounds twice; this crate needs SSE2");

pub mod dot;
pub mod fp32;
pub mod fp64;
pub mod half;
pub mod int;
mod kernel;
pub mod vectors;
