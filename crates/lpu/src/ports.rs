//! Ports filled and read: what the host knows of a token, put into the lanes that an
//! [`Interface`] names, and outputs taken out of theirs. All that is known of lanes comes from
//! the port.

use std::borrow::Cow;
use std::collections::BTreeMap;

use lpu_compiler::{Interface, Lanes, Port, PortKind, RotaryPart};
use lpu_isa::{Format, Program, Region, RegionKind};
use lpu_model::{Checkpoint, Config, ModelError};
use thiserror::Error;

/// A port that cannot be filled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PortError {
    /// The step has no such value.
    #[error("region `{region}` takes {what}, which the step does not have; give it")]
    Missing {
        /// The region.
        region: String,
        /// The value.
        what: String,
    },
    /// The value has another number of elements.
    #[error("region `{region}` takes {what} of {expected} elements, not {found}")]
    Length {
        /// The region.
        region: String,
        /// The value.
        what: String,
        /// Elements of the port.
        expected: usize,
        /// Elements of the step's value.
        found: usize,
    },
    /// The program has no region for the port, or one of another shape.
    #[error(
        "the interface names a region `{region}`, and program {program} has none of its kind and shape; compile the \
        model again"
    )]
    NoRegion {
        /// The region.
        region: String,
        /// The program's name.
        program: String,
    },
}

/// What the host knows of one token.
/// ```
/// use lpu::{Step, model::Checkpoint};
///
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/checkpoints/plain");
/// let checkpoint = Checkpoint::open(folder.as_ref())?;
/// let step = Step::of(&checkpoint, 16, 3, 7)?;
/// assert_eq!(step.position, 3);
/// assert_eq!(step.embedding.map(|row| row.len()), Some(checkpoint.config.hidden));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// The sequence that the token belongs to, of those that the programs were compiled for.
    pub sequence: usize,
    /// Tokens of the sequence before this one.
    pub position: usize,
    /// The raw embedding row.
    pub embedding: Option<Vec<f32>>,
    /// The row of the learned position, of models that have them.
    pub learned: Option<Vec<f32>>,
    /// Cosines and sines of the position by set of rotary frequencies.
    pub rotary: BTreeMap<usize, [Vec<f32>; 2]>,
    /// Values of the graph by name, for parts of one.
    pub activations: BTreeMap<String, Vec<f32>>,
}

impl Step {
    /// What depends on the position alone; `context` is the one that was asked for when the program was compiled.
    ///
    /// # Panics
    /// If the position is above [`Config::LAST_POSITION`].
    #[must_use]
    pub fn at(config: &Config, context: usize, position: usize) -> Self {
        let row = |table| config.rotary_row(table, position as u32, context);
        let rotary = config.rotary_tables().into_iter().map(|table| (table, <[Vec<f32>; 2]>::from(row(table))));
        Self { position, rotary: rotary.collect(), ..Self::default() }
    }

    /// All of a token of a checkpoint.
    ///
    /// # Errors
    /// [`ModelError`] when there is no such token.
    ///
    /// # Panics
    /// As [`Step::at`].
    pub fn of(checkpoint: &Checkpoint, context: usize, position: usize, token: u32) -> Result<Self, ModelError> {
        let mut row = vec![0.0; checkpoint.config.hidden];
        let mut step = Self::at(&checkpoint.config, context, position);
        if checkpoint.position_row(position as u32, &mut row)? {
            step.learned = Some(row.clone());
        }
        checkpoint.embedding_row(token, &mut row)?;
        step.embedding = Some(row);
        Ok(step)
    }

    /// The bytes of every input region of a program.
    ///
    /// # Errors
    /// As [`fill`].
    pub fn inputs(&self, interface: &Interface, program: &Program) -> Result<Vec<(String, Vec<u8>)>, PortError> {
        inputs(std::slice::from_ref(self), interface, program)
    }

    /// The value of a port in fp32, and what lanes without an element hold.
    fn values<'a>(&'a self, port: &Port) -> Result<(Cow<'a, [f32]>, f32), PortError> {
        let missing = |what: String| PortError::Missing { region: port.region.clone(), what };
        let given = |row: &'a Option<Vec<f32>>, what: &str| row.as_deref().ok_or_else(|| missing(what.to_owned()));
        let (values, what): (Cow<'a, [f32]>, _) = match &port.kind {
            PortKind::Embedding => (given(&self.embedding, EMBEDDING)?.into(), EMBEDDING.to_owned()),
            PortKind::Position => (given(&self.learned, LEARNED)?.into(), LEARNED.to_owned()),
            PortKind::Activation { value } => {
                let what = format!("the value {value}");
                (self.activations.get(value).ok_or_else(|| missing(what.clone()))?.into(), what)
            }
            PortKind::Logits { .. } => return Err(missing("logits as an input".to_owned())),
            PortKind::Rotary { table, part } => {
                let what = format!("rotary row {table}");
                let [cos, sin] = self.rotary.get(table).ok_or_else(|| missing(what.clone()))?;
                let (row, identity) = match part {
                    RotaryPart::Cos => (cos, 1.0),
                    RotaryPart::Sin => (sin, 0.0),
                };
                let mut row = row.clone();
                row.resize(row.len().max(port.lanes.elements()), identity);
                (row.into(), what)
            }
            PortKind::Mask { window } => {
                let seen =
                    |token: usize| token <= self.position && window.is_none_or(|window| token + window > self.position);
                let mask = |token| if seen(token) { 0.0 } else { f32::NEG_INFINITY };
                return Ok(((0..port.lanes.elements()).map(mask).collect(), f32::NEG_INFINITY));
            }
            PortKind::KvAddress { slices, spare, .. } => {
                let row = |slice| {
                    if self.position % slices == slice { (self.position / slices) as f32 } else { f32::from(*spare) }
                };
                return Ok(((0..*slices).map(row).collect(), 0.0));
            }
        };
        let (expected, found) = (port.width.max(port.lanes.elements()), values.len());
        if expected != found {
            return Err(PortError::Length { region: port.region.clone(), what, expected, found });
        }
        Ok((values, 0.0))
    }
}

const EMBEDDING: &str = "the embedding row of a token";
const LEARNED: &str = "the row of a learned position";

/// The bytes of every input region of a program for a step a row of its values.
///
/// # Errors
/// As [`fill`], and [`PortError::Missing`] for a row without a step.
pub fn inputs(steps: &[Step], interface: &Interface, program: &Program) -> Result<Vec<(String, Vec<u8>)>, PortError> {
    let filled = |port: &Port| {
        let missing = || PortError::Missing { region: port.region.clone(), what: format!("row {}", port.row) };
        let step = steps.get(port.row as usize).ok_or_else(missing)?;
        Ok((port.region.clone(), fill(port, region(program, port)?, step)?))
    };
    interface.inputs.iter().map(filled).collect()
}

/// The bytes of a region for a step: elements in its format, little-endian, vector after vector.
///
/// # Errors
/// [`PortError`] when the step lacks the value, or it has another length.
pub fn fill(port: &Port, region: &Region, step: &Step) -> Result<Vec<u8>, PortError> {
    let (values, blank) = step.values(port)?;
    let lanes = region.vectors as usize * region.lanes as usize;
    let of_lane = |lane: usize| port.lanes.element(lane).map_or(blank, |element| values[element]);
    Ok(match region.format {
        Format::I16 => (0..lanes).flat_map(|lane| (of_lane(lane) as u16).to_le_bytes()).collect(),
        _ => (0..lanes).flat_map(|lane| of_lane(lane).to_le_bytes()).collect(),
    })
}

/// The elements of an output port in the bytes of its region, fp32.
#[must_use]
pub fn read(lanes: &Lanes, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; lanes.elements()];
    for (lane, value) in bytes.as_chunks::<4>().0.iter().enumerate().take(lanes.count()) {
        if let Some(element) = lanes.element(lane) {
            values[element] = f32::from_le_bytes(*value);
        }
    }
    values
}

/// The region of a port.
fn region<'a>(program: &'a Program, port: &Port) -> Result<&'a Region, PortError> {
    let found = program.regions.iter().find(|region| region.name == port.region);
    found.ok_or_else(|| PortError::NoRegion { region: port.region.clone(), program: program.name.clone() })
}

/// Holds an interface to the programs that it describes: what is read from a file may say anything.
///
/// # Errors
/// [`PortError::NoRegion`] when a program lacks the region of a port, or that has another kind, format or too few
/// lanes.
pub fn validate(interface: &Interface, programs: &[Program]) -> Result<(), PortError> {
    for &number in interface.buckets.iter().flat_map(|bucket| &bucket.programs) {
        let no_region = |port: &Port, program: String| PortError::NoRegion { region: port.region.clone(), program };
        for (ports, kind) in [(&interface.inputs, RegionKind::Input), (&interface.outputs, RegionKind::Output)] {
            for port in ports {
                let program = programs.get(number).ok_or_else(|| no_region(port, number.to_string()))?;
                let region = region(program, port)?;
                let format = if matches!(port.kind, PortKind::KvAddress { .. }) { Format::I16 } else { Format::F32 };
                let lanes = u64::from(region.vectors) * u64::from(region.lanes);
                // A list may name any element, and as many as that are held: at most those of all chips' regions.
                let chips = program.chips.len().max(1) as u64;
                let held = port.lanes.count() as u64 <= lanes
                    && port.lanes.elements() <= port.width
                    && port.width as u64 <= lanes.saturating_mul(chips);
                let shape = region.kind == kind && region.format == format && held;
                let elements = match port.kind {
                    PortKind::KvAddress { slices, .. } => slices == port.lanes.elements() && slices > 0,
                    _ => true,
                };
                if !shape || !elements {
                    return Err(no_region(port, program.name.clone()));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_with_more_lanes_or_elements_than_its_region_is_refused() {
        let (name, kind, format) = ("r".to_owned(), RegionKind::Output, Format::F32);
        let region = Region { name: name.clone(), kind, format, vectors: 2, lanes: 4, runs: Vec::new() };
        let programs = [Program { regions: vec![region], ..Program::default() }];
        let valid = |lanes: Lanes| {
            let kind = PortKind::Logits { first: 0 };
            let outputs = vec![Port { region: name.clone(), chip: 0, row: 0, width: lanes.elements(), lanes, kind }];
            let buckets = vec![lpu_compiler::Bucket { programs: vec![0], tokens: 16 }];
            validate(&Interface { buckets, inputs: Vec::new(), outputs }, &programs).is_ok()
        };
        for (elements, times, expected) in
            [(8, 1, true), (4, 2, true), (9, 1, false), (3, 3, false), (usize::MAX, 2, false)]
        {
            assert_eq!(valid(Lanes::Repeated { elements, times }), expected, "{elements} x {times}");
        }
        for (last, expected) in [(0, true), (7, true), (8, false), (u32::MAX, false)] {
            assert_eq!(valid(Lanes::Listed(vec![Some(last), None])), expected, "element {last}");
        }
    }
}
