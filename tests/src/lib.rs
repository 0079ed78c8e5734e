//! What several cross-crate tests share.

mod acts;
pub mod chips;
pub mod dice;
pub mod edit;
pub mod equal;
pub mod extents;
pub mod groups;
pub mod grow;
pub mod hostile;
pub mod memory;
pub mod mutate;
pub mod relays;
pub mod scenes;
pub mod shape;
mod stage;
