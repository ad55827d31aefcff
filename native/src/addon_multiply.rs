//! What JavaScript calls of the products of linears. All of it blocks the calling thread: for threads that may.

use crate::addon::{CodesToDequantize, groups_of, in_own_pool, require_length};
use crate::amx;
use crate::multiply;
use crate::packed_linear;
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Bytes of a cache line.
const LINE: u32 = 64;

/// Bytes to the next cache line, from where the memory begins.
#[napi]
pub fn bytes_to_line(memory: Uint8Array) -> u32 {
    (memory.as_ptr() as usize).wrapping_neg() as u32 % LINE
}

/// Words that `packLinear` writes.
#[napi]
pub fn packed_length(rows: u32, columns: u32) -> f64 {
    packed_linear::packed_length(rows as usize, columns as usize) as f64
}

/// Rounds a weight `[rows, columns]` to bfloat16 and packs it for `multiplyLinear`. It blocks the calling thread.
#[napi]
pub fn pack_linear(
    weight: Float32Array,
    rows: u32,
    columns: u32,
    mut packed: Uint32Array,
    threads: Option<u32>,
) -> Result<()> {
    let (rows, columns) = (rows as usize, columns as usize);
    require_length(weight.len(), rows * columns)?;
    require_length(packed.len(), packed_linear::packed_length(rows, columns))?;
    let packed = unsafe { packed.as_mut() };
    in_own_pool(threads.unwrap_or(1), || {
        packed_linear::pack_linear(&weight, rows, columns, packed)
    })
}

/// The same of a quantized weight, which is dequantized on the way, a few rows at a time.
#[napi]
pub fn pack_linear_from_codes(
    linear: CodesToDequantize,
    mut packed: Uint32Array,
    threads: Option<u32>,
) -> Result<()> {
    let groups = groups_of(&linear)?;
    let (rows, columns) = (linear.rows as usize, linear.columns as usize);
    require_length(packed.len(), packed_linear::packed_length(rows, columns))?;
    let packed = unsafe { packed.as_mut() };
    in_own_pool(threads.unwrap_or(1), || {
        packed_linear::pack_linear_from(rows, columns, packed, |rows, weights| {
            let codes = crate::convert::Codes {
                codes: &linear.codes[rows.start * columns..rows.end * columns],
                zeros: &linear.zeros[rows.start * groups..rows.end * groups],
                scales: &linear.scales[rows.start * groups..rows.end * groups],
                group_of: &linear.group_of,
            };
            crate::convert::dequantize(codes, rows.len(), weights);
        })
    })
}

/// One of the linears of a `multiplyLinears`.
#[napi(object, object_to_js = false)]
pub struct LinearToMultiply {
    /// Of `packLinear`.
    pub packed: Uint32Array,
    pub rows: u32,
    /// `[rows]`.
    pub bias: Option<Either<Float32Array, Null>>,
    /// `[tokens, rows]`.
    pub y: Float32Array,
}

fn bias_of(linear: &LinearToMultiply) -> Option<&[f32]> {
    match &linear.bias {
        Some(Either::A(bias)) => Some(bias),
        _ => None,
    }
}

/// `y = x Wᵀ + bias` of linears that share `x` `[tokens, columns]`. It blocks the calling thread.
#[napi]
pub fn multiply_linears(
    x: Float32Array,
    columns: u32,
    mut linears: Vec<LinearToMultiply>,
    threads: u32,
) -> Result<()> {
    let columns = columns as usize;
    let tokens = x.len() / columns.max(1);
    require_length(x.len(), tokens * columns)?;
    for linear in &linears {
        let rows = linear.rows as usize;
        require_length(
            linear.packed.len(),
            packed_linear::packed_length(rows, columns),
        )?;
        require_length(bias_of(linear).map_or(rows, <[f32]>::len), rows)?;
        require_length(linear.y.len(), tokens * rows)?;
    }
    let linears = linears.iter_mut().map(|linear| {
        // The caller looks at y when this has returned.
        let y = unsafe { linear.y.as_mut() };
        let (y, length) = (y.as_mut_ptr(), y.len());
        multiply::Linear {
            packed: &linear.packed,
            rows: linear.rows as usize,
            bias: bias_of(linear),
            y: unsafe { std::slice::from_raw_parts_mut(y, length) },
        }
    });
    let mut linears: Vec<_> = linears.collect();
    in_own_pool(threads, || {
        multiply::multiply_linears(&x, columns, &mut linears)
    })
}

/// The same of one linear.
#[napi]
pub fn multiply_linear(
    x: Float32Array,
    columns: u32,
    packed: Uint32Array,
    rows: u32,
    bias: Option<Float32Array>,
    y: Float32Array,
    threads: u32,
) -> Result<()> {
    let linear = LinearToMultiply {
        packed,
        rows,
        bias: bias.map(Either::A),
        y,
    };
    multiply_linears(x, columns, vec![linear], threads)
}

/// Whether the processor and the system have AMX, and with it products of bfloat16.
#[napi]
pub fn has_amx() -> bool {
    amx::present()
}

/// Whether products on AMX are right here. It may crash or hang: for a process of its own.
#[napi]
pub fn amx_works() -> Result<bool> {
    in_own_pool(2, amx::amx_works)
}

/// Products of bfloat16 use AMX from now on, or not any more; whether they do. For the whole process.
#[napi]
pub fn use_amx(wanted: bool) -> bool {
    amx::use_amx(wanted)
}
