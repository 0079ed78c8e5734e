//! Instruction control and links: barriers, instruction fetch, power, chips that send to one another; values and cycles
//! of the reference engine, and the same verdict of the checker.

use std::borrow::Cow;

use lpu::chip::System;
use lpu::isa::{ChipId, Container, Hemisphere, Program, Rule, SliceId, Violation, assemble, blocks};
use lpu::{checker, emulator};

struct Outcome {
    cycles: u64,
    fetched: u64,
    machine: emulator::Machine,
}

/// Assembles for a system, states the derived cycles unless some are given, and holds both proofs to each other.
fn run(system: &str, text: &str) -> Result<Outcome, Violation> {
    let system = System::preset(system).unwrap();
    let named = format!(".chip {}\n{text}", system.name());
    let by_name = &mut |_: &str| Some((system.reference(), system.chip().lanes() as u32));
    let (container, _) = assemble(&named, &mut |_| Err("no files".into()), by_name)
        .unwrap_or_else(|errors| panic!("{errors:?}\n{named}"));
    judge(&system, container)
}

fn judge(system: &System, mut container: Container<'_>) -> Result<Outcome, Violation> {
    let cycles = checker::cycles(system, &container.image, &container.programs[0]).unwrap();
    container.programs[0].cycles = cycles;
    let program = &container.programs[0];
    let report = checker::check_system(system, &container.image, program).unwrap();
    let mut machine = emulator::Machine::of_system(system, &container.image).unwrap();
    let prepared = machine.prepare(program).unwrap();
    let outcome = machine.run(&prepared, &mut ());
    match outcome {
        Ok(run) => {
            assert_eq!(report.violations, []);
            assert_eq!((run.cycles, run.fetched), (cycles, report.fetched));
            Ok(Outcome { cycles, fetched: run.fetched, machine })
        }
        Err(emulator::RunError::Fault(first)) => {
            assert_eq!(
                report.violations.first().map(Violation::key),
                Some(first.key()),
                "checker {:?}, engine {first:?}",
                report.violations
            );
            let all = machine.violations(&prepared, usize::MAX);
            assert_eq!(
                report.violations.iter().map(Violation::key).collect::<Vec<_>>(),
                all.iter().map(Violation::key).collect::<Vec<_>>()
            );
            Err(first)
        }
        Err(error) => panic!("{error}"),
    }
}

fn word(outcome: &Outcome, chip: u16, index: u16, word: u32) -> Vec<u8> {
    outcome.machine.read_word(ChipId(chip), SliceId { side: Hemisphere::East, index }, word).unwrap().into_owned()
}

fn bytes(text: &[u8]) -> String {
    text.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A word of 64 bytes as `.data`.
fn data(place: &str, content: &[u8]) -> String {
    let mut content = content.to_vec();
    content.resize(64, 0);
    let (first, second) = content.split_at(32);
    format!(".data {place}\n.hex {}\n.hex {}\n", bytes(first), bytes(second))
}

fn rule(outcome: Result<Outcome, Violation>) -> (Rule, u64) {
    match outcome {
        Ok(outcome) => panic!("legal, {} cycles", outcome.cycles),
        Err(violation) => (violation.fault.rule(), violation.cycle),
    }
}

/// A read in slice e0 waits for a notify; a write in slice e4, one position further out, waits for the same barrier.
#[test]
fn a_barrier_sets_all_parked_queues_to_one_cycle() {
    let program = |notify: u64| {
        data("e0:3", &[9; 64])
            + &format!(
                ".program p\n.queue mem.e0\n@2 sync\n@0 read 3, e0\n.queue mem.e4\n@7 sync\n@5 write 1, e0\n\
                .queue sxm.e0\n@{notify} notify\n"
            )
    };
    let outcome = run("test-small", &program(10)).unwrap();
    // Freed in cycle 45: read there, on the stream at 49, passing the next position at 50, landing at 52; four tiles.
    assert_eq!(outcome.cycles, 52 + 4);
    assert_eq!(word(&outcome, 0, 4, 1), [9; 64]);
    assert_eq!(run("test-small", &program(0)).unwrap().cycles, 42 + 4);
}

#[test]
fn a_barrier_that_has_passed_frees_nobody() {
    let program = ".program p\n.queue mem.e0\n@35 sync\n.queue mem.e1\n@34 sync\n.queue sxm.e0\nnotify\n";
    let Err(first) = run("test-small", program) else { panic!("legal") };
    assert_eq!((first.fault.rule(), first.cycle), (Rule::BarrierMissing, 36));
    assert_eq!(first.site.unwrap().queue.to_string(), "mem.e0");
}

#[test]
fn barriers_follow_one_another() {
    // The queue that is freed by the first barrier sends the second.
    let program = ".program p\n.queue vxm.0\nadd mod, _, #i1, #i1\nsync\nadd mod, _, #i1, #i1\n.queue sxm.e0\nsync\n\
        notify\n.queue sxm.e1\nnotify\n";
    // Freed at 35 both; a second barrier at 70 frees no queue.
    assert_eq!(run("test-small", program).unwrap().cycles, 35 + 4 + 4);
    let twice = program.replace("vxm.0\nadd mod, _, #i1, #i1\nsync", "vxm.0\nadd mod, _, #i1, #i1\nsync\nsync");
    assert_eq!(run("test-small", &twice).unwrap().cycles, 70 + 4 + 4);
}

/// Two words of code in slices e0 and e1, fetched by an ALU's queue at the VXM.
fn fetching(code: &str, regions: &str, preloaded: &str) -> String {
    let text = format!(".chip test-small\n.program p\n.queue vxm.0\n{code}");
    let system = System::preset("test-small").unwrap();
    let by_name = &mut |_: &str| Some((system.reference(), 64));
    let (container, _) =
        assemble(&text, &mut |_| Err("no files".into()), by_name).unwrap_or_else(|errors| panic!("{errors:?}"));
    let items = container.programs[0].sets[0].values().next().unwrap();
    let blocks = blocks(items, 128).unwrap();
    assert_eq!(blocks.len(), 1);
    data("e0:0", &blocks[0][..64])
        + &data("e1:0", &blocks[0][64..])
        + &format!(
            ".program p\n{regions}.queue mem.e0\nread 0, w2\n.queue mem.e1\nread 0, w3\n.queue vxm.0\n{preloaded}"
        )
}

const CODE: &str = ".code code i8 [2, 64] at e0:0, e1:0\n";

#[test]
fn fetched_instructions_issue_when_they_have_arrived() {
    let fetched = "add mod, e0, #i40, #i2\nnop 3\nadd mod, e4, #i1, #i1\n";
    // The words pass the VXM in cycle 5; the instructions are there in cycle 9.
    let run_of = |preloaded: &str| run("test-small", &fetching(fetched, CODE, preloaded)).unwrap();
    let outcome = run_of("@5 ifetch w2\n");
    assert_eq!((outcome.cycles, outcome.fetched), (9 + 4 + 4 + 4, 3));
    let busy = run_of("@5 ifetch w2\nadd mod, _, #i1, #i1\nrepeat 20, 1, 0\n");
    assert_eq!(busy.cycles, 26 + 4 + 4 + 4, "the queue goes on after what it held");
}

/// Another ALU puts values on the fetch's streams, at the fetch's own position, in the cycle of the fetch, before and
/// after it: what arrives is taken before what is put.
#[test]
fn a_producer_at_the_position_of_a_fetch_does_not_reach_it() {
    let fetched = "add mod, e0, #i40, #i2\n";
    for cycle in [0, 1, 2] {
        let other_slice =
            format!("{}.queue vxm.1\n@{cycle} add mod, w0, #i1, #i1\n", fetching(fetched, CODE, "@5 ifetch w2\n"));
        let outcome = run("test-small", &other_slice).unwrap();
        assert_eq!((outcome.cycles, outcome.fetched), (9 + 4 + 4, 1), "{cycle}");
    }
}

#[test]
fn only_code_can_be_fetched() {
    let add = "add mod, e0, #i40, #i2\n";
    let constant = CODE.replace(".code", ".const");
    let late = CODE.to_owned() + ".input x i8 [1, 64] at e1:0\n";
    assert_eq!(rule(run("test-small", &fetching(add, &constant, "@5 ifetch w2\n"))), (Rule::FetchNotCode, 5));
    assert_eq!(rule(run("test-small", &fetching(add, &late, "@5 ifetch w2\n"))), (Rule::FetchNotCode, 5));
    assert_eq!(rule(run("test-small", &fetching(add, CODE, "@6 ifetch w2\n"))), (Rule::RegisterEmpty, 6));
    let masked = fetching(add, CODE, "@5 ifetch w2\n")
        .replace("mem.e0\nread", "mem.e0\nconfig 2\n@1 read")
        .replace("mem.e1\nread", "mem.e1\n@1 read");
    assert_eq!(rule(run("test-small", &masked.replace("@5", "@6"))), (Rule::FetchNotCode, 6));
    let other_unit = fetching(add, CODE, "").replace(".queue vxm.0\n", ".queue mxm.w0.iw\n@13 ifetch w2\n");
    // West planes are eight positions from the VXM.
    assert_eq!(rule(run("test-small", &other_unit)), (Rule::FetchInvalid, 13));
}

#[test]
fn superlanes_without_power_are_zero() {
    let text = data("e0:3", &[7; 64])
        + &data("e1:3", &[8; 64])
        + ".program p\n.queue mem.e0\nread 3, e0\n.queue mem.e1\n@1 read 3, e0\n"
        + ".queue mem.e4\n@2 config 3\n@5 write 1, e0\n@6 write 2, e0\n";
    let outcome = run("test-small", &text).unwrap();
    let mut expected = vec![7; 48];
    expected.resize(64, 0);
    assert_eq!(word(&outcome, 0, 4, 1), expected);
    assert_eq!(rule(run("test-small", &text.replace("config 3", "config 5"))), (Rule::RangeOverflow, 2));
    assert_eq!(rule(run("test-small", &text.replace("config 3", "config 0"))), (Rule::RangeOverflow, 2));
}

/// Chip 0 sends over link 0 at position 8; chip 1 receives at link 1.
fn sending(send: &str, receive: &str) -> String {
    data("e20:0", &[1; 64])
        + &data("e20:1", &[2; 64])
        + &format!(
            ".program p\n.queue 0/mem.e20\nread 0, e0\nnop 9\nread 1, e0\n.queue 0/c2c.0\n{send}.queue 1/c2c.1\n\
            {receive}.queue 1/mem.e20\n"
        )
}

#[test]
fn vectors_wait_for_their_receive_in_order() {
    // Position 6 to 8: the first passes the link in cycle 6, the second in cycle 16; they arrive at 222 and 232.
    let text = sending("@6 send e0\n@16 send e0\n", "@300 receive w0\n@301 receive w0\n")
        + "@306 write 0, w0\n@307 write 1, w0\n";
    let outcome = run("test-pair", &text).unwrap();
    assert_eq!((word(&outcome, 1, 20, 0), word(&outcome, 1, 20, 1)), (vec![1; 64], vec![2; 64]));
    assert_eq!(outcome.cycles, 307 + 2 + 4);
    let early = sending("@6 send e0\n", "@221 receive w0\n");
    assert_eq!(rule(run("test-pair", &early)), (Rule::ReceiveEarly, 221));
    assert!(run("test-pair", &early.replace("@221", "@222")).is_ok());
    let busy = sending("@6 send e0\n@10 send e0\n", "").replace("nop 9", "nop 3");
    assert_eq!(rule(run("test-pair", &busy)), (Rule::LinkBusy, 10));
    assert!(run("test-pair", &busy.replace("@10 send", "@11 send").replace("nop 3", "nop 4")).is_ok());
    assert_eq!(
        rule(run("test-pair", &sending("@6 send e0\n", "").replace("c2c.0", "c2c.1"))),
        (Rule::RangeOverflow, 6)
    );
}

#[test]
fn deskew_waits_for_the_shared_counter() {
    let text = sending("@6 send e0\n", "deskew\n@0 receive w0\n");
    // Parked at 0, freed at 256.
    assert_eq!(run("test-pair", &text).unwrap().cycles, 256 + 4 + 4);
    let again = sending("@6 send e0\n", "@256 deskew\n@0 receive w0\n");
    assert_eq!(run("test-pair", &again).unwrap().cycles, 512 + 4 + 4);
}

#[test]
fn control_survives_text_and_binary() {
    let text = ".chip test-pair\n.program p\n.chips 2\n.queue mem.e0\nconfig 2\nifetch w2\nsync\n@4 read 0, e0\n\
        .queue c2c.0\nsend e0\nreceive w1\ndeskew\n.queue sxm.w0\nnotify\n";
    let system = System::preset("test-pair").unwrap();
    let (container, _) = assemble(text, &mut |_| Err("no files".into()), &mut |_| {
        Some((system.reference(), system.chip().lanes() as u32))
    })
    .unwrap();
    let bytes = container.to_bytes().unwrap();
    let parsed = Container::parse(&bytes).unwrap();
    let (again, _) = lpu::isa::disassemble(&parsed, None);
    let (reread, _) = assemble(&again, &mut |_| Ok(Cow::Borrowed(&[][..])), &mut |_| None).unwrap();
    assert_eq!(reread.to_bytes().unwrap(), bytes);
    assert!(again.contains("sync\n@4 "), "{again}");
}

/// A read of a word goes out from what the image says of it, wherever its extent is, with zeros after the lanes
/// that are given.
#[test]
fn words_are_zero_behind_the_lanes_that_are_given() {
    let text = ".data e0:4x2 3\n.hex 010203 040506\n.zero e0:6\n.data e0:2 1\n.hex ff\n.program p\n.queue mem.e0\n\
        @0 read 5, e0\n.queue mem.e4\n@5 write 5, e0\n";
    let outcome = run("test-small", text).unwrap();
    let expected = |given: &[u8]| {
        let mut word = vec![0; 64];
        word[..given.len()].copy_from_slice(given);
        word
    };
    for (slice, address, given) in
        [(0, 2, &[255][..]), (0, 4, &[1, 2, 3]), (0, 5, &[4, 5, 6]), (0, 6, &[]), (4, 5, &[4, 5, 6])]
    {
        assert_eq!(word(&outcome, 0, slice, address), expected(given), "e{slice}:{address}");
    }
}

/// Chips that contradict their queue sets are refused by checker and reference engine, whatever the contradiction.
#[test]
fn chips_that_contradict_their_sets_are_refused() {
    let text = ".chip test-pair\n.program p\n.queue c2c.0\nsend e0\n.queue c2c.7\nsend e0\n.like 1 0 0=1\n";
    let system = System::preset("test-pair").unwrap();
    let mut by_name = |_: &str| Some((system.reference(), system.chip().lanes() as u32));
    let (container, _) = assemble(text, &mut |_| Err("no files".into()), &mut by_name).unwrap();
    type Change = fn(&mut Program);
    let changes: [(&str, Change); 7] = [
        ("cycles are more than", |program| program.chips[1].start = u64::MAX),
        ("cycles are more than", |program| program.chips[0].start = lpu::isa::MAX_CYCLES + 1),
        ("runs a set that does not exist", |program| program.chips[1].set = 9),
        ("a set that no chip runs", |program| program.sets.push(Default::default())),
        ("is the first of its set", |program| program.chips[0].links.extend([(0, 1)])),
        ("one that its set does not have", |program| program.chips[1].links.extend([(4, 5)])),
        ("two links of its set under one name", |program| program.chips[1].links.extend([(0, 7)])),
    ];
    let machine = emulator::Machine::of_system(&system, &container.image).unwrap();
    for (expected, change) in changes {
        let mut program = container.programs[0].clone();
        change(&mut program);
        let message = checker::check_system(&system, &container.image, &program).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert_eq!(machine.prepare(&program).unwrap_err().to_string(), message);
        assert!(checker::cycles(&system, &container.image, &program).is_err());
    }
}
