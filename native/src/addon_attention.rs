//! What JavaScript calls of attention. It blocks the calling thread: for threads that may.

use crate::addon::{in_own_pool, require_length};
use crate::attention::{self, Shape};
use napi::bindgen_prelude::*;
use napi_derive::napi;

#[napi(object, object_to_js = false)]
pub struct AttentionOptions {
    pub sequence_length: u32,
    pub heads: u32,
    pub key_value_heads: u32,
    pub head_size: u32,
    /// Keys that a query sees, its own among them. Default: all.
    pub window: Option<u32>,
    /// Default: 1 / sqrt(headSize).
    pub scale: Option<f64>,
    /// Bound on scores. Default: none.
    pub cap: Option<f64>,
    pub threads: u32,
}

/// Causal attention of `query` `[tokens, heads * headSize]` to `key` and `value` `[tokens, keyValueHeads * headSize]`, into `context` like `query`.
#[napi]
pub fn causal_attention(
    query: Float32Array,
    key: Float32Array,
    value: Float32Array,
    mut context: Float32Array,
    options: AttentionOptions,
) -> Result<()> {
    let shape = Shape {
        sequence_length: options.sequence_length as usize,
        heads: options.heads as usize,
        key_value_heads: options.key_value_heads as usize,
        head_size: options.head_size as usize,
        window: options.window.map(|window| window as usize),
        scale: options.scale.map_or_else(
            || attention::usual_scale(options.head_size as usize),
            |scale| scale as f32,
        ),
        cap: options.cap.map(|cap| cap as f32),
    };
    if shape.sequence_length == 0 || shape.heads == 0 || shape.head_size == 0 {
        return Err(Error::from_reason(
            "sequences, heads and their size are at least 1",
        ));
    }
    if shape.window == Some(0) {
        return Err(Error::from_reason("a window is at least 1"));
    }
    if shape.key_value_heads == 0 || !shape.heads.is_multiple_of(shape.key_value_heads) {
        return Err(Error::from_reason(format!(
            "{} heads cannot share {} heads of keys and values",
            shape.heads, shape.key_value_heads
        )));
    }
    let of_sequence = shape.sequence_length * shape.heads * shape.head_size;
    let sequences = query.len() / of_sequence;
    require_length(query.len(), sequences * of_sequence)?;
    let of_keys = shape.sequence_length * shape.key_value_heads * shape.head_size;
    require_length(key.len(), sequences * of_keys)?;
    require_length(value.len(), key.len())?;
    require_length(context.len(), query.len())?;
    // The caller looks at it when this has returned.
    let context = unsafe { context.as_mut() };
    in_own_pool(options.threads, || {
        attention::causal_attention(&query, &key, &value, context, shape)
    })
}
