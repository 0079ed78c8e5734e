//! When items issue: each kind of item, pairs, repeats, stops, and items that are held back.

use lpu_isa::timeline::{Clock, Cursor, wait};
use lpu_isa::{Instruction, Item, Rule, TableRow, assemble, compress, expand};

/// The items of one queue, from text.
fn items(queue: &str, lines: &str) -> Vec<Item> {
    let text = format!(".chip small\n.program p\n.queue {queue}\n{lines}\n");
    let chip = lpu_isa::ChipRef { name: "small".into(), fingerprint: [0; 32] };
    let (container, _) = assemble(&text, &mut |_| Err("no files".into()), &mut |_| Some((chip.clone(), 64))).unwrap();
    container.programs[0].sets[0].values().next().unwrap().clone()
}

/// Cycle, item and text of each issue.
fn issues(queue: &str, lines: &str) -> Vec<(u64, u32, String)> {
    let items = items(queue, lines);
    expand(&items).map(|issue| (issue.cycle, issue.item, lpu_isa::item_text(&issue.instruction.into()))).collect()
}

fn shown(cycle: u64, item: u32, text: &str) -> (u64, u32, String) {
    (cycle, item, text.to_owned())
}

#[test]
fn a_repeat_counts_from_the_instruction_before_it() {
    let found = issues("mem.e0", "nop 3\nread 7, e0\nrepeat 2, 5, -2\nread 1, e1");
    assert_eq!(
        found,
        [shown(3, 1, "read 7, e0"), shown(8, 1, "read 5, e0"), shown(13, 1, "read 3, e0"), shown(14, 3, "read 1, e1")]
    );
    // Operands stride modulo their width.
    assert_eq!(issues("mem.e0", "read 0, e0\nrepeat 1, 1, -1")[1].2, "read 16777215, e0");
    assert_eq!(issues("mem.e0", "gather e0, e2, 8, 1\nrepeat 1, 1, 4")[1].2, "gather e0, e2, 12, 1");
    assert_eq!(issues("mxm.e0.lw", "lw e0, 16, out, bytes\nrepeat 1, 1, 16")[1].2, "lw e0, 32, out, bytes");
    assert_eq!(issues("vxm.0", "exp _, a0\nrepeat 1, 9, 3")[1], shown(9, 0, "exp _, a0"));
}

#[test]
fn pairs_and_fetches_share_a_cycle() {
    let found = issues("mem.e0", "read 0, e0\n& write 1, e1\nifetch w2\nread 2, e2");
    assert_eq!(found.iter().map(|issue| issue.0).collect::<Vec<_>>(), [0, 0, 1, 1]);
    assert_eq!(
        issues("vxm.0", "ifetch e0\nifetch e2\nexp _, a0").iter().map(|issue| issue.0).collect::<Vec<_>>(),
        [0, 0, 0]
    );
}

#[test]
fn a_stopped_queue_waits_for_its_resume() {
    let items = items("c2c.0", "nop 4\nsync\nsend e0\nnop 2\ndeskew\nsend e0");
    let mut cursor = Cursor::default();
    let sync = cursor.next(&items).unwrap();
    assert_eq!((sync.cycle, sync.item, sync.instruction), (4, 1, Instruction::Sync {}));
    assert_eq!(cursor.next(&items), None);
    cursor.resume(40);
    assert_eq!(cursor.next(&items).map(|issue| (issue.cycle, issue.item)), Some((40, 2)));
    assert_eq!(cursor.next(&items).map(|issue| (issue.cycle, issue.instruction)), Some((43, Instruction::Deskew {})));
    assert_eq!(cursor.next(&items), None);
    cursor.resume(256);
    assert_eq!(cursor.next(&items).map(|issue| (issue.cycle, issue.item)), Some((256, 5)));
    assert_eq!(cursor.next(&items), None);
    // Without anybody who knows better, a stop lasts a cycle; a clock counts from its end.
    assert_eq!(expand(&items).map(|issue| issue.cycle).collect::<Vec<_>>(), [4, 5, 8, 9]);
    let mut clock = Clock::default();
    let firsts: Vec<u64> = items.iter().map(|item| clock.step(item).first).collect();
    assert_eq!(firsts, [0, 4, 0, 1, 3, 0]);
}

#[test]
fn held_items_wait_and_the_rest_does_not() {
    let items = items("vxm.0", "exp _, a0\nexp _, a1\nexp _, a2\nexp _, a3");
    let mut cursor = Cursor::default();
    cursor.hold(1, 10);
    cursor.hold(3, 4);
    let cycles: Vec<u64> = std::iter::from_fn(|| cursor.next(&items)).map(|issue| issue.cycle).collect();
    assert_eq!(cycles, [0, 10, 11, 12]);
    assert_eq!(cursor.at(), 4);
    assert_eq!(cursor.next(&items), None);
}

#[test]
fn waits_are_as_long_as_asked() {
    for cycles in [0, 1, 65_535, 65_536, 200_000] {
        let mut clock = Clock::default();
        let items: Vec<Item> = wait(cycles).collect();
        for item in &items {
            clock.step(item);
        }
        assert_eq!(clock.now(), cycles);
        assert_eq!(items.len() as u64, cycles.div_ceil(65_535));
    }
}

#[test]
fn rows_break_the_rules_of_their_operands_and_units() {
    let rules = |mnemonic: &str| -> Vec<Rule> {
        TableRow::by_mnemonic(mnemonic).unwrap().rules().into_iter().filter(|rule| rule.number() > 2).collect()
    };
    assert_eq!(rules("nop"), []);
    assert_eq!(rules("read"), [Rule::PortConflict, Rule::BankConflict, Rule::WordUninitialised, Rule::TwoProducers]);
    assert_eq!(rules("scatter"), [Rule::PortConflict, Rule::BankConflict, Rule::RegisterEmpty, Rule::ProtectedWrite]);
    assert_eq!(rules("exp"), [Rule::RegisterEmpty, Rule::TwoProducers, Rule::AluBookedTwice]);
    assert_eq!(rules("lw"), [Rule::RegisterEmpty, Rule::BufferOverwritten]);
    assert_eq!(rules("iw"), [Rule::BufferNotFull, Rule::PlaneBusy]);
    let pass =
        [Rule::RegisterEmpty, Rule::TwoProducers, Rule::WeightsMissing, Rule::PlaneBusy, Rule::AccumulatorMisuse];
    assert_eq!(rules("abc"), pass);
    assert_eq!(rules("acc"), [Rule::TwoProducers, Rule::AccumulatorMisuse]);
    assert_eq!(rules("sync"), [Rule::BarrierMissing]);
    assert_eq!(rules("receive"), [Rule::TwoProducers, Rule::ReceiveEarly]);
    assert_eq!(rules("send"), [Rule::RegisterEmpty, Rule::LinkBusy]);
    assert_eq!(rules("ifetch"), [Rule::RegisterEmpty, Rule::FetchNotCode, Rule::FetchInvalid]);
    for row in lpu_isa::TABLE {
        assert!(row.rules().starts_with(&[Rule::RangeOverflow, Rule::QueueOverflow]), "{}", row.mnemonic);
    }
}

/// Issues become the items that a person would write: repeats where they save an item, and nothing else.
#[test]
fn issues_compress_to_the_shortest_items() {
    for (queue, lines) in [
        ("mem.e0", "read 7, e0\nrepeat 3, 1, 1"),
        ("mem.e0", "nop 3\nread 7, e0\nrepeat 2, 5, -2\nread 1, e1"),
        ("mem.e0", "read 7, e0\nread 8, e0"),
        ("mem.e0", "read 7, e0\nrepeat 1, 4, 1\nwrite 7, e0"),
        ("mem.e0", "read 7, e0\nrepeat 1, 65535, 0"),
        ("mem.e0", "read 7, e0\nnop 65535\nread 7, e0"),
        ("mem.e0", "read 7, e0\n& write 3, e1\nread 8, e0\n& write 4, e1"),
        ("mem.e0", "read 7, e0\nrepeat 2, 1, 1\nread 10, e0\n& write 3, e1"),
        ("vxm.0", "exp _, a0\nrepeat 4, 2, 0\nnop 7\nexp _, a1"),
        ("mem.e0", "config 2\nconfig 2\nconfig 2"),
    ] {
        let items = items(queue, lines);
        let issues: Vec<_> = expand(&items).map(|issue| (issue.cycle, issue.instruction)).collect();
        let texts: Vec<String> = compress(&issues).iter().map(lpu_isa::item_text).collect();
        assert_eq!(texts.join("\n"), lines);
    }
}
