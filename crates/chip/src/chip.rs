//! A chip: its figures, and the positions, queues and delays that follow from them.

use crate::figure::{ChipError, FIELDS, Figure, Figures};
use lpu_isa::{ChipRef, DelayClass, Hemisphere, PassFormat, PlanePort, Queue, SliceId, TableRow, Unit};

/// What a pass occupies from its dispatch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Adjacent planes, from the one of its queue on; it takes as many streams.
    pub planes: u8,
    /// Cycles in which these planes take no other pass.
    pub cycles: u64,
}

/// A chip description that has passed its checks.
/// ```
/// use lpu_chip::{Chip, preset};
///
/// let tsp = preset("tsp-v1")?;
/// assert_eq!((tsp.lanes(), tsp.values().clock_mhz), (320, 900));
///
/// let slow = tsp.with(&[("clock_mhz", 450)])?;
/// assert_ne!(slow.fingerprint(), tsp.fingerprint());
/// assert_eq!(Chip::from_toml(&slow.to_toml())?, slow);
/// println!("{}", tsp.with(&[("streams", 0)]).unwrap_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chip {
    name: String,
    values: Figures,
    figures: Vec<Figure>,
    synthetic: Option<String>,
    fingerprint: [u8; 32],
}

impl Chip {
    /// Reads a description: `name = "..."` and every figure as `field = 320` or
    /// `field = { value = 320, tag = "published", source = "..." }`.
    ///
    /// `extends = "..."` names a chip that `by_name` knows, whose figures hold where none is given; `synthetic = "..."`
    /// says that no such chip is published, and why its figures are as they are.
    ///
    /// # Errors
    /// [`ChipError`] names the field that is missing, unknown, out of range or contradictory; those of `by_name`.
    pub fn read(text: &str, by_name: &mut dyn FnMut(&str) -> Result<Chip, ChipError>) -> Result<Self, ChipError> {
        let table = toml::from_str(text).map_err(|error| ChipError::Syntax { message: error.to_string() })?;
        Self::from_table(table, by_name)
    }

    pub(crate) fn from_table(
        mut table: toml::Table,
        by_name: &mut dyn FnMut(&str) -> Result<Chip, ChipError>,
    ) -> Result<Self, ChipError> {
        let syntax = |message: String| ChipError::Syntax { message };
        let name = match table.remove("name") {
            Some(toml::Value::String(name)) if !name.is_empty() => name,
            _ => return Err(syntax("`name` must be a text".into())),
        };
        let base = match table.remove("extends") {
            None => None,
            Some(toml::Value::String(base)) if !base.is_empty() => Some(by_name(&base)?),
            Some(_) => return Err(syntax("`extends` must be the name of a chip".into())),
        };
        let synthetic = match table.remove("synthetic") {
            None => base.as_ref().and_then(|base| base.synthetic.clone()),
            Some(toml::Value::String(why)) if !why.is_empty() => Some(why),
            Some(_) => return Err(syntax("`synthetic` must be a text that says why".into())),
        };
        let mut values = Figures::default();
        let mut figures = Vec::with_capacity(FIELDS.len());
        for (index, field) in FIELDS.iter().enumerate() {
            let figure = field.take_or(&mut table, base.as_ref().map(|base| &base.figures[index]))?;
            values.set(field.name, figure.value);
            figures.push(figure);
        }
        if let Some(field) = table.keys().next() {
            return Err(ChipError::UnknownField { field: field.clone() });
        }
        check(&values)?;
        let mut hasher = blake3::Hasher::new();
        for figure in &figures {
            hasher.update(format!("{}={}\n", figure.name, figure.value).as_bytes());
        }
        Ok(Self { name, values, figures, synthetic, fingerprint: *hasher.finalize().as_bytes() })
    }

    /// The same chip with other values of some figures, tagged assumed.
    ///
    /// # Errors
    /// [`ChipError`] names the field that is unknown, out of range or contradictory.
    pub fn with(&self, changes: &[(&str, u32)]) -> Result<Self, ChipError> {
        let mut table: toml::Table =
            toml::from_str(&self.to_toml()).map_err(|error| ChipError::Syntax { message: error.to_string() })?;
        for &(field, value) in changes {
            if !FIELDS.iter().any(|known| known.name == field) {
                return Err(ChipError::UnknownField { field: field.to_owned() });
            }
            table.insert(field.to_owned(), toml::Value::Integer(i64::from(value)));
        }
        Self::from_table(table, &mut |name| Err(ChipError::UnknownPreset { name: name.into(), known: String::new() }))
    }

    /// The description's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why figures of a chip that is not published are as they are; none for one that is.
    #[must_use]
    pub fn synthetic(&self) -> Option<&str> {
        self.synthetic.as_deref()
    }

    /// The values of all figures.
    #[must_use]
    pub fn values(&self) -> &Figures {
        &self.values
    }

    /// All figures with their provenance, in the order of the description.
    #[must_use]
    pub fn figures(&self) -> &[Figure] {
        &self.figures
    }

    /// Name and fingerprint, as programs carry them.
    #[must_use]
    pub fn reference(&self) -> ChipRef {
        ChipRef { name: self.name.clone(), fingerprint: self.fingerprint }
    }

    /// Hash over every figure's name and value; the name, the sources and whether it is synthetic do not enter it.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The description as TOML that [`Chip::from_toml`] reads back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = format!("name = {}\n", toml::Value::from(self.name.as_str()));
        if let Some(why) = &self.synthetic {
            text.push_str(&format!("synthetic = {}\n", toml::Value::from(why.as_str())));
        }
        self.figures.iter().for_each(|figure| text.push_str(&figure.to_toml()));
        text
    }

    /// Lanes of a vector, which is also its bytes on one stream.
    #[must_use]
    pub fn lanes(&self) -> usize {
        (self.values.superlanes * self.values.lanes_per_superlane) as usize
    }

    /// Superlanes of a vector.
    #[must_use]
    pub fn superlanes(&self) -> usize {
        self.values.superlanes as usize
    }

    /// Streams in each direction.
    #[must_use]
    pub fn streams(&self) -> u8 {
        self.values.streams as u8
    }

    /// Words of a slice, all banks together.
    #[must_use]
    pub fn words_per_slice(&self) -> u32 {
        self.values.banks * self.values.words_per_bank
    }

    /// The bank of a word: the high part of its address.
    #[must_use]
    pub fn bank(&self, word: u32) -> u32 {
        word / self.values.words_per_bank
    }

    /// Bytes of SRAM of the whole chip.
    #[must_use]
    pub fn sram_bytes(&self) -> u64 {
        2 * u64::from(self.values.slices_per_side) * u64::from(self.words_per_slice()) * self.lanes() as u64
    }

    /// Positions of MEM slices in a hemisphere.
    #[must_use]
    pub fn mem_positions(&self) -> i32 {
        self.values.slices_per_side.div_ceil(self.values.slices_per_position) as i32
    }

    /// The slices, east side first, outward from the VXM.
    pub fn slices(&self) -> impl Iterator<Item = SliceId> + use<> {
        let count = self.values.slices_per_side as u16;
        Hemisphere::BOTH.into_iter().flat_map(move |side| (0..count).map(move |index| SliceId { side, index }))
    }

    /// Position of a slice; the VXM is at 0, each hop is one position, east is positive.
    #[must_use]
    pub fn slice_position(&self, slice: SliceId) -> i32 {
        outward(slice.side, i32::from(slice.index) / self.values.slices_per_position as i32 + 1)
    }

    /// Position of a hemisphere's SXM.
    #[must_use]
    pub fn sxm_position(&self, side: Hemisphere) -> i32 {
        outward(side, self.mem_positions() + 1)
    }

    /// Position of a hemisphere's MXM planes, the last of the chip.
    #[must_use]
    pub fn mxm_position(&self, side: Hemisphere) -> i32 {
        outward(side, self.mem_positions() + 2)
    }

    /// Position of the unit that a queue feeds; links sit at the chip's edges with the MXM planes, the first
    /// half of them east.
    #[must_use]
    pub fn position(&self, queue: Queue) -> i32 {
        match queue {
            Queue::Mem(side, index) => self.slice_position(SliceId { side, index }),
            Queue::Vxm(_) => 0,
            Queue::Mxm(side, ..) => self.mxm_position(side),
            Queue::Sxm(side, _) => self.sxm_position(side),
            Queue::C2c(link) if u32::from(link) * 2 < self.values.c2c_queues => self.mxm_position(Hemisphere::East),
            Queue::C2c(_) => self.mxm_position(Hemisphere::West),
        }
    }

    /// Whether the chip has this queue.
    #[must_use]
    pub fn has_queue(&self, queue: Queue) -> bool {
        let values = &self.values;
        let (index, count) = match queue {
            Queue::Mem(_, slice) => (slice, values.slices_per_side),
            Queue::Vxm(alu) => (alu, values.alus),
            Queue::Mxm(_, plane, _) => (plane, values.planes_per_side),
            Queue::Sxm(_, unit) => (unit, values.sxm_per_side),
            Queue::C2c(link) => (link, values.c2c_queues),
        };
        u32::from(index) < count
    }

    /// All queues in order.
    #[must_use]
    pub fn queues(&self) -> Vec<Queue> {
        let values = &self.values;
        let mut queues: Vec<Queue> = self.slices().map(SliceId::queue).collect();
        queues.extend((0..values.alus as u16).map(Queue::Vxm));
        for side in Hemisphere::BOTH {
            for plane in 0..values.planes_per_side as u16 {
                queues.extend(PlanePort::ALL.map(|port| Queue::Mxm(side, plane, port)));
            }
            queues.extend((0..values.sxm_per_side as u16).map(|unit| Queue::Sxm(side, unit)));
        }
        queues.extend((0..values.c2c_queues as u16).map(Queue::C2c));
        queues.sort_unstable();
        queues
    }

    /// Cycles from dispatch to effect at the unit's own position.
    #[must_use]
    pub fn delay(&self, class: DelayClass) -> u32 {
        let values = &self.values;
        match class {
            DelayClass::None => 0,
            DelayClass::IcuFetch => values.icu_fetch,
            DelayClass::IcuBarrier => values.icu_barrier,
            DelayClass::MemRead => values.mem_read,
            DelayClass::MemWrite => values.mem_write,
            DelayClass::MemGather => values.mem_gather,
            DelayClass::MemScatter => values.mem_scatter,
            DelayClass::VxmSimple => values.vxm_simple,
            DelayClass::VxmSpecial => values.vxm_special,
            DelayClass::SxmLocal => values.sxm_local,
            DelayClass::SxmAcross => values.sxm_across,
            DelayClass::MxmLoad => values.mxm_load,
            DelayClass::MxmInstall => values.mxm_install,
            DelayClass::MxmPass => values.mxm_pass,
            DelayClass::MxmAccumulate => values.mxm_accumulate,
            DelayClass::C2cLink => values.c2c_link,
            DelayClass::C2cReceive => values.c2c_receive,
        }
    }

    /// The cycle in which the effect of an instruction of this class, dispatched in `cycle`, lands at its unit's own
    /// position.
    #[must_use]
    pub fn landing(&self, cycle: u64, class: DelayClass) -> u64 {
        cycle + u64::from(self.delay(class))
    }

    /// The landing of an instruction that has an effect in a tile. Control has none, so it does not extend a run.
    #[must_use]
    pub fn effect(&self, cycle: u64, row: &TableRow) -> Option<u64> {
        (row.unit != Unit::Icu && row.delay != DelayClass::None).then(|| self.landing(cycle, row.delay))
    }

    /// Cycles of a run, from the last landing of an [effect](Chip::effect) in its first tile; a run without effects has
    /// none. An effect reaches one further tile a cycle, and the run ends after the cycle in which it reaches the last.
    #[must_use]
    pub fn run_cycles(&self, last: Option<u64>) -> u64 {
        last.map_or(0, |last| last + u64::from(self.values.superlanes))
    }

    /// What a pass occupies from its dispatch on.
    #[must_use]
    pub fn occupancy(&self, format: PassFormat) -> Occupancy {
        match format {
            PassFormat::I8 => Occupancy { planes: 1, cycles: 1 },
            PassFormat::F16 => Occupancy { planes: 2, cycles: u64::from(self.values.mxm_f16_interval) },
        }
    }

    /// The largest number of cycles from dispatch to the last effect of any instruction.
    #[must_use]
    pub fn longest_delay(&self) -> u32 {
        lpu_isa::TABLE.iter().map(|row| self.delay(row.delay)).max().unwrap_or(0)
    }
}

fn outward(side: Hemisphere, distance: i32) -> i32 {
    match side {
        Hemisphere::East => distance,
        Hemisphere::West => -distance,
    }
}

fn check(values: &Figures) -> Result<(), ChipError> {
    let contradiction = |field, value, why: String| Err(ChipError::Contradiction { field, value, why });
    let lanes = values.superlanes * values.lanes_per_superlane;
    if !values.streams.is_multiple_of(16) {
        return contradiction("streams", values.streams, "weights load in groups of 16 streams".into());
    }
    if !values.planes_per_side.is_multiple_of(2) {
        return contradiction("planes_per_side", values.planes_per_side, "fp16 takes planes in pairs".into());
    }
    if values.transposers_per_side > values.sxm_per_side {
        return contradiction(
            "transposers_per_side",
            values.transposers_per_side,
            format!("`sxm_per_side` is {}", values.sxm_per_side),
        );
    }
    if values.mem_gather_access >= values.mem_gather {
        return contradiction(
            "mem_gather_access",
            values.mem_gather_access,
            format!("the gather ends after {} cycles", values.mem_gather),
        );
    }
    if u64::from(values.banks) * u64::from(values.words_per_bank) > 1 << 24 {
        return contradiction("words_per_bank", values.words_per_bank, "a word address has 24 bits".into());
    }
    let bytes = 2
        * u64::from(values.slices_per_side)
        * u64::from(values.banks)
        * u64::from(values.words_per_bank)
        * u64::from(lanes);
    if bytes > 1 << 36 {
        return contradiction(
            "slices_per_side",
            values.slices_per_side,
            format!("{bytes} bytes of SRAM exceed 64 GiB"),
        );
    }
    Ok(())
}
