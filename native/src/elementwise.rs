//! What lies between the linears of a decoder layer, attention aside: sums, norms, rotary positions, gated products.
//!
//! Every element is computed from its own row by a fixed chain of operations, whatever the number of threads and the instruction set.

use crate::exponential::exp_of_negative;
use crate::simd::dispatch;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::marker::PhantomData;

/// Numbers of a task: enough to be worth a thread, few enough to stay in the second-level cache.
const TASK: usize = 1 << 15;

fn rows_of_task(columns: usize) -> usize {
    (TASK / columns).max(1)
}

/// `a + b`.
pub fn add(a: &[f32], b: &[f32], sum: &mut [f32]) {
    assert!(a.len() == sum.len() && b.len() == sum.len());
    let parts = sum
        .par_chunks_mut(TASK)
        .zip(a.par_chunks(TASK))
        .zip(b.par_chunks(TASK));
    parts.for_each(|((sum, a), b)| dispatch(Add { a, b, sum }));
}

struct Add<'a> {
    a: &'a [f32],
    b: &'a [f32],
    sum: &'a mut [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for ((sum, a), b) in self.sum.iter_mut().zip(self.a).zip(self.b) {
            *sum = a + b;
        }
    }
}

/// `x / sqrt(mean(x²) + epsilon) · weight` of each row of `[tokens, columns]` (Zhang and Sennrich 2019, eq. 4). The mean is taken in
/// float64, so a row's factor is off by half a unit of float32 at most, each result by three.
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32]) {
    let columns = weight.len();
    assert!(x.len() == y.len() && x.len().is_multiple_of(columns.max(1)));
    if columns == 0 {
        return;
    }
    let rows = rows_of_task(columns);
    let parts = y
        .par_chunks_mut(rows * columns)
        .zip(x.par_chunks(rows * columns));
    parts.for_each(|(y, x)| {
        dispatch(Norm {
            x,
            weight,
            epsilon,
            y,
        })
    });
}

struct Norm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
    y: &'a mut [f32],
}

impl WithSimd for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let columns = self.weight.len();
        let rows = self.x.chunks_exact(columns);
        for (x, y) in rows.zip(self.y.chunks_exact_mut(columns)) {
            let mean = sum_of_squares(x) / columns as f64;
            let factor = (1.0 / (mean + self.epsilon as f64).sqrt()) as f32;
            for ((y, x), weight) in y.iter_mut().zip(x).zip(self.weight) {
                *y = x * factor * weight;
            }
        }
    }
}

/// `(x - mean) / sqrt(variance + epsilon) · weight + bias` of each row of `[tokens, columns]` (Ba et al. 2016, eq. 4). Mean and variance are taken
/// in float64, the variance from the differences.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, y: &mut [f32]) {
    let columns = weight.len();
    assert!(x.len() == y.len() && x.len().is_multiple_of(columns.max(1)));
    assert_eq!(bias.len(), columns);
    if columns == 0 {
        return;
    }
    let rows = rows_of_task(columns);
    let parts = y
        .par_chunks_mut(rows * columns)
        .zip(x.par_chunks(rows * columns));
    parts.for_each(|(y, x)| {
        dispatch(LayerNorm {
            x,
            weight,
            bias,
            epsilon,
            y,
        })
    });
}

struct LayerNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
    y: &'a mut [f32],
}

impl WithSimd for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let columns = self.weight.len();
        let rows = self.x.chunks_exact(columns);
        for (x, y) in rows.zip(self.y.chunks_exact_mut(columns)) {
            let mean = sum_of(x, |x| x) / columns as f64;
            let variance = sum_of(x, |x| (x - mean) * (x - mean)) / columns as f64;
            let factor = 1.0 / (variance + self.epsilon as f64).sqrt();
            let parameters = self.weight.iter().zip(self.bias);
            for ((y, x), (weight, bias)) in y.iter_mut().zip(x).zip(parameters) {
                *y = ((*x as f64 - mean) * factor) as f32 * weight + bias;
            }
        }
    }
}

/// Σ of a function of a row's numbers in float64, with 32 partial sums in a fixed order.
#[inline(always)]
fn sum_of(row: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let mut sums = [0.0f64; 32];
    let parts = row.chunks_exact(32);
    let rest = parts.remainder();
    for part in parts {
        for i in 0..32 {
            sums[i] += term(part[i] as f64);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum += term(x as f64);
    }
    sums.iter().sum()
}

/// In float64, with 32 partial sums in a fixed order.
#[inline(always)]
pub fn sum_of_squares(row: &[f32]) -> f64 {
    let mut sums = [0.0f64; 32];
    let parts = row.chunks_exact(32);
    let rest = parts.remainder();
    for part in parts {
        for i in 0..32 {
            let x = part[i] as f64;
            sums[i] = x.mul_add(x, sums[i]);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum += x as f64 * x as f64;
    }
    sums.iter().sum()
}

/// `silu(gate) · up` in the place of `gate`, with silu(x) = x / (1 + exp(-x)) (Shazeer 2020, SwiGLU).
pub fn gated_silu(gate: &mut [f32], up: &[f32]) {
    gated::<Silu>(gate, up);
}

/// `gelu(gate) · up` in the place of `gate` (Shazeer 2020, GEGLU), with the tanh approximation of [`gelu_tanh`].
pub fn gated_gelu_tanh(gate: &mut [f32], up: &[f32]) {
    gated::<GeluOfGate>(gate, up);
}

/// What is applied to a gate.
trait Activation: Sync {
    fn of<S: Simd>(simd: S, x: S::f32s) -> S::f32s;
}

struct Silu;

impl Activation for Silu {
    #[inline(always)]
    fn of<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
        silu(simd, x)
    }
}

struct GeluOfGate;

impl Activation for GeluOfGate {
    #[inline(always)]
    fn of<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
        gelu(simd, x)
    }
}

fn gated<A: Activation>(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    let parts = gate.par_chunks_mut(TASK).zip(up.par_chunks(TASK));
    parts.for_each(|(gate, up)| {
        dispatch(Gated::<A> {
            gate,
            up,
            activation: PhantomData,
        })
    });
}

struct Gated<'a, A> {
    gate: &'a mut [f32],
    up: &'a [f32],
    activation: PhantomData<A>,
}

impl<A: Activation> WithSimd for Gated<'_, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (gates, last_gates) = S::as_mut_simd_f32s(self.gate);
        let (ups, last_ups) = S::as_simd_f32s(self.up);
        for (gate, up) in gates.iter_mut().zip(ups) {
            *gate = simd.mul_f32s(A::of(simd, *gate), *up);
        }
        if !last_gates.is_empty() {
            let gate = A::of(simd, simd.partial_load_f32s(last_gates));
            let product = simd.mul_f32s(gate, simd.partial_load_f32s(last_ups));
            simd.partial_store_f32s(last_gates, product);
        }
    }
}

/// The Gaussian error linear unit by its tanh approximation (Hendrycks and Gimpel 2016, section 2), in place:
/// `x / 2 · (1 + tanh(u))` with `u = sqrt(2 / pi) · (x + 0.044715 x³)`, which is `x / (1 + exp(-2 u))`.
pub fn gelu_tanh(x: &mut [f32]) {
    x.par_chunks_mut(TASK)
        .for_each(|x| dispatch(GeluTanh { x }));
}

struct GeluTanh<'a> {
    x: &'a mut [f32],
}

impl WithSimd for GeluTanh<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (numbers, last) = S::as_mut_simd_f32s(self.x);
        for x in numbers.iter_mut() {
            *x = gelu(simd, *x);
        }
        if !last.is_empty() {
            let result = gelu(simd, simd.partial_load_f32s(last));
            simd.partial_store_f32s(last, result);
        }
    }
}

/// 2 sqrt(2 / pi), and the same times 0.044715.
const GELU_LINEAR: f32 = 1.595_769;
const GELU_CUBIC: f32 = 0.071_354_814;

/// As [`silu`] has it: the exponent has the sign of x.
#[inline(always)]
fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    let one = simd.splat_f32s(1.0);
    let slope = simd.mul_add_f32s(
        simd.mul_f32s(x, x),
        simd.splat_f32s(GELU_CUBIC),
        simd.splat_f32s(GELU_LINEAR),
    );
    let exponent = simd.mul_f32s(x, slope);
    let negative = simd.less_than_f32s(x, zero);
    let below = simd.select_f32s(negative, exponent, simd.sub_f32s(zero, exponent));
    let exponential = exp_of_negative(simd, below);
    let numerator = simd.select_f32s(negative, simd.mul_f32s(x, exponential), x);
    simd.div_f32s(numerator, simd.add_f32s(one, exponential))
}

/// x / (1 + e^-x), without an exponential of a positive number: the numerator is x e^x below zero.
#[inline(always)]
fn silu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    let one = simd.splat_f32s(1.0);
    let negative = simd.less_than_f32s(x, zero);
    let exponential = exp_of_negative(simd, simd.select_f32s(negative, x, simd.sub_f32s(zero, x)));
    let numerator = simd.select_f32s(negative, simd.mul_f32s(x, exponential), x);
    simd.div_f32s(numerator, simd.add_f32s(one, exponential))
}

/// Heads of queries or keys, `[tokens, heads · head_size]`, whose tokens are whole sequences.
#[derive(Clone, Copy)]
pub struct Heads {
    pub sequence_length: usize,
    pub head_size: usize,
    /// The first features of a head that are turned; the others stay.
    pub rotated: usize,
}

/// Rotary positions (Su et al. 2021, RoFormer, eq. 34, halves instead of neighbours), in place: number i and i + rotated / 2 of a head are a
/// pair; `cos` and `sin` are `[positions, rotated / 2]`, the position is the token's in its sequence.
pub fn rotate(x: &mut [f32], features: usize, heads: Heads, cos: &[f32], sin: &[f32]) {
    let Heads {
        sequence_length,
        head_size,
        rotated,
    } = heads;
    let pairs = rotated / 2;
    assert!(rotated <= head_size, "no more is turned than there is");
    assert!(cos.len() >= sequence_length * pairs && sin.len() >= sequence_length * pairs);
    assert!(features.is_multiple_of(head_size.max(1)) && x.len().is_multiple_of(features.max(1)));
    if features == 0 || pairs == 0 {
        return;
    }
    let rows = rows_of_task(features);
    x.par_chunks_mut(rows * features)
        .enumerate()
        .for_each(|(task, x)| {
            dispatch(Rotate {
                x,
                features,
                heads,
                first: task * rows,
                cos,
                sin,
            });
        });
}

struct Rotate<'a> {
    x: &'a mut [f32],
    features: usize,
    heads: Heads,
    /// Token.
    first: usize,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl WithSimd for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let pairs = self.heads.rotated / 2;
        for (row, x) in self.x.chunks_exact_mut(self.features).enumerate() {
            let at = (self.first + row) % self.heads.sequence_length * pairs;
            let (cos, sin) = (&self.cos[at..at + pairs], &self.sin[at..at + pairs]);
            for head in x.chunks_exact_mut(self.heads.head_size) {
                let (left, right) = head.split_at_mut(pairs);
                let right = &mut right[..pairs];
                for i in 0..pairs {
                    let (a, b) = (left[i], right[i]);
                    left[i] = a * cos[i] - b * sin[i];
                    right[i] = a * sin[i] + b * cos[i];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{InstructionSet, choose, instruction_set};
    use crate::tests::noise;
    use crate::threads::pool;

    fn floats(count: usize, seed: u64, scale: f64) -> Vec<f32> {
        noise(count, seed)
            .iter()
            .map(|x| (x * scale) as f32)
            .collect()
    }

    /// What `compute` gives, the same bytes with every instruction set and number of threads.
    fn everywhere(compute: impl Fn() -> Vec<f32> + Sync) -> Vec<f32> {
        let chosen = instruction_set();
        let mut results: Vec<Vec<u32>> = Vec::new();
        for set in InstructionSet::ALL.into_iter().filter(|set| choose(*set)) {
            for threads in [1, 3] {
                let found = pool(threads).unwrap().install(&compute);
                if set != InstructionSet::Baseline {
                    results.push(found.iter().map(|x| x.to_bits()).collect());
                }
            }
        }
        choose(chosen);
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
        compute()
    }

    fn close(found: &[f32], expected: impl Fn(usize) -> f64, units: f64) {
        for (i, &found) in found.iter().enumerate() {
            let expected = expected(i);
            let bound = units * f32::EPSILON as f64 / 2.0 * expected.abs() + 1e-38;
            assert!(
                (found as f64 - expected).abs() <= bound,
                "{i}: {found} for {expected}"
            );
        }
    }

    #[test]
    fn sums_are_those_of_float32() {
        let (a, b) = (floats(100_001, 1, 3.0), floats(100_001, 2, 1e-3));
        let found = everywhere(|| {
            let mut sum = vec![0.0; a.len()];
            add(&a, &b, &mut sum);
            sum
        });
        assert!((0..a.len()).all(|i| found[i] == a[i] + b[i]));
    }

    #[test]
    fn norms_are_those_of_float64() {
        for columns in [1, 7, 64, 577] {
            let (x, weight) = (floats(columns * 301, 3, 20.0), floats(columns, 4, 2.0));
            let found = everywhere(|| {
                let mut y = vec![0.0; x.len()];
                rms_norm(&x, &weight, 1e-5, &mut y);
                y
            });
            let factor = |row: usize| {
                let row = &x[row * columns..(row + 1) * columns];
                let squares: f64 = row.iter().map(|&x| x as f64 * x as f64).sum();
                1.0 / (squares / columns as f64 + 1e-5f32 as f64).sqrt()
            };
            close(
                &found,
                |i| x[i] as f64 * factor(i / columns) * weight[i % columns] as f64,
                3.1,
            );
        }
    }

    #[test]
    fn layer_norms_are_those_of_float64() {
        for columns in [1, 7, 64, 577] {
            let mut x = floats(columns * 301, 3, 20.0);
            for x in x.iter_mut() {
                *x += 5.0;
            }
            let (weight, bias) = (floats(columns, 4, 2.0), floats(columns, 8, 1.0));
            let found = everywhere(|| {
                let mut y = vec![0.0; x.len()];
                layer_norm(&x, &weight, &bias, 1e-5, &mut y);
                y
            });
            for (i, &found) in found.iter().enumerate() {
                let row = &x[i / columns * columns..][..columns];
                let mean = row.iter().map(|&x| x as f64).sum::<f64>() / columns as f64;
                let squares: f64 = row.iter().map(|&x| (x as f64 - mean).powi(2)).sum();
                let factor = 1.0 / (squares / columns as f64 + 1e-5f32 as f64).sqrt();
                let scaled = (x[i] as f64 - mean) * factor * weight[i % columns] as f64;
                let expected = scaled + bias[i % columns] as f64;
                let bound = 2e-7 * (scaled.abs() + expected.abs()) + 1e-12;
                assert!(
                    (found as f64 - expected).abs() <= bound,
                    "{i}: {found} for {expected}"
                );
            }
        }
    }

    #[test]
    fn gelus_are_those_of_float64_and_vanish_far_below() {
        let mut x = floats(40_003, 9, 6.0);
        x[..5].copy_from_slice(&[-40.0, 40.0, 0.0, -1e20, 1e20]);
        let found = everywhere(|| {
            let mut y = x.clone();
            gelu_tanh(&mut y);
            y
        });
        for (i, &found) in found.iter().enumerate() {
            let x = x[i] as f64;
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            let expected = x / (1.0 + (-2.0 * u).exp());
            let bound = 4e-6 * expected.abs() + 1e-37;
            assert!(
                (found as f64 - expected).abs() <= bound,
                "{i}: {found} for {expected}"
            );
        }
        assert!(found[1] == 40.0 && found[3] == 0.0 && found[4] == 1e20);
        let mut special = [f32::NAN, f32::INFINITY];
        gelu_tanh(&mut special);
        assert!(special[0].is_nan() && special[1] == f32::INFINITY);
    }

    #[test]
    fn gated_products_are_those_of_float64_and_vanish_far_below() {
        let mut gate = floats(40_003, 5, 12.0);
        let up = floats(gate.len(), 6, 3.0);
        gate[..4].copy_from_slice(&[-200.0, 200.0, 0.0, -88.0]);
        let found = everywhere(|| {
            let mut product = gate.clone();
            gated_silu(&mut product, &up);
            product
        });
        let expected = |i: usize| {
            let gate = gate[i] as f64;
            gate / (1.0 + (-gate).exp()) * up[i] as f64
        };
        close(&found, expected, 8.0);
        assert!(found[0].abs() < 1e-36 && found[1] == 200.0 * up[1]);
    }

    #[test]
    fn products_gated_by_gelus_are_those_of_both() {
        let mut gate = floats(40_003, 5, 12.0);
        let up = floats(gate.len(), 6, 3.0);
        gate[..2].copy_from_slice(&[-200.0, 200.0]);
        let found = everywhere(|| {
            let mut product = gate.clone();
            gated_gelu_tanh(&mut product, &up);
            product
        });
        gelu_tanh(&mut gate);
        for ((&found, &gelu), &up) in found.iter().zip(&gate).zip(&up) {
            assert_eq!(found.to_bits(), (gelu * up).to_bits());
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let mut product = [f32::NAN, 1.0, f32::INFINITY];
        gated_silu(&mut product, &[1.0, f32::NAN, 1.0]);
        assert!(product[0].is_nan() && product[1].is_nan() && product[2] == f32::INFINITY);
        let mut y = [0.0; 4];
        rms_norm(
            &[f32::INFINITY, 1.0, f32::NAN, 1.0],
            &[1.0, 1.0],
            1e-5,
            &mut y,
        );
        assert!(y[0].is_nan() && y[2].is_nan() && y[3].is_nan());
    }

    #[test]
    fn pairs_are_turned_by_the_angle_of_their_position() {
        let heads = Heads {
            sequence_length: 5,
            head_size: 8,
            rotated: 6,
        };
        let features = 24;
        let x = floats(features * 20, 7, 1.0);
        let angle = |position: usize, pair: usize| position as f64 * 0.3 + pair as f64 * 0.7;
        let table = |f: fn(f64) -> f64| -> Vec<f32> {
            (0..15).map(|i| f(angle(i / 3, i % 3)) as f32).collect()
        };
        let (cos, sin) = (table(f64::cos), table(f64::sin));
        let found = everywhere(|| {
            let mut x = x.clone();
            rotate(&mut x, features, heads, &cos, &sin);
            x
        });
        for (i, &found) in found.iter().enumerate() {
            let (token, number) = (i / features, i % 8);
            if number >= 6 {
                assert_eq!(found, x[i]);
                continue;
            }
            let (pair, head) = (number % 3, i - number);
            let turn = angle(token % 5, pair);
            let (a, b) = (x[head + pair] as f64, x[head + pair + 3] as f64);
            let expected = if number < 3 {
                a * turn.cos() - b * turn.sin()
            } else {
                a * turn.sin() + b * turn.cos()
            };
            assert!((found as f64 - expected).abs() < 1e-6, "{i}");
        }
    }
}
