//! The matrix product that everything is made of: `C ± A B`, register tiles over packed panels (Goto and van de Geijn 2008).
//!
//! Each element of C is the same sequence of operations whatever the size of the product, of a tile or of a vector: over blocks of
//! DEPTH inner indices a chain of fused multiply-adds from zero, added to C. So neither threads, nor the splitting of rows between
//! calls, nor the instruction set change a bit.

use crate::scratch::Scratch;
use crate::simd::Real;
use pulp::Simd;
use std::ops::Range;

/// Inner indices that are worked on at a time: a panel of B stays in the second-level cache.
pub const DEPTH: usize = 256;

/// Vectors across a tile of C. With 16 registers three would leave none for A.
const fn tile_vectors<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 3 } else { 2 }
}

/// A width that every tile divides: tiles are 6, 8, 12, 16, 24 or 48 columns wide.
pub const WIDTH_OF_TILES: usize = 48;

/// Rows of a tile: as many as the registers hold.
pub const fn tile_rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 4 }
}

/// Columns of a tile.
pub const fn tile_columns<S: Simd, T: Real>() -> usize {
    tile_vectors::<S>() * (size_of::<T::Lanes<S>>() / size_of::<T>())
}

/// A matrix somewhere in memory: element (i, j) at `start + i * down + j * across`.
#[derive(Clone, Copy)]
pub struct Matrix<T> {
    pub start: *const T,
    pub down: usize,
    pub across: usize,
}

impl<T> Matrix<T> {
    /// Row-major.
    pub fn rows(start: *const T, stride: usize) -> Self {
        Self {
            start,
            down: stride,
            across: 1,
        }
    }

    /// The transpose of a row-major one.
    pub fn columns(start: *const T, stride: usize) -> Self {
        Self {
            start,
            down: 1,
            across: stride,
        }
    }

    /// # Safety
    /// (i, j) lies in the same allocation.
    #[inline(always)]
    pub unsafe fn at(&self, i: usize, j: usize) -> *const T {
        unsafe { self.start.add(i * self.down + j * self.across) }
    }
}

unsafe impl<T: Sync> Send for Matrix<T> {}
unsafe impl<T: Sync> Sync for Matrix<T> {}

/// A pointer that tasks on different parts of one matrix share.
#[derive(Clone, Copy)]
pub struct SharedMut<T>(pub *mut T);

unsafe impl<T: Send> Send for SharedMut<T> {}
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    /// # Safety
    /// In the same allocation.
    #[inline(always)]
    pub unsafe fn add(self, offset: usize) -> *mut T {
        unsafe { self.0.add(offset) }
    }
}

/// Where a tile's sums go: `C -= A B`, `C = A B` or `C = -A B`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Into {
    Subtracted,
    Set,
    SetNegative,
}

/// Packs strips of `width` columns of B `[depth, columns]`: strip after strip `[depth, width]`, zeros beyond the last column.
///
/// # Safety
/// `b` has the elements; `to` has room for `strips * depth * width`.
#[inline(always)]
pub unsafe fn pack_strip<T: Real>(
    b: Matrix<T>,
    depth: Range<usize>,
    first: usize,
    last: usize,
    width: usize,
    to: *mut T,
) {
    unsafe {
        let live = last - first;
        if b.across == 1 {
            for (at, p) in depth.enumerate() {
                let to = to.add(at * width);
                std::ptr::copy_nonoverlapping(b.at(p, first), to, live);
                for j in live..width {
                    *to.add(j) = T::ZERO;
                }
            }
            return;
        }
        let turned = Matrix {
            start: b.at(depth.start, first),
            down: b.across,
            across: b.down,
        };
        pack_turned(turned, live, depth.len(), width, to);
    }
}

/// Packs `rows` rows as columns: `[depth, width]`, zeros beyond the last row.
///
/// A few inner indices at a time: rows often lie a power of two apart, where the cache holds only as many of them at once as it has ways.
///
/// # Safety
/// `from` has the elements; `to` has room for `depth * width`.
#[inline(always)]
unsafe fn pack_turned<T: Real>(
    from: Matrix<T>,
    rows: usize,
    depth: usize,
    width: usize,
    to: *mut T,
) {
    const TOGETHER: usize = 8;
    unsafe {
        let mut p = 0;
        while p < depth {
            let stop = (p + TOGETHER).min(depth);
            for i in 0..rows {
                let row = from.at(i, 0);
                for q in p..stop {
                    *to.add(q * width + i) = *row.add(q * from.across);
                }
            }
            for i in rows..width {
                for q in p..stop {
                    *to.add(q * width + i) = T::ZERO;
                }
            }
            p = stop;
        }
    }
}

/// A tile of C: the chain of multiply-adds over `depth` inner indices, then one addition to C.
///
/// * `a`: `[depth, ROWS]`, packed.
/// * `b`: `[depth, ACROSS vectors]`, rows `b_stride` apart.
/// * `c`: `rows x columns` of it are written.
///
/// # Safety
/// All of it is there.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn tile<S: Simd, T: Real, const ROWS: usize, const ACROSS: usize>(
    simd: S,
    depth: usize,
    a: *const T,
    b: *const T,
    b_stride: usize,
    c: *mut T,
    c_stride: usize,
    rows: usize,
    columns: usize,
    into: Into,
    fresh: bool,
) {
    unsafe {
        let lanes = size_of::<T::Lanes<S>>() / size_of::<T>();
        let zero = T::splat(simd, T::ZERO);
        let mut sums = [[zero; ACROSS]; ROWS];
        for p in 0..depth {
            let b = b.add(p * b_stride);
            let mut x = [zero; ACROSS];
            for v in 0..ACROSS {
                x[v] = (b.add(v * lanes) as *const T::Lanes<S>).read_unaligned();
            }
            for i in 0..ROWS {
                let y = T::splat(simd, *a.add(p * ROWS + i));
                for v in 0..ACROSS {
                    sums[i][v] = T::fused(simd, y, x[v], sums[i][v]);
                }
            }
        }
        if rows == ROWS && columns == ACROSS * lanes {
            for i in 0..ROWS {
                for v in 0..ACROSS {
                    let at = c.add(i * c_stride + v * lanes) as *mut T::Lanes<S>;
                    let old = if fresh { zero } else { at.read_unaligned() };
                    at.write_unaligned(merge::<S, T>(simd, old, sums[i][v], into));
                }
            }
            return;
        }
        // An edge: through a whole tile aside.
        let mut aside = [[zero; ACROSS]; ROWS];
        for i in 0..rows {
            let values = aside[i].as_mut_ptr() as *mut T;
            for j in 0..columns {
                if !fresh {
                    *values.add(j) = *c.add(i * c_stride + j);
                }
            }
            for v in 0..ACROSS {
                aside[i][v] = merge::<S, T>(simd, aside[i][v], sums[i][v], into);
            }
            let values = aside[i].as_ptr() as *const T;
            for j in 0..columns {
                *c.add(i * c_stride + j) = *values.add(j);
            }
        }
    }
}

#[inline(always)]
fn merge<S: Simd, T: Real>(simd: S, old: T::Lanes<S>, sum: T::Lanes<S>, into: Into) -> T::Lanes<S> {
    match into {
        Into::Set => T::add(simd, old, sum),
        Into::Subtracted | Into::SetNegative => T::subtract(simd, old, sum),
    }
}

/// Where in A and B there is something but zeros.
#[derive(Clone, Copy, Default)]
pub struct Triangles {
    /// A is lower triangular: row i has inner indices up to i + this.
    pub a_lower: Option<usize>,
    /// B is lower triangular: column j has inner indices from j on.
    pub b_lower: bool,
    /// B is upper triangular: column j has inner indices up to j.
    pub b_upper: bool,
    /// Of C only what lies on or below the diagonal is wanted; element (i, j) is below when i + this >= j.
    pub c_lower: Option<usize>,
}

/// B, packed in strips as wide as a tile: strip s, inner index p at `(s * depth + p) * tile_columns`.
#[derive(Clone, Copy)]
pub struct Strips<T> {
    pub start: *const T,
    /// Inner indices of each strip.
    pub depth: usize,
}

unsafe impl<T: Sync> Send for Strips<T> {}
unsafe impl<T: Sync> Sync for Strips<T> {}

/// Room for packed rows of A, kept between products of one task.
pub struct Workspace<T: Real>(Scratch<T>);

impl<T: Real> Default for Workspace<T> {
    fn default() -> Self {
        Self(Scratch::any(0))
    }
}

impl<T: Real> Workspace<T> {
    fn room(&mut self, count: usize) -> *mut T {
        if self.0.len() < count {
            self.0 = Scratch::any(count);
        }
        self.0.as_mut_ptr()
    }
}

/// `C (into)= A B` for `rows` rows of A, all of them packed here, and packed B.
///
/// * `a`: `[rows, inner]`; rows of C start at row `first_row` of the triangles.
/// * `inner`: the inner indices, of A's columns and of the strips' rows alike.
/// * `c`: row-major, `[rows, columns]`.
///
/// # Safety
/// All of it is there.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub unsafe fn multiply<S: Simd, T: Real>(
    simd: S,
    workspace: &mut Workspace<T>,
    a: Matrix<T>,
    rows: usize,
    first_row: usize,
    inner: Range<usize>,
    b: Strips<T>,
    columns: Range<usize>,
    c: *mut T,
    c_stride: usize,
    into: Into,
    triangles: Triangles,
) {
    if tile_rows::<S>() == 8 {
        unsafe {
            multiply_tiles::<S, T, 8, 3>(
                simd, workspace, a, rows, first_row, inner, b, columns, c, c_stride, into,
                triangles,
            )
        }
    } else {
        unsafe {
            multiply_tiles::<S, T, 4, 2>(
                simd, workspace, a, rows, first_row, inner, b, columns, c, c_stride, into,
                triangles,
            )
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn multiply_tiles<S: Simd, T: Real, const ROWS: usize, const ACROSS: usize>(
    simd: S,
    workspace: &mut Workspace<T>,
    a: Matrix<T>,
    rows: usize,
    first_row: usize,
    inner: Range<usize>,
    b: Strips<T>,
    columns: Range<usize>,
    c: *mut T,
    c_stride: usize,
    into: Into,
    triangles: Triangles,
) {
    let width = tile_columns::<S, T>();
    let row_strips = rows.div_ceil(ROWS);
    debug_assert!(columns.start.is_multiple_of(width));
    let packed = workspace.room(row_strips * ROWS * DEPTH.min(inner.len()));
    let mut from = inner.start;
    while from < inner.end {
        let to = (from + DEPTH).min(inner.end);
        let depth = to - from;
        // A[.., from..to], strip by strip.
        for strip in 0..row_strips {
            let first = strip * ROWS;
            let live = ROWS.min(rows - first);
            unsafe {
                let rows = Matrix {
                    start: a.at(first, from),
                    ..a
                };
                let to_strip = packed.add(strip * ROWS * depth);
                pack_turned(rows, live, depth, ROWS, to_strip);
            }
        }
        let mut column = columns.start;
        while column < columns.end {
            let live_columns = width.min(columns.end - column);
            for strip in 0..row_strips {
                let row = strip * ROWS;
                let live = ROWS.min(rows - row);
                let last_row = first_row + row + live - 1;
                if triangles
                    .c_lower
                    .is_some_and(|shift| last_row + shift < column)
                {
                    continue;
                }
                // Whole blocks of zeros are left out; adding them would change nothing.
                let begin = if triangles.b_lower { column } else { 0 };
                let upper = if triangles.b_upper {
                    column + live_columns
                } else {
                    usize::MAX
                };
                let end = upper.min(
                    triangles
                        .a_lower
                        .map_or(usize::MAX, |shift| last_row + shift + 1),
                );
                let begin = begin.max(inner.start);
                let end = end.min(inner.end);
                let (low, high) = (begin.max(from), end.min(to));
                let fresh = into != Into::Subtracted && low == begin;
                if low >= high {
                    continue;
                }
                unsafe {
                    let strip_of_b = b
                        .start
                        .add((column / width) * b.depth * width + low * width);
                    tile::<S, T, ROWS, ACROSS>(
                        simd,
                        high - low,
                        packed.add(strip * ROWS * depth + (low - from) * ROWS),
                        strip_of_b,
                        width,
                        c.add(row * c_stride + column - columns.start),
                        c_stride,
                        live,
                        live_columns,
                        into,
                        fresh,
                    );
                }
            }
            column += width;
        }
        from = to;
    }
}

/// `C -= A B` with A packed in strips of tile rows and B in rows of its own: the update of the column loop.
///
/// * `a`: strips of `[a_depth, tile_rows]`, the first of them for the first row of C.
/// * `b`: row-major, `columns` of them, a multiple of a tile's width.
///
/// # Safety
/// All of it is there.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub unsafe fn subtract_strips<S: Simd, T: Real>(
    simd: S,
    a: Strips<T>,
    rows: usize,
    inner: Range<usize>,
    b: *const T,
    columns: usize,
    c: *mut T,
) {
    if tile_rows::<S>() == 8 {
        unsafe { subtract_strips_of::<S, T, 8, 3>(simd, a, rows, inner, b, columns, c) }
    } else {
        unsafe { subtract_strips_of::<S, T, 4, 2>(simd, a, rows, inner, b, columns, c) }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn subtract_strips_of<S: Simd, T: Real, const ROWS: usize, const ACROSS: usize>(
    simd: S,
    a: Strips<T>,
    rows: usize,
    inner: Range<usize>,
    b: *const T,
    columns: usize,
    c: *mut T,
) {
    let width = tile_columns::<S, T>();
    let mut from = inner.start;
    while from < inner.end {
        let to = (from + DEPTH).min(inner.end);
        let mut column = 0;
        while column < columns {
            let mut row = 0;
            while row < rows {
                unsafe {
                    tile::<S, T, ROWS, ACROSS>(
                        simd,
                        to - from,
                        a.start.add(row * a.depth + from * ROWS),
                        b.add(from * columns + column),
                        columns,
                        c.add(row * columns + column),
                        columns,
                        ROWS.min(rows - row),
                        width,
                        Into::Subtracted,
                        false,
                    );
                }
                row += ROWS;
            }
            column += width;
        }
        from = to;
    }
}
