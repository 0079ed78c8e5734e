//! The ports of a plan: one for each region that the host fills or reads.

use lpu_isa::Hemisphere;
use lpu_model::ValueId;

use super::Plan;
use crate::interface::{
    Bucket, Interface, Lanes, Port, PortKind, RotaryPart, address_name, mask_name, region_name, rotary_name,
};
use crate::rows::ROW_SLICES;
use crate::target::CHIP;

impl Plan {
    /// What programs that hold these tokens ask of their host and give back.
    pub(crate) fn interface(&self, lanes: usize, buckets: &[usize]) -> Interface {
        let port = |region: String, lanes: Lanes, kind: PortKind| Port { region, chip: CHIP.0, row: 0, lanes, kind };
        let of_value = |&value: &ValueId| {
            let name = &self.graph.value(value).name;
            let kind = match name.as_str() {
                "embedding" => PortKind::Embedding,
                "position" => PortKind::Position,
                "head.logits" => PortKind::Logits { first: 0 },
                _ => PortKind::Activation { value: name.clone() },
            };
            port(region_name(name).to_owned(), Lanes::of(&self.layouts[&value], lanes), kind)
        };
        let mut inputs: Vec<Port> = self.graph.inputs.iter().map(of_value).collect();
        let half = self.half_head();
        for &table in self.inputs.rotary.keys() {
            for part in [RotaryPart::Cos, RotaryPart::Sin] {
                let repeated = Lanes::Repeated { elements: half, times: lanes / half.max(1) };
                inputs.push(port(rotary_name(table, part), repeated, PortKind::Rotary { table, part }));
            }
        }
        let tokens = Lanes::Repeated { elements: self.context, times: 1 };
        for window in self.windows() {
            inputs.push(port(mask_name(window), tokens.clone(), PortKind::Mask { window }));
        }
        for side in Hemisphere::BOTH {
            if !self.inputs.masks.is_empty() {
                let (slices, spare) = (ROW_SLICES, (self.context / ROW_SLICES) as u16);
                let addresses = Lanes::Repeated { elements: slices, times: 1 };
                inputs.push(port(
                    address_name(side),
                    addresses,
                    PortKind::KvAddress { side: side.into(), slices, spare },
                ));
            }
        }
        let outputs = self.graph.outputs.iter().map(of_value).collect();
        let buckets = buckets.iter().enumerate().map(|(program, &tokens)| Bucket { program, tokens }).collect();
        Interface { buckets, inputs, outputs }
    }
}
