//! GPTQ's column loop (Frantar et al. 2022, Algorithm 1) on a block of rows.
//!
//! The block lies transposed, `[columns, ROWS]`: a vector holds one column of several rows. Updates are lazy in two levels and look
//! to the left: before columns are quantized, the errors of all columns before them are applied as one product. So what is written
//! stays in the cache, and what is read is read in order.

use crate::product::{Matrix, SharedMut, Strips, subtract_strips, tile_rows};
use crate::scales::{CodeGrid, SHIFT, Search, find_scale};
use crate::scratch::Scratch;
use crate::simd::dispatch;
use crate::threads::{Cancellation, Cancelled};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Columns that get the errors of all before them together.
const PANEL: usize = 64;

/// Columns that are quantized in registers.
const STRIP: usize = 8;

/// Vectors of rows that are quantized together, since each alone would wait for its own divisions.
const TOGETHER: usize = 3;

/// A number of rows that every vector and tile divides.
pub const ROWS_MULTIPLE: usize = 24;

/// Uᵀ `[columns, columns]`, and packed for tiles: strips of tile rows.
pub struct PackedFactor<'a> {
    factor: &'a [f64],
    columns: usize,
    strips: Scratch<f64>,
}

struct PackFactor<'a> {
    factor: &'a [f64],
    columns: usize,
}

impl<'a> WithSimd for PackFactor<'a> {
    type Output = PackedFactor<'a>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> PackedFactor<'a> {
        let PackFactor { factor, columns } = self;
        let width = tile_rows::<S>();
        let count = columns.div_ceil(width);
        let mut strips = Scratch::any(count * width * columns);
        let to = SharedMut(strips.as_mut_ptr());
        let from = Matrix::columns(factor.as_ptr(), columns);
        (0..count)
            .into_par_iter()
            .with_max_len(4)
            .for_each(|strip| {
                let first = strip * width;
                let last = (first + width).min(columns);
                // Of row j of Uᵀ only what is before the diagonal is used.
                for p in 0..last {
                    for j in 0..width {
                        let row = (first + j).min(columns - 1);
                        unsafe { *to.add(first * columns + p * width + j) = *from.at(p, row) };
                    }
                }
            });
        PackedFactor {
            factor,
            columns,
            strips,
        }
    }
}

impl<'a> PackedFactor<'a> {
    pub fn new(factor: &'a [f64], columns: usize) -> Self {
        assert_eq!(factor.len(), columns * columns);
        dispatch(PackFactor { factor, columns })
    }
}

/// How a group's scale is found when its first column is reached, from weights that the columns before have changed.
#[derive(Clone, Copy)]
pub struct Scaling<'a> {
    /// `[columns]`.
    pub importance: &'a [f64],
    pub search: Search,
}

/// Columns are in the order in which they are quantized.
pub struct ColumnProblem<'a> {
    pub factor: &'a PackedFactor<'a>,
    pub columns: usize,
    pub group_size: usize,
    pub groups: usize,
    /// `[columns]`: group of each column.
    pub group_of: &'a [u32],
    pub grid: CodeGrid,
    /// None: scales are given (static groups).
    pub scaling: Option<Scaling<'a>>,
}

/// `rows` of them, of which `live` are there; the others are zero.
pub struct ColumnBlock<'a> {
    /// A multiple of ROWS_MULTIPLE.
    pub rows: usize,
    pub live: usize,
    /// `[columns, rows]`. Destroyed: becomes the errors, divided by U_jj.
    pub weights: &'a mut [f64],
    /// `[groups, rows]`, given or written. 1 for rows that are not there.
    pub scales: &'a mut [f64],
    pub zeros: &'a mut [f64],
    /// `[columns, rows]`, written.
    pub codes: &'a mut [u8],
}

/// `1 / scale`, `-zero` and `levels - zero` of every group and row: what rounding to a code needs.
struct Rounding {
    inverses: Vec<f64>,
    lowest: Vec<f64>,
    highest: Vec<f64>,
}

#[inline(always)]
pub fn quantize_columns<S: Simd>(
    simd: S,
    problem: &ColumnProblem,
    block: &mut ColumnBlock,
    cancellation: &Cancellation,
) -> Result<(), Cancelled> {
    let ColumnProblem {
        columns,
        group_size,
        groups,
        ..
    } = *problem;
    let rows = block.rows;
    assert!(rows.is_multiple_of(ROWS_MULTIPLE) && block.live <= rows);
    assert!(block.weights.len() == columns * rows && block.codes.len() == columns * rows);
    assert!(block.scales.len() == groups * rows && block.zeros.len() == groups * rows);
    assert!(problem.group_of.len() == columns && problem.factor.columns == columns);
    let mut rounding = Rounding {
        inverses: vec![0.0; groups * rows],
        lowest: vec![0.0; groups * rows],
        highest: vec![0.0; groups * rows],
    };
    let Some(scaling) = problem.scaling else {
        rounding.fill(block, problem.grid, 0..groups);
        return quantize_range(simd, problem, block, &rounding, 0..columns, 0, cancellation);
    };
    assert!(
        groups == 1 || group_size.is_multiple_of(STRIP),
        "groups of whole strips"
    );
    let mut weights = vec![0.0; group_size];
    for group in 0..groups {
        let first = group * group_size;
        let last = (first + group_size).min(columns);
        apply_errors(simd, problem, block, 0..first, first..last);
        for row in 0..block.live {
            let weights = &mut weights[..last - first];
            for (i, weight) in weights.iter_mut().enumerate() {
                *weight = block.weights[(first + i) * rows + row];
            }
            let importance = &scaling.importance[first..last];
            let (scale, zero) = find_scale(simd, weights, importance, problem.grid, scaling.search);
            block.scales[group * rows + row] = scale;
            block.zeros[group * rows + row] = zero;
        }
        rounding.fill(block, problem.grid, group..group + 1);
        quantize_range(
            simd,
            problem,
            block,
            &rounding,
            first..last,
            first,
            cancellation,
        )?;
    }
    Ok(())
}

impl Rounding {
    #[inline(always)]
    fn fill(&mut self, block: &ColumnBlock, grid: CodeGrid, groups: std::ops::Range<usize>) {
        for at in groups.start * block.rows..groups.end * block.rows {
            self.inverses[at] = 1.0 / block.scales[at];
            self.lowest[at] = -block.zeros[at];
            self.highest[at] = grid.levels - block.zeros[at];
        }
    }
}

/// `W[to] -= U[from, to]ᵀ E[from]`
#[inline(always)]
fn apply_errors<S: Simd>(
    simd: S,
    problem: &ColumnProblem,
    block: &mut ColumnBlock,
    from: std::ops::Range<usize>,
    to: std::ops::Range<usize>,
) {
    if from.is_empty() || to.is_empty() {
        return;
    }
    let width = problem.columns;
    let start = block.weights.as_mut_ptr();
    unsafe {
        subtract_strips(
            simd,
            Strips {
                start: problem.factor.strips.as_ptr().add(to.start * width),
                depth: width,
            },
            to.len(),
            from,
            start,
            block.rows,
            start.add(to.start * block.rows),
        );
    }
}

/// Quantizes some columns that have the errors of all columns before `applied`.
#[inline(always)]
fn quantize_range<S: Simd>(
    simd: S,
    problem: &ColumnProblem,
    block: &mut ColumnBlock,
    rounding: &Rounding,
    range: std::ops::Range<usize>,
    applied: usize,
    cancellation: &Cancellation,
) -> Result<(), Cancelled> {
    let mut panel = range.start;
    while panel < range.end {
        cancellation.check()?;
        let end = (panel + PANEL).min(range.end);
        apply_errors(simd, problem, block, applied..panel, panel..end);
        let mut start = panel;
        while start < end {
            let stop = (start + STRIP).min(end);
            apply_errors(simd, problem, block, panel..start, start..stop);
            let mut row = 0;
            while row < block.rows {
                if stop - start == STRIP {
                    quantize_strip::<S, STRIP>(simd, problem, block, rounding, start, row);
                } else {
                    for column in start..stop {
                        quantize_strip::<S, 1>(simd, problem, block, rounding, column, row);
                        let rows = TOGETHER * S::F64_LANES;
                        spread_one(problem, block, column, column + 1..stop, row..row + rows);
                    }
                }
                row += TOGETHER * S::F64_LANES;
            }
            start = stop;
        }
        panel = end;
    }
    Ok(())
}

/// Codes and errors of WIDTH columns of some rows, in registers.
#[inline(always)]
fn quantize_strip<S: Simd, const WIDTH: usize>(
    simd: S,
    problem: &ColumnProblem,
    block: &mut ColumnBlock,
    rounding: &Rounding,
    start: usize,
    row: usize,
) {
    let (lanes, rows, columns) = (S::F64_LANES, block.rows, problem.columns);
    let factor = problem.factor.factor;
    let shift = simd.splat_f64s(SHIFT);
    let weights = block.weights.as_mut_ptr();
    let zero = simd.splat_f64s(0.0);
    let mut w = [[zero; TOGETHER]; WIDTH];
    let mut codes = [[0.0f64; 24]; WIDTH];
    unsafe {
        for i in 0..WIDTH {
            for v in 0..TOGETHER {
                let at = weights.add((start + i) * rows + row + v * lanes) as *const S::f64s;
                w[i][v] = at.read_unaligned();
            }
        }
        for i in 0..WIDTH {
            let group = problem.group_of[start + i] as usize * rows + row;
            // A product with the inverse differs from the quotient by one rounding: once per column, not per weight.
            let pivot = 1.0 / factor[(start + i) * columns + start + i];
            let pivot = simd.splat_f64s(pivot);
            let load = |values: &[f64], v: usize| {
                (values.as_ptr().add(group + v * lanes) as *const S::f64s).read_unaligned()
            };
            for v in 0..TOGETHER {
                let scale = load(block.scales, v);
                let inverse = load(&rounding.inverses, v);
                // The correctly rounded quotient w / scale (Markstein 1990): exact ties must stay ties.
                let guess = simd.mul_f64s(w[i][v], inverse);
                let rest = simd.mul_add_f64s(simd.neg_f64s(guess), scale, w[i][v]);
                let x = simd.mul_add_f64s(rest, inverse, guess);
                let step = simd.sub_f64s(simd.add_f64s(x, shift), shift);
                let lowest = load(&rounding.lowest, v);
                let highest = load(&rounding.highest, v);
                let step = simd.min_f64s(simd.max_f64s(step, lowest), highest);
                let code = simd.add_f64s(simd.sub_f64s(step, lowest), shift);
                (codes[i].as_mut_ptr().add(v * lanes) as *mut S::f64s).write_unaligned(code);
                let error = simd.mul_add_f64s(simd.neg_f64s(step), scale, w[i][v]);
                w[i][v] = simd.mul_f64s(error, pivot);
            }
            for j in i + 1..WIDTH {
                let u = simd.splat_f64s(-factor[(start + j) * columns + start + i]);
                for v in 0..TOGETHER {
                    w[j][v] = simd.mul_add_f64s(u, w[i][v], w[j][v]);
                }
            }
        }
        for i in 0..WIDTH {
            for v in 0..TOGETHER {
                let at = weights.add((start + i) * rows + row + v * lanes) as *mut S::f64s;
                at.write_unaligned(w[i][v]);
            }
            let count = TOGETHER * lanes;
            let to = &mut block.codes[(start + i) * rows + row..][..count];
            for (to, code) in to.iter_mut().zip(&codes[i][..count]) {
                // The shift leaves the integer in the lowest bits.
                *to = code.to_bits() as u8;
            }
        }
    }
}

/// The errors of one column, on later ones: for the few columns at the end that fill no strip.
#[inline(always)]
fn spread_one(
    problem: &ColumnProblem,
    block: &mut ColumnBlock,
    column: usize,
    later: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
) {
    let (errors, rest) = block.weights.split_at_mut((column + 1) * block.rows);
    let errors = &errors[column * block.rows..][rows.clone()];
    for j in later {
        let u = -problem.factor.factor[j * problem.columns + column];
        let weights = &mut rest[(j - column - 1) * block.rows..][rows.clone()];
        for (weight, error) in weights.iter_mut().zip(errors) {
            *weight = u.mul_add(*error, *weight);
        }
    }
}
