//! Which positions a row of queries sees.

/// The positions that take part in an attention for one row of its queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mask {
    /// The row's own position and all before it.
    Causal,
    /// The last `tokens` positions, the row's own included.
    Window {
        /// At least 1.
        tokens: usize,
    },
    /// All positions that have rows, those of later rows of the same run included.
    Full,
}

impl Mask {
    /// A window of so many tokens; causal where there is none.
    #[must_use]
    pub fn windowed(tokens: Option<usize>) -> Self {
        tokens.map_or(Self::Causal, |tokens| Self::Window { tokens })
    }

    /// Positions that are seen at most; all where there is no window.
    #[must_use]
    pub fn window(self) -> Option<usize> {
        match self {
            Self::Window { tokens } => Some(tokens),
            Self::Causal | Self::Full => None,
        }
    }

    /// The row, of so many, whose position is the last that row `row` sees.
    #[must_use]
    pub fn last_row(self, row: usize, rows: usize) -> usize {
        match self {
            Self::Causal | Self::Window { .. } => row,
            Self::Full => rows.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mask;

    #[test]
    fn a_full_mask_alone_sees_later_rows() {
        for (mask, last) in [(Mask::Causal, 1), (Mask::Window { tokens: 8 }, 1), (Mask::Full, 3)] {
            assert_eq!(mask.last_row(1, 4), last, "{mask:?}");
            assert_eq!(mask.last_row(0, 1), 0, "{mask:?}: one row has no later ones");
        }
    }
}
