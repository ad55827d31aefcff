//! A whole linear in one go: engine/quantizers/quantize-rows.ts for all rows, on all threads.

use crate::columns::{
    ColumnBlock, ColumnProblem, PackedFactor, ROWS_MULTIPLE, Scaling, quantize_columns,
};
use crate::energy::output_energy;
use crate::groups::{GroupFactor, LEAST_GAIN, factorize_groups};
use crate::learn::learn_rounding;
use crate::packed::PackedMatrix;
use crate::product::{Matrix, Strips, Workspace};
use crate::refine::{Rows, Shared, refine};
use crate::scales::{CodeGrid, Search, find_scale, round_small};
use crate::scratch::Scratch;
use crate::simd::{dispatch, dot};
use crate::threads::{Cancellation, Cancelled};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::borrow::Cow;

/// Rows that are transposed together.
const ROWS_TOGETHER: usize = 8;

/// How codes are chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Each weight for itself.
    RoundToNearest,
    /// GPTQ with scales from the original weights.
    StaticGroups,
    /// GPTQ with scales that are found on the way.
    GroupsOnTheWay,
}

/// A Hessian in the order of columns in which groups are contiguous ("outer order").
pub struct Hessian<'a> {
    /// `[columns, columns]`, symmetric, undamped.
    pub values: &'a [f64],
    /// `[columns]`: the column of the weight at each place of the outer order.
    pub outer_order: &'a [i32],
    /// `[columns]`: the place in the outer order of each column in the order of solving.
    pub solve_order: &'a [i32],
    /// `[columns]`, in the outer order: 1 where the input was always zero.
    pub dead: &'a [u8],
    /// `[columns, columns]`, in the order of solving: Uᵀ. Needed by GPTQ.
    pub factor: Option<&'a [f64]>,
}

impl<'a> Hessian<'a> {
    /// With `share` of the mean live diagonal added to the diagonal; and how much that is.
    fn damped(&self, share: f64) -> (Cow<'a, [f64]>, f64) {
        if share == 0.0 {
            return (Cow::Borrowed(self.values), 0.0);
        }
        let columns = self.dead.len();
        let diagonal = |i: usize| self.values[i * columns + i];
        let live = (0..columns).filter(|&i| self.dead[i] == 0);
        let (trace, count) = live.fold((0.0, 0.0), |(sum, count), i| {
            (sum + diagonal(i), count + 1.0)
        });
        let added = share * trace / count;
        let mut values = self.values.to_vec();
        for i in 0..columns {
            values[i * columns + i] += added;
        }
        (Cow::Owned(values), added)
    }
}

pub struct LinearProblem<'a> {
    /// `[rows, columns]`.
    pub weight: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    pub group_size: usize,
    pub grid: CodeGrid,
    pub method: Method,
    pub search: Search,
    /// Columns are weighed by the pivots of the factor, 1 / U_jj², not by the diagonal of the Hessian.
    pub pivots: bool,
    /// Rounds of refinement; needs a Hessian.
    pub refinements: usize,
    /// Steps of learned rounding before them; needs a Hessian.
    pub learned_rounding: usize,
    /// Share of the mean live diagonal of the Hessian that is added to it in all that improves on the method's codes.
    pub refinement_damping: f64,
    /// Times that GPTQ runs again with the refined scales; needs refinements.
    pub restarts: usize,
    /// Rounds of refinement that begin with solving every group again; after all else, as long as they help.
    pub group_rounds: usize,
    /// Sums for the report; without them, and without refinements, they stay zero.
    pub errors: bool,
    pub hessian: Option<Hessian<'a>>,
}

impl LinearProblem<'_> {
    /// Whether anything improves on the method's codes.
    fn improves(&self) -> bool {
        self.learned_rounding > 0 || self.refinements > 0 || self.group_rounds > 0
    }
}

/// Everything of all rows.
pub struct QuantizedRows {
    /// `[rows, columns]`, in the order of the source.
    pub codes: Vec<u8>,
    /// `[rows, groups]`.
    pub scales: Vec<f32>,
    pub zeros: Vec<u8>,
    /// All `[rows]`.
    /// Before any refinement, after learned rounding (where asked for), after the first refinements, after the restarts, in the end.
    pub errors_before: Vec<f64>,
    pub errors_learned: Option<Vec<f64>>,
    pub errors_refined: Vec<f64>,
    pub errors_restarted: Vec<f64>,
    pub errors: Vec<f64>,
    pub energies: Vec<f64>,
    pub weight_errors: Vec<f64>,
    pub weight_energies: Vec<f64>,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    NonFiniteWeight { row: usize, column: usize },
    ScaleTooLarge { row: usize, group: usize },
    Cancelled,
}

impl From<Cancelled> for Fault {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// What the blocks share.
struct Job<'a> {
    problem: &'a LinearProblem<'a>,
    groups: usize,
    /// `[columns]`, non-negative: diagonal of the Hessian, or ones.
    importance: Vec<f64>,
    /// `[columns]`: group of each column in the order of solving.
    group_of: Vec<u32>,
    factor: Option<PackedFactor<'a>>,
    /// `[columns, columns]`: the Hessian that is refined with, and what its diagonal has more than the given one.
    hessian: Cow<'a, [f64]>,
    damping: f64,
    /// That Hessian; without refinements the half of it that output_energy takes.
    strips: Option<Strips<f64>>,
    group_factors: Vec<Option<GroupFactor>>,
    cancellation: &'a Cancellation,
}

/// The slices of the result that one block writes.
struct Block<'a> {
    weight: &'a [f32],
    rows: usize,
    codes: &'a mut [u8],
    scales: &'a mut [f32],
    zeros: &'a mut [u8],
    errors_before: &'a mut [f64],
    errors_learned: &'a mut [f64],
    errors_refined: &'a mut [f64],
    errors_restarted: &'a mut [f64],
    errors: &'a mut [f64],
    energies: &'a mut [f64],
    weight_errors: &'a mut [f64],
    weight_energies: &'a mut [f64],
}

/// Quantizes a linear on the threads of the pool that this is called in. The result does not depend on how many there are.
pub fn quantize_linear(
    problem: &LinearProblem,
    cancellation: &Cancellation,
) -> Result<QuantizedRows, Fault> {
    let LinearProblem { rows, columns, .. } = *problem;
    check_lengths(problem);
    if let Some(at) = first_non_finite(problem.weight) {
        return Err(Fault::NonFiniteWeight {
            row: at / columns,
            column: at % columns,
        });
    }
    let groups = columns.div_ceil(problem.group_size);
    let hessian = problem.hessian.as_ref();
    let refines = problem.improves();
    let needed = problem.errors || refines;
    let (refined_with, damping) = hessian.map_or((Cow::Borrowed(&[][..]), 0.0), |hessian| {
        hessian.damped(if refines {
            problem.refinement_damping
        } else {
            0.0
        })
    });
    let packed = hessian.filter(|_| needed).map(|_| {
        let matrix = Matrix::rows(refined_with.as_ptr(), columns);
        if refines {
            unsafe { PackedMatrix::new(matrix, columns, columns) }
        } else {
            unsafe { PackedMatrix::half_of_symmetric(matrix, columns, 0.5) }
        }
    });
    let factor = hessian.and_then(|hessian| hessian.factor);
    let job = Job {
        problem,
        groups,
        importance: importance_of(problem),
        group_of: hessian.map_or_else(Vec::new, |hessian| {
            let size = problem.group_size as u32;
            hessian
                .solve_order
                .iter()
                .map(|&at| at as u32 / size)
                .collect()
        }),
        factor: match problem.method {
            Method::RoundToNearest => None,
            _ => factor.map(|factor| PackedFactor::new(factor, columns)),
        },
        strips: packed.as_ref().map(PackedMatrix::strips),
        group_factors: match hessian {
            Some(_) if problem.group_rounds > 0 => {
                factorize_groups(&refined_with, columns, problem.group_size)
            }
            _ => Vec::new(),
        },
        hessian: refined_with,
        damping,
        cancellation,
    };
    let mut errors_learned = vec![0.0; rows];
    let mut result = QuantizedRows {
        codes: vec![0; rows * columns],
        scales: vec![0.0; rows * groups],
        zeros: vec![0; rows * groups],
        errors_before: vec![0.0; rows],
        errors_learned: None,
        errors_refined: vec![0.0; rows],
        errors_restarted: vec![0.0; rows],
        errors: vec![0.0; rows],
        energies: vec![0.0; rows],
        weight_errors: vec![0.0; rows],
        weight_energies: vec![0.0; rows],
    };
    let size = rows_of_block(rows);
    let mut blocks = Vec::with_capacity(rows.div_ceil(size));
    let parts = (problem.weight.chunks(size * columns))
        .zip(result.codes.chunks_mut(size * columns))
        .zip(result.scales.chunks_mut(size * groups))
        .zip(result.zeros.chunks_mut(size * groups))
        .zip(result.errors_before.chunks_mut(size))
        .zip(errors_learned.chunks_mut(size))
        .zip(result.errors_refined.chunks_mut(size))
        .zip(result.errors_restarted.chunks_mut(size))
        .zip(result.errors.chunks_mut(size))
        .zip(result.energies.chunks_mut(size))
        .zip(result.weight_errors.chunks_mut(size))
        .zip(result.weight_energies.chunks_mut(size));
    for (
        (
            (
                (
                    (
                        (
                            (((((weight, codes), scales), zeros), errors_before), errors_learned),
                            errors_refined,
                        ),
                        errors_restarted,
                    ),
                    errors,
                ),
                energies,
            ),
            weight_errors,
        ),
        weight_energies,
    ) in parts
    {
        blocks.push(Block {
            rows: weight.len() / columns,
            weight,
            codes,
            scales,
            zeros,
            errors_before,
            errors_learned,
            errors_refined,
            errors_restarted,
            errors,
            energies,
            weight_errors,
            weight_energies,
        });
    }
    blocks
        .into_par_iter()
        .with_max_len(1)
        .try_for_each(|block| dispatch(BlockTask { job: &job, block }))?;
    result.errors_learned = (problem.learned_rounding > 0).then_some(errors_learned);
    if let Some(at) = result.scales.iter().position(|scale| scale.is_infinite()) {
        return Err(Fault::ScaleTooLarge {
            row: at / groups,
            group: at % groups,
        });
    }
    Ok(result)
}

/// What an error in each column costs, in the outer order.
fn importance_of(problem: &LinearProblem) -> Vec<f64> {
    let columns = problem.columns;
    let Some(hessian) = &problem.hessian else {
        return vec![1.0; columns];
    };
    if let (true, Some(factor)) = (problem.pivots, hessian.factor) {
        let mut importance = vec![0.0; columns];
        for (i, &place) in hessian.solve_order.iter().enumerate() {
            let u = factor[i * columns + i];
            importance[place as usize] = 1.0 / (u * u);
        }
        return importance;
    }
    (0..columns)
        .map(|i| hessian.values[i * columns + i].max(0.0))
        .collect()
}

/// Wrong lengths are a fault of the caller, and must not read beyond memory.
fn check_lengths(problem: &LinearProblem) {
    let LinearProblem {
        rows,
        columns,
        group_size,
        ..
    } = *problem;
    assert!(rows > 0 && columns > 0 && group_size > 0, "an empty linear");
    assert_eq!(problem.weight.len(), rows * columns, "weights");
    let Some(hessian) = &problem.hessian else {
        assert!(problem.method == Method::RoundToNearest && !problem.improves());
        assert!(problem.restarts == 0);
        return;
    };
    assert_eq!(hessian.values.len(), columns * columns, "Hessian");
    assert_eq!(hessian.dead.len(), columns, "dead columns");
    for order in [hessian.outer_order, hessian.solve_order] {
        assert_eq!(order.len(), columns, "order of columns");
        assert!(
            order.iter().all(|&at| (at as usize) < columns),
            "order of columns"
        );
    }
    assert!(problem.restarts == 0 || problem.method != Method::RoundToNearest);
    if problem.method != Method::RoundToNearest {
        assert_eq!(
            hessian.factor.map(<[f64]>::len),
            Some(columns * columns),
            "factor"
        );
    }
}

/// Large enough that what is read for a block serves many rows, small enough that every thread has some.
fn rows_of_block(rows: usize) -> usize {
    let threads = rayon::current_num_threads();
    let share = rows.div_ceil(2 * threads).next_multiple_of(ROWS_MULTIPLE);
    share.min(4 * ROWS_MULTIPLE)
}

fn first_non_finite(weight: &[f32]) -> Option<usize> {
    const STRETCH: usize = 1 << 16;
    weight
        .par_chunks(STRETCH)
        .enumerate()
        .find_map_first(|(index, part)| {
            // A sum would overflow; the largest exponent does not.
            let all = part.iter().fold(0, |all, w| {
                all | (w.to_bits() & 0x7f80_0000 == 0x7f80_0000) as u32
            });
            if all == 0 {
                return None;
            }
            let at = part.iter().position(|w| !w.is_finite())?;
            Some(index * STRETCH + at)
        })
}

struct BlockTask<'a> {
    job: &'a Job<'a>,
    block: Block<'a>,
}

impl WithSimd for BlockTask<'_> {
    type Output = Result<(), Cancelled>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let BlockTask { job, mut block } = self;
        job.cancellation.check()?;
        let problem = job.problem;
        let original = in_outer_order(problem, &block);
        let mut weights = copy_of(&original);
        if let Some(hessian) = &problem.hessian {
            for row in weights.chunks_mut(problem.columns) {
                for (w, dead) in row.iter_mut().zip(hessian.dead) {
                    *w = if *dead == 0 { *w } else { 0.0 };
                }
            }
        }
        if problem.method != Method::GroupsOnTheWay {
            find_scales(simd, job, &mut block, &weights);
        }
        // In the outer order until the end.
        let mut codes = vec![0; block.rows * problem.columns];
        match problem.method {
            Method::RoundToNearest => round_to_nearest(job, &block, &weights, &mut codes),
            _ => {
                let given = problem.method == Method::StaticGroups;
                error_compensation(simd, job, &mut block, &weights, &mut codes, given)?
            }
        }
        // A fault: what follows would only be wrong.
        if block.scales.iter().any(|scale| scale.is_infinite()) {
            return Ok(());
        }
        if problem.errors || problem.improves() {
            output_errors(simd, job, &mut block, &weights, &mut codes)?;
        }
        if problem.errors {
            weight_errors(job, &mut block, &original, &codes);
        }
        match &problem.hessian {
            None => block.codes.copy_from_slice(&codes),
            Some(hessian) => {
                let rows = block.codes.chunks_mut(problem.columns);
                for (to, from) in rows.zip(codes.chunks(problem.columns)) {
                    for (code, &place) in from.iter().zip(hessian.outer_order) {
                        to[place as usize] = *code;
                    }
                }
            }
        }
        Ok(())
    }
}

fn copy_of(array: &[f64]) -> Scratch<f64> {
    let mut copy = Scratch::any(array.len());
    copy.copy_from_slice(array);
    copy
}

/// The block's weights in float64, columns in the order in which groups are contiguous.
#[inline(always)]
fn in_outer_order(problem: &LinearProblem, block: &Block) -> Scratch<f64> {
    let mut ordered = Scratch::any(block.weight.len());
    let Some(hessian) = &problem.hessian else {
        for (to, &w) in ordered.iter_mut().zip(block.weight) {
            *to = w as f64;
        }
        return ordered;
    };
    let rows = ordered.chunks_mut(problem.columns);
    for (to, from) in rows.zip(block.weight.chunks(problem.columns)) {
        for (w, &place) in to.iter_mut().zip(hessian.outer_order) {
            *w = from[place as usize] as f64;
        }
    }
    ordered
}

/// Calls `work(row, group, columns)` for every group of every row of the block.
#[inline(always)]
fn for_groups(job: &Job, rows: usize, mut work: impl FnMut(usize, usize, std::ops::Range<usize>)) {
    let LinearProblem {
        columns,
        group_size,
        ..
    } = *job.problem;
    for row in 0..rows {
        for group in 0..job.groups {
            let first = group * group_size;
            work(row, group, first..(first + group_size).min(columns));
        }
    }
}

#[inline(always)]
fn find_scales<S: Simd>(simd: S, job: &Job, block: &mut Block, weights: &[f64]) {
    let columns = job.problem.columns;
    for row in 0..block.rows {
        for group in 0..job.groups {
            let first = group * job.problem.group_size;
            let last = (first + job.problem.group_size).min(columns);
            let part = &weights[row * columns..][first..last];
            let importance = &job.importance[first..last];
            let (scale, zero) =
                find_scale(simd, part, importance, job.problem.grid, job.problem.search);
            block.scales[row * job.groups + group] = scale as f32;
            block.zeros[row * job.groups + group] = zero as u8;
        }
    }
}

/// `q = clamp(round(w / s) + z, 0, 2^b - 1)`, halves to even.
#[inline(always)]
fn round_to_nearest(job: &Job, block: &Block, weights: &[f64], codes: &mut [u8]) {
    let (columns, levels) = (job.problem.columns, job.problem.grid.levels);
    for_groups(job, block.rows, |row, group, range| {
        let scale = block.scales[row * job.groups + group] as f64;
        let zero = block.zeros[row * job.groups + group] as f64;
        let weights = &weights[row * columns..][range.clone()];
        for (code, w) in codes[row * columns..][range].iter_mut().zip(weights) {
            let step = round_small(w / scale) + zero;
            let step = if step < 0.0 { 0.0 } else { step };
            *code = (if step > levels { levels } else { step }) as u8;
        }
    });
}

/// GPTQ: the block transposed and in the order of solving, there and back. Scales are `given`, or found on the way.
#[inline(always)]
fn error_compensation<S: Simd>(
    simd: S,
    job: &Job,
    block: &mut Block,
    weights: &[f64],
    codes: &mut [u8],
    given: bool,
) -> Result<(), Cancelled> {
    let LinearProblem { columns, .. } = *job.problem;
    let (Some(hessian), Some(factor)) = (&job.problem.hessian, &job.factor) else {
        unreachable!("lengths were checked");
    };
    let rows = block.rows.next_multiple_of(ROWS_MULTIPLE);
    let mut turned = Scratch::zeros(columns * rows);
    let mut turned_codes = Scratch::any(columns * rows);
    let mut scales = vec![1.0; job.groups * rows];
    let mut zeros = vec![0.0; job.groups * rows];
    // A few rows at a time: all of them would come from as many lines of the same few places in the cache.
    for first in (0..block.rows).step_by(ROWS_TOGETHER) {
        let together = first..(first + ROWS_TOGETHER).min(block.rows);
        for (i, &place) in hessian.solve_order.iter().enumerate() {
            for row in together.clone() {
                turned[i * rows + row] = weights[row * columns + place as usize];
            }
        }
    }
    for row in 0..block.rows {
        for group in 0..job.groups {
            if given {
                scales[group * rows + row] = block.scales[row * job.groups + group] as f64;
                zeros[group * rows + row] = block.zeros[row * job.groups + group] as f64;
            }
        }
    }
    let problem = ColumnProblem {
        factor,
        columns,
        group_size: job.problem.group_size,
        groups: job.groups,
        group_of: &job.group_of,
        grid: job.problem.grid,
        scaling: (!given).then_some(Scaling {
            importance: &job.importance,
            search: job.problem.search,
        }),
    };
    let mut turned_block = ColumnBlock {
        rows,
        live: block.rows,
        weights: &mut turned,
        scales: &mut scales,
        zeros: &mut zeros,
        codes: &mut turned_codes,
    };
    quantize_columns(simd, &problem, &mut turned_block, job.cancellation)?;
    for first in (0..block.rows).step_by(ROWS_TOGETHER) {
        let together = first..(first + ROWS_TOGETHER).min(block.rows);
        for (i, &place) in hessian.solve_order.iter().enumerate() {
            for row in together.clone() {
                codes[row * columns + place as usize] = turned_codes[i * rows + row];
            }
        }
    }
    for row in 0..block.rows {
        for group in 0..job.groups {
            block.scales[row * job.groups + group] = scales[group * rows + row] as f32;
            block.zeros[row * job.groups + group] = zeros[group * rows + row] as u8;
        }
    }
    Ok(())
}

/// Errors of the outputs; with refinements, after making them smaller.
#[inline(always)]
fn output_errors<S: Simd>(
    simd: S,
    job: &Job,
    block: &mut Block,
    weights: &[f64],
    codes: &mut [u8],
) -> Result<(), Cancelled> {
    let (columns, problem) = (job.problem.columns, job.problem);
    let Some(strips) = job.strips else {
        return Ok(());
    };
    if !problem.improves() {
        let mut workspace = Workspace::default();
        let difference = difference(job, block, weights, codes);
        output_energy(
            simd,
            &mut workspace,
            &difference,
            columns,
            strips,
            block.errors,
        );
        block.errors_before.copy_from_slice(block.errors);
        block.errors_refined.copy_from_slice(block.errors);
        block.errors_restarted.copy_from_slice(block.errors);
        output_energy(
            simd,
            &mut workspace,
            weights,
            columns,
            strips,
            block.energies,
        );
        return Ok(());
    }
    let shared = |rounds: usize, group_factors| Shared {
        columns,
        group_size: problem.group_size,
        groups: job.groups,
        grid: problem.grid,
        hessian: &job.hessian,
        strips,
        rounds,
        group_factors,
    };
    let excess_before = excess(job, block, weights, codes);
    let first = shared(problem.refinements, &[]);
    let mut before = None;
    if problem.learned_rounding > 0 {
        let rows = rows_of(block, codes, weights);
        let learned = shared(problem.learned_rounding, &[]);
        learn_rounding(simd, &learned, rows, job.cancellation)?;
        let excess = excess(job, block, weights, codes);
        subtract(block.errors, &excess, block.errors_learned);
        before = Some(block.errors_before.to_vec());
    }
    let rows = rows_of(block, codes, weights);
    refine(simd, &first, rows, job.cancellation)?;
    let before = before.unwrap_or_else(|| block.errors_before.to_vec());
    let excess_refined = excess(job, block, weights, codes);
    subtract(block.errors, &excess_refined, block.errors_refined);
    for _ in 0..problem.restarts {
        restart(simd, job, block, &first, weights, codes)?;
    }
    let excess_restarted = excess(job, block, weights, codes);
    subtract(block.errors, &excess_restarted, block.errors_restarted);
    if problem.group_rounds > 0 {
        let last = shared(problem.group_rounds, &job.group_factors);
        let rows = rows_of(block, codes, weights);
        refine(simd, &last, rows, job.cancellation)?;
    }
    subtract(&before, &excess_before, block.errors_before);
    let excess_last = excess(job, block, weights, codes);
    let damped = block.errors.to_vec();
    subtract(&damped, &excess_last, block.errors);
    let damped = block.energies.to_vec();
    subtract(&damped, &squares(job, weights), block.energies);
    Ok(())
}

/// What the damping adds to the errors of the rows.
#[inline(always)]
fn excess(job: &Job, block: &Block, weights: &[f64], codes: &[u8]) -> Vec<f64> {
    if job.damping == 0.0 {
        return vec![0.0; block.rows];
    }
    squares(job, &difference(job, block, weights, codes))
}

/// `damping ‖x‖²` of each row.
#[inline(always)]
fn squares(job: &Job, x: &[f64]) -> Vec<f64> {
    let rows = x.chunks(job.problem.columns);
    rows.map(|x| job.damping * dot(x, x)).collect()
}

fn subtract(from: &[f64], what: &[f64], to: &mut [f64]) {
    for ((to, from), what) in to.iter_mut().zip(from).zip(what) {
        *to = from - what;
    }
}

#[inline(always)]
fn rows_of<'a>(block: &'a mut Block, codes: &'a mut [u8], weights: &'a [f64]) -> Rows<'a> {
    Rows {
        rows: block.rows,
        weights,
        scales: block.scales,
        zeros: block.zeros,
        codes,
        errors_before: block.errors_before,
        errors: block.errors,
        energies: block.energies,
    }
}

/// GPTQ again with the refined scales, and refinement again. A row keeps the better of both.
#[inline(always)]
fn restart<S: Simd>(
    simd: S,
    job: &Job,
    block: &mut Block,
    shared: &Shared,
    weights: &[f64],
    codes: &mut [u8],
) -> Result<(), Cancelled> {
    let (columns, groups) = (job.problem.columns, job.groups);
    let kept_codes = codes.to_vec();
    let kept_scales = block.scales.to_vec();
    let kept_zeros = block.zeros.to_vec();
    let kept_errors = block.errors.to_vec();
    error_compensation(simd, job, block, weights, codes, true)?;
    refine(
        simd,
        shared,
        rows_of(block, codes, weights),
        job.cancellation,
    )?;
    for row in 0..block.rows {
        if block.errors[row] < kept_errors[row] * (1.0 - LEAST_GAIN) {
            continue;
        }
        let (weights, scales) = (row * columns.., row * groups..);
        codes[weights.clone()][..columns].copy_from_slice(&kept_codes[weights][..columns]);
        block.scales[scales.clone()][..groups]
            .copy_from_slice(&kept_scales[scales.clone()][..groups]);
        block.zeros[scales.clone()][..groups].copy_from_slice(&kept_zeros[scales][..groups]);
        block.errors[row] = kept_errors[row];
    }
    Ok(())
}

/// `W - Q`, `[rows, columns]`, all in the outer order.
#[inline(always)]
fn difference(job: &Job, block: &Block, weights: &[f64], codes: &[u8]) -> Scratch<f64> {
    let columns = job.problem.columns;
    let mut difference = copy_of(weights);
    for_groups(job, block.rows, |row, group, range| {
        let scale = block.scales[row * job.groups + group] as f64;
        let zero = block.zeros[row * job.groups + group] as f64;
        let codes = &codes[row * columns..][range.clone()];
        for (d, code) in difference[row * columns..][range].iter_mut().zip(codes) {
            *d = (*code as f64 - zero).mul_add(-scale, *d);
        }
    });
    difference
}

/// `‖ΔW‖²` and `‖W‖²` of each row, against the weights of the source: what zeroing dead columns costs counts.
#[inline(always)]
fn weight_errors(job: &Job, block: &mut Block, original: &[f64], codes: &[u8]) {
    let columns = job.problem.columns;
    let difference = difference(job, block, original, codes);
    for row in 0..block.rows {
        let d = &difference[row * columns..][..columns];
        let w = &original[row * columns..][..columns];
        block.weight_errors[row] = dot(d, d);
        block.weight_energies[row] = dot(w, w);
    }
}
