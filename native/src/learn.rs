//! Learned rounding: signed gradient descent on an offset of every weight before it is rounded.
//! See engine/kernels/learn-rounding.ts.

use crate::groups::{LEAST_GAIN, clamp};
use crate::product::{Into, Matrix, Triangles, Workspace, multiply};
use crate::refine::{Rows, Shared, add_multiple};
use crate::scales::round_small;
use crate::scratch::Scratch;
use crate::simd::dot;
use crate::threads::{Cancellation, Cancelled};
use pulp::Simd;

/// The first step times the number of steps. They fall linearly, so that an offset moves by half of this at most.
const RATE: f64 = 0.5;

/// Offsets lie between minus this and this.
const LARGEST_OFFSET: f64 = 0.5;

/// Bound on how far the middle of a weight's offsets lies from its code: rounded, it is that code.
const WITHIN_CODE: f64 = 0.499;

/// Moves that are applied in one pass over the gradient.
const FUSED: usize = 4;

/// Columns that are looked at together.
const GLANCE: usize = 16;

/// One row; all `[columns]`.
struct Learner {
    scales: Vec<f64>,
    /// The range of steps (codes less the zero point); where nothing may move, that of one step.
    lowest: Vec<f64>,
    highest: Vec<f64>,
    /// What is rounded: the middle and the offset together.
    middles: Vec<f64>,
    places: Vec<f64>,
    steps: Vec<f64>,
    next: Vec<f64>,
    best: Vec<f64>,
    /// Columns whose step has changed, and by how much the weight did.
    moved: Vec<(usize, f64)>,
}

/// `shared.rounds` steps of descent for every row, which keeps the best codes that it passes. Writes neither scales nor energies.
#[inline(always)]
pub fn learn_rounding<S: Simd>(
    simd: S,
    shared: &Shared,
    rows: Rows,
    cancellation: &Cancellation,
) -> Result<(), Cancelled> {
    let Shared {
        columns, groups, ..
    } = *shared;
    let count = rows.rows;
    let mut learner = Learner::new(columns);
    let mut differences = Scratch::<f64>::any(count * columns);
    let mut gradients = Scratch::<f64>::any(count * columns);
    let scales = rows.scales.chunks(groups);
    let zeros = rows.zeros.chunks(groups);
    for (row, (scales, zeros)) in scales.zip(zeros).enumerate() {
        let of = row * columns..(row + 1) * columns;
        learner.read(shared, &rows.codes[of.clone()], scales, zeros);
        learner.subtract(&rows.weights[of.clone()], &mut differences[of]);
    }
    unsafe {
        multiply(
            simd,
            &mut Workspace::default(),
            Matrix::rows(differences.as_ptr(), columns),
            count,
            0,
            0..columns,
            shared.strips,
            0..columns,
            gradients.as_mut_ptr(),
            columns,
            Into::Set,
            Triangles::default(),
        );
    }
    for row in 0..count {
        let of = row * columns..(row + 1) * columns;
        let codes = &mut rows.codes[of.clone()];
        let zeros = &rows.zeros[row * groups..][..groups];
        learner.read(shared, codes, &rows.scales[row * groups..][..groups], zeros);
        let weights = &rows.weights[of.clone()];
        let (difference, gradient) = (&mut differences[of.clone()], &mut gradients[of]);
        let before = dot(difference, gradient);
        rows.errors_before[row] = before;
        rows.errors[row] =
            learner.learn(shared, weights, difference, gradient, before, cancellation)?;
        let parts = codes.chunks_mut(shared.group_size);
        let parts = parts.zip(learner.best.chunks(shared.group_size));
        for ((codes, steps), &zero) in parts.zip(zeros) {
            for (code, &step) in codes.iter_mut().zip(steps) {
                *code = (step + zero as f64) as i32 as u8;
            }
        }
    }
    Ok(())
}

impl Learner {
    fn new(columns: usize) -> Self {
        let array = || vec![0.0; columns];
        Self {
            scales: array(),
            lowest: array(),
            highest: array(),
            middles: array(),
            places: array(),
            steps: array(),
            next: array(),
            best: array(),
            moved: Vec::with_capacity(columns),
        }
    }

    #[inline(always)]
    fn read(&mut self, shared: &Shared, codes: &[u8], scales: &[f32], zeros: &[u8]) {
        for (group, (&scale, &zero)) in scales.iter().zip(zeros).enumerate() {
            let first = group * shared.group_size;
            for i in first..(first + shared.group_size).min(shared.columns) {
                self.scales[i] = scale as f64;
                self.steps[i] = codes[i] as f64 - zero as f64;
                self.lowest[i] = -(zero as f64);
                self.highest[i] = shared.grid.levels - zero as f64;
            }
        }
    }

    /// `W - Q`
    #[inline(always)]
    fn subtract(&self, weights: &[f64], difference: &mut [f64]) {
        let parts = weights.iter().zip(self.steps.iter().zip(&self.scales));
        for (difference, (&weight, (&step, &scale))) in difference.iter_mut().zip(parts) {
            *difference = step.mul_add(-scale, weight);
        }
    }

    /// Returns the least error; its steps are in `best`.
    #[inline(always)]
    fn learn(
        &mut self,
        shared: &Shared,
        weights: &[f64],
        difference: &mut [f64],
        gradient: &mut [f64],
        before: f64,
        cancellation: &Cancellation,
    ) -> Result<f64, Cancelled> {
        let columns = shared.columns;
        for i in 0..columns {
            let curvature = shared.hessian[i * columns + i] * self.scales[i];
            if curvature > 0.0 {
                let way = gradient[i] / curvature;
                self.middles[i] = self.steps[i] + WITHIN_CODE * way / (0.5 + way.abs());
            } else {
                self.middles[i] = self.steps[i];
                self.lowest[i] = self.steps[i];
                self.highest[i] = self.steps[i];
            }
        }
        self.places.copy_from_slice(&self.middles);
        self.best.copy_from_slice(&self.steps);
        let mut least = before;
        let count = shared.rounds as f64;
        for round in 0..shared.rounds {
            cancellation.check()?;
            self.step(gradient, RATE / count * (1.0 - round as f64 / count));
            if self.moved.is_empty() {
                continue;
            }
            self.apply(shared, gradient);
            self.subtract(weights, difference);
            let error = dot(difference, gradient);
            if error < least * (1.0 - LEAST_GAIN) {
                least = error;
                self.best.copy_from_slice(&self.steps);
            }
        }
        Ok(least)
    }

    /// Every offset by `rate` to where its gradient points, and what then rounds to another code.
    #[inline(always)]
    fn step(&mut self, gradient: &[f64], rate: f64) {
        let parts = (self.next.iter_mut().zip(&mut self.places).zip(gradient))
            .zip(&self.middles)
            .zip(self.lowest.iter().zip(&self.highest));
        for ((((next, place), &gradient), &middle), (&lowest, &highest)) in parts {
            let by = if gradient < 0.0 { -rate } else { rate };
            let by = if gradient == 0.0 { 0.0 } else { by };
            let (least, most) = (middle - LARGEST_OFFSET, middle + LARGEST_OFFSET);
            *place = clamp(*place + by, least, most);
            *next = clamp(round_small(*place), lowest, highest);
        }
        self.moved.clear();
        let parts = (self.next.chunks(GLANCE)).zip(self.steps.chunks_mut(GLANCE));
        for (at, (next, steps)) in parts.enumerate() {
            let apart = next.iter().zip(steps.iter());
            if apart.fold(0.0, |sum, (next, step)| sum + (next - step).abs()) == 0.0 {
                continue;
            }
            for (i, (&next, step)) in next.iter().zip(steps).enumerate() {
                if next != *step {
                    let column = at * GLANCE + i;
                    self.moved
                        .push((column, (next - *step) * self.scales[column]));
                    *step = next;
                }
            }
        }
    }

    /// `G -= δ H[moved, :]`
    #[inline(always)]
    fn apply(&self, shared: &Shared, gradient: &mut [f64]) {
        let of = |i: usize| &shared.hessian[i * shared.columns..][..shared.columns];
        let whole = self.moved.chunks_exact(FUSED);
        for &(i, by) in whole.remainder() {
            add_multiple(gradient, -by, of(i));
        }
        for four in whole {
            let [(i0, by0), (i1, by1), (i2, by2), (i3, by3)] = [four[0], four[1], four[2], four[3]];
            let (h0, h1, h2, h3) = (of(i0), of(i1), of(i2), of(i3));
            let columns = gradient.len();
            let (h0, h1, h2, h3) = (
                &h0[..columns],
                &h1[..columns],
                &h2[..columns],
                &h3[..columns],
            );
            for i in 0..columns {
                let x = (-by0).mul_add(h0[i], gradient[i]);
                let x = (-by1).mul_add(h1[i], x);
                let x = (-by2).mul_add(h2[i], x);
                gradient[i] = (-by3).mul_add(h3[i], x);
            }
        }
    }
}
