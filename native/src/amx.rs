//! AMX: tiles of 16 x 16 sums of products of bfloat16 pairs. On Linux, where a process must ask for it.
//!
//! `tdpbf16ps` adds the products of the upper halves of up to 16 pairs in one chain, those of the lower halves in another, then both to the
//! sum: another order than `vdpbf16ps` has, so other bytes, within the same bound. They depend on neither threads nor batches either.
//! It is used only after `use_amx`, for which `amx_works` in another process should have been asked first (engine/kernels/enable-amx.ts).

use crate::gram::{Precision, add_gram_with, gram_matrix, sums_length};
use crate::multiply::{Linear, multiply};
use crate::packed_linear::{pack_linear, packed_length};
use crate::simd::{InstructionSet, instruction_set};
use crate::words::Kernel;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows of a tile, and words of a row.
pub const SIDE: usize = 16;

static IN_USE: AtomicBool = AtomicBool::new(false);

/// Whether products of bfloat16 run on AMX.
pub fn in_use() -> bool {
    IN_USE.load(Ordering::Relaxed) && instruction_set() == InstructionSet::Avx512
}

/// Switches it on or off for the whole process; false where it stays off.
pub fn use_amx(wanted: bool) -> bool {
    let on = wanted && present() && permitted();
    IN_USE.store(on, Ordering::Relaxed);
    on
}

/// Whether the processor and the system have it; nothing is asked for.
pub fn present() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        use std::arch::x86_64::__cpuid_count;
        // Safe in newer versions of Rust.
        #[allow(unused_unsafe)]
        let cpuid = |leaf, part| unsafe { __cpuid_count(leaf, part) };
        let bit = |register: u32, at: u32| register >> at & 1 == 1;
        if !is_x86_feature_detected!("avx512f") || cpuid(0, 0).eax < 0x1d {
            return false;
        }
        let features = cpuid(7, 0).edx;
        let palette = cpuid(0x1d, 1);
        let amx_bf16 = bit(features, 22);
        let amx_tile = bit(features, 24);
        // Palette 1: 8 tiles of 16 rows of 64 bytes.
        let shape = palette.ebx == 8 << 16 | 64 && palette.ecx & 0xffff == SIDE as u32;
        amx_bf16 && amx_tile && shape && saved_by_system() >> 17 & 3 == 3
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    false
}

/// XCR0. The processor has OSXSAVE, or `is_x86_feature_detected` had found no AVX-512.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn saved_by_system() -> u64 {
    let (low, high): (u32, u32);
    unsafe {
        std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack));
    }
    (high as u64) << 32 | low as u64
}

/// Asks Linux for the tiles, for all threads of the process.
fn permitted() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
        const XFEATURE_XTILEDATA: u64 = 18;
        let mut result = ARCH_PRCTL;
        unsafe {
            std::arch::asm!(
                "syscall",
                inout("rax") result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        result == 0
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    false
}

/// Eight tiles of 16 rows of 16 words. Strides are in words.
///
/// # Safety
/// Whole tiles lie at every address.
#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) trait Tiles {
    unsafe fn zero<const TILE: usize>(&mut self);
    unsafe fn load<const TILE: usize>(&mut self, from: *const u32, stride: usize);
    unsafe fn store<const TILE: usize>(&mut self, to: *mut f32, stride: usize);
    /// `C += A B`: A `[16, 16 pairs]`, B `[16 pairs, 16]`.
    unsafe fn multiply<const C: usize, const A: usize, const B: usize>(&mut self);
    /// Adds 16 sums to those in float64.
    unsafe fn add_row(&mut self, to: *mut f64, from: *const f32);
    /// Rows of a tile become columns.
    unsafe fn turn(&mut self, to: *mut u32, to_stride: usize, from: *const u32, stride: usize);
}

/// The tiles of this thread, as long as it lives.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) struct Amx(());

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl Amx {
    /// # Safety
    /// `use_amx(true)` returned true, or `permitted()`.
    pub unsafe fn start() -> Self {
        let mut bytes_per_row = [0; 16];
        let mut rows = [0; 16];
        bytes_per_row[..8].fill(4 * SIDE as u16);
        rows[..8].fill(SIDE as u8);
        let configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            bytes_per_row,
            rows,
        };
        unsafe {
            std::arch::asm!("ldtilecfg [{}]", in(reg) &configuration, options(nostack, readonly));
        }
        Self(())
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl Drop for Amx {
    fn drop(&mut self) {
        unsafe { std::arch::asm!("tilerelease", options(nostack, nomem)) };
    }
}

// The compiler knows nothing of tiles, so nothing of them is in the operands; these blocks keep their order, since they are volatile.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl Tiles for Amx {
    #[inline(always)]
    unsafe fn zero<const TILE: usize>(&mut self) {
        unsafe { std::arch::asm!("tilezero tmm{t}", t = const TILE, options(nostack)) };
    }
    #[inline(always)]
    unsafe fn load<const TILE: usize>(&mut self, from: *const u32, stride: usize) {
        unsafe {
            std::arch::asm!("tileloadd tmm{t}, [{from} + {stride}*1]",
                t = const TILE, from = in(reg) from, stride = in(reg) stride * 4, options(nostack));
        }
    }
    #[inline(always)]
    unsafe fn store<const TILE: usize>(&mut self, to: *mut f32, stride: usize) {
        unsafe {
            std::arch::asm!("tilestored [{to} + {stride}*1], tmm{t}",
                t = const TILE, to = in(reg) to, stride = in(reg) stride * 4, options(nostack));
        }
    }
    #[inline(always)]
    unsafe fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
        unsafe {
            std::arch::asm!("tdpbf16ps tmm{c}, tmm{a}, tmm{b}",
                c = const C, a = const A, b = const B, options(nostack));
        }
    }
    // In plain loops the compiler takes a column at a time.
    #[inline(always)]
    unsafe fn add_row(&mut self, to: *mut f64, from: *const f32) {
        use std::arch::x86_64::*;
        for at in [0, SIDE / 2] {
            unsafe {
                let (to, from) = (to.add(at), _mm256_loadu_ps(from.add(at)));
                _mm512_storeu_pd(
                    to,
                    _mm512_add_pd(_mm512_loadu_pd(to), _mm512_cvtps_pd(from)),
                );
            }
        }
    }
    #[inline(always)]
    unsafe fn turn(&mut self, to: *mut u32, to_stride: usize, from: *const u32, stride: usize) {
        use std::arch::x86_64::*;
        unsafe {
            let mut rows = [_mm512_setzero_si512(); SIDE];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = _mm512_loadu_si512(from.add(i * stride).cast());
            }
            // Words, pairs of words, then quarters of vectors change places.
            let mut pairs = rows;
            for i in (0..SIDE).step_by(2) {
                pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
                pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
            }
            let mut fours = pairs;
            for i in (0..SIDE).step_by(4) {
                for j in 0..2 {
                    let (a, b) = (pairs[i + j], pairs[i + j + 2]);
                    fours[i + 2 * j] = _mm512_unpacklo_epi64(a, b);
                    fours[i + 2 * j + 1] = _mm512_unpackhi_epi64(a, b);
                }
            }
            for j in 0..4 {
                let [a, b, c, d] = [0, 4, 8, 12].map(|i| fours[i + j]);
                let (ab, cd) = (
                    _mm512_shuffle_i32x4::<0x88>(a, b),
                    _mm512_shuffle_i32x4::<0x88>(c, d),
                );
                let (ab_odd, cd_odd) = (
                    _mm512_shuffle_i32x4::<0xdd>(a, b),
                    _mm512_shuffle_i32x4::<0xdd>(c, d),
                );
                let turned = [
                    _mm512_shuffle_i32x4::<0x88>(ab, cd),
                    _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd),
                    _mm512_shuffle_i32x4::<0xdd>(ab, cd),
                    _mm512_shuffle_i32x4::<0xdd>(ab_odd, cd_odd),
                ];
                for (quarter, row) in turned.into_iter().enumerate() {
                    _mm512_storeu_si512(to.add((4 * quarter + j) * to_stride).cast(), row);
                }
            }
        }
    }
}

/// Two by two tiles of sums.
#[derive(Clone, Copy)]
#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) struct Square {
    /// 16 rows of words each.
    pub a: [*const u32; 2],
    pub a_stride: usize,
    /// 16 words of each pair.
    pub b: [*const u32; 2],
    pub b_stride: usize,
    /// 16 times 16 sums each, rows of A by columns of B.
    pub c: [[*mut f32; 2]; 2],
    pub c_stride: usize,
    /// The sums begin here; otherwise they lie in C.
    pub fresh: bool,
}

#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
impl Square {
    /// Adds `16 steps` pairs to the sums.
    ///
    /// # Safety
    /// All of it is there.
    #[inline(always)]
    pub unsafe fn multiply<T: Tiles>(self, tiles: &mut T, steps: usize) {
        let Self { a, b, c, .. } = self;
        unsafe {
            if self.fresh {
                tiles.zero::<0>();
                tiles.zero::<1>();
                tiles.zero::<2>();
                tiles.zero::<3>();
            } else {
                tiles.load::<0>(c[0][0].cast(), self.c_stride);
                tiles.load::<1>(c[0][1].cast(), self.c_stride);
                tiles.load::<2>(c[1][0].cast(), self.c_stride);
                tiles.load::<3>(c[1][1].cast(), self.c_stride);
            }
            for step in 0..steps {
                let (right, down) = (step * SIDE, step * SIDE * self.b_stride);
                tiles.load::<6>(b[0].add(down), self.b_stride);
                tiles.load::<4>(a[0].add(right), self.a_stride);
                tiles.load::<7>(b[1].add(down), self.b_stride);
                tiles.load::<5>(a[1].add(right), self.a_stride);
                tiles.multiply::<0, 4, 6>();
                tiles.multiply::<1, 4, 7>();
                tiles.multiply::<2, 5, 6>();
                tiles.multiply::<3, 5, 7>();
            }
            tiles.store::<0>(c[0][0], self.c_stride);
            tiles.store::<1>(c[0][1], self.c_stride);
            tiles.store::<2>(c[1][0], self.c_stride);
            tiles.store::<3>(c[1][1], self.c_stride);
        }
    }
}

/// Whether a few products on AMX are those without it, within rounding. It may crash where something lies about itself, or hang: for a
/// process that is not needed.
pub fn amx_works() -> bool {
    if !present() || !permitted() {
        return false;
    }
    let numbers = |count: usize, step: f32| -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step).sin()).collect()
    };
    let (tokens, columns, rows) = (75, 1100, 145);
    let x = numbers(tokens * columns, 1.3);
    let weight = numbers(rows * columns, 0.7);
    let mut packed = vec![0; packed_length(rows, columns)];
    pack_linear(&weight, rows, columns, &mut packed);
    let product = |kernel| {
        let mut y = vec![0.0; tokens * rows];
        let linear = Linear {
            packed: &packed,
            rows,
            bias: None,
            y: &mut y,
        };
        multiply(&x, columns, &mut [linear], kernel);
        y
    };
    let gram = |kernel| {
        let mut sums = vec![0.0; sums_length(rows)];
        let mut matrix = vec![0.0; rows * rows];
        add_gram_with(&mut sums, &weight, rows, Precision::Bfloat16, kernel);
        gram_matrix(&sums, rows, &mut matrix);
        matrix
    };
    // Sums of at most 1,100 products that are at most 1: rounding moves none of them by this.
    let close = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 2e-2);
    close(product(Kernel::Tiles), product(Kernel::Single))
        && close(gram(Kernel::Tiles), gram(Kernel::Single))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What the manual says that the instructions do.
    pub struct Emulated(pub [[u32; SIDE * SIDE]; 8]);

    impl Default for Emulated {
        fn default() -> Self {
            Self([[u32::MAX; SIDE * SIDE]; 8])
        }
    }

    impl Tiles for Emulated {
        unsafe fn zero<const TILE: usize>(&mut self) {
            self.0[TILE].fill(0);
        }
        unsafe fn load<const TILE: usize>(&mut self, from: *const u32, stride: usize) {
            for (row, to) in self.0[TILE].chunks_exact_mut(SIDE).enumerate() {
                let from = unsafe { std::slice::from_raw_parts(from.add(row * stride), SIDE) };
                to.copy_from_slice(from);
            }
        }
        unsafe fn store<const TILE: usize>(&mut self, to: *mut f32, stride: usize) {
            for (row, from) in self.0[TILE].chunks_exact(SIDE).enumerate() {
                let to = unsafe { std::slice::from_raw_parts_mut(to.add(row * stride), SIDE) };
                for (to, from) in to.iter_mut().zip(from) {
                    *to = f32::from_bits(*from);
                }
            }
        }
        unsafe fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
            let lower = |word: u32| f32::from_bits(word << 16);
            let upper = |word: u32| f32::from_bits(word & 0xffff_0000);
            for m in 0..SIDE {
                for n in 0..SIDE {
                    let (mut even, mut odd) = (0.0f32, 0.0f32);
                    for k in 0..SIDE {
                        let (a, b) = (self.0[A][m * SIDE + k], self.0[B][k * SIDE + n]);
                        even = lower(a).mul_add(lower(b), even);
                        odd = upper(a).mul_add(upper(b), odd);
                    }
                    let c = &mut self.0[C][m * SIDE + n];
                    *c = (f32::from_bits(*c) + (even + odd)).to_bits();
                }
            }
        }
        unsafe fn add_row(&mut self, to: *mut f64, from: *const f32) {
            for at in 0..SIDE {
                unsafe { *to.add(at) += *from.add(at) as f64 };
            }
        }
        unsafe fn turn(&mut self, to: *mut u32, to_stride: usize, from: *const u32, stride: usize) {
            for i in 0..SIDE {
                for j in 0..SIDE {
                    unsafe { *to.add(j * to_stride + i) = *from.add(i * stride + j) };
                }
            }
        }
    }

    #[test]
    fn is_off_unless_asked_for() {
        assert!(!in_use());
    }

    #[test]
    fn works_where_it_is() {
        // On processors without it this is all that can be said.
        assert_eq!(amx_works(), present() && permitted());
    }
}
