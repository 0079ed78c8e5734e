//! Parts of a decode graph by name.

use std::fmt;

use lpu_model::{Block, Graph};

use crate::error::CompileError;

/// A part of a decode graph, cut at block boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Attention and feed-forward of a layer.
    Layer(usize),
    /// Norm, attention and residual sum of a layer.
    Attention(usize),
    /// Norm, feed-forward and residual sum of a layer.
    FeedForward(usize),
    /// Last norm and logits.
    Head,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Layer(layer) => write!(f, "layer:{layer}"),
            Part::Attention(layer) => write!(f, "attention:{layer}"),
            Part::FeedForward(layer) => write!(f, "ffn:{layer}"),
            Part::Head => f.write_str("head"),
        }
    }
}

impl Part {
    /// The part of this name: `layer:N`, `attention:N`, `ffn:N` or `head`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "head" {
            return Some(Part::Head);
        }
        let (kind, layer) = name.split_once(':')?;
        let layer = layer.parse().ok()?;
        match kind {
            "layer" => Some(Part::Layer(layer)),
            "attention" => Some(Part::Attention(layer)),
            "ffn" => Some(Part::FeedForward(layer)),
            _ => None,
        }
    }

    fn holds(self, block: Block) -> bool {
        match (self, block) {
            (Part::Layer(layer) | Part::Attention(layer), Block::Attention(of)) => layer == of,
            (Part::Layer(layer) | Part::FeedForward(layer), Block::FeedForward(of)) => layer == of,
            (Part::Head, Block::Head) => true,
            _ => false,
        }
    }

    /// Cuts the part out of a graph; its inputs and outputs keep their names.
    ///
    /// # Errors
    /// [`CompileError::NoPart`] when the graph has no such blocks.
    pub fn of(self, graph: &Graph) -> Result<Graph, CompileError> {
        let blocks = graph.blocks();
        let inside: Vec<usize> = (0..blocks.len()).filter(|&number| self.holds(blocks[number])).collect();
        let [first, ..] = inside[..] else {
            let layers = blocks.iter().filter(|block| matches!(block, Block::Attention(_))).count();
            return Err(CompileError::NoPart { part: self.to_string(), layers });
        };
        Ok(graph.cut(first..first + inside.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::Part;

    #[test]
    fn names_are_those_that_parts_print() {
        for part in [Part::Layer(0), Part::Attention(3), Part::FeedForward(12), Part::Head] {
            assert_eq!(Part::parse(&part.to_string()), Some(part));
        }
        for name in ["", "layer", "layer:", "layer:x", "head:0", "ffn:-1"] {
            assert_eq!(Part::parse(name), None, "{name}");
        }
    }
}
