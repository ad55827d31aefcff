//! What JavaScript calls of asymmetric calibration.

use crate::addon::{in_own_pool, in_pool, require_length};
use crate::mismatch::{Mismatch, TokenSum, add_product, add_rounded_product, target};
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Adds Dᵀ X of `d` `[tokens, rows]` and `x` `[tokens, columns]` to the sums `[rows, columns]`; `rounded`: both factors to bfloat16
/// first. It blocks the calling thread.
#[napi(js_name = "addProduct")]
pub fn js_add_product(
    mut sums: Float64Array,
    d: Float32Array,
    rows: u32,
    x: Float32Array,
    columns: u32,
    rounded: bool,
    threads: u32,
) -> Result<()> {
    let (rows, columns) = (rows as usize, columns as usize);
    let tokens = d.len() / rows.max(1);
    require_length(d.len(), tokens * rows)?;
    require_length(x.len(), tokens * columns)?;
    require_length(sums.len(), rows * columns)?;
    let sums = unsafe { sums.as_mut() };
    let add = if rounded {
        add_rounded_product
    } else {
        add_product
    };
    in_own_pool(threads, || add(sums, &d, rows, &x, columns))
}

#[napi(object, object_to_js = false)]
pub struct NativeTokenSum {
    pub sum: Float32Array,
    pub tokens: f64,
}

impl NativeTokenSum {
    fn of_length(&self, length: usize) -> Result<TokenSum<'_>> {
        require_length(self.sum.len(), length)?;
        Ok(TokenSum {
            sum: &self.sum,
            tokens: self.tokens,
        })
    }
}

/// See MismatchTask in engine/quantizers/mismatch-target.ts.
#[napi(object, object_to_js = false)]
pub struct MismatchTask {
    pub weight: Float32Array,
    /// By half of the tokens.
    pub missing: Vec<NativeTokenSum>,
    pub squares: Option<NativeTokenSum>,
    pub rows: u32,
    pub columns: u32,
    pub hessian: Float64Array,
    pub scale: f64,
    pub dead: Uint8Array,
    pub all_tokens_share: f64,
    pub damping: f64,
    pub share: f64,
}

pub struct MismatchWork {
    task: MismatchTask,
    threads: u32,
}

impl Task for MismatchWork {
    type Output = Option<Vec<f32>>;
    type JsValue = Option<Float32Array>;

    fn compute(&mut self) -> Result<Self::Output> {
        let task = &self.task;
        let (rows, columns) = (task.rows as usize, task.columns as usize);
        require_length(task.weight.len(), rows * columns)?;
        let [one, other] = &task.missing[..] else {
            return Err(Error::from_reason("missing has two halves"));
        };
        require_length(task.hessian.len(), columns * columns)?;
        require_length(task.dead.len(), columns)?;
        let squares = task.squares.as_ref();
        let problem = Mismatch {
            weight: &task.weight,
            missing: [
                one.of_length(rows * columns)?,
                other.of_length(rows * columns)?,
            ],
            squares: squares
                .map(|sum| sum.of_length(columns * columns))
                .transpose()?,
            rows,
            columns,
            hessian: &task.hessian,
            scale: task.scale,
            dead: &task.dead,
            all_tokens_share: task.all_tokens_share,
            damping: task.damping,
            share: task.share,
        };
        in_pool(self.threads, || target(&problem))
    }

    fn resolve(&mut self, _: Env, output: Self::Output) -> Result<Self::JsValue> {
        Ok(output.map(Float32Array::new))
    }
}

/// The weight that a quantizer is to come close to, `[rows, columns]`; null when nothing can be factorized.
#[napi]
pub fn mismatch_target(task: MismatchTask, threads: u32) -> AsyncTask<MismatchWork> {
    AsyncTask::new(MismatchWork { task, threads })
}
