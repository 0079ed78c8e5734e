//! What an instruction does to the lanes of vectors, apart from where they come from and when: the one home of this
//! meaning, in which every engine evaluates what it does not evaluate faster in its own way. All arithmetic is
//! `lpu-num`'s.

mod sxm;
mod vxm;

pub use sxm::switch;
pub use vxm::{Sources, operate, overflows, sources};
