//! Weights of linears, rounded to bfloat16 and packed once for products (multiply.rs).
//!
//! Strips of 48 rows, `[strips][pairs of columns][48]` words of two bfloat16, the earlier column in the upper half, pairs padded to a
//! multiple of 16 with zeros: half of a float32 copy, and the same for every instruction set.

use crate::scratch::Scratch;
use crate::simd::dispatch;
use crate::words::rounded;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of W in a strip: whole tiles of every instruction set.
pub(crate) const STRIP: usize = 48;

/// Pairs of columns that are packed together.
pub(crate) const PAIRS_TOGETHER: usize = 16;

pub(crate) fn strips_of(rows: usize) -> usize {
    rows.div_ceil(STRIP)
}

pub(crate) fn pairs_of(columns: usize) -> usize {
    columns.div_ceil(2).next_multiple_of(PAIRS_TOGETHER)
}

/// Words of a packed weight.
pub fn packed_length(rows: usize, columns: usize) -> usize {
    strips_of(rows) * pairs_of(columns) * STRIP
}

/// Rounds and packs a weight, `[rows, columns]`. In the current pool of threads.
pub fn pack_linear(weight: &[f32], rows: usize, columns: usize, packed: &mut [u32]) {
    assert_eq!(weight.len(), rows * columns, "the weight has another shape");
    pack_strips(rows, columns, packed, |strip, to| {
        let first = strip * STRIP * columns;
        let weight = &weight[first..(first + STRIP * columns).min(weight.len())];
        dispatch(Pack {
            weight,
            columns,
            to,
        });
    });
}

/// The same of weights that `fill(first row, rows)` makes for a few rows at a time, `[48 or fewer, columns]`.
pub fn pack_linear_from(
    rows: usize,
    columns: usize,
    packed: &mut [u32],
    fill: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    pack_strips(rows, columns, packed, |strip, to| {
        let range = strip * STRIP..((strip + 1) * STRIP).min(rows);
        let mut weight = Scratch::<f32>::any(range.len() * columns);
        fill(range, &mut weight);
        dispatch(Pack {
            weight: &weight,
            columns,
            to,
        });
    });
}

/// The same of a weight that lies across, `[columns, rows]`: `across` are its columns, one after the other.
pub fn pack_across(across: &[f32], rows: usize, packed: &mut [u32]) {
    assert!(
        across.len().is_multiple_of(rows),
        "the last column is not whole"
    );
    pack_strips(rows, across.len() / rows, packed, |strip, to| {
        let first = strip * STRIP;
        let live = STRIP.min(rows - first);
        dispatch(PackAcross {
            across,
            rows,
            live: first..first + live,
            to,
        });
    });
}

fn pack_strips(
    rows: usize,
    columns: usize,
    packed: &mut [u32],
    pack: impl Fn(usize, &mut [u32]) + Sync,
) {
    let length = packed_length(rows, columns);
    assert_eq!(packed.len(), length, "the packed weight has another shape");
    if length > 0 {
        let strips = packed.par_chunks_exact_mut(pairs_of(columns) * STRIP);
        strips
            .enumerate()
            .for_each(|(strip, to)| pack(strip, &mut *to));
    }
}

/// Packs the rows of one strip.
struct Pack<'a> {
    weight: &'a [f32],
    columns: usize,
    to: &'a mut [u32],
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        /// Pairs whose words stay in the first-level cache while one row after the other is put there.
        const PART: usize = 64;
        let rows = self.weight.len() / self.columns;
        let mut words = [0; PART];
        for (part, to) in self.to.chunks_mut(PART * STRIP).enumerate() {
            let pairs = to.len() / STRIP;
            let start = (part * PART * 2).min(self.columns);
            let end = ((part * PART + pairs) * 2).min(self.columns);
            if rows < STRIP {
                to.fill(0);
            }
            for (row, weight) in self.weight.chunks_exact(self.columns).enumerate() {
                pack_pairs(&weight[start..end], &mut words[..pairs]);
                for (word, to) in words.iter().zip(to.chunks_exact_mut(STRIP)) {
                    to[row] = *word;
                }
            }
        }
    }
}

/// Packs the rows of one strip, which are columns here.
struct PackAcross<'a> {
    across: &'a [f32],
    rows: usize,
    /// Those of the strip.
    live: Range<usize>,
    to: &'a mut [u32],
}

impl WithSimd for PackAcross<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let of_column = |column: &'_ [f32]| -> [f32; STRIP] {
            let mut values = [0.0; STRIP];
            values[..self.live.len()].copy_from_slice(&column[self.live.clone()]);
            values
        };
        let mut words = self.to.chunks_exact_mut(STRIP);
        for (pair, to) in self.across.chunks(2 * self.rows).zip(&mut words) {
            let (upper, lower) = pair.split_at(self.rows);
            let upper = of_column(upper);
            // Times zero, and added last: no trace of it.
            let lower = if lower.is_empty() {
                [0.0; STRIP]
            } else {
                of_column(lower)
            };
            for i in 0..STRIP {
                to[i] = rounded(upper[i].to_bits()) | rounded(lower[i].to_bits()) >> 16;
            }
        }
        words.for_each(|to| to.fill(0));
    }
}

/// Numbers in pairs, rounded; zeros beyond them.
#[inline(always)]
pub(crate) fn pack_pairs(from: &[f32], to: &mut [u32]) {
    let pairs = from.chunks_exact(2);
    let rest = pairs.remainder();
    let live = pairs.len();
    for (to, pair) in to.iter_mut().zip(pairs) {
        *to = rounded(pair[0].to_bits()) | rounded(pair[1].to_bits()) >> 16;
    }
    to[live..].fill(0);
    if let [last] = rest {
        to[live] = rounded(last.to_bits());
    }
}

/// Numbers one to a word, rounded; zeros beyond them.
#[inline(always)]
pub(crate) fn pack_singles(from: &[f32], to: &mut [u32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = rounded(from.to_bits());
    }
    to[from.len()..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise;

    fn weight(rows: usize, columns: usize) -> Vec<f32> {
        let numbers = noise(rows * columns, 2);
        numbers.iter().map(|&x| x as f32).collect()
    }

    fn packed(weight: &[f32], rows: usize, columns: usize) -> Vec<u32> {
        let mut packed = vec![u32::MAX; packed_length(rows, columns)];
        pack_linear(weight, rows, columns, &mut packed);
        packed
    }

    #[test]
    fn every_weight_has_its_place_and_the_rest_is_zero() {
        for (rows, columns) in [(1, 1), (48, 32), (50, 131), (97, 300)] {
            let weight = weight(rows, columns);
            let mut expected = vec![0; packed_length(rows, columns)];
            for (at, weight) in weight.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let pair = row / STRIP * pairs_of(columns) + column / 2;
                let half = rounded(weight.to_bits()) >> (column % 2 * 16);
                expected[pair * STRIP + row % STRIP] |= half;
            }
            assert!(packed(&weight, rows, columns) == expected);
        }
    }

    #[test]
    fn packs_what_lies_across_as_what_lies_in_rows() {
        for (rows, columns) in [(1, 1), (48, 32), (50, 131), (97, 300)] {
            let weight = weight(rows, columns);
            let across: Vec<_> = (0..columns * rows)
                .map(|at| weight[at % rows * columns + at / rows])
                .collect();
            let mut found = vec![u32::MAX; packed_length(rows, columns)];
            pack_across(&across, rows, &mut found);
            assert!(found == packed(&weight, rows, columns));
        }
    }

    #[test]
    fn packs_what_is_made_on_the_way_as_what_is_there() {
        let (rows, columns) = (101, 75);
        let weight = weight(rows, columns);
        let expected = packed(&weight, rows, columns);
        let mut found = vec![u32::MAX; expected.len()];
        pack_linear_from(rows, columns, &mut found, |rows, to| {
            to.copy_from_slice(&weight[rows.start * columns..rows.end * columns]);
        });
        assert!(found == expected);
    }
}
