//! Shapes of known models by name: the fields of their published configs, without weights.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::{Checkpoint, ModelError};

/// By name: the fields of a `config.json`, and `source`, which says whose.
const TABLE: &[u8] = include_bytes!("shapes.json");

static SHAPES: LazyLock<Vec<KnownShape>> = LazyLock::new(|| {
    let table: BTreeMap<String, Map<String, Value>> = serde_json::from_slice(TABLE).expect("the table is JSON");
    table.into_iter().map(KnownShape::from).collect()
});

/// Names that an error suggests.
const NEAREST: usize = 3;

/// Characters of a name that is not known that are compared.
const LONGEST: usize = 64;

/// The shape of a known model.
/// ```
/// use lpu_model::KnownShape;
///
/// let shape = KnownShape::named("smollm2-135m")?;
/// assert_eq!(shape.checkpoint()?.weights().parameters(), 134_515_008);
/// # Ok::<(), lpu_model::ModelError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct KnownShape {
    /// The name that it is asked for by.
    pub name: String,
    /// Where its figures are published.
    pub source: String,
    config: String,
}

impl From<(String, Map<String, Value>)> for KnownShape {
    fn from((name, mut fields): (String, Map<String, Value>)) -> Self {
        let source = fields.remove("source");
        let source = source.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { name, source, config: Value::Object(fields).to_string() }
    }
}

impl KnownShape {
    /// All known shapes, by name.
    pub fn all() -> &'static [KnownShape] {
        &SHAPES
    }

    /// The shape of this name, in upper or lower case.
    ///
    /// # Errors
    /// [`ModelError::UnknownShape`] has the nearest names.
    pub fn named(name: &str) -> Result<&'static KnownShape, ModelError> {
        let found = SHAPES.iter().find(|shape| shape.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| ModelError::UnknownShape { name: name.to_owned(), nearest: nearest(name).join(", ") })
    }

    /// The checkpoint of this shape, without weights.
    ///
    /// # Errors
    /// As [`Checkpoint::from_config`].
    pub fn checkpoint(&self) -> Result<Checkpoint, ModelError> {
        Ok(Checkpoint::from_config(self.config.as_bytes())?.with_name(&self.name))
    }
}

/// The known names that a name is the fewest edits from: from the beginning of one, and of these from the whole.
fn nearest(name: &str) -> Vec<&'static str> {
    let name: String = name.chars().take(LONGEST).collect::<String>().to_ascii_lowercase();
    let edits = |known: &str| strsim::damerau_levenshtein(&name, known);
    let mut names: Vec<&str> = SHAPES.iter().map(|shape| shape.name.as_str()).collect();
    names.sort_by_cached_key(|known| {
        let begins = known.char_indices().map(|(end, _)| edits(&known[..end]));
        (begins.min().unwrap_or(0).min(edits(known)), edits(known))
    });
    names.truncate(NEAREST);
    names
}
