//! Reading which rotary frequencies a config asks for.

use serde_json::Map;

use crate::family::{Rotary, Row};
use crate::fields::Fields;
use crate::rope::LEAST_FACTOR;
use crate::{ModelError, Rope};

/// Longest context that a config may state, in positions.
const POSITION_LIMIT: usize = 1 << 31;
/// Field of the context of the first training.
const ORIGINAL_MAX: &str = "original_max_position_embeddings";

impl Rope {
    /// Reads both spellings: `rope_theta` with `rope_scaling`, and `rope_parameters`; with the share of a head that is
    /// rotated. The first table is that of layers that see all positions; a family whose windowed layers have another
    /// one has it second.
    pub(crate) fn from_fields(
        config: &Fields,
        row: &Row,
        max_positions: usize,
    ) -> Result<(Vec<Rope>, f64), ModelError> {
        const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];
        let empty = Map::new();
        let mut found = None;
        for key in ["rope_scaling", "rope_parameters"] {
            let object = config.object(key)?;
            let entries = object.iter().flat_map(Fields::entries);
            let other = |name: &str| row.local_rotary.is_none() || !KINDS.contains(&name);
            if let Some((name, _)) = { entries }.find(|(name, value)| value.is_object() && other(name)) {
                return Err(ModelError::NestedRope { field: key.to_owned(), key: name.clone() });
            }
            found = found.or(object.filter(|fields| fields.entries().next().is_some()));
        }
        let mut rope = found.unwrap_or(Fields::new(&empty));
        let mut local = Fields::new(&empty);
        if rope.entries().any(|(_, value)| value.is_object()) {
            local = rope.object(KINDS[1])?.unwrap_or(local);
            rope = rope.object(KINDS[0])?.unwrap_or(Fields::new(&empty));
        }
        let names = &row.names;
        let share = match (rope.number(names.rotary_share)?, rope.number("partial_rotary_factor")?) {
            (Some(share), _) | (None, Some(share)) => Some(share),
            _ => config.number(names.rotary_share)?,
        };
        let share = match (row.rotary, share) {
            (Rotary::Share(default), share) => share.unwrap_or(default),
            (_, Some(value)) if value != 1.0 => return Err(ModelError::PartialRotary { value }),
            _ => 1.0,
        };
        if !(share > 0.0 && share <= 1.0) {
            return Err(ModelError::OutOfRange {
                field: names.rotary_share.to_owned(),
                value: share,
                rule: "above 0 and at most 1",
            });
        }

        let theta = match rope.at_least_one("rope_theta")? {
            Some(theta) => theta,
            None => config.at_least_one(names.theta)?.unwrap_or(row.theta),
        };
        let mut ropes = vec![Rope::of_kind(config, &rope, row, theta, max_positions)?];
        if let Some(default) = &row.local_rotary {
            let theta = match (local.at_least_one("rope_theta")?, default.name) {
                (Some(theta), _) => theta,
                (None, Some(name)) => config.at_least_one(name)?.unwrap_or(default.theta),
                (None, None) => default.theta,
            };
            ropes.push(Rope::of_kind(config, &local, row, theta, max_positions)?);
        }
        Ok((ropes, share))
    }

    fn of_kind(
        config: &Fields,
        rope: &Fields,
        row: &Row,
        theta: f64,
        max_positions: usize,
    ) -> Result<Rope, ModelError> {
        let kind = match rope.text("rope_type")? {
            Some(kind) => kind,
            None => rope.text("type")?.unwrap_or("default"),
        };
        let original_max = || match config.size(ORIGINAL_MAX, POSITION_LIMIT)? {
            Some(outer) => Ok(outer),
            None => Ok::<_, ModelError>(rope.size(ORIGINAL_MAX, POSITION_LIMIT)?.unwrap_or(max_positions)),
        };
        let kind = row.rotary_kinds.iter().find(|(name, _)| *name == kind).map_or(kind, |(_, kind)| kind);
        Ok(match kind {
            "default" => Rope::Default { theta },
            "linear" => Rope::Linear { theta, factor: rope.required_at_least_one("factor")? },
            "factors" => Rope::Factors { theta, factors: rope.factors("factors", 1.0)? },
            "dynamic" => Rope::Dynamic { theta, factor: rope.required_at_least_one("factor")?, max_positions },
            "yarn" => yarn(rope, row, theta, original_max()?, max_positions)?,
            "longrope" => long_rope(rope, theta, original_max()?, max_positions)?,
            "llama3" => {
                let [low_freq_factor, high_freq_factor] = llama3_bounds(rope)?;
                let original_max = original_max()?;
                let factor = rope.required_at_least_one("factor")?;
                Rope::Llama3 { theta, factor, low_freq_factor, high_freq_factor, original_max }
            }
            other => return Err(ModelError::UnknownRope { found: other.to_owned() }),
        })
    }
}

fn yarn(rope: &Fields, row: &Row, theta: f64, original_max: usize, max_positions: usize) -> Result<Rope, ModelError> {
    let factor = rope.at_least_one("factor")?.unwrap_or(max_positions as f64 / original_max as f64);
    if theta as f32 <= 1.0 {
        return Err(ModelError::OutOfRange {
            field: row.names.theta.to_owned(),
            value: theta,
            rule: "above 1 with `yarn`",
        });
    }
    let beta = |key: &str, default: f64| match rope.number(key)? {
        Some(0.0) | None => Ok(default),
        _ => rope.positive(key).map(|beta| beta.unwrap_or(default)),
    };
    let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * lpu_num::fp64::ln(factor) + 1.0 };
    let attention_factor = match rope.positive("attention_factor")? {
        Some(given) => given,
        None => match (rope.number("mscale")?, rope.number("mscale_all_dim")?) {
            (Some(mscale), Some(all)) if mscale != 0.0 && all != 0.0 => {
                let quotient = scale(mscale) / scale(all);
                if !(quotient as f32).is_finite() {
                    let field = rope.name("mscale_all_dim");
                    let rule = "such that `mscale` over it is finite";
                    return Err(ModelError::OutOfRange { field, value: all, rule });
                }
                quotient
            }
            _ => scale(1.0),
        },
    };
    let (beta_fast, beta_slow) = (beta("beta_fast", 32.0)?, beta("beta_slow", 1.0)?);
    let truncate = rope.flag_or("truncate", true)?;
    Ok(Rope::Yarn { theta, factor, beta_fast, beta_slow, truncate, original_max, attention_factor })
}

fn long_rope(rope: &Fields, theta: f64, original_max: usize, max_positions: usize) -> Result<Rope, ModelError> {
    let factor = rope.positive("factor")?.unwrap_or(max_positions as f64 / original_max as f64);
    let attention_factor = match rope.positive("attention_factor")? {
        Some(given) => given,
        None if factor <= 1.0 || original_max <= 1 => 1.0,
        None => (1.0 + lpu_num::fp64::ln(factor) / lpu_num::fp64::ln(original_max as f64)).sqrt(),
    };
    let factors = |key| rope.factors(key, LEAST_FACTOR);
    let (short_factors, long_factors) = (factors("short_factor")?, factors("long_factor")?);
    Ok(Rope::LongRope { theta, short_factors, long_factors, original_max, attention_factor })
}

/// `low_freq_factor` and the greater `high_freq_factor`.
fn llama3_bounds(rope: &Fields) -> Result<[f64; 2], ModelError> {
    let [low, high] = [rope.required_positive("low_freq_factor")?, rope.required_positive("high_freq_factor")?];
    if high as f32 <= low as f32 {
        return Err(ModelError::OutOfRange {
            field: rope.name("high_freq_factor"),
            value: high,
            rule: "above `low_freq_factor`",
        });
    }
    Ok([low, high])
}
