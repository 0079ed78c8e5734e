//! A system: several chips of one description and the links between them. One chip is a system of one.

use std::collections::BTreeMap;

use lpu_isa::{ChipId, ChipRef, DelayClass, Fault, Held, Instruction, Queue, TableRow, Unit};

use crate::chip::Chip;
use crate::figure::{ChipError, Figure};
use crate::link::{LinkClass, LinkEnd};
use crate::preset::{PRESETS, preset};
use crate::range::out_of_range;
use crate::topology::Topology;

/// Names of the systems that ship.
pub const SYSTEMS: &[&str] = &[
    "tsp-v1-node",
    "tsp-v1-rack",
    "tsp-v1-264",
    "tsp-v1-576",
    "lp30-tray-like",
    "lp30-rack-like",
    "stacked-node-like",
    "stacked-16-node-like",
    "test-pair",
];

/// Chips of one description, numbered from 0, and the links between them; a link carries vectors both ways.
/// ```
/// use lpu_chip::{System, preset};
///
/// let node = System::preset("tsp-v1-node")?;
/// println!("{} chips of {}", node.chips(), node.chip().name());
/// assert_eq!(System::single(&preset("tsp-v1")?).chips(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    pub(crate) name: String,
    pub(crate) chip: Chip,
    pub(crate) chips: u16,
    /// The rule by which it is wired, with its figures; none where links are listed.
    pub(crate) topology: Option<(Topology, Vec<Figure>)>,
    pub(crate) classes: Vec<LinkClass>,
    /// By end: the other end, and the number of the link's class where it has one.
    pub(crate) peers: BTreeMap<LinkEnd, (LinkEnd, Option<u8>)>,
    fingerprint: [u8; 32],
}

impl From<&Chip> for System {
    fn from(chip: &Chip) -> Self {
        Self::single(chip)
    }
}

impl From<&System> for System {
    fn from(system: &System) -> Self {
        system.clone()
    }
}

impl System {
    /// One chip without links; its name and fingerprint are the chip's.
    #[must_use]
    pub fn single(chip: &Chip) -> Self {
        Self::unconnected(chip.name().to_owned(), chip.clone(), 1)
    }

    /// Chips without links.
    pub(crate) fn unconnected(name: String, chip: Chip, chips: u16) -> Self {
        let fingerprint = chip.fingerprint();
        Self { name, chip, chips, topology: None, classes: Vec::new(), peers: BTreeMap::new(), fingerprint }
    }

    /// The system or chip preset of this name.
    ///
    /// # Errors
    /// [`ChipError::UnknownPreset`] lists the names there are.
    pub fn preset(name: &str) -> Result<Self, ChipError> {
        let text = match name {
            "tsp-v1-node" => include_str!("presets/tsp-v1-node.toml"),
            "tsp-v1-rack" => include_str!("presets/tsp-v1-rack.toml"),
            "tsp-v1-264" => include_str!("presets/tsp-v1-264.toml"),
            "tsp-v1-576" => include_str!("presets/tsp-v1-576.toml"),
            "lp30-tray-like" => include_str!("presets/lp30-tray-like.toml"),
            "lp30-rack-like" => include_str!("presets/lp30-rack-like.toml"),
            "stacked-node-like" => include_str!("presets/stacked-node-like.toml"),
            "stacked-16-node-like" => include_str!("presets/stacked-16-node-like.toml"),
            "test-pair" => include_str!("presets/test-pair.toml"),
            _ if PRESETS.contains(&name) => return Ok(Self::single(&preset(name)?)),
            _ => {
                return Err(ChipError::UnknownPreset {
                    name: name.into(),
                    known: [PRESETS, SYSTEMS].concat().join(", "),
                });
            }
        };
        Self::from_toml(text, &mut preset)
    }

    /// Connects two ends by a link of a class, where it has one.
    pub(crate) fn connect(&mut self, one: LinkEnd, other: LinkEnd, class: Option<u8>) -> Result<(), ChipError> {
        let wrong = |why| Err(ChipError::Link { link: format!("{one} - {other}"), why });
        if one.chip == other.chip {
            return wrong("both ends are on one chip");
        }
        for end in [one, other] {
            if end.chip.0 >= self.chips {
                return wrong("the system has no such chip");
            }
            if !self.chip.has_queue(Queue::C2c(end.link)) {
                return wrong("the chip has no such C2C queue");
            }
            if self.peers.contains_key(&end) {
                return wrong("an end is connected twice");
            }
        }
        self.peers.extend([(one, (other, class)), (other, (one, class))]);
        Ok(())
    }

    /// Makes the fingerprint that of all that is connected: chip, number of chips, links, and their figures where these
    /// are not the chip's.
    pub(crate) fn sign(&mut self) {
        if self.chips == 1 && self.peers.is_empty() {
            return;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.chip.fingerprint());
        hasher.update(format!("chips={}\n", self.chips).as_bytes());
        for (&one, (other, _)) in &self.peers {
            let own = (self.latency(one), self.interval(one));
            let values = self.chip.values();
            if own == (u64::from(values.c2c_link), u64::from(values.c2c_interval)) {
                hasher.update(format!("{one}-{other}\n").as_bytes());
            } else {
                hasher.update(format!("{one}-{other} {} {}\n", own.0, own.1).as_bytes());
            }
        }
        self.fingerprint = *hasher.finalize().as_bytes();
    }

    /// The description's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The description that all chips share.
    #[must_use]
    pub fn chip(&self) -> &Chip {
        &self.chip
    }

    /// Number of chips.
    #[must_use]
    pub fn chips(&self) -> u16 {
        self.chips
    }

    /// The rule by which the system is wired; none where its links are listed.
    #[must_use]
    pub fn topology(&self) -> Option<&Topology> {
        self.topology.as_ref().map(|(topology, _)| topology)
    }

    /// Classes of links with figures of their own.
    #[must_use]
    pub fn classes(&self) -> &[LinkClass] {
        &self.classes
    }

    /// The other end of a link, if it is connected.
    #[must_use]
    pub fn peer(&self, end: LinkEnd) -> Option<LinkEnd> {
        self.peers.get(&end).map(|(peer, _)| *peer)
    }

    /// The class of a link; none where it has the chip's own figures, or is not connected.
    #[must_use]
    pub fn class(&self, end: LinkEnd) -> Option<&LinkClass> {
        self.classes.get(usize::from(self.peers.get(&end)?.1?))
    }

    /// Cycles from a send at this end to the earliest receive at the other.
    #[must_use]
    pub fn latency(&self, end: LinkEnd) -> u64 {
        self.class(end).map_or(self.chip.values().c2c_link, |class| class.latency.value).into()
    }

    /// Cycles that a vector occupies the link at this end.
    #[must_use]
    pub fn interval(&self, end: LinkEnd) -> u64 {
        self.class(end).map_or(self.chip.values().c2c_interval, |class| class.interval.value).into()
    }

    /// When what a queue dispatches in a cycle has landed: a send at the other end of its link.
    #[must_use]
    pub fn landing(&self, chip: ChipId, queue: Queue, cycle: u64, class: DelayClass) -> u64 {
        match (queue, class) {
            (Queue::C2c(link), DelayClass::C2cLink) => cycle + self.latency(LinkEnd { chip, link }),
            _ => self.chip.landing(cycle, class),
        }
    }

    /// The [landing](System::landing) of an instruction that has an effect in a tile, as [`Chip::effect`].
    #[must_use]
    pub fn effect(&self, chip: ChipId, queue: Queue, cycle: u64, row: &TableRow) -> Option<u64> {
        self.chip.effect(cycle, row).map(|_| self.landing(chip, queue, cycle, row.delay))
    }

    /// All links, each once, the lower end first.
    #[must_use]
    pub fn links(&self) -> Vec<(LinkEnd, LinkEnd)> {
        let links = self.peers.iter().map(|(one, (other, _))| (*one, *other));
        links.filter(|(one, other)| one < other).collect()
    }

    /// Name and fingerprint, as programs carry them.
    #[must_use]
    pub fn reference(&self) -> ChipRef {
        ChipRef { name: self.name.clone(), fingerprint: self.fingerprint }
    }

    /// The first operand of an instruction that names something the system does not have.
    #[must_use]
    pub fn out_of_range(&self, chip: ChipId, queue: Queue, instruction: &Instruction) -> Option<Fault> {
        if let Some(fault) = self.absent(Held::Queue, chip) {
            return Some(fault);
        }
        let connected = match queue {
            Queue::C2c(link)
                if instruction.row().unit == Unit::C2c && !matches!(instruction, Instruction::Deskew {}) =>
            {
                self.peers.contains_key(&LinkEnd { chip, link })
            }
            _ => true,
        };
        out_of_range(&self.chip, queue, instruction).or_else(|| {
            let Queue::C2c(link) = queue else { return None };
            (!connected).then_some(Fault::RangeOverflow {
                what: "connected link",
                value: i64::from(link),
                limit: self.peers.len() as i64 / 2,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(chip: u16, link: u16) -> LinkEnd {
        LinkEnd { chip: ChipId(chip), link }
    }

    #[test]
    fn a_node_connects_each_chip_to_each_other() {
        let node = System::preset("tsp-v1-node").unwrap();
        assert_eq!(node.chips(), 8);
        // Local ports 0 to 3 are in the east, 4 to 6 in the west; 4, 5 and 9, 10 are left for other nodes.
        let ports = [0, 1, 2, 3, 6, 7, 8];
        for chip in 0..8 {
            let peers = (0..12).filter_map(|link| Some((link, node.peer(end(chip, link))?)));
            let expected = ports.iter().zip(1..).map(|(&link, x)| (link, end(chip ^ x, link)));
            assert_eq!(peers.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
        assert_eq!(node.links().len(), 28);
        let single = System::preset("tsp-v1").unwrap();
        assert_eq!(single.reference(), single.chip().reference());
        assert_ne!(single.reference().fingerprint, node.reference().fingerprint);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let none = &mut |name: &str| Err(ChipError::UnknownPreset { name: name.into(), known: String::new() });
        let of = |chips: u16, links: &str| {
            System::from_toml(
                &format!("name = 'x\"\\\\'\nchip = 'test-small'\nchips = {chips}\nlinks = {links}"),
                &mut preset,
            )
            .unwrap()
        };
        let mut systems: Vec<System> =
            [SYSTEMS, PRESETS].concat().into_iter().map(|name| System::preset(name).unwrap()).collect();
        systems.extend([
            of(1, "[]"),
            of(3, "[]"),
            of(3, "['0.0 - 1.3', '2.7 - 0.2']"),
            of(9, "'all'"),
            of(2, "['1.0 - 0.0']"),
        ]);
        for system in systems {
            let text = system.to_toml();
            assert_eq!(System::read(&text, none), Ok(system), "{text}");
        }
    }

    #[test]
    fn links_change_the_fingerprint() {
        let of = |links: &str| {
            let text = format!("name = 'x'\nchip = 'test-small'\nchips = 3\nlinks = {links}");
            System::from_toml(&text, &mut preset).unwrap().reference().fingerprint
        };
        assert_ne!(of("[]"), of("['0.0 - 1.0']"));
        assert_ne!(of("['0.0 - 1.0']"), of("['0.0 - 2.0']"));
        assert_eq!(of("['0.0 - 1.0', '1.1 - 2.1']"), of("['2.1 - 1.1', '1.0 - 0.0']"));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let cases = [
            ("chips = 0", "links = []", "`chips` is 0"),
            ("chips = 'x'", "links = []", "`chips` is"),
            ("", "links = []", "field `chips` is missing"),
            ("chips = 2", "links = ['0.0 - 2.0']", "no such chip"),
            ("chips = 2", "links = ['0.0 - 1.8']", "no such C2C queue"),
            ("chips = 2", "links = ['0.0 - 0.1']", "on one chip"),
            ("chips = 2", "links = ['0.0 - 1.0', '1.0 - 0.1']", "connected twice"),
            ("chips = 2", "links = ['0.0']", "write it as"),
            ("chips = 2", "links = [3]", "must hold texts"),
            ("chips = 2", "links = 3", "`links` must be"),
            ("chips = 2", "lnks = []", "unknown field `lnks`"),
        ];
        for (chips, links, expected) in cases {
            let text = format!("name = 'x'\nchip = 'test-small'\n{chips}\n{links}");
            let message = System::from_toml(&text, &mut preset).unwrap_err().to_string();
            assert!(message.contains(expected), "{chips}, {links}: {message}");
        }
        assert!(System::preset("nothing").unwrap_err().to_string().contains("test-pair"));
    }

    #[test]
    fn only_connected_links_are_in_range() {
        let pair = System::preset("test-pair").unwrap();
        let send = Instruction::Send { src: lpu_isa::Stream::east(0) };
        assert_eq!(pair.peer(end(0, 0)), Some(end(1, 1)));
        assert_eq!(pair.out_of_range(ChipId(0), Queue::C2c(0), &send), None);
        assert!(pair.out_of_range(ChipId(1), Queue::C2c(0), &send).is_some());
        assert_eq!(pair.out_of_range(ChipId(1), Queue::C2c(0), &Instruction::Deskew {}), None);
        assert!(System::single(pair.chip()).out_of_range(ChipId(0), Queue::C2c(0), &send).is_some());
    }
}
