//! Scales and zero points of groups of weights.

use pulp::Simd;

/// The grid of codes of one linear.
#[derive(Clone, Copy, Debug)]
pub struct CodeGrid {
    /// Largest code, 2^bits - 1.
    pub levels: f64,
    /// Zero point fixed at 2^(bits-1).
    pub symmetric: bool,
    /// Smallest zero point that the file can hold (asymmetric).
    pub minimum_zero: f64,
}

/// Floor of every scale, 168 · 2⁻²⁴: the float16 next to 1e-5.
pub const SMALLEST_SCALE: f64 = 168.0 / 16_777_216.0;

/// How far a range may be clipped: p = 1 - step / SHRINK for step = 0 .. STEPS - 1.
const STEPS: usize = 70;
const SHRINK: f64 = 90.0;

/// STEPS, rounded up to what every vector divides. The last steps repeat.
const LANES: usize = 72;

/// Weights of a group that are looked at before the candidates that are already behind are left.
const STRETCH: usize = 16;

/// 1.5 · 2⁵²: adding it to a float64 leaves no bit for a fraction, and float64 addition rounds halves to even.
pub const SHIFT: f64 = 6_755_399_441_055_744.0;

/// Nearest integer, ties to even, for |x| < 2⁵¹.
#[inline(always)]
pub fn round_small(x: f64) -> f64 {
    x + SHIFT - SHIFT
}

/// Nearest float16, ties to even, straight from float64; magnitudes from 65520 on become infinite.
#[inline(always)]
pub fn round_to_float16(x: f64) -> f64 {
    // 2^e, not below the smallest normal: its last place is 2^(e - 10).
    let power = f64::from_bits(x.to_bits() & 0x7ff0_0000_0000_0000).max(1.0 / 16384.0);
    let shift = power * (1.5 * (1u64 << 42) as f64);
    let rounded = (x + shift) - shift;
    if x.abs() < 65520.0 {
        rounded
    } else if x.is_nan() {
        x
    } else {
        f64::INFINITY.copysign(x)
    }
}

#[inline(always)]
fn float16_scale(scale: f64) -> f64 {
    let rounded = round_to_float16(scale);
    if rounded < SMALLEST_SCALE {
        SMALLEST_SCALE
    } else {
        rounded
    }
}

/// Zero points that are tried, relative to that of the range.
const ZERO_SHIFTS: [f64; 3] = [0.0, -1.0, 1.0];

/// What is tried besides the clipped ranges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Clipped ranges at all.
    pub clipping: bool,
    /// Asymmetric: the zero points beside that of the range, too.
    pub neighbours: bool,
}

/// Scale and zero point of the range low .. high.
#[inline(always)]
fn grid_of_range(low: f64, high: f64, grid: CodeGrid, shift: f64) -> (f64, f64) {
    let CodeGrid {
        levels,
        symmetric,
        minimum_zero,
    } = grid;
    let plain = float16_scale((high - low) / levels);
    if symmetric {
        return (plain, (levels + 1.0) / 2.0);
    }
    // Where the zero point has to move up, that costs codes at the top: stretch the rest over the range.
    let stretched = float16_scale(high / (levels - minimum_zero));
    let fits = round_small(-low / plain) >= minimum_zero;
    let scale = if fits { plain } else { stretched };
    let zero = round_small(-low / scale) + shift;
    (scale, levels.min(minimum_zero.max(zero)))
}

/// Scale and zero point of one group: see findScale in engine/kernels/find-scale.ts, which this equals to the last bit.
///
/// Candidates lie across vectors, so every candidate's error is summed in the order of the weights.
///
/// * `weights`, `importance`: `[columns of the group]`.
#[inline(always)]
pub fn find_scale<S: Simd>(
    simd: S,
    weights: &[f64],
    importance: &[f64],
    grid: CodeGrid,
    search: Search,
) -> (f64, f64) {
    let (mut low, mut high) = (0.0f64, 0.0f64);
    for &w in weights {
        low = if w < low { w } else { low };
        high = if w > high { w } else { high };
    }
    if low == 0.0 && high == 0.0 {
        (low, high) = (-1.0, 1.0);
    }
    if grid.symmetric {
        high = high.max(-low);
        low = -high;
    }
    let (widest, zero) = grid_of_range(low, high, grid, 0.0);
    if !search.clipping || widest == f64::INFINITY {
        return (widest, zero);
    }
    let mut found = (widest, zero);
    let mut least = f64::INFINITY;
    let passes = if search.neighbours && !grid.symmetric {
        ZERO_SHIFTS.len()
    } else {
        1
    };
    for shift in &ZERO_SHIFTS[..passes] {
        let mut scales = [widest; LANES];
        let mut zeros = [zero; LANES];
        for step in 0..LANES {
            let p = 1.0 - step.min(STEPS - 1) as f64 / SHRINK;
            (scales[step], zeros[step]) = grid_of_range(low * p, high * p, grid, *shift);
        }
        let best = if S::REGISTER_COUNT >= 32 {
            search_candidates::<S, 3>(
                simd,
                weights,
                importance,
                grid.levels,
                &scales,
                &zeros,
                least,
            )
        } else {
            search_candidates::<S, 2>(
                simd,
                weights,
                importance,
                grid.levels,
                &scales,
                &zeros,
                least,
            )
        };
        if let Some((step, error)) = best {
            least = error;
            found = (scales[step], zeros[step]);
        }
    }
    found
}

/// The step with the least `Σ importance (w - ŵ)²` and that sum, the first among equals; none below `least`. `TOGETHER` vectors of candidates at a time.
#[inline(always)]
fn search_candidates<S: Simd, const TOGETHER: usize>(
    simd: S,
    weights: &[f64],
    importance: &[f64],
    levels: f64,
    scales: &[f64; LANES],
    zeros: &[f64; LANES],
    mut least: f64,
) -> Option<(usize, f64)> {
    let lanes = S::F64_LANES;
    let shift = simd.splat_f64s(SHIFT);
    let nothing = simd.splat_f64s(0.0);
    let load = |values: &[f64], at: usize| simd.partial_load_f64s(&values[at..at + lanes]);
    let mut best = None;
    let mut first = 0;
    while first < LANES {
        let mut scale = [nothing; TOGETHER];
        let mut inverse = [nothing; TOGETHER];
        let mut lowest = [nothing; TOGETHER];
        let mut highest = [nothing; TOGETHER];
        let mut errors = [nothing; TOGETHER];
        for v in 0..TOGETHER {
            let at = first + v * lanes;
            scale[v] = load(scales, at);
            inverse[v] = simd.div_f64s(simd.splat_f64s(1.0), scale[v]);
            let zero = load(zeros, at);
            lowest[v] = simd.neg_f64s(zero);
            highest[v] = simd.sub_f64s(simd.splat_f64s(levels), zero);
        }
        let mut behind = false;
        for (weights, importance) in weights.chunks(STRETCH).zip(importance.chunks(STRETCH)) {
            for (&w, &weight) in weights.iter().zip(importance) {
                let minus = simd.splat_f64s(-w);
                let w = simd.splat_f64s(w);
                let weight = simd.splat_f64s(weight);
                for v in 0..TOGETHER {
                    let x = simd.mul_f64s(w, inverse[v]);
                    let step = simd.sub_f64s(simd.add_f64s(x, shift), shift);
                    let step = simd.min_f64s(simd.max_f64s(step, lowest[v]), highest[v]);
                    let difference = simd.mul_add_f64s(step, scale[v], minus);
                    let square = simd.mul_f64s(difference, difference);
                    errors[v] = simd.add_f64s(errors[v], simd.mul_f64s(square, weight));
                }
            }
            let mut leader = errors[0];
            for error in &errors[1..] {
                leader = simd.min_f64s(leader, *error);
            }
            // Sums only grow: these cannot win any more.
            if simd.reduce_min_f64s(leader) >= least {
                behind = true;
                break;
            }
        }
        if !behind {
            let mut values = [0.0; LANES];
            for v in 0..TOGETHER {
                simd.partial_store_f64s(&mut values[v * lanes..(v + 1) * lanes], errors[v]);
            }
            for (i, &error) in values[..TOGETHER * lanes].iter().enumerate() {
                if error < least {
                    least = error;
                    best = Some((first + i, error));
                }
            }
        }
        first += TOGETHER * lanes;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_float16_as_ieee_754_does() {
        let cases = [
            (0.1, 0.099_975_585_937_5),
            (65519.999, 65504.0),
            (65520.0, f64::INFINITY),
            (-65520.0, f64::NEG_INFINITY),
            // Ties go to the even neighbour: 2049 lies between 2048 and 2050, 2051 between 2050 and 2052.
            (2049.0, 2048.0),
            (2051.0, 2052.0),
            // Subnormal: multiples of 2^-24, and the tie at 2^-25.
            (2f64.powi(-25), 0.0),
            (2f64.powi(-25) * (1.0 + 2f64.powi(-52)), 2f64.powi(-24)),
            (3.0 * 2f64.powi(-25), 2f64.powi(-23)),
        ];
        for (x, expected) in cases {
            assert_eq!(round_to_float16(x), expected, "{x}");
        }
        assert!(round_to_float16(f64::NAN).is_nan());
    }

    #[test]
    fn extremes_make_the_scale_of_the_gptq_lineage() {
        let grid = CodeGrid {
            levels: 15.0,
            symmetric: false,
            minimum_zero: 0.0,
        };
        // (1 + 0.5) / 15 = 0.1 and -(-0.5) / 0.1 = 5.
        let found = find_scale(
            pulp::Scalar::new(),
            &[-0.5, 0.2, 1.0],
            &[1.0; 3],
            grid,
            Search::default(),
        );
        assert_eq!(found, (round_to_float16(0.1), 5.0));
    }

    #[test]
    fn an_outlier_of_no_importance_is_clipped() {
        let grid = CodeGrid {
            levels: 3.0,
            symmetric: true,
            minimum_zero: 0.0,
        };
        let weights = [0.3, -0.3, 0.3, -0.3, 1.0];
        let (plain, _) = find_scale(
            pulp::Scalar::new(),
            &weights,
            &[1.0; 5],
            grid,
            Search::default(),
        );
        let importance = [1.0, 1.0, 1.0, 1.0, 0.0];
        let search = Search {
            clipping: true,
            neighbours: false,
        };
        let (searched, _) = find_scale(pulp::Scalar::new(), &weights, &importance, grid, search);
        assert!(
            (searched - 0.3).abs() < 0.01 && plain > 0.6,
            "{searched} {plain}"
        );
    }
}
