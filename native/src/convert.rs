//! Floats of 16 bits to and from 32, and codes to weights: as engine/numbers and engine/quantizers/dequantize.ts have them, to the last bit,
//! payloads of NaN included. On integers where the hardware's own conversions would make a signalling NaN quiet.

use crate::simd::dispatch;
use pulp::{Simd, WithSimd};

/// One of the four conversions, element by element.
pub enum Conversion<'a> {
    DecodeFloat16(&'a [u16], &'a mut [f32]),
    DecodeBfloat16(&'a [u16], &'a mut [f32]),
    EncodeFloat16(&'a [f32], &'a mut [u16]),
    EncodeBfloat16(&'a [f32], &'a mut [u16]),
}

pub fn convert(conversion: Conversion<'_>) {
    dispatch(conversion);
}

impl WithSimd for Conversion<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self {
            Self::DecodeFloat16(from, to) => {
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = decoded_float16(from);
                }
            }
            Self::DecodeBfloat16(from, to) => {
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = f32::from_bits((from as u32) << 16);
                }
            }
            Self::EncodeFloat16(from, to) => {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = encoded_float16(from.to_bits());
                }
            }
            Self::EncodeBfloat16(from, to) => {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = encoded_bfloat16(from.to_bits());
                }
            }
        }
    }
}

#[inline(always)]
fn decoded_float16(bits: u16) -> f32 {
    let sign = (bits as u32 & 0x8000) << 16;
    let magnitude = (bits as u32 & 0x7fff) << 13;
    let rebias = (127 - 15) << 23;
    let magnitude = if magnitude >= 31 << 23 {
        magnitude + 2 * rebias
    } else if magnitude < 1 << 23 {
        // 2^-14 (1 + fraction) - 2^-14.
        let smallest_normal = rebias + (1 << 23);
        (f32::from_bits(magnitude + smallest_normal) - f32::from_bits(smallest_normal)).to_bits()
    } else {
        magnitude + rebias
    };
    f32::from_bits(sign | magnitude)
}

#[inline(always)]
fn encoded_float16(bits: u32) -> u16 {
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let normal = magnitude
        .wrapping_sub(0x3800_0000)
        .wrapping_add(0x0fff + ((magnitude >> 13) & 1))
        >> 13;
    // The unit of 0.5 in float32 is 2^-24, that of a subnormal: the addition rounds, ties to even.
    let subnormal = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0x3f00_0000);
    let number = if magnitude < 0x3880_0000 {
        subnormal
    } else {
        normal
    };
    let beyond = if magnitude > 0x7f80_0000 {
        0x7e00 | (magnitude >> 13) & 0x03ff
    } else {
        0x7c00
    };
    (sign
        | if magnitude >= 0x477f_f000 {
            beyond
        } else {
            number
        }) as u16
}

#[inline(always)]
fn encoded_bfloat16(bits: u32) -> u16 {
    let number = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let nan = (bits >> 16) | 0x0040;
    (if bits & 0x7fff_ffff > 0x7f80_0000 {
        nan
    } else {
        number
    }) as u16
}

/// See QuantizedLinear in engine/quantizers/quantized-linear.ts.
pub struct Codes<'a> {
    /// `[rows, columns]`.
    pub codes: &'a [u8],
    /// `[rows, groups]`.
    pub zeros: &'a [u8],
    pub scales: &'a [f32],
    /// `[columns]`, each less than `groups`.
    pub group_of: &'a [i32],
}

/// `(code - zero) * scale` into `[rows, columns]`.
pub fn dequantize(codes: Codes<'_>, rows: usize, weights: &mut [f32]) {
    let groups = codes.scales.len() / rows.max(1);
    assert!(codes.codes.len() == weights.len());
    assert!(codes.group_of.len() * rows == weights.len());
    assert!(codes.zeros.len() == codes.scales.len() && groups * rows == codes.zeros.len());
    let known = |&group: &i32| (0..groups as i32).contains(&group);
    assert!(codes.group_of.iter().all(known), "a column is in no group");
    if !weights.is_empty() {
        dispatch(Dequantize {
            codes,
            groups,
            weights,
        });
    }
}

struct Dequantize<'a> {
    codes: Codes<'a>,
    groups: usize,
    weights: &'a mut [f32],
}

/// Shorter runs of columns of one group are not worth a loop of their own.
const SHORTEST_RUN: usize = 8;

impl WithSimd for Dequantize<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let group_of = self.codes.group_of;
        let columns = group_of.len();
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (column, &group) in group_of.iter().enumerate() {
            match runs.last_mut() {
                Some((end, of)) if *of == group as usize => *end = column + 1,
                _ => runs.push((column + 1, group as usize)),
            }
        }
        let long = runs.len() * SHORTEST_RUN <= columns;
        let rows = self
            .weights
            .chunks_exact_mut(columns)
            .zip(self.codes.codes.chunks_exact(columns));
        let of_groups = self
            .codes
            .scales
            .chunks_exact(self.groups)
            .zip(self.codes.zeros.chunks_exact(self.groups));
        for ((weights, codes), (scales, zeros)) in rows.zip(of_groups) {
            if long {
                let mut from = 0;
                for &(end, group) in &runs {
                    let (scale, zero) = (scales[group], zeros[group] as i32);
                    for (weight, &code) in weights[from..end].iter_mut().zip(&codes[from..end]) {
                        *weight = (code as i32 - zero) as f32 * scale;
                    }
                    from = end;
                }
            } else {
                for ((weight, &code), &group) in weights.iter_mut().zip(codes).zip(group_of) {
                    let group = group as usize;
                    *weight = (code as i32 - zeros[group] as i32) as f32 * scales[group];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float16_comes_back() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let mut floats = vec![0.0; all.len()];
        convert(Conversion::DecodeFloat16(&all, &mut floats));
        assert_eq!(floats[1], (2.0f32).powi(-24));
        assert_eq!(floats[0x3c01], 1.0 + (2.0f32).powi(-10));
        assert_eq!(floats[0xfbff], -65504.0);
        assert!(floats[0x7c00] == f32::INFINITY && floats[0x7c01].is_nan());
        let mut back = vec![0; all.len()];
        convert(Conversion::EncodeFloat16(&floats, &mut back));
        // A NaN becomes a quiet one.
        let expected = |bits: u16| bits | if bits & 0x7fff > 0x7c00 { 0x0200 } else { 0 };
        assert!(all.iter().zip(&back).all(|(&a, &b)| expected(a) == b));
    }

    #[test]
    fn ties_go_to_even() {
        let unit = (2.0f32).powi(-24);
        let cases = [
            (1.0 + (2.0f32).powi(-11), 0x3c00),
            (1.0 + 3.0 * (2.0f32).powi(-11), 0x3c02),
            (0.5 * unit, 0),
            (1.5 * unit, 2),
            (-2.5 * unit, 0x8002),
            (65519.996, 0x7bff),
            (65520.0, 0x7c00),
        ];
        for (value, expected) in cases {
            let mut bits = [0];
            convert(Conversion::EncodeFloat16(&[value], &mut bits));
            assert_eq!(bits[0], expected, "{value}");
        }
        let mut bits = [0; 4];
        let values = [0x3f80_8000, 0x3f81_8000, 0x7f80_0001, 0xffff_ffff].map(f32::from_bits);
        convert(Conversion::EncodeBfloat16(&values, &mut bits));
        assert_eq!(bits, [0x3f80, 0x3f82, 0x7fc0, 0xffff]);
    }
}
