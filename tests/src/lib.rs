//! What several cross-crate tests share.

pub mod equal;
pub mod grow;
pub mod hostile;
