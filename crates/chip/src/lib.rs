//! Chip and system descriptions: geometry, delays and clock, each figure with its tag and source. The only home of
//! delay numbers.

mod absent;
mod chip;
mod description;
mod figure;
mod link;
mod preset;
mod range;
mod system;
mod topology;

pub use chip::{Chip, Occupancy};
pub use description::TOPOLOGY_FIELDS;
pub use figure::{ChipError, FIELDS, Field, Figure, Figures, Tag};
pub use link::{LINK_FIELDS, LinkClass, LinkEnd};
pub use preset::{PRESETS, preset};
pub use range::out_of_range;
pub use system::{SYSTEMS, System};
pub use topology::{Reach, Topology};
