//! Typed access to the fields of a JSON object, with errors that name the field.
//!
//! An absent field and a `null` one are the same here, as they are to the library that writes
//! these files, except where [`Fields::has`] is asked.

use serde_json::{Map, Value};

use crate::ModelError;

/// A JSON object, and the path that leads to it (empty for the outermost one).
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// The outermost object.
    pub(crate) fn new(object: &'a Map<String, Value>) -> Self {
        Fields { object, path: String::new() }
    }

    /// Whether the field is written, be it as `null`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// The field's value unless absent or `null`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// All keys with their values.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.object.iter()
    }

    /// The field's full name, for messages.
    pub(crate) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn wrong(&self, key: &str, value: &Value, expected: &'static str) -> ModelError {
        ModelError::WrongType { field: self.name(key), got: shown(value), expected }
    }

    /// An object in this object.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Fields { object, path: self.name(key) })),
            Some(other) => Err(self.wrong(key, other, "an object")),
        }
    }

    /// A whole number from 1 to `limit`.
    pub(crate) fn size(&self, key: &str, limit: usize) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.as_u64().ok_or_else(|| self.wrong(key, value, "a whole number"))?;
        if number == 0 {
            return Err(ModelError::ZeroSize { field: self.name(key) });
        }
        if number > limit as u64 {
            return Err(ModelError::TooLarge { field: self.name(key), value: number, limit: limit as u64 });
        }
        Ok(Some(number as usize))
    }

    /// A whole number.
    pub(crate) fn count(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(key, value, "a whole number"))
    }

    /// A list of whole numbers.
    pub(crate) fn counts(&self, key: &str) -> Result<Option<Vec<u64>>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = |item: &Value| item.as_bool().map(u64::from).or_else(|| item.as_u64());
        let numbers = value.as_array().and_then(|items| items.iter().map(number).collect());
        numbers.map(Some).ok_or_else(|| self.wrong(key, value, "a list of whole numbers"))
    }

    /// Like [`Fields::size`], for a field that has no default.
    pub(crate) fn required_size(&self, key: &str, limit: usize) -> Result<usize, ModelError> {
        self.size(key, limit)?.ok_or_else(|| ModelError::MissingField { field: self.name(key) })
    }

    /// A number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.get(key).map(|value| value.as_f64().ok_or_else(|| self.wrong(key, value, "a number"))).transpose()
    }

    /// A number that float32 holds as a finite one, at least 1.
    pub(crate) fn at_least_one(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.number_where(key, |value| value >= 1.0, "at least 1 and finite in float32")
    }

    /// Like [`Fields::at_least_one`], for a field that has no default.
    pub(crate) fn required_at_least_one(&self, key: &str) -> Result<f64, ModelError> {
        self.at_least_one(key)?.ok_or_else(|| ModelError::MissingField { field: self.name(key) })
    }

    /// A number that float32 holds as a finite one above zero.
    pub(crate) fn positive(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.number_where(key, |value| value > 0.0, "above 0 and finite in float32")
    }

    /// Like [`Fields::positive`], for a field that has no default.
    pub(crate) fn required_positive(&self, key: &str) -> Result<f64, ModelError> {
        self.positive(key)?.ok_or_else(|| ModelError::MissingField { field: self.name(key) })
    }

    /// A number that is finite and passes `rule` as float32.
    fn number_where(&self, key: &str, passes: fn(f32) -> bool, rule: &'static str) -> Result<Option<f64>, ModelError> {
        let number = self.number(key)?;
        match number {
            Some(value) if !((value as f32).is_finite() && passes(value as f32)) => {
                Err(ModelError::OutOfRange { field: self.name(key), value, rule })
            }
            _ => Ok(number),
        }
    }

    /// `true` or `false`; absent means `false`.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, ModelError> {
        self.flag_or(key, false)
    }

    /// `true` or `false`, with the meaning of an absent field.
    pub(crate) fn flag_or(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        self.get(key)
            .map_or(Ok(default), |value| value.as_bool().ok_or_else(|| self.wrong(key, value, "true or false")))
    }

    /// A string.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        self.get(key).map(|value| value.as_str().ok_or_else(|| self.wrong(key, value, "a string"))).transpose()
    }

    /// A list of strings; absent means empty.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&'a str>, ModelError> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let strings = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
        strings.ok_or_else(|| self.wrong(key, value, "a list of strings"))
    }

    /// A list of numbers, each at least `least` and finite in float32.
    pub(crate) fn factors(&self, key: &str, least: f64) -> Result<Vec<f64>, ModelError> {
        let value = self.get(key).ok_or_else(|| ModelError::MissingField { field: self.name(key) })?;
        let fits = |factor: &f64| *factor >= least && (*factor as f32).is_finite();
        let number = |item: &Value| item.as_f64().filter(fits);
        let numbers = value.as_array().and_then(|items| items.iter().map(number).collect());
        let expected =
            if least == 1.0 { "a list of numbers of at least 1" } else { "a list of numbers of at least 0.5" };
        numbers.ok_or_else(|| self.wrong(key, value, expected))
    }

    /// One token id or a list of them; absent means none.
    pub(crate) fn token_ids(&self, key: &str) -> Result<Vec<u32>, ModelError> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let one = std::slice::from_ref(value);
        let items = value.as_array().map_or(one, Vec::as_slice);
        let ids: Option<Vec<u32>> =
            items.iter().map(|item| item.as_u64().and_then(|id| u32::try_from(id).ok())).collect();
        ids.ok_or_else(|| self.wrong(key, value, "a token id or a list of token ids"))
    }
}

/// A value as it is in the file, cut to a length that fits a message.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
