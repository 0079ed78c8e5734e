//! Superlanes without power: what an instruction takes and puts there is zero.

use super::builder::{Need, PlanBuilder};
use crate::plan::{Bytes, Op, Ref};

impl PlanBuilder<'_> {
    /// A register with the same 32-bit lanes, and zero from lane `live` on.
    pub(super) fn powered(&mut self, register: u32, live: u16) -> u32 {
        let dst = self.duplicate(register);
        let mut need = Need::default();
        self.need(&mut need, Ref::Register(dst));
        self.emit(Op::Zero { dst: Ref::Register(dst), from: live }, &need, &[], &[dst], &[]);
        dst
    }

    /// The same bytes, and zero from lane `live` on.
    pub(super) fn powered_bytes(&mut self, bytes: Bytes<Ref>, live: u16) -> Bytes<Ref> {
        let wide = self.wide(&[bytes]);
        let register = self.materialise(wide, 0);
        Bytes::Lane(Ref::Register(self.powered(register, live)), 0)
    }
}
