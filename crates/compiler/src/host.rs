//! What the host does for one token: fills the input regions and reads the logits.

use lpu_model::Config;

/// Bytes of every input region for the token at `position`, whose raw embedding row is given. `context` is that which the
/// program was compiled for (it decides about rotary frequencies that depend on a length), `lanes` those of the chip.
#[must_use]
pub fn inputs(config: &Config, lanes: usize, context: usize, position: usize, embedding: &[f32]) -> Vec<(String, Vec<u8>)> {
    let stated = context;
    let context = context.div_ceil(16) * 16;
    let vectors = |values: &mut Vec<f32>| {
        values.resize(values.len().next_multiple_of(lanes), 0.0);
        values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()
    };
    let dump = (context / 16) as u16;
    let addresses: Vec<u8> =
        (0..16).map(|slice| if position % 16 == slice { (position / 16) as u16 } else { dump }).flat_map(u16::to_le_bytes).collect();
    let mut regions = vec![
        ("embedding".into(), vectors(&mut embedding.to_vec())),
        ("kv_address.e".into(), addresses.clone()),
        ("kv_address.w".into(), addresses),
    ];
    for table in config.rotary_tables() {
        let (cos, sin) = config.rotary_row(table, position as u32, stated);
        let half = config.head_dim.div_ceil(2);
        // Elements that are not rotated stand behind those that are: a turn by nothing.
        let mut repeated = |name: String, row: &[f32], rest: f32| {
            let lane = |lane: usize| row.get(lane % half).copied().unwrap_or(rest);
            let mut lanes_of: Vec<f32> = (0..lanes / half * half).map(lane).collect();
            lanes_of.resize(lanes, 0.0);
            regions.push((name, vectors(&mut lanes_of)));
        };
        let [of_cos, of_sin] = rotary_names(table);
        repeated(of_cos, &cos, 1.0);
        repeated(of_sin, &sin, 0.0);
    }
    for window in config.windows() {
        let seen = |token: usize| token <= position && window.is_none_or(|window| token + window > position);
        let mut mask: Vec<f32> = (0..context).map(|token| if seen(token) { 0.0 } else { f32::NEG_INFINITY }).collect();
        mask.resize(context.next_multiple_of(lanes), f32::NEG_INFINITY);
        regions.push((mask_name(window), vectors(&mut mask)));
    }
    regions
}

/// The input region of a learned position's row, which goes beside those of [`inputs`] where a model has one.
#[must_use]
pub fn position(lanes: usize, row: &[f32]) -> (String, Vec<u8>) {
    let mut row = row.to_vec();
    row.resize(row.len().next_multiple_of(lanes), 0.0);
    ("position".into(), row.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// Names of the cosines and sines of a set of rotary frequencies.
pub(crate) fn rotary_names(table: usize) -> [String; 2] {
    let set = if table == 0 { String::new() } else { format!("{table}.") };
    ["cos", "sin"].map(|name| format!("rotary.{set}{name}"))
}

/// Name of the mask of an attention that sees a window of the last tokens.
pub(crate) fn mask_name(window: Option<usize>) -> String {
    window.map_or_else(|| "mask".into(), |window| format!("mask.{window}"))
}

/// The logits in the bytes of the region `logits`.
#[must_use]
pub fn logits(bytes: &[u8], vocab: usize) -> Vec<f32> {
    bytes.chunks_exact(4).take(vocab).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]])).collect()
}
