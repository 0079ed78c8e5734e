//! The machine as its users see it: SRAM that outlives runs, regions in and out.

use std::borrow::Cow;

use lpu_chip::{Chip, System};
use lpu_isa::{ChipId, Image, Program, RegionError, SliceId, Sram, region};

use crate::error::MachineError;
use crate::prepare::Prepared;
use crate::sram::ChipSram;

/// A system of chips with their SRAM.
/// ```
/// use lpu_emulator::Machine;
///
/// let text = ".chip tsp-v1
/// .program copy
/// .cycles 27
/// .input a i8 [1 320] at e0:0
/// .output b i8 [1 320] at e4:0
/// .queue mem.e0
/// @0 read a, e0
/// .queue mem.e4
/// @5 write b, e0
/// ";
/// let chip = lpu_chip::preset("tsp-v1")?;
/// let mut known = |_: &str| Some((chip.reference(), chip.lanes() as u32));
/// let assembled = lpu_isa::assemble(text, &mut |_| Err("no files".into()), &mut known);
/// let (container, _) = assembled.map_err(|errors| errors[0].message.clone())?;
/// let program = &container.programs[0];
/// let mut machine = Machine::new(&chip, &container.image)?;
/// machine.write_input(program, "a", &[7; 320])?;
/// let prepared = machine.prepare(program)?;
/// assert_eq!(machine.run(&prepared, &mut ())?.cycles, 27);
/// assert_eq!(machine.read_region(program, "b")?, [7; 320]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Machine {
    pub(crate) system: System,
    pub(crate) chips: Vec<ChipSram>,
    /// Binary16 values by their bits.
    pub(crate) widen: Vec<f32>,
}

impl Machine {
    /// One chip whose SRAM holds the image.
    ///
    /// # Errors
    /// [`MachineError`] when the image does not fit the chip.
    pub fn new(chip: &Chip, image: &Image<'_>) -> Result<Self, MachineError> {
        Self::of_system(&System::single(chip), image)
    }

    /// A system of chips whose SRAM holds the image.
    ///
    /// # Errors
    /// [`MachineError`] when the image does not fit the chips.
    pub fn of_system(system: &System, image: &Image<'_>) -> Result<Self, MachineError> {
        let widen = (0..=u16::MAX).map(lpu_num::half::f16_to_f32).collect();
        let mut machine = Self { system: system.clone(), chips: Vec::new(), widen };
        machine.reset(image)?;
        Ok(machine)
    }

    pub(crate) fn chip(&self) -> &Chip {
        self.system.chip()
    }

    /// Puts SRAM back to the image.
    ///
    /// # Errors
    /// [`MachineError`] when the image does not fit the chip.
    pub fn reset(&mut self, image: &Image<'_>) -> Result<(), MachineError> {
        if !image.extents.is_empty() && image.vector_bytes as usize != self.chip().lanes() {
            return Err(MachineError::VectorBytes { found: image.vector_bytes, expected: self.chip().lanes() });
        }
        if let Some(&first) = self.system.absent_of_image(image).first() {
            return Err(MachineError::ChipAbsent(first));
        }
        self.chips = (0..self.system.chips()).map(|_| ChipSram::new(self.chip())).collect();
        for extent in &image.extents {
            for place in extent.places() {
                let end = place.word.saturating_add(place.count.max(1) - 1);
                if !self.chips[usize::from(place.chip.0)].contains(place.slice, end) {
                    let what = "an extent of the image".into();
                    return Err(RegionError::OutsideSram { what, slice: place.slice, word: end }.into());
                }
            }
            for (chip, slice, word, bytes) in extent.words() {
                let sram = &mut self.chips[usize::from(chip.0)];
                sram.load(sram.index(slice), word, &bytes);
            }
        }
        Ok(())
    }

    /// Makes a program ready to run.
    ///
    /// # Errors
    /// [`MachineError`] when queues have no meaning or regions do not fit.
    pub fn prepare(&self, program: &Program) -> Result<Prepared, MachineError> {
        if let Some(&first) = self.system.absent_of_program(program).first() {
            return Err(MachineError::ChipAbsent(first));
        }
        program.validate_chips()?;
        program.regions.iter().try_for_each(|region| region::fits(self, region))?;
        Ok(Prepared::new(&self.system, &self.chips, program)?)
    }

    /// Fills an input region: its elements, little-endian, vector after vector.
    ///
    /// # Errors
    /// [`MachineError`] when there is no such input, or the bytes do not fill it.
    pub fn write_input(&mut self, program: &Program, name: &str, bytes: &[u8]) -> Result<(), MachineError> {
        Ok(region::write_input(self, program, name, bytes)?)
    }

    /// Reads a region: its elements, little-endian, vector after vector.
    ///
    /// # Errors
    /// [`MachineError`] when there is no such region.
    pub fn read_region(&self, program: &Program, name: &str) -> Result<Vec<u8>, MachineError> {
        Ok(region::read_region(self, program, name)?)
    }

    /// One word of SRAM.
    ///
    /// # Errors
    /// [`MachineError`] when there is no such word.
    pub fn read_word(&self, chip: ChipId, slice: SliceId, word: u32) -> Result<Cow<'_, [u8]>, MachineError> {
        Ok(region::read_word(self, chip, slice, word)?)
    }

    /// Replaces one word of SRAM.
    ///
    /// # Errors
    /// [`MachineError`] when there is no such word, or it has another length.
    pub fn write_word(&mut self, chip: ChipId, slice: SliceId, word: u32, bytes: &[u8]) -> Result<(), MachineError> {
        Ok(region::write_word(self, chip, slice, word, bytes)?)
    }
}

impl Sram for Machine {
    fn lanes(&self) -> usize {
        self.chip().lanes()
    }

    fn has_word(&self, chip: ChipId, slice: SliceId, word: u32) -> bool {
        self.chips.get(usize::from(chip.0)).is_some_and(|sram| sram.contains(slice, word))
    }

    fn word(&self, chip: ChipId, slice: SliceId, word: u32) -> Option<Cow<'_, [u8]>> {
        let sram = self.chips.get(usize::from(chip.0)).filter(|sram| sram.contains(slice, word))?;
        Some(sram.word(sram.index(slice), word))
    }

    fn word_mut(&mut self, chip: ChipId, slice: SliceId, word: u32) -> Option<&mut [u8]> {
        let sram = self.chips.get_mut(usize::from(chip.0)).filter(|sram| sram.contains(slice, word))?;
        let index = sram.index(slice);
        Some(sram.word_mut(index, word))
    }
}
