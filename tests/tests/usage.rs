//! Utilization: shares of the cycles there are, over grown, composed and compiled programs, equal to a plain count of
//! busy cycles.

use std::collections::BTreeSet;

use lpu::chip::{System, preset};
use lpu::isa::{ChipId, Flow, Hemisphere, Image, Instruction, PassFormat, Program, Queue, Unit};
use lpu::model::Checkpoint;
use lpu::report::{Counts, Utilization};
use lpu::{Activity, DispatchKind, Options, Precision, checker, compiler, units};
use lpu_tests::grow::grow;
use lpu_tests::scenes::compose;

/// The issues of all chips.
fn each(issues: &checker::Issues) -> impl Iterator<Item = checker::Issue> {
    (0..issues.chips.len()).flat_map(|chip| issues.of_chip(ChipId(chip as u16)))
}

/// Busy cycles found by marking each cycle of each unit.
fn marked(system: &System, issues: &checker::Issues, cycles: u64) -> Counts {
    let values = system.chip().values();
    let [mut loads, mut passes, mut streams, mut links, mut ports] = [(); 5].map(|()| BTreeSet::new());
    for issue in each(issues) {
        let unit = |cycle: u64, name: String| (cycle, issue.chip.0, name);
        match (issue.instruction, issue.queue) {
            (Instruction::Lw { .. }, Queue::Mxm(side, plane, _)) => {
                loads.insert(unit(issue.cycle, format!("{side:?}{plane}")));
            }
            (Instruction::Abc { format, .. }, Queue::Mxm(side, plane, _)) => {
                let wide = format == PassFormat::F16;
                let length = if wide { u64::from(values.mxm_f16_interval) } else { 1 };
                for plane in plane..=plane + u16::from(wide) {
                    passes.extend(
                        (issue.cycle..issue.cycle + length).map(|cycle| unit(cycle, format!("{side:?}{plane}"))),
                    );
                }
            }
            (Instruction::Send { .. }, queue) => {
                let end = issue.cycle + u64::from(values.c2c_interval);
                links.extend((issue.cycle..end).map(|cycle| unit(cycle, queue.to_string())));
            }
            (Instruction::Read { .. } | Instruction::Gather { .. }, queue) => {
                ports.insert(unit(issue.cycle, format!("read {queue}")));
            }
            (Instruction::Write { .. } | Instruction::Scatter { .. }, queue) => {
                ports.insert(unit(issue.cycle, format!("write {queue}")));
            }
            (instruction, queue) if instruction.row().unit == queue.unit() => {
                ports.insert(unit(issue.cycle, queue.to_string()));
            }
            _ => {}
        }
        let landed = issue.cycle + u64::from(system.chip().delay(issue.instruction.row().delay));
        for used in issue.instruction.streams().into_iter().filter(|used| used.flow == Flow::Out) {
            streams.extend((0..used.width).map(|offset| unit(landed, used.first.plus(offset).to_string())));
        }
    }
    let within = |set: &BTreeSet<(u64, u16, String)>| set.iter().filter(|(cycle, ..)| *cycle < cycles).count() as u64;
    let port = |name: &str| ports.iter().filter(|(_, _, port)| port.starts_with(name)).count() as u64;
    Counts {
        plane_busy: within(&loads.union(&passes).cloned().collect()),
        plane_loads: within(&loads),
        plane_passes: within(&passes),
        alu_issues: port("vxm."),
        switch_issues: port("sxm."),
        reads: port("read "),
        writes: port("write "),
        stream_cycles: within(&streams),
        link_cycles: within(&links),
    }
}

fn hold(system: &System, image: &Image<'_>, program: &Program, plain: bool, what: &str) -> Utilization {
    let issues = checker::issues(system, image, program).unwrap();
    let activity = Activity::new(system, &issues, program.cycles);
    let (found, units) = (activity.counts(), units(system));
    if plain {
        assert_eq!(found, marked(system, &issues, program.cycles), "{what}");
    }
    assert!(found.plane_busy <= found.plane_loads + found.plane_passes, "{what}: {found:?}");
    assert!(found.plane_busy >= found.plane_loads.max(found.plane_passes), "{what}: {found:?}");
    let shares = activity.utilization(system);
    assert_eq!(shares, Utilization::new(&found, &units, program.cycles), "{what}");
    let dispatched = each(&issues).filter(|issue| issue.instruction.row().unit != Unit::Icu).count() as u64;
    assert_eq!(activity.dispatches.values().sum::<u64>(), dispatched, "{what}");
    let positions = system.chip().mxm_position(Hemisphere::East);
    assert!(activity.dispatches.keys().all(|kind| i32::from(kind.hops) <= 2 * positions), "{what}");
    let reads = |kind: &DispatchKind| ["read", "gather"].contains(&kind.opcode);
    let counted: u64 = activity.dispatches.iter().filter(|(kind, _)| reads(kind)).map(|(_, count)| count).sum();
    assert_eq!(counted, found.reads, "{what}");
    let json = serde_json::json!({
        "mxm": shares.mxm, "load": shares.mxm_load, "pass": shares.mxm_pass, "vxm": shares.vxm, "sxm": shares.sxm,
        "read": shares.mem_read, "write": shares.mem_write, "streams": shares.streams,
        "links": shares.links.unwrap_or_default(),
    });
    for (kind, share) in json.as_object().unwrap() {
        assert!((0.0..=1.0).contains(&share.as_f64().unwrap()), "{what}: {kind} {share}");
    }
    assert_eq!(shares.links.is_some(), system.chips() > 1, "{what}");
    shares
}

#[test]
fn grown_and_composed_programs_are_at_most_busy_all_the_time() {
    let single = System::preset("test-small").unwrap();
    let pair = System::preset("test-pair").unwrap();
    let (mut passing, mut sending) = (0, 0);
    for seed in 0..20 {
        let (image, program) = grow(single.chip(), seed, 40);
        passing += u32::from(hold(&single, &image, &program, true, &format!("grown {seed}")).mxm_pass > 0.0);
        let scene = compose(&pair, seed, 6);
        sending +=
            u32::from(hold(&pair, &scene.image, &scene.program, true, &format!("composed {seed}")).links > Some(0.0));
    }
    assert!(passing > 2 && sending > 2, "{passing} programs pass activations, {sending} send");
}

/// Checkpoints of `tests/checkpoints`, of every shape of operation that the compiler lowers.
const CHECKPOINTS: &[&str] =
    &["plain", "gqa", "odd", "wide", "wide_head", "deep", "qwen3", "gemma2", "gpt2", "gpt_neox", "olmo2", "mixtral"];

#[test]
fn compiled_programs_are_at_most_busy_all_the_time_and_take_what_they_feed() {
    let tsp = preset("tsp-v1").unwrap();
    let system = System::single(&tsp);
    for name in CHECKPOINTS {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name);
        let checkpoint = Checkpoint::open(&folder).unwrap();
        for precision in [Precision::F16, Precision::W8A8, Precision::W8A16] {
            let compiled =
                compiler::compile(&checkpoint, &tsp, &Options { precision, context: 16, ..Options::default() })
                    .unwrap();
            let (program, what) = (&compiled.programs[0], format!("{name} {}", precision.name()));
            let shares = hold(&system, &compiled.image, program, *name == "plain", &what);
            assert!(shares.mxm_load > 0.0 && shares.mxm_pass > 0.0, "{what}");
            let report = checker::check_system(&system, &compiled.image, program).unwrap();
            let warnings: Vec<String> = report.warnings(&system, program).iter().map(ToString::to_string).collect();
            println!(
                "{what}: {} of {} cycles, {} warnings, such as {:?}",
                shares.mxm,
                program.cycles,
                warnings.len(),
                warnings.first()
            );
            assert!(
                warnings.is_empty(),
                "{what}: {} warnings: {}",
                warnings.len(),
                warnings[..warnings.len().min(8)].join("\n")
            );
        }
    }
}
