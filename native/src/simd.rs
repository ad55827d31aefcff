//! Instruction sets: chosen at run time, once; and the few vector operations that the kernels are written in.
//!
//! Every kernel does the same operations on every element in the same order whatever the width of a vector, and fused where it
//! says so, so that the bytes of a result do not depend on the instruction set.

use crate::scratch::Plain;
use pulp::{Simd, WithSimd};
use std::sync::atomic::{AtomicU8, Ordering};

/// What the kernels can be compiled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum InstructionSet {
    /// Whatever the target guarantees; on x86-64 without fused multiply-add, so only for tests.
    Baseline = 1,
    /// AVX2 with FMA.
    Avx2 = 2,
    Avx512 = 3,
    Neon = 4,
}

impl InstructionSet {
    pub const ALL: [Self; 4] = [Self::Baseline, Self::Avx2, Self::Avx512, Self::Neon];

    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    pub fn available(self) -> bool {
        match self {
            Self::Baseline => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => pulp::aarch64::Neon::try_new().is_some(),
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    fn best() -> Self {
        let fastest = [Self::Avx512, Self::Avx2, Self::Neon];
        fastest
            .into_iter()
            .find(|set| set.available())
            .unwrap_or(Self::Baseline)
    }
}

/// 0: not chosen yet.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The instruction set in use.
pub fn instruction_set() -> InstructionSet {
    let chosen = CHOSEN.load(Ordering::Relaxed);
    match InstructionSet::ALL
        .into_iter()
        .find(|set| *set as u8 == chosen)
    {
        Some(set) => set,
        None => {
            let best = InstructionSet::best();
            choose(best);
            best
        }
    }
}

/// Uses another instruction set from now on; for tests and measurements. False where the machine lacks it.
pub fn choose(set: InstructionSet) -> bool {
    let available = set.available();
    if available {
        CHOSEN.store(set as u8, Ordering::Relaxed);
    }
    available
}

/// Runs `work` compiled for the chosen instruction set. Everything below it must be inlined: `#[inline(always)]` all the way.
pub fn dispatch<W: WithSimd>(work: W) -> W::Output {
    match instruction_set() {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => {
            if let Some(simd) = pulp::x86::V4::try_new() {
                return Simd::vectorize(simd, work);
            }
        }
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => {
            if let Some(simd) = pulp::x86::V3::try_new() {
                return Simd::vectorize(simd, work);
            }
        }
        #[cfg(target_arch = "aarch64")]
        InstructionSet::Neon => {
            if let Some(simd) = pulp::aarch64::Neon::try_new() {
                return Simd::vectorize(simd, work);
            }
        }
        _ => {}
    }
    Simd::vectorize(pulp::Scalar::new(), work)
}

/// The numbers that matrices are made of, with their vectors.
pub trait Real: Plain + PartialEq + PartialOrd {
    type Lanes<S: Simd>: Copy;
    const ZERO: Self;
    const ONE: Self;

    fn splat<S: Simd>(simd: S, value: Self) -> Self::Lanes<S>;
    fn add<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    fn subtract<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    /// `a b + c`, rounded once.
    fn fused<S: Simd>(
        simd: S,
        a: Self::Lanes<S>,
        b: Self::Lanes<S>,
        c: Self::Lanes<S>,
    ) -> Self::Lanes<S>;

    fn times(self, other: Self) -> Self;
    fn over(self, other: Self) -> Self;
    fn negated(self) -> Self;
    fn plus_times(self, a: Self, b: Self) -> Self;
    fn square_root(self) -> Self;
    fn positive_and_finite(self) -> bool;
}

macro_rules! real {
    ($real: ty, $lanes: ident, $splat: ident, $add: ident, $sub: ident, $fused: ident) => {
        impl Real for $real {
            type Lanes<S: Simd> = S::$lanes;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> Self::Lanes<S> {
                simd.$splat(value)
            }
            #[inline(always)]
            fn add<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S> {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn subtract<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S> {
                simd.$sub(a, b)
            }
            #[inline(always)]
            fn fused<S: Simd>(
                simd: S,
                a: Self::Lanes<S>,
                b: Self::Lanes<S>,
                c: Self::Lanes<S>,
            ) -> Self::Lanes<S> {
                simd.$fused(a, b, c)
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn over(self, other: Self) -> Self {
                self / other
            }
            #[inline(always)]
            fn negated(self) -> Self {
                -self
            }
            #[inline(always)]
            fn plus_times(self, a: Self, b: Self) -> Self {
                a.mul_add(b, self)
            }
            #[inline(always)]
            fn square_root(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            fn positive_and_finite(self) -> bool {
                self > 0.0 && self < Self::INFINITY
            }
        }
    };
}

real!(f64, f64s, splat_f64s, add_f64s, sub_f64s, mul_add_f64s);
real!(f32, f32s, splat_f32s, add_f32s, sub_f32s, mul_add_f32s);

/// Sum of products with eight partial sums in a fixed order, whatever the width of a vector.
#[inline(always)]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail = a8.remainder().iter().zip(b8.remainder());
    let rest = tail.fold(0.0, |sum: f64, (&x, &y)| x.mul_add(y, sum));
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] = x[i].mul_add(y[i], sums[i]);
        }
    }
    ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + rest
}
