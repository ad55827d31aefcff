//! What asymmetric calibration adds: sums of products of two activations, and the weight that a quantizer is to come close to
//! (engine/quantizers/mismatch-target.ts).

use crate::packed::Product;
use crate::product::{Into, Matrix, SharedMut, Triangles};
use crate::scratch::Scratch;
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

/// See MismatchTask in engine/quantizers/mismatch-target.ts.
pub struct Mismatch<'a> {
    pub weight: &'a [f32],
    /// By half of the tokens.
    pub missing: [&'a [f32]; 2],
    pub rows: usize,
    pub columns: usize,
    /// Uᵀ of the inverse of the damped Hessian, `[columns, columns]`, lower triangular, its columns in `order`.
    pub factor: &'a [f64],
    pub order: &'a [i32],
    pub scale: f64,
    pub share: f64,
}

/// W + α r Δ, Δ = E Uᵀ U, `[rows, columns]`. Each row's bytes depend on that row alone.
pub fn target(problem: &Mismatch) -> Vec<f32> {
    let &Mismatch {
        weight,
        missing: [one, other],
        columns,
        order,
        scale,
        share,
        ..
    } = problem;
    let length = problem.rows * columns;
    assert!(weight.len() == length && one.len() == length && other.len() == length);
    assert!(problem.factor.len() == columns * columns && order.len() == columns);
    // Of both halves, in the order of the factor.
    let combined = |sign: f64| {
        let mut numbers = vec![0.0; length];
        let rows = numbers.par_chunks_mut(columns).enumerate();
        rows.for_each(|(row, numbers)| {
            for (number, &column) in numbers.iter_mut().zip(order) {
                let at = row * columns + column as usize;
                *number = (one[at] as f64 + sign * other[at] as f64) * scale;
            }
        });
        numbers
    };
    let sums = product(&combined(1.0), false, problem);
    let differences = product(&combined(-1.0), false, problem);
    let moves = product(&sums, true, problem);
    let mut target = weight.to_vec();
    let rows = target.par_chunks_mut(columns).enumerate();
    rows.for_each(|(row, numbers)| {
        let part = row * columns..(row + 1) * columns;
        let moved = share * reliability(&sums[part.clone()], &differences[part.clone()]) / 2.0;
        for (&value, &column) in moves[part].iter().zip(order) {
            let number = &mut numbers[column as usize];
            *number = (*number as f64 + moved * value) as f32;
        }
    });
    target
}

/// Times Uᵀ, or U when `turned`.
fn product(a: &[f64], turned: bool, problem: &Mismatch) -> Vec<f64> {
    let &Mismatch {
        rows,
        columns,
        factor,
        ..
    } = problem;
    let b = if turned {
        Matrix::columns(factor.as_ptr(), columns)
    } else {
        Matrix::rows(factor.as_ptr(), columns)
    };
    let mut c = vec![0.0; a.len()];
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
fn reliability(sums: &[f64], differences: &[f64]) -> f64 {
    let (mut all, mut noise) = (0.0, 0.0);
    for (sum, difference) in sums.iter().zip(differences) {
        all += sum * sum;
        noise += difference * difference;
    }
    if noise < all { 1.0 - noise / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inverse_factor::{damped_reversed, inverse_factor};
    use crate::tests::{noise, positive_definite};
    use crate::threads::{Cancellation, pool};

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
    fn solves_for_the_target_row_by_row() {
        let (rows, n) = (37, 70);
        let hessian = positive_definite(n);
        let order: Vec<i32> = (0..n as i32).collect();
        let dead = vec![0u8; n];
        let cancellation = Cancellation::default();
        let mut matrix = damped_reversed(&hessian, &order, &dead, 0.05, f64::NEG_INFINITY);
        let mut factor = vec![0.0; n * n];
        inverse_factor(&mut matrix, &mut factor, n, &cancellation).unwrap();
        let ridge = 0.05 * (0..n).map(|i| hessian[i * n + i]).sum::<f64>() / n as f64;
        let (weight, missing) = (floats(rows * n, 3), floats(rows * n, 4));
        let whole = Mismatch {
            weight: &weight,
            missing: [&missing, &missing],
            rows,
            columns: n,
            factor: &factor,
            order: &order,
            scale: 0.5,
            share: 1.0,
        };
        let found = target(&whole);
        // (W* - W) (H + δ I) is what was asked for.
        for i in 0..rows {
            let moved = |k: usize| (found[i * n + k] - weight[i * n + k]) as f64;
            for j in 0..n {
                let mut sum = ridge * moved(j);
                for k in 0..n {
                    sum += moved(k) * hessian[k * n + j];
                }
                let asked = missing[i * n + j] as f64 * 0.5;
                assert!((sum - asked).abs() < 1e-4, "{sum} {asked}");
            }
        }
        let part = Mismatch {
            weight: &weight[5 * n..16 * n],
            missing: [&missing[5 * n..16 * n], &missing[5 * n..16 * n]],
            rows: 11,
            ..whole
        };
        assert_eq!(target(&part), found[5 * n..16 * n]);
        // Halves that say the opposite are not believed, nor is one alone.
        let opposite: Vec<f32> = missing.iter().map(|value| -value).collect();
        let nothing = vec![0.0; missing.len()];
        for other in [&opposite, &nothing] {
            let missing = [&missing[..], &other[..]];
            assert_eq!(target(&Mismatch { missing, ..whole }), weight);
        }
    }
}
