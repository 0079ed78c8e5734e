//! The SmolLM2-135M shape on the full-size chip.

use lpu::{Options, Precision, Session, chip, compiler};
use lpu_tests::shape::{SMOLLM2, random};

#[test]
#[ignore = "slow and large: 135 million parameters; `.ci/run` runs it in release"]
fn a_smollm2_shape_compiles_and_runs_a_token() {
    let tsp = chip::preset("tsp-v1").unwrap();
    let checkpoint = random(SMOLLM2);
    let options = Options { precision: Precision::F16, context: 256, ..Options::default() };
    let message = compiler::compile(&checkpoint, &tsp, &options).unwrap_err().to_string();
    assert!(message.contains("306237440 bytes") && message.contains("220487680"), "{message}");
    let begin = std::time::Instant::now();
    let options = Options { precision: Precision::W8A8, context: 256, ..Options::default() };
    let compiled = compiler::compile(&checkpoint, &tsp, &options).unwrap();
    println!("compiled in {:?}, bound {:?}", begin.elapsed(), compiled.bounds[0]);
    let program = &compiled.programs[0];
    let report = lpu::checker::check(&tsp, &compiled.image, program).unwrap();
    assert_eq!(report.violations.len(), 0);
    drop((report, compiled));
    let mut session = Session::compile(checkpoint, &tsp, &options).unwrap();
    let begin = std::time::Instant::now();
    let token = session.feed(17).unwrap();
    println!("{} cycles, {:.0} a second", token.cycles, token.cycles as f64 / begin.elapsed().as_secs_f64());
    assert_eq!(token.cycles, session.stated_cycles());
    assert_eq!(token.logits.len(), 49152);
    assert!(token.logits.iter().all(|logit| logit.is_finite()));
}
