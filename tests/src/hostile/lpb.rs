//! Program files: containers of random tables, damaged, with length and checksum that fit again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Result, Unstructured};
use lpu::Package;
use lpu::ports::validate;
use lpu_isa::timeline::{Clock, validate_item};
use lpu_isa::{
    ChipId, ChipRef, Container, Extent, Fill, Format, Hemisphere, Image, Instruction, Item, PlanePort, Program, Queue,
    Region, RegionKind, SliceId, TABLE, WordRun, assemble, disassemble,
};

const LANES: u32 = 16;

pub(super) fn make(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut file = container(u)?.to_bytes().unwrap_or_default();
    super::damage(u, &mut file)?;
    if u.ratio(7, 8)? && file.len() >= 96 {
        let length = file.len() as u64;
        file[48..56].copy_from_slice(&length.to_le_bytes());
        let content = file.len() - 32;
        let hash = blake3::hash(&file[..content]);
        file[content..].copy_from_slice(hash.as_bytes());
    }
    Ok(file)
}

pub(super) fn read(file: &[u8]) {
    if let Ok(container) = Container::parse(file) {
        assert!(container.validate().is_ok(), "what is read could be written");
    }
}

/// Takes a container apart and puts it together again.
pub(super) fn read_as_text(file: &[u8]) {
    let Ok(container) = Container::parse(file) else { return };
    let (text, _) = disassemble(&container, None);
    let (again, _) = assemble(&text, &mut |_| Err("no files".into()), &mut |_| None)
        .unwrap_or_else(|errors| panic!("{}", errors[0]));
    assert!(again == container, "a text gives back what it was made from");
}

pub(super) fn read_host(section: &[u8]) {
    let Ok(Package { interface, host, weights }) = Package::parse(section) else { return };
    for port in interface.inputs.iter().chain(&interface.outputs) {
        // What an engine would be asked for is held to the regions of the programs, of which there are none here.
        assert!(validate(&interface, &[]).is_err() && port.lanes.element(port.lanes.count()).is_none());
    }
    if let Some(host) = host {
        assert!(host.embedding_row(0).is_some() == weights && host.embedding_row(u32::MAX).is_none());
    }
}

/// A container that is right but for its numbers.
pub(super) fn container(u: &mut Unstructured<'_>) -> Result<Container<'static>> {
    let programs = (0..u.int_in_range(1..=2)?).map(|index| program(u, index)).collect::<Result<Vec<_>>>()?;
    let mut extents = Vec::new();
    let mut word = 0;
    for _ in 0..u.int_in_range(0..=3)? {
        word = u.int_in_range(0..=9u32)?.saturating_add(word);
        let place = WordRun {
            chip: ChipId(0),
            slice: SliceId { side: Hemisphere::East, index: 7 },
            word,
            count: number(u)?.max(1),
            stride: 1,
        };
        let fill = if place.count < 9 && u.arbitrary()? {
            let live = u.int_in_range(1..=LANES)?;
            let value = u8::arbitrary(u)?;
            let bytes = |width: u32| Cow::Owned(vec![value; (width * place.count * live) as usize]);
            let next_slice = WordRun { slice: SliceId { side: Hemisphere::West, index: 7 }, ..place };
            let next_words = WordRun { word: place.word.saturating_add(place.count), ..place };
            match u.int_in_range(0..=2)? {
                0 => Fill::Bytes(bytes(1)),
                1 => Fill::Pairs(bytes(2), next_slice),
                _ => Fill::Pairs(bytes(2), next_words),
            }
        } else {
            Fill::Zero
        };
        let extent = Extent { place, fill };
        word = extent.places().map(|place| place.word.saturating_add(place.count)).max().unwrap_or(word);
        extents.insert(u.int_in_range(0..=extents.len())?, extent);
    }
    let chip = ChipRef { name: "small".into(), fingerprint: [7; 32] };
    Ok(Container {
        chip,
        image: Image { vector_bytes: LANES, extents },
        programs,
        host: Cow::Owned(u.bytes(u.len().min(9))?.to_vec()),
    })
}

/// The host section of a model, with lengths that may be wrong.
pub(super) fn host(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let config = super::json::config_text(u)?;
    let model = serde_json::json!({
        "precision": u.choose(&["f16", "w8a8", "w8a16", "f7"])?,
        "context": number(u)?,
        "tensor_parallel": number(u)?,
        "pipeline_parallel": number(u)?,
        "lower_bounds": [number(u)?],
        "oracles": [null],
        "config": config,
        "tokenizer_bytes": number(u)?,
    });
    let header = serde_json::json!({
        "interface": {
            "buckets": [{ "program": number(u)?, "tokens": number(u)? }],
            "inputs": [port(u)?, port(u)?],
            "outputs": [port(u)?],
        },
        "model": if u.ratio(7, 8)? { model } else { serde_json::Value::Null },
        "weights": u.ratio(3, 4)?,
    });
    let header = header.to_string();
    let length = if u.ratio(3, 4)? { header.len() as u64 } else { u64::from(number(u)?) << 33 };
    let mut section = [&length.to_le_bytes(), header.as_bytes(), &vec![0; u.int_in_range(0..=1 << 17)?]].concat();
    super::damage(u, &mut section)?;
    Ok(section)
}

/// A port of any kind, whose lanes may be too many.
fn port(u: &mut Unstructured<'_>) -> Result<serde_json::Value> {
    let kind = match u.int_in_range(0..=5)? {
        0 => serde_json::json!("embedding"),
        1 => serde_json::json!({ "rotary": { "table": number(u)?, "part": "cos" } }),
        2 => serde_json::json!({ "mask": { "window": number(u)? } }),
        3 => serde_json::json!({ "kv_address": { "side": "east", "slices": number(u)?, "spare": number(u)? } }),
        4 => serde_json::json!({ "activation": { "value": "x" } }),
        _ => serde_json::json!({ "logits": { "first": number(u)? } }),
    };
    let lanes = match u.ratio(1, 2)? {
        true => serde_json::json!({ "repeated": { "elements": number(u)?, "times": number(u)? } }),
        false => serde_json::json!({ "listed": [number(u)?, null] }),
    };
    Ok(serde_json::json!({ "region": "r0", "chip": 0, "row": 0, "lanes": lanes, "kind": kind }))
}

/// Small numbers, and those at the edges of their types.
fn number(u: &mut Unstructured<'_>) -> Result<u32> {
    Ok(if u.ratio(3, 4)? {
        u.int_in_range(0..=20)?
    } else {
        *u.choose(&[255, 256, 65_535, 65_536, (1 << 24) - 1, 1 << 24, u32::MAX - 1, u32::MAX])?
    })
}

fn side(u: &mut Unstructured<'_>) -> Result<Hemisphere> {
    u.choose(&Hemisphere::BOTH).copied()
}

fn program(u: &mut Unstructured<'_>, index: usize) -> Result<Program> {
    let chips = u.int_in_range(1..=2)?;
    let mut regions = Vec::new();
    for number in 0..u.int_in_range(0..=3)? {
        regions.push(region(u, number)?);
    }
    let mut queues = Vec::new();
    for _ in 0..chips {
        let mut of_chip = BTreeMap::new();
        for _ in 0..u.int_in_range(0..=3)? {
            let queue = queue(u)?;
            let items = items(u, queue)?;
            if !items.is_empty() {
                of_chip.insert(queue, items);
            }
        }
        queues.push(of_chip);
    }
    let interval = std::num::NonZeroU64::new(u.int_in_range(0..=2)? * u64::from(number(u)?));
    let head = Program { name: format!("p{index}"), cycles: u64::from(number(u)?), interval, ..Program::default() };
    let mut program = Program { regions, ..head }.with_queues(queues);
    for run in &mut program.chips {
        run.start = u64::from(number(u)?);
    }
    if u.ratio(1, 2)? {
        let mut like = program.chips[0].clone();
        like.links = program.sets[0].keys().filter_map(link).map(|link| (link, 60_000 + link)).collect();
        program.chips.push(like);
    }
    Ok(program)
}

fn link(queue: &Queue) -> Option<u16> {
    match queue {
        Queue::C2c(link) => Some(*link),
        _ => None,
    }
}

fn region(u: &mut Unstructured<'_>, index: usize) -> Result<Region> {
    let format = *u.choose(Format::ALL)?;
    let vectors = number(u)?.max(1);
    let words = u64::from(vectors) * u64::from(format.bytes());
    let mut runs = Vec::new();
    let mut left = words.min(u64::from(u32::MAX)) as u32;
    while left > 0 && runs.len() < 4 {
        let count = if runs.len() == 3 { left } else { u.int_in_range(1..=left)? };
        let slice = SliceId { side: side(u)?, index: u.int_in_range(0..=3)? };
        runs.push(WordRun { chip: ChipId(0), slice, word: number(u)?, count, stride: number(u)?.max(1) });
        left -= count;
    }
    let lanes = u.int_in_range(1..=LANES)?;
    Ok(Region { name: format!("r{index}"), kind: *u.choose(RegionKind::ALL)?, format, vectors, lanes, runs })
}

fn queue(u: &mut Unstructured<'_>) -> Result<Queue> {
    let number = u.int_in_range(0..=4)?;
    Ok(match u.int_in_range(0..=4)? {
        0 | 1 => Queue::Mem(side(u)?, number),
        2 => Queue::Vxm(number),
        3 => Queue::Mxm(side(u)?, number, *u.choose(&PlanePort::ALL)?),
        _ => Queue::Sxm(side(u)?, number),
    })
}

/// Items that the queue takes; entropy that gives none is passed over.
fn items(u: &mut Unstructured<'_>, queue: Queue) -> Result<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    for _ in 0..u.int_in_range(1..=12)? {
        let row = u.choose(TABLE)?;
        let bits = row.operands.iter().map(|operand| Ok(u64::arbitrary(u)? & ((1 << operand.kind.width()) - 1)));
        let bits = bits.collect::<Result<Vec<u64>>>()?;
        let Some(instruction) = Instruction::from_bits(row.opcode, &bits) else { continue };
        let item = Item { instruction, paired: u.ratio(1, 4)? };
        if validate_item(queue, items.last(), Clock::default(), &item).is_ok() {
            items.push(item);
        }
    }
    Ok(items)
}
