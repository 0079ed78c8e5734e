//! The reference engine: steps every cycle of a Program and computes its values.
