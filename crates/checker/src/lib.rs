//! Proves a Program legal by reasoning over intervals, without running it.
