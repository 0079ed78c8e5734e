//! The regions of a program as its text gives them, by name.

use std::collections::BTreeMap;

use super::error::Span;
use crate::program::Region;

/// Initial values of a region.
pub(super) enum Values {
    None,
    Each(Vec<u32>),
    Same(u32),
    /// Instructions: which of the program's series in memory.
    Code(usize),
}

pub(super) struct RegionText {
    pub(super) region: Region,
    pub(super) span: Span,
    pub(super) values: Values,
    pub(super) values_span: Span,
    /// A run had a mistake: their number is not judged.
    pub(super) unsure: bool,
}

/// Regions in the order of the text.
#[derive(Default)]
pub(super) struct RegionTable {
    pub(super) list: Vec<RegionText>,
    /// Where in `list` a name is.
    pub(super) names: BTreeMap<String, usize>,
}

impl RegionTable {
    /// Appends a region; false where its name is taken, by which the first one stays known.
    pub(super) fn add(&mut self, region: RegionText) -> bool {
        let name = region.region.name.clone();
        let free = !self.names.contains_key(&name);
        self.list.push(region);
        self.names.entry(name).or_insert(self.list.len() - 1);
        free
    }

    /// The region of this name.
    pub(super) fn region(&self, name: &str) -> Option<&RegionText> {
        self.list.get(*self.names.get(name)?)
    }
}
