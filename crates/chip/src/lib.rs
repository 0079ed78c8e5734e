//! Chip and system descriptions: geometry, delays and clock, each figure with its tag and source. The only home of
//! delay numbers.

mod absent;
mod chip;
mod figure;
mod preset;
mod range;
mod system;

pub use chip::{Chip, Occupancy};
pub use figure::{ChipError, FIELDS, Field, Figure, Figures, Tag};
pub use preset::{PRESETS, preset};
pub use range::out_of_range;
pub use system::{LinkEnd, SYSTEMS, System};
