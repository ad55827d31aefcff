//! Codes of a few bits in 32-bit words, as GPTQ files hold them; what engine/checkpoints/gptq/pack-words.ts does.

use crate::simd::dispatch;
use pulp::{Simd, WithSimd};

/// Codes that are packed together, per lane.
const BLOCK: usize = 32;

/// Lanes that are worked on together, so that both their codes and their words stay in the cache.
const TILE_LANES: usize = 64;

/// Blocks of codes in a line of the cache.
const BLOCKS_OF_LINE: usize = 2;

/// A function compiled for each width.
macro_rules! of_width {
    ($width: expr, $name: ident ($($argument: expr),*)) => {
        match $width {
            1 => $name::<1>($($argument),*),
            2 => $name::<2>($($argument),*),
            3 => $name::<3>($($argument),*),
            4 => $name::<4>($($argument),*),
            5 => $name::<5>($($argument),*),
            6 => $name::<6>($($argument),*),
            7 => $name::<7>($($argument),*),
            _ => $name::<8>($($argument),*),
        }
    };
}

/// Adjacent bits of every code of a block: `width` of them, the lowest of them bit `shift`.
#[derive(Clone, Copy)]
pub struct BitPlane {
    pub width: usize,
    pub shift: usize,
}

/// Element `item` of a lane lies at `lane * self.lane + item * self.item`.
#[derive(Clone, Copy)]
pub struct Steps {
    pub lane: usize,
    pub item: usize,
}

/// See LaneGeometry in pack-words.ts.
#[derive(Clone, Copy)]
pub struct Geometry {
    pub lanes: usize,
    /// Codes per lane, a multiple of 32.
    pub length: usize,
    pub codes: Steps,
    pub words: Steps,
}

impl Geometry {
    fn check(&self, planes: &[BitPlane], codes: usize, words: usize) -> usize {
        let bits: usize = planes.iter().map(|plane| plane.width).sum();
        assert!(
            planes
                .iter()
                .all(|plane| plane.width > 0 && plane.width + plane.shift <= 8)
        );
        assert!(self.length.is_multiple_of(BLOCK));
        let of_lane = self.length * bits / 32;
        let last = |steps: Steps, length: usize| {
            (self.lanes.max(1) - 1) * steps.lane + (length.max(1) - 1) * steps.item
        };
        assert!(self.lanes * self.length <= codes && self.lanes * of_lane <= words);
        assert!(self.lanes * self.length == 0 || last(self.codes, self.length) < codes);
        assert!(self.lanes * of_lane == 0 || last(self.words, of_lane) < words);
        bits
    }

    /// Every block of every lane, some lanes together: first code, first word.
    #[inline(always)]
    fn for_each_block(&self, bits: usize, mut work: impl FnMut(usize, usize)) {
        let blocks = self.length / BLOCK;
        for first in (0..self.lanes).step_by(TILE_LANES) {
            for pair in (0..blocks).step_by(BLOCKS_OF_LINE) {
                for lane in first..(first + TILE_LANES).min(self.lanes) {
                    for block in pair..(pair + BLOCKS_OF_LINE).min(blocks) {
                        work(
                            lane * self.codes.lane + block * BLOCK * self.codes.item,
                            lane * self.words.lane + block * bits * self.words.item,
                        );
                    }
                }
            }
        }
    }
}

/// Packs codes into words: per 32 codes the planes one after the other, each filled from the lowest bit up.
pub fn pack_words(codes: &[u8], planes: &[BitPlane], geometry: &Geometry, words: &mut [i32]) {
    dispatch(Packing {
        codes,
        planes,
        geometry,
        words,
    });
}

/// The inverse of `pack_words`.
pub fn unpack_words(words: &[i32], planes: &[BitPlane], geometry: &Geometry, codes: &mut [u8]) {
    dispatch(Unpacking {
        codes,
        planes,
        geometry,
        words,
    });
}

struct Packing<'a> {
    codes: &'a [u8],
    planes: &'a [BitPlane],
    geometry: &'a Geometry,
    words: &'a mut [i32],
}

impl WithSimd for Packing<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (codes, words, geometry) = (self.codes, self.words, self.geometry);
        let bits = geometry.check(self.planes, codes.len(), words.len());
        let (item, step) = (geometry.codes.item, geometry.words.item);
        geometry.for_each_block(bits, |code, mut word| {
            let mut block = [0; BLOCK];
            if item == 1 {
                block.copy_from_slice(&codes[code..code + BLOCK]);
            } else {
                for i in 0..BLOCK {
                    block[i] = codes[code + i * item];
                }
            }
            for &BitPlane { width, shift } in self.planes {
                let packed = of_width!(width, squeezed(&block, shift));
                for &value in &packed[..width] {
                    words[word] = value as i32;
                    word += step;
                }
            }
        });
    }
}

struct Unpacking<'a> {
    words: &'a [i32],
    planes: &'a [BitPlane],
    geometry: &'a Geometry,
    codes: &'a mut [u8],
}

impl WithSimd for Unpacking<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (codes, words, geometry) = (self.codes, self.words, self.geometry);
        let bits = geometry.check(self.planes, codes.len(), words.len());
        let (item, step) = (geometry.codes.item, geometry.words.item);
        geometry.for_each_block(bits, |code, mut word| {
            let mut block = [0; 4];
            for &BitPlane { width, shift } in self.planes {
                let mut packed = [0; 8];
                for value in &mut packed[..width] {
                    *value = words[word] as u32;
                    word += step;
                }
                of_width!(width, spread(&packed, shift, &mut block));
            }
            for (i, eight) in block.iter().enumerate() {
                let at = code + i * 8 * item;
                if item == 1 {
                    codes[at..at + 8].copy_from_slice(&eight.to_le_bytes());
                } else {
                    for (j, value) in eight.to_le_bytes().into_iter().enumerate() {
                        codes[at + j * item] = value;
                    }
                }
            }
        });
    }
}

/// The lower `width` bits of each byte.
const fn mask(width: usize) -> u64 {
    (0xff >> (8 - width)) * 0x0101_0101_0101_0101
}

/// The lower of two neighbours of `wide` bits each.
const fn lower(wide: usize) -> u64 {
    match wide {
        8 => 0x00ff_00ff_00ff_00ff,
        16 => 0x0000_ffff_0000_ffff,
        _ => 0x0000_0000_ffff_ffff,
    }
}

/// Bits `shift..shift + WIDTH` of 32 codes without gaps, in WIDTH words.
///
/// In each eight codes neighbours move together, then pairs, then fours; what is left is 8 WIDTH bits.
#[inline(always)]
fn squeezed<const WIDTH: usize>(block: &[u8; BLOCK], shift: usize) -> [u32; 8] {
    let mut words = [0; 8];
    for i in 0..4 {
        let mut eight = [0; 8];
        eight.copy_from_slice(&block[8 * i..8 * i + 8]);
        let mut bits = (u64::from_le_bytes(eight) >> shift) & mask(WIDTH);
        for wide in [8, 16, 32] {
            let gap = wide - wide * WIDTH / 8;
            bits = bits & lower(wide) | (bits & !lower(wide)) >> gap;
        }
        for k in 0..WIDTH {
            let (from, to) = (8 * WIDTH * i, 32 * k);
            if from >= to && from - to < 32 {
                words[k] |= (bits << (from - to)) as u32;
            } else if to > from && to - from < 8 * WIDTH {
                words[k] |= (bits >> (to - from)) as u32;
            }
        }
    }
    words
}

/// The inverse of `squeezed`, added to the codes of the block.
#[inline(always)]
fn spread<const WIDTH: usize>(words: &[u32; 8], shift: usize, block: &mut [u64; 4]) {
    for i in 0..4 {
        let mut bits = 0;
        for k in 0..WIDTH {
            let (from, to) = (32 * k, 8 * WIDTH * i);
            if from >= to && from - to < 8 * WIDTH {
                bits |= (words[k] as u64) << (from - to);
            } else if to > from && to - from < 32 {
                bits |= (words[k] >> (to - from)) as u64;
            }
        }
        for wide in [32, 16, 8] {
            // Of each two neighbours without a gap the upper one moves up.
            let live = wide * WIDTH / 8;
            let low = repeated((1 << live) - 1, 2 * wide);
            bits = bits & low | (bits << (wide - live)) & (low << wide);
        }
        block[i] |= (bits & mask(WIDTH)) << shift;
    }
}

/// A pattern at every multiple of `period` bits.
const fn repeated(pattern: u64, period: usize) -> u64 {
    match period {
        16 => pattern.wrapping_mul(0x0001_0001_0001_0001),
        32 => pattern.wrapping_mul(0x0000_0001_0000_0001),
        _ => pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise;

    /// Bit by bit.
    fn plainly(codes: &[u8], planes: &[BitPlane]) -> Vec<i32> {
        let mut words = Vec::new();
        for block in codes.chunks_exact(BLOCK) {
            for plane in planes {
                let mut of_plane = vec![0u32; plane.width];
                for (i, code) in block.iter().enumerate() {
                    for bit in 0..plane.width {
                        let at = i * plane.width + bit;
                        let set = (code >> (plane.shift + bit)) & 1;
                        of_plane[at / 32] |= (set as u32) << (at % 32);
                    }
                }
                words.extend(of_plane.iter().map(|&word| word as i32));
            }
        }
        words
    }

    #[test]
    fn packs_bit_by_bit_and_back() {
        let of = |width, shift| BitPlane { width, shift };
        let split = [vec![of(2, 0), of(1, 2)], vec![of(4, 0), of(2, 4), of(1, 6)]];
        let dense = (1..=8).map(|bits| vec![of(bits, 0)]);
        for planes in dense.chain(split) {
            let bits: usize = planes.iter().map(|plane| plane.width).sum();
            let (lanes, length) = (70, 96);
            let codes: Vec<u8> = noise(lanes * length, bits as u64)
                .iter()
                .map(|x| ((x + 1.0) * 0.5 * (1 << bits) as f64) as u8)
                .collect();
            let geometry = Geometry {
                lanes,
                length,
                codes: Steps {
                    lane: length,
                    item: 1,
                },
                words: Steps {
                    lane: 1,
                    item: lanes,
                },
            };
            let mut words = vec![0; lanes * length * bits / 32];
            pack_words(&codes, &planes, &geometry, &mut words);
            for lane in 0..lanes {
                let expected = plainly(&codes[lane * length..][..length], &planes);
                let found: Vec<i32> = words[lane..].iter().step_by(lanes).copied().collect();
                assert_eq!(found, expected, "{bits} bits");
            }
            let mut back = vec![0; codes.len()];
            unpack_words(&words, &planes, &geometry, &mut back);
            assert!(back == codes, "{bits} bits");
        }
    }
}
