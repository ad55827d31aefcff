//! GPTQ and coordinate descent on a grid of real numbers that is given: see engine/kernels/gptq-on-grid.ts and descend-on-grid.ts.
//!
//! Rows do not depend on one another: neither threads nor the splitting of rows between calls change a bit.

use crate::groups::LEAST_GAIN;
use crate::packed::Product;
use crate::product::{Into, Matrix, SharedMut, Triangles};
use crate::scratch::Scratch;
use crate::simd::{dispatch, dot};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Columns whose errors, or moves, are applied to the others together.
const BATCH: usize = 64;

/// Code q of a group stands for `scale · levels[q] + offset`. Groups are contiguous.
pub struct RealGrid<'a> {
    pub group_size: usize,
    /// Rising.
    pub levels: &'a [f64],
    /// `[rows, groups]`, of either sign, or 0.
    pub scales: &'a [f64],
    /// `[rows, groups]`.
    pub offsets: &'a [f64],
}

impl RealGrid<'_> {
    /// The code next to w; 0 where the group is the same number throughout.
    #[inline(always)]
    fn nearest(&self, group: usize, w: f64) -> u8 {
        let scale = self.scales[group];
        if scale == 0.0 {
            return 0;
        }
        let x = (w - self.offsets[group]) / scale;
        let (mut low, mut high) = (0, self.levels.len() - 1);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if x < self.levels[middle] {
                high = middle;
            } else {
                low = middle;
            }
        }
        let lower = x - self.levels[low] <= self.levels[high] - x;
        if lower { low as u8 } else { high as u8 }
    }

    #[inline(always)]
    fn value(&self, group: usize, code: u8) -> f64 {
        self.scales[group] * self.levels[code as usize] + self.offsets[group]
    }
}

/// Rows that are put on a grid.
pub struct GridRows<'a> {
    /// `[rows, columns]`.
    pub weights: &'a [f64],
    pub rows: usize,
    pub columns: usize,
    pub grid: RealGrid<'a>,
}

impl GridRows<'_> {
    fn check(&self, codes: &[u8]) {
        let groups = self.groups();
        assert!(
            self.weights.len() == self.rows * self.columns && codes.len() == self.weights.len()
        );
        assert!(
            self.grid.scales.len() == self.rows * groups
                && self.grid.offsets.len() == self.rows * groups
        );
        assert!((1..=256).contains(&self.grid.levels.len()));
    }

    fn groups(&self) -> usize {
        self.columns.div_ceil(self.grid.group_size)
    }
}

/// `row -= factor other`, as long as `other`.
struct SubtractMultiple<'a> {
    row: &'a mut [f64],
    factor: f64,
    other: &'a [f64],
}

impl WithSimd for SubtractMultiple<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (value, &other) in self.row.iter_mut().zip(self.other) {
            *value = (-self.factor).mul_add(other, *value);
        }
    }
}

/// GPTQ's column loop (Frantar et al. 2022, Algorithm 1).
///
/// * `solve_order`: `[columns]`, the column at each place in the order of solving.
/// * `factor`: `[columns, columns]`, in that order: Uᵀ.
/// * `codes`: `[rows, columns]`, written.
pub fn gptq_on_grid(problem: &GridRows, solve_order: &[i32], factor: &[f64], codes: &mut [u8]) {
    problem.check(codes);
    let &GridRows {
        weights,
        rows,
        columns,
        ref grid,
    } = problem;
    assert!(solve_order.len() == columns && factor.len() == columns * columns);
    let order: Vec<usize> = solve_order.iter().map(|&column| column as usize).collect();
    assert!(order.iter().all(|&column| column < columns));
    let groups = problem.groups();
    let mut ordered = Scratch::<f64>::any(rows * columns);
    for (to, from) in ordered.chunks_mut(columns).zip(weights.chunks(columns)) {
        for (to, &column) in to.iter_mut().zip(&order) {
            *to = from[column];
        }
    }
    let mut errors = Scratch::<f64>::any(rows * BATCH);
    let mut u = Scratch::<f64>::any(BATCH * BATCH);
    for start in (0..columns).step_by(BATCH) {
        let stop = (start + BATCH).min(columns);
        let count = stop - start;
        for i in 0..count {
            for j in i..count {
                u[i * BATCH + j] = factor[(start + j) * columns + start + i];
            }
        }
        let parts = ordered
            .par_chunks_mut(columns)
            .zip(errors.par_chunks_mut(BATCH))
            .zip(codes.par_chunks_mut(columns));
        parts
            .enumerate()
            .for_each(|(row, ((ordered, errors), codes))| {
                let here = &mut ordered[start..stop];
                for i in 0..count {
                    let column = order[start + i];
                    let group = row * groups + column / grid.group_size;
                    let code = grid.nearest(group, here[i]);
                    codes[column] = code;
                    let error = (here[i] - grid.value(group, code)) / u[i * BATCH + i];
                    errors[i] = error;
                    let other = &u[i * BATCH + i + 1..i * BATCH + count];
                    dispatch(SubtractMultiple {
                        row: &mut here[i + 1..],
                        factor: error,
                        other,
                    });
                }
            });
        if stop == columns {
            break;
        }
        // W[:, stop..] -= E U[start..stop, stop..]
        unsafe {
            Product {
                a: Matrix::rows(errors.as_ptr(), BATCH),
                b: Matrix::columns(factor.as_ptr().add(stop * columns + start), columns),
                c: SharedMut(ordered.as_mut_ptr().add(stop)),
                c_stride: columns,
                rows,
                columns: columns - stop,
                inner: count,
                into: Into::Subtracted,
                triangles: Triangles::default(),
            }
            .run();
        }
    }
}

/// Coordinate descent on `(W - Q) H (W - Q)ᵀ`: column after column the code that is best for all others. A row stops when a round gains nothing.
///
/// * `hessian`: `[columns, columns]`, symmetric.
/// * `codes`: `[rows, columns]`, improved in place.
pub fn descend_on_grid(problem: &GridRows, hessian: &[f64], rounds: usize, codes: &mut [u8]) {
    problem.check(codes);
    let &GridRows {
        weights,
        rows,
        columns,
        ref grid,
    } = problem;
    assert_eq!(hessian.len(), columns * columns);
    if rounds == 0 {
        return;
    }
    let groups = problem.groups();
    let mut difference = Scratch::<f64>::any(rows * columns);
    for (at, difference) in difference.iter_mut().enumerate() {
        let group = at / columns * groups + at % columns / grid.group_size;
        *difference = grid.value(group, codes[at]) - weights[at];
    }
    let mut gradient = Scratch::<f64>::any(rows * columns);
    unsafe {
        multiply(
            &difference,
            columns,
            rows,
            hessian,
            columns,
            0..columns,
            0..columns,
            &mut gradient,
            Into::SetNegative,
        )
    };
    let pairs = difference.chunks(columns).zip(gradient.chunks(columns));
    let mut energies: Vec<f64> = pairs.map(|(d, g)| -dot(d, g)).collect();
    drop(difference);
    let mut settled = vec![false; rows];
    let mut moves = Scratch::<f64>::any(rows * BATCH);
    for _ in 0..rounds {
        let mut gains = vec![0.0; rows];
        for start in (0..columns).step_by(BATCH) {
            let batch = start..(start + BATCH).min(columns);
            let parts = gradient
                .par_chunks_mut(columns)
                .zip(codes.par_chunks_mut(columns))
                .zip(moves.par_chunks_mut(BATCH))
                .zip(gains.par_iter_mut());
            let moved = parts
                .enumerate()
                .map(|(row, (((gradient, codes), moves), gain))| {
                    moves.fill(0.0);
                    if settled[row] {
                        return false;
                    }
                    let before = *gain;
                    for column in batch.clone() {
                        let curvature = hessian[column * columns + column];
                        // NaN too.
                        if curvature <= 0.0 || curvature.is_nan() {
                            continue;
                        }
                        let group = row * groups + column / grid.group_size;
                        let value = grid.value(group, codes[column]);
                        let slope = gradient[column];
                        let code = grid.nearest(group, value + slope / curvature);
                        if code == codes[column] {
                            continue;
                        }
                        let step = grid.value(group, code) - value;
                        let lowered = step * (2.0 * slope - step * curvature);
                        if lowered > 0.0 {
                            codes[column] = code;
                            *gain += lowered;
                            moves[column - batch.start] = step;
                            let other = &hessian[column * columns..][batch.clone()];
                            dispatch(SubtractMultiple {
                                row: &mut gradient[batch.clone()],
                                factor: step,
                                other,
                            });
                        }
                    }
                    *gain > before
                });
            if !moved.reduce(|| false, |one, other| one || other) {
                continue;
            }
            for others in [0..batch.start, batch.end..columns] {
                if !others.is_empty() {
                    unsafe {
                        multiply(
                            &moves,
                            BATCH,
                            rows,
                            hessian,
                            columns,
                            batch.clone(),
                            others,
                            &mut gradient,
                            Into::Subtracted,
                        );
                    }
                }
            }
        }
        for row in 0..rows {
            if gains[row] > LEAST_GAIN * energies[row] {
                energies[row] -= gains[row];
            } else {
                settled[row] = true;
            }
        }
        if settled.iter().all(|&settled| settled) {
            break;
        }
    }
}

/// `D H Dᵀ` of each row of `d` `[rows, columns]`.
pub fn output_energies(d: &[f64], hessian: &[f64], columns: usize, energies: &mut [f64]) {
    let rows = energies.len();
    assert!(d.len() == rows * columns && hessian.len() == columns * columns);
    let mut product = Scratch::<f64>::any(rows * columns);
    unsafe {
        multiply(
            d,
            columns,
            rows,
            hessian,
            columns,
            0..columns,
            0..columns,
            &mut product,
            Into::Set,
        )
    };
    let pairs = d.chunks(columns).zip(product.chunks(columns));
    for (energy, (d, product)) in energies.iter_mut().zip(pairs) {
        *energy = dot(d, product);
    }
}

/// C[:, to] of `a` `[rows, inner]` and rows `from` of a matrix `[columns, columns]`, columns `to` of them.
///
/// # Safety
/// `a` has `rows` rows of `stride`, C `[rows, columns]`.
#[allow(clippy::too_many_arguments)]
unsafe fn multiply(
    a: &[f64],
    stride: usize,
    rows: usize,
    matrix: &[f64],
    columns: usize,
    from: Range<usize>,
    to: Range<usize>,
    c: &mut [f64],
    into: Into,
) {
    unsafe {
        Product {
            a: Matrix::rows(a.as_ptr(), stride),
            b: Matrix::rows(
                matrix.as_ptr().add(from.start * columns + to.start),
                columns,
            ),
            c: SharedMut(c.as_mut_ptr().add(to.start)),
            c_stride: columns,
            rows,
            columns: to.len(),
            inner: from.len(),
            into,
            triangles: Triangles::default(),
        }
        .run();
    }
}
