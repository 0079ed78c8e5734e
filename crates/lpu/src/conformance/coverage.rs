//! What a set of vectors covers of the instruction table and of the rules.

use std::collections::{BTreeMap, BTreeSet};

use lpu_isa::{Kind, Operand, Rule, TABLE};

use super::vector::Vectors;

/// What vectors cover of one row of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowCoverage {
    /// Legal vectors that use it.
    pub vectors: Vec<String>,
    /// Values of its operands that are written as words, which no legal vector uses: operand, value.
    pub missing: Vec<(&'static str, String)>,
}

/// What vectors cover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// By mnemonic, in order of the table.
    pub rows: Vec<(&'static str, RowCoverage)>,
    /// Vectors that break a rule first, by rule.
    pub rules: Vec<(Rule, Vec<String>)>,
}

impl Coverage {
    /// Whether every row, every word of its operands and every rule is covered.
    #[must_use]
    pub fn whole(&self) -> bool {
        self.rows.iter().all(|(_, row)| !row.vectors.is_empty() && row.missing.is_empty())
            && self.rules.iter().all(|(_, vectors)| !vectors.is_empty())
    }
}

/// The written words of a kind, if it is one of a few words, by their bits.
fn word_bits(kind: Kind) -> Vec<u64> {
    fn all<T: Operand>(values: &[T]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }
    match kind {
        Kind::Format => all(lpu_isa::Format::ALL),
        Kind::Arithmetic => all(lpu_isa::Arithmetic::ALL),
        Kind::Number => all(lpu_isa::Number::ALL),
        Kind::Orientation => all(lpu_isa::Orientation::ALL),
        Kind::LoadFormat => all(lpu_isa::LoadFormat::ALL),
        Kind::PassFormat => all(lpu_isa::PassFormat::ALL),
        Kind::Mode => all(lpu_isa::Mode::ALL),
        Kind::GroupWidth => all(lpu_isa::GroupWidth::ALL),
        Kind::Edge => all(lpu_isa::Edge::ALL),
        Kind::BlockSide => all(lpu_isa::BlockSide::ALL),
        _ => Vec::new(),
    }
}

/// Vectors that use a row, and the operand values, by place, that they use.
type Used<'a> = (BTreeSet<&'a str>, BTreeSet<(usize, u64)>);

/// What vectors cover; a vector whose text is no program counts for nothing.
#[must_use]
pub fn coverage(vectors: &Vectors) -> Coverage {
    let mut used: BTreeMap<&str, Used<'_>> = BTreeMap::new();
    for vector in vectors.list.iter().filter(|vector| vector.fault.is_none()) {
        let Ok(container) = vectors.container(vector) else { continue };
        // Fetched instructions count as well as those in queues.
        let Ok(report) = lpu_checker::check_system(&vectors.system, &container.image, &container.programs[0]) else {
            continue;
        };
        let issued = report.flow.classes.iter().flat_map(|class| &class.issues).map(|issue| issue.instruction);
        let items = container.programs[0].sets.iter().flat_map(BTreeMap::values).flatten().map(|item| item.instruction);
        for instruction in issued.chain(items) {
            let entry = used.entry(instruction.row().mnemonic).or_default();
            entry.0.insert(&vector.name);
            entry.1.extend(instruction.operand_bits().into_iter().enumerate());
        }
    }
    let row = |row: &'static lpu_isa::TableRow| {
        let (names, values) = used.get(row.mnemonic).cloned().unwrap_or_default();
        let words = row
            .operands
            .iter()
            .enumerate()
            .flat_map(|(place, operand)| word_bits(operand.kind).into_iter().map(move |bits| (place, bits)));
        let missing = words
            .filter(|word| !values.contains(word))
            .map(|(place, bits)| (row.operands[place].name, bits.to_string()));
        (
            row.mnemonic,
            RowCoverage { vectors: names.into_iter().map(str::to_owned).collect(), missing: missing.collect() },
        )
    };
    let rule = |rule: &Rule| {
        let breaking =
            vectors.list.iter().filter(|vector| vector.fault.as_ref().is_some_and(|fault| fault.rule == rule.name()));
        (*rule, breaking.map(|vector| vector.name.clone()).collect())
    };
    Coverage { rows: TABLE.iter().map(row).collect(), rules: Rule::ALL.iter().map(rule).collect() }
}
