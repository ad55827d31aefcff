//! The product of linear layers: `y = x Wᵀ + b`, factors rounded to bfloat16, products and sums in float32.
//!
//! W is packed once (packed_linear.rs), pairs of bfloat16 for every instruction set; one that does not multiply bfloat16 widens a part of
//! a strip where it is about to use it.
//!
//! x is taken in blocks of tokens and chunks of columns, each rounded into scratch by the task that multiplies it: by all strips of its
//! range, of all linears that share this x. A strip's chunk lies in the cache while all tokens of the block pass it.
//!
//! Each element is one chain of fused multiply-adds from zero in the order of the columns, then one addition of the bias; between chunks the chain
//! waits in y. So neither threads, nor how tokens are split into calls, nor the instruction set change a bit (see words.rs). The error of
//! an element is at most columns 2^-24 Σ|x w| over the rounded factors (Higham 2002, eq. 3.5).

#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
use crate::amx;
use crate::packed_linear::{
    PAIRS_TOGETHER, STRIP, pack_pairs, pack_singles, packed_length, pairs_of, strips_of,
};
use crate::product::SharedMut;
use crate::scratch::Scratch;
use crate::simd::dispatch;
#[cfg(target_arch = "x86_64")]
use crate::words::Pairs;
use crate::words::{Kernel, Single, Words};
use pulp::{Simd, WithSimd};
use rayon::current_num_threads;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Tokens of a block: whole tiles of every instruction set.
const BLOCK: usize = 192;

/// Words of a token in a chunk, at most: a block of them and a strip's chunk stay in the second-level cache.
const CHUNK: usize = 512;

/// Fewest strips of a task, where there are more: rounding x takes a small part of it.
const STRIPS_OF_TASK: usize = 8;

/// One of the linears that share an input.
pub struct Linear<'a> {
    /// Of `pack_linear`.
    pub packed: &'a [u32],
    pub rows: usize,
    /// `[rows]`.
    pub bias: Option<&'a [f32]>,
    /// `[tokens, rows]`, overwritten.
    pub y: &'a mut [f32],
}

/// `y = x Wᵀ + b` of linears that share `x`, `[tokens, columns]`. In the current pool of threads.
pub fn multiply_linears(x: &[f32], columns: usize, linears: &mut [Linear<'_>]) {
    multiply(x, columns, linears, Kernel::of_bfloat16());
}

/// A linear as its tasks see it.
pub(crate) struct Part<'a> {
    pub packed: &'a [u32],
    pub rows: usize,
    pub bias: Option<&'a [f32]>,
    pub y: SharedMut<f32>,
    /// Its strips among those of all linears.
    pub strips: Range<usize>,
}

pub(crate) fn multiply(x: &[f32], columns: usize, linears: &mut [Linear<'_>], kernel: Kernel) {
    if columns == 0 {
        assert!(x.is_empty(), "a row without columns has no numbers");
        return;
    }
    assert!(x.len().is_multiple_of(columns), "the last row is not whole");
    let tokens = x.len() / columns;
    let mut strips = 0;
    let parts = linears.iter_mut().map(|linear| {
        let length = packed_length(linear.rows, columns);
        assert_eq!(linear.packed.len(), length, "the weight has another shape");
        let bias = linear.bias.map_or(linear.rows, <[f32]>::len);
        assert_eq!(bias, linear.rows, "the bias is of other rows");
        assert_eq!(
            linear.y.len(),
            tokens * linear.rows,
            "y is of another shape"
        );
        let first = strips;
        strips += strips_of(linear.rows);
        Part {
            packed: linear.packed,
            rows: linear.rows,
            bias: linear.bias,
            y: SharedMut(linear.y.as_mut_ptr()),
            strips: first..strips,
        }
    });
    let parts: Vec<_> = parts.collect();
    let blocks = tokens.div_ceil(BLOCK);
    // A few tasks per thread, or the last ones would be waited for.
    let wanted = (4 * current_num_threads()).div_ceil(blocks.max(1));
    let across = wanted.min(strips.div_ceil(STRIPS_OF_TASK)).max(1);
    let strips_of_task = strips.div_ceil(across).max(1);
    let tasks = (0..blocks * across).into_par_iter().with_max_len(1);
    tasks.for_each(|task| {
        let (block, part) = (task / across, task % across);
        let tokens = block * BLOCK..((block + 1) * BLOCK).min(tokens);
        let first = (part * strips_of_task).min(strips);
        let product = Product {
            x: &x[tokens.start * columns..tokens.end * columns],
            columns,
            parts: &parts,
            tokens,
            strips: first..(first + strips_of_task).min(strips),
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
    });
}

/// # Safety
/// The processor has AVX-512 with BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
unsafe fn multiply_pairs(product: Product<'_>) {
    product.run::<_, 8, 3>(Pairs);
}

/// # Safety
/// The processor has AVX-512, and AMX is in use.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
unsafe fn multiply_tiles(product: Product<'_>) {
    product.run_tiles(&mut unsafe { amx::Amx::start() });
}

/// A block of tokens times a range of strips.
pub(crate) struct Product<'a> {
    /// Of this block only.
    x: &'a [f32],
    pub columns: usize,
    pub parts: &'a [Part<'a>],
    pub tokens: Range<usize>,
    pub strips: Range<usize>,
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
        let of_pair = if W::PAIRED { 1 } else { 2 };
        let all = self.columns.div_ceil(2);
        let chunks = all.div_ceil(CHUNK / of_pair);
        let pairs_of_chunk = all.div_ceil(chunks).next_multiple_of(PAIRS_TOGETHER);
        let tiles = self.tokens.len().div_ceil(ROWS);
        // An odd number of cache lines: rows that are used together do not compete for the same place in the cache.
        let stride = ((pairs_of_chunk * of_pair).div_ceil(16) | 1) * 16;
        let mut block = Scratch::<u32>::any(tiles * ROWS * stride);
        let widened = if W::PAIRED {
            0
        } else {
            pairs_of_chunk * 2 * STRIP
        };
        let mut wide = Scratch::<u32>::any(widened);
        for pairs in (0..all).step_by(pairs_of_chunk) {
            let pairs = pairs..(pairs + pairs_of_chunk).min(all);
            let depth = pairs.len() * of_pair;
            self.round(&pairs, &mut block, stride, W::PAIRED);
            for part in self.parts {
                let strips =
                    part.strips.start.max(self.strips.start)..part.strips.end.min(self.strips.end);
                for strip in strips {
                    let strip = strip - part.strips.start;
                    let at = (strip * pairs_of(self.columns) + pairs.start) * STRIP;
                    let packed = &part.packed[at..at + pairs.len() * STRIP];
                    let factors = if W::PAIRED {
                        packed.as_ptr()
                    } else {
                        widen(packed, &mut wide);
                        wide.as_ptr()
                    };
                    let first = strip * STRIP;
                    let live = STRIP.min(part.rows - first);
                    let mut bias = [0.0; STRIP];
                    let biased = pairs.end == all && part.bias.is_some();
                    if let Some(values) = part.bias {
                        bias[..live].copy_from_slice(&values[first..first + live]);
                    }
                    let mut row = 0;
                    while row < live {
                        for tile in 0..tiles {
                            let token = tile * ROWS;
                            let tile = Tile {
                                depth,
                                // SAFETY: the tile's tokens lie in the block, its rows in the strip; this task alone writes this
                                // part of y.
                                a: unsafe { block.as_ptr().add(token * stride) }.cast(),
                                a_stride: stride,
                                b: unsafe { factors.add(row) }.cast(),
                                c: unsafe {
                                    let row = first + row;
                                    part.y.add((self.tokens.start + token) * part.rows + row)
                                },
                                c_stride: part.rows,
                                rows: ROWS.min(self.tokens.len() - token),
                                columns: (ACROSS * W::LANES).min(live - row),
                                fresh: pairs.start == 0,
                                bias: biased.then_some(&bias[row..]),
                            };
                            unsafe { tile.multiply::<W, ROWS, ACROSS>(unit) };
                        }
                        row += ACROSS * W::LANES;
                    }
                }
            }
        }
    }

    /// A chunk of the block's columns, zeros up to whole tiles.
    #[inline(always)]
    pub fn round(&self, pairs: &Range<usize>, block: &mut [u32], stride: usize, paired: bool) {
        let columns = pairs.start * 2..(pairs.end * 2).min(self.columns);
        let mut rows = block.chunks_exact_mut(stride);
        for (x, to) in self.x.chunks_exact(self.columns).zip(&mut rows) {
            let x = &x[columns.clone()];
            if paired {
                pack_pairs(x, to);
            } else {
                pack_singles(x, to);
            }
        }
        rows.for_each(|to| to.fill(0));
    }
}

/// Pairs of a strip, `[pairs, 48]`, to `[columns, 48]`.
#[inline(always)]
fn widen(packed: &[u32], wide: &mut [u32]) {
    for (pair, to) in packed
        .chunks_exact(STRIP)
        .zip(wide.chunks_exact_mut(2 * STRIP))
    {
        for i in 0..STRIP {
            to[i] = pair[i] & 0xffff_0000;
            to[STRIP + i] = pair[i] << 16;
        }
    }
}

/// A tile in registers: `[ROWS tokens, ACROSS vectors of rows]`.
struct Tile<'a> {
    /// Words of a token.
    depth: usize,
    /// Words between tokens.
    a_stride: usize,
    a: *const f32,
    /// `[depth, 48]`.
    b: *const f32,
    c: *mut f32,
    c_stride: usize,
    /// Tokens of C that are there.
    rows: usize,
    /// Columns of C that are there.
    columns: usize,
    /// The chains begin here; otherwise they lie in C.
    fresh: bool,
    /// Added when the chains end.
    bias: Option<&'a [f32]>,
}

impl Tile<'_> {
    /// # Safety
    /// All of it is there.
    #[inline(always)]
    unsafe fn multiply<W: Words, const ROWS: usize, const ACROSS: usize>(self, unit: W) {
        let width = ACROSS * W::LANES;
        if self.rows == ROWS && self.columns == width {
            unsafe { self.whole::<W, ROWS, ACROSS>(unit, self.c, self.c_stride) };
            return;
        }
        // An edge: through a whole tile aside.
        let mut aside = [[const { MaybeUninit::<W::Lanes>::zeroed() }; ACROSS]; ROWS];
        let values = aside.as_mut_ptr().cast::<f32>();
        unsafe {
            if !self.fresh {
                for i in 0..self.rows {
                    let from = self.c.add(i * self.c_stride);
                    values
                        .add(i * width)
                        .copy_from_nonoverlapping(from, self.columns);
                }
            }
            self.whole::<W, ROWS, ACROSS>(unit, values, width);
            for i in 0..self.rows {
                let to = self.c.add(i * self.c_stride);
                to.copy_from_nonoverlapping(values.add(i * width), self.columns);
            }
        }
    }

    #[inline(always)]
    unsafe fn whole<W: Words, const ROWS: usize, const ACROSS: usize>(
        &self,
        unit: W,
        c: *mut f32,
        c_stride: usize,
    ) {
        let at = |i: usize, v: usize| unsafe { c.add(i * c_stride + v * W::LANES) };
        unsafe {
            let mut chains = [[unit.zero(); ACROSS]; ROWS];
            if !self.fresh {
                for i in 0..ROWS {
                    for v in 0..ACROSS {
                        chains[i][v] = at(i, v).cast::<W::Lanes>().read_unaligned();
                    }
                }
            }
            for p in 0..self.depth {
                let b = self.b.add(p * STRIP);
                let mut w = [unit.zero(); ACROSS];
                for v in 0..ACROSS {
                    w[v] = b.add(v * W::LANES).cast::<W::Lanes>().read_unaligned();
                }
                for i in 0..ROWS {
                    let x = unit.splat(*self.a.add(i * self.a_stride + p));
                    for v in 0..ACROSS {
                        chains[i][v] = unit.fused(x, w[v], chains[i][v]);
                    }
                }
            }
            if let Some(bias) = self.bias {
                for v in 0..ACROSS {
                    let from = bias.as_ptr().add(v * W::LANES);
                    let bias = from.cast::<W::Lanes>().read_unaligned();
                    for i in 0..ROWS {
                        chains[i][v] = unit.add(chains[i][v], bias);
                    }
                }
            }
            for i in 0..ROWS {
                for v in 0..ACROSS {
                    at(i, v).cast::<W::Lanes>().write_unaligned(chains[i][v]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed_linear::pack_linear;
    use crate::simd::{InstructionSet, choose, instruction_set};
    use crate::tests::noise;
    use crate::threads::pool;
    use crate::words::rounded;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        noise(count, seed).iter().map(|&x| x as f32).collect()
    }

    fn packed(weight: &[f32], rows: usize, columns: usize) -> Vec<u32> {
        let mut packed = vec![u32::MAX; packed_length(rows, columns)];
        pack_linear(weight, rows, columns, &mut packed);
        packed
    }

    fn product(
        x: &[f32],
        columns: usize,
        packed: &[u32],
        rows: usize,
        bias: Option<&[f32]>,
        kernel: Kernel,
    ) -> Vec<f32> {
        let mut y = vec![f32::NAN; x.len() / columns * rows];
        let linear = Linear {
            packed,
            rows,
            bias,
            y: &mut y,
        };
        multiply(x, columns, &mut [linear], kernel);
        y
    }

    fn bytes(y: &[f32]) -> Vec<u32> {
        y.iter().map(|y| y.to_bits()).collect()
    }

    fn narrow(x: f32) -> f64 {
        f32::from_bits(rounded(x.to_bits())) as f64
    }

    /// (tokens, columns, rows): one of everything, tails of tiles, strips, blocks and chunks.
    const SHAPES: [(usize, usize, usize); 8] = [
        (1, 1, 1),
        (3, 5, 7),
        (8, 32, 48),
        (9, 33, 49),
        (193, 64, 100),
        (20, 2051, 17),
        (385, 1090, 97),
        (2, 3100, 430),
    ];

    #[test]
    fn is_the_product_whatever_the_shape() {
        for (tokens, columns, rows) in SHAPES {
            let x = numbers(tokens * columns, 1);
            let weight = numbers(rows * columns, 2);
            let bias = numbers(rows, 3);
            let words = packed(&weight, rows, columns);
            for bias in [None, Some(&bias[..])] {
                let y = product(&x, columns, &words, rows, bias, Kernel::of_bfloat16());
                for (token, x) in x.chunks_exact(columns).enumerate() {
                    for (row, weight) in weight.chunks_exact(columns).enumerate() {
                        let terms = || x.iter().zip(weight).map(|(&x, &w)| narrow(x) * narrow(w));
                        let bias = bias.map_or(0.0, |bias| bias[row] as f64);
                        let expected = terms().sum::<f64>() + bias;
                        let size = terms().map(f64::abs).sum::<f64>() + bias.abs();
                        let bound = (columns + 2) as f64 * size * 2f64.powi(-24);
                        let error = y[token * rows + row] as f64 - expected;
                        assert!(error.abs() <= bound, "{tokens} x {columns} x {rows}");
                    }
                }
            }
        }
    }

    #[test]
    fn is_one_chain_in_the_order_of_the_columns() {
        let (tokens, columns, rows) = (5, 1601, 50);
        let x = numbers(tokens * columns, 1);
        let weight = numbers(rows * columns, 2);
        let bias = numbers(rows, 3);
        let words = packed(&weight, rows, columns);
        let y = product(
            &x,
            columns,
            &words,
            rows,
            Some(&bias),
            Kernel::of_bfloat16(),
        );
        for (token, x) in x.chunks_exact(columns).enumerate() {
            for (row, weight) in weight.chunks_exact(columns).enumerate() {
                let chain = x.iter().zip(weight).fold(0.0f32, |sum, (&x, &w)| {
                    (narrow(x) as f32).mul_add(narrow(w) as f32, sum)
                });
                assert_eq!(y[token * rows + row], chain + bias[row]);
            }
        }
    }

    #[test]
    fn has_the_same_bytes_for_any_threads_instructions_and_batches() {
        let set_before = instruction_set();
        for (tokens, columns, rows) in SHAPES {
            let x = numbers(tokens * columns, 1);
            let bias = numbers(rows, 3);
            let words = packed(&numbers(rows * columns, 2), rows, columns);
            let of =
                |x: &[f32], kernel| bytes(&product(x, columns, &words, rows, Some(&bias), kernel));
            let expected = of(&x, Kernel::of_bfloat16());
            for threads in [1, 3, 16] {
                let found = pool(threads)
                    .unwrap()
                    .install(|| of(&x, Kernel::of_bfloat16()));
                assert!(found == expected, "{threads} threads");
            }
            let (first, second) = x.split_at(tokens / 3 * columns);
            assert!(
                [
                    of(first, Kernel::of_bfloat16()),
                    of(second, Kernel::of_bfloat16())
                ]
                .concat()
                    == expected
            );
            for set in InstructionSet::ALL {
                if set != InstructionSet::Baseline && choose(set) {
                    assert!(of(&x, Kernel::Single) == expected, "{}", set.name());
                }
            }
            choose(set_before);
        }
    }

    #[test]
    fn several_linears_are_as_one_by_one() {
        let (tokens, columns) = (200, 70);
        let x = numbers(tokens * columns, 1);
        let all_rows = [130, 1, 48, 500];
        let words = all_rows.map(|rows| packed(&numbers(rows * columns, 5), rows, columns));
        let bias = numbers(500, 6);
        let bias_of = |i: usize| i.is_multiple_of(2).then(|| &bias[..all_rows[i]]);
        let mut ys = all_rows.map(|rows| vec![f32::NAN; tokens * rows]);
        let linears = ys.iter_mut().enumerate().map(|(i, y)| Linear {
            packed: &words[i],
            rows: all_rows[i],
            bias: bias_of(i),
            y,
        });
        pool(3)
            .unwrap()
            .install(|| multiply_linears(&x, columns, &mut linears.collect::<Vec<_>>()));
        for (i, y) in ys.iter().enumerate() {
            let alone = product(
                &x,
                columns,
                &words[i],
                all_rows[i],
                bias_of(i),
                Kernel::of_bfloat16(),
            );
            assert!(bytes(y) == bytes(&alone), "linear {i}");
        }
    }

    #[test]
    fn keeps_what_is_not_finite_where_it_is() {
        let (tokens, columns, rows) = (11, 37, 60);
        let mut x = numbers(tokens * columns, 1);
        let mut weight = numbers(rows * columns, 2);
        x[3 * columns + 36] = f32::NAN;
        x[4 * columns + 5] = f32::NEG_INFINITY;
        weight[50 * columns + 7] = f32::INFINITY;
        // Beyond the largest bfloat16, so it rounds to infinity.
        weight[51 * columns] = f32::MAX;
        let words = packed(&weight, rows, columns);
        let set_before = instruction_set();
        for set in InstructionSet::ALL {
            if !choose(set) {
                continue;
            }
            for kernel in [Kernel::Single, Kernel::of_bfloat16()] {
                let y = product(&x, columns, &words, rows, None, kernel);
                for (at, y) in y.iter().enumerate() {
                    let (token, row) = (at / rows, at % rows);
                    let finite = token != 3 && token != 4 && row != 50 && row != 51;
                    assert_eq!(y.is_finite(), finite, "token {token}, row {row}");
                    assert!(token != 3 || y.is_nan());
                }
            }
        }
        choose(set_before);
    }

    #[test]
    fn without_tokens_or_rows_there_is_nothing_to_do() {
        assert!(
            product(
                &[],
                3,
                &packed(&[0.0; 6], 2, 3),
                2,
                None,
                Kernel::of_bfloat16()
            )
            .is_empty()
        );
        assert!(product(&[1.0; 6], 3, &[], 0, None, Kernel::of_bfloat16()).is_empty());
    }
}
