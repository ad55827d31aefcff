//! The inner loops of Quantloom's solver: what engine/kernels does in TypeScript, on all cores and whole vectors.
//!
//! The modules are plain Rust on slices; those called `addon` are the only ones that know of JavaScript.

// Indices name rows of registers and lanes, several arrays at a time: iterators would hide which.
#![allow(clippy::needless_range_loop)]

pub mod addon;
pub mod addon_attention;
pub mod addon_elementwise;
pub mod addon_hash;
pub mod addon_mismatch;
pub mod addon_multiply;
pub mod addon_real_grid;
pub mod amx;
pub mod attention;
pub mod columns;
pub mod convert;
pub mod elementwise;
pub mod energy;
pub mod exponential;
pub mod gram;
#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
mod gram_tiles;
pub mod groups;
pub mod inverse_factor;
pub mod learn;
pub mod linear;
pub mod merge;
pub mod mismatch;
pub mod multiply;
#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
mod multiply_tiles;
pub mod pack;
pub mod packed;
pub mod packed_linear;
pub mod product;
pub mod real_grid;
pub mod refine;
pub mod scales;
pub mod scratch;
pub mod simd;
pub mod threads;
pub mod words;

#[cfg(test)]
mod tests {
    /// Numbers in (-1, 1) that look random.
    pub fn noise(count: usize, seed: u64) -> Vec<f64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        (0..count)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
            })
            .collect()
    }

    /// `[n, n]`, X Xᵀ / n + I / 10.
    pub fn positive_definite(n: usize) -> Vec<f64> {
        let x = noise(n * n, n as u64);
        let transposed: Vec<f64> = (0..n * n).map(|at| x[at % n * n + at / n]).collect();
        let mut a: Vec<f64> = product(&x, &transposed, n)
            .iter()
            .map(|v| v / n as f64)
            .collect();
        for i in 0..n {
            a[i * n + i] += 0.1;
        }
        a
    }

    /// A B, `[n, n]`, in plain loops.
    pub fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
        let mut c = vec![0.0; n * n];
        for i in 0..n {
            for k in 0..n {
                for j in 0..n {
                    c[i * n + j] += a[i * n + k] * b[k * n + j];
                }
            }
        }
        c
    }
}
