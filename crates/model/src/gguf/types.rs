//! Element types of GGUF files: their numbers, names and sizes, and which of them are read.

use crate::Dtype;

/// A type that files know.
pub(super) struct Type {
    pub(super) number: u32,
    pub(super) name: &'static str,
    /// Elements of a block and its bytes.
    pub(super) block: (usize, usize),
    /// `None` for a type that is not read.
    pub(super) dtype: Option<Dtype>,
}

const fn read(number: u32, name: &'static str, block: (usize, usize), dtype: Dtype) -> Type {
    Type { number, name, block, dtype: Some(dtype) }
}

const fn known(number: u32, name: &'static str, block: (usize, usize)) -> Type {
    Type { number, name, block, dtype: None }
}

#[rustfmt::skip]
const TYPES: [Type; 34] = [
    read(0, "F32", (1, 4), Dtype::F32), read(1, "F16", (1, 2), Dtype::F16), read(30, "BF16", (1, 2), Dtype::BF16),
    read(2, "Q4_0", (32, 18), Dtype::Q4_0), read(3, "Q4_1", (32, 20), Dtype::Q4_1),
    read(6, "Q5_0", (32, 22), Dtype::Q5_0), read(7, "Q5_1", (32, 24), Dtype::Q5_1),
    read(8, "Q8_0", (32, 34), Dtype::Q8_0),
    read(10, "Q2_K", (256, 84), Dtype::Q2_K), read(11, "Q3_K", (256, 110), Dtype::Q3_K),
    read(12, "Q4_K", (256, 144), Dtype::Q4_K),
    read(13, "Q5_K", (256, 176), Dtype::Q5_K), read(14, "Q6_K", (256, 210), Dtype::Q6_K),
    read(15, "Q8_K", (256, 292), Dtype::Q8_K),
    read(20, "IQ4_NL", (32, 18), Dtype::IQ4_NL), read(23, "IQ4_XS", (256, 136), Dtype::IQ4_XS),
    read(39, "MXFP4", (32, 17), Dtype::MXFP4),
    known(9, "Q8_1", (32, 36)),
    known(16, "IQ2_XXS", (256, 66)), known(17, "IQ2_XS", (256, 74)), known(22, "IQ2_S", (256, 82)),
    known(18, "IQ3_XXS", (256, 98)), known(21, "IQ3_S", (256, 110)), known(19, "IQ1_S", (256, 50)),
    known(29, "IQ1_M", (256, 56)),
    known(24, "I8", (1, 1)), known(25, "I16", (1, 2)), known(26, "I32", (1, 4)), known(27, "I64", (1, 8)),
    known(28, "F64", (1, 8)),
    known(34, "TQ1_0", (256, 54)), known(35, "TQ2_0", (256, 66)), known(40, "NVFP4", (64, 36)),
    known(41, "Q1_0", (128, 18)),
];

/// The type of a number; `None` for one that no file of today has.
pub(super) fn find(number: u32) -> Option<&'static Type> {
    TYPES.iter().find(|kind| kind.number == number)
}

/// Names of the types that are read, separated by commas.
pub(super) fn names() -> String {
    let names: Vec<&str> = TYPES.iter().filter(|kind| kind.dtype.is_some()).map(|kind| kind.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_are_read_have_the_sizes_of_their_elements() {
        for kind in &TYPES {
            assert!(kind.dtype.is_none_or(|dtype| dtype.block() == kind.block), "{}", kind.name);
            assert_eq!(TYPES.iter().filter(|other| other.number == kind.number || other.name == kind.name).count(), 1);
        }
    }
}
