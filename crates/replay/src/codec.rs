//! How the parts of a plan that belong to the instruction set are kept.

/// Instructions as their codec has them.
pub(crate) mod instruction {
    use lpu_isa::{Instruction, Item, decode_queue, encode_queue};
    use serde::de::Error;
    use serde::{Deserialize, Serialize};

    pub(crate) fn serialize<S: serde::Serializer>(instruction: &Instruction, serializer: S) -> Result<S::Ok, S::Error> {
        encode_queue(&[Item::from(*instruction)]).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Instruction, D::Error> {
        let items = decode_queue(&Vec::deserialize(deserializer)?).map_err(D::Error::custom)?;
        match items[..] {
            [Item { instruction, paired: false }] => Ok(instruction),
            _ => Err(D::Error::custom("not one instruction")),
        }
    }
}

/// Formats of passes as operands are encoded.
pub(crate) mod format {
    use lpu_isa::{Operand, PassFormat};
    use serde::de::Error;
    use serde::{Deserialize, Serialize};

    pub(crate) fn serialize<S: serde::Serializer>(format: &PassFormat, serializer: S) -> Result<S::Ok, S::Error> {
        format.to_bits().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<PassFormat, D::Error> {
        PassFormat::from_bits(u64::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("no format of a pass"))
    }
}
