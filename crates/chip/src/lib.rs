//! Chip descriptions: geometry, delays and clock, each figure with its tag and source. The only home of
//! delay numbers.

mod chip;
mod figure;
mod preset;

pub use chip::Chip;
pub use figure::{ChipError, Figure, Figures, Tag};
pub use preset::{PRESETS, preset};
