//! The families of models: one row a family, from its names in `config.json` to its graph.

use crate::fields::Fields;
use crate::graph::Builder;
use crate::{Config, ModelError};

/// A family of models, which share one graph builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Llama: RMS norms before each half of a layer, rotary grouped-query attention, gated SiLU.
    Llama,
}

/// What there is to know about a family.
struct Row {
    family: Family,
    /// Names in `architectures`; the first is the one written.
    architectures: &'static [&'static str],
    /// Name in `model_type`, which decides when `architectures` is absent.
    model_type: &'static str,
    build: fn(&Config, &mut Builder),
}

const ROWS: &[Row] =
    &[Row { family: Family::Llama, architectures: &["LlamaForCausalLM", "LlamaModel"], model_type: "llama", build: crate::llama::build }];

impl Family {
    /// The family that a config asks for.
    pub(crate) fn from_fields(fields: &Fields) -> Result<Family, ModelError> {
        let names = fields.texts("architectures")?;
        let model_type = fields.text("model_type")?;
        let row = ROWS.iter().find(|row| match names.first() {
            Some(name) => row.architectures.contains(name),
            None => model_type == Some(row.model_type),
        });
        row.map(|row| row.family).ok_or_else(|| {
            let supported: Vec<&str> = ROWS.iter().map(|row| row.architectures[0]).collect();
            let found = match (names.first(), model_type) {
                (Some(name), _) => format!("\"{name}\""),
                (None, Some(name)) => format!("of `model_type` \"{name}\""),
                (None, None) => "(neither `architectures` nor `model_type` is given)".to_owned(),
            };
            ModelError::UnknownArchitecture { found, supported: supported.join(", ") }
        })
    }

    /// The name in `architectures`, for example `LlamaForCausalLM`.
    pub fn architecture(self) -> &'static str {
        self.row().architectures[0]
    }

    /// The name in `model_type`, for example `llama`.
    pub fn model_type(self) -> &'static str {
        self.row().model_type
    }

    /// Adds the decode step of a model of this family to an empty builder.
    pub(crate) fn build(self, config: &Config, builder: &mut Builder) {
        (self.row().build)(config, builder);
    }

    fn row(self) -> &'static Row {
        match self {
            Family::Llama => &ROWS[0],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_its_family_s_own() {
        for row in ROWS {
            assert_eq!(row.family.row().family, row.family);
        }
    }
}
