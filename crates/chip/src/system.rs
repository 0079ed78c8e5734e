//! A system: several chips of one description and the links between them. One chip is a system of one.

use std::collections::BTreeMap;

use lpu_isa::{ChipId, ChipRef, Fault, Held, Instruction, Queue, Unit};

use crate::chip::Chip;
use crate::figure::ChipError;
use crate::preset::{PRESETS, preset};
use crate::range::out_of_range;

/// Names of the systems that ship.
pub const SYSTEMS: &[&str] = &["tsp-v1-node", "test-pair"];

/// One end of a link: a C2C queue of a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkEnd {
    /// The chip.
    pub chip: ChipId,
    /// Number of its C2C queue.
    pub link: u16,
}

impl std::fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.chip.0, self.link)
    }
}

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
    name: String,
    chip: Chip,
    chips: u16,
    peers: BTreeMap<LinkEnd, LinkEnd>,
    fingerprint: [u8; 32],
}

impl System {
    /// One chip without links; its name and fingerprint are the chip's.
    #[must_use]
    pub fn single(chip: &Chip) -> Self {
        let fingerprint = chip.fingerprint();
        Self { name: chip.name().to_owned(), chip: chip.clone(), chips: 1, peers: BTreeMap::new(), fingerprint }
    }

    /// The system or chip preset of this name.
    ///
    /// # Errors
    /// [`ChipError::UnknownPreset`] lists the names there are.
    pub fn preset(name: &str) -> Result<Self, ChipError> {
        let text = match name {
            "tsp-v1-node" => include_str!("presets/tsp-v1-node.toml"),
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

    /// Reads a description of a system, as [`System::from_toml`], or of one chip, as [`Chip::from_toml`]: one that has
    /// a `chip` is a system's.
    ///
    /// # Errors
    /// [`ChipError`] names the field or link that is wrong.
    pub fn read(text: &str, chips_by_name: &mut dyn FnMut(&str) -> Result<Chip, ChipError>) -> Result<Self, ChipError> {
        let system = toml::from_str::<toml::Table>(text)
            .is_ok_and(|table| table.contains_key("chip") || table.contains_key("chips"));
        if system { Self::from_toml(text, chips_by_name) } else { Ok(Self::single(&Chip::from_toml(text)?)) }
    }

    /// Reads a description: `name`, `chip` (a name that `chips_by_name` knows, or a table that describes the chip),
    /// `chips`, and `links`, either `"all"` (each chip to each other, link j of chip i to chip j below i and to chip j
    /// + 1 from i on) or a list such as `["0.0 - 1.0"]` of `chip.link` ends.
    ///
    /// # Errors
    /// [`ChipError`] names the field or link that is wrong.
    pub fn from_toml(
        text: &str,
        chips_by_name: &mut dyn FnMut(&str) -> Result<Chip, ChipError>,
    ) -> Result<Self, ChipError> {
        let syntax = |message: String| ChipError::Syntax { message };
        let mut table: toml::Table = toml::from_str(text).map_err(|error| syntax(error.to_string()))?;
        let name = match table.remove("name") {
            Some(toml::Value::String(name)) if !name.is_empty() => name,
            _ => return Err(syntax("`name` of a system must be a text".into())),
        };
        let chip = match table.remove("chip") {
            Some(toml::Value::String(chip)) if !chip.is_empty() => chips_by_name(&chip)?,
            Some(toml::Value::Table(chip)) => Chip::from_toml(&chip.to_string())?,
            _ => return Err(syntax("`chip` of a system must be a text or a table".into())),
        };
        let range = |value: String| ChipError::Range { field: "chips", value, least: 1, most: 1024 };
        let count = table.remove("chips").ok_or(ChipError::Missing { field: "chips", least: 1, most: 1024 })?;
        let chips =
            count.as_integer().and_then(|count| u16::try_from(count).ok()).filter(|count| (1..=1024).contains(count));
        let chips = chips.ok_or_else(|| range(count.to_string()))?;
        let links = match table.remove("links") {
            None => Vec::new(),
            Some(toml::Value::String(all)) if all == "all" => {
                if u32::from(chips - 1) > chip.values().c2c_queues {
                    return Err(ChipError::Link {
                        link: all,
                        why: "there are more other chips than a chip has C2C queues",
                    });
                }
                every_pair(chips)
            }
            Some(toml::Value::Array(list)) => {
                let texts =
                    list.iter().map(|entry| entry.as_str().ok_or_else(|| syntax("`links` must hold texts".into())));
                texts.map(|text| parse(text?)).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(syntax("`links` must be \"all\" or a list of links".into())),
        };
        if let Some(field) = table.keys().next() {
            return Err(ChipError::UnknownField { field: field.clone() });
        }
        let mut system = Self { name, chips, peers: BTreeMap::new(), fingerprint: chip.fingerprint(), chip };
        for (one, other) in links {
            system.connect(one, other)?;
        }
        if chips > 1 || !system.peers.is_empty() {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&system.chip.fingerprint());
            hasher.update(format!("chips={chips}\n").as_bytes());
            for (one, other) in &system.peers {
                hasher.update(format!("{one}-{other}\n").as_bytes());
            }
            system.fingerprint = *hasher.finalize().as_bytes();
        }
        Ok(system)
    }

    fn connect(&mut self, one: LinkEnd, other: LinkEnd) -> Result<(), ChipError> {
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
        self.peers.extend([(one, other), (other, one)]);
        Ok(())
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

    /// The other end of a link, if it is connected.
    #[must_use]
    pub fn peer(&self, end: LinkEnd) -> Option<LinkEnd> {
        self.peers.get(&end).copied()
    }

    /// All links, each once, the lower end first.
    #[must_use]
    pub fn links(&self) -> Vec<(LinkEnd, LinkEnd)> {
        self.peers.iter().filter(|(one, other)| one < other).map(|(one, other)| (*one, *other)).collect()
    }

    /// Name and fingerprint, as programs carry them.
    #[must_use]
    pub fn reference(&self) -> ChipRef {
        ChipRef { name: self.name.clone(), fingerprint: self.fingerprint }
    }

    /// The description as TOML that [`System::read`] reads back, whatever chips have names.
    #[must_use]
    pub fn to_toml(&self) -> String {
        if *self == Self::single(&self.chip) {
            return self.chip.to_toml();
        }
        let links = self.links();
        let all = || {
            let mut all = every_pair(self.chips);
            all.sort_unstable();
            all
        };
        let pairs = usize::from(self.chips) * (usize::from(self.chips) - 1) / 2;
        let links = if pairs > 0 && links.len() == pairs && links == all() {
            "\"all\"".to_owned()
        } else {
            let links: Vec<String> = links.iter().map(|(one, other)| format!("\"{one} - {other}\"")).collect();
            format!("[{}]", links.join(", "))
        };
        let name = toml::Value::from(self.name.as_str());
        format!("name = {name}\nchips = {}\nlinks = {links}\n\n[chip]\n{}", self.chips, self.chip.to_toml())
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
                self.peer(LinkEnd { chip, link }).is_some()
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

fn every_pair(chips: u16) -> Vec<(LinkEnd, LinkEnd)> {
    let end = |chip, other: u16| LinkEnd { chip: ChipId(chip), link: if other < chip { other } else { other - 1 } };
    (0..chips).flat_map(|one| (one + 1..chips).map(move |other| (end(one, other), end(other, one)))).collect()
}

fn parse(text: &str) -> Result<(LinkEnd, LinkEnd), ChipError> {
    let end = |text: &str| {
        let (chip, link) = text.trim().split_once('.')?;
        Some(LinkEnd { chip: ChipId(chip.parse().ok()?), link: link.parse().ok()? })
    };
    let both = text.split_once('-').and_then(|(one, other)| Some((end(one)?, end(other)?)));
    both.ok_or_else(|| ChipError::Link {
        link: text.into(),
        why: "write it as `0.0 - 1.0`, chip and link of both ends",
    })
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
        for chip in 0..8 {
            let mut others: Vec<u16> = (0..7).map(|link| node.peer(end(chip, link)).unwrap().chip.0).collect();
            assert_eq!(node.peer(end(chip, 7)), None);
            for link in 0..7 {
                assert_eq!(node.peer(node.peer(end(chip, link)).unwrap()), Some(end(chip, link)));
            }
            others.push(chip);
            others.sort_unstable();
            assert_eq!(others, (0..8).collect::<Vec<_>>());
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
