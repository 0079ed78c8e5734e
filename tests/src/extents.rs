//! Other images of the same words: extents in another order, cut, joined in pairs and parted, with more or fewer of the
//! zeros that their words end with; and images of other words.

use std::borrow::Cow;

use lpu::isa::{Extent, Fill, Image, WordRun};

use crate::dice::Dice;
use crate::memory::pair;

/// One change of an image; nothing where it has no place for it.
pub type Change = fn(&mut Image<'static>, &mut Dice) -> Option<()>;

/// Changes that keep every word as it is, by name.
pub const LAYOUTS: &[(&str, Change)] = &[
    ("order", order),
    ("truncation", truncation),
    ("parted", parted),
    ("turned", turned),
    ("crossed", crossed),
    ("paired", paired),
    ("cut", cut),
];

/// Changes of words, by name; the last takes one away.
pub const CONTENTS: &[(&str, Change)] =
    &[("bytes", bytes), ("extremes", extremes), ("equal words", equal_words), ("lost word", lost_word)];

fn any(image: &Image<'_>, dice: &mut Dice, fits: impl Fn(&Extent<'_>) -> bool) -> Option<usize> {
    let all: Vec<usize> = (0..image.extents.len()).filter(|&index| fits(&image.extents[index])).collect();
    (!all.is_empty()).then(|| all[dice.below(all.len())])
}

fn order(image: &mut Image<'static>, dice: &mut Dice) -> Option<()> {
    let count = image.extents.len();
    (count > 1).then_some(())?;
    match dice.below(3) {
        0 => image.extents.swap(dice.below(count), dice.below(count)),
        1 => image.extents.rotate_left(1 + dice.below(count - 1)),
        _ => (1..count).for_each(|last| image.extents.swap(last, dice.below(last + 1))),
    }
    Some(())
}

/// Gives an extent other bytes, so many of each word: word after word, those of pairs in turn.
fn fill(extent: &mut Extent<'static>, live: usize, mut byte: impl FnMut(bool, u32, usize) -> u8) {
    let sides: Vec<bool> = [false, true].into_iter().take(extent.places().count()).collect();
    let mut bytes = Vec::with_capacity(sides.len() * live * extent.place.count as usize);
    for number in 0..extent.place.count {
        for lane in 0..live {
            bytes.extend(sides.iter().map(|&other| byte(other, number, lane)));
        }
    }
    extent.fill = match &extent.fill {
        Fill::Pairs(_, other) => Fill::Pairs(Cow::Owned(bytes), *other),
        Fill::Zero | Fill::Bytes(_) => Fill::Bytes(Cow::Owned(bytes)),
    };
}

/// [`fill`] of the bytes that an extent has.
fn relay(extent: &mut Extent<'static>, live: usize, mut byte: impl FnMut(bool, u32, usize, u8) -> u8) {
    let before = extent.clone();
    let width = before.places().count();
    fill(extent, live, |other, number, lane| {
        let at = (number as usize * before.live() + lane) * width + usize::from(other);
        byte(other, number, lane, before.bytes().get(at).copied().filter(|_| lane < before.live()).unwrap_or(0))
    });
}

/// More or fewer bytes of each word.
fn truncation(image: &mut Image<'static>, dice: &mut Dice) -> Option<()> {
    let index = any(image, dice, |_| true)?;
    let extent = &mut image.extents[index];
    let lanes = image.vector_bytes as usize;
    let used = |bytes: Cow<'_, [u8]>| bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let least = extent.words().map(|(.., bytes)| used(bytes)).max().unwrap_or(0).max(1);
    let live = match dice.below(4) {
        0 => lanes,
        1 => least.next_multiple_of(16),
        2 => (least + dice.below(lanes + 1 - least)).next_multiple_of(16),
        _ => least + dice.below(lanes + 1 - least),
    };
    relay(extent, live.min(lanes), |_, _, _, byte| byte);
    Some(())
}

/// A pair as two extents.
fn parted(image: &mut Image<'static>, dice: &mut Dice) -> Option<()> {
    let index = any(image, dice, |extent| extent.other().is_some())?;
    let parts = part(&image.extents[index])?;
    image.extents.splice(index..=index, parts);
    Some(())
}

fn part(extent: &Extent<'static>) -> Option<[Extent<'static>; 2]> {
    let other = extent.other()?;
    let side = |place: WordRun, other: bool| {
        let mut side = Extent { place, fill: Fill::Zero };
        fill(&mut side, extent.live(), |_, number, lane| {
            extent.bytes()[2 * (number as usize * extent.live() + lane) + usize::from(other)]
        });
        side
    };
    Some([side(extent.place, false), side(other, true)])
}

/// A pair the other way round.
fn turned(image: &mut Image<'static>, dice: &mut Dice) -> Option<()> {
    let index = any(image, dice, |extent| extent.other().is_some())?;
    let [mut other, one] = part(&image.extents[index])?;
    std::mem::swap(&mut other, &mut image.extents[index]);
    image.extents[index] = one;
    let [low, _] = part(&other)?;
    pair(&mut image.extents[index], &low).then_some(())
}

/// Two pairs of as many words with one word of each exchanged.
fn crossed(image: &mut Image<'static>, dice: &mut Dice) -> Option<()> {
    let one = any(image, dice, |extent| extent.other().is_some())?;
    let count = image.extents[one].place.count;
    let fits = |extent: &Extent<'_>| {
        extent.other().is_some() && extent.place.count == count && extent.place != image.extents[one].place
    };
    let other = any(image, dice, fits)?;
    let ([mut a, mut b], [mut c, d]) = (part(&image.extents[one])?, part(&image.extents[other])?);
    (image.extents[one], image.extents[other]) = if dice.below(2) == 0 {
        (pair(&mut a, &d) && pair(&mut c, &b)).then_some((a, c))?
    } else {
        (pair(&mut a, &c) && pair(&mut b, &d)).then_some((a, b))?
    };
    Some(())
}

/// Two extents of as many words as a pair.
fn paired(image: &mut Image<'static>, dice: &mut Dice) -> Option<()> {
    let one = any(image, dice, |extent| extent.other().is_none())?;
    let count = image.extents[one].place.count;
    let fits = |extent: &Extent<'_>| {
        extent.other().is_none() && extent.place.count == count && extent.place != image.extents[one].place
    };
    let other = any(image, dice, fits)?;
    let second = image.extents[other].clone();
    pair(&mut image.extents[one], &second).then_some(())?;
    image.extents.remove(other);
    Some(())
}

/// An extent as two of its words.
fn cut(image: &mut Image<'static>, dice: &mut Dice) -> Option<()> {
    let index = any(image, dice, |extent| extent.place.count > 1)?;
    let first = 1 + dice.below(image.extents[index].place.count as usize - 1) as u32;
    let mut rest = image.extents[index].clone();
    let extent = &mut image.extents[index];
    let split = extent.bytes().len() / extent.place.count as usize * first as usize;
    let (head, tail) = (extent.bytes()[..split].to_vec(), extent.bytes()[split..].to_vec());
    (*extent, rest) = (extent.with(head), rest.with(tail));
    for (part, skipped, count) in [(extent, 0, first), (&mut rest, first, u32::MAX)] {
        let shorten = |place: &mut WordRun| {
            (place.word, place.count) = (place.word + skipped, (place.count - skipped).min(count))
        };
        shorten(&mut part.place);
        if let Fill::Pairs(_, other) = &mut part.fill {
            shorten(other);
        }
    }
    let at = if dice.below(2) == 0 { index + 1 } else { dice.below(image.extents.len() + 1) };
    image.extents.insert(at, rest);
    Some(())
}

/// Bytes that are high bytes of infinities and NaNs, extremes of int8, or zero.
const SPECIAL: [u8; 8] = [0x7c, 0xfc, 0x7e, 0xff, 0x80, 0x7f, 0x00, 0x01];

/// Some bytes of one word.
fn bytes(image: &mut Image<'static>, dice: &mut Dice) -> Option<()> {
    let index = any(image, dice, |extent| extent.fill != Fill::Zero)?;
    let extent = &mut image.extents[index];
    let (word, value) = (dice.below(extent.place.count as usize) as u32, SPECIAL[dice.below(SPECIAL.len())]);
    let (first, live, side) = (dice.below(extent.live()), extent.live(), dice.below(extent.places().count()) == 1);
    let last = first + 1 + dice.below(3);
    relay(
        extent,
        live,
        |other, number, lane, byte| {
            if (other, number) == (side, word) && (first..last).contains(&lane) { value } else { byte }
        },
    );
    Some(())
}

/// One byte in so many of an extent.
fn extremes(image: &mut Image<'static>, dice: &mut Dice) -> Option<()> {
    let index = any(image, dice, |extent| extent.fill != Fill::Zero)?;
    let extent = &mut image.extents[index];
    let (live, one_in) = (extent.live(), [3, 40, 1000][dice.below(3)]);
    relay(
        extent,
        live,
        |_, _, _, byte| if dice.below(one_in) == 0 { SPECIAL[dice.below(SPECIAL.len())] } else { byte },
    );
    Some(())
}

/// A word with the bytes of another of its extent.
fn equal_words(image: &mut Image<'static>, dice: &mut Dice) -> Option<()> {
    let index = any(image, dice, |extent| extent.place.count > 1 && extent.fill != Fill::Zero)?;
    let extent = &mut image.extents[index];
    let before = extent.clone();
    let (to, from) = (dice.below(before.place.count as usize) as u32, dice.below(before.place.count as usize) as u32);
    relay(
        extent,
        before.live(),
        |other, number, lane, byte| if number == to { before.word_bytes(other, from)[lane] } else { byte },
    );
    Some(())
}

/// The last word of an extent, or of both places of a pair, taken away.
fn lost_word(image: &mut Image<'static>, dice: &mut Dice) -> Option<()> {
    let index = any(image, dice, |extent| extent.place.count > 1)?;
    let extent = &mut image.extents[index];
    let kept = extent.bytes().len() / extent.place.count as usize * (extent.place.count as usize - 1);
    *extent = extent.with(extent.bytes()[..kept].to_vec());
    extent.place.count -= 1;
    if let Fill::Pairs(_, other) = &mut extent.fill {
        other.count -= 1;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lpu::isa::{ChipId, SliceId};

    use super::*;

    /// Every word without the zeros that it ends with.
    fn words(image: &Image<'_>) -> BTreeMap<(ChipId, SliceId, u32), Vec<u8>> {
        let word = |(chip, slice, word, bytes): (ChipId, SliceId, u32, Cow<'_, [u8]>)| {
            let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            ((chip, slice, word), bytes[..used].to_vec())
        };
        image.extents.iter().flat_map(Extent::words).map(word).collect()
    }

    #[test]
    fn layouts_keep_every_word() {
        let small = lpu::chip::preset("test-small").unwrap();
        for (name, change) in LAYOUTS {
            let mut changed = 0;
            for seed in 0..20 {
                let (before, _) = crate::grow::grow(&small, seed, 1);
                let mut image = before.clone();
                let mut dice = Dice(seed);
                for _ in 0..10 {
                    let _ = change(&mut image, &mut dice);
                }
                assert_eq!(words(&image), words(&before), "{name}, seed {seed}");
                changed += usize::from(image != before);
            }
            assert!(changed >= 10, "{name} changed {changed} of 20 images");
        }
    }
}
