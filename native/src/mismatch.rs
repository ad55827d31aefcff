//! What asymmetric calibration adds: sums of products of two activations, and the weight that a quantizer is to come close to
//! (engine/quantizers/mismatch-target.ts).

use crate::inverse_factor::inverse_factor;
use crate::multiply::{Linear, multiply};
use crate::packed::Product;
use crate::packed_linear::{pack_across, packed_length};
use crate::product::{Into, Matrix, SharedMut, Triangles};
use crate::scratch::Scratch;
use crate::threads::Cancellation;
use crate::words::Kernel;
use rayon::prelude::*;

/// Tokens that are added in float32.
const TOKENS: usize = 512;

/// Adds Dᵀ X of `d` `[tokens, rows]` and `x` `[tokens, columns]` to the sums `[rows, columns]`. In the current pool of threads; the
/// bytes do not depend on how many there are.
pub fn add_product(sums: &mut [f64], d: &[f32], rows: usize, x: &[f32], columns: usize) {
    let tokens = d.len() / rows;
    assert!(d.len() == tokens * rows && x.len() == tokens * columns);
    assert_eq!(sums.len(), rows * columns);
    let mut part = Scratch::any(rows * columns);
    for first in (0..tokens).step_by(TOKENS) {
        let count = TOKENS.min(tokens - first);
        unsafe {
            Product {
                a: Matrix::columns(d[first * rows..].as_ptr(), rows),
                b: Matrix::rows(x[first * columns..].as_ptr(), columns),
                c: SharedMut(part.as_mut_ptr()),
                c_stride: columns,
                rows,
                columns,
                inner: count,
                into: Into::Set,
                triangles: Triangles::default(),
            }
            .run();
        }
        crate::merge::add_partial(sums, &part);
    }
}

/// Features of D that a task turns into rows.
const FEATURES_OF_TASK: usize = 16;

/// The same of factors rounded to bfloat16: each row of Dᵀ as a token that columns of X are multiplied with, as a linear's rows.
pub fn add_rounded_product(sums: &mut [f64], d: &[f32], rows: usize, x: &[f32], columns: usize) {
    add_rounded_product_with(sums, d, rows, x, columns, Kernel::of_bfloat16());
}

fn add_rounded_product_with(
    sums: &mut [f64],
    d: &[f32],
    rows: usize,
    x: &[f32],
    columns: usize,
    kernel: Kernel,
) {
    let tokens = d.len() / rows;
    assert!(d.len() == tokens * rows && x.len() == tokens * columns);
    assert_eq!(sums.len(), rows * columns);
    let most = TOKENS.min(tokens);
    let mut across = Scratch::<f32>::any(rows * most);
    let mut packed = Scratch::<u32>::any(packed_length(columns, most));
    let mut part = Scratch::<f32>::any(rows * columns);
    for (d, x) in d.chunks(TOKENS * rows).zip(x.chunks(TOKENS * columns)) {
        let count = d.len() / rows;
        let across = &mut across[..rows * count];
        let turned = across.par_chunks_mut(FEATURES_OF_TASK * count).enumerate();
        turned.for_each(|(task, across)| {
            let first = task * FEATURES_OF_TASK;
            for (token, d) in d.chunks_exact(rows).enumerate() {
                for (feature, to) in across.chunks_exact_mut(count).enumerate() {
                    to[token] = d[first + feature];
                }
            }
        });
        let packed = &mut packed[..packed_length(columns, count)];
        pack_across(x, columns, packed);
        let product = Linear {
            packed,
            rows: columns,
            bias: None,
            y: &mut part,
        };
        multiply(across, count, &mut [product], kernel);
        crate::merge::add_partial(sums, &part);
    }
}

/// A sum over tokens.
#[derive(Clone, Copy)]
pub struct TokenSum<'a> {
    pub sum: &'a [f32],
    /// 0: nothing is known.
    pub tokens: f64,
}

impl TokenSum<'_> {
    fn per_token(&self) -> f64 {
        if self.tokens > 0.0 {
            1.0 / self.tokens
        } else {
            0.0
        }
    }
}

/// See MismatchTask in engine/quantizers/mismatch-target.ts.
pub struct Mismatch<'a> {
    pub weight: &'a [f32],
    /// By half of the tokens.
    pub missing: [TokenSum<'a>; 2],
    pub squares: Option<TokenSum<'a>>,
    pub rows: usize,
    pub columns: usize,
    /// Scaled.
    pub hessian: &'a [f64],
    pub scale: f64,
    pub dead: &'a [u8],
    pub all_tokens_share: f64,
    pub damping: f64,
    pub share: f64,
}

/// W + α r Δ, `[rows, columns]`; none when M + δ I has no factor in float32. Each row's bytes depend on that row alone.
///
/// R (M + δ I) R is factorized, R diagonal, with ones on its diagonal: in float32 that goes further, in half the time of float64, and what it
/// costs in precision is far below the noise of the sums.
pub fn target(problem: &Mismatch) -> Option<Vec<f32>> {
    let &Mismatch {
        weight,
        missing: [one, other],
        rows,
        columns,
        scale,
        share,
        ..
    } = problem;
    let length = rows * columns;
    assert!(weight.len() == length && one.sum.len() == length && other.sum.len() == length);
    let roots = roots(problem);
    if !roots.iter().all(|root| root.is_finite()) {
        return None;
    }
    let factor = factor(problem, &roots)?;
    let (of_one, of_other) = (one.per_token() * scale, other.per_token() * scale);
    let combined = |sign: f64| {
        let mut numbers = Scratch::any(length);
        let rows = numbers.par_chunks_mut(columns).enumerate();
        rows.for_each(|(row, numbers)| {
            for (column, number) in numbers.iter_mut().enumerate() {
                let at = row * columns + column;
                let mean = one.sum[at] as f64 * of_one + sign * other.sum[at] as f64 * of_other;
                *number = (mean * roots[column]) as f32;
            }
        });
        numbers
    };
    let times = |a: &[f32], turned: bool| product(a, &factor, turned, rows, columns);
    let sums = times(&combined(1.0), false);
    let differences = times(&combined(-1.0), false);
    let moves = times(&sums, true);
    let mut target = weight.to_vec();
    let rows = target.par_chunks_mut(columns).enumerate();
    rows.for_each(|(row, numbers)| {
        let part = row * columns..(row + 1) * columns;
        let moved = share * reliability(&sums[part.clone()], &differences[part.clone()]) / 2.0;
        for ((number, &value), root) in numbers.iter_mut().zip(&moves[part]).zip(&roots) {
            *number = (*number as f64 + moved * value as f64 * root) as f32;
        }
    });
    Some(target)
}

impl Mismatch<'_> {
    /// Entry of M, scaled.
    #[inline(always)]
    fn mixed(&self, at: usize) -> f64 {
        let all = self.hessian[at];
        let few = match &self.squares {
            Some(squares) => squares.sum[at] as f64 * (squares.per_token() * self.scale),
            None => all,
        };
        (1.0 - self.all_tokens_share) * few + self.all_tokens_share * all
    }
}

/// The diagonal of R.
fn roots(problem: &Mismatch) -> Vec<f64> {
    let n = problem.columns;
    assert!(problem.hessian.len() == n * n && problem.dead.len() == n);
    assert!(
        problem
            .squares
            .is_none_or(|squares| squares.sum.len() == n * n)
    );
    let diagonal: Vec<f64> = (0..n).map(|i| problem.mixed(i * (n + 1))).collect();
    let live = || (0..n).filter(|&i| problem.dead[i] == 0);
    let trace: f64 = live().map(|i| diagonal[i]).sum();
    let ridge = problem.damping * trace / live().count() as f64;
    diagonal
        .iter()
        .map(|value| 1.0 / (value + ridge).sqrt())
        .collect()
}

/// F with F Fᵀ = (R (M + δ I) R)⁻¹, lower triangular.
fn factor(problem: &Mismatch, roots: &[f64]) -> Option<Scratch<f32>> {
    let n = problem.columns;
    let mut reversed = Scratch::any(n * n);
    let rows = reversed.par_chunks_mut(n).enumerate();
    rows.with_min_len(8).for_each(|(i, row)| {
        let from = n - 1 - i;
        // Above the diagonal nothing is read, but memory must be something.
        row.fill(0.0);
        for (j, number) in row[..i].iter_mut().enumerate() {
            let at = n - 1 - j;
            *number = (problem.mixed(from * n + at) * roots[from] * roots[at]) as f32;
        }
        row[i] = 1.0;
    });
    let mut factor = Scratch::zeros(n * n);
    inverse_factor(&mut reversed, &mut factor, n, &Cancellation::default()).ok()?;
    Some(factor)
}

/// Times F, or its transpose when `turned`.
fn product(a: &[f32], factor: &[f32], turned: bool, rows: usize, columns: usize) -> Scratch<f32> {
    let b = if turned {
        Matrix::columns(factor.as_ptr(), columns)
    } else {
        Matrix::rows(factor.as_ptr(), columns)
    };
    let mut c = Scratch::any(a.len());
    unsafe {
        Product {
            a: Matrix::rows(a.as_ptr(), columns),
            b,
            c: SharedMut(c.as_mut_ptr()),
            c_stride: columns,
            rows,
            columns,
            inner: columns,
            into: Into::Set,
            triangles: Triangles {
                b_lower: !turned,
                b_upper: turned,
                ..Triangles::default()
            },
        }
        .run();
    }
    c
}

/// How much of a row of Δ both halves of the tokens agree on, 0 to 1.
fn reliability(sums: &[f32], differences: &[f32]) -> f64 {
    let (mut all, mut noise) = (0.0, 0.0);
    for (&sum, &difference) in sums.iter().zip(differences) {
        all += sum as f64 * sum as f64;
        noise += difference as f64 * difference as f64;
    }
    if noise < all { 1.0 - noise / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{noise, positive_definite};
    use crate::threads::pool;
    use crate::words::{has_bfloat16_products, rounded};

    fn floats(count: usize, seed: u64) -> Vec<f32> {
        noise(count, seed).iter().map(|&v| v as f32).collect()
    }

    #[test]
    fn adds_products_of_tokens() {
        for (tokens, rows, columns) in [(1, 1, 1), (700, 13, 31), (1030, 50, 64)] {
            let (d, x) = (floats(tokens * rows, 1), floats(tokens * columns, 2));
            let run = |threads: usize| {
                let mut sums = vec![1.0; rows * columns];
                let pool = pool(threads).unwrap();
                pool.install(|| add_product(&mut sums, &d, rows, &x, columns));
                sums
            };
            let sums = run(1);
            assert_eq!(sums, run(3));
            for i in 0..rows {
                for j in 0..columns {
                    let exact: f64 = (0..tokens)
                        .map(|t| d[t * rows + i] as f64 * x[t * columns + j] as f64)
                        .sum();
                    assert!((sums[i * columns + j] - 1.0 - exact).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn adds_products_of_rounded_factors() {
        for (tokens, rows, columns) in [(1, 1, 1), (75, 33, 100), (1030, 50, 64)] {
            let (d, x) = (floats(tokens * rows, 1), floats(tokens * columns, 2));
            let run = |threads: usize, kernel: Kernel| {
                let mut sums = vec![1.0; rows * columns];
                let pool = pool(threads).unwrap();
                pool.install(|| add_rounded_product_with(&mut sums, &d, rows, &x, columns, kernel));
                sums
            };
            let sums = run(1, Kernel::Single);
            assert_eq!(sums, run(3, Kernel::Single));
            if has_bfloat16_products() {
                assert_eq!(sums, run(2, Kernel::Pairs));
            }
            let tiles = run(2, Kernel::EmulatedTiles);
            let of = |value: f32| f32::from_bits(rounded(value.to_bits())) as f64;
            for i in 0..rows {
                for j in 0..columns {
                    let exact: f64 = (0..tokens)
                        .map(|t| of(d[t * rows + i]) * of(x[t * columns + j]))
                        .sum();
                    for sums in [&sums, &tiles] {
                        assert!((sums[i * columns + j] - 1.0 - exact).abs() < 1e-4);
                    }
                }
            }
        }
    }

    #[test]
    fn solves_for_the_target_row_by_row() {
        let (rows, n) = (37, 70);
        // Columns of very different size.
        let size = |i: usize| 10f64.powi((i % 5) as i32 - 2);
        let mut hessian = positive_definite(n);
        for i in 0..n * n {
            hessian[i] *= size(i / n) * size(i % n);
        }
        let squares: Vec<f32> = hessian.iter().map(|value| (value * 20.0) as f32).collect();
        let weight = floats(rows * n, 3);
        let missing: Vec<f32> = noise(rows * n, 4)
            .iter()
            .enumerate()
            .map(|(i, value)| (value * size(i % n) * 10.0) as f32)
            .collect();
        let half = TokenSum {
            sum: &missing,
            tokens: 10.0,
        };
        let whole = Mismatch {
            weight: &weight,
            missing: [half, half],
            squares: None,
            rows,
            columns: n,
            hessian: &hessian,
            scale: 0.5,
            dead: &vec![0; n],
            all_tokens_share: 0.5,
            damping: 0.05,
            share: 1.0,
        };
        let found = target(&whole).unwrap();
        let ridge = 0.05 * (0..n).map(|i| hessian[i * n + i]).sum::<f64>() / n as f64;
        // (W* - W) (H + δ I) is what was asked for.
        for i in 0..rows {
            let moved = |k: usize| (found[i * n + k] - weight[i * n + k]) as f64;
            for j in 0..n {
                let mut sum = ridge * moved(j);
                for k in 0..n {
                    sum += moved(k) * hessian[k * n + j];
                }
                let asked = missing[i * n + j] as f64 / 10.0 * 0.5;
                assert!((sum - asked).abs() < 2e-3 * size(j), "{sum} {asked}");
            }
        }
        // Few tokens that are like all: the Hessian is their mean times the scale.
        let few = TokenSum {
            sum: &squares,
            tokens: 10.0,
        };
        let mixed = target(&Mismatch {
            squares: Some(few),
            ..whole
        });
        for (a, b) in mixed.unwrap().iter().zip(&found) {
            assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()));
        }
        let of_part = TokenSum {
            sum: &missing[5 * n..16 * n],
            tokens: 10.0,
        };
        let part = Mismatch {
            weight: &weight[5 * n..16 * n],
            missing: [of_part, of_part],
            rows: 11,
            ..whole
        };
        assert_eq!(target(&part).unwrap(), found[5 * n..16 * n]);
        // Halves that say the opposite are not believed, nor is one alone.
        let opposite: Vec<f32> = missing.iter().map(|value| -value).collect();
        for (sum, tokens) in [(&opposite, 10.0), (&missing, 0.0)] {
            let other = TokenSum { sum, tokens };
            let missing = [half, other];
            assert_eq!(target(&Mismatch { missing, ..whole }).unwrap(), weight);
        }
        // Not positive definite.
        let bad: Vec<f64> = (0..n * n)
            .map(|i| if i % (n + 1) == 0 { 1.0 } else { 3.0 })
            .collect();
        assert!(
            target(&Mismatch {
                hessian: &bad,
                ..whole
            })
            .is_none()
        );
    }
}
