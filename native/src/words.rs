//! Factors in words: a float32, or two bfloat16 that `vdpbf16ps` multiplies, the one that comes first in the upper half.
//!
//! `vdpbf16ps` is a chain of fused multiply-adds, the upper half of each pair first, then the lower one; so products of rounded factors in
//! float32 give the same bytes. Only sums below 2^-126 are lost to it.

use crate::amx;
use pulp::Simd;

/// Whether the chosen instruction set multiplies bfloat16.
pub fn has_bfloat16_products() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::simd::{InstructionSet, instruction_set};
        instruction_set() == InstructionSet::Avx512 && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// What multiplies bfloat16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Float32 products of the chosen instruction set.
    Single,
    /// `vdpbf16ps`.
    Pairs,
    /// AMX.
    Tiles,
    #[cfg(test)]
    EmulatedTiles,
}

impl Kernel {
    /// The fastest that may be used.
    pub fn of_bfloat16() -> Self {
        if amx::in_use() {
            Self::Tiles
        } else if has_bfloat16_products() {
            Self::Pairs
        } else {
            Self::Single
        }
    }
}

/// The bits of the nearest bfloat16, as a float32; what `vdpbf16ps` takes for zero becomes zero.
#[inline(always)]
pub fn rounded(bits: u32) -> u32 {
    let nearest = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) & 0xffff_0000;
    let magnitude = bits & 0x7fff_ffff;
    let number = if nearest & 0x7f80_0000 == 0 {
        nearest & 0x8000_0000
    } else {
        nearest
    };
    // Rounding a NaN could carry into the sign.
    if magnitude > 0x7f80_0000 {
        bits & 0xffff_0000 | 0x0040_0000
    } else {
        number
    }
}

/// Multiplies vectors of packed words.
pub trait Words: Copy {
    type Lanes: Copy;
    /// Words hold two bfloat16, not a float32.
    const PAIRED: bool;
    const LANES: usize = size_of::<Self::Lanes>() / 4;

    fn zero(self) -> Self::Lanes;
    fn splat(self, word: f32) -> Self::Lanes;
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// `a b + c`, for pairs the upper halves first.
    fn fused(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
}

#[derive(Clone, Copy)]
pub struct Single<S>(pub S);

impl<S: Simd> Words for Single<S> {
    type Lanes = S::f32s;
    const PAIRED: bool = false;

    #[inline(always)]
    fn zero(self) -> S::f32s {
        self.0.splat_f32s(0.0)
    }
    #[inline(always)]
    fn splat(self, word: f32) -> S::f32s {
        self.0.splat_f32s(word)
    }
    #[inline(always)]
    fn add(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.add_f32s(a, b)
    }
    #[inline(always)]
    fn fused(self, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        self.0.mul_add_f32s(a, b, c)
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Pairs;

#[cfg(target_arch = "x86_64")]
impl Words for Pairs {
    type Lanes = std::arch::x86_64::__m512;
    const PAIRED: bool = true;

    #[inline(always)]
    fn zero(self) -> Self::Lanes {
        unsafe { std::arch::x86_64::_mm512_setzero_ps() }
    }
    #[inline(always)]
    fn splat(self, word: f32) -> Self::Lanes {
        unsafe { std::arch::x86_64::_mm512_set1_ps(word) }
    }
    #[inline(always)]
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        unsafe { std::arch::x86_64::_mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn fused(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};
        unsafe {
            let pairs = |words| std::mem::transmute::<__m512, __m512bh>(words);
            _mm512_dpbf16_ps(c, pairs(a), pairs(b))
        }
    }
}
