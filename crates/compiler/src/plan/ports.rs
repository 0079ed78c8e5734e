//! The ports of a plan: one for each region that the host fills or reads.

use lpu_isa::Hemisphere;
use lpu_model::ValueId;

use super::{MaskInput, Plan, ValueRow};
use crate::interface::{
    Bucket, Interface, Lanes, Port, PortKind, RotaryPart, address_name, mask_name, region_name, rotary_name,
};
use crate::rows::ROW_SLICES;
use crate::target::port_chip;

impl Plan {
    /// What programs that hold these tokens ask of their host and give back.
    pub(crate) fn interface(&self, lanes: usize, buckets: &[usize]) -> Interface {
        let port = |region: String, row: usize, lanes: Lanes, kind: PortKind| Port {
            region,
            chip: port_chip(),
            row: row as u32,
            lanes,
            kind,
        };
        let of_value = |ValueRow { value, row }: ValueRow| {
            let name = &self.graph.value(value).name;
            let kind = match name.as_str() {
                "embedding" => PortKind::Embedding,
                "position" => PortKind::Position,
                "head.logits" => PortKind::Logits { first: 0 },
                _ => PortKind::Activation { value: name.clone() },
            };
            port(region_name(name, row), row, Lanes::of(&self.layouts[&value], lanes), kind)
        };
        let of_values =
            |values: &[ValueId]| values.iter().flat_map(|&value| self.rows_of(value)).map(of_value).collect();
        let mut inputs: Vec<Port> = of_values(&self.graph.inputs);
        let half = self.half_head();
        for &(table, row) in self.inputs.rotary.keys() {
            for part in [RotaryPart::Cos, RotaryPart::Sin] {
                let repeated = Lanes::Repeated { elements: half, times: lanes / half.max(1) };
                inputs.push(port(rotary_name(table, part, row), row, repeated, PortKind::Rotary { table, part }));
            }
        }
        let tokens = Lanes::Repeated { elements: self.context, times: 1 };
        for MaskInput { window, row } in self.masks() {
            inputs.push(port(mask_name(window, row), row, tokens.clone(), PortKind::Mask { window }));
        }
        for row in 0..self.inputs.addresses.len() {
            for side in Hemisphere::BOTH {
                let (slices, spare) = (ROW_SLICES, (self.context / ROW_SLICES) as u16);
                let addresses = Lanes::Repeated { elements: slices, times: 1 };
                let kind = PortKind::KvAddress { side: side.into(), slices, spare };
                inputs.push(port(address_name(side, row), row, addresses, kind));
            }
        }
        let outputs = of_values(&self.graph.outputs);
        let buckets = buckets.iter().enumerate().map(|(program, &tokens)| Bucket { program, tokens }).collect();
        Interface { buckets, inputs, outputs }
    }
}
