//! Lowers tr((W - Q) H (W - Q)ᵀ): closed-form scales for fixed codes, coordinate descent on codes for fixed scales.
//! See engine/kernels/refine.ts.

use crate::groups::{GroupFactor, Present, Room, resolve_group};
use crate::product::{Into, Matrix, Strips, Triangles, Workspace, multiply};
use crate::scales::{CodeGrid, SMALLEST_SCALE, round_small, round_to_float16};
use crate::scratch::Scratch;
use crate::simd::dot;
use crate::threads::{Cancellation, Cancelled};
use pulp::Simd;

/// Columns of a group whose moves are applied together; their rows of H serve all rows of weights from the second-level cache.
const BATCH: usize = 64;

/// Columns that moves are applied to together: of a batch's rows of H 256 KiB.
const STRETCH: usize = 512;

/// Columns that are looked at together.
const GLANCE: usize = 16;

/// Bound on the memory of the projections of one task, bytes.
const PROJECTION_BYTES: usize = 16 << 20;

/// What all rows share. Columns are in the outer order, in which groups are contiguous.
pub struct Shared<'a> {
    pub columns: usize,
    pub group_size: usize,
    pub groups: usize,
    pub grid: CodeGrid,
    /// `[columns, columns]`, symmetric.
    pub hessian: &'a [f64],
    pub strips: Strips<f64>,
    pub rounds: usize,
    /// Every round begins with solving every group again; empty: it does not.
    pub group_factors: &'a [Option<GroupFactor>],
}

/// A quantization of some rows that is improved in place.
pub struct Rows<'a> {
    pub rows: usize,
    /// `[rows, columns]`.
    pub weights: &'a [f64],
    /// `[rows, groups]`, float16 values.
    pub scales: &'a mut [f32],
    pub zeros: &'a mut [u8],
    /// `[rows, columns]`.
    pub codes: &'a mut [u8],
    /// `[rows]`, written: `ΔW H ΔWᵀ` before and after, and `W H Wᵀ`.
    pub errors_before: &'a mut [f64],
    pub errors: &'a mut [f64],
    pub energies: &'a mut [f64],
}

/// One row, with what is kept up to date along the way.
struct State<'a> {
    weights: &'a [f64],
    scales: &'a mut [f32],
    zeros: &'a mut [u8],
    codes: &'a mut [u8],
    /// t `[columns]`: code - zero.
    steps: &'a mut [f64],
    /// P `[groups, columns]`: t H for the part of t that lies in the group, so that Q H = Σ s P.
    projections: &'a mut [f64],
    /// G `[columns]`: (W - Q) H.
    gradient: &'a mut [f64],
    scales_before: Vec<f32>,
    zeros_before: Vec<u8>,
    error: f64,
    settled: bool,
}

#[inline(always)]
pub fn refine<S: Simd>(
    simd: S,
    shared: &Shared,
    rows: Rows,
    cancellation: &Cancellation,
) -> Result<(), Cancelled> {
    let Shared {
        columns,
        group_size,
        groups,
        ..
    } = *shared;
    let mut workspace = Workspace::default();
    let count = rows.rows;
    // W H of all rows at once: the projections of all of them would not fit the cache, this does.
    let mut gradients = Scratch::<f64>::any(count * columns);
    unsafe {
        multiply(
            simd,
            &mut workspace,
            Matrix::rows(rows.weights.as_ptr(), columns),
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
    // Whole tiles.
    let most =
        (PROJECTION_BYTES / (8 * groups * columns) / 8 * 8).clamp(8, count.next_multiple_of(8));
    let mut steps = Scratch::<f64>::any(most * columns);
    let mut projections = Scratch::<f64>::any(most * groups * columns);
    let mut first = 0;
    while first < count {
        cancellation.check()?;
        let last = (first + most).min(count);
        let of = |size: usize| first * size..last * size;
        let here = last - first;
        let codes = &rows.codes[of(columns)];
        let zeros = &rows.zeros[of(groups)];
        for row in 0..here {
            let of = row * columns..(row + 1) * columns;
            let parts = steps[of.clone()].chunks_mut(group_size);
            let parts = parts.zip(codes[of].chunks(group_size));
            for ((steps, codes), &zero) in parts.zip(&zeros[row * groups..]) {
                for (step, &code) in steps.iter_mut().zip(codes) {
                    *step = code as f64 - zero as f64;
                }
            }
        }
        for row in first..last {
            let of = |size: usize| row * size..(row + 1) * size;
            rows.energies[row] = dot(&rows.weights[of(columns)], &gradients[of(columns)]);
        }
        for group in 0..groups {
            let inner = group * group_size..((group + 1) * group_size).min(columns);
            unsafe {
                multiply(
                    simd,
                    &mut workspace,
                    Matrix::rows(steps.as_ptr(), columns),
                    here,
                    0,
                    inner,
                    shared.strips,
                    0..columns,
                    projections.as_mut_ptr().add(group * columns),
                    groups * columns,
                    Into::Set,
                    Triangles::default(),
                );
            }
            // W H becomes (W - Q) H while the projections are in the cache.
            for (row, gradient) in gradients[of(columns)].chunks_mut(columns).enumerate() {
                let scale = rows.scales[(first + row) * groups + group] as f64;
                let projection = &projections[(row * groups + group) * columns..][..columns];
                add_multiple(gradient, -scale, projection);
            }
        }
        let mut states: Vec<State> = Vec::with_capacity(here);
        let parts = rows.weights[of(columns)]
            .chunks(columns)
            .zip(rows.scales[of(groups)].chunks_mut(groups))
            .zip(rows.zeros[of(groups)].chunks_mut(groups))
            .zip(rows.codes[of(columns)].chunks_mut(columns))
            .zip(steps.chunks_mut(columns))
            .zip(projections.chunks_mut(groups * columns))
            .zip(gradients[of(columns)].chunks_mut(columns));
        for ((((((weights, scales), zeros), codes), steps), projections), gradient) in parts {
            states.push(State {
                scales_before: scales.to_vec(),
                zeros_before: zeros.to_vec(),
                weights,
                scales,
                zeros,
                codes,
                steps,
                projections,
                gradient,
                error: 0.0,
                settled: false,
            });
        }
        for (row, state) in states.iter_mut().enumerate() {
            state.error = error_of(shared, state);
            rows.errors_before[first + row] = state.error;
        }
        improve(shared, &mut states, cancellation)?;
        for (row, state) in states.iter().enumerate() {
            rows.errors[first + row] = state.error;
        }
        first = last;
    }
    Ok(())
}

/// Rounds until no row gets better. A row keeps what it had before the round that did not help.
#[inline(always)]
fn improve(
    shared: &Shared,
    states: &mut [State],
    cancellation: &Cancellation,
) -> Result<(), Cancelled> {
    let mut room = Room::default();
    let mut pending = Pending::default();
    for round in 0..shared.rounds {
        // Nobody reads the projections after the last round.
        let last = round + 1 == shared.rounds;
        if states.iter().all(|state| state.settled) {
            break;
        }
        for state in states.iter_mut().filter(|state| !state.settled) {
            state.scales_before.copy_from_slice(state.scales);
            state.zeros_before.copy_from_slice(state.zeros);
        }
        for (group, factor) in shared.group_factors.iter().enumerate() {
            cancellation.check()?;
            let Some(factor) = factor else { continue };
            for state in states.iter_mut().filter(|state| !state.settled) {
                refine_group(shared, state, group, factor, &mut room, &mut pending);
            }
        }
        for state in states.iter_mut().filter(|state| !state.settled) {
            refine_scales(shared, state);
        }
        for group in 0..shared.groups {
            cancellation.check()?;
            let end = ((group + 1) * shared.group_size).min(shared.columns);
            let mut start = group * shared.group_size;
            while start < end {
                let stop = (start + BATCH).min(end);
                pending.clear();
                for (row, state) in states.iter_mut().enumerate() {
                    if !state.settled {
                        refine_codes(shared, state, group, start, stop, row, &mut pending);
                    }
                }
                if last {
                    pending.apply::<false>(shared, states, group);
                } else {
                    pending.apply::<true>(shared, states, group);
                }
                start = stop;
            }
        }
        for state in states.iter_mut().filter(|state| !state.settled) {
            let after = error_of(shared, state);
            if after < state.error {
                state.error = after;
                let codes = state.codes.chunks_mut(shared.group_size);
                let parts = codes.zip(state.steps.chunks(shared.group_size));
                for ((codes, steps), &zero) in parts.zip(state.zeros.iter()) {
                    for (code, &step) in codes.iter_mut().zip(steps) {
                        // In steps of 32 bits, for which vectors have a conversion; a code is never outside of them.
                        *code = (step + zero as f64) as i32 as u8;
                    }
                }
            } else {
                state.settled = true;
                state.scales.copy_from_slice(&state.scales_before);
                state.zeros.copy_from_slice(&state.zeros_before);
            }
        }
    }
    Ok(())
}

/// `x += a y`
#[inline(always)]
pub fn add_multiple(x: &mut [f64], a: f64, y: &[f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x = a.mul_add(*y, *x);
    }
}

/// `Σ (W - Q) G`
#[inline(always)]
fn error_of(shared: &Shared, state: &State) -> f64 {
    let mut error = 0.0;
    let size = shared.group_size;
    let mut difference = [0.0; BATCH];
    for (group, &scale) in state.scales.iter().enumerate() {
        let range = group * size..((group + 1) * size).min(shared.columns);
        let weights = state.weights[range.clone()].chunks(BATCH);
        let steps = state.steps[range.clone()].chunks(BATCH);
        for ((weights, steps), gradient) in
            weights.zip(steps).zip(state.gradient[range].chunks(BATCH))
        {
            for i in 0..weights.len() {
                difference[i] = steps[i].mul_add(-(scale as f64), weights[i]);
            }
            error += dot(&difference[..weights.len()], gradient);
        }
    }
    error
}

/// Group after group (Gauss-Seidel) the scale that is best for the codes and all other scales: `δs = G tᵀ / (t H tᵀ)`. The error is a
/// parabola in s, so the float16 next to its lowest point is the best float16.
#[inline(always)]
fn refine_scales(shared: &Shared, state: &mut State) {
    let Shared {
        columns,
        group_size,
        groups,
        ..
    } = *shared;
    for group in 0..groups {
        let range = group * group_size..((group + 1) * group_size).min(columns);
        let projection = &state.projections[group * columns..][..columns];
        let steps = &state.steps[range.clone()];
        let curvature = dot(&projection[range.clone()], steps);
        let slope = dot(&state.gradient[range], steps);
        if curvature.is_nan() || curvature <= 0.0 {
            continue;
        }
        let scale = state.scales[group] as f64;
        let better = round_to_float16(scale + slope / curvature);
        if better < SMALLEST_SCALE || better == f64::INFINITY || better == scale {
            continue;
        }
        state.scales[group] = better as f32;
        add_multiple(state.gradient, scale - better, projection);
    }
}

/// Column after column the code that is best for the scales and all other codes: the weight moves by `G_c / H_cc` and is rounded.
/// Few codes move, and only those cost more than a look.
#[inline(always)]
fn refine_codes(
    shared: &Shared,
    state: &mut State,
    group: usize,
    start: usize,
    stop: usize,
    row: usize,
    pending: &mut Pending,
) {
    let Shared {
        columns, hessian, ..
    } = *shared;
    let scale = state.scales[group] as f64;
    let zero = state.zeros[group] as f64;
    let (lowest, highest) = (-zero, shared.grid.levels - zero);
    let width = stop - start;
    // Beyond the last column nothing moves: a curvature of 1 and a gradient of 0.
    let mut near = [0.0; BATCH];
    let mut curvature = [1.0; BATCH];
    let mut steps = [lowest.max(0.0); BATCH];
    near[..width].copy_from_slice(&state.gradient[start..stop]);
    steps[..width].copy_from_slice(&state.steps[start..stop]);
    for i in 0..width {
        curvature[i] = hessian[(start + i) * columns + start + i];
    }
    let before = pending.fours.len();
    let mut count = 0;
    let mut glance = 0;
    // A move changes the gradient of what follows, so what follows is looked at again.
    let mut from = 0;
    while glance < width {
        let mut better = [0.0; GLANCE];
        for i in 0..GLANCE {
            let at = glance + i;
            let target = steps[at] * scale + near[at] / curvature[at];
            let step = round_small(target / scale);
            let step = if step < lowest { lowest } else { step };
            let step = if step > highest { highest } else { step };
            better[i] = if curvature[at] > 0.0 { step } else { steps[at] };
        }
        let end = width.min(glance + GLANCE);
        let Some(column) = (from..end).find(|&at| better[at - glance] != steps[at]) else {
            glance += GLANCE;
            from = glance;
            continue;
        };
        let by = better[column - glance] - steps[column];
        steps[column] = better[column - glance];
        pending.push(count, start + column, by);
        count += 1;
        let h = &hessian[(start + column) * columns..];
        let change = -by * scale;
        for at in column + 1..width {
            near[at] = change.mul_add(h[start + at], near[at]);
        }
        from = column + 1;
    }
    if count == 0 {
        return;
    }
    state.steps[start..stop].copy_from_slice(&steps[..width]);
    pending.rows.push((row, before..pending.fours.len()));
}

/// Four columns of a group that move, and by how much; what is fewer is filled up with moves by nothing.
#[derive(Clone, Copy)]
struct Four {
    columns: [usize; 4],
    by: [f64; 4],
}

/// What has moved in some columns of all rows, and is not applied yet.
#[derive(Default)]
struct Pending {
    fours: Vec<Four>,
    /// Which row, and which of the fours are its.
    rows: Vec<(usize, std::ops::Range<usize>)>,
}

impl Pending {
    #[inline(always)]
    fn clear(&mut self) {
        self.fours.clear();
        self.rows.clear();
    }

    /// * `count`: moves of this row before this one.
    #[inline(always)]
    fn push(&mut self, count: usize, column: usize, by: f64) {
        if count.is_multiple_of(4) {
            self.fours.push(Four {
                columns: [column; 4],
                by: [0.0; 4],
            });
        }
        if let Some(last) = self.fours.last_mut() {
            last.columns[count % 4] = column;
            last.by[count % 4] = by;
        }
    }

    /// Applies it to all columns, some at a time: their part of H serves all rows from the second-level cache.
    ///
    /// * `PROJECT`: whether P is still needed. It costs more than all else, since it fits no cache.
    #[inline(always)]
    fn apply<const PROJECT: bool>(&self, shared: &Shared, states: &mut [State], group: usize) {
        for start in (0..shared.columns).step_by(STRETCH) {
            let columns = start..(start + STRETCH).min(shared.columns);
            for (row, fours) in &self.rows {
                let state = &mut states[*row];
                for four in &self.fours[fours.clone()] {
                    apply_moves::<PROJECT>(shared, state, group, four, columns.clone());
                }
            }
        }
    }
}

/// `G -= s m H[moved, :]` and `P += m H[moved, :]` in some columns.
#[inline(always)]
fn apply_moves<const PROJECT: bool>(
    shared: &Shared,
    state: &mut State,
    group: usize,
    four: &Four,
    columns: std::ops::Range<usize>,
) {
    let scale = state.scales[group] as f64;
    let by = four.by;
    let of = |k: usize| &shared.hessian[four.columns[k] * shared.columns..][columns.clone()];
    let (h0, h1, h2, h3) = (of(0), of(1), of(2), of(3));
    let projection = &mut state.projections[group * shared.columns..][columns.clone()];
    let gradient = &mut state.gradient[columns.clone()];
    for i in 0..columns.len() {
        let x = by[0] * h0[i];
        let x = by[1].mul_add(h1[i], x);
        let x = by[2].mul_add(h2[i], x);
        let x = by[3].mul_add(h3[i], x);
        gradient[i] = (-scale).mul_add(x, gradient[i]);
        if PROJECT {
            projection[i] += x;
        }
    }
}

/// A group's scale, zero point and codes all at once, where that lowers the error.
#[inline(always)]
fn refine_group(
    shared: &Shared,
    state: &mut State,
    group: usize,
    factor: &GroupFactor,
    room: &mut Room,
    pending: &mut Pending,
) {
    let columns = shared.columns;
    let first = group * shared.group_size;
    let range = first..(first + shared.group_size).min(columns);
    let scale = state.scales[group] as f64;
    let present = Present {
        steps: &state.steps[range.clone()],
        gradient: &state.gradient[range.clone()],
        scale,
        zero: state.zeros[group] as f64,
        error: state.error,
    };
    let Some(better) = resolve_group(factor, present, shared.grid, room) else {
        return;
    };
    let projection = &state.projections[group * columns..][..columns];
    add_multiple(state.gradient, scale - better.scale, projection);
    state.scales[group] = better.scale as f32;
    state.zeros[group] = better.zero as u8;
    pending.clear();
    let mut count = 0;
    for (column, &step) in range.zip(&room.steps) {
        let by = step - state.steps[column];
        if by != 0.0 {
            pending.push(count, column, by);
            count += 1;
            state.steps[column] = step;
        }
    }
    for four in &pending.fours {
        apply_moves::<true>(shared, state, group, four, 0..columns);
    }
}
