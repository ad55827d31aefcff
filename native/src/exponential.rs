//! e^x of float32 vectors, for x that is not positive: what a softmax needs once the row's maximum is subtracted.
//!
//! x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts (Cody and Waite 1980); e^r is a polynomial of degree 6 whose coefficients
//! minimize the largest relative error, 4.4e-9 after rounding them (Lawson's iteration). Times 2^n in two steps, so that results below
//! 2^-126 are rounded once, not lost. The error is at most 2 units in the last place, 1.1 were found. Exactly 0 below -104, 1 at 0, NaN stays
//! NaN. A fixed chain of operations: every instruction set gives the same bytes.

use pulp::Simd;

/// Below it e^x rounds to 0.
const LEAST: f32 = -104.0;

const LN2_HIGH: f32 = std::f32::consts::LN_2;
/// ln 2 - LN2_HIGH.
const LN2_LOW: f32 = f32::from_bits(0xb102_e308);

/// 2^n is split into 2^(n + SHIFT) and 2^-SHIFT, both normal.
const SHIFT: i32 = 75;

/// Added to n it leaves n + SHIFT + 127 in the low bits: the exponent of 2^(n + SHIFT).
const MAGIC: f32 = 12_582_912.0 + (SHIFT + 127) as f32;

/// 2^-SHIFT.
const SHIFT_BACK: f32 = f32::from_bits(((127 - SHIFT) as u32) << 23);

/// Of r^6 to r^0.
const COEFFICIENTS: [f32; 7] = [
    f32::from_bits(0x3ab5_11a9),
    f32::from_bits(0x3c09_1d36),
    f32::from_bits(0x3d2a_ac7a),
    f32::from_bits(0x3e2a_aa48),
    f32::from_bits(0x3eff_fffe),
    1.0,
    1.0,
];

/// e^x of x <= 0.
#[inline(always)]
pub fn exp_of_negative<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let magic = simd.splat_f32s(MAGIC);
    let shifted = simd.mul_add_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), magic);
    let n = simd.sub_f32s(shifted, magic);
    let r = simd.mul_add_f32s(n, simd.splat_f32s(-LN2_HIGH), x);
    let r = simd.mul_add_f32s(n, simd.splat_f32s(-LN2_LOW), r);
    let mut power = simd.splat_f32s(COEFFICIENTS[0]);
    for i in 1..COEFFICIENTS.len() {
        power = simd.mul_add_f32s(power, r, simd.splat_f32s(COEFFICIENTS[i]));
    }
    let exponent =
        simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    // Products, not sums of bits: NaN stays NaN.
    let scaled = simd.mul_f32s(power, simd.transmute_f32s_u32s(exponent));
    let result = simd.mul_f32s(scaled, simd.splat_f32s(SHIFT_BACK));
    let lost = simd.less_than_f32s(x, simd.splat_f32s(LEAST));
    simd.select_f32s(lost, simd.splat_f32s(0.0), result)
}

/// tanh as (1 - e) / (1 + e) with e = e^(-2 |x|): an absolute error of some 2^-23, NaN stays NaN.
#[inline(always)]
pub fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    let size = simd.abs_f32s(x);
    let exponential = exp_of_negative(simd, simd.mul_f32s(size, simd.splat_f32s(-2.0)));
    let positive = simd.div_f32s(
        simd.sub_f32s(one, exponential),
        simd.add_f32s(one, exponential),
    );
    let negative = simd.less_than_f32s(x, simd.splat_f32s(0.0));
    simd.select_f32s(
        negative,
        simd.sub_f32s(simd.splat_f32s(0.0), positive),
        positive,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{InstructionSet, choose, dispatch, instruction_set};
    use pulp::WithSimd;

    struct OfAll<'a>(&'a [f32], &'a mut [f32]);

    impl WithSimd for OfAll<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (x, rest) = S::as_simd_f32s(self.0);
            assert!(rest.is_empty());
            for (x, y) in x.iter().zip(S::as_mut_simd_f32s(self.1).0) {
                *y = exp_of_negative(simd, *x);
            }
        }
    }

    fn exp(x: &[f32]) -> Vec<f32> {
        let mut y = vec![f32::NAN; x.len()];
        dispatch(OfAll(x, &mut y));
        y
    }

    /// In units of the last place of the float32 nearest to the exact value.
    fn error(found: f32, x: f32) -> f64 {
        let exact = (x as f64).exp();
        let exponent = (exact.log2().floor() as i32).max(-126);
        (found as f64 - exact).abs() / 2f64.powi(exponent - 23)
    }

    #[test]
    fn is_within_two_units_of_the_last_place() {
        // From -104 to -2^-28: every 512th float32, and every 64th of those that a softmax meets most.
        let every = |from: f32, to: f32, step: usize| {
            (from.to_bits()..=to.to_bits())
                .step_by(step)
                .map(|bits| -f32::from_bits(bits))
        };
        let mut x: Vec<f32> = every(4e-9, 104.0, 512)
            .chain(every(0.5, 20.0, 64))
            .collect();
        x.resize(x.len().next_multiple_of(16), 0.0);
        let largest = x
            .iter()
            .zip(exp(&x))
            .map(|(&x, y)| error(y, x))
            .fold(0.0, f64::max);
        assert!(largest <= 1.1, "{largest}");
    }

    #[test]
    fn is_exact_at_the_ends_and_keeps_nan() {
        let mut x = [0.0; 16];
        x[1] = -0.0;
        x[2] = f32::NEG_INFINITY;
        x[3] = -104.001;
        x[4] = f32::MIN;
        x[5] = f32::NAN;
        x[6] = f32::from_bits(0x7fff_ffff);
        x[7] = f32::from_bits(0xff80_0001);
        // The smallest float32 that is not 0.
        x[8] = -103.5;
        x[9] = -1e-30;
        let set_before = instruction_set();
        for set in InstructionSet::ALL {
            if !choose(set) {
                continue;
            }
            let y = exp(&x);
            assert_eq!(y[..5], [1.0, 1.0, 0.0, 0.0, 0.0]);
            assert!(y[5..8].iter().all(|y| y.is_nan()));
            assert_eq!(y[8].to_bits(), 1);
            assert_eq!(y[9], 1.0);
        }
        choose(set_before);
    }

    #[test]
    fn has_the_same_bytes_for_any_instructions() {
        let x: Vec<f32> = (0..1 << 16).map(|i| i as f32 * -0.0016).collect();
        let bytes = || exp(&x).iter().map(|y| y.to_bits()).collect::<Vec<_>>();
        let set_before = instruction_set();
        let expected = bytes();
        for set in InstructionSet::ALL {
            if choose(set) {
                assert!(bytes() == expected, "{}", set.name());
            }
        }
        choose(set_before);
    }
}
