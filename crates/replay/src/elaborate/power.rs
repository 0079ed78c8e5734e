//! Superlanes without power: what an instruction takes and puts there is zero.

use super::builder::{Builder, Need};
use crate::plan::{Bytes, Op, Ref};

impl Builder<'_> {
    /// A slot with the same 32-bit lanes, and zero from lane `live` on.
    pub(super) fn powered(&mut self, slot: u32, live: u16) -> u32 {
        let dst = self.duplicate(slot);
        let mut need = Need::default();
        self.need(&mut need, Ref::Slot(dst));
        self.emit(Op::Zero { dst: Ref::Slot(dst), from: live }, &need, &[], &[dst], &[]);
        dst
    }

    /// The same bytes, and zero from lane `live` on.
    pub(super) fn powered_bytes(&mut self, bytes: Bytes<Ref>, live: u16) -> Bytes<Ref> {
        let wide = self.wide(&[bytes]);
        let slot = self.materialise(wide, 0);
        Bytes::Lane(Ref::Slot(self.powered(slot, live)), 0)
    }
}
