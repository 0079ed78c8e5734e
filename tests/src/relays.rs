//! Legal programs of many chips: vectors that cross several links one after another, some through memory, some through
//! an ALU that adds a word of the chip, at the same time as other scenes on each chip.

use std::fmt::Write;

use lpu::chip::{LinkEnd, System, preset};
use lpu::isa::{Arithmetic, ChipId, Hemisphere, Instruction, Queue, Source, Word};

use crate::dice::Dice;
use crate::memory::KNOWN;
use crate::scenes::{Scene, composed};
use crate::stage::{FRESH, Outward, Stage};

/// A system of so many small chips: a ring, and links across it drawn at random.
///
/// # Panics
/// When there are fewer than two chips.
#[must_use]
pub fn network(chips: u16, seed: u64) -> System {
    let mut dice = Dice(seed ^ 0x006e_e751);
    let mut links: Vec<(u16, u16, u16, u16)> = (0..chips).map(|chip| (chip, 7, (chip + 1) % chips, 0)).collect();
    for link in 1..7 {
        let mut free: Vec<u16> = (0..chips).collect();
        while free.len() > 1 {
            let [one, other] = [(); 2].map(|()| free.swap_remove(dice.below(free.len())));
            if dice.below(2) == 0 {
                links.push((one, link, other, link));
            }
        }
    }
    let mut list = String::new();
    for (one, link, other, peer) in links {
        write!(list, "\"{one}.{link} - {other}.{peer}\", ").expect("texts take everything");
    }
    let text = format!("name = \"network\"\nchip = \"test-small\"\nchips = {chips}\nlinks = [{list}]\n");
    System::from_toml(&text, &mut preset).expect("the links are valid")
}

/// A legal program of up to `scenes` scenes, half of which are relays.
#[must_use]
pub fn relays(system: &System, seed: u64, scenes: usize) -> Scene {
    let mut dice = Dice(seed ^ 0x0e1a_7500);
    composed(system, seed, scenes, &mut dice, |stage, _| {
        stage.at = stage.dice.below(usize::from(system.chips())) as u16;
        if stage.dice.below(2) == 0 {
            relay(stage, system);
        } else {
            // Any scene but the one of a link.
            let number = [0, 1, 2, 4, 5][stage.dice.below(5)];
            crate::acts::play(stage, number, None);
        }
    })
}

/// The links of a chip.
fn links(system: &System, chip: u16) -> Vec<(u16, LinkEnd)> {
    let queues = system.chip().values().c2c_queues as u16;
    let peer = |link| Some((link, system.peer(LinkEnd { chip: ChipId(chip), link })?));
    (0..queues).filter_map(peer).collect()
}

/// The side of a position.
fn side(position: i32) -> Hemisphere {
    if position > 0 { Hemisphere::East } else { Hemisphere::West }
}

/// A word that crosses one to four links; what arrives is stored, as it is or in a sum, and goes on from there.
fn relay(stage: &mut Stage<'_>, system: &System) {
    let mut at = stage.start + 24;
    let mut from = (stage.slices(Hemisphere::East, 0..20, 1)[0], stage.pick(&KNOWN));
    for _ in 0..1 + stage.dice.below(4) {
        let all = links(system, stage.at);
        let (link, peer) = stage.pick(&all);
        let edge = stage.chip.position(Queue::C2c(link));
        let stream = Outward::of(side(edge)).stream(true, stage.dice.below(32) as u8);
        let read = Instruction::Read { word: Word(from.1), dst: stream };
        stage.cue(from.0.queue(), at, read);
        at += stage.delay(&read) + u64::from(stage.chip.slice_position(from.0).abs_diff(edge));
        stage.cue(Queue::C2c(link), at, Instruction::Send { src: stream });

        stage.at = peer.chip.0;
        at += u64::from(stage.chip.values().c2c_link) + stage.dice.below(3) as u64;
        let edge = stage.chip.position(Queue::C2c(peer.link));
        let arriving = Outward::of(side(edge)).stream(false, stage.dice.below(32) as u8);
        let receive = Instruction::Receive { dst: arriving };
        stage.cue(Queue::C2c(peer.link), at, receive);
        at += stage.delay(&receive);
        from = (stage.slices(Hemisphere::East, 0..20, 1)[0], stage.pick(&FRESH));
        let (mut src, mut put) = (arriving, edge);
        if stage.dice.below(2) == 0 {
            // It meets a word of the chip in the VXM.
            at += u64::from(edge.unsigned_abs());
            let (side, out) = stage.side();
            let added = stage.slices(side, 0..20, 1);
            let operand = out.stream(false, stage.dice.below(32) as u8);
            stage.read(&added, operand, 0, at);
            (src, put) = (Outward::of(Hemisphere::East).stream(true, stage.dice.below(32) as u8), 0);
            let (a, b) = (Source::Stream(arriving), Source::Stream(operand));
            let add = Instruction::Add { arithmetic: Arithmetic::Mod8, dst: Some(src), a, b };
            let alu = stage.dice.below(16) as u16;
            stage.cue(Queue::Vxm(alu), at, add);
            at += stage.delay(&add);
        }
        at += u64::from(stage.chip.slice_position(from.0).abs_diff(put));
        let write = Instruction::Write { word: Word(from.1), src };
        stage.cue(from.0.queue(), at, write);
        at += stage.delay(&write) + 1 + stage.dice.below(4) as u64;
    }
}
