//! Compile a model for a chip and feed it tokens, each the one with the greatest logit.

use std::error::Error;
use std::path::Path;

use lpu::{Options, Precision, Session, chip, model::Checkpoint};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/model");
    let checkpoint = Checkpoint::open(&folder)?;
    let prompt = checkpoint.tokenizer()?.encode("Once upon a time")?;
    let options = Options { precision: Precision::W8A16, context: 32, ..Options::default() };
    let mut session = Session::compile(checkpoint, &chip::preset("tsp-v1")?, &options)?;
    println!("{} cycles a token", session.stated_cycles());

    let mut next = 0;
    for &token in &prompt {
        next = greatest(&session.feed(token)?.logits);
    }
    for _ in 0..8 {
        let token = session.feed(next)?;
        println!("{next:>5}  {} cycles", token.cycles);
        next = greatest(&token.logits);
    }
    Ok(())
}

/// The lowest id of those with the greatest logit.
fn greatest(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    best.unwrap_or(0) as u32
}
