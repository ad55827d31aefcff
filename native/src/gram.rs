//! Sums of XᵀX: the upper triangle only, in float32 over a block of tokens, in float64 over blocks and calls.
//!
//! Both operands are X itself, so one packed copy serves as both: strips of 48 columns, `[tokens of the block, 48]` each. The sums lie in
//! tiles of 48 x 48, `[strips (strips + 1) / 2][48][48]`, row of tiles after row of tiles: no half is wasted, and a task writes few pages.
//! What lies below the diagonal of a tile on the diagonal is of no meaning.
//!
//! Each element is, per block of tokens, one chain of fused multiply-adds from zero in the order of the tokens, then one addition in float64:
//! neither threads nor the instruction set change a bit. (`vdpbf16ps` is such a chain too: the upper half of each pair first, then the
//! lower one; only sums below 2^-126 are lost to it.) With a block of d tokens the error of an element is at most
//! d 2^-24 Σ|x y| (Higham 2002, eq. 3.5), in bfloat16 plus 2^-8 Σ|x y| of rounding both factors.

#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
use crate::amx;
use crate::amx::SIDE;
use crate::elementwise::sum_of_squares;
use crate::product::SharedMut;
use crate::scratch::Scratch;
use crate::simd::dispatch;
#[cfg(target_arch = "x86_64")]
use crate::words::Pairs;
use crate::words::{Kernel, Single, Words, rounded};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Columns of a strip: whole tiles of every instruction set.
pub const STRIP: usize = 48;
const TILE: usize = STRIP * STRIP;

/// Bound on packed tokens, bytes.
const PACKED_BYTES: usize = 64 << 20;

/// Rows of X that are packed into one strip before the next.
const ROWS_TOGETHER: usize = 8;

/// What the factors of a product are rounded to first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Float32,
    /// Nearest, ties to even.
    Bfloat16,
}

impl Precision {
    /// Tokens in one chain of float32 sums.
    pub fn block_tokens(self) -> usize {
        match self {
            Self::Float32 => 256,
            Self::Bfloat16 => 512,
        }
    }
}

/// How packed numbers lie in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    Single,
    /// Rounded to bfloat16, one to a word.
    Rounded,
    /// Two tokens to a word, the earlier one in the upper half.
    Pairs,
}

fn strips_of(columns: usize) -> usize {
    columns.div_ceil(STRIP)
}

/// Numbers in the sums of so many columns.
pub fn sums_length(columns: usize) -> usize {
    let strips = strips_of(columns);
    strips * (strips + 1) / 2 * TILE
}

/// Where tile (i, j), i <= j, begins.
pub(crate) fn tile_at(strips: usize, i: usize, j: usize) -> usize {
    (i * strips - i * (i + 1) / 2 + j) * TILE
}

/// Adds XᵀX of `x`, `[tokens, columns]`, to the sums. In the current pool of threads.
pub fn add_gram(sums: &mut [f64], x: &[f32], columns: usize, precision: Precision) {
    add_gram_with(sums, x, columns, precision, Kernel::of_bfloat16());
}

/// The same with one of the kernels for bfloat16.
pub(crate) fn add_gram_with(
    sums: &mut [f64],
    x: &[f32],
    columns: usize,
    precision: Precision,
    kernel: Kernel,
) {
    assert_eq!(
        sums.len(),
        sums_length(columns),
        "the sums are of other columns"
    );
    assert!(x.len().is_multiple_of(columns), "the last row is not whole");
    let packing = match precision {
        Precision::Float32 => Packing::Single,
        Precision::Bfloat16 if kernel == Kernel::Single => Packing::Rounded,
        Precision::Bfloat16 => Packing::Pairs,
    };
    let kernel = match precision {
        Precision::Float32 => Kernel::Single,
        Precision::Bfloat16 => kernel,
    };
    let block = precision.block_tokens();
    let strips = strips_of(columns);
    let words = block / if packing == Packing::Pairs { 2 } else { 1 };
    let block_words = strips * words * STRIP;
    let blocks = (PACKED_BYTES / 4 / block_words).max(1);
    let tokens = x.len() / columns;
    let mut packed = Scratch::<f32>::any(blocks.min(tokens.div_ceil(block)) * block_words);
    for part in x.chunks(blocks * block * columns) {
        let rows = part.len() / columns;
        let count = rows.div_ceil(block);
        if packing == Packing::Pairs {
            // Tiles multiply 16 pairs at a time.
            let live = (rows - (count - 1) * block).div_ceil(2);
            let last = &mut packed[(count - 1) * block_words..count * block_words];
            for strip in last.chunks_exact_mut(words * STRIP) {
                strip[live * STRIP..live.next_multiple_of(SIDE) * STRIP].fill(0.0);
            }
        }
        let to = SharedMut(packed.as_mut_ptr());
        let rows_per_task = 64;
        (0..count * block / rows_per_task)
            .into_par_iter()
            .for_each(|task| {
                let first = task * rows_per_task;
                if first < rows {
                    dispatch(Pack {
                        x: part,
                        columns,
                        rows: first..(first + rows_per_task).min(rows),
                        packing,
                        block,
                        words,
                        to,
                    });
                }
            });
        multiply(sums, &packed, strips, rows, block, words, kernel);
    }
}

/// The tiles of some rows and columns of strips.
#[derive(Clone)]
pub(crate) struct Part {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

/// Parts of about the same size that keep their packed rows in the second-level cache; the longer ones first.
fn parts_of(strips: usize) -> Vec<Part> {
    let height = if strips < 24 { 2 } else { 4 };
    let width = 2 * height;
    let mut parts = Vec::new();
    for first in (0..strips).step_by(height) {
        let rows = first..(first + height).min(strips);
        for column in (first..strips).step_by(width) {
            parts.push(Part {
                rows: rows.clone(),
                columns: column..(column + width).min(strips),
            });
        }
    }
    let work = |part: &Part| -> usize {
        part.rows
            .clone()
            .map(|i| part.columns.end - part.columns.start.max(i))
            .sum()
    };
    parts.sort_by_key(|part| usize::MAX - work(part));
    parts
}

fn multiply(
    sums: &mut [f64],
    packed: &[f32],
    strips: usize,
    rows: usize,
    block: usize,
    words: usize,
    kernel: Kernel,
) {
    let sums = SharedMut(sums.as_mut_ptr());
    let work = |part: &Part| {
        let product = Product {
            sums,
            packed,
            strips,
            rows,
            block,
            words,
            part: part.clone(),
            pairs: kernel != Kernel::Single,
        };
        match kernel {
            // SAFETY: a kernel is chosen where the processor has its instructions.
            #[cfg(target_arch = "x86_64")]
            Kernel::Pairs => unsafe { multiply_pairs(product) },
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kernel::Tiles => unsafe { multiply_tiles(product) },
            #[cfg(test)]
            Kernel::EmulatedTiles => product.run_tiles(&mut amx::tests::Emulated::default()),
            _ => dispatch(product),
        }
    };
    let parts = parts_of(strips);
    parts.par_iter().with_max_len(1).for_each(work);
}

/// Packs some rows of X.
struct Pack<'a> {
    x: &'a [f32],
    columns: usize,
    rows: Range<usize>,
    packing: Packing,
    block: usize,
    words: usize,
    to: SharedMut<f32>,
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let mut first = self.rows.start;
        while first < self.rows.end {
            let last = (first + ROWS_TOGETHER).min(self.rows.end);
            for strip in 0..strips_of(self.columns) {
                let start = strip * STRIP;
                let live = STRIP.min(self.columns - start);
                let token_words = if self.packing == Packing::Pairs { 2 } else { 1 };
                let base =
                    (first / self.block * strips_of(self.columns) + strip) * self.words * STRIP;
                for row in (first..last).step_by(token_words) {
                    let word = row % self.block / token_words;
                    // SAFETY: word `word` of a strip of a block of `packed`, which no other task writes.
                    let to =
                        unsafe { &mut *(self.to.add(base + word * STRIP).cast::<[u32; STRIP]>()) };
                    let row_of = |row: usize| {
                        let at = row * self.columns + start;
                        &self.x[at..at + live]
                    };
                    if live < STRIP {
                        to.fill(0);
                    }
                    match self.packing {
                        Packing::Single => {
                            for (to, x) in to.iter_mut().zip(row_of(row)) {
                                *to = x.to_bits();
                            }
                        }
                        Packing::Rounded => {
                            for (to, x) in to.iter_mut().zip(row_of(row)) {
                                *to = rounded(x.to_bits());
                            }
                        }
                        Packing::Pairs if row + 1 < last => {
                            let pair = row_of(row).iter().zip(row_of(row + 1));
                            for (to, (x, y)) in to.iter_mut().zip(pair) {
                                *to = rounded(x.to_bits()) | rounded(y.to_bits()) >> 16;
                            }
                        }
                        // Times zero, and added first to nothing: no trace of it.
                        Packing::Pairs => {
                            for (to, x) in to.iter_mut().zip(row_of(row)) {
                                *to = rounded(x.to_bits());
                            }
                        }
                    }
                }
            }
            first = last;
        }
    }
}

/// # Safety
/// The processor has AVX-512 with BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
unsafe fn multiply_pairs(product: Product<'_>) {
    product.run::<_, 8, 3>(Pairs);
}

/// # Safety
/// The processor has AVX-512, and AMX is permitted.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
unsafe fn multiply_tiles(product: Product<'_>) {
    product.run_tiles(&mut unsafe { amx::Amx::start() });
}

/// The tiles of one part, over all packed tokens.
pub(crate) struct Product<'a> {
    pub sums: SharedMut<f64>,
    pub packed: &'a [f32],
    pub strips: usize,
    pub rows: usize,
    pub block: usize,
    pub words: usize,
    pub part: Part,
    pairs: bool,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            self.run::<_, 8, 3>(Single(simd));
        } else {
            self.run::<_, 6, 2>(Single(simd));
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn run<W: Words, const ROWS: usize, const ACROSS: usize>(self, unit: W) {
        let width = ACROSS * W::LANES;
        let mut token = 0;
        while token < self.rows {
            let live = self.block.min(self.rows - token);
            let depth = if self.pairs { live.div_ceil(2) } else { live };
            let of_block = token / self.block * self.strips * self.words * STRIP;
            for j in self.part.columns.clone() {
                let b = of_block + j * self.words * STRIP;
                for i in self.part.rows.start..self.part.rows.end.min(j + 1) {
                    let a = of_block + i * self.words * STRIP;
                    let to = tile_at(self.strips, i, j);
                    let mut column = 0;
                    while column < STRIP {
                        let mut row = 0;
                        // On the diagonal rows end where the columns do.
                        let rows = if i == j { column + width } else { STRIP };
                        while row < rows {
                            // SAFETY: whole strips are packed; this task alone writes the tiles of its part.
                            unsafe {
                                let from = self.packed.as_ptr();
                                tile::<W, ROWS, ACROSS>(
                                    unit,
                                    depth,
                                    from.add(a + row),
                                    from.add(b + column),
                                    self.sums.add(to + row * STRIP + column),
                                );
                            }
                            row += ROWS;
                        }
                        column += width;
                    }
                }
            }
            token += live;
        }
    }
}

/// A tile in registers: `[ROWS, ACROSS vectors]` of AᵀB, added to `sums`.
///
/// # Safety
/// `depth` rows of a strip from `a` and `b` on; `sums` in a tile of 48 x 48.
#[inline(always)]
unsafe fn tile<W: Words, const ROWS: usize, const ACROSS: usize>(
    unit: W,
    depth: usize,
    a: *const f32,
    b: *const f32,
    sums: *mut f64,
) {
    unsafe {
        let mut chains = [[unit.zero(); ACROSS]; ROWS];
        for p in 0..depth {
            let (a, b) = (a.add(p * STRIP), b.add(p * STRIP));
            let mut x = [unit.zero(); ACROSS];
            for v in 0..ACROSS {
                x[v] = (b.add(v * W::LANES) as *const W::Lanes).read_unaligned();
            }
            for i in 0..ROWS {
                let y = unit.splat(*a.add(i));
                for v in 0..ACROSS {
                    chains[i][v] = unit.fused(y, x[v], chains[i][v]);
                }
            }
        }
        // The chains stay in registers as long as nothing takes their address.
        let mut aside = [const { MaybeUninit::<W::Lanes>::uninit() }; ACROSS];
        for i in 0..ROWS {
            for v in 0..ACROSS {
                aside[v].write(chains[i][v]);
            }
            let row = aside.as_ptr() as *const f32;
            for j in 0..ACROSS * W::LANES {
                *sums.add(i * STRIP + j) += *row.add(j) as f64;
            }
        }
    }
}

/// The whole symmetric matrix, `[columns, columns]`, rounded to float32.
pub fn gram_matrix(sums: &[f64], columns: usize, matrix: &mut [f32]) {
    assert_eq!(
        sums.len(),
        sums_length(columns),
        "the sums are of other columns"
    );
    assert_eq!(matrix.len(), columns * columns);
    let strips = strips_of(columns);
    let chunks = matrix.par_chunks_mut(STRIP * columns).enumerate();
    chunks.for_each(|(i, rows)| {
        for j in 0..strips {
            let tile = &sums[tile_at(strips, i.min(j), i.max(j))..][..TILE];
            let live = STRIP.min(columns - j * STRIP);
            for (row, to) in rows.chunks_exact_mut(columns).enumerate() {
                let to = &mut to[j * STRIP..][..live];
                // Columns from here on lie above the diagonal.
                let above = match j.cmp(&i) {
                    Ordering::Less => live,
                    Ordering::Equal => row,
                    Ordering::Greater => 0,
                };
                for (column, to) in to[..above].iter_mut().enumerate() {
                    *to = tile[column * STRIP + row] as f32;
                }
                for (to, &sum) in to[above..].iter_mut().zip(&tile[row * STRIP + above..]) {
                    *to = sum as f32;
                }
            }
        }
    });
}

/// The sum of squares of each row of `x`, taken in float64: not finite where the row is not, or its XᵀX would not be.
pub fn row_energies(x: &[f32], columns: usize, energies: &mut [f32]) {
    assert_eq!(x.len(), energies.len() * columns);
    const ROWS: usize = 64;
    let parts = energies
        .par_chunks_mut(ROWS)
        .zip(x.par_chunks(ROWS * columns));
    parts.for_each(|(energies, x)| {
        dispatch(Energies {
            x,
            columns,
            energies,
        })
    });
}

struct Energies<'a> {
    x: &'a [f32],
    columns: usize,
    energies: &'a mut [f32],
}

impl WithSimd for Energies<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (energy, row) in self
            .energies
            .iter_mut()
            .zip(self.x.chunks_exact(self.columns))
        {
            *energy = sum_of_squares(row) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{InstructionSet, choose, instruction_set};
    use crate::tests::noise;
    use crate::threads::pool;

    fn activations(tokens: usize, columns: usize) -> Vec<f32> {
        let seed = (tokens * 1000 + columns) as u64;
        noise(tokens * columns, seed)
            .iter()
            .map(|&x| x as f32)
            .collect()
    }

    fn gram(x: &[f32], columns: usize, precision: Precision, threads: usize) -> Vec<f32> {
        let mut sums = vec![0.0; sums_length(columns)];
        let mut matrix = vec![0.0; columns * columns];
        pool(threads).unwrap().install(|| {
            add_gram(&mut sums, x, columns, precision);
            gram_matrix(&sums, columns, &mut matrix);
        });
        matrix
    }

    fn exact(x: &[f32], columns: usize) -> Vec<f64> {
        let mut matrix = vec![0.0; columns * columns];
        for row in x.chunks_exact(columns) {
            for i in 0..columns {
                for j in 0..columns {
                    matrix[i * columns + j] += row[i] as f64 * row[j] as f64;
                }
            }
        }
        matrix
    }

    fn relative_error(found: &[f32], exact: &[f64]) -> f64 {
        let difference = found
            .iter()
            .zip(exact)
            .map(|(&a, &b)| (a as f64 - b).powi(2));
        (difference.sum::<f64>() / exact.iter().map(|x| x * x).sum::<f64>()).sqrt()
    }

    #[test]
    fn is_the_product_whatever_the_shape() {
        for (tokens, columns) in [
            (1, 1),
            (3, 5),
            (256, 48),
            (257, 49),
            (515, 97),
            (1100, 150),
            (40, 300),
        ] {
            let x = activations(tokens, columns);
            let expected = exact(&x, columns);
            let single = gram(&x, columns, Precision::Float32, 2);
            assert!(
                relative_error(&single, &expected) < 1e-6,
                "{tokens} x {columns}"
            );
            let narrow = gram(&x, columns, Precision::Bfloat16, 2);
            assert!(
                relative_error(&narrow, &expected) < 4e-3,
                "{tokens} x {columns}"
            );
            let rounded: Vec<f32> = x
                .iter()
                .map(|x| f32::from_bits(rounded(x.to_bits())))
                .collect();
            let expected = exact(&rounded, columns);
            assert!(
                relative_error(&narrow, &expected) < 1e-6,
                "{tokens} x {columns}"
            );
            for (i, j) in (0..columns).flat_map(|i| (0..columns).map(move |j| (i, j))) {
                assert_eq!(single[i * columns + j], single[j * columns + i]);
            }
        }
    }

    #[test]
    fn has_the_same_bytes_for_any_threads_and_instructions() {
        let best = instruction_set();
        let columns = 203;
        let x = activations(1301, columns);
        for precision in [Precision::Float32, Precision::Bfloat16] {
            let expected = gram(&x, columns, precision, 1);
            for set in InstructionSet::ALL {
                if set != InstructionSet::Baseline && choose(set) {
                    for threads in [1, 3] {
                        assert!(
                            gram(&x, columns, precision, threads) == expected,
                            "{}",
                            set.name()
                        );
                    }
                }
            }
            choose(best);
        }
    }

    #[test]
    fn keeps_what_is_not_finite() {
        let columns = 50;
        let mut x = activations(9, columns);
        x[3 * columns + 7] = f32::NAN;
        x[5 * columns + 9] = f32::INFINITY;
        x[6 * columns] = 1e20;
        let mut energies = vec![0.0; 9];
        row_energies(&x, columns, &mut energies);
        let finite: Vec<bool> = energies.iter().map(|e| e.is_finite()).collect();
        assert_eq!(
            finite,
            [true, true, true, false, true, false, false, true, true]
        );
        let expected: f64 = x[..columns].iter().map(|&x| x as f64 * x as f64).sum();
        assert!((energies[0] as f64 - expected).abs() < 1e-6 * expected);
        for precision in [Precision::Float32, Precision::Bfloat16] {
            let matrix = gram(&x, columns, precision, 1);
            assert!(matrix[7 * columns + 8].is_nan() && matrix[9 * columns + 9] == f32::INFINITY);
        }
    }
}
