//! Codes of a few bits in 32-bit words, as GPTQ files hold them; what engine/checkpoints/gptq/pack-words.ts does.

/// Codes that are packed together, per lane.
const BLOCK: usize = 32;

/// Lanes that are worked on together, so that both their codes and their words stay in the cache.
const TILE_LANES: usize = 64;

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
        assert!(planes.iter().all(|plane| plane.width + plane.shift <= 8));
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
        for first in (0..self.lanes).step_by(TILE_LANES) {
            for block in 0..self.length / BLOCK {
                for lane in first..(first + TILE_LANES).min(self.lanes) {
                    work(
                        lane * self.codes.lane + block * BLOCK * self.codes.item,
                        lane * self.words.lane + block * bits * self.words.item,
                    );
                }
            }
        }
    }
}

/// Packs codes into words: per 32 codes the planes one after the other, each filled from the lowest bit up.
pub fn pack_words(codes: &[u8], planes: &[BitPlane], geometry: &Geometry, words: &mut [i32]) {
    let bits = geometry.check(planes, codes.len(), words.len());
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
        for plane in planes {
            let stream = squeezed(&block, plane);
            for part in stream.chunks_exact(4).take(plane.width) {
                words[word] = i32::from_le_bytes([part[0], part[1], part[2], part[3]]);
                word += step;
            }
        }
    });
}

/// The inverse of `pack_words`.
pub fn unpack_words(words: &[i32], planes: &[BitPlane], geometry: &Geometry, codes: &mut [u8]) {
    let bits = geometry.check(planes, codes.len(), words.len());
    let (item, step) = (geometry.codes.item, geometry.words.item);
    geometry.for_each_block(bits, |code, mut word| {
        let mut block = [0; BLOCK];
        for plane in planes {
            let mut stream = [0; BLOCK + 8];
            for part in stream.chunks_exact_mut(4).take(plane.width) {
                part.copy_from_slice(&words[word].to_le_bytes());
                word += step;
            }
            spread(&stream, plane, &mut block);
        }
        if item == 1 {
            codes[code..code + BLOCK].copy_from_slice(&block);
        } else {
            for i in 0..BLOCK {
                codes[code + i * item] = block[i];
            }
        }
    });
}

/// The upper of two neighbours of `wide` bits each.
const fn neighbours(wide: u32) -> u64 {
    match wide {
        8 => 0x00ff_00ff_00ff_00ff,
        16 => 0x0000_ffff_0000_ffff,
        _ => 0x0000_0000_ffff_ffff,
    }
}

/// A plane of 32 codes without gaps: eight codes of w bits are w bytes. What follows the last of them is of no meaning.
#[inline(always)]
fn squeezed(block: &[u8; BLOCK], plane: &BitPlane) -> [u8; BLOCK + 8] {
    let width = plane.width as u32;
    let mask = u64::from_ne_bytes([(1u16 << width).wrapping_sub(1) as u8; 8]);
    let mut stream = [0; BLOCK + 8];
    for (i, eight) in block.as_chunks::<8>().0.iter().enumerate() {
        let mut bits = (u64::from_le_bytes(*eight) >> plane.shift) & mask;
        for (wide, gap) in [(8, 8 - width), (16, 2 * (8 - width)), (32, 4 * (8 - width))] {
            let lower = neighbours(wide);
            bits = bits & lower | (bits & !lower) >> gap;
        }
        let at = i * plane.width;
        stream[at..at + 8].copy_from_slice(&bits.to_le_bytes());
    }
    stream
}

/// The inverse of `squeezed`, added to the codes of the block.
#[inline(always)]
fn spread(stream: &[u8; BLOCK + 8], plane: &BitPlane, block: &mut [u8; BLOCK]) {
    let width = plane.width as u32;
    let mask = u64::from_ne_bytes([(1u16 << width).wrapping_sub(1) as u8; 8]);
    for (i, eight) in block.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let at = i * plane.width;
        let mut bits = 0u64;
        for (j, &byte) in stream[at..at + 8].iter().enumerate() {
            bits |= (byte as u64) << (8 * j);
        }
        for (wide, gap) in [(32, 4 * (8 - width)), (16, 2 * (8 - width)), (8, 8 - width)] {
            // Of each two neighbours, packed in the lower bits, the upper one moves up.
            let low = neighbours(wide) & repeated((1 << (wide * width / 8)) - 1, 2 * wide);
            bits = bits & low | (bits << gap) & (low << wide);
        }
        let codes = u64::from_le_bytes(*eight) | (bits & mask) << plane.shift;
        *eight = codes.to_le_bytes();
    }
}

/// A pattern at every multiple of `period` bits.
const fn repeated(pattern: u64, period: u32) -> u64 {
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
