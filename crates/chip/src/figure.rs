//! Figures of a chip description: their names, admissible ranges, values and provenance.

use std::fmt;

use serde::Deserialize;
use thiserror::Error;

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tag {
    /// Stated in a published paper, product brief or talk.
    Published,
    /// From page-cited notes on the published papers.
    Noted,
    /// Follows by arithmetic from published figures.
    Derived,
    /// Decided by this project where nothing is public.
    Assumed,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tag::Published => "published",
            Tag::Noted => "noted",
            Tag::Derived => "derived",
            Tag::Assumed => "assumed",
        })
    }
}

/// One figure of a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The field's name in the description.
    pub name: &'static str,
    /// Its value in `unit`.
    pub value: u32,
    /// The unit of the value.
    pub unit: &'static str,
    /// Provenance.
    pub tag: Tag,
    /// Paper, arithmetic or reason.
    pub source: String,
}

/// A field that every description must have, and what a description may say there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's name.
    pub name: &'static str,
    /// The unit of its values.
    pub unit: &'static str,
    /// Least admissible value.
    pub least: u32,
    /// Largest admissible value.
    pub most: u32,
    /// What the figure is.
    pub meaning: &'static str,
}

impl Field {
    /// The figure of this name in a table, or that of the description that it extends.
    pub(crate) fn take_or(&self, table: &mut toml::Table, base: Option<&Figure>) -> Result<Figure, ChipError> {
        match base {
            Some(base) if !table.contains_key(self.name) => Ok(Figure { name: self.name, ..base.clone() }),
            _ => self.take(table),
        }
    }

    /// Takes the figure of this name out of a table: `field = 320` or `field = { value = 320, tag = "published", source
    /// = "..." }`.
    pub(crate) fn take(&self, table: &mut toml::Table) -> Result<Figure, ChipError> {
        let Field { name, unit, least, most, .. } = *self;
        let syntax = |message: String| ChipError::Syntax { message };
        let entry = table.remove(name).ok_or(ChipError::Missing { field: name, least, most })?;
        let (value, tag, source) = match entry {
            toml::Value::Table(mut entry) => {
                let value = entry.remove("value").ok_or_else(|| syntax(format!("`{name}` has no `value`")))?;
                let tag = match entry.remove("tag") {
                    Some(tag) => {
                        tag.try_into::<Tag>().map_err(|error| syntax(format!("`{name}`: tag: {}", error.message())))?
                    }
                    None => Tag::Assumed,
                };
                let source = match entry.remove("source") {
                    Some(toml::Value::String(source)) => source,
                    None => "custom description".into(),
                    Some(_) => return Err(syntax(format!("`{name}`: `source` must be a text"))),
                };
                if let Some(unknown) = entry.keys().next() {
                    return Err(ChipError::UnknownField { field: format!("{name}.{unknown}") });
                }
                (value, tag, source)
            }
            value => (value, Tag::Assumed, "custom description".into()),
        };
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        let value = number.ok_or_else(|| ChipError::Range { field: name, value: value.to_string(), least, most })?;
        Ok(Figure { name, value, unit, tag, source })
    }
}

impl Figure {
    /// The line of a description that says it.
    pub(crate) fn to_toml(&self) -> String {
        let Figure { name, value, tag, source, .. } = self;
        let source = toml::Value::from(source.as_str());
        format!("{name} = {{ value = {value}, tag = \"{tag}\", source = {source} }}\n")
    }
}

macro_rules! fields {
    ($($name:ident $unit:literal $least:literal $most:literal $doc:literal;)*) => {
        /// All fields, in the order of a description.
        pub const FIELDS: &[Field] =
            &[$(Field { name: stringify!($name), unit: $unit, least: $least, most: $most, meaning: $doc }),*];

        /// The values of a description, by field.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Figures { $(#[doc = $doc] pub $name: u32),* }

        impl Figures {
            pub(crate) fn set(&mut self, name: &str, value: u32) {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => unreachable!("only names in FIELDS are set"),
                }
            }
        }
    };
}

fields! {
    clock_mhz "MHz" 1 100_000 "Clock.";
    superlanes "superlanes" 1 256 "Superlanes (tiles).";
    lanes_per_superlane "lanes" 16 16 "Lanes of a superlane; the format's blocks are 16x16.";
    streams "streams" 16 128 "Streams in each direction.";
    slices_per_side "slices" 1 4096 "MEM slices of a hemisphere.";
    slices_per_position "slices" 1 64 "MEM slices that share one stream register position.";
    banks "banks" 1 16 "Banks of a slice.";
    words_per_bank "words" 16 1_048_576 "Words of a bank.";
    alus "ALUs" 1 256 "ALUs of each lane.";
    planes_per_side "planes" 2 16 "MXM planes of a hemisphere; a pair of them does fp16.";
    accumulators "accumulators" 1 256 "Accumulators of a plane.";
    sxm_per_side "units" 1 64 "SXM queues of a hemisphere.";
    transposers_per_side "units" 1 64 "SXM queues of a hemisphere that can transpose, the first ones.";
    c2c_queues "queues" 0 64 "C2C queues.";
    queue_depth "instructions" 1 16_777_216 "Instructions that a queue holds.";
    hop "cycles" 1 1 "Cycles of a stream hop.";
    icu_fetch "cycles" 1 1000 "Instruction fetch, dispatch to the earliest issue of what it brings.";
    icu_barrier "cycles" 1 1000 "Notify to sync.";
    mem_read "cycles" 1 1000 "MEM read.";
    mem_write "cycles" 1 1000 "MEM write.";
    mem_gather "cycles" 1 1000 "MEM gather.";
    mem_gather_access "cycles" 0 1000 "MEM gather, dispatch to access of the word.";
    mem_scatter "cycles" 1 1000 "MEM scatter.";
    vxm_simple "cycles" 1 1000 "VXM simple operation.";
    vxm_special "cycles" 1 1000 "VXM exp, tanh, rsqrt, reciprocal.";
    sxm_local "cycles" 1 1000 "SXM within a superlane.";
    sxm_across "cycles" 1 1000 "SXM across superlanes.";
    mxm_load "cycles" 1 1000 "MXM load of rows into the buffer.";
    mxm_install "cycles" 1 1000 "MXM install.";
    mxm_pass "cycles" 1 1000 "MXM pass.";
    mxm_f16_interval "cycles" 1 1000 "Cycles that an fp16 pass occupies its pair of planes.";
    mxm_accumulate "cycles" 1 1000 "MXM accumulate.";
    c2c_link "cycles" 1 100_000 "Send to the earliest receive at the other end of a link.";
    c2c_interval "cycles" 1 1000 "Cycles that a vector occupies a link.";
    c2c_receive "cycles" 1 1000 "C2C receive.";
    c2c_period "cycles" 1 65_536 "Period of the counter that the chips of a system share.";
}

/// A chip description that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChipError {
    /// Not TOML, or not the expected shape.
    #[error("chip description: {message}; `lpu chips tsp-v1` prints a complete description to start from")]
    Syntax {
        /// The parser's message with line and column.
        message: String,
    },
    /// An unknown field.
    #[error("chip description: unknown field `{field}`; `lpu chips tsp-v1` lists every field")]
    UnknownField {
        /// The field's name.
        field: String,
    },
    /// A field is missing.
    #[error("chip description: field `{field}` is missing; give it a whole number from {least} to {most}")]
    Missing {
        /// The field's name.
        field: &'static str,
        /// Least admissible value.
        least: u32,
        /// Largest admissible value.
        most: u32,
    },
    /// A value outside its range.
    #[error("chip description: `{field}` is {value}; it must be a whole number from {least} to {most}")]
    Range {
        /// The field's name.
        field: &'static str,
        /// The value given.
        value: String,
        /// Least admissible value.
        least: u32,
        /// Largest admissible value.
        most: u32,
    },
    /// Two fields contradict each other.
    #[error("chip description: `{field}` is {value}, but {why}; correct one of them")]
    Contradiction {
        /// The field's name.
        field: &'static str,
        /// The value given.
        value: u32,
        /// What it contradicts.
        why: String,
    },
    /// A link of a system that cannot be.
    #[error("system description: link `{link}`: {why}; correct the links, or the number of chips")]
    Link {
        /// The link as written.
        link: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A system that cannot be wired by its rule.
    #[error("system description: `{field}` is {value}, but {why}; correct one of them")]
    Topology {
        /// The field's name.
        field: &'static str,
        /// The value given.
        value: u32,
        /// What it contradicts.
        why: String,
    },
    /// Descriptions that extend one another, or too many.
    #[error("chip description: {chain}; none may extend itself, and at most 16 each other: give one all its figures")]
    Circular {
        /// Their names, in the order in which each extends the next.
        chain: String,
    },
    /// No preset has this name.
    #[error("no chip preset `{name}`; presets are {known}, anything else must be the path of a .toml description")]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
}
