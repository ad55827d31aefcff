//! A group solved again: several scales and zero points, for each the codes by successive rounding within the group, all else given.
//! See engine/kernels/resolve-groups.ts.

use crate::inverse_factor::inverse_factor;
use crate::scales::{CodeGrid, SMALLEST_SCALE, round_small, round_to_float16};
use crate::threads::Cancellation;

/// Larger groups are left as they are: a group costs its square.
pub const LARGEST_GROUP: usize = 256;

/// Share of the mean diagonal that is added to a group's Hessian before it is factorized.
const DAMPING: f64 = 0.01;

/// Scales that are tried, relative to the present one.
const MULTIPLES: [f64; 8] = [1.0, 0.95, 1.05, 0.9, 1.1, 0.85, 0.975, 1.025];
/// The last two multiples and shifts of the zero point, with an asymmetric grid.
const SHIFTED: [(f64, f64); 16] = [
    (1.0, 0.0),
    (0.95, 0.0),
    (1.05, 0.0),
    (0.9, 0.0),
    (1.1, 0.0),
    (0.85, 0.0),
    (1.0, -1.0),
    (0.95, -1.0),
    (1.05, -1.0),
    (0.9, -1.0),
    (1.1, -1.0),
    (1.0, 1.0),
    (0.95, 1.0),
    (1.05, 1.0),
    (0.9, 1.0),
    (1.1, 1.0),
];

/// A candidate has to be better by this share of the row's error: less is noise, in which two ways to compute could differ.
pub const LEAST_GAIN: f64 = 1e-9;

/// Partial sums of a product.
const PARTS: usize = 4;

/// What all rows share of one group. Columns by falling diagonal of the Hessian.
pub struct GroupFactor {
    /// `[width]`: the column of each place, within the group.
    order: Vec<usize>,
    /// `[width, width]`: H of the group.
    hessian: Vec<f64>,
    /// `[width, width]`: Uᵀ of its damped inverse.
    factor: Vec<f64>,
}

/// One for each group; None where the group's Hessian is not positive definite. Empty when groups are too large.
pub fn factorize_groups(
    hessian: &[f64],
    columns: usize,
    group_size: usize,
) -> Vec<Option<GroupFactor>> {
    if group_size > LARGEST_GROUP {
        return Vec::new();
    }
    (0..columns.div_ceil(group_size))
        .map(|group| {
            let first = group * group_size;
            factorize(hessian, columns, first..(first + group_size).min(columns))
        })
        .collect()
}

fn factorize(
    hessian: &[f64],
    columns: usize,
    range: std::ops::Range<usize>,
) -> Option<GroupFactor> {
    let width = range.len();
    let at = |i: usize, j: usize| hessian[(range.start + i) * columns + range.start + j];
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|&a, &b| at(b, b).total_cmp(&at(a, a)).then(a.cmp(&b)));
    let mut block = vec![0.0; width * width];
    for (i, &from) in order.iter().enumerate() {
        for (j, &to) in order.iter().enumerate() {
            block[i * width + j] = at(from, to);
        }
    }
    let trace: f64 = (0..width).fold(0.0, |sum, i| sum + block[i * width + i]);
    let mut damped = block.clone();
    for i in 0..width {
        damped[i * width + i] += DAMPING * trace / width as f64;
    }
    damped.reverse();
    let mut factor = vec![0.0; width * width];
    inverse_factor(&mut damped, &mut factor, width, &Cancellation::default()).ok()?;
    Some(GroupFactor {
        order,
        hessian: block,
        factor,
    })
}

/// The group of one row as it is.
pub struct Present<'a> {
    /// `[width]`: code - zero.
    pub steps: &'a [f64],
    /// `[width]`: (W - Q) H.
    pub gradient: &'a [f64],
    pub scale: f64,
    pub zero: f64,
    /// Of the whole row.
    pub error: f64,
}

/// What is better than the present; the steps are in the room.
pub struct Better {
    pub scale: f64,
    pub zero: f64,
}

/// Room to work in, `[width]` each.
#[derive(Default)]
pub struct Room {
    /// The best steps, in the order of columns.
    pub steps: Vec<f64>,
    present: Vec<f64>,
    gradient: Vec<f64>,
    base: Vec<f64>,
    target: Vec<f64>,
    pulled: Vec<f64>,
    tried: Vec<[f64; 16]>,
    errors: Vec<[f64; 16]>,
}

/// The best candidate of a group, if one lowers the row's error.
#[inline(always)]
pub fn resolve_group(
    factor: &GroupFactor,
    present: Present,
    grid: CodeGrid,
    room: &mut Room,
) -> Option<Better> {
    let mut scales = [0.0; 16];
    let mut zeros = [present.zero; 16];
    for l in 0..16 {
        let (multiple, shift) = if grid.symmetric {
            (MULTIPLES[l % 8], 0.0)
        } else {
            SHIFTED[l]
        };
        let scale = round_to_float16(present.scale * multiple);
        scales[l] = if scale < SMALLEST_SCALE || scale == f64::INFINITY {
            present.scale
        } else {
            scale
        };
        if !grid.symmetric {
            let zero = present.zero + shift;
            zeros[l] = grid.levels.min(grid.minimum_zero.max(zero));
        }
    }
    if grid.symmetric {
        resolve::<8>(factor, present, grid, room, &mut scales, &zeros)
    } else {
        resolve::<16>(factor, present, grid, room, &mut scales, &zeros)
    }
}

#[inline(always)]
fn resolve<const N: usize>(
    group: &GroupFactor,
    present: Present,
    grid: CodeGrid,
    room: &mut Room,
    scales: &mut [f64; 16],
    zeros: &[f64; 16],
) -> Option<Better> {
    let GroupFactor {
        order,
        hessian,
        factor,
    } = group;
    let width = order.len();
    prepare(group, &present, room);
    let mut scale = [0.0; N];
    let mut lowest = [0.0; N];
    let mut highest = [0.0; N];
    for l in 0..N {
        scale[l] = scales[l];
        lowest[l] = -zeros[l];
        highest[l] = grid.levels - zeros[l];
    }
    // Successive rounding towards the continuous optimum: GPTQ's column loop, looking to the left.
    for i in 0..width {
        let sum = weighted_sum::<N>(&room.errors[..i], &factor[i * width..][..i]);
        let pivot = factor[i * width + i];
        for l in 0..N {
            let w = room.target[i] - sum[l];
            let step = clamp(round_small(w / scale[l]), lowest[l], highest[l]);
            room.tried[i][l] = step;
            room.errors[i][l] = (w - step * scale[l]) / pivot;
        }
    }
    // The best code for all others.
    for i in 0..width {
        let curvature = hessian[i * width + i];
        if curvature.is_nan() || curvature <= 0.0 {
            continue;
        }
        let sum = weighted_sum::<N>(&room.tried[..width], &hessian[i * width..][..width]);
        for l in 0..N {
            let near = room.base[i] - scale[l] * sum[l];
            let step = round_small(room.tried[i][l] + near / (curvature * scale[l]));
            room.tried[i][l] = clamp(step, lowest[l], highest[l]);
        }
    }
    // The best scale, and what it all comes to.
    let mut curvature = [0.0; N];
    let mut slope = [0.0; N];
    let mut before = 0.0;
    for i in 0..width {
        let sum = weighted_sum::<N>(&room.tried[..width], &hessian[i * width..][..width]);
        for l in 0..N {
            curvature[l] = room.tried[i][l].mul_add(sum[l], curvature[l]);
            slope[l] = room.tried[i][l].mul_add(room.base[i], slope[l]);
        }
        before = room.present[i].mul_add(room.base[i] + room.gradient[i], before);
    }
    let least_gain = LEAST_GAIN * present.error;
    let (mut best, mut least) = (None, 0.0);
    for l in 0..N {
        let better = round_to_float16(slope[l] / curvature[l]);
        if curvature[l] > 0.0 && (SMALLEST_SCALE..f64::INFINITY).contains(&better) {
            scale[l] = better;
        }
        let change = scale[l] * (scale[l] * curvature[l] - 2.0 * slope[l]) + before;
        if change < least - least_gain {
            least = change;
            best = Some(l);
        }
    }
    let best = best?;
    for (i, &column) in order.iter().enumerate() {
        room.steps[column] = room.tried[i][best];
    }
    Some(Better {
        scale: scale[best],
        zero: zeros[best],
    })
}

/// What does not depend on the candidate.
#[inline(always)]
fn prepare(group: &GroupFactor, present: &Present, room: &mut Room) {
    let width = group.order.len();
    for array in [
        &mut room.steps,
        &mut room.present,
        &mut room.gradient,
        &mut room.base,
        &mut room.target,
        &mut room.pulled,
    ] {
        array.clear();
        array.resize(width, 0.0);
    }
    room.tried.resize(width, [0.0; 16]);
    room.errors.resize(width, [0.0; 16]);
    for (i, &column) in group.order.iter().enumerate() {
        room.present[i] = present.steps[column] * present.scale;
        room.gradient[i] = present.gradient[column];
    }
    // The continuous optimum lies at v + G H⁻¹ = v + (G Uᵀ) U.
    for j in 0..width {
        let row = &group.factor[j * width..][..=j];
        for (pulled, u) in room.pulled.iter_mut().zip(row) {
            *pulled = u.mul_add(room.gradient[j], *pulled);
        }
    }
    for i in 0..width {
        let row = &group.factor[i * width..][..=i];
        let way = crate::simd::dot(row, &room.pulled[..=i]);
        room.target[i] = room.present[i] + way;
    }
    // The gradient if the group were nothing.
    for i in 0..width {
        let row = &group.hessian[i * width..][..width];
        room.base[i] = room.gradient[i] + crate::simd::dot(row, &room.present);
    }
}

/// `Σ weights values` of every candidate.
#[inline(always)]
fn weighted_sum<const N: usize>(values: &[[f64; 16]], weights: &[f64]) -> [f64; N] {
    let mut sums = [[0.0; N]; PARTS];
    let (whole, whole_weights) = (values.chunks_exact(PARTS), weights.chunks_exact(PARTS));
    let rest = whole.remainder().iter().zip(whole_weights.remainder());
    for (values, weights) in whole.zip(whole_weights) {
        for part in 0..PARTS {
            for l in 0..N {
                sums[part][l] = weights[part].mul_add(values[part][l], sums[part][l]);
            }
        }
    }
    for (value, weight) in rest {
        for l in 0..N {
            sums[0][l] = weight.mul_add(value[l], sums[0][l]);
        }
    }
    let mut sum = [0.0; N];
    for l in 0..N {
        sum[l] = (sums[0][l] + sums[1][l]) + (sums[2][l] + sums[3][l]);
    }
    sum
}

#[inline(always)]
pub fn clamp(x: f64, lowest: f64, highest: f64) -> f64 {
    let x = if x < lowest { lowest } else { x };
    if x > highest { highest } else { x }
}
