//! Memory for intermediate matrices, kept from one call to the next: fresh pages cost the system as long to hand out as a core
//! takes to fill them with results.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// A cache line: vectors do not straddle two.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u64; 8]);

const EMPTY: Line = Line([0; 8]);

/// Bound on what is kept while nobody uses it, bytes.
const KEPT_BYTES: usize = 128 << 20;

/// Smaller blocks are the allocator's business.
const SMALLEST_KEPT_BYTES: usize = 1 << 16;

static KEPT: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

/// Numbers that are plain bits: what lies in reused memory is a number too.
pub trait Plain: Copy + Default + Send + Sync + 'static {}
impl Plain for f64 {}
impl Plain for f32 {}
impl Plain for u32 {}
impl Plain for u8 {}

/// An array that goes back where it came from.
pub struct Scratch<T: Plain> {
    lines: Vec<Line>,
    length: usize,
    of: PhantomData<T>,
}

impl<T: Plain> Scratch<T> {
    /// Of any content.
    pub fn any(length: usize) -> Self {
        let bytes = length * size_of::<T>();
        let count = bytes.div_ceil(size_of::<Line>());
        let mut lines = if bytes < SMALLEST_KEPT_BYTES {
            Vec::new()
        } else {
            take(count)
        };
        if lines.len() < count {
            lines = vec![EMPTY; count];
        }
        Self {
            lines,
            length,
            of: PhantomData,
        }
    }

    pub fn zeros(length: usize) -> Self {
        let mut array = Self::any(length);
        array.fill(T::default());
        array
    }
}

/// The smallest array with enough room; empty when there is none.
fn take(count: usize) -> Vec<Line> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let fitting = (0..kept.len()).filter(|&at| kept[at].len() >= count);
    match fitting.min_by_key(|&at| kept[at].len()) {
        Some(at) => kept.swap_remove(at),
        None => Vec::new(),
    }
}

impl<T: Plain> Drop for Scratch<T> {
    fn drop(&mut self) {
        let bytes = |lines: &Vec<Line>| lines.len() * size_of::<Line>();
        if bytes(&self.lines) < SMALLEST_KEPT_BYTES {
            return;
        }
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().map(bytes).sum::<usize>() + bytes(&self.lines) <= KEPT_BYTES {
            kept.push(std::mem::take(&mut self.lines));
        }
    }
}

impl<T: Plain> Deref for Scratch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl<T: Plain> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lies_on_cache_lines_and_is_zero_when_asked() {
        for length in [0, 1, 1000, 100_000] {
            let mut first = Scratch::<f64>::any(length);
            first.fill(3.0);
            assert_eq!(first.as_ptr() as usize % 64, 0);
            drop(first);
            let second = Scratch::<f64>::zeros(length);
            assert!(second.len() == length && second.iter().all(|&x| x == 0.0));
        }
    }
}
