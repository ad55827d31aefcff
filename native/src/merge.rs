//! The mean of x xᵀ over slices of the calibration set: what engine/quantizers/merge-hessians.ts does, to the last bit.

use crate::product::SharedMut;
use rayon::prelude::*;

/// Numbers that a task adds: what a core gets done in a fraction of a millisecond.
const NUMBERS: usize = 1 << 16;

/// Rows and columns of a block: two of them fit into the first-level cache.
const BLOCK: usize = 32;

/// Adds each element. In the current pool of threads.
pub fn add_partial(sums: &mut [f64], partial: &[f32]) {
    assert_eq!(sums.len(), partial.len());
    let parts = sums
        .par_chunks_mut(NUMBERS)
        .zip(partial.par_chunks(NUMBERS));
    parts.for_each(|(sums, partial)| {
        for (sum, &number) in sums.iter_mut().zip(partial) {
            *sum += number as f64;
        }
    });
}

/// Both halves of `[columns, columns]` become their mean, divided by `tokens`. In the current pool of threads.
pub fn mean_of_halves(sums: &mut [f64], columns: usize, tokens: f64) {
    assert_eq!(sums.len(), columns * columns);
    let divisor = 2.0 * tokens;
    let all = SharedMut(sums.as_mut_ptr());
    let blocks = columns.div_ceil(BLOCK);
    // The long rows of blocks first.
    (0..blocks).into_par_iter().rev().for_each(|block| {
        let rows = block * BLOCK..((block + 1) * BLOCK).min(columns);
        // The block above the diagonal, aside: its rows often lie a multiple of 4096 bytes apart, where the cache holds few of them.
        let mut upper = [[0.0; BLOCK]; BLOCK];
        for first in (0..=block).map(|block| block * BLOCK) {
            let width = BLOCK.min(columns - first);
            // SAFETY: this pair of blocks belongs to this task.
            let row_of = |row: usize, first: usize, width: usize| unsafe {
                std::slice::from_raw_parts_mut(all.add(row * columns + first), width)
            };
            for j in 0..width {
                let row = row_of(first + j, rows.start, rows.len());
                upper[j][..rows.len()].copy_from_slice(row);
            }
            // On the diagonal both are the same block, and every pair comes twice: with the same sum.
            for i in 0..rows.len() {
                let row = row_of(rows.start + i, first, width);
                for j in 0..width {
                    row[j] = (row[j] + upper[j][i]) / divisor;
                }
                if first != rows.start {
                    for j in 0..width {
                        upper[j][i] = row[j];
                    }
                }
            }
            if first != rows.start {
                for j in 0..width {
                    row_of(first + j, rows.start, rows.len())
                        .copy_from_slice(&upper[j][..rows.len()]);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise;

    #[test]
    fn is_the_mean_of_both_halves() {
        for columns in [1, 31, 32, 33, 100] {
            let sums = noise(columns * columns, 3);
            let mut mean = sums.clone();
            mean_of_halves(&mut mean, columns, 7.0);
            for i in 0..columns {
                for j in 0..columns {
                    let expected = (sums[i * columns + j] + sums[j * columns + i]) / 14.0;
                    assert_eq!(mean[i * columns + j], expected);
                }
            }
        }
    }
}
