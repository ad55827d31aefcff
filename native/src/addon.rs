//! What JavaScript calls. Long work runs in libuv's threads and the pool of its own, never on the event loop; typed arrays are read
//! where they lie, so their owner must leave them alone until the promise settles. A panic becomes an error.

use crate::convert::Conversion;
use crate::inverse_factor::{NoFactor, damped_reversed, inverse_factor};
use crate::linear::{Fault, Hessian, LinearProblem, Method, QuantizedRows, quantize_linear};
use crate::pack;
use crate::scales::{CodeGrid, Search};
use crate::simd::{InstructionSet, Real, choose, instruction_set};
use crate::threads::{Cancellation, own_pool, pool};
use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::{Mutex, Once, PoisonError};

/// The instruction set in use: `avx512`, `avx2`, `neon` or `baseline`.
#[napi(js_name = "instructionSet")]
pub fn js_instruction_set() -> &'static str {
    instruction_set().name()
}

/// Uses another one from now on; for tests and measurements. False where the machine lacks it.
#[napi(js_name = "useInstructionSet")]
pub fn js_use_instruction_set(name: String) -> bool {
    let set = InstructionSet::ALL
        .into_iter()
        .find(|set| set.name() == name);
    set.is_some_and(choose)
}

/// Calls work off, between two blocks of it.
#[napi(js_name = "Cancellation")]
#[derive(Default)]
pub struct JsCancellation(Cancellation);

#[napi]
impl JsCancellation {
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    #[napi]
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

/// What the last panic said. A library does not print; this one's panics are its own, since every addon has its own runtime.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Runs `work`, which blocks a thread of JavaScript, in that thread's own pool.
pub(crate) fn in_own_pool<R: Send>(threads: u32, work: impl FnOnce() -> R + Send) -> Result<R> {
    let pool = own_pool(threads.max(1) as usize).map_err(Error::from_reason)?;
    guarded(|| pool.install(work))
}

/// Runs `work` in the pool of so many threads.
pub(crate) fn in_pool<R: Send>(threads: u32, work: impl FnOnce() -> R + Send) -> Result<R> {
    let pool = pool(threads.max(1) as usize).map_err(Error::from_reason)?;
    guarded(|| pool.install(work))
}

/// Runs `work` here; a panic becomes an error.
fn guarded<R>(work: impl FnOnce() -> R) -> Result<R> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        set_hook(Box::new(|panic| {
            let mut last = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
            *last = panic.to_string();
        }));
    });
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        let last = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        Error::from_reason(format!("a native kernel failed: {last}"))
    })
}

fn cancelled() -> Error {
    Error::new(Status::Cancelled, "the work was called off")
}

/// See FactorizationTask in engine/quantizers/factorize.ts.
#[napi(object, object_to_js = false)]
pub struct FactorizationProblem {
    pub hessian: Float64Array,
    pub columns: u32,
    pub solve_order: Int32Array,
    pub dead: Uint8Array,
    pub damping: f64,
    /// Least value of the diagonal.
    pub floor: f64,
}

pub struct FactorizationWork {
    problem: FactorizationProblem,
    threads: u32,
    cancellation: Cancellation,
}

impl Task for FactorizationWork {
    type Output = Option<Vec<f64>>;
    type JsValue = Option<Float64Array>;

    fn compute(&mut self) -> Result<Self::Output> {
        let Self {
            problem,
            threads,
            cancellation,
        } = self;
        let n = problem.columns as usize;
        let made = in_pool(*threads, || {
            let mut matrix = damped_reversed(
                &problem.hessian,
                &problem.solve_order,
                &problem.dead,
                problem.damping,
                problem.floor,
            );
            let mut factor = vec![0.0; n * n];
            inverse_factor(&mut matrix, &mut factor, n, cancellation).map(|()| factor)
        })?;
        match made {
            Ok(factor) => Ok(Some(factor)),
            Err(NoFactor::NotPositiveDefinite) => Ok(None),
            Err(NoFactor::Cancelled) => Err(cancelled()),
        }
    }

    fn resolve(&mut self, _: Env, output: Self::Output) -> Result<Self::JsValue> {
        Ok(output.map(Float64Array::new))
    }
}

/// Uᵀ of the inverse of the damped Hessian, `[columns, columns]`; null when it is not positive definite.
#[napi(js_name = "inverseFactor")]
pub fn js_inverse_factor(
    problem: FactorizationProblem,
    threads: u32,
    cancellation: &JsCancellation,
) -> AsyncTask<FactorizationWork> {
    AsyncTask::new(FactorizationWork {
        problem,
        threads,
        cancellation: cancellation.0.clone(),
    })
}

/// See SolvableHessian in engine/quantizers/row-block.ts.
#[napi(object, object_to_js = false)]
pub struct SolvableHessian {
    pub hessian: Float64Array,
    pub outer_order: Int32Array,
    pub solve_order: Int32Array,
    pub dead: Uint8Array,
    pub factor: Option<Float64Array>,
}

#[napi(object, object_to_js = false)]
pub struct LinearToQuantize {
    /// `[rows, columns]`.
    pub weight: Float32Array,
    pub rows: u32,
    pub columns: u32,
    pub group_size: u32,
    /// Largest code.
    pub levels: u32,
    pub symmetric: bool,
    pub minimum_zero: u32,
    /// `rtn`; `gptq-static`: scales from the original weights; `gptq`: scales found on the way.
    pub method: String,
    pub search: bool,
    /// Zero points beside that of the range are tried, too.
    pub neighbours: Option<bool>,
    /// Columns are weighed by the pivots of the factor.
    pub pivots: Option<bool>,
    pub refinements: u32,
    /// Steps of learned rounding before the refinements; default 0.
    pub learned_rounding: Option<u32>,
    /// Share of the mean live diagonal of the Hessian that is added to it while refining; default 0.
    pub refinement_damping: Option<f64>,
    /// Times that GPTQ runs again with the refined scales; default 0.
    pub restarts: Option<u32>,
    /// Rounds of refinement that begin with solving every group again; default 0.
    pub group_rounds: Option<u32>,
    /// Sums for the report; default true.
    pub errors: Option<bool>,
    pub solvable: Option<SolvableHessian>,
}

#[napi(object, object_from_js = false)]
pub struct QuantizedLinear {
    pub codes: Uint8Array,
    pub scales: Float32Array,
    pub zeros: Uint8Array,
    pub errors_before: Float64Array,
    pub errors_learned: Option<Float64Array>,
    pub errors_refined: Float64Array,
    pub errors_restarted: Float64Array,
    pub errors: Float64Array,
    pub energies: Float64Array,
    pub weight_errors: Float64Array,
    pub weight_energies: Float64Array,
}

#[napi(object, object_from_js = false)]
pub struct RowFault {
    /// `non-finite-weight` or `scale-too-large`.
    pub fault: String,
    pub row: u32,
    pub at: u32,
}

pub struct LinearWork {
    linear: LinearToQuantize,
    threads: u32,
    cancellation: Cancellation,
}

impl Task for LinearWork {
    type Output = std::result::Result<QuantizedRows, Fault>;
    type JsValue = Either<QuantizedLinear, RowFault>;

    fn compute(&mut self) -> Result<Self::Output> {
        let Self {
            linear,
            threads,
            cancellation,
        } = self;
        let method = match linear.method.as_str() {
            "rtn" => Method::RoundToNearest,
            "gptq-static" => Method::StaticGroups,
            "gptq" => Method::GroupsOnTheWay,
            other => return Err(Error::from_reason(format!("there is no method {other}"))),
        };
        let result = in_pool(*threads, || {
            let problem = LinearProblem {
                weight: &linear.weight,
                rows: linear.rows as usize,
                columns: linear.columns as usize,
                group_size: linear.group_size as usize,
                grid: CodeGrid {
                    levels: linear.levels as f64,
                    symmetric: linear.symmetric,
                    minimum_zero: linear.minimum_zero as f64,
                },
                method,
                search: Search {
                    clipping: linear.search,
                    neighbours: linear.neighbours.unwrap_or(false),
                },
                pivots: linear.pivots.unwrap_or(false),
                refinements: linear.refinements as usize,
                learned_rounding: linear.learned_rounding.unwrap_or(0) as usize,
                refinement_damping: linear.refinement_damping.unwrap_or(0.0),
                restarts: linear.restarts.unwrap_or(0) as usize,
                group_rounds: linear.group_rounds.unwrap_or(0) as usize,
                errors: linear.errors.unwrap_or(true),
                hessian: linear.solvable.as_ref().map(|solvable| Hessian {
                    values: &solvable.hessian,
                    outer_order: &solvable.outer_order,
                    solve_order: &solvable.solve_order,
                    dead: &solvable.dead,
                    factor: solvable.factor.as_deref(),
                }),
            };
            quantize_linear(&problem, cancellation)
        })?;
        match result {
            Err(Fault::Cancelled) => Err(cancelled()),
            result => Ok(result),
        }
    }

    fn resolve(&mut self, _: Env, output: Self::Output) -> Result<Self::JsValue> {
        let fault = |fault: &str, row: usize, at: usize| {
            Either::B(RowFault {
                fault: fault.into(),
                row: row as u32,
                at: at as u32,
            })
        };
        Ok(match output {
            Ok(rows) => Either::A(QuantizedLinear {
                codes: rows.codes.into(),
                scales: rows.scales.into(),
                zeros: rows.zeros.into(),
                errors_before: rows.errors_before.into(),
                errors_learned: rows.errors_learned.map(Into::into),
                errors_refined: rows.errors_refined.into(),
                errors_restarted: rows.errors_restarted.into(),
                errors: rows.errors.into(),
                energies: rows.energies.into(),
                weight_errors: rows.weight_errors.into(),
                weight_energies: rows.weight_energies.into(),
            }),
            Err(Fault::NonFiniteWeight { row, column }) => fault("non-finite-weight", row, column),
            Err(Fault::ScaleTooLarge { row, group }) => fault("scale-too-large", row, group),
            Err(Fault::Cancelled) => return Err(cancelled()),
        })
    }
}

/// Codes, scales and errors of a whole linear; or why there are none.
#[napi(js_name = "quantizeLinear")]
pub fn js_quantize_linear(
    linear: LinearToQuantize,
    threads: u32,
    cancellation: &JsCancellation,
) -> AsyncTask<LinearWork> {
    AsyncTask::new(LinearWork {
        linear,
        threads,
        cancellation: cancellation.0.clone(),
    })
}

/// A = L Lᵀ in place; false when A is not positive definite. For measurements: it blocks the calling thread.
#[napi]
pub fn cholesky(mut matrix: Float64Array, columns: u32, threads: u32) -> Result<bool> {
    let matrix = unsafe { matrix.as_mut() };
    factorized(matrix, columns, threads)
}

/// The same in single precision.
#[napi]
pub fn cholesky_single(mut matrix: Float32Array, columns: u32, threads: u32) -> Result<bool> {
    let matrix = unsafe { matrix.as_mut() };
    factorized(matrix, columns, threads)
}

fn factorized<T: Real>(matrix: &mut [T], columns: u32, threads: u32) -> Result<bool> {
    in_own_pool(threads, || {
        crate::inverse_factor::cholesky(matrix, columns as usize, &Cancellation::default()).is_ok()
    })
}

fn precision_of(name: &str) -> Result<crate::gram::Precision> {
    match name {
        "float32" => Ok(crate::gram::Precision::Float32),
        "bfloat16" => Ok(crate::gram::Precision::Bfloat16),
        other => Err(Error::from_reason(format!("there is no precision {other}"))),
    }
}

/// Whether the instruction set in use multiplies bfloat16 faster than float32.
#[napi]
pub fn has_bfloat16_products() -> bool {
    crate::words::has_bfloat16_products()
}

/// Numbers in the sums that `addGram` adds to.
#[napi]
pub fn gram_sums_length(columns: u32) -> f64 {
    crate::gram::sums_length(columns as usize) as f64
}

/// Adds XᵀX of `x` `[tokens, columns]` to the sums. It blocks the calling thread.
#[napi]
pub fn add_gram(
    mut sums: Float64Array,
    x: Float32Array,
    columns: u32,
    precision: String,
    threads: u32,
) -> Result<()> {
    let precision = precision_of(&precision)?;
    let sums = unsafe { sums.as_mut() };
    in_own_pool(threads, || {
        crate::gram::add_gram(sums, &x, columns as usize, precision)
    })
}

/// The symmetric matrix of the sums, `[columns, columns]`. It blocks the calling thread.
#[napi]
pub fn gram_matrix(sums: Float64Array, columns: u32, threads: u32) -> Result<Float32Array> {
    let columns = columns as usize;
    let mut matrix = vec![0.0; columns * columns];
    in_own_pool(threads, || {
        crate::gram::gram_matrix(&sums, columns, &mut matrix)
    })?;
    Ok(matrix.into())
}

/// The sum of squares of each row of `x` `[tokens, columns]`. It blocks the calling thread.
#[napi]
pub fn row_energies(x: Float32Array, columns: u32, threads: u32) -> Result<Float32Array> {
    let mut energies = vec![0.0; x.len() / columns.max(1) as usize];
    in_own_pool(threads, || {
        crate::gram::row_energies(&x, columns as usize, &mut energies)
    })?;
    Ok(energies.into())
}

/// Adds a partial XᵀX to the float64 sums.
pub struct AdditionWork {
    sums: Float64Array,
    partial: Float32Array,
    threads: u32,
}

impl Task for AdditionWork {
    type Output = ();
    type JsValue = ();

    fn compute(&mut self) -> Result<()> {
        // The caller leaves both alone until the promise settles.
        let sums = unsafe { self.sums.as_mut() };
        in_pool(self.threads, || {
            crate::merge::add_partial(sums, &self.partial)
        })
    }

    fn resolve(&mut self, _: Env, _: ()) -> Result<()> {
        Ok(())
    }
}

/// `sums += partial`, each element.
#[napi]
pub fn add_partial(
    sums: Float64Array,
    partial: Float32Array,
    threads: u32,
) -> AsyncTask<AdditionWork> {
    AsyncTask::new(AdditionWork {
        sums,
        partial,
        threads,
    })
}

/// Makes the sums a mean, and symmetric.
pub struct MeanWork {
    sums: Float64Array,
    columns: u32,
    tokens: f64,
    threads: u32,
}

impl Task for MeanWork {
    type Output = ();
    type JsValue = ();

    fn compute(&mut self) -> Result<()> {
        let columns = self.columns as usize;
        let tokens = self.tokens;
        // As above.
        let sums = unsafe { self.sums.as_mut() };
        in_pool(self.threads, || {
            crate::merge::mean_of_halves(sums, columns, tokens)
        })
    }

    fn resolve(&mut self, _: Env, _: ()) -> Result<()> {
        Ok(())
    }
}

/// Both halves of `[columns, columns]` become their mean, divided by `tokens`.
#[napi]
pub fn mean_of_halves(
    sums: Float64Array,
    columns: u32,
    tokens: f64,
    threads: u32,
) -> AsyncTask<MeanWork> {
    AsyncTask::new(MeanWork {
        sums,
        columns,
        tokens,
        threads,
    })
}

pub(crate) fn require_length(found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::from_reason(format!(
        "an array has {found} elements, expected {expected}"
    )))
}

/// Patterns of 16 bits, `float16` or `bfloat16`, to float32. On the calling thread.
#[napi]
pub fn decode_floats(format: String, from: Uint16Array, mut to: Float32Array) -> Result<()> {
    require_length(to.len(), from.len())?;
    let to = unsafe { to.as_mut() };
    crate::convert::convert(match format.as_str() {
        "float16" => Conversion::DecodeFloat16(&from, to),
        _ => Conversion::DecodeBfloat16(&from, to),
    });
    Ok(())
}

/// Float32 to patterns of 16 bits, ties to even. On the calling thread.
#[napi]
pub fn encode_floats(format: String, from: Float32Array, mut to: Uint16Array) -> Result<()> {
    require_length(to.len(), from.len())?;
    let to = unsafe { to.as_mut() };
    crate::convert::convert(match format.as_str() {
        "float16" => Conversion::EncodeFloat16(&from, to),
        _ => Conversion::EncodeBfloat16(&from, to),
    });
    Ok(())
}

#[napi(object, object_to_js = false)]
pub struct CodesToDequantize {
    pub rows: u32,
    pub columns: u32,
    pub codes: Uint8Array,
    pub zeros: Uint8Array,
    pub scales: Float32Array,
    pub group_of: Int32Array,
}

/// The groups of a row, when all arrays fit each other.
pub(crate) fn groups_of(linear: &CodesToDequantize) -> Result<usize> {
    let (rows, columns) = (linear.rows as usize, linear.columns as usize);
    require_length(linear.codes.len(), rows * columns)?;
    require_length(linear.group_of.len(), columns)?;
    require_length(linear.scales.len(), linear.zeros.len())?;
    let groups = linear.zeros.len() / rows.max(1);
    require_length(linear.zeros.len(), rows * groups)?;
    let outside = |&&group: &&i32| group < 0 || group as usize >= groups;
    if let Some(group) = linear.group_of.iter().find(outside) {
        return Err(Error::from_reason(format!(
            "a column is in group {group} of {groups}"
        )));
    }
    Ok(groups)
}

/// `(code - zero) * scale`, `[rows, columns]`. On the calling thread.
#[napi]
pub fn dequantize(linear: CodesToDequantize, mut weights: Float32Array) -> Result<()> {
    let rows = linear.rows as usize;
    require_length(weights.len(), rows * linear.columns as usize)?;
    groups_of(&linear)?;
    let codes = crate::convert::Codes {
        codes: &linear.codes,
        zeros: &linear.zeros,
        scales: &linear.scales,
        group_of: &linear.group_of,
    };
    crate::convert::dequantize(codes, rows, unsafe { weights.as_mut() });
    Ok(())
}

/// See pack-words.ts.
#[napi(object, object_to_js = false)]
pub struct BitPlane {
    pub width: u32,
    pub shift: u32,
}

#[napi(object, object_to_js = false)]
pub struct LaneSteps {
    pub lane: u32,
    pub item: u32,
}

#[napi(object, object_to_js = false)]
pub struct LaneGeometry {
    pub lanes: u32,
    pub length: u32,
    pub codes: LaneSteps,
    pub words: LaneSteps,
}

fn layout(planes: &[BitPlane], geometry: &LaneGeometry) -> (Vec<pack::BitPlane>, pack::Geometry) {
    let steps = |steps: &LaneSteps| pack::Steps {
        lane: steps.lane as usize,
        item: steps.item as usize,
    };
    let planes = planes.iter().map(|plane| pack::BitPlane {
        width: plane.width as usize,
        shift: plane.shift as usize,
    });
    let geometry = pack::Geometry {
        lanes: geometry.lanes as usize,
        length: geometry.length as usize,
        codes: steps(&geometry.codes),
        words: steps(&geometry.words),
    };
    (planes.collect(), geometry)
}

/// Codes to words. On the calling thread.
#[napi]
pub fn pack_words(
    codes: Uint8Array,
    planes: Vec<BitPlane>,
    geometry: LaneGeometry,
    mut words: Int32Array,
) -> Result<()> {
    let (planes, geometry) = layout(&planes, &geometry);
    let words = unsafe { words.as_mut() };
    guarded(|| pack::pack_words(&codes, &planes, &geometry, words))
}

/// Words to codes. On the calling thread.
#[napi]
pub fn unpack_words(
    words: Int32Array,
    planes: Vec<BitPlane>,
    geometry: LaneGeometry,
    mut codes: Uint8Array,
) -> Result<()> {
    let (planes, geometry) = layout(&planes, &geometry);
    let codes = unsafe { codes.as_mut() };
    guarded(|| pack::unpack_words(&words, &planes, &geometry, codes))
}
