//! dev
#![allow(missing_docs)]
use lpu_num::dot::{Ahead, Halves, Octets};
use std::arch::x86_64::*;
use std::time::Instant;
struct Seq {
    at: *const i8,
    ahead: usize,
    t0: bool,
    on: bool,
}
impl Ahead for Seq {
    #[inline(always)]
    fn rows(&mut self) {}
    #[inline(always)]
    fn lines(&mut self, n: usize) {
        if !self.on {
            return;
        }
        for _ in 0..n {
            unsafe {
                if self.t0 {
                    _mm_prefetch::<_MM_HINT_T0>(self.at.wrapping_add(self.ahead))
                } else {
                    _mm_prefetch::<_MM_HINT_T1>(self.at.wrapping_add(self.ahead))
                }
            }
            self.at = self.at.wrapping_add(64);
        }
    }
}
unsafe extern "C" {
    fn madvise(a: *mut u8, n: usize, x: i32) -> i32;
}
fn main() {
    let arg = |n: usize, d: usize| std::env::args().nth(n).map_or(d, |a| a.parse().unwrap());
    let rows = arg(1, 20);
    let threads = arg(2, 2);
    let size = arg(3, 288 << 10) << 10;
    let reps = (288usize << 20) / size;
    let mut buf: Vec<u8> = Vec::with_capacity(size + (2 << 20));
    unsafe {
        madvise(((buf.as_ptr() as usize + 4095) & !4095) as *mut u8, size, 14);
    }
    let mut s = 1u64;
    for _ in 0..size {
        s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        buf.push((s >> 33) as u8 & 0xaf);
    }
    let flush: Vec<u64> = (0..(64u64 << 20)).collect();
    let ws: Vec<i8> = Vec::new();
    let _ = ws;
    let mk = |live: usize| {
        let mut h = Halves::default();
        let x: Vec<f32> =
            (0..320).map(|i| if i < live { lpu_num::half::f16_to_f32(0x3000 + (i as u16 * 37 % 1000)) } else { 0.0 }).collect();
        h.load(&x);
        h
    };
    let (a, b) = (mk(320), mk(256));
    let xi: Vec<i8> = (0..320).map(|i| (i * 7 % 251) as i8).collect();
    let xb: Vec<i8> = (0..320).map(|i| if i < 256 { (i * 7 % 251) as i8 } else { 0 }).collect();
    let run = 2 * rows * 320;
    let useful = |n: usize| n / 2 * 2 * rows * 576;
    for mode in ["f16"] {
        for (name, ahead, t0, on) in if reps > 1 {
            vec![("none", 0, false, false)]
        } else {
            vec![
                ("none", 0, false, false),
                ("T1 2K", 2048, false, true),
                ("T1 8K", 8192, false, true),
                ("T1 32K", 32768, false, true),
                ("T1 64K", 65536, false, true),
                ("T1 128K", 131072, false, true),
                ("T0 4K", 4096, true, true),
                ("T0 8K", 8192, true, true),
                ("T0 16K", 16384, true, true),
            ]
        } {
            let mut times = vec![];
            let mut bytes = 0;
            for _ in 0..9 {
                std::hint::black_box(flush.iter().step_by(8).fold(0u64, |a, &b| a.wrapping_add(b)));
                let begin = Instant::now();
                bytes = 0;
                std::thread::scope(|sc| {
                    for t in 0..threads {
                        let part = &buf[t * (size / threads)..][..size / threads];
                        let (a, b) = (&a, &b);
                        let (xi, xb) = (&xi, &xb);
                        let n = part.len() / run;
                        bytes += useful(n) * reps;
                        sc.spawn(move || {
                            let mut seq = Seq { at: part.as_ptr().cast(), ahead, t0, on };
                            let mut out = vec![0.0f32; rows];
                            let mut oi = vec![0i32; 2 * rows];
                            let (oa, ob) = (Octets::new(xi), Octets::new(xb));
                            for r in (0..reps).flat_map(|_| 0..n) {
                                let w = &part[r * run..][..run];
                                if mode == "f16" {
                                    let (l, h) = w.split_at(run / 2);
                                    (if r % 2 == 0 { a } else { b }).rows(l, h, Some(0x2f), &mut out, &mut seq);
                                } else {
                                    let w: &[i8] = unsafe { std::slice::from_raw_parts(w.as_ptr().cast(), w.len()) };
                                    (if r % 2 == 0 { oa } else { ob }).rows(w, &mut oi, &mut seq);
                                }
                                if seq.on && r + 1 < n {
                                    seq.at = w.as_ptr().wrapping_add(run).cast();
                                }
                            }
                            std::hint::black_box((&out, &oi));
                        });
                    }
                });
                times.push(begin.elapsed().as_secs_f64());
            }
            times.sort_by(f64::total_cmp);
            println!("{mode} {name}: {:.1} GB/s useful (best {:.1})", bytes as f64 / times[4] / 1e9, bytes as f64 / times[0] / 1e9);
        }
    }
}
