//! Cholesky factorization, and the Cholesky factor of the inverse without ever forming the inverse.

use crate::packed::Product;
use crate::product::{Into, Matrix, SharedMut, Triangles};
use crate::scratch::Scratch;
use crate::simd::{Real, dispatch};
use crate::threads::{Cancellation, Cancelled};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Size of the blocks on the diagonal that are factorized in plain loops.
const LEAF: usize = 48;

/// Columns of a panel where only the factor is wanted.
const PANEL: usize = 192;

/// Why there is no factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFactor {
    NotPositiveDefinite,
    Cancelled,
}

impl From<Cancelled> for NoFactor {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// A square block of a row-major matrix.
#[derive(Clone, Copy)]
struct Square<T> {
    start: SharedMut<T>,
    stride: usize,
}

impl<T: Real> Square<T> {
    /// The block from (row, column) on.
    fn from(self, row: usize, column: usize) -> Self {
        Self {
            start: SharedMut(unsafe { self.start.add(row * self.stride + column) }),
            stride: self.stride,
        }
    }

    fn matrix(self) -> Matrix<T> {
        Matrix::rows(self.start.0, self.stride)
    }

    fn transposed(self) -> Matrix<T> {
        Matrix::columns(self.start.0, self.stride)
    }
}

/// Lower triangular factor of a symmetric matrix, A = L Lᵀ.
///
/// * `a`: `[n, n]`, row-major; its lower triangle is read and becomes L. What is above the diagonal becomes undefined.
pub fn cholesky<T: Real>(
    a: &mut [T],
    n: usize,
    cancellation: &Cancellation,
) -> Result<(), NoFactor> {
    assert_eq!(a.len(), n * n);
    let whole = Square {
        start: SharedMut(a.as_mut_ptr()),
        stride: n,
    };
    let mut aside = vec![T::ZERO; PANEL * PANEL];
    let mut below = Scratch::any(n * PANEL.min(n));
    let mut start = 0;
    while start < n {
        let width = PANEL.min(n - start);
        aside.fill(T::ZERO);
        let inverse = Square {
            start: SharedMut(aside.as_mut_ptr()),
            stride: PANEL,
        };
        let diagonal = whole.from(start, start);
        factor_and_invert(diagonal, inverse, width, cancellation)?;
        let stop = start + width;
        let rows = n - stop;
        if rows > 0 {
            let panel = whole.from(stop, start);
            multiply_by_inverse(panel, inverse, rows, width, &mut below);
            subtract_square(whole.from(stop, stop), panel, rows, width);
        }
        start = stop;
    }
    Ok(())
}

/// Upper Cholesky factor U of the inverse of H, H⁻¹ = Uᵀ U (Frantar et al. 2022, Algorithm 1), stored transposed.
///
/// With J the reversal of rows, J H J = L Lᵀ gives U = J L⁻¹ J: half the work of factorizing, inverting and factorizing again, and
/// one rounding less.
///
/// * `reversed`: `[n, n]`: the lower triangle of J H J. Destroyed.
/// * `factor`: `[n, n]`, all zeros: receives Uᵀ, lower triangular.
pub fn inverse_factor<T: Real>(
    reversed: &mut [T],
    factor: &mut [T],
    n: usize,
    cancellation: &Cancellation,
) -> Result<(), NoFactor> {
    assert_eq!(reversed.len(), n * n);
    assert_eq!(factor.len(), n * n);
    let (a, inverse) = (
        SharedMut(reversed.as_mut_ptr()),
        SharedMut(factor.as_mut_ptr()),
    );
    let square = |start| Square { start, stride: n };
    factor_and_invert(square(a), square(inverse), n, cancellation)?;
    reverse_transposed(factor, n);
    Ok(())
}

/// The damped Hessian with its rows and columns reversed, in the order of solving: what inverse_factor wants.
///
/// * `damping`: share of the mean live diagonal that is added to the diagonal.
/// * `floor`: least value of the diagonal before that.
pub fn damped_reversed(
    hessian: &[f64],
    solve_order: &[i32],
    dead: &[u8],
    damping: f64,
    floor: f64,
) -> Scratch<f64> {
    let n = solve_order.len();
    assert!(hessian.len() == n * n && dead.len() == n, "lengths");
    assert!(solve_order.iter().all(|&at| (at as usize) < n), "order");
    let place = |i: usize| solve_order[n - 1 - i] as usize;
    let diagonal = |at: usize| hessian[at * n + at].max(floor);
    // In the order of solving, as the reference sums.
    let live = solve_order
        .iter()
        .map(|&at| at as usize)
        .filter(|&at| dead[at] == 0);
    let (trace, live) = live.fold((0.0, 0.0), |(trace, live), at| {
        (trace + diagonal(at), live + 1.0)
    });
    let added = damping * trace / live;
    let mut matrix = Scratch::any(n * n);
    let to = SharedMut(matrix.as_mut_ptr());
    (0..n).into_par_iter().with_min_len(8).for_each(|i| {
        let row = &hessian[place(i) * n..][..n];
        for j in 0..n {
            // Above the diagonal nothing is read, but memory must be something.
            let value = if j < i { row[place(j)] } else { 0.0 };
            unsafe { *to.add(i * n + j) = value };
        }
        unsafe { *to.add(i * n + i) = diagonal(place(i)) + added };
    });
    matrix
}

/// L of A = L Lᵀ and its inverse, by halves: [L₁₁ 0; L₂₁ L₂₂]⁻¹ = [L₁₁⁻¹ 0; -L₂₂⁻¹ L₂₁ L₁₁⁻¹ L₂₂⁻¹]. Nearly all of it is products.
///
/// `inverse` is zero above its diagonal, and stays so.
fn factor_and_invert<T: Real>(
    a: Square<T>,
    inverse: Square<T>,
    n: usize,
    cancellation: &Cancellation,
) -> Result<(), NoFactor> {
    cancellation.check()?;
    if n <= LEAF {
        return if dispatch(Leaf { a, inverse, n }) {
            Ok(())
        } else {
            Err(NoFactor::NotPositiveDefinite)
        };
    }
    let half = (n / 2).next_multiple_of(LEAF);
    let rest = n - half;
    factor_and_invert(a, inverse, half, cancellation)?;
    let mut aside = Scratch::any(rest * half);
    let below = a.from(half, 0);
    multiply_by_inverse(below, inverse, rest, half, &mut aside);
    subtract_square(a.from(half, half), below, rest, half);
    factor_and_invert(
        a.from(half, half),
        inverse.from(half, half),
        rest,
        cancellation,
    )?;
    unsafe {
        // X = L₂₁ L₁₁⁻¹, then -L₂₂⁻¹ X
        Product {
            a: below.matrix(),
            b: inverse.matrix(),
            c: SharedMut(aside.as_mut_ptr()),
            c_stride: half,
            rows: rest,
            columns: half,
            inner: half,
            into: Into::Set,
            triangles: Triangles {
                b_lower: true,
                ..Triangles::default()
            },
        }
        .run();
        Product {
            a: inverse.from(half, half).matrix(),
            b: Matrix::rows(aside.as_ptr(), half),
            c: inverse.from(half, 0).start,
            c_stride: inverse.stride,
            rows: rest,
            columns: half,
            inner: rest,
            into: Into::SetNegative,
            triangles: Triangles {
                a_lower: Some(0),
                ..Triangles::default()
            },
        }
        .run();
    }
    Ok(())
}

/// L₂₁ = A₂₁ L₁₁⁻ᵀ in place, `[rows, columns]`. `aside` has room for as much.
fn multiply_by_inverse<T: Real>(
    block: Square<T>,
    inverse: Square<T>,
    rows: usize,
    columns: usize,
    aside: &mut Scratch<T>,
) {
    assert!(aside.len() >= rows * columns);
    let copy = SharedMut(aside.as_mut_ptr());
    for_rows(rows, columns, |row| unsafe {
        let from = block.start.add(row * block.stride);
        std::ptr::copy_nonoverlapping(from, copy.add(row * columns), columns);
    });
    unsafe {
        Product {
            a: Matrix::rows(copy.0, columns),
            b: inverse.transposed(),
            c: block.start,
            c_stride: block.stride,
            rows,
            columns,
            inner: columns,
            into: Into::Set,
            triangles: Triangles {
                b_upper: true,
                ..Triangles::default()
            },
        }
        .run();
    }
}

/// A₂₂ -= L₂₁ L₂₁ᵀ, the lower triangle of it.
fn subtract_square<T: Real>(c: Square<T>, block: Square<T>, rows: usize, inner: usize) {
    unsafe {
        Product {
            a: block.matrix(),
            b: block.transposed(),
            c: c.start,
            c_stride: c.stride,
            rows,
            columns: rows,
            inner,
            into: Into::Subtracted,
            triangles: Triangles {
                c_lower: Some(0),
                ..Triangles::default()
            },
        }
        .run();
    }
}

/// Factor and inverse of a small block; false when it is not positive definite.
struct Leaf<T> {
    a: Square<T>,
    inverse: Square<T>,
    n: usize,
}

impl<T: Real> WithSimd for Leaf<T> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let Leaf { a, inverse, n } = self;
        // Whole rows of LEAF everywhere: loops of constant length become vectors.
        let mut l = [[T::ZERO; LEAF]; LEAF];
        for (i, row) in l.iter_mut().enumerate().take(n) {
            for (j, value) in row.iter_mut().enumerate().take(i + 1) {
                *value = unsafe { *a.start.add(i * a.stride + j) };
            }
        }
        for j in 0..n {
            let pivot = l[j][j];
            if !pivot.positive_and_finite() {
                return false;
            }
            let root = pivot.square_root();
            l[j][j] = root;
            let mut column = [T::ZERO; LEAF];
            for i in j + 1..n {
                l[i][j] = l[i][j].over(root);
                column[i] = l[i][j];
            }
            for i in j + 1..n {
                let negative = l[i][j].negated();
                for k in 0..LEAF {
                    l[i][k] = l[i][k].plus_times(negative, column[k]);
                }
            }
        }
        let mut x = [[T::ZERO; LEAF]; LEAF];
        for i in 0..n {
            let mut row = [T::ZERO; LEAF];
            row[i] = T::ONE;
            for k in 0..i {
                let negative = l[i][k].negated();
                for j in 0..LEAF {
                    row[j] = row[j].plus_times(negative, x[k][j]);
                }
            }
            for j in 0..LEAF {
                x[i][j] = row[j].over(l[i][i]);
            }
        }
        for i in 0..n {
            for j in 0..=i {
                unsafe {
                    *a.start.add(i * a.stride + j) = l[i][j];
                    *inverse.start.add(i * inverse.stride + j) = x[i][j];
                }
            }
        }
        true
    }
}

/// `M = J Mᵀ J` in place: element (i, j) and element (n-1-j, n-1-i) change places.
fn reverse_transposed<T: Real>(matrix: &mut [T], n: usize) {
    const BLOCK: usize = 32;
    let blocks = n.div_ceil(BLOCK);
    let start = SharedMut(matrix.as_mut_ptr());
    // Blocks of rows; each pair is the business of the element before the antidiagonal.
    let together = (1 << 16) / (BLOCK * n) + 1;
    (0..blocks)
        .into_par_iter()
        .with_min_len(together)
        .for_each(|block| {
            let rows = block * BLOCK..((block + 1) * BLOCK).min(n);
            for other in 0..blocks {
                for i in rows.clone() {
                    for j in other * BLOCK..((other + 1) * BLOCK).min(n) {
                        if i + j + 1 < n {
                            unsafe {
                                let here = start.add(i * n + j);
                                let there = start.add((n - 1 - j) * n + (n - 1 - i));
                                std::ptr::swap(here, there);
                            }
                        }
                    }
                }
            }
        });
}

/// Runs `work` for every row, on all threads when there is enough to do.
pub fn for_rows(rows: usize, columns: usize, work: impl Fn(usize) + Send + Sync) {
    if rows * columns < 1 << 15 {
        (0..rows).for_each(work);
    } else {
        let together = (1 << 14) / columns.max(1) + 1;
        (0..rows)
            .into_par_iter()
            .with_min_len(together)
            .for_each(work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{positive_definite, product};

    #[test]
    fn factor_times_its_transpose_is_the_matrix() {
        for n in [1, 7, 48, 49, 100, 193, 420] {
            let a = positive_definite(n);
            let mut l = a.clone();
            cholesky(&mut l, n, &Cancellation::default()).unwrap();
            for i in 0..n {
                for j in i + 1..n {
                    l[i * n + j] = 0.0;
                }
            }
            let transposed: Vec<f64> = (0..n * n).map(|at| l[at % n * n + at / n]).collect();
            let back = product(&l, &transposed, n);
            let worst = back
                .iter()
                .zip(&a)
                .map(|(x, y)| (x - y).abs())
                .fold(0.0, f64::max);
            assert!(worst < 1e-12 * n as f64, "{n}: {worst}");
        }
    }

    #[test]
    fn transposed_factor_times_factor_is_the_inverse() {
        for n in [1, 2, 47, 96, 97, 300] {
            let h = positive_definite(n);
            let mut reversed: Vec<f64> = h.iter().rev().copied().collect();
            let mut factor = vec![0.0; n * n];
            inverse_factor(&mut reversed, &mut factor, n, &Cancellation::default()).unwrap();
            let u: Vec<f64> = (0..n * n).map(|at| factor[at % n * n + at / n]).collect();
            let identity = product(&h, &product(&factor, &u, n), n);
            for i in 0..n {
                for j in 0..n {
                    let expected = if i == j { 1.0 } else { 0.0 };
                    assert!(
                        (identity[i * n + j] - expected).abs() < 1e-9,
                        "{n}: {i}, {j}"
                    );
                    assert!(j <= i || factor[i * n + j] == 0.0);
                }
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        for place in [0, 30, 70, 199] {
            let n = 200;
            let mut a = positive_definite(n);
            a[place * n + place] = -1.0;
            let none = cholesky(&mut a, n, &Cancellation::default());
            assert_eq!(none, Err(NoFactor::NotPositiveDefinite));
        }
        let mut nan = vec![f64::NAN];
        assert!(cholesky(&mut nan, 1, &Cancellation::default()).is_err());
    }

    #[test]
    fn a_cancelled_factorization_stops() {
        let cancellation = Cancellation::default();
        cancellation.cancel();
        let mut a = positive_definite(60);
        assert_eq!(
            cholesky(&mut a, 60, &cancellation),
            Err(NoFactor::Cancelled)
        );
    }
}
