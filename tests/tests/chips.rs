//! Any chip that a description allows: a model is compiled for it, legal and right on both engines, or refused by the
//! figure's name.

use std::collections::BTreeMap;

use lpu::Precision;
use lpu_tests::chips::{Case, Outcome, draw};
use lpu_tests::dice::Dice;

/// Checkpoints, and the relative error of fp16 logits allowed: that of `logits.rs`.
const CASES: &[(&str, f64)] = &[
    ("plain", 0.01),
    ("gqa", 0.01),
    ("odd", 0.01),
    ("gemma2", 0.003),
    ("gpt2", 0.003),
    ("gpt_neox", 0.003),
    ("qwen3", 0.003),
    ("mixtral", 0.003),
];

/// What holds for every drawn chip; prints how many were refused, by reason.
fn hold(seed: u64, count: usize, served: bool) {
    let cases: Vec<(Case, f64)> = CASES.iter().map(|&(name, most)| (Case::open(name), most)).collect();
    let mut dice = Dice(seed);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..count {
        let changes = draw(&mut dice, served);
        let (case, f16) = &cases[dice.below(cases.len())];
        // With int8 weights the choice of experts may fall otherwise, and then the logits are others.
        let int8 = |most: f64| if case.name == "mixtral" { f64::INFINITY } else { most };
        let (precision, most) =
            [(Precision::F16, *f16), (Precision::W8A8, int8(0.10)), (Precision::W8A16, int8(0.05))][dice.below(3)];
        let context = [16, 48, 336][dice.below(3)];
        let outcome = case.on(&changes, precision, context, 2, most);
        let what = format!("{} {} at {context} with {changes:?}", case.name, precision.name());
        match &outcome {
            Outcome::Wrong(why) => panic!("{what}: {why}"),
            Outcome::Refused(why) if why.contains("no legal start") => panic!("{what}: {why}"),
            // Heads wider than a vector, and cache rows for which banks are too small, fit no schedule of this kind.
            Outcome::Refused(why) if served => assert!(why.contains("elements does not fit a vector"), "{what}: {why}"),
            _ => {}
        }
        let reason = match outcome {
            Outcome::Right => "right".to_owned(),
            Outcome::Description(why) | Outcome::Refused(why) | Outcome::Wrong(why) => {
                why.chars().filter(|c| !c.is_ascii_digit()).collect()
            }
        };
        *reasons.entry(reason).or_default() += 1;
    }
    println!("{count} chips: {reasons:#?}");
    let right = reasons.get("right").copied().unwrap_or(0);
    assert!(right * 2 > count, "too few chips are served to mean anything");
}

#[test]
fn small_models_compile_for_what_is_served() {
    hold(1, 60, true);
}

#[test]
fn any_description_is_served_or_refused_by_name() {
    hold(2, 40, false);
}

#[test]
#[ignore = "slow: six hundred chips"]
fn six_hundred_chips_are_served() {
    hold(3, 600, true);
}

#[test]
#[ignore = "slow: four hundred chips"]
fn four_hundred_descriptions_are_served_or_refused_by_name() {
    hold(4, 400, false);
}

/// One figure after another, from its least to its largest value.
#[test]
fn each_figure_alone_is_served_over_its_range() {
    let case = Case::open("gqa");
    let moe = Case::open("mixtral");
    let changes: [&[(&str, u32)]; 24] = [
        &[("slices_per_position", 1)],
        &[("slices_per_position", 6)],
        &[("slices_per_position", 13)],
        &[("slices_per_position", 16)],
        &[("slices_per_position", 16), ("slices_per_side", 40)],
        &[("slices_per_position", 1), ("slices_per_side", 200)],
        &[("slices_per_side", 28)],
        &[("streams", 16)],
        &[("streams", 112)],
        &[("alus", 8)],
        &[("alus", 32)],
        &[("planes_per_side", 8)],
        &[("accumulators", 1)],
        &[("accumulators", 256)],
        &[("superlanes", 2)],
        &[("superlanes", 40)],
        &[("vxm_simple", 1)],
        &[("vxm_simple", 64)],
        &[("mem_read", 64), ("mem_write", 1)],
        &[("mem_gather", 64), ("mem_gather_access", 63)],
        &[("mxm_install", 64), ("mxm_load", 64)],
        &[("mxm_pass", 1), ("mxm_accumulate", 64)],
        &[("mxm_f16_interval", 64)],
        &[("sxm_local", 64), ("sxm_across", 1)],
    ];
    for changes in changes {
        assert_eq!(case.on(changes, Precision::W8A16, 48, 1, 0.05), Outcome::Right, "{changes:?}");
        assert_eq!(moe.on(changes, Precision::F16, 48, 1, 0.003), Outcome::Right, "{changes:?}");
    }
}

/// Figures for which there is no schedule are refused by their names, before anything is placed.
#[test]
fn what_cannot_be_served_is_refused_by_figure() {
    let case = Case::open("gqa");
    let refused: &[(&[(&str, u32)], &str)] = &[
        (&[("queue_depth", 500)], "`queue_depth` of chip tsp-v1 is 500"),
        (&[("alus", 7)], "`alus` is 7"),
        (&[("slices_per_side", 20)], "`slices_per_side` is 20"),
        (&[("slices_per_position", 64)], "`slices_per_position` is 64"),
        (&[("superlanes", 1)], "a head of 24 elements does not fit a vector of 16 lanes"),
    ];
    for (changes, expected) in refused {
        match case.on(changes, Precision::W8A16, 48, 1, 0.05) {
            Outcome::Refused(why) => assert!(why.contains(expected), "{why}"),
            other => panic!("{changes:?}: {other:?}"),
        }
    }
}
