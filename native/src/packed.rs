//! B packed once for all tasks, and products in parallel.

use crate::product::{
    DEPTH, Into, Matrix, SharedMut, Strips, Triangles, Workspace, multiply, pack_strip,
    tile_columns,
};
use crate::scratch::Scratch;
use crate::simd::{Real, dispatch};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// B `[depth, columns]` in strips as wide as a tile.
pub struct PackedMatrix<T: Real> {
    memory: Scratch<T>,
    depth: usize,
}

struct Pack<T> {
    b: Matrix<T>,
    depth: usize,
    columns: usize,
}

impl<T: Real> WithSimd for Pack<T> {
    type Output = PackedMatrix<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> PackedMatrix<T> {
        let Pack { b, depth, columns } = self;
        let width = tile_columns::<S, T>();
        let strips = columns.div_ceil(width);
        let mut memory = Scratch::any(strips * depth * width);
        let to = SharedMut(memory.as_mut_ptr());
        let together = (SMALL_COPY / (depth * width).max(1)).max(1);
        let strips = (0..strips).into_par_iter().with_min_len(together);
        strips.for_each(|strip| {
            let first = strip * width;
            let last = (first + width).min(columns);
            unsafe {
                pack_strip(
                    b,
                    0..depth,
                    first,
                    last,
                    width,
                    to.add(strip * depth * width),
                );
            }
        });
        PackedMatrix { memory, depth }
    }
}

struct TileColumns<T>(std::marker::PhantomData<T>);

impl<T: Real> WithSimd for TileColumns<T> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        tile_columns::<S, T>()
    }
}

impl<T: Real> PackedMatrix<T> {
    /// Packs B `[depth, columns]` on the threads of the pool that this is called in.
    ///
    /// # Safety
    /// `b` has the elements, and nobody changes them.
    pub unsafe fn new(b: Matrix<T>, depth: usize, columns: usize) -> Self {
        dispatch(Pack { b, depth, columns })
    }

    /// Packs of a symmetric A `[n, n]` the upper triangle with half of the diagonal: `D A Dᵀ` is twice `D B Dᵀ`, for half the work.
    ///
    /// # Safety
    /// As `new`.
    pub unsafe fn half_of_symmetric(a: Matrix<T>, n: usize, half: T) -> Self {
        let mut packed = dispatch(Pack {
            b: a,
            depth: n,
            columns: n,
        });
        packed.keep_upper_triangle(n, half);
        packed
    }

    fn keep_upper_triangle(&mut self, n: usize, half: T) {
        let width = dispatch(TileColumns(std::marker::PhantomData::<T>));
        let start = SharedMut(self.memory.as_mut_ptr());
        (0..n.div_ceil(width)).into_par_iter().for_each(|strip| {
            for j in 0..width.min(n - strip * width) {
                let column = strip * width + j;
                let at = |p: usize| unsafe { start.add((strip * n + p) * width + j) };
                unsafe { *at(column) = (*at(column)).times(half) };
                // Beyond the strip's last column nothing is read.
                for p in column + 1..((strip + 1) * width).min(n) {
                    unsafe { *at(p) = T::ZERO };
                }
            }
        });
    }

    pub fn strips(&self) -> Strips<T> {
        Strips {
            start: self.memory.as_ptr(),
            depth: self.depth,
        }
    }
}

/// Rows of C that one task computes.
const ROWS_OF_TASK: usize = 96;

/// Multiplications, and numbers to copy, that are not worth waking another thread for.
const SMALL: usize = 1 << 21;
const SMALL_COPY: usize = 1 << 16;

/// A product that is computed on all threads.
pub struct Product<T> {
    pub a: Matrix<T>,
    pub b: Matrix<T>,
    pub c: SharedMut<T>,
    pub c_stride: usize,
    pub rows: usize,
    pub columns: usize,
    pub inner: usize,
    pub into: Into,
    pub triangles: Triangles,
}

struct Task<'a, T> {
    product: &'a Product<T>,
    b: Strips<T>,
    rows: Range<usize>,
}

impl<T: Real> WithSimd for Task<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Task { product, b, rows } = self;
        let mut workspace = Workspace::default();
        unsafe {
            multiply(
                simd,
                &mut workspace,
                Matrix {
                    start: product.a.at(rows.start, 0),
                    ..product.a
                },
                rows.len(),
                rows.start,
                0..product.inner,
                b,
                0..product.columns,
                product.c.add(rows.start * product.c_stride),
                product.c_stride,
                product.into,
                product.triangles,
            );
        }
    }
}

impl<T: Real> Product<T> {
    /// # Safety
    /// The matrices are there, nobody changes A or B meanwhile, and nobody else touches C.
    pub unsafe fn run(&self) {
        let packed = unsafe { PackedMatrix::new(self.b, self.inner, self.columns) };
        let b = packed.strips();
        // Enough tasks that threads end together, however unequal triangles make them.
        let threads = rayon::current_num_threads();
        let wanted = self.rows.div_ceil(4 * threads).next_multiple_of(8);
        let small = self.rows * self.columns * self.inner < SMALL;
        let size = if small {
            self.rows.max(1)
        } else {
            wanted.clamp(8, ROWS_OF_TASK)
        };
        let tasks = self.rows.div_ceil(size);
        (0..tasks).into_par_iter().with_max_len(1).for_each(|task| {
            let rows = task * size..((task + 1) * size).min(self.rows);
            dispatch(Task {
                product: self,
                b,
                rows,
            });
        });
    }
}

const _: () = assert!(DEPTH.is_multiple_of(8));
