//! What JavaScript calls of the operators between linears. All of it blocks the calling thread: for threads that may.

use crate::addon::{in_own_pool, require_length};
use crate::elementwise::{
    Heads, add, gated_gelu_tanh, gated_silu, gelu_tanh, layer_norm, rms_norm, rotate,
};
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// `sum = a + b`.
#[napi(js_name = "add")]
pub fn js_add(a: Float32Array, b: Float32Array, mut sum: Float32Array, threads: u32) -> Result<()> {
    require_length(a.len(), sum.len())?;
    require_length(b.len(), sum.len())?;
    let sum = unsafe { sum.as_mut() };
    in_own_pool(threads, || add(&a, &b, sum))
}

/// Root mean square norm of the rows of `x` `[tokens, columns]`, `weight` `[columns]`.
#[napi(js_name = "rmsNorm")]
pub fn js_rms_norm(
    x: Float32Array,
    weight: Float32Array,
    epsilon: f64,
    mut y: Float32Array,
    threads: u32,
) -> Result<()> {
    require_length(x.len(), y.len())?;
    require_length(x.len(), x.len() / weight.len().max(1) * weight.len())?;
    let y = unsafe { y.as_mut() };
    in_own_pool(threads, || rms_norm(&x, &weight, epsilon as f32, y))
}

/// Layer norm of the rows of `x` `[tokens, columns]`, `weight` and `bias` `[columns]`.
#[napi(js_name = "layerNorm")]
pub fn js_layer_norm(
    x: Float32Array,
    weight: Float32Array,
    bias: Float32Array,
    epsilon: f64,
    mut y: Float32Array,
    threads: u32,
) -> Result<()> {
    require_length(x.len(), y.len())?;
    require_length(weight.len(), bias.len())?;
    require_length(x.len(), x.len() / weight.len().max(1) * weight.len())?;
    let y = unsafe { y.as_mut() };
    in_own_pool(threads, || {
        layer_norm(&x, &weight, &bias, epsilon as f32, y)
    })
}

/// Gaussian error linear units by the tanh approximation, in place.
#[napi(js_name = "geluTanh")]
pub fn js_gelu_tanh(mut x: Float32Array, threads: u32) -> Result<()> {
    let x = unsafe { x.as_mut() };
    in_own_pool(threads, || gelu_tanh(x))
}

/// `gate` becomes `silu(gate) · up`.
#[napi(js_name = "gatedSilu")]
pub fn js_gated_silu(mut gate: Float32Array, up: Float32Array, threads: u32) -> Result<()> {
    require_length(gate.len(), up.len())?;
    let gate = unsafe { gate.as_mut() };
    in_own_pool(threads, || gated_silu(gate, &up))
}

/// `gate` becomes `gelu(gate) · up`, GELU by the tanh approximation.
#[napi(js_name = "gatedGeluTanh")]
pub fn js_gated_gelu_tanh(mut gate: Float32Array, up: Float32Array, threads: u32) -> Result<()> {
    require_length(gate.len(), up.len())?;
    let gate = unsafe { gate.as_mut() };
    in_own_pool(threads, || gated_gelu_tanh(gate, &up))
}

/// Rotary positions, in place.
#[napi(object, object_to_js = false)]
pub struct RotaryOptions {
    /// `[positions, rotated / 2]`.
    pub cos: Float32Array,
    /// `[positions, rotated / 2]`.
    pub sin: Float32Array,
    pub sequence_length: u32,
    pub heads: u32,
    pub head_size: u32,
    /// The first features of a head that are turned. Default: all.
    pub rotated: Option<u32>,
}

/// Turns the pairs of `x` `[tokens, heads · headSize]` by the angle of the token's position in its sequence.
#[napi(js_name = "rotate")]
pub fn js_rotate(mut x: Float32Array, options: RotaryOptions, threads: u32) -> Result<()> {
    let head_size = options.head_size as usize;
    let features = options.heads as usize * head_size;
    let sequence_length = options.sequence_length as usize;
    let rotated = options.rotated.map_or(head_size, |size| size as usize);
    if rotated > head_size {
        return Err(Error::from_reason(
            "more features of a head are turned than there are",
        ));
    }
    require_length(x.len(), x.len() / features.max(1) * features)?;
    require_length(options.cos.len(), options.sin.len())?;
    require_length(options.cos.len(), sequence_length * (rotated / 2))?;
    let heads = Heads {
        sequence_length,
        head_size,
        rotated,
    };
    let x = unsafe { x.as_mut() };
    in_own_pool(threads, || {
        rotate(x, features, heads, &options.cos, &options.sin)
    })
}
