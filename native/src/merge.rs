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
        for first in (0..=block).map(|block| block * BLOCK) {
            for i in rows.clone() {
                for j in first..(first + BLOCK).min(i + 1) {
                    // SAFETY: (i, j) and (j, i) belong to this pair of blocks, which belongs to this task.
                    unsafe {
                        let (a, b) = (all.add(i * columns + j), all.add(j * columns + i));
                        let mean = (*a + *b) / divisor;
                        *a = mean;
                        *b = mean;
                    }
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
