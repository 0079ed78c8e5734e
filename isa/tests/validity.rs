//! Operands that do not fit one another are refused, their neighbours are not.

use lpu_isa::{BlockSide, Instruction, LoadFormat, Malformed, Orientation, PassFormat, Row, Stream};

fn lw(src: Stream, row: u16) -> Instruction {
    Instruction::Lw { src, row: Row(row), orientation: Orientation::Out, format: LoadFormat::Bytes }
}

#[test]
fn weight_rows_come_in_sixteens() {
    for row in 0..=64 {
        let fits = row % 16 == 0;
        assert_eq!(lw(Stream::east(0), row).validate().is_ok(), fits, "lw {row}");
        assert_eq!(Instruction::Iw { rows: Row(row) }.validate().is_ok(), fits && row > 0, "iw {row}");
    }
    assert_eq!(lw(Stream::east(0), 8).validate(), Err(Malformed::Rows { rows: 8 }));
}

#[test]
fn groups_are_aligned_and_end_before_128() {
    for number in 0..128 {
        let stream = Stream::west(number);
        let pass = Instruction::Abc { format: PassFormat::F16, src: stream, dst: None };
        assert_eq!(pass.validate().is_ok(), number % 2 == 0, "pair at {number}");
        assert_eq!(lw(stream, 0).validate().is_ok(), number % 16 == 0, "sixteen at {number}");
        let rotate = Instruction::Rotate { side: BlockSide::Three, src: stream, dst: stream };
        assert_eq!(rotate.validate().is_ok(), number % 16 == 0, "nine at {number}");
        assert_eq!(Instruction::Send { src: stream }.validate(), Ok(()));
    }
    let odd = Instruction::Rotate { side: BlockSide::Three, src: Stream::east(1), dst: Stream::east(9) };
    assert_eq!(odd.validate(), Err(Malformed::Alignment { stream: Stream::east(9), width: 9, alignment: 16 }));
}
