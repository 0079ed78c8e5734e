//! The ports of a plan: one for each region that the host fills or reads.

use lpu_isa::Hemisphere;
use lpu_model::{Boundary, ValueId};

use super::{MaskInput, Plan, ValueRow, whole};
use crate::interface::{
    Lanes, Port, PortKind, RotaryPart, address_name, mask_name, on_chip, region_name, rotary_name, whole_name,
};
use crate::rows::ROW_SLICES;

/// What one chip of the group asks of its host and gives back.
struct ChipPorts<'a> {
    plan: &'a Plan,
    /// Lanes of a vector.
    lanes: usize,
    /// Number of the chip in its group.
    member: u16,
    /// First chip of the group.
    first: u16,
}

impl ChipPorts<'_> {
    fn port(&self, region: &str, row: usize, lanes: Lanes, kind: PortKind) -> Port {
        let width = lanes.elements();
        let chip = self.first + self.member;
        Port { region: on_chip(region, chip), chip, row: row as u32, width, lanes, kind }
    }

    /// The port of a value, unless the chip has nothing of it.
    fn of_value(&self, ValueRow { value, row }: ValueRow) -> Option<Port> {
        let (plan, chip) = (self.plan, usize::from(self.member));
        let value_of = plan.graph.value(value);
        let whole = whole(value_of, &plan.layouts[&value], chip);
        let region = region_name(&value_of.name, row);
        let mut lanes = Lanes::of(&whole, self.lanes);
        let kind = match whole_name(&value_of.name) {
            "embedding" => PortKind::Embedding,
            "position" => PortKind::Position,
            "head.logits" => {
                let first = value_of.shard.element(chip, 0)? as u32;
                let own = |vector: &Vec<Option<u32>>| vector.iter().map(|lane| lane.map(|lane| lane - first)).collect();
                lanes = Lanes::of(&whole.iter().map(own).collect::<Vec<_>>(), self.lanes);
                PortKind::Logits { first }
            }
            name => PortKind::Activation { value: name.to_owned() },
        };
        let width = value_of.shard.whole(value_of.width);
        (lanes.elements() > 0).then(|| Port { width, ..self.port(&region, row, lanes, kind) })
    }

    fn of_values(&self, values: &[ValueId]) -> Vec<Port> {
        values.iter().flat_map(|&value| self.plan.rows_of(value)).filter_map(|row| self.of_value(row)).collect()
    }

    fn inputs(&self) -> Vec<Port> {
        let plan = self.plan;
        let mut inputs = match plan.graph.entry {
            Boundary::Host => self.of_values(&plan.graph.inputs),
            Boundary::Chips => Vec::new(),
        };
        let half = plan.half_head();
        for &(table, row) in plan.inputs.rotary.keys() {
            for part in [RotaryPart::Cos, RotaryPart::Sin] {
                let repeated = Lanes::Repeated { elements: half, times: self.lanes / half.max(1) };
                let kind = PortKind::Rotary { table, part };
                inputs.push(self.port(&rotary_name(table, part, row), row, repeated, kind));
            }
        }
        let tokens = Lanes::Repeated { elements: plan.context, times: 1 };
        for MaskInput { window, row } in plan.masks() {
            inputs.push(self.port(&mask_name(window, row), row, tokens.clone(), PortKind::Mask { window }));
        }
        for row in 0..plan.inputs.addresses.len() {
            for side in Hemisphere::BOTH {
                let (slices, spare) = (ROW_SLICES, (plan.context / ROW_SLICES) as u16);
                let addresses = Lanes::Repeated { elements: slices, times: 1 };
                let kind = PortKind::KvAddress { side: side.into(), slices, spare };
                inputs.push(self.port(&address_name(side, row), row, addresses, kind));
            }
        }
        inputs
    }
}

impl Plan {
    /// What the chips of a group ask of their host, and what they give back; chip 0 of the group is chip `first`.
    pub(crate) fn ports(&self, lanes: usize, chips: usize, first: u16) -> [Vec<Port>; 2] {
        let of_chips = || (0..chips as u16).map(|member| ChipPorts { plan: self, lanes, member, first });
        let inputs = of_chips().flat_map(|ports| ports.inputs()).collect();
        let outputs = match self.graph.exit {
            Boundary::Host => of_chips().flat_map(|ports| ports.of_values(&self.graph.outputs)).collect(),
            Boundary::Chips => Vec::new(),
        };
        [inputs, outputs]
    }
}
