//! What faults say besides the rule: the value that was missed, the other producer, the arrival, the chip; and
//! warnings.

use std::collections::BTreeMap;

use lpu::checker::{self, Issue, Report, Warning};
use lpu::chip::{Chip, System};
use lpu::isa::{Container, Direction, Fault, Flow, Hemisphere, Near, Producer, Rule, Stream, assemble};
use lpu_tests::dice::Dice;
use lpu_tests::mutate::mutate;
use lpu_tests::scenes::compose;

fn assembled(system: &System, text: &str) -> Container<'static> {
    let named = format!(".chip {}\n.zero e0:0x8\n.zero e1:0x8\n.program p\n{text}", system.name());
    let by_name = &mut |_: &str| Some((system.reference(), system.chip().lanes() as u32));
    let (mut container, _) = assemble(&named, &mut |_| Err("no files".into()), by_name)
        .unwrap_or_else(|errors| panic!("{errors:?}\n{named}"));
    container.programs[0].cycles = checker::cycles(system, &container.image, &container.programs[0]).unwrap();
    container
}

fn report(system: &System, text: &str) -> (Container<'static>, Report) {
    let container = assembled(system, text);
    let report = checker::check_system(system, &container.image, &container.programs[0]).unwrap();
    (container, report)
}

#[test]
fn faults_say_what_was_missed() {
    let link = System::preset("test-pair").unwrap().chip().values().c2c_link;
    let arrives = format!(
        "the next arrives in cycle {}, sent by what c2c.0 issues in cycle 3 on chip 0; receive it then or later",
        3 + link
    );
    let late = "cycle 7, mem.w0 (write): register-empty: stream w0 carries no value at position -1; w0 carries a \
        value here in cycle 6, \
                1 cycle earlier, fed by what mem.e0 issues in cycle 0; take it then, or feed it to match";
    let cases = [
        ("tsp-v1", ".queue mem.e0\n@0 read 0, w0\n.queue mem.w0\n@7 write 0, w0\n", Rule::RegisterEmpty, late),
        (
            "tsp-v1",
            ".queue mem.e0\n@0 read 0, w0\n.queue mem.w0\n@3 write 0, w0\n",
            Rule::RegisterEmpty,
            "in cycle 6, 3 cycles later, fed by what mem.e0 issues in cycle 0",
        ),
        (
            "tsp-v1",
            ".queue mem.e0\n@0 read 0, w0\n.queue mem.w0\n@6 write 0, w1\n",
            Rule::RegisterEmpty,
            "stream w1 carries no value at position -1; in this cycle w0 carries a value here, fed by what mem.e0 \
            issues in cycle 0",
        ),
        (
            "tsp-v1",
            ".queue mem.e0\n@0 read 0, e0\n.queue mem.w0\n@5 write 0, e0\n",
            Rule::RegisterEmpty,
            "it is fed at position 1, 2 positions downstream, by what mem.e0 issues in cycle 0, and flows away",
        ),
        ("tsp-v1", ".queue mem.w0\n@5 write 0, e0\n", Rule::RegisterEmpty, "no instruction feeds it"),
        (
            "tsp-v1",
            ".queue vxm.0\n@0 negate f32, _, #1.0\n.queue vxm.1\n@2 negate f32, _, a0\n",
            Rule::RegisterEmpty,
            "no result of ALU 0 has landed; the first lands in cycle 4, from what vxm.0 issues in cycle 0",
        ),
        (
            "tsp-v1",
            ".queue mem.e0\n@0 read 0, w0\n.queue mem.e1\n@0 read 0, w0\n",
            Rule::TwoProducers,
            "cycle 4, mem.e1 (read): two-producers: its value meets that of what mem.e0 issues in cycle 0 on stream \
            w0 at position 1",
        ),
        ("test-pair", ".queue c2c.0\n@3 send e0\n.queue 1/c2c.1\n@10 receive w0\n", Rule::ReceiveEarly, &arrives),
        (
            "test-pair",
            ".queue 1/c2c.1\n@10 receive w0\n",
            Rule::ReceiveEarly,
            "cycle 10, chip 1, c2c.1 (receive): receive-before-arrival",
        ),
        ("test-pair", ".queue mem.w0\n@5 write 0, e0\n", Rule::RegisterEmpty, "cycle 5, chip 0, mem.w0 (write)"),
    ];
    for (name, text, rule, expected) in cases {
        let (_, report) = report(&System::preset(name).unwrap(), text);
        let found = report.violations.iter().find(|violation| violation.fault.rule() == rule);
        let message = found.map(ToString::to_string).unwrap_or_default();
        assert!(message.contains(expected), "{text}{message}");
    }
}

#[test]
fn probable_mistakes_are_warned_of() {
    let taken = ".queue mem.e0\n@0 read 0, w0\n.queue mem.w0\n@6 write 0, w0\n";
    let output = "\n.output y i8 [2 16] at w0:0x2\n";
    let cases: &[(&str, String, &[&str])] = &[
        ("tsp-v1", taken.into(), &[]),
        (
            "tsp-v1",
            ".queue mem.e0\n@0 read 0, w0\n".into(),
            &["cycle 0, mem.e0 (read): value-unread: no instruction takes what it puts on w0; the value leaves the \
                chip unread"],
        ),
        (
            "test-pair",
            ".queue 1/vxm.0\n@0 negate f32, e4, #1.0\n".into(),
            &["cycle 0, chip 1, vxm.0 (negate): value-unread: no instruction takes what it puts on e4 to e7"],
        ),
        ("tsp-v1", ".queue vxm.0\n@0 negate f32, e4, #1.0\n.queue mem.e0\n@5 write 0, e5\n".into(), &[]),
        (
            "tsp-v1",
            format!("{output}{taken}"),
            &["output-unwritten: no instruction writes 1 of the 2 words of output `y`"],
        ),
        ("tsp-v1", format!("{output}{taken}.queue mem.w0\n@9 nop 1\n"), &["1 of the 2 words"]),
        (
            "tsp-v1",
            format!(
                "{output}.queue mem.e0\n@0 read 0, w0\nrepeat 1, 1, 0\n.queue mem.w0\n@6 write 0, w0\nrepeat 1, 1, 1\n"
            ),
            &[],
        ),
        (
            "tsp-v1",
            ".queue vxm.0\n@0 add mod, _, #i1, #0.5\n".into(),
            &["(add): float-immediate: operand `b` has the bits of #0.5, which this `add` takes as the integer \
                1056964608"],
        ),
        (
            "tsp-v1",
            ".queue vxm.0\n@0 max i32, _, #127.0, #i3\nrepeat 4, 1, 0\n".into(),
            &["operand `a` has the bits of #127.0"],
        ),
        ("tsp-v1", ".queue vxm.0\n@0 convert i8, f32, _, #3.0\n".into(), &["float-immediate"]),
        (
            "tsp-v1",
            ".queue vxm.0\n@0 add f32, _, #1.0, #0.5\nadd mod, _, #i7, #i-7\nadd sat, _, #i1000000000, #i2147483647\n"
                .into(),
            &[],
        ),
        ("tsp-v1", ".queue mem.e0\n@0 read 0, w0\n.queue mem.w0\n@7 write 0, w0\n".into(), &[]),
    ];
    for (name, text, expected) in cases {
        let system = System::preset(name).unwrap();
        let (container, report) = report(&system, text);
        let found: Vec<String> =
            report.warnings(&system, &container.programs[0]).iter().map(Warning::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{text}{found:?}{:?}", report.violations);
        for (found, expected) in found.iter().zip(*expected) {
            assert!(found.contains(expected), "{text}{found}");
        }
    }
}

/// A value put on a stream: cycle on the register, position, producer.
type Put = (u64, i32, Producer);

/// Values put on the streams of a program, by a plain list.
struct Puts<'a> {
    chip: &'a Chip,
    puts: BTreeMap<(u16, Stream), Vec<Put>>,
}

impl<'a> Puts<'a> {
    fn new(chip: &'a Chip, issues: &[Issue]) -> Self {
        let mut puts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for issue in issues {
            let landed = issue.cycle + u64::from(chip.delay(issue.instruction.row().delay));
            let from = Producer { chip: issue.chip, queue: issue.queue, item: issue.item, cycle: issue.cycle };
            for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::Out) {
                for offset in 0..used.width {
                    puts.entry((issue.chip.0, used.first.plus(offset))).or_default().push((
                        landed,
                        chip.position(issue.queue),
                        from,
                    ));
                }
            }
        }
        Self { chip, puts }
    }

    fn all(&self, chip: u16, stream: Stream) -> &[Put] {
        self.puts.get(&(chip, stream)).map_or(&[], Vec::as_slice)
    }

    /// Hops from a position downstream to another; negative upstream.
    fn hops(stream: Stream, from: i32, to: i32) -> i64 {
        i64::from(if stream.direction() == Direction::East { to - from } else { from - to })
    }

    /// The producer of the value at a position in a cycle: the nearest upstream from which it arrives just then.
    fn at(&self, chip: u16, stream: Stream, position: i32, cycle: i64) -> Option<Producer> {
        let arrives = |&&(landed, from, _): &&Put| {
            let hops = Self::hops(stream, from, position);
            hops > 0 && landed as i64 + hops == cycle
        };
        let arriving = self.all(chip, stream).iter().filter(arrives);
        arriving.min_by_key(|(_, from, _)| Self::hops(stream, *from, position)).map(|put| put.2)
    }
}

/// Holds what a fault says to a plain search; names what it said.
fn hold(puts: &Puts<'_>, violation: &lpu::isa::Violation) -> Option<&'static str> {
    let (chip, now) = (violation.chip.0, violation.cycle as i64);
    let crossing = i64::from(puts.chip.mxm_position(Hemisphere::East) - puts.chip.mxm_position(Hemisphere::West));
    let nearest = |stream, position, within: i64| {
        (1..=within)
            .find(|by| [now - by, now + by].iter().any(|&cycle| puts.at(chip, stream, position, cycle).is_some()))
    };
    match violation.fault {
        Fault::RegisterEmpty { stream, position, near } => match near.expect("small programs are searched whole") {
            Near::Cycle { stream: same, passes, read, from } => {
                assert_eq!((same, read as i64), (stream, now));
                // Two producers on one register are a fault of their own, and either may be named.
                assert!(
                    puts.at(chip, stream, position, passes as i64)
                        .is_some_and(|found| found.cycle == from.cycle || found.queue != from.queue)
                );
                let by = now.abs_diff(passes as i64) as i64;
                assert_eq!(nearest(stream, position, by), Some(by));
                Some("cycle")
            }
            Near::Stream { stream: other, from } => {
                assert_ne!(other, stream);
                assert!(
                    puts.at(chip, other, position, now)
                        .is_some_and(|found| found.cycle == from.cycle || found.queue != from.queue)
                );
                assert_eq!(nearest(stream, position, crossing), None);
                Some("stream")
            }
            Near::Past { position: fed, past, from } => {
                assert!(puts.all(chip, stream).iter().any(|&(_, at, producer)| (at, producer) == (fed, from)));
                assert!(
                    puts.all(chip, stream)
                        .iter()
                        .all(|&(_, at, _)| Puts::hops(stream, position, at) >= i64::from(past))
                );
                Some("past")
            }
            Near::Unfed => {
                assert!(puts.all(chip, stream).is_empty());
                Some("unfed")
            }
            _ => None,
        },
        Fault::TwoProducers { stream, position, other } => {
            let same = puts
                .all(chip, stream)
                .iter()
                .any(|&(landed, at, from)| (landed as i64, at, from) == (now, position, other));
            assert!(
                same && violation.site.is_some_and(
                    |site| (site.queue, site.item) != (other.queue, other.item) || other.cycle as i64 <= now
                )
            );
            Some("two")
        }
        Fault::LatchEmpty { lands, .. } => {
            assert!(lands.is_none_or(|lands| lands.cycle as i64 > now));
            lands.map(|_| "latch")
        }
        Fault::ReceiveEarly { next, .. } => {
            assert!(next.is_none_or(|next| next.cycle as i64 > now));
            next.map(|_| "arrival")
        }
        _ => None,
    }
}

#[test]
fn what_a_fault_names_is_there_and_nothing_is_nearer() {
    let system = System::preset("test-pair").unwrap();
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..60 {
        let base = compose(&system, seed, 4 + seed as usize % 8);
        let mut dice = Dice(seed);
        for _ in 0..20 {
            let (image, program, _) = mutate(&base.image, &base.program, 1000, &mut dice);
            let Ok(report) = checker::check_system(&system, &image, &program) else { continue };
            let puts = Puts::new(system.chip(), &report.flow.issues().collect::<Vec<_>>());
            for violation in &report.violations {
                assert_eq!(violation.chips, 2);
                if let Some(kind) = hold(&puts, violation) {
                    *kinds.entry(kind).or_default() += 1;
                }
            }
        }
    }
    println!("{kinds:?}");
    for kind in ["cycle", "stream", "past", "unfed", "two", "latch", "arrival"] {
        assert!(kinds.contains_key(kind), "{kind} never came up: {kinds:?}");
    }
}
