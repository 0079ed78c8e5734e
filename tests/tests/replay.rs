//! The fast engine against the reference engine: every word of SRAM, faults and cycles, whatever the number of threads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lpu::chip::System;
use lpu::isa::{Extent, Fill, RegionKind, TABLE, Unit, WordRun, assemble, expand};
use lpu::model::Checkpoint;
use lpu::{Options, Precision, Step, chip, compiler};
use lpu_tests::dice::Dice;
use lpu_tests::equal::Pair;
use lpu_tests::groups::{pairs, repeat};
use lpu_tests::grow::{damage, grow, power};
use lpu_tests::relays::{network, relays};
use lpu_tests::scenes::compose;

const CONTEXT: usize = 48;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)
}

#[test]
fn compiled_decode_steps_are_equal() {
    let tsp = chip::preset("tsp-v1").unwrap();
    for name in ["plain", "gqa", "odd", "wide", "wide_head", "deep", "qwen3", "gemma2", "gpt2", "gpt_neox", "mixtral"] {
        let checkpoint = Checkpoint::open(&folder(name)).unwrap();
        for precision in [Precision::F16, Precision::W8A8, Precision::W8A16] {
            let compiled =
                compiler::compile(&checkpoint, &tsp, &Options { precision, context: CONTEXT, ..Options::default() })
                    .unwrap();
            let mut pair = Pair::new(&tsp, &compiled.image, &compiled.programs[0], &[1, 2, 3]);
            for position in 0..2 {
                let step = Step::of(&checkpoint, CONTEXT, position, 5 + 7 * position as u32).unwrap();
                for (region, bytes) in step.inputs(&compiled.interface, &compiled.programs[0]).unwrap() {
                    pair.input(&region, &bytes);
                }
                assert_eq!(pair.run(), Ok(true), "{name} {} token {position}", precision.name());
            }
        }
    }
}

/// What was found out about weights in earlier runs, that they are finite or rows alike, holds until a program or the
/// host changes them.
#[test]
fn weights_that_change_between_runs_are_equal() {
    let tsp = chip::preset("tsp-v1").unwrap();
    let checkpoint = Checkpoint::open(&folder("plain")).unwrap();
    let compiled = compiler::compile(
        &checkpoint,
        &tsp,
        &Options { precision: Precision::F16, context: CONTEXT, ..Options::default() },
    )
    .unwrap();
    let mut pair = Pair::new(&tsp, &compiled.image, &compiled.programs[0], &[1, 2]);
    let inputs =
        Step::of(&checkpoint, CONTEXT, 0, 5).unwrap().inputs(&compiled.interface, &compiled.programs[0]).unwrap();
    let run = |pair: &mut Pair| {
        inputs.iter().for_each(|(region, bytes)| pair.input(region, bytes));
        assert_eq!(pair.run(), Ok(true));
    };
    run(&mut pair);
    run(&mut pair);
    // Rows of ones sum their activations.
    let mut alike = 0;
    for (chip, slice, word, row) in compiled.image.extents.iter().flat_map(Extent::words) {
        if row.len() >= CONTEXT && row[..CONTEXT].iter().all(|&byte| byte == 1) {
            alike += 1;
            if alike % 3 == 0 {
                pair.change(chip, slice, word, 0, 2);
            }
        }
    }
    assert!(alike >= 32, "{alike} rows of ones");
    run(&mut pair);
    let last = tsp.lanes() - 1;
    assert!(checkpoint.config.hidden <= last, "the last lane has no activation");
    // Rows of one byte plane are materialised, those of the other stay truncated.
    let filled = || compiled.image.extents.iter().filter(|extent| extent.fill != Fill::Zero);
    assert!(filled().any(|extent| extent.live() < tsp.lanes()), "the image has truncated words");
    assert!(filled().any(|extent| extent.other().is_some()), "the image has words in turn");
    for extent in filled().step_by(3) {
        pair.change(extent.place.chip, extent.place.slice, extent.place.word, 0, 0x11);
    }
    run(&mut pair);
    for WordRun { chip, slice, word, count, .. } in filled().flat_map(Extent::places) {
        for word in [word, word + count / 2, word + count - 1] {
            pair.change(chip, slice, word, last, 0x7c);
        }
    }
    run(&mut pair);
}

#[test]
fn kernels_are_equal() {
    let mut met = 0;
    let mut files: Vec<PathBuf> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/kernels"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "lpu"))
        .collect();
    files.sort();
    for path in files {
        let source = std::fs::read_to_string(&path).unwrap();
        let by_name = |name: &str| System::preset(name).ok();
        let mut named = |name: &str| by_name(name).map(|system| (system.reference(), system.chip().lanes() as u32));
        let (container, map) =
            assemble(&source, &mut |_| Err("kernels have no image file".into()), &mut named).unwrap();
        let mut program = container.programs[0].clone();
        let system = by_name(&container.chip.name).unwrap();
        if !map.cycles_stated(0) {
            program.cycles = lpu::checker::cycles(&system, &container.image, &program).unwrap();
        }
        let mut pair = Pair::of_system(&system, &container.image, &program, &[1, 2]);
        let mut dice = Dice(7);
        for run in 0..2 {
            pair.random_inputs(&mut || dice.roll());
            assert_eq!(pair.run(), Ok(true), "{} run {run}", path.display());
        }
        met += 1;
    }
    assert!(met >= 7, "{met} kernels");
}

/// A program in text, for a system, run several times on inputs at random.
fn equal(system: &str, text: &str) {
    equal_over(system, "", text);
}

/// [`equal`] over an image in text.
fn equal_over(system: &str, image: &str, text: &str) {
    let system = System::preset(system).unwrap();
    let text = format!(".chip {}\n{image}.program p\n{text}", system.name());
    let mut by_name = |_: &str| Some((system.reference(), system.chip().lanes() as u32));
    let (container, _) = assemble(&text, &mut |_| Err("no image file".into()), &mut by_name).unwrap();
    let mut program = container.programs[0].clone();
    program.cycles = lpu::checker::cycles(&system, &container.image, &program).unwrap();
    let mut pair = Pair::of_system(&system, &container.image, &program, &[1, 2]);
    let mut dice = Dice(3);
    for _ in 0..3 {
        pair.random_inputs(&mut || dice.roll());
        assert_eq!(pair.run(), Ok(true), "{text}");
    }
}

#[test]
fn an_operation_of_immediates_alone_is_equal() {
    equal(
        "test-small",
        ".queue vxm.0\nselect e0, #i1, #i1234567, #i7654321\n.queue mem.e0\n@5 write 0, e0\n.queue mem.e2\n\
        @5 write 0, e2\n",
    );
}

/// What moves into superlanes without power, by one stream and by four.
#[test]
fn movements_without_power_are_equal() {
    let slices = |what: &str, first: usize, count: usize| {
        (0..count).map(|index| format!(".queue mem.e{}\n{what}{index}\n", first + index)).collect::<String>()
    };
    let shifts = [
        ("@39 write 1, w", 4, "shift_superlanes 4, e0, w0, 1, zero"),
        ("@39 write 1, w", 1, "shift_superlanes 1, e0, w0, -1, wrap"),
        ("@39 write 1, w", 1, "shift_superlanes 1, e0, w0, 1, zero"),
        ("@35 write 1, w", 1, "shift_lanes 1, e0, w0, 3, wrap"),
    ];
    for (write, count, shift) in shifts {
        let (input, reads, writes) =
            (".input x i32 [1 64] at e0..e3:0\n", slices("@20 read 0, e", 0, 4), slices(write, 20, count));
        equal("test-small", &format!("{input}{reads}.queue sxm.e0\n@2 config 2\n@30 {shift}\n{writes}"));
    }
}

/// A word that is replaced while its value is under way to another chip.
#[test]
fn what_was_sent_stays_as_it_was() {
    let input = ".input x i8 [1 64] at 0/e20:0\n.input y i8 [1 64] at 0/e19:0\n";
    let near =
        ".queue 0/mem.e20\nread 0, e0\n@40 write 0, e1\n.queue 0/mem.e19\n@35 read 0, e1\n.queue 0/c2c.0\n@6 send e0\n";
    equal("test-pair", &format!("{input}{near}.queue 1/c2c.1\n@300 receive w0\n.queue 1/mem.e20\n@306 write 0, w0\n"));
}

#[test]
fn grown_programs_are_equal() {
    let small = chip::preset("test-small").unwrap();
    let mut met = BTreeMap::<&str, usize>::new();
    for seed in 0..80 {
        let (image, program) = grow(&small, seed, 20 + seed as usize % 100);
        for issue in program.sets.iter().flat_map(|set| set.values()).flat_map(|items| expand(items)) {
            *met.entry(issue.instruction.row().mnemonic).or_default() += 1;
        }
        let mut pair = Pair::new(&small, &image, &program, &[1, 2, 3]);
        let mut dice = Dice(seed);
        for run in 0..3 {
            pair.random_inputs(&mut || dice.roll());
            assert_eq!(pair.run(), Ok(true), "seed {seed}, run {run}");
        }
    }
    println!("{met:?}");
    let missing: Vec<_> = TABLE
        .iter()
        .filter(|row| !matches!(row.unit, Unit::Icu | Unit::C2c) && !met.contains_key(row.mnemonic))
        .map(|row| row.mnemonic)
        .collect();
    assert!(missing.is_empty(), "never grown: {missing:?}");
}

/// Programs of one chip and of two, with barriers, fetches and links, all superlanes powered and not.
#[test]
fn programs_without_power_and_over_links_are_equal() {
    let (small, pair) = (chip::preset("test-small").unwrap(), System::preset("test-pair").unwrap());
    let mut met = BTreeMap::<&str, usize>::new();
    let mut faults = 0;
    for seed in 0..80 {
        let mut dice = Dice(seed);
        let scene = compose(&pair, seed, 4 + seed as usize % 8);
        let (image, grown) = grow(&small, 2000 + seed, 20 + seed as usize % 40);
        let powered = [power(&small, &scene.program, &mut dice), power(&small, &grown, &mut dice)];
        let cases = [
            (&pair, &scene.image, &scene.program),
            (&pair, &scene.image, &powered[0]),
            (&System::single(&small), &image, &powered[1]),
        ];
        for (system, image, program) in cases {
            let items = program.sets.iter().flat_map(BTreeMap::values).flatten();
            items.for_each(|item| *met.entry(item.instruction.row().mnemonic).or_default() += 1);
            let mut both = Pair::of_system(system, image, program, &[1, 2]);
            for run in 0..2 {
                both.random_inputs(&mut || dice.roll());
                match both.run() {
                    // What is fetched must be read with all power.
                    Ok(legal) => faults += usize::from(!legal),
                    Err(difference) => panic!("seed {seed}, run {run}: {difference}"),
                }
            }
        }
    }
    println!("{met:?}, {faults} faults");
    let missing: Vec<_> = TABLE.iter().filter(|row| !met.contains_key(row.mnemonic)).map(|row| row.mnemonic).collect();
    assert!(missing.is_empty(), "never met: {missing:?}");
    assert!(met["config"] > 500 && met["receive"] > 20 && faults < 80, "{met:?}, {faults} faults");
}

/// Programs of 2 to 16 chips whose vectors cross one link after another, and damaged ones.
#[test]
fn programs_of_many_chips_are_equal() {
    let (mut legal, mut faults) = (0, 0);
    for (chips, seeds) in [(2, 16), (4, 12), (8, 8), (16, 4)] {
        let mut received = 0;
        for seed in 0..seeds {
            let system = network(chips, seed);
            let scene = relays(&system, seed, 8 + 4 * usize::from(chips));
            let queues = scene.program.each_chip().flat_map(|(chip, _)| scene.program.queues(chip));
            let items = queues.flat_map(|(_, items)| items);
            received += items.filter(|item| item.instruction.row().mnemonic == "receive").count();
            let mut dice = Dice(seed);
            let mut pair = Pair::of_system(&system, &scene.image, &scene.program, &[1, 2, 3]);
            for run in 0..2 {
                pair.random_inputs(&mut || dice.roll());
                assert_eq!(pair.run(), Ok(true), "{chips} chips, seed {seed}, run {run}");
            }
            for number in 0..6 {
                let damaged = damage(&system, &scene.image, &scene.program, &mut dice);
                let Some(damaged) = damaged else { continue };
                let mut pair = Pair::of_system(&system, &scene.image, &damaged, &[2]);
                match pair.run() {
                    Ok(true) => legal += 1,
                    Ok(false) => faults += 1,
                    Err(difference) => panic!("{chips} chips, seed {seed}, damage {number}: {difference}"),
                }
            }
        }
        assert!(received >= 200, "{chips} chips: {received} receives");
    }
    assert!(legal >= 20 && faults >= 100, "{legal} legal, {faults} faults");
}

/// Chips that share a queue set, later and over links of other names, share a plan; each has words of its own.
#[test]
fn chips_of_one_plan_are_equal() {
    let (small, pair) = (chip::preset("test-small").unwrap(), System::preset("test-pair").unwrap());
    for seed in 0..24 {
        let mut dice = Dice(seed);
        let system = pairs(&small, 2 + (seed % 4) as u16);
        let mut scene = repeat(&system, &compose(&pair, seed, 4 + seed as usize % 8), &mut dice);
        // Chips of one plan with other words.
        for extent in &mut scene.image.extents {
            let other = extent.place.chip.0 as u8 / 2;
            let code = scene.program.regions.iter().filter(|region| region.kind == RegionKind::Code);
            let mut places = code.flat_map(|region| &region.runs).map(|run| (run.chip, run.slice));
            if let Fill::Bytes(bytes) = &mut extent.fill
                && places.all(|place| place != (extent.place.chip, extent.place.slice))
            {
                bytes.to_mut().iter_mut().for_each(|byte| *byte ^= other);
            }
        }
        let mut both = Pair::of_system(&system, &scene.image, &scene.program, &[1, 2, 3]);
        for run in 0..2 {
            both.random_inputs(&mut || dice.roll());
            assert_eq!(both.run(), Ok(true), "seed {seed}, run {run}");
        }
    }
}

#[test]
fn damaged_programs_fault_alike_or_stay_equal() {
    let small = chip::preset("test-small").unwrap();
    let (mut legal, mut faults) = (0, 0);
    for seed in 1000..1040 {
        let (image, program) = grow(&small, seed, 50);
        let mut dice = Dice(seed);
        for _ in 0..16 {
            let Some(damaged) = damage(&System::single(&small), &image, &program, &mut dice) else { continue };
            let mut pair = Pair::new(&small, &image, &damaged, &[2]);
            pair.random_inputs(&mut || dice.roll());
            match pair.run() {
                Ok(true) => legal += 1,
                Ok(false) => faults += 1,
                Err(difference) => panic!("seed {seed}: {difference}"),
            }
        }
    }
    println!("{legal} legal, {faults} faults");
    assert!(legal >= 50 && faults >= 50, "{legal} legal, {faults} faults");
}

/// `.queue` blocks of reads that arrive together at a position: slice and word of each, on consecutive streams.
fn reads(
    queues: &mut BTreeMap<usize, Vec<(i32, String)>>,
    arrival: i32,
    position: i32,
    first: usize,
    words: impl Iterator<Item = (usize, usize)>,
) {
    for (number, (slice, word)) in words.enumerate() {
        // Four slices a position; a read takes four cycles to its stream.
        let at = slice as i32 / 4 + 1;
        let (direction, hops) = if position > 0 { ('e', position - at) } else { ('w', at - position) };
        queues
            .entry(slice)
            .or_default()
            .push((arrival - 4 - hops, format!("read {word}, {direction}{}", first + number)));
    }
}

/// The queues of [`reads`] in text.
fn listed(queues: BTreeMap<usize, Vec<(i32, String)>>) -> String {
    let queue = |(slice, mut items): (usize, Vec<(i32, String)>)| {
        items.sort();
        let lines: String = items.into_iter().map(|(cycle, item)| format!("@{cycle} {item}\n")).collect();
        format!(".queue mem.e{slice}\n{lines}")
    };
    queues.into_iter().map(queue).collect()
}

/// Results of a pass in cycle 60 on four streams, written near its plane.
fn results(side: &str, stream: &str) -> String {
    (0..4).map(|byte| format!(".queue mem.{side}{}\n@78 write 100, {stream}{byte}\n", 20 + byte)).collect()
}

/// An int8 pass and an fp16 pass whose rows, low and high bytes in turn, are the same words in the same order.
#[test]
fn columns_of_two_formats_over_the_same_words_are_equal() {
    let word = |row: usize| if row < 16 { (row, 0) } else { ((row - 16) ^ 1, 1) };
    let mut queues = BTreeMap::new();
    for (half, first) in [(0, 0), (1, 16)] {
        reads(&mut queues, 40 + half as i32, 8, first, (0..16).map(|row| word(2 * row + half)));
        reads(&mut queues, 40 + half as i32, -8, first, (0..16).map(|row| word(16 * half + row)));
    }
    reads(&mut queues, 60, 8, 0, [(16, 0), (17, 0)].into_iter());
    reads(&mut queues, 60, -8, 0, [(18, 0)].into_iter());
    let planes = ".queue mxm.e0.lw\n@40 lw e0, 0, in, bytes\n.queue mxm.e0.iw\n@45 iw 16\n.queue mxm.e0.abc\n\
        @60 abc f16, e0, w0\n\
        .queue mxm.e1.lw\n@41 lw e16, 0, in, bytes\n.queue mxm.e1.iw\n@45 iw 16\n\
        .queue mxm.w0.lw\n@40 lw w0, 0, in, bytes\n@41 lw w16, 16, in, bytes\n.queue mxm.w0.iw\n@45 iw 32\n\
        .queue mxm.w0.abc\n@60 abc i8, w0, e0\n";
    let inputs = ".input rows i8 [32 64] at e0..e15:0, e0..e15:1\n.input x i8 [3 64] at e16..e18:0\n";
    equal("test-small", &format!("{inputs}{}{planes}{}{}", listed(queues), results("e", "w"), results("w", "e")));
}

/// Weights that a switch unit makes, over images of 1 to 64 truncated words: the memory of such rows was never written
/// by a copy, and yet they are not zero.
#[test]
fn weights_made_by_a_switch_are_equal() {
    for words in 1..=64 {
        let mut queues = BTreeMap::new();
        for (word, first) in [(0, 0), (1, 16)] {
            reads(&mut queues, 30 + word as i32, 7, first, (0..16).map(|slice| (slice, word)));
        }
        reads(&mut queues, 60, 8, 0, [(16, 0), (17, 0)].into_iter());
        let units = ".queue sxm.e0\n@30 transpose e0, e0\n.queue sxm.e1\n@31 transpose e16, e16\n";
        let planes = ".queue mxm.e0.lw\n@35 lw e0, 0, out, bytes\n.queue mxm.e0.iw\n@40 iw 16\n.queue mxm.e0.abc\n\
            @60 abc f16, e0, w0\n\
            .queue mxm.e1.lw\n@36 lw e16, 0, out, bytes\n.queue mxm.e1.iw\n@40 iw 16\n";
        let image = format!(".data w20:0x{words} 16\n.hex {}\n", "01".repeat(16 * words));
        let inputs = ".input rows i8 [32 64] at e0..e15:0, e0..e15:1\n.const x f16 [1 64] at e16:0, e17:0\n.fill x 1\n";
        let (queues, results) = (listed(queues), results("e", "w"));
        // Directives of the image come before those of the program.
        equal_over("test-small", &image, &format!("{inputs}{queues}{units}{planes}{results}"));
    }
}
