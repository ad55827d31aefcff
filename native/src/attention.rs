//! Causal attention with grouped heads: `softmax(scale · q Kᵀ) V` over the keys up to a query's own, or the last ones of them that are in
//! its window, all in float32; scores may be capped, `cap · tanh(score / cap)` (Gemma 2, arXiv 2408.00118, section 2).
//!
//! Keys and values of a sequence are packed once, head by head, a few sequences at a time: keys in strips of 48, `[head size, 48]` each,
//! values as rows of whole vectors. A task takes a block of queries of one head: scores of all keys that the block sees, which stay
//! in the second-level cache; their weights row by row; the products with the values.
//!
//! A row's result is a fixed chain of operations of its own: the query times the scale; each score one chain of fused multiply-adds from zero
//! over the head; the exact maximum; weights e^(score - maximum) (exponential.rs); their sum as 16 partial sums, key k in sum
//! k mod 16, added in pairs; each element of the result one chain of fused multiply-adds over the keys in their order, times the
//! reciprocal of the sum. So neither threads, nor the sequences of a call, nor the instruction set change a bit, and no number after
//! a query has a part in its result, not even NaN. In front of a window that begins within a block's strips of keys, values count with the
//! weight 0: only those that are not finite are seen.
//!
//! With head size d, n visible keys and u = 2^-24, to first order: a score's error is at most e = (d + 2) u Σ|q k| / sqrt(d) (Higham 2002,
//! eq. 3.5); that of an element at most (2 e + (2 n + 30) u) max|v|, where e is that of the row's largest Σ|q k| and max|v| is over the visible
//! values of this column. The tanh adds 6 u cap to e.
//!
//! A score that is not finite makes its row NaN: an infinite key is not taken for one of weight 0.

use crate::exponential::{exp_of_negative, tanh};
use crate::product::SharedMut;
use crate::scratch::Scratch;
use crate::simd::dispatch;
use pulp::{Simd, WithSimd};
use rayon::current_num_threads;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Keys of a strip: whole tiles of every instruction set.
const STRIP: usize = 48;

/// Partial sums of a row of weights: whole vectors of every instruction set.
const SUMS: usize = 16;

/// Queries of a block: whole tiles of every instruction set.
const BLOCK: usize = 48;

/// Queries of a block of a sequence so long that scores of more would not stay in the second-level cache.
const SHORT_BLOCK: usize = 24;
const LONG_SEQUENCE: usize = 1536;

/// Of those that share one packing, at least.
const TASKS_PER_THREAD: usize = 24;

/// Bound on packed keys and values, bytes; at least one sequence is packed.
const PACKED_BYTES: usize = 64 << 20;

/// Of what shape queries, keys and values are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Tokens of a sequence; those of a call are whole sequences.
    pub sequence_length: usize,
    /// Heads of queries, a multiple of those of keys and values: head h attends to head h / (heads / key_value_heads).
    pub heads: usize,
    pub key_value_heads: usize,
    pub head_size: usize,
    /// Keys that a query sees, its own among them.
    pub window: Option<usize>,
    /// What products of queries and keys are multiplied by.
    pub scale: f32,
    /// Bound on scores.
    pub cap: Option<f32>,
}

/// 1 / sqrt(head size) (Vaswani et al. 2017, eq. 1).
pub fn usual_scale(head_size: usize) -> f32 {
    1.0 / (head_size as f32).sqrt()
}

impl Shape {
    /// First key that a query of the sequence sees.
    fn first_key(&self, query: usize) -> usize {
        self.window
            .map_or(0, |window| (query + 1).saturating_sub(window))
    }
    fn query_columns(&self) -> usize {
        self.heads * self.head_size
    }
    fn key_columns(&self) -> usize {
        self.key_value_heads * self.head_size
    }
    /// Columns of packed values.
    fn width(&self) -> usize {
        self.head_size.next_multiple_of(SUMS)
    }
    /// Keys with those that fill the last vectors up.
    fn padded_keys(&self) -> usize {
        self.sequence_length.next_multiple_of(SUMS)
    }
    fn block(&self) -> usize {
        if self.sequence_length > LONG_SEQUENCE {
            SHORT_BLOCK
        } else {
            BLOCK
        }
    }
}

/// Attention of `query` `[tokens, heads * head_size]` to `key` and `value` `[tokens, key_value_heads * head_size]`, each sequence by itself,
/// into `context` like `query`. In the current pool of threads.
pub fn causal_attention(
    query: &[f32],
    key: &[f32],
    value: &[f32],
    context: &mut [f32],
    shape: Shape,
) {
    let Shape {
        sequence_length,
        heads,
        key_value_heads,
        head_size,
        window,
        ..
    } = shape;
    assert_ne!(window, Some(0), "nothing is in the window");
    assert!(
        sequence_length > 0 && head_size > 0 && key_value_heads > 0,
        "nothing attends to nothing"
    );
    assert!(
        heads.is_multiple_of(key_value_heads),
        "the heads do not share alike"
    );
    assert_eq!(context.len(), query.len(), "context is of another shape");
    assert_eq!(value.len(), key.len(), "values are of another shape");
    let of_keys = sequence_length * shape.key_columns();
    assert!(
        key.len().is_multiple_of(of_keys),
        "the last sequence is not whole"
    );
    let sequences = key.len() / of_keys;
    let of_queries = sequence_length * shape.query_columns();
    assert_eq!(
        query.len(),
        sequences * of_queries,
        "queries are of another shape"
    );
    let (of_head_keys, of_head_values) = (
        shape.padded_keys() * head_size,
        sequence_length * shape.width(),
    );
    let of_sequence = key_value_heads * (of_head_keys + of_head_values) * size_of::<f32>();
    let blocks = sequence_length.div_ceil(shape.block());
    // What is packed is used soon, by tasks enough that no thread waits long for the last one.
    let together = (TASKS_PER_THREAD * current_num_threads()).div_ceil((heads * blocks).max(1));
    let together = together
        .min(PACKED_BYTES / of_sequence)
        .clamp(1, sequences.max(1));
    let packed_heads = together * key_value_heads;
    let mut keys = Scratch::<f32>::any(packed_heads * of_head_keys);
    let mut values = Scratch::<f32>::any(packed_heads * of_head_values);
    for first in (0..sequences).step_by(together) {
        let here = together.min(sequences - first);
        let strips = sequence_length.div_ceil(STRIP);
        let (to_keys, to_values) = (SharedMut(keys.as_mut_ptr()), SharedMut(values.as_mut_ptr()));
        (0..here * strips).into_par_iter().for_each(|task| {
            let (sequence, strip) = (task / strips, task % strips);
            let from = (first + sequence) * of_keys;
            for head in 0..key_value_heads {
                let packed = sequence * key_value_heads + head;
                dispatch(Pack {
                    key: &key[from + head * head_size..],
                    value: &value[from + head * head_size..],
                    // SAFETY: of this head, and no other task writes the strip.
                    keys: SharedMut(unsafe { to_keys.add(packed * of_head_keys) }),
                    values: SharedMut(unsafe { to_values.add(packed * of_head_values) }),
                    shape,
                    strip,
                });
            }
        });
        let context = SharedMut(context.as_mut_ptr());
        let sharing = heads / key_value_heads;
        let tasks = (0..here * heads * blocks).into_par_iter().with_max_len(1);
        tasks.for_each(|task| {
            // Heads that share keys one after the other: their queries lie side by side.
            let (rest, member) = (task / sharing, task % sharing);
            let (packed, block) = (rest / blocks, rest % blocks);
            let (sequence, of_keys) = (packed / key_value_heads, packed % key_value_heads);
            let head = of_keys * sharing + member;
            let from = (first + sequence) * of_queries + head * head_size;
            dispatch(Attend {
                query: &query[from..],
                keys: &keys[packed * of_head_keys..][..of_head_keys],
                values: &values[packed * of_head_values..][..of_head_values],
                // SAFETY: in the context, and no other task writes the rows of this block and head.
                context: SharedMut(unsafe { context.add(from) }),
                shape,
                first: block * shape.block(),
            });
        });
    }
}

/// A strip of keys and their values of one head of one sequence.
struct Pack<'a> {
    /// From the head's part of the sequence's first row on, like `value`.
    key: &'a [f32],
    value: &'a [f32],
    /// Of the head of the sequence, like `values`.
    keys: SharedMut<f32>,
    values: SharedMut<f32>,
    shape: Shape,
    strip: usize,
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (size, columns) = (self.shape.head_size, self.shape.key_columns());
        let first = self.strip * STRIP;
        let width = STRIP.min(self.shape.padded_keys() - first);
        let live = width.min(self.shape.sequence_length - first);
        let columns_of_values = self.shape.width();
        // SAFETY: the strip's keys and rows of values, which this task alone writes.
        let (keys, values) = unsafe {
            let keys = self.keys.add(first * size);
            let values = self.values.add(first * columns_of_values);
            (
                std::slice::from_raw_parts_mut(keys, size * width),
                std::slice::from_raw_parts_mut(values, live * columns_of_values),
            )
        };
        if live < width {
            keys.fill(0.0);
        }
        let rows = self.key[first * columns..].chunks(columns).take(live);
        for (key, from) in rows.enumerate() {
            let to = keys[key..].iter_mut().step_by(width);
            for (to, from) in to.zip(&from[..size]) {
                *to = *from;
            }
        }
        let rows = self.value[first * columns..].chunks(columns);
        for (to, from) in values.chunks_exact_mut(columns_of_values).zip(rows) {
            to[..size].copy_from_slice(&from[..size]);
            to[size..].fill(0.0);
        }
    }
}

/// A block of queries of one head of one sequence.
struct Attend<'a> {
    /// From the head's part of the sequence's first row on.
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    context: SharedMut<f32>,
    shape: Shape,
    /// Query of the sequence.
    first: usize,
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.run::<S, 8, 3, 6, 4, 1>(simd),
            8 => self.run::<S, 6, 2, 6, 2, 2>(simd),
            4 => self.run::<S, 8, 3, 6, 4, 4>(simd),
            _ => self.run::<S, 6, 2, 6, 2, SUMS>(simd),
        }
    }
}

impl Attend<'_> {
    /// Tiles of scores `[ROWS, ACROSS vectors]`, of the result `[QUERIES, WIDE vectors]`; `UNITS` vectors hold the partial sums of a row.
    #[inline(always)]
    fn run<
        S: Simd,
        const ROWS: usize,
        const ACROSS: usize,
        const QUERIES: usize,
        const WIDE: usize,
        const UNITS: usize,
    >(
        self,
        simd: S,
    ) {
        let size = self.shape.head_size;
        let queries = self
            .shape
            .block()
            .min(self.shape.sequence_length - self.first);
        // Whole tiles of both kinds, and odd numbers of cache lines: rows that are used together do not compete for the same place.
        let rows = queries.next_multiple_of(24);
        let depth = (size.div_ceil(16) | 1) * 16;
        let stride = ((self.first + queries).div_ceil(16) | 1) * 16;
        // As much for every block, so that it is kept from one to the next.
        let longest = ((self.shape.padded_keys() / 16) | 1) * 16;
        let most = self.shape.block().next_multiple_of(24);
        let mut kept = Scratch::<f32>::any(most * (depth + longest));
        let (block, scores) = kept.split_at_mut(rows * depth);
        self.scale(block, depth, queries);

        // Of the block's strips: keys, rows of values and scores are counted from there on.
        let begin = self.shape.first_key(self.first) / STRIP * STRIP;

        let mut row = 0;
        while row < queries {
            let visible = self.first + queries.min(row + ROWS);
            let mut key = begin;
            while key < visible {
                let strip = key / STRIP;
                let width = STRIP.min(self.shape.padded_keys() - strip * STRIP);
                let vectors = ((strip * STRIP + width).min(visible) - key).div_ceil(S::F32_LANES);
                let across = vectors.min(ACROSS);
                // SAFETY: rows of the block up to whole tiles, keys of the strip up to whole vectors, scores of both.
                unsafe {
                    let tile = Scores {
                        depth: size,
                        q: block.as_ptr().add(row * depth),
                        q_stride: depth,
                        k: self.keys.as_ptr().add(strip * STRIP * size + key % STRIP),
                        k_stride: width,
                        scores: scores.as_mut_ptr().add(row * stride + key - begin),
                        stride,
                    };
                    match across {
                        1 => tile.multiply::<S, ROWS, 1>(simd),
                        2 => tile.multiply::<S, ROWS, 2>(simd),
                        _ => tile.multiply::<S, ROWS, ACROSS>(simd),
                    }
                }
                key += across * S::F32_LANES;
            }
            row += ROWS;
        }

        let mut reciprocals = [0.0; BLOCK];
        for (row, scores) in scores.chunks_exact_mut(stride).take(queries).enumerate() {
            let query = self.first + row;
            let hidden = self.shape.first_key(query) - begin;
            let visible = query + 1 - begin;
            if let Some(cap) = self.shape.cap {
                soften(simd, &mut scores[..visible.next_multiple_of(SUMS)], cap);
            }
            reciprocals[row] = 1.0 / weigh::<S, UNITS>(simd, scores, hidden..visible);
        }

        let width = self.shape.width();
        let mut column = 0;
        while column < size {
            let wide = ((width - column) / S::F32_LANES).min(WIDE);
            let mut row = 0;
            while row < queries {
                let live = QUERIES.min(queries - row);
                // SAFETY: rows of weights up to whole tiles with keys up to the last row's, values up to whole vectors; this task alone
                // writes these rows of the context.
                unsafe {
                    let tile = Mixture {
                        keys: self.first + row + 1 - begin,
                        rows: live,
                        weights: scores.as_ptr().add(row * stride),
                        stride,
                        v: self.values.as_ptr().add(begin * width + column),
                        v_stride: width,
                        factors: reciprocals.as_ptr().add(row),
                        to: self
                            .context
                            .add((self.first + row) * self.shape.query_columns() + column),
                        to_stride: self.shape.query_columns(),
                        columns: size - column,
                    };
                    match wide {
                        1 => tile.multiply::<S, QUERIES, 1>(simd),
                        2 => tile.multiply::<S, QUERIES, 2>(simd),
                        3 => tile.multiply::<S, QUERIES, 3>(simd),
                        _ => tile.multiply::<S, QUERIES, WIDE>(simd),
                    }
                }
                row += QUERIES;
            }
            column += wide * S::F32_LANES;
        }
    }

    /// The block's queries times the scale, zeros up to whole tiles.
    #[inline(always)]
    fn scale(&self, block: &mut [f32], depth: usize, queries: usize) {
        let scale = self.shape.scale;
        let columns = self.shape.query_columns();
        let from = self.query[self.first * columns..].chunks(columns);
        let mut rows = block.chunks_exact_mut(depth);
        for (from, to) in from.take(queries).zip(&mut rows) {
            for (to, from) in to.iter_mut().zip(&from[..self.shape.head_size]) {
                *to = from * scale;
            }
        }
        rows.for_each(|to| to.fill(0.0));
    }
}

/// A tile of scores.
struct Scores {
    depth: usize,
    q: *const f32,
    q_stride: usize,
    k: *const f32,
    k_stride: usize,
    scores: *mut f32,
    stride: usize,
}

impl Scores {
    /// # Safety
    /// All of it is there.
    #[inline(always)]
    unsafe fn multiply<S: Simd, const ROWS: usize, const ACROSS: usize>(self, simd: S) {
        unsafe {
            let mut chains = [[simd.splat_f32s(0.0); ACROSS]; ROWS];
            for p in 0..self.depth {
                let k = self.k.add(p * self.k_stride);
                let mut keys = [simd.splat_f32s(0.0); ACROSS];
                for v in 0..ACROSS {
                    keys[v] = k.add(v * S::F32_LANES).cast::<S::f32s>().read_unaligned();
                }
                for i in 0..ROWS {
                    let q = simd.splat_f32s(*self.q.add(i * self.q_stride + p));
                    for v in 0..ACROSS {
                        chains[i][v] = simd.mul_add_f32s(q, keys[v], chains[i][v]);
                    }
                }
            }
            for i in 0..ROWS {
                for v in 0..ACROSS {
                    let to = self.scores.add(i * self.stride + v * S::F32_LANES);
                    to.cast::<S::f32s>().write_unaligned(chains[i][v]);
                }
            }
        }
    }
}

/// `cap · tanh(score / cap)`; NaN where a score is not finite.
#[inline(always)]
fn soften<S: Simd>(simd: S, scores: &mut [f32], cap: f32) {
    let (cap, inverse) = (simd.splat_f32s(cap), simd.splat_f32s(1.0 / cap));
    for score in S::as_mut_simd_f32s(scores).0 {
        let capped = simd.mul_f32s(tanh(simd, simd.mul_f32s(*score, inverse)), cap);
        *score = simd.mul_add_f32s(*score, simd.splat_f32s(0.0), capped);
    }
}

/// Scores of the visible keys become weights that are not divided by their sum yet, those of keys before them 0; the sum, NaN when a
/// score is not finite.
#[inline(always)]
fn weigh<S: Simd, const UNITS: usize>(simd: S, row: &mut [f32], visible: Range<usize>) -> f32 {
    let Range { start, end } = visible;
    let row = &mut row[..end.next_multiple_of(SUMS)];
    // No other maximum, nothing else that is not finite.
    let seen = row[start];
    row[..start].fill(seen);
    row[end..].fill(seen);
    let mut largest = [simd.splat_f32s(f32::NEG_INFINITY); UNITS];
    let mut nothing = [simd.splat_f32s(0.0); UNITS];
    for scores in S::as_simd_f32s(row).0.chunks_exact(UNITS) {
        for unit in 0..UNITS {
            largest[unit] = simd.max_f32s(largest[unit], scores[unit]);
            // NaN of what is not finite.
            nothing[unit] = simd.mul_add_f32s(scores[unit], simd.splat_f32s(0.0), nothing[unit]);
        }
    }
    let largest = parts::<S, UNITS>(largest)
        .into_iter()
        .fold(f32::NEG_INFINITY, f32::max);
    row[..start].fill(f32::NEG_INFINITY);
    row[end..].fill(f32::NEG_INFINITY);
    let maximum = simd.splat_f32s(largest);
    let mut sums = nothing;
    for scores in S::as_mut_simd_f32s(row).0.chunks_exact_mut(UNITS) {
        for unit in 0..UNITS {
            let weight = exp_of_negative(simd, simd.sub_f32s(scores[unit], maximum));
            scores[unit] = weight;
            sums[unit] = simd.add_f32s(sums[unit], weight);
        }
    }
    let mut sums = parts::<S, UNITS>(sums);
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
    }
    sums[0]
}

#[inline(always)]
fn parts<S: Simd, const UNITS: usize>(vectors: [S::f32s; UNITS]) -> [f32; SUMS] {
    let mut parts = [0.0; SUMS];
    for (to, vector) in S::as_mut_simd_f32s(&mut parts).0.iter_mut().zip(vectors) {
        *to = vector;
    }
    parts
}

/// A tile of the result.
struct Mixture {
    /// That the first row sees; every further row sees one more.
    keys: usize,
    /// That are there.
    rows: usize,
    weights: *const f32,
    stride: usize,
    v: *const f32,
    v_stride: usize,
    /// Of the rows.
    factors: *const f32,
    to: *mut f32,
    to_stride: usize,
    /// From `to` on that are there.
    columns: usize,
}

impl Mixture {
    /// # Safety
    /// All of it is there.
    #[inline(always)]
    unsafe fn multiply<S: Simd, const ROWS: usize, const ACROSS: usize>(self, simd: S) {
        let width = ACROSS * S::F32_LANES;
        if self.rows == ROWS && self.columns >= width {
            unsafe { self.whole::<S, ROWS, ACROSS>(simd, self.to, self.to_stride) };
            return;
        }
        // An edge: through a whole tile aside.
        let mut aside = [[const { MaybeUninit::<S::f32s>::uninit() }; ACROSS]; ROWS];
        let values = aside.as_mut_ptr().cast::<f32>();
        unsafe {
            self.whole::<S, ROWS, ACROSS>(simd, values, width);
            for i in 0..self.rows {
                let to = self.to.add(i * self.to_stride);
                to.copy_from_nonoverlapping(values.add(i * width), self.columns.min(width));
            }
        }
    }

    #[inline(always)]
    unsafe fn whole<S: Simd, const ROWS: usize, const ACROSS: usize>(
        &self,
        simd: S,
        to: *mut f32,
        to_stride: usize,
    ) {
        unsafe {
            let row = |key: usize| {
                let from = self.v.add(key * self.v_stride);
                let mut values = [simd.splat_f32s(0.0); ACROSS];
                for v in 0..ACROSS {
                    values[v] = from
                        .add(v * S::F32_LANES)
                        .cast::<S::f32s>()
                        .read_unaligned();
                }
                values
            };
            let mut chains = [[simd.splat_f32s(0.0); ACROSS]; ROWS];
            for key in 0..self.keys {
                let values = row(key);
                for i in 0..ROWS {
                    let weight = simd.splat_f32s(*self.weights.add(i * self.stride + key));
                    for v in 0..ACROSS {
                        chains[i][v] = simd.mul_add_f32s(weight, values[v], chains[i][v]);
                    }
                }
            }
            // Keys that only the later rows see.
            for later in 1..self.rows {
                let key = self.keys + later - 1;
                let values = row(key);
                for i in 1..ROWS {
                    if i >= later {
                        let weight = simd.splat_f32s(*self.weights.add(i * self.stride + key));
                        for v in 0..ACROSS {
                            chains[i][v] = simd.mul_add_f32s(weight, values[v], chains[i][v]);
                        }
                    }
                }
            }
            for i in 0..ROWS {
                let factor = simd.splat_f32s(*self.factors.add(i));
                for v in 0..ACROSS {
                    let to = to.add(i * to_stride + v * S::F32_LANES);
                    let result = simd.mul_f32s(chains[i][v], factor);
                    to.cast::<S::f32s>().write_unaligned(result);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{InstructionSet, choose, instruction_set};
    use crate::tests::noise;
    use crate::threads::pool;

    fn numbers(count: usize, seed: u64, size: f64) -> Vec<f32> {
        noise(count, seed)
            .iter()
            .map(|x| (x * size) as f32)
            .collect()
    }

    /// Queries, keys and values of a call.
    #[derive(Clone)]
    struct Inputs {
        query: Vec<f32>,
        key: Vec<f32>,
        value: Vec<f32>,
        shape: Shape,
    }

    impl Inputs {
        fn new(sequences: usize, shape: Shape) -> Self {
            let tokens = sequences * shape.sequence_length;
            Self {
                query: numbers(tokens * shape.query_columns(), 1, 4.0),
                key: numbers(tokens * shape.key_columns(), 2, 2.0),
                value: numbers(tokens * shape.key_columns(), 3, 1.0),
                shape,
            }
        }

        fn context(&self) -> Vec<f32> {
            let mut context = vec![f32::NAN; self.query.len()];
            causal_attention(
                &self.query,
                &self.key,
                &self.value,
                &mut context,
                self.shape,
            );
            context
        }

        fn bytes(&self) -> Vec<u32> {
            self.context().iter().map(|x| x.to_bits()).collect()
        }

        /// Some of the first tokens of the first sequences.
        fn part(&self, sequences: Range<usize>, tokens: usize) -> Self {
            let some = |of: &[f32], columns: usize| {
                let sequence = columns * self.shape.sequence_length;
                let chosen = of
                    .chunks_exact(sequence)
                    .skip(sequences.start)
                    .take(sequences.len());
                chosen
                    .flat_map(|rows| rows[..tokens * columns].to_vec())
                    .collect()
            };
            Self {
                query: some(&self.query, self.shape.query_columns()),
                key: some(&self.key, self.shape.key_columns()),
                value: some(&self.value, self.shape.key_columns()),
                shape: Shape {
                    sequence_length: tokens,
                    ..self.shape
                },
            }
        }

        /// Compares with plain loops in float64, within the bound that stands above.
        fn check(&self) {
            let Shape {
                sequence_length,
                heads,
                key_value_heads,
                head_size,
                window,
                scale,
                cap,
            } = self.shape;
            let context = self.context();
            let unit = 2f64.powi(-24);
            let scale = scale as f64;
            let capped = |s: f64| cap.map_or(s, |cap| cap as f64 * (s / cap as f64).tanh());
            for (at, rows) in context.chunks_exact(head_size).enumerate() {
                let (token, head) = (at / heads, at % heads);
                let query = &self.query[at * head_size..][..head_size];
                let start = token - token % sequence_length;
                let of_key = |token: usize| {
                    (token * key_value_heads + head / (heads / key_value_heads)) * head_size
                };
                let first = window.map_or(start, |window| {
                    start.max((token + 1).saturating_sub(window))
                });
                let visible: Vec<usize> = (first..=token).map(of_key).collect();
                let terms = |from: usize| {
                    let key = &self.key[from..][..head_size];
                    query.iter().zip(key).map(|(&q, &k)| q as f64 * k as f64)
                };
                let scores: Vec<f64> = visible
                    .iter()
                    .map(|&from| capped(terms(from).sum::<f64>() * scale))
                    .collect();
                let sizes = visible
                    .iter()
                    .map(|&from| terms(from).map(f64::abs).sum::<f64>());
                let of_score = (head_size + 2) as f64 * unit * scale * sizes.fold(0.0, f64::max)
                    + 6.0 * unit * cap.unwrap_or(0.0) as f64;
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for (d, &found) in rows.iter().enumerate() {
                    let value = |from: usize| self.value[from + d] as f64;
                    let terms = weights
                        .iter()
                        .zip(&visible)
                        .map(|(w, &from)| w * value(from));
                    let expected = terms.sum::<f64>() / sum;
                    let size = visible
                        .iter()
                        .map(|&from| value(from).abs())
                        .fold(0.0, f64::max);
                    let of_sums = (2 * visible.len() + 30) as f64 * unit;
                    let error = (found as f64 - expected).abs();
                    let bound = (2.0 * of_score + of_sums) * size;
                    assert!(
                        error <= bound,
                        "token {token}, head {head}: {error} > {bound}"
                    );
                }
            }
        }
    }

    fn shape(
        sequence_length: usize,
        heads: usize,
        key_value_heads: usize,
        head_size: usize,
    ) -> Shape {
        Shape {
            sequence_length,
            heads,
            key_value_heads,
            head_size,
            window: None,
            scale: usual_scale(head_size),
            cap: None,
        }
    }

    fn windowed(shape: Shape, window: usize) -> Shape {
        Shape {
            window: Some(window),
            ..shape
        }
    }

    fn capped(shape: Shape, cap: f32) -> Shape {
        Shape {
            cap: Some(cap),
            scale: 0.3,
            ..shape
        }
    }

    /// One of everything; edges of tiles, strips, blocks and vectors.
    fn all_inputs() -> Vec<Inputs> {
        [
            (1, shape(1, 1, 1, 1)),
            (5, shape(1, 2, 1, 6)),
            (3, shape(7, 2, 1, 6)),
            (2, shape(49, 9, 3, 64)),
            (1, shape(97, 3, 3, 80)),
            (2, shape(130, 4, 2, 128)),
            (1, shape(48, 2, 2, 200)),
            (1, shape(LONG_SEQUENCE + 60, 1, 1, 16)),
            (2, windowed(shape(130, 4, 2, 32), 1)),
            (2, windowed(shape(130, 4, 2, 32), 24)),
            (1, windowed(shape(300, 2, 1, 20), 97)),
            (1, windowed(shape(LONG_SEQUENCE + 60, 1, 1, 16), 500)),
            (2, capped(shape(97, 4, 2, 20), 2.0)),
            (1, capped(windowed(shape(200, 2, 2, 24), 60), 50.0)),
        ]
        .map(|(sequences, shape)| Inputs::new(sequences, shape))
        .into()
    }

    #[test]
    fn is_softmax_attention_whatever_the_shape() {
        all_inputs().iter().for_each(Inputs::check);
    }

    #[test]
    fn a_window_that_holds_the_sequence_changes_no_bit() {
        for inputs in all_inputs() {
            let wide = Inputs {
                shape: windowed(inputs.shape, inputs.shape.sequence_length),
                ..inputs.clone()
            };
            let without = Inputs {
                shape: Shape {
                    window: None,
                    ..inputs.shape
                },
                ..inputs
            };
            assert!(wide.bytes() == without.bytes());
        }
    }

    #[test]
    fn is_right_where_one_key_outweighs_all_others() {
        let mut inputs = Inputs::new(2, shape(60, 2, 1, 64));
        inputs.query.iter_mut().for_each(|q| *q *= 1e3);
        inputs.check();
        // Such scores have exponentials far beyond float32.
        inputs.key.iter_mut().for_each(|k| *k *= 1e3);
        assert!(inputs.context().iter().all(|x| x.abs() <= 1.0));
    }

    #[test]
    fn has_the_same_bytes_for_any_threads_instructions_and_batches() {
        let set_before = instruction_set();
        for inputs in all_inputs() {
            let length = inputs.shape.sequence_length;
            let expected = inputs.bytes();
            for threads in [1, 3, 16] {
                let found = pool(threads).unwrap().install(|| inputs.bytes());
                assert!(found == expected, "{threads} threads");
            }
            let sequences = inputs.query.len() / inputs.shape.query_columns() / length;
            let one_by_one = (0..sequences).flat_map(|i| inputs.part(i..i + 1, length).bytes());
            assert!(one_by_one.collect::<Vec<_>>() == expected);
            for set in InstructionSet::ALL {
                if choose(set) {
                    assert!(inputs.bytes() == expected, "{}", set.name());
                }
            }
            choose(set_before);
        }
    }

    #[test]
    fn a_row_does_not_depend_on_what_follows_it() {
        let whole = Inputs::new(1, shape(LONG_SEQUENCE + 1, 2, 1, 20));
        let expected = whole.bytes();
        for tokens in [1, 2, 6, 17, 47, 48, 53, 200] {
            let found = whole.part(0..1, tokens).bytes();
            assert!(found[..] == expected[..found.len()], "{tokens} tokens");
        }
    }

    #[test]
    fn keeps_what_is_not_finite_where_it_is_seen() {
        let inputs = Inputs::new(2, shape(60, 4, 2, 20));
        let (columns, of_keys) = (80, 40);
        let at = 27;
        let set_before = instruction_set();
        for set in InstructionSet::ALL {
            if !choose(set) {
                continue;
            }
            let expected = inputs.bytes();
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                // The second head of keys and values of token 27.
                let (mut query, mut key, mut value) =
                    (inputs.clone(), inputs.clone(), inputs.clone());
                query.query[at * columns + 45] = bad;
                key.key[at * of_keys + 20] = bad;
                value.value[at * of_keys + 39] = bad;
                for (kind, inputs) in [query, key, value].iter().enumerate() {
                    for (i, x) in inputs.context().into_iter().enumerate() {
                        let (token, column) = (i / columns, i % columns);
                        let hit = match kind {
                            0 => token == at && column / 20 == 2,
                            1 => (at..60).contains(&token) && column >= 40,
                            _ => (at..60).contains(&token) && column >= 40 && column % 20 == 19,
                        };
                        let right = match (hit, kind) {
                            (false, _) => x.to_bits() == expected[i],
                            (true, 2) => !x.is_finite(),
                            (true, _) => x.is_nan(),
                        };
                        assert!(
                            right,
                            "{bad} in {kind}: token {token}, column {column}: {x}"
                        );
                    }
                }
            }
        }
        choose(set_before);
    }

    #[test]
    fn without_tokens_there_is_nothing_to_do() {
        assert!(Inputs::new(0, shape(5, 2, 1, 6)).context().is_empty());
    }
}
