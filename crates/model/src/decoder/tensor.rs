//! A tensor as the graph wants it, and how it is made from a stored one.

/// A tensor that a decoder needs: `[n]`, `[out, in]`, or `[experts, out, in]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    /// Full name in the checkpoint; `*` stands for the number of an expert.
    pub(crate) name: String,
    /// Another name that some checkpoints use.
    pub(crate) alias: Option<String>,
    /// Shape that the graph sees.
    pub(crate) shape: Vec<usize>,
    /// The config fields that give the shape, for messages.
    pub(crate) fields: &'static str,
    pub(crate) view: View,
}

/// How the elements are in the stored tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    /// What of a fused tensor this is, for people; empty for a whole one.
    pub(crate) part: String,
    /// The stored matrix is `[in, out]`.
    pub(crate) transposed: bool,
    /// The outputs that this tensor takes of the stored one; all when absent.
    pub(crate) rows: Option<FusedRows>,
    /// Size of a head whose outputs are stored in pairs, as an interleaved rotation takes them.
    pub(crate) paired: Option<usize>,
    /// Added to every element.
    pub(crate) shift: f32,
}

/// Outputs taken from a fused tensor: row `r` is the stored row `start + r / block * stride + r % block`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FusedRows {
    /// Outputs of the stored tensor.
    pub(crate) total: usize,
    pub(crate) start: usize,
    pub(crate) block: usize,
    pub(crate) stride: usize,
}

impl FusedRows {
    /// `count` rows in one piece.
    pub(crate) fn slice(start: usize, count: usize, total: usize) -> FusedRows {
        FusedRows { total, start, block: count, stride: count }
    }

    /// The stored row of row `row`.
    pub(crate) fn stored(&self, row: usize) -> usize {
        self.start + row / self.block * self.stride + row % self.block
    }
}

impl Tensor {
    pub(crate) fn vector(name: &str, width: usize, fields: &'static str) -> Tensor {
        Tensor { name: name.to_owned(), alias: None, shape: vec![width], fields, view: View::default() }
    }

    pub(crate) fn matrix(name: &str, shape: [usize; 2], fields: &'static str) -> Tensor {
        Tensor { name: name.to_owned(), alias: None, shape: shape.to_vec(), fields, view: View::default() }
    }

    /// One matrix an expert; the name holds `*`.
    pub(crate) fn experts(name: &str, shape: [usize; 3], fields: &'static str) -> Tensor {
        Tensor { name: name.to_owned(), alias: None, shape: shape.to_vec(), fields, view: View::default() }
    }

    pub(crate) fn viewed(mut self, part: &str, transposed: bool, rows: Option<FusedRows>) -> Tensor {
        self.view = View { part: part.to_owned(), transposed, rows, ..self.view };
        self
    }

    /// This tensor with another name that some checkpoints use.
    pub(crate) fn or(self, alias: &str) -> Tensor {
        Tensor { alias: Some(alias.to_owned()), ..self }
    }

    /// Experts that are stored in one tensor, one after the other.
    pub(crate) fn stacked(&self) -> Option<usize> {
        (self.shape.len() == 3 && !self.name.contains('*')).then(|| self.shape[0])
    }

    /// The shape that the stored tensor (of one expert, or of all that it holds) must have.
    pub(crate) fn stored_shape(&self) -> Vec<usize> {
        let mut shape = if self.shape.len() == 3 { self.shape[1..].to_vec() } else { self.shape.clone() };
        if let Some(rows) = self.view.rows {
            shape[0] = rows.total;
        }
        if self.view.transposed {
            shape.reverse();
        }
        self.stacked().into_iter().chain(shape).collect()
    }

    /// The names of the stored tensors, one an expert.
    pub(crate) fn stored_names(&self) -> Vec<String> {
        match self.shape[..] {
            [experts, _, _] if self.stacked().is_none() => {
                (0..experts).map(|expert| self.name.replace('*', &expert.to_string())).collect()
            }
            _ => vec![self.name.clone()],
        }
    }

    /// Name for people: that of the stored tensor, with the part of a fused one.
    pub(crate) fn shown(&self, name: &str) -> String {
        if self.view.part.is_empty() { name.to_owned() } else { format!("{name}[{}]", self.view.part) }
    }
}
