//! Sums of XᵀX on AMX: as gram.rs, on squares of 32 columns.

use crate::amx::{SIDE, Square, Tiles};
use crate::gram::{Product, STRIP, tile_at};
use crate::scratch::Scratch;

const TILES_ACROSS: usize = STRIP / SIDE;

impl Product<'_> {
    #[inline(always)]
    pub fn run_tiles<T: Tiles>(self, tiles: &mut T) {
        let rows = self.part.rows.start * TILES_ACROSS..self.part.rows.end * TILES_ACROSS;
        let columns = self.part.columns.start * TILES_ACROSS..self.part.columns.end * TILES_ACROSS;
        // An odd number of cache lines: rows that are used together do not compete for the same place in the cache.
        let stride = ((self.words / SIDE) | 1) * SIDE;
        let mut turned = Scratch::<u32>::any(rows.len() * SIDE * stride);
        let mut sums = [[0.0f32; SIDE * SIDE]; 4];
        for token in (0..self.rows).step_by(self.block) {
            let live = self.block.min(self.rows - token);
            let steps = live.div_ceil(2 * SIDE);
            let of_block = token / self.block * self.strips * self.words * STRIP;
            // Words of 16 columns of X.
            let packed = |sixteen: usize| {
                let (strip, across) = (sixteen / TILES_ACROSS, sixteen % TILES_ACROSS);
                let at = of_block + strip * self.words * STRIP + across * SIDE;
                self.packed[at..].as_ptr().cast::<u32>()
            };
            for (at, row) in rows.clone().enumerate() {
                let to = &mut turned[at * SIDE * stride..];
                for word in (0..steps * SIDE).step_by(SIDE) {
                    let to = to[word..].as_mut_ptr();
                    // SAFETY: whole tiles of words of a strip of this block.
                    unsafe { tiles.turn(to, stride, packed(row).add(word * STRIP), STRIP) };
                }
            }
            let [c0, c1, c2, c3] = sums.each_mut().map(|sums| sums.as_mut_ptr());
            for row in rows.clone().step_by(2) {
                for column in columns.clone().step_by(2) {
                    let of_rows = [row, (row + 1).min(rows.end - 1)];
                    let of_columns = [column, (column + 1).min(columns.end - 1)];
                    if row > of_columns[1] {
                        continue;
                    }
                    let square = Square {
                        a: of_rows.map(|row| turned[(row - rows.start) * SIDE * stride..].as_ptr()),
                        a_stride: stride,
                        b: of_columns.map(packed),
                        b_stride: STRIP,
                        c: [[c0, c1], [c2, c3]],
                        c_stride: SIDE,
                        fresh: true,
                    };
                    // SAFETY: whole tiles of words, zeros where there are no tokens; this task alone writes the tiles of its part.
                    unsafe {
                        square.multiply(tiles, steps);
                        for (i, c) in [c0, c1, c2, c3].into_iter().enumerate() {
                            let (row, column) = (row + i / 2, column + i % 2);
                            if row < rows.end && column < columns.end && row <= column {
                                self.add_tile(tiles, row, column, c);
                            }
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// 16 x 16 sums.
    #[inline(always)]
    unsafe fn add_tile<T: Tiles>(
        &self,
        tiles: &mut T,
        row: usize,
        column: usize,
        from: *const f32,
    ) {
        let tile = tile_at(self.strips, row / TILES_ACROSS, column / TILES_ACROSS);
        let (down, right) = (row % TILES_ACROSS * SIDE, column % TILES_ACROSS * SIDE);
        for i in 0..SIDE {
            let at = tile + (down + i) * STRIP + right;
            // SAFETY: rows of tiles; this task alone writes those of its part.
            unsafe { tiles.add_row(self.sums.add(at), from.add(i * SIDE)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::amx::SIDE;
    use crate::gram::{Precision, add_gram_with, gram_matrix, sums_length};
    use crate::tests::noise;
    use crate::threads::pool;
    use crate::words::{Kernel, rounded};

    /// What the tiles are to add, in plain loops: 32 tokens at a time, odd and even ones apart, float64 beyond 512.
    fn expected(x: &[f32], columns: usize, i: usize, j: usize) -> f32 {
        let part = |x: &[f32], first: usize| {
            let rows = x.chunks_exact(columns).skip(first).step_by(2);
            rows.fold(0.0f32, |sum, x| x[i].mul_add(x[j], sum))
        };
        let blocks = x.chunks(512 * columns).map(|x| {
            let parts = x.chunks(2 * SIDE * columns);
            parts.fold(0.0, |sum, x| sum + (part(x, 0) + part(x, 1)))
        });
        blocks.fold(0.0f64, |sum, block| sum + block as f64) as f32
    }

    #[test]
    fn emulated_tiles_give_the_sums_of_the_manual() {
        for (tokens, columns) in [
            (1, 1),
            (33, 50),
            (515, 97),
            (1100, 150),
            (40, 300),
            (20, 1300),
        ] {
            let x: Vec<f32> = noise(tokens * columns, 1)
                .iter()
                .map(|&x| f32::from_bits(rounded((x as f32).to_bits())))
                .collect();
            let mut sums = vec![0.0; sums_length(columns)];
            let mut matrix = vec![0.0; columns * columns];
            pool(2).unwrap().install(|| {
                let kernel = Kernel::EmulatedTiles;
                add_gram_with(&mut sums, &x, columns, Precision::Bfloat16, kernel);
                gram_matrix(&sums, columns, &mut matrix);
            });
            for i in 0..columns {
                for j in (i..columns).step_by(if columns > 200 { 7 } else { 1 }) {
                    let expected = expected(&x, columns, i, j);
                    assert_eq!(matrix[i * columns + j], expected, "{i}, {j} of {columns}");
                    assert_eq!(matrix[j * columns + i], expected, "{j}, {i} of {columns}");
                }
            }
        }
    }
}
