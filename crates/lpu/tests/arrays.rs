//! Arrays in and out of regions: every shape, order, byte order and type that is read, and every kind of file that is
//! not.

use lpu::isa::{Format, Region, RegionKind};
use lpu::npy::{self, NpyError, Shape, region_bytes};
use lpu::num::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use npyz::WriterBuilder;
use proptest::prelude::*;

const FORMATS: [Format; 6] = [Format::F32, Format::F16, Format::Bf16, Format::I32, Format::I16, Format::I8];

fn region(format: Format, vectors: u32, lanes: u32) -> Region {
    Region { name: "x".into(), kind: RegionKind::Input, format, vectors, lanes, runs: Vec::new() }
}

/// A file of version 1.0 with this header and these bytes.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn named(descr: &str, fortran: bool, shape: &[u64], data: &[u8]) -> Vec<u8> {
    let fortran = if fortran { "True" } else { "False" };
    file(&format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {}, }}\n", Shape(shape.to_vec())), data)
}

/// The type strings of arrays that a region takes, without byte order.
fn types(format: Format) -> &'static [&'static str] {
    match format {
        Format::F32 | Format::Bf16 => &["f4"],
        Format::F16 => &["f2", "f4"],
        Format::I32 => &["i4"],
        Format::I16 => &["i2"],
        Format::I8 => &["i1"],
    }
}

/// An element of a type as little-endian bytes, and as those of a region's format.
fn element(descr: &str, format: Format, seed: u32) -> (Vec<u8>, Vec<u8>) {
    let small = seed as i32 as f32 / 65_536.0;
    match (descr, format) {
        ("f4", Format::F16) => (small.to_le_bytes().to_vec(), f32_to_f16(small).to_le_bytes().to_vec()),
        ("f4", Format::Bf16) => (small.to_le_bytes().to_vec(), f32_to_bf16(small).to_le_bytes().to_vec()),
        ("f4" | "i4", _) => (seed.to_le_bytes().to_vec(), seed.to_le_bytes().to_vec()),
        ("f2" | "i2", _) => ((seed as u16).to_le_bytes().to_vec(), (seed as u16).to_le_bytes().to_vec()),
        _ => (vec![seed as u8], vec![seed as u8]),
    }
}

proptest! {
    #[test]
    fn every_order_gives_the_elements_by_their_indices(
        format in proptest::sample::select(&FORMATS[..]), narrow: bool, fortran: bool, big: bool, leading in 0usize..3,
        vectors in 1u32..6, lanes in 1u32..9, seeds in proptest::collection::vec(any::<u32>(), 48),
    ) {
        let descr = types(format)[usize::from(narrow) % types(format).len()];
        // A missing leading 1, none more, one more.
        let (vectors, shape) = match leading {
            0 => (1, vec![u64::from(lanes)]),
            1 => (vectors, vec![u64::from(vectors), u64::from(lanes)]),
            _ => (vectors, vec![1, u64::from(vectors), u64::from(lanes)]),
        };
        let (rows, columns) = (vectors as usize, lanes as usize);
        let at = |vector: usize, lane: usize| element(descr, format, seeds[vector * columns + lane]);
        let stored: Vec<(usize, usize)> = match fortran {
            true => (0..columns).flat_map(|lane| (0..rows).map(move |vector| (vector, lane))).collect(),
            false => (0..rows).flat_map(|vector| (0..columns).map(move |lane| (vector, lane))).collect(),
        };
        let data: Vec<u8> = stored.into_iter().flat_map(|(vector, lane)| {
            let mut bytes = at(vector, lane).0;
            if big { bytes.reverse(); }
            bytes
        }).collect();
        let order = match (descr, big) { ("i1", _) => "|", (_, true) => ">", (_, false) => "<" };
        let bytes = named(&format!("{order}{descr}"), fortran, &shape, &data);
        let elements = (0..rows).flat_map(|vector| (0..columns).map(move |lane| (vector, lane)));
        let expected: Vec<u8> = elements.flat_map(|(vector, lane)| at(vector, lane).1).collect();
        prop_assert_eq!(region_bytes(&bytes, &region(format, vectors, lanes)).unwrap(), expected);
        for cut in 0..bytes.len() {
            prop_assert!(region_bytes(&bytes[..cut], &region(format, vectors, lanes)).is_err(), "cut to {}", cut);
        }
        let longer = [&bytes[..], &[0]].concat();
        let refused = region_bytes(&longer, &region(format, vectors, lanes));
        prop_assert!(matches!(refused, Err(NpyError::Length { .. })), "{:?}", refused);
    }

    #[test]
    fn another_shape_or_type_is_refused_with_both(
        format in proptest::sample::select(&FORMATS[..]), shape in proptest::collection::vec(0u64..5, 0..4),
        descr in proptest::sample::select(&["b1", "i1", "i2", "i4", "i8", "u1", "u4", "f2", "f4", "f8", "c8"][..]),
    ) {
        let size: usize = descr[1..].parse().unwrap();
        let count: u64 = shape.iter().product();
        let bytes = named(&format!("<{descr}"), false, &shape, &vec![0; count as usize * size]);
        let fits = shape == [2, 3] || shape == [1, 2, 3];
        let taken = types(format).contains(&descr);
        match region_bytes(&bytes, &region(format, 2, 3)) {
            Ok(_) => prop_assert!(fits && taken, "{} {:?}", descr, shape),
            Err(error @ NpyError::Type { .. }) => {
                let kind = match &descr[..1] {
                    "b" => "bool", "i" => "int", "u" => "uint", "f" => "float", _ => "complex",
                };
                let text = error.to_string();
                prop_assert!(!taken && text.contains(kind) && text.contains(&format.to_string()), "{}", text);
            }
            Err(error @ NpyError::Shape { .. }) => {
                let text = error.to_string();
                prop_assert!(!fits && text.contains(&Shape(shape).to_string()) && text.contains("(2, 3)"), "{}", text);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0usize..90,
        with: u8,
    ) {
        let _ = region_bytes(&bytes, &region(Format::F32, 2, 3));
        bytes.splice(0..0, *b"\x93NUMPY");
        let _ = region_bytes(&bytes, &region(Format::F32, 2, 3));
        let mut good = named("<f4", false, &[2, 3], &[7; 24]);
        let at = at.min(good.len() - 1);
        good[at] = with;
        let _ = region_bytes(&good, &region(Format::F32, 2, 3));
    }

    #[test]
    fn what_is_written_is_what_others_read(vectors in 1u32..5, lanes in 1u32..70, seed: u32) {
        for format in FORMATS {
            let region = region(format, vectors, lanes);
            let count = vectors as usize * lanes as usize;
            let numbers = 0..count * usize::from(format.bytes());
            let bytes: Vec<u8> = numbers.map(|index| (index as u32 ^ seed) as u8 & 0x3f).collect();
            let mut written = Vec::new();
            npy::write_region(&mut written, &region, &bytes).unwrap();
            let found = npyz::NpyFile::new(&written[..]).unwrap();
            prop_assert_eq!(found.shape(), [u64::from(vectors), u64::from(lanes)]);
            prop_assert_eq!((written.len() - count * if format.bytes() == 1 { 1 } else { types_size(format) }) % 64, 0);
            let bits = || bytes.chunks_exact(2).map(|half| u16::from_le_bytes([half[0], half[1]]));
            let halves = |widen: fn(u16) -> f32| bits().map(widen).collect::<Vec<_>>();
            match format {
                Format::F16 => prop_assert_eq!(found.into_vec::<f32>().unwrap(), halves(f16_to_f32)),
                Format::Bf16 => prop_assert_eq!(found.into_vec::<f32>().unwrap(), halves(bf16_to_f32)),
                Format::F32 => prop_assert_eq!(found.into_vec::<f32>().unwrap().into_iter().flat_map(f32::to_le_bytes)
                    .collect::<Vec<_>>(), bytes.clone()),
                Format::I32 => prop_assert_eq!(found.into_vec::<i32>().unwrap().into_iter().flat_map(i32::to_le_bytes)
                    .collect::<Vec<_>>(), bytes.clone()),
                Format::I16 => prop_assert_eq!(found.into_vec::<i16>().unwrap().into_iter().flat_map(i16::to_le_bytes)
                    .collect::<Vec<_>>(), bytes.clone()),
                Format::I8 => prop_assert_eq!(found.into_vec::<i8>().unwrap().into_iter().map(|byte| byte as u8)
                    .collect::<Vec<_>>(), bytes.clone()),
            }
            prop_assert_eq!(region_bytes(&written, &region).unwrap(), bytes);
        }
    }
}

/// Bytes of an element in the file that a region is written to.
fn types_size(format: Format) -> usize {
    match format {
        Format::I16 => 2,
        Format::I8 => 1,
        Format::F32 | Format::I32 | Format::F16 | Format::Bf16 => 4,
    }
}

#[test]
fn files_of_the_other_writer_are_read() {
    let values: Vec<f32> = (0..6).map(|value| value as f32).collect();
    for order in [npyz::Order::C, npyz::Order::Fortran] {
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::new().default_dtype().shape(&[2, 3]).order(order);
        let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
        writer.extend(values.clone()).unwrap();
        writer.finish().unwrap();
        let found = region_bytes(&bytes, &region(Format::F32, 2, 3)).unwrap();
        let expected =
            if order == npyz::Order::C { [0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0] } else { [0.0, 2.0, 4.0, 1.0, 3.0, 5.0] };
        assert_eq!(found, expected.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<_>>());
    }
}

#[test]
fn headers_are_refused_by_what_is_wrong_with_them() {
    let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";
    let data = [0; 24];
    assert!(region_bytes(&file(good, &data), &region(Format::F32, 2, 3)).is_ok());
    let deep = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {}", "(".repeat(9_900));
    for (from, to, expected) in [
        ("'<f4'", "[('a', '<f4')]", "structure"),
        ("'<f4'", "'|O'", "Python objects, not numbers; save it as numbers"),
        ("'<f4'", "'<f4", "expected"),
        ("'<f4'", "'f4'", "`f4` is not known"),
        ("'<f4'", "'<f'", "`<f` is not known"),
        ("'<f4'", "'<é4'", "type `é4`"),
        ("'<f4'", "'<f8'", "float64"),
        ("'<f4'", "'<U4'", "type `U4`"),
        ("'descr'", "'description'", "`description` is not known"),
        ("'descr': '<f4', ", "", "`descr` is missing"),
        ("'shape': (2, 3), ", "", "`shape` is missing"),
        ("'fortran_order': False, ", "", "`fortran_order` is missing"),
        ("False", "None", "`False` is expected before `None"),
        ("(2, 3)", "(2, -3)", "no whole number"),
        ("(2, 3)", "(99999999999999999999, 3)", "no whole number"),
        ("(2, 3)", "(18446744073709551615, 18446744073709551615)", "region `x` takes (2, 3)"),
        ("(2, 3)", "(3, 2)", "shape (3, 2), region `x` takes (2, 3)"),
        ("(2, 3)", "(6,)", "shape (6,), region `x` takes (2, 3)"),
        ("}\n", "} x", "follows"),
        (good, &deep, "no whole number"),
        (good, "", "`{` is expected"),
    ] {
        let refused =
            region_bytes(&file(&good.replace(from, to), &data), &region(Format::F32, 2, 3)).unwrap_err().to_string();
        assert!(refused.contains(expected) && refused.contains("; "), "{from} {to}: {refused}");
    }
    let mut long = b"\x93NUMPY\x02\x00".to_vec();
    long.extend(u32::MAX.to_le_bytes());
    for (bytes, expected) in [
        (&b"PK\x03\x04"[..], "no .npy file"),
        (&b"\x93NUMPY\x09\x00"[..], "version 9.0"),
        (&long[..], "4294967295 bytes"),
    ] {
        let refused = region_bytes(bytes, &region(Format::F32, 2, 3)).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn numbers_that_a_format_has_not_are_refused_and_infinities_are_given() {
    let row = |values: [f32; 3]| named("<f4", false, &[1, 3], &values.map(f32::to_le_bytes).concat());
    let f16 = region(Format::F16, 1, 3);
    assert!(region_bytes(&row([65_504.0, -65_519.0, f32::INFINITY]), &f16).is_ok());
    let refused = region_bytes(&row([0.0, 1.0, -65_520.0]), &f16).unwrap_err().to_string();
    assert!(refused.contains("(0, 2) is -65520") && refused.contains("f16"), "{refused}");
}
