//! Weights of planes: rows from loads to installs to passes, and which kernel a pass takes.

use std::collections::HashMap;

use lpu_checker::ChipFlow;
use lpu_isa::{Instruction, LoadFormat, Orientation, PassFormat, Row};

use super::Found;
use super::builder::PlanBuilder;
use crate::plan::{Bytes, Columns, Half, PassInput, Ref, RowWeights};

/// Sixteen rows on their way into a buffer.
struct Load {
    row: Row,
    by_input: bool,
    widen: bool,
    rows: Vec<Bytes<Ref>>,
    /// Installs that are still to take it.
    uses: u32,
}

/// What an array holds.
struct Array {
    weights: RowWeights<Ref>,
    /// Number among the plan's weights, once a pass needs it there.
    number: Option<u32>,
    /// Passes that are still to take it.
    uses: u32,
}

/// The loads and arrays that later instructions still take.
pub(super) struct Planes {
    loads: HashMap<u32, Load>,
    arrays: HashMap<u32, Array>,
    /// How many later instructions take what each load, install and `acc` leaves in a plane.
    uses: HashMap<u32, u32>,
}

impl Planes {
    pub(super) fn new(flow: &ChipFlow) -> Self {
        let mut uses: HashMap<u32, u32> = HashMap::new();
        for &(_, producer) in &flow.ties {
            if !matches!(flow.issues[producer as usize].instruction, Instruction::Abc { .. }) {
                *uses.entry(producer).or_default() += 1;
            }
        }
        Self { loads: HashMap::new(), arrays: HashMap::new(), uses }
    }

    /// Whether a later instruction takes what an issue leaves in a plane.
    pub(super) fn is_used(&self, issue: u32) -> bool {
        self.uses.contains_key(&issue)
    }

    pub(super) fn load(
        &mut self,
        issue: u32,
        row: Row,
        orientation: Orientation,
        format: LoadFormat,
        rows: Vec<Bytes<Ref>>,
    ) {
        if let Some(&uses) = self.uses.get(&issue) {
            let (by_input, widen) = (orientation == Orientation::In, format == LoadFormat::Widen);
            self.loads.insert(issue, Load { row, by_input, widen, rows, uses });
        }
    }

    pub(super) fn install(
        &mut self,
        builder: &mut PlanBuilder<'_>,
        issue: u32,
        rows: usize,
        odd: bool,
        loads: &[u32],
    ) -> Found<()> {
        let uses = self.uses.get(&issue).copied().unwrap_or(0);
        let mut places = vec![None; rows];
        let mut by_input = false;
        for load in loads {
            let Some(found) = self.loads.get_mut(load) else { continue };
            let half = match (found.widen, odd) {
                (false, _) => Half::Whole,
                (true, false) => Half::Low,
                (true, true) => Half::High,
            };
            by_input = found.by_input;
            if uses > 0 {
                for (row, &bytes) in found.rows.iter().enumerate() {
                    *places.get_mut(usize::from(found.row.0) + row).ok_or("row that it installs")? =
                        Some((builder.plane(bytes), half));
                }
            }
            found.uses -= 1;
            if found.uses == 0 {
                self.loads.remove(load);
            }
        }
        if uses > 0 {
            let rows = places.into_iter().collect::<Option<Vec<_>>>().ok_or("load of every row")?;
            self.arrays.insert(issue, Array { weights: RowWeights { by_input, rows }, number: None, uses });
        }
        Ok(())
    }

    /// A pass through the arrays of one or two installs; gives back the register of its result.
    pub(super) fn pass(
        &mut self,
        builder: &mut PlanBuilder<'_>,
        format: PassFormat,
        installs: &[u32],
        taken: &[Bytes<Ref>],
    ) -> Found<u32> {
        let register = self.pass_through(builder, format, installs, taken)?;
        for install in installs {
            if let Some(array) = self.arrays.get_mut(install) {
                array.uses -= 1;
                if array.uses == 0 {
                    self.arrays.remove(install);
                }
            }
        }
        Ok(register)
    }

    fn pass_through(
        &mut self,
        builder: &mut PlanBuilder<'_>,
        format: PassFormat,
        installs: &[u32],
        taken: &[Bytes<Ref>],
    ) -> Found<u32> {
        // An int8 pass takes one plane and one stream, an fp16 pass two of each.
        let both = |list: &[u32]| Some([*list.first()?, *list.last()?]);
        let installs = both(installs).ok_or("installed weights")?;
        let (Some(&low_bytes), Some(&high_bytes)) = (taken.first(), taken.last()) else { return Err("activations") };
        let array = |install: u32| self.arrays.get(&install).map(|array| &array.weights).ok_or("installed weights");
        let (low, high) = (array(installs[0])?, array(installs[1])?);
        let all = |weights: &RowWeights<Ref>, half: Half| weights.rows.iter().all(|row| row.1 == half);
        let alike = low.by_input == high.by_input && low.rows.len() == high.rows.len();
        let pairs = || low.rows.iter().zip(&high.rows).map(|(low, high)| (low.0, high.0));
        let activation = match format {
            PassFormat::I8 if all(low, Half::Whole) => Some(PassInput::I8(builder.plane(low_bytes))),
            PassFormat::F16 if alike && all(low, Half::Whole) && all(high, Half::Whole) => {
                Some(PassInput::F16(builder.prepare(low_bytes, high_bytes, false)))
            }
            PassFormat::F16
                if alike && all(low, Half::Low) && all(high, Half::High) && pairs().all(|(low, high)| low == high) =>
            {
                Some(PassInput::I8F16(builder.prepare(low_bytes, high_bytes, true)))
            }
            _ => None,
        };
        let Some(activation) = activation else {
            let numbers = [self.number(builder, installs[0])?, self.number(builder, installs[1])?];
            return Ok(builder.any_pass(format, numbers, low_bytes, high_bytes));
        };
        let two = matches!(activation, PassInput::F16(_));
        let rows: Vec<(Ref, Ref)> = pairs().collect();
        let by_input = low.by_input;
        let places = rows.iter().flat_map(|&(low, high)| [Some(low), two.then_some(high)]).flatten();
        let outputs = if by_input { builder.places.lanes } else { rows.len() };
        let (pass, register) = builder.pass(activation, places.clone(), outputs);
        if by_input {
            let rows = builder.operands(places.map(Bytes::Plane).collect());
            builder.plan.columns.push(Columns { pass, rows });
        } else {
            let rows =
                (0u16..).zip(rows).map(|(output, (low, high))| (low, if two { high } else { low }, output)).collect();
            builder.rows(pass, rows);
        }
        Ok(register)
    }

    /// The number of an array among the plan's weights.
    fn number(&mut self, builder: &mut PlanBuilder<'_>, install: u32) -> Found<u32> {
        let array = self.arrays.get_mut(&install).ok_or("installed weights")?;
        Ok(*array.number.get_or_insert_with(|| {
            builder.plan.weights.push(array.weights.clone());
            builder.plan.weights.len() as u32 - 1
        }))
    }
}
