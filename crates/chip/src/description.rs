//! Descriptions of systems as TOML: links that are listed, or wired by rule.

use lpu_isa::ChipId;

use crate::chip::Chip;
use crate::figure::{ChipError, Field, Figure};
use crate::link::{LINK_FIELDS, LinkClass, LinkEnd};
use crate::system::System;
use crate::topology::{Reach, Topology};

/// The most chips of a system: what the published network reaches.
const MOST_CHIPS: u16 = 10_440;

/// The most classes of links of a system (assumed).
const MOST_CLASSES: usize = 16;

/// What a description says of a system that is wired by rule, in order; racks may be left out, and then nodes.
pub const TOPOLOGY_FIELDS: &[Field] = &[
    Field {
        name: "chips_per_node",
        unit: "chips",
        least: 1,
        most: 64,
        meaning: "Chips of a node, each connected to each; a power of two.",
    },
    Field {
        name: "nodes_per_rack",
        unit: "nodes",
        least: 1,
        most: 1024,
        meaning: "Nodes of a rack, or of the system.",
    },
    Field {
        name: "global_links",
        unit: "links",
        least: 0,
        most: 62,
        meaning: "Links of a chip to other nodes of its rack.",
    },
    Field { name: "racks", unit: "racks", least: 1, most: 1024, meaning: "Racks." },
    Field { name: "rack_links", unit: "links", least: 0, most: 62, meaning: "Links of a chip to other racks." },
];

impl System {
    /// Reads a description of a system, as [`System::from_toml`], or of one chip, as [`Chip::read`]: one that has
    /// a `chip` is a system's.
    ///
    /// # Errors
    /// [`ChipError`] names the field or link that is wrong.
    pub fn read(text: &str, chips_by_name: &mut dyn FnMut(&str) -> Result<Chip, ChipError>) -> Result<Self, ChipError> {
        let system = toml::from_str::<toml::Table>(text)
            .is_ok_and(|table| table.contains_key("chip") || table.contains_key("chips"));
        if system { Self::from_toml(text, chips_by_name) } else { Ok(Self::single(&Chip::read(text, chips_by_name)?)) }
    }

    /// Reads a description: `name`, `chip` (a name that `chips_by_name` knows, or a table that describes the chip), and
    /// how its chips are connected.
    ///
    /// Either links are listed: `chips`, and `links`, which is `"all"` (each chip to each other, link j of chip i to
    /// chip j below i and to chip j + 1 from i on) or a list such as `["0.0 - 1.0", "0.1 - 2.1 far"]` of `chip.link`
    /// ends with the name of a class behind them where the link has one.
    /// Or they are wired by rule: `chips_per_node`, and where there are several nodes `nodes_per_rack` and
    /// `global_links`, and where there are several racks `racks` and `rack_links`, see [`Topology`]; the classes are
    /// then `local`, `global` and `rack`.
    ///
    /// `[link_classes.far]` gives a class its `latency` and `interval`; what it leaves out, and links without a class,
    /// have the chip's `c2c_link` and `c2c_interval`.
    ///
    /// # Errors
    /// [`ChipError`] names the field or link that is wrong.
    pub fn from_toml(
        text: &str,
        chips_by_name: &mut dyn FnMut(&str) -> Result<Chip, ChipError>,
    ) -> Result<Self, ChipError> {
        let mut table: toml::Table = toml::from_str(text).map_err(|error| syntax(error.to_string()))?;
        let name = match table.remove("name") {
            Some(toml::Value::String(name)) if !name.is_empty() => name,
            _ => return Err(syntax("`name` of a system must be a text")),
        };
        let chip = match table.remove("chip") {
            Some(toml::Value::String(chip)) if !chip.is_empty() => chips_by_name(&chip)?,
            Some(toml::Value::Table(chip)) => Chip::from_table(chip, chips_by_name)?,
            _ => return Err(syntax("`chip` of a system must be a text or a table")),
        };
        let classes = classes(&mut table, &chip)?;
        let mut system = if table.contains_key(TOPOLOGY_FIELDS[0].name) {
            wired(&mut table, name, chip, classes)?
        } else {
            listed(&mut table, name, chip, classes)?
        };
        if let Some(field) = table.keys().next() {
            return Err(ChipError::UnknownField { field: field.clone() });
        }
        system.sign();
        Ok(system)
    }

    /// The description as TOML that [`System::read`] reads back, whatever chips have names.
    #[must_use]
    pub fn to_toml(&self) -> String {
        if *self == Self::single(&self.chip) {
            return self.chip.to_toml();
        }
        let mut text = format!("name = {}\n", toml::Value::from(self.name.as_str()));
        match &self.topology {
            Some((_, figures)) => figures.iter().for_each(|figure| text.push_str(&figure.to_toml())),
            None => text.push_str(&format!("chips = {}\nlinks = {}\n", self.chips, self.listed_links())),
        }
        for class in &self.classes {
            let name = toml::Value::from(class.name.as_str());
            text.push_str(&format!("\n[link_classes.{name}]\n{}{}", class.latency.to_toml(), class.interval.to_toml()));
        }
        format!("{text}\n[chip]\n{}", self.chip.to_toml())
    }

    /// `"all"`, or the list of links.
    fn listed_links(&self) -> String {
        let links = self.links();
        let mut all = every_pair(self.chips);
        all.sort_unstable();
        let classed = self.peers.values().any(|(_, class)| class.is_some());
        if !all.is_empty() && links == all && !classed {
            return "\"all\"".to_owned();
        }
        let link = |(one, other): &(LinkEnd, LinkEnd)| {
            let class = self.class(*one).map_or(String::new(), |class| format!(" {}", class.name));
            toml::Value::from(format!("{one} - {other}{class}")).to_string()
        };
        format!("[{}]", links.iter().map(link).collect::<Vec<_>>().join(", "))
    }
}

fn syntax(message: impl Into<String>) -> ChipError {
    ChipError::Syntax { message: message.into() }
}

/// The classes of links that a description has.
fn classes(table: &mut toml::Table, chip: &Chip) -> Result<Vec<LinkClass>, ChipError> {
    let class = |(name, entry): (String, toml::Value)| {
        let toml::Value::Table(mut entry) = entry else {
            return Err(syntax(format!("`link_classes.{name}` must be a table with `latency` and `interval`")));
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(syntax(format!("`{name}` is no name of a class of links; give it one word")));
        }
        let own = ["c2c_link", "c2c_interval"].map(|name| chip.figures().iter().find(|figure| figure.name == name));
        let [latency, interval] = [0, 1].map(|field| LINK_FIELDS[field].take_or(&mut entry, own[field]));
        if let Some(field) = entry.keys().next() {
            return Err(ChipError::UnknownField { field: format!("link_classes.{name}.{field}") });
        }
        Ok(LinkClass { name, latency: latency?, interval: interval? })
    };
    match table.remove("link_classes") {
        None => Ok(Vec::new()),
        Some(toml::Value::Table(classes)) if classes.len() > MOST_CLASSES => {
            Err(syntax(format!("`link_classes` has {} classes; give at most {MOST_CLASSES}", classes.len())))
        }
        Some(toml::Value::Table(classes)) => classes.into_iter().map(class).collect(),
        Some(_) => Err(syntax("`link_classes` must be a table of classes")),
    }
}

/// A system whose links follow from a rule.
fn wired(table: &mut toml::Table, name: String, chip: Chip, classes: Vec<LinkClass>) -> Result<System, ChipError> {
    let mut figures: Vec<Figure> = Vec::new();
    let mut values = [1, 1, 0, 1, 0];
    for (index, field) in TOPOLOGY_FIELDS.iter().enumerate() {
        if index == 0 || table.contains_key(field.name) {
            let figure = field.take(table)?;
            values[index] = figure.value as u16;
            figures.push(figure);
        }
    }
    let [chips_per_node, nodes_per_rack, global_links, racks, rack_links] = values;
    let topology = Topology { chips_per_node, nodes_per_rack, racks, global_links, rack_links };
    let chips = u16::try_from(topology.chips()).ok().filter(|&chips| chips <= MOST_CHIPS);
    let chips = chips.ok_or_else(|| ChipError::Topology {
        field: TOPOLOGY_FIELDS[0].name,
        value: chips_per_node.into(),
        why: format!("with so many nodes and racks that makes {} chips of at most {MOST_CHIPS}", topology.chips()),
    })?;
    let of = |reach: Reach| classes.iter().position(|class| class.name == reach.name()).map(|class| class as u8);
    let of_reach = Reach::ALL.map(|reach| (reach, of(reach)));
    if let Some(class) = classes.iter().find(|class| Reach::ALL.iter().all(|reach| reach.name() != class.name)) {
        return Err(syntax(format!(
            "`link_classes.{}`: a system wired by rule has local, global and rack",
            class.name
        )));
    }
    let links = topology.links(chip.values().c2c_queues)?;
    let mut system = System::unconnected(name, chip, chips);
    system.topology = Some((topology, figures));
    for (one, other, reach) in links {
        let class = of_reach.iter().find(|(each, _)| *each == reach).and_then(|(_, class)| *class);
        system.connect(one, other, class)?;
    }
    system.classes = classes;
    Ok(system)
}

/// A system whose links are listed.
fn listed(table: &mut toml::Table, name: String, chip: Chip, classes: Vec<LinkClass>) -> Result<System, ChipError> {
    const FIELD: Field =
        Field { name: "chips", unit: "chips", least: 1, most: MOST_CHIPS as u32, meaning: "Number of chips." };
    let chips = FIELD.take(table)?.value as u16;
    let links = match table.remove("links") {
        None => Vec::new(),
        Some(toml::Value::String(all)) if all == "all" => {
            if u32::from(chips - 1) > chip.values().c2c_queues {
                return Err(ChipError::Link {
                    link: all,
                    why: "there are more other chips than a chip has C2C queues",
                });
            }
            every_pair(chips).into_iter().map(|(one, other)| (one, other, None)).collect()
        }
        Some(toml::Value::Array(list)) => {
            let texts = list.iter().map(|entry| entry.as_str().ok_or_else(|| syntax("`links` must hold texts")));
            texts.map(|text| parse(text?, &classes)).collect::<Result<Vec<_>, _>>()?
        }
        Some(_) => return Err(syntax("`links` must be \"all\" or a list of links")),
    };
    let mut system = System::unconnected(name, chip, chips);
    for (one, other, class) in links {
        system.connect(one, other, class)?;
    }
    system.classes = classes;
    Ok(system)
}

fn every_pair(chips: u16) -> Vec<(LinkEnd, LinkEnd)> {
    let end = |chip, other: u16| LinkEnd { chip: ChipId(chip), link: if other < chip { other } else { other - 1 } };
    (0..chips).flat_map(|one| (one + 1..chips).map(move |other| (end(one, other), end(other, one)))).collect()
}

/// Both ends of a link, and its class where it has one.
fn parse(text: &str, classes: &[LinkClass]) -> Result<(LinkEnd, LinkEnd, Option<u8>), ChipError> {
    let wrong = |why| ChipError::Link { link: text.into(), why };
    let end = |text: &str| {
        let (chip, link) = text.trim().split_once('.')?;
        Some(LinkEnd { chip: ChipId(chip.parse().ok()?), link: link.parse().ok()? })
    };
    let both = text.split_once('-').and_then(|(one, rest)| {
        let rest = rest.trim();
        let (other, class) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        Some((end(one)?, end(other)?, class.trim()))
    });
    let (one, other, class) = both.ok_or_else(|| wrong("write it as `0.0 - 1.0`, chip and link of both ends"))?;
    match classes.iter().position(|each| each.name == class) {
        None if !class.is_empty() => Err(wrong("`link_classes` has no class of that name")),
        class => Ok((one, other, class.map(|class| class as u8))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::preset;

    const RACKS: &str = "name = 'racks'\nchip = 'any'\nchips_per_node = 8\nnodes_per_rack = 9\nglobal_links = 2\n\
        racks = { value = 2, tag = 'derived', source = 'half of four' }\nrack_links = 2\n";
    const CLASSES: &str = "[link_classes.global]\nlatency = 650\ninterval = 24\n\
        [link_classes.rack]\nlatency = { value = 700, tag = 'assumed', source = 'longer' }\ninterval = 30\n";

    fn read(text: &str) -> Result<System, ChipError> {
        System::from_toml(text, &mut |_| preset("tsp-v1"))
    }

    #[test]
    fn wired_systems_are_read_back_and_their_links_have_their_class() {
        let system = read(&format!("{RACKS}{CLASSES}")).unwrap();
        assert_eq!(system.chips(), 144);
        assert_eq!(System::read(&system.to_toml(), &mut |name| panic!("{name} is asked for")), Ok(system.clone()));
        let mut met = [0; 3];
        for (one, other) in system.links() {
            let expected = match system.class(one).map(|class| class.name.as_str()) {
                None => (216, 24),
                Some("global") => (650, 24),
                Some(_) => (700, 30),
            };
            assert_eq!((system.latency(one), system.interval(one)), expected);
            assert_eq!((system.latency(other), system.interval(other)), expected);
            met[[216, 650, 700].iter().position(|&latency| latency == expected.0).unwrap()] += 1;
        }
        // 28 links a node, 2 links for each of 36 pairs of nodes, all 144 ports of a rack for the other.
        assert_eq!(met, [18 * 28, 2 * 72, 144]);
        let plain = read(RACKS).unwrap();
        assert_ne!(plain.reference().fingerprint, system.reference().fingerprint);
        for same in ["latency = 216\ninterval = 24", "latency = 216", ""] {
            let same = read(&format!("{RACKS}[link_classes.local]\n{same}\n")).unwrap();
            assert_eq!(same.reference().fingerprint, plain.reference().fingerprint);
            assert_eq!((same.classes()[0].latency.value, same.classes()[0].interval.value), (216, 24));
        }
    }

    #[test]
    fn listed_links_may_have_a_class() {
        let text = "name = 'x'\nchip = 'any'\nchips = 3\nlinks = ['0.0 - 1.1', '0.2 - 2.7 far']\n\
            [link_classes.far]\nlatency = 9\ninterval = 5";
        let system = read(text).unwrap();
        let latency = |chip, link| system.latency(LinkEnd { chip: ChipId(chip), link });
        assert_eq!([latency(0, 0), latency(1, 1), latency(0, 2), latency(2, 7)], [216, 216, 9, 9]);
        assert_eq!(System::read(&system.to_toml(), &mut |name| panic!("{name} is asked for")), Ok(system));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let cases = [
            ("chips_per_node = 8", "chips_per_node = 7", "`chips_per_node` is 7"),
            ("chips_per_node = 8", "chips_per_node = 0", "`chips_per_node` is 0"),
            ("nodes_per_rack = 9", "nodes_per_rack = 900", "chips of at most 10440"),
            ("nodes_per_rack = 9", "nodes_per_rack = 33", "`global_links` is 2"),
            ("rack_links = 2", "rack_links = 6", "take 16"),
            ("rack_links = 2", "rack_links = 2\nchips = 3", "unknown field `chips`"),
            ("latency = 650", "latency = 0", "`latency` is 0"),
            ("interval = 24", "interval = 24\nwidth = 3", "link_classes.global.width"),
            ("link_classes.global", "link_classes.distant", "local, global and rack"),
        ];
        for (given, replaced, expected) in cases {
            let text = format!("{RACKS}{CLASSES}").replacen(given, replaced, 1);
            let message = read(&text).unwrap_err().to_string();
            assert!(message.contains(expected), "{replaced}: {message}");
        }
        let message = read("name = 'x'\nchip = 'any'\nchips = 2\nlinks = ['0.0 - 1.0 far']").unwrap_err().to_string();
        assert!(message.contains("no class of that name"), "{message}");
    }
}
