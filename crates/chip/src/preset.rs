//! The descriptions that ship.

use crate::chip::Chip;
use crate::figure::ChipError;

/// Names of the presets, the default first.
pub const PRESETS: &[&str] = &["tsp-v1", "lp30-like", "stacked-like", "stacked-16-like", "test-small"];

/// The preset of this name.
///
/// # Errors
/// [`ChipError::UnknownPreset`] lists the names there are.
pub fn preset(name: &str) -> Result<Chip, ChipError> {
    let text = match name {
        "tsp-v1" => include_str!("presets/tsp-v1.toml"),
        "lp30-like" => include_str!("presets/lp30-like.toml"),
        "stacked-like" => include_str!("presets/stacked-like.toml"),
        "stacked-16-like" => include_str!("presets/stacked-16-like.toml"),
        "test-small" => include_str!("presets/test-small.toml"),
        _ => return Err(ChipError::UnknownPreset { name: name.into(), known: PRESETS.join(", ") }),
    };
    Chip::from_toml(text)
}

impl Chip {
    /// Reads a description, as [`Chip::read`]; it may extend a preset.
    ///
    /// # Errors
    /// [`ChipError`] names the field that is missing, unknown, out of range or contradictory.
    pub fn from_toml(text: &str) -> Result<Self, ChipError> {
        Self::read(text, &mut preset)
    }
}

#[cfg(test)]
mod tests {
    use lpu_isa::{DelayClass, Hemisphere, Queue};

    use super::*;

    #[test]
    fn every_figure_of_every_preset_has_a_source() {
        for name in PRESETS {
            let chip = preset(name).unwrap();
            assert_eq!(chip.name(), *name);
            for figure in chip.figures() {
                assert!(figure.source.len() > 10, "{name}: {} has no source", figure.name);
            }
            assert_eq!(Chip::from_toml(&chip.to_toml()).unwrap(), chip);
        }
    }

    #[test]
    fn tsp_v1_has_the_published_geometry() {
        let chip = preset("tsp-v1").unwrap();
        assert_eq!(chip.lanes(), 320);
        assert_eq!(chip.sram_bytes(), 220 << 20);
        assert_eq!(chip.queues().len(), 144);
        assert!(chip.queues().iter().all(|&queue| chip.has_queue(queue)));
        assert_eq!(chip.position(Queue::Sxm(Hemisphere::West, 0)), -12);
    }

    /// ISCA 2020: all 409,600 weights are loaded in under 40 cycles, SRAM and transit included.
    #[test]
    fn all_weights_load_in_under_40_cycles() {
        let chip = preset("tsp-v1").unwrap();
        let lanes = chip.lanes() as u32;
        let planes = 2 * chip.values().planes_per_side;
        assert_eq!(planes * lanes * lanes, 409_600);
        let streams_a_plane = 16;
        assert!(chip.values().planes_per_side * streams_a_plane <= chip.values().streams);
        let loads = lanes / streams_a_plane;
        let transit = (chip.mxm_position(Hemisphere::East) - 1) as u32;
        let cycles = chip.delay(DelayClass::MemRead) + transit + loads;
        assert!(cycles < 40, "{cycles}");
    }

    /// `docs/chips.md` has every figure with its unit, its range and its meaning.
    #[test]
    fn the_page_of_chips_has_every_figure() {
        let page = include_str!("../../../docs/chips.md");
        for field in crate::FIELDS.iter().chain(crate::TOPOLOGY_FIELDS) {
            let row = format!("| `{}` | {} | {} to {} | ", field.name, field.unit, field.least, field.most);
            let meaning = field.meaning.trim_end_matches('.');
            let found = page.lines().find_map(|line| line.strip_prefix(&row));
            assert!(found.is_some_and(|rest| rest.starts_with(meaning)), "{row}{meaning}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_field() {
        let good = preset("test-small").unwrap().to_toml();
        let cases = [
            ("streams", "streams = 0", "`streams` is 0"),
            ("streams", "streams = 40", "`streams` is 40"),
            ("superlanes", "superlanes = -3", "`superlanes` is -3"),
            ("superlanes", "superlanes = 'x'", "`superlanes` is"),
            ("banks", "", "field `banks` is missing"),
            ("banks", "banks = 2\nbankz = 3", "unknown field `bankz`"),
            ("words_per_bank", "words_per_bank = 99999999999", "`words_per_bank` is 99999999999"),
            ("hop", "hop = 2", "`hop` is 2"),
            ("mem_gather_access", "mem_gather_access = 6", "`mem_gather_access` is 6"),
            ("alus", "alus = { value = 16, tag = 'wished' }", "`alus`: tag"),
            ("alus", "alus = ", "TOML parse error"),
        ];
        for (field, replacement, expected) in cases {
            let text: String = good
                .lines()
                .map(|line| {
                    if line.starts_with(&format!("{field} ")) {
                        format!("{replacement}\n")
                    } else {
                        format!("{line}\n")
                    }
                })
                .collect();
            let message = Chip::from_toml(&text).unwrap_err().to_string();
            assert!(message.contains(expected), "{replacement}: {message}");
        }
    }
}
