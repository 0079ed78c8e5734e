//! Chip descriptions: geometry, delays, presets, with a source for every figure.
