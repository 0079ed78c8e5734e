//! Plans that outlive the process: what a start needs of a proven program, as bytes and back.
//!
//! The bytes serve the engine that made them, over the same file and chip, and no other: a key of all that they depend
//! on goes into their checksum. Nor is a file trusted after that: [`crate::validate`] holds every place and number in
//! it to the memory at hand.

use lpu_isa::Program;

use crate::places::{At, ChipPlaces};
use crate::plan::{ChipPlan, Plan};
use crate::run::Run;
use crate::system::SystemPlan;

/// First bytes of a kept plan, with the version of their form.
const MAGIC: [u8; 8] = *b"LPUPLAN1";

/// Version of plans: of what they hold, in which encoding, and of what each operation means. A change of any of that
/// raises it; `tests/tests/plans.rs` holds it to the plans of a few programs.
pub const PLAN_VERSION: u32 = 3;

/// Where a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramOrigin {
    /// Hash of the program file.
    pub file: [u8; 32],
    /// Number of the program in the file.
    pub program: u32,
}

/// All that a plan depends on, in 32 bytes.
pub(crate) fn key(origin: ProgramOrigin, fingerprint: [u8; 32], chips: &[ChipPlaces]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&PLAN_VERSION.to_le_bytes());
    hasher.update(&origin.file).update(&origin.program.to_le_bytes()).update(&fingerprint);
    chips.iter().for_each(|chip| chip.places.digest(&mut hasher));
    *hasher.finalize().as_bytes()
}

/// What a program has in bytes, before it is validated.
pub(crate) type Kept = (Run, Vec<Plan<At>>, Vec<ChipPlan>);

/// The bytes of a program's plans: magic, checksum under the key, content.
pub(crate) fn write(key: &[u8; 32], run: Run, plan: &SystemPlan) -> Option<Vec<u8>> {
    let plans: Vec<&Plan<At>> = plan.plans.iter().map(|plan| &**plan).collect();
    let content = postcard::to_allocvec(&(run.cycles, run.fetched, plans, &plan.chips)).ok()?;
    Some([&MAGIC[..], blake3::keyed_hash(key, &content).as_bytes(), &content].concat())
}

/// The plans in bytes, if they are those of [`write`] under this key and state the program's cycles.
pub(crate) fn read(key: &[u8; 32], program: &Program, bytes: &[u8]) -> Option<Kept> {
    let (checksum, content) = bytes.strip_prefix(&MAGIC)?.split_first_chunk::<32>()?;
    if blake3::keyed_hash(key, content) != *checksum {
        return None;
    }
    let ((cycles, fetched, plans, chips), rest) = postcard::take_from_bytes(content).ok()?;
    (rest.is_empty() && cycles == program.cycles).then_some((Run { cycles, fetched, overflow: false }, plans, chips))
}
