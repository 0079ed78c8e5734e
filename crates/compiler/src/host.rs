//! What the host does for one token: fills the input regions and reads the logits.

use lpu_model::Config;

/// Bytes of every input region for the token at `position`, whose raw embedding row is given. `context` is that of the
/// compiled program, `lanes` those of the chip.
#[must_use]
pub fn inputs(config: &Config, lanes: usize, context: usize, position: usize, embedding: &[f32]) -> Vec<(String, Vec<u8>)> {
    let context = context.div_ceil(16) * 16;
    let vectors = |values: &mut Vec<f32>| {
        values.resize(values.len().next_multiple_of(lanes), 0.0);
        values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()
    };
    let (cos, sin) = config.rotary_row(position as u32);
    let half = config.head_dim / 2;
    let repeated = |row: &[f32]| {
        let mut lanes_of: Vec<f32> = (0..lanes / half * half).map(|lane| row[lane % half]).collect();
        lanes_of.resize(lanes, 0.0);
        lanes_of
    };
    let mut mask: Vec<f32> = (0..context).map(|token| if token <= position { 0.0 } else { f32::NEG_INFINITY }).collect();
    mask.resize(context.next_multiple_of(lanes), f32::NEG_INFINITY);
    let dump = (context / 16) as u16;
    let addresses: Vec<u8> =
        (0..16).map(|slice| if position % 16 == slice { (position / 16) as u16 } else { dump }).flat_map(u16::to_le_bytes).collect();
    vec![
        ("embedding".into(), vectors(&mut embedding.to_vec())),
        ("rotary.cos".into(), vectors(&mut repeated(&cos))),
        ("rotary.sin".into(), vectors(&mut repeated(&sin))),
        ("mask".into(), vectors(&mut mask)),
        ("kv_address.e".into(), addresses.clone()),
        ("kv_address.w".into(), addresses),
    ]
}

/// The logits in the bytes of the region `logits`.
#[must_use]
pub fn logits(bytes: &[u8], vocab: usize) -> Vec<f32> {
    bytes.chunks_exact(4).take(vocab).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]])).collect()
}
