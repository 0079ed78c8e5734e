//! Systems that ship, and every description of a system within its ranges.

use std::collections::{BTreeMap, BTreeSet};

use lpu_chip::{ChipError, LinkEnd, PRESETS, SYSTEMS, System, TOPOLOGY_FIELDS, preset};
use lpu_isa::ChipId;
use proptest::prelude::*;

/// Every figure of every system that ships, its chip's included, has a tag and a source.
#[test]
fn every_figure_of_every_system_has_a_source() {
    fn walk(name: &str, table: &toml::Table, figures: &mut usize) {
        for (field, value) in table {
            match value {
                toml::Value::Table(figure) if figure.contains_key("value") => {
                    let text = |key: &str| figure.get(key).and_then(toml::Value::as_str).unwrap_or_default();
                    assert!(text("tag").len() > 4, "{name}: {field} has no tag");
                    let source = text("source");
                    assert!(source.len() > 10 && source != "custom description", "{name}: {field} has no source");
                    *figures += 1;
                }
                toml::Value::Table(inner) => walk(name, inner, figures),
                toml::Value::Integer(_) => assert_eq!((name, field.as_str()), ("test-pair", "chips")),
                _ => {}
            }
        }
    }
    for name in [PRESETS, SYSTEMS].concat() {
        let system = System::preset(name).unwrap();
        assert_eq!(system.name(), name);
        let mut figures = 0;
        walk(name, &toml::from_str(&system.to_toml()).unwrap(), &mut figures);
        assert!(figures >= system.chip().figures().len(), "{name}");
        assert_eq!(name.ends_with("-like"), system.chip().synthetic().is_some(), "{name}");
    }
}

/// Links of each chip, and of each two nodes and racks, by name of their class.
fn links(system: &System) -> (usize, BTreeMap<&str, BTreeSet<usize>>) {
    let topology = system.topology().unwrap();
    let (mut chips, mut pairs) = (BTreeMap::new(), BTreeMap::new());
    for (one, other) in system.links() {
        for end in [one, other] {
            *chips.entry(end.chip).or_insert(0) += 1;
        }
        let class = system.class(one).unwrap().name.as_str();
        let group = |end: LinkEnd| match class {
            "local" => end.chip.0,
            "global" => topology.node(end.chip),
            _ => topology.node(end.chip) / topology.nodes_per_rack,
        };
        *pairs.entry((class, group(one).min(group(other)), group(one).max(group(other)))).or_insert(0) += 1;
    }
    let mut counts: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for ((class, ..), count) in pairs {
        counts.entry(class).or_default().insert(count);
    }
    (chips.values().copied().max().unwrap_or(0), counts)
}

/// A class of links: its name, links for each two groups that it connects, and latency.
type Class = (&'static str, usize, u64);

#[test]
fn systems_have_the_published_sizes() {
    let cases: &[(&str, u16, u64, usize, &[Class])] = &[
        ("tsp-v1-node", 8, 220 << 20, 7, &[("local", 1, 216)]),
        ("tsp-v1-rack", 72, 220 << 20, 11, &[("local", 1, 216), ("global", 4, 650)]),
        ("tsp-v1-264", 264, 220 << 20, 11, &[("local", 1, 216), ("global", 1, 650)]),
        ("tsp-v1-576", 576, 220 << 20, 11, &[("local", 1, 216), ("global", 2, 650), ("rack", 20, 650)]),
        ("stacked-node-like", 8, 880 << 20, 7, &[("local", 1, 216)]),
        ("stacked-16-node-like", 8, 3520 << 20, 7, &[("local", 1, 216)]),
        ("lp30-tray-like", 8, 499_998_720, 7, &[("local", 1, 493)]),
        ("lp30-rack-like", 256, 499_998_720, 23, &[("local", 1, 493), ("global", 4, 643)]),
    ];
    for &(name, chips, bytes, most, classes) in cases {
        let system = System::preset(name).unwrap();
        assert_eq!((system.chips(), system.chip().sram_bytes()), (chips, bytes), "{name}");
        let (connected, counts) = links(&system);
        assert!(connected <= most, "{name}: {connected} links of a chip");
        let expected = classes.iter().map(|&(class, count, _)| (class, BTreeSet::from([count]))).collect();
        assert_eq!(counts, expected, "{name}");
        for &(class, _, latency) in classes {
            let of = system.links().into_iter().map(|(one, _)| one);
            let mut of = of.filter(|&end| system.class(end).unwrap().name == class);
            assert!(of.all(|end| system.latency(end) == latency), "{name}: {class}");
        }
    }
}

/// LP30 as published: bytes of SRAM, its bandwidth, operations, and bytes over links, within their rounding.
#[test]
fn lp30_like_gives_the_published_totals() {
    let chip = preset("lp30-like").unwrap();
    let values = chip.values();
    let clock = f64::from(values.clock_mhz) * 1e6;
    let near = |found: f64, published: f64| assert!((found / published - 1.0).abs() < 0.05, "{found} {published}");
    let banks = f64::from(2 * values.slices_per_side * values.banks);
    near(chip.sram_bytes() as f64, 500e6);
    near(banks * chip.lanes() as f64 * clock, 150e12);
    near(f64::from(2 * values.planes_per_side) * (chip.lanes() as f64).powi(2) * 2.0 * clock, 1.2e15);
    let vectors = f64::from(values.c2c_queues) / f64::from(values.c2c_interval);
    near(vectors * chip.lanes() as f64 * clock, 1.1e12);
}

/// The chips of all racks that there can be.
#[test]
fn the_largest_system_is_read() {
    let text = "name = 'all'\nchip = 'tsp-v1'\nchips_per_node = 8\nnodes_per_rack = 9\nglobal_links = 2\n\
        racks = 145\nrack_links = 2\n";
    let system = System::from_toml(text, &mut preset).unwrap();
    assert_eq!(system.chips(), 10_440);
    // Half of 11 links of each chip.
    assert_eq!(system.links().len(), 57_420);
}

#[test]
fn descriptions_extend_presets() {
    let longer = preset_with("extends = 'tsp-v1'\nmem_read = 6").unwrap();
    assert_eq!(longer.fingerprint(), preset("tsp-v1").unwrap().with(&[("mem_read", 6)]).unwrap().fingerprint());
    assert_eq!((longer.name(), longer.synthetic()), ("mine", None));
    let stacked = preset_with("extends = 'stacked-like'").unwrap();
    assert_eq!(stacked.synthetic(), preset("stacked-like").unwrap().synthetic());
    let inside = "name = 'pair'\nchips = 2\nlinks = 'all'\n[chip]\nname = 'mine'\nextends = 'tsp-v1'\nmem_read = 6\n";
    assert_eq!(System::from_toml(inside, &mut preset).unwrap().chip(), &longer);
    for (text, expected) in [
        ("extends = 'tsp-v9'", "no chip preset `tsp-v9`; presets are tsp-v1,"),
        ("extends = 3", "`extends` must be the name of a chip"),
        ("extends = ''", "`extends` must be the name of a chip"),
        ("extends = 'tsp-v1'\nmem_raed = 6", "unknown field `mem_raed`"),
        ("extends = 'tsp-v1'\nmem_read = 0", "`mem_read` is 0"),
        ("extends = 'tsp-v1'\nsynthetic = true", "`synthetic` must be a text"),
        ("mem_read = 6", "field `clock_mhz` is missing"),
    ] {
        let message = preset_with(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{text}: {message}");
    }
}

fn preset_with(text: &str) -> Result<lpu_chip::Chip, ChipError> {
    lpu_chip::Chip::from_toml(&format!("name = 'mine'\n{text}\n"))
}

/// Both ends of every link have each other, are on different chips, and are queues of their chips.
fn is_whole(system: &System) {
    let mut met = BTreeSet::new();
    for (one, other) in system.links() {
        assert_eq!((system.peer(one), system.peer(other)), (Some(other), Some(one)));
        assert_ne!(one.chip, other.chip);
        for end in [one, other] {
            assert!(met.insert(end), "{end} is connected twice");
            assert!(end.chip.0 < system.chips() && u32::from(end.link) < system.chip().values().c2c_queues);
        }
    }
}

/// A value of a range, small ones as often as large ones.
fn within(least: u32, most: u32) -> BoxedStrategy<u32> {
    let bits = 32 - (most - least).leading_zeros();
    (0..=bits, any::<u32>())
        .prop_map(move |(bits, value)| least + (value & ((1u64 << bits) - 1) as u32).min(most - least))
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any topology is wired whole, or refused by the name of a field.
    #[test]
    fn topologies_are_wired_or_refused_by_field(
        queues in within(0, 64),
        values in TOPOLOGY_FIELDS.iter().map(|field| within(field.least, field.most)).collect::<Vec<_>>(),
        power in any::<bool>(),
        given in 0..=TOPOLOGY_FIELDS.len(),
    ) {
        let chip = preset("test-small").unwrap().with(&[("c2c_queues", queues)]).unwrap();
        let mut text = "name = 'drawn'\nchip = 'any'\n".to_owned();
        for (index, (field, value)) in TOPOLOGY_FIELDS.iter().zip(values).take(given.max(1)).enumerate() {
            let value = if index == 0 && power { value.next_power_of_two() } else { value };
            text.push_str(&format!("{} = {value}\n", field.name));
        }
        match System::from_toml(&text, &mut |_| Ok(chip.clone())) {
            Ok(system) => {
                is_whole(&system);
                let local = u32::from(system.topology().unwrap().chips_per_node) - 1;
                let of_first = (0..64).filter_map(|link| system.peer(LinkEnd { chip: ChipId(0), link }));
                let inside = of_first.filter(|peer| u32::from(peer.chip.0) <= local).count() as u32;
                prop_assert_eq!(inside, local);
                prop_assert_eq!(System::read(&system.to_toml(), &mut |_| panic!("no name is asked for")), Ok(system));
            }
            Err(ChipError::Topology { field, value, .. }) => {
                prop_assert!(TOPOLOGY_FIELDS.iter().any(|each| each.name == field), "{field} is {value}");
            }
            Err(other) => prop_assert!(false, "{text}: {other}"),
        }
    }

    /// Any list of links is connected whole, or refused by the link.
    #[test]
    fn lists_of_links_are_connected_or_refused_by_link(
        chips in 1u16..6,
        ends in proptest::collection::vec((0u16..6, 0u16..10, 0u16..6, 0u16..10), 0..8),
    ) {
        let texts: Vec<String> = ends.iter().map(|(a, b, c, d)| format!("'{a}.{b} - {c}.{d}'")).collect();
        let text = format!("name = 'drawn'\nchip = 'test-small'\nchips = {chips}\nlinks = [{}]\n", texts.join(", "));
        match System::from_toml(&text, &mut preset) {
            Ok(system) => {
                is_whole(&system);
                prop_assert_eq!(system.links().len(), ends.len());
            }
            Err(ChipError::Link { link, .. }) => {
                prop_assert!(texts.iter().any(|text| text.trim_matches('\'') == link), "{link}");
            }
            Err(other) => prop_assert!(false, "{text}: {other}"),
        }
    }
}
