//! The exponential function, written so that compilers make vectors of it.

/// exp(x) within 2 units in the last place of a normal result; below -104 it is 0, above 88.73 infinite, of NaN it is NaN.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite 1980, ch. 6: ln 2 in two parts), a polynomial of degree 6 for exp(r) (coefficients of
/// Moshier's Cephes, expf), and 2^n as two factors, so that results below the normal numbers lose bits but are not lost.
#[inline(always)]
pub fn exponential(x: f32) -> f32 {
    const UPPER_LN_2: f32 = 0.693_359_4;
    const LOWER_LN_2: f32 = -2.121_944_4e-4;
    // Written so that NaN becomes a number here, which the last line undoes.
    let bounded = x.max(-104.0).min(89.0);
    let n = (bounded * std::f32::consts::LOG2_E).round_ties_even();
    let r = (-n).mul_add(UPPER_LN_2, bounded);
    let r = (-n).mul_add(LOWER_LN_2, r);
    let mut p = 1.987_569_1e-4_f32;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = p.mul_add(r, coefficient);
    }
    let p = (p * r).mul_add(r, r) + 1.0;
    // SAFETY: between -151 and 129.
    let n: i32 = unsafe { n.to_int_unchecked() };
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let result = p * power(half) * power(n - half);
    if x.is_nan() { x } else { result }
}

#[cfg(test)]
mod tests {
    use super::exponential;

    #[test]
    fn is_within_two_units_of_that_of_float64() {
        let mut worst = 0.0f64;
        for i in 0..4_000_000 {
            let x = (-87.3 + i as f64 * (87.3 + 88.7) / 4e6) as f32;
            let (found, expected) = (exponential(x) as f64, (x as f64).exp());
            let unit =
                f32::from_bits((expected as f32).to_bits() + 1) as f64 - expected as f32 as f64;
            worst = worst.max((found - expected).abs() / unit);
        }
        assert!(worst <= 2.0, "{worst}");
    }

    #[test]
    fn ends_are_what_they_should_be() {
        assert_eq!(exponential(0.0), 1.0);
        assert_eq!(exponential(-104.1), 0.0);
        assert_eq!(exponential(f32::NEG_INFINITY), 0.0);
        assert_eq!(exponential(f32::INFINITY), f32::INFINITY);
        assert_eq!(exponential(88.8), f32::INFINITY);
        assert!(exponential(f32::NAN).is_nan());
        // Below the normal numbers, whose unit is 2^-149.
        for x in [-88.0f32, -95.0, -103.0] {
            let unit = 2f64.powi(-149);
            assert!((exponential(x) as f64 - (x as f64).exp()).abs() <= 1.01 * unit);
        }
    }
}
