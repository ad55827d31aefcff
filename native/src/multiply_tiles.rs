//! Products of linears on AMX: as multiply.rs, on squares of 32 tokens and 32 rows.

use crate::amx::{SIDE, Square, Tiles};
use crate::multiply::{Part, Product};
use crate::packed_linear::{STRIP, pairs_of};
use crate::scratch::Scratch;
use std::mem::MaybeUninit;

/// Pairs of a token in a chunk, at most: a block of them and those of 32 rows stay in the second-level cache, and sums seldom wait in y.
const CHUNK: usize = 1024;

/// Where words of 16 rows of a packed weight begin.
fn packed_at(columns: usize, sixteen: usize, pair: usize) -> usize {
    let (strip, across) = (sixteen * SIDE / STRIP, sixteen * SIDE % STRIP);
    (strip * pairs_of(columns) + pair) * STRIP + across
}

impl Product<'_> {
    #[inline(always)]
    pub fn run_tiles<T: Tiles>(self, tiles: &mut T) {
        let all = self.columns.div_ceil(2).next_multiple_of(SIDE);
        let pairs_of_chunk = all.div_ceil(all.div_ceil(CHUNK)).next_multiple_of(SIDE);
        let squares = self.tokens.len().div_ceil(2 * SIDE);
        // As in Product::run.
        let stride = ((pairs_of_chunk / SIDE) | 1) * SIDE;
        let mut block = Scratch::<u32>::any(squares * 2 * SIDE * stride);
        for first in (0..all).step_by(pairs_of_chunk) {
            let pairs = first..(first + pairs_of_chunk).min(all);
            self.round(&pairs, &mut block, stride, true);
            for part in self.parts {
                let strips =
                    part.strips.start.max(self.strips.start)..part.strips.end.min(self.strips.end);
                if strips.is_empty() {
                    continue;
                }
                let first_row = (strips.start - part.strips.start) * STRIP;
                let last_row = ((strips.end - part.strips.start) * STRIP).min(part.rows);
                for row in (first_row..last_row).step_by(2 * SIDE) {
                    let rows = (2 * SIDE).min(last_row - row);
                    let sixteens = [row / SIDE, (row + rows - 1) / SIDE];
                    let b = sixteens.map(|sixteen| {
                        let at = packed_at(self.columns, sixteen, pairs.start);
                        part.packed[at..].as_ptr()
                    });
                    for square in 0..squares {
                        let token = square * 2 * SIDE;
                        let a = [token, token + SIDE]
                            .map(|token| block[token * stride..(token + SIDE) * stride].as_ptr());
                        let tokens = (2 * SIDE).min(self.tokens.len() - token);
                        let c = Target {
                            part,
                            token: self.tokens.start + token,
                            tokens,
                            row,
                            rows,
                        };
                        // SAFETY: packed pairs are whole tiles, so are the rounded tokens; this task alone writes this part of y.
                        unsafe { c.add(tiles, a, stride, b, pairs.len() / SIDE, pairs.start == 0) };
                        if pairs.end == all {
                            unsafe { c.add_bias() };
                        }
                    }
                }
            }
        }
    }
}

/// A square of y, or what there is of it.
struct Target<'a> {
    part: &'a Part<'a>,
    token: usize,
    tokens: usize,
    row: usize,
    rows: usize,
}

impl Target<'_> {
    unsafe fn at(&self, token: usize) -> *mut f32 {
        let at = (self.token + token) * self.part.rows + self.row;
        unsafe { self.part.y.add(at) }
    }

    #[inline(always)]
    unsafe fn add<T: Tiles>(
        &self,
        tiles: &mut T,
        a: [*const u32; 2],
        a_stride: usize,
        b: [*const u32; 2],
        steps: usize,
        fresh: bool,
    ) {
        const WIDTH: usize = 2 * SIDE;
        let whole = self.tokens == WIDTH && self.rows == WIDTH;
        let mut aside = MaybeUninit::<[f32; WIDTH * WIDTH]>::uninit();
        unsafe {
            let (c, c_stride) = if whole {
                (self.at(0), self.part.rows)
            } else {
                (aside.write([0.0; WIDTH * WIDTH]).as_mut_ptr(), WIDTH)
            };
            if !whole && !fresh {
                for token in 0..self.tokens {
                    let to = c.add(token * WIDTH);
                    to.copy_from_nonoverlapping(self.at(token), self.rows);
                }
            }
            let lower = c.add(SIDE * c_stride);
            let square = Square {
                a,
                a_stride,
                b,
                b_stride: STRIP,
                c: [[c, c.add(SIDE)], [lower, lower.add(SIDE)]],
                c_stride,
                fresh,
            };
            square.multiply(tiles, steps);
            if !whole {
                for token in 0..self.tokens {
                    let from = c.add(token * WIDTH);
                    self.at(token).copy_from_nonoverlapping(from, self.rows);
                }
            }
        }
    }

    unsafe fn add_bias(&self) {
        let Some(bias) = self.part.bias else {
            return;
        };
        for token in 0..self.tokens {
            let y = unsafe { std::slice::from_raw_parts_mut(self.at(token), self.rows) };
            for (y, bias) in y.iter_mut().zip(&bias[self.row..]) {
                *y += bias;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::amx::SIDE;
    use crate::multiply::{Linear, multiply};
    use crate::packed_linear::{pack_linear, packed_length};
    use crate::tests::noise;
    use crate::threads::pool;
    use crate::words::{Kernel, rounded};

    /// What the tiles are to add, in plain loops: 32 columns at a time, odd and even ones apart.
    fn expected(x: &[f32], weight: &[f32]) -> f32 {
        let narrow = |x: f32| f32::from_bits(rounded(x.to_bits()));
        let part = |x: &[f32], weight: &[f32], first: usize| {
            let terms = x.iter().zip(weight).skip(first).step_by(2);
            terms.fold(0.0f32, |sum, (&x, &w)| narrow(x).mul_add(narrow(w), sum))
        };
        let parts = x.chunks(2 * SIDE).zip(weight.chunks(2 * SIDE));
        parts.fold(0.0, |sum, (x, w)| sum + (part(x, w, 0) + part(x, w, 1)))
    }

    #[test]
    fn emulated_tiles_give_the_sums_of_the_manual() {
        for (tokens, columns, rows) in [
            (1, 1, 1),
            (33, 70, 97),
            (32, 64, 48),
            (225, 35, 500),
            (40, 1100, 20),
        ] {
            let numbers = |count, seed| -> Vec<f32> {
                noise(count, seed).iter().map(|&x| x as f32).collect()
            };
            let x = numbers(tokens * columns, 1);
            let weight = numbers(rows * columns, 2);
            let bias = numbers(rows, 3);
            let mut packed = vec![u32::MAX; packed_length(rows, columns)];
            pack_linear(&weight, rows, columns, &mut packed);
            for (threads, bias) in [(1, None), (3, Some(&bias[..]))] {
                let mut y = vec![f32::NAN; tokens * rows];
                let linear = Linear {
                    packed: &packed,
                    rows,
                    bias,
                    y: &mut y,
                };
                let pool = pool(threads).unwrap();
                pool.install(|| multiply(&x, columns, &mut [linear], Kernel::EmulatedTiles));
                for (token, x) in x.chunks_exact(columns).enumerate() {
                    for (row, weight) in weight.chunks_exact(columns).enumerate() {
                        let bias = bias.map_or(0.0, |bias| bias[row]);
                        let found = y[token * rows + row];
                        assert_eq!(found, expected(x, weight) + bias, "{token}, {row}");
                    }
                }
            }
        }
    }
}
