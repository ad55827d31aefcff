//! What JavaScript calls of solving on grids of real numbers. All of it blocks the calling thread, a worker's.

use crate::addon::{in_own_pool, require_length};
use crate::real_grid::{GridRows, RealGrid, descend_on_grid, gptq_on_grid, output_energies};
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Rows and the grid they are put on: see RealGrid in engine/kernels/real-grid.ts.
#[napi(object, object_to_js = false)]
pub struct NativeGridRows {
    pub weights: Float64Array,
    pub rows: u32,
    pub columns: u32,
    pub group_size: u32,
    pub levels: Float64Array,
    pub scales: Float64Array,
    pub offsets: Float64Array,
}

impl NativeGridRows {
    fn checked(&self, codes: &[u8]) -> Result<GridRows<'_>> {
        let (rows, columns) = (self.rows as usize, self.columns as usize);
        let group_size = self.group_size.max(1) as usize;
        let groups = columns.div_ceil(group_size);
        for (found, expected) in [
            (self.weights.len(), rows * columns),
            (codes.len(), rows * columns),
            (self.scales.len(), rows * groups),
            (self.offsets.len(), rows * groups),
        ] {
            require_length(found, expected)?;
        }
        if self.levels.is_empty() || self.levels.len() > 256 {
            return Err(Error::from_reason(
                "codes have a byte: from 1 to 256 levels",
            ));
        }
        if codes.iter().any(|&code| code as usize >= self.levels.len()) {
            return Err(Error::from_reason("a code has no level"));
        }
        Ok(GridRows {
            weights: &self.weights,
            rows,
            columns,
            grid: RealGrid {
                group_size,
                levels: &self.levels,
                scales: &self.scales,
                offsets: &self.offsets,
            },
        })
    }
}

/// Codes with error compensation, `[rows, columns]`, written.
#[napi(js_name = "gptqOnGrid")]
pub fn js_gptq_on_grid(
    rows: NativeGridRows,
    solve_order: Int32Array,
    factor: Float64Array,
    mut codes: Uint8Array,
    threads: u32,
) -> Result<()> {
    let codes = unsafe { codes.as_mut() };
    let problem = rows.checked(codes)?;
    let columns = problem.columns;
    require_length(solve_order.len(), columns)?;
    require_length(factor.len(), columns * columns)?;
    in_own_pool(threads, || {
        gptq_on_grid(&problem, &solve_order, &factor, codes)
    })
}

/// Codes `[rows, columns]`, improved in place.
#[napi(js_name = "descendOnGrid")]
pub fn js_descend_on_grid(
    rows: NativeGridRows,
    hessian: Float64Array,
    rounds: u32,
    mut codes: Uint8Array,
    threads: u32,
) -> Result<()> {
    let codes = unsafe { codes.as_mut() };
    let problem = rows.checked(codes)?;
    require_length(hessian.len(), problem.columns * problem.columns)?;
    in_own_pool(threads, || {
        descend_on_grid(&problem, &hessian, rounds as usize, codes)
    })
}

/// `D H Dᵀ` of each row of `d` `[rows, columns]`, written.
#[napi(js_name = "outputEnergies")]
pub fn js_output_energies(
    d: Float64Array,
    hessian: Float64Array,
    columns: u32,
    mut energies: Float64Array,
    threads: u32,
) -> Result<()> {
    let columns = columns as usize;
    let energies = unsafe { energies.as_mut() };
    require_length(d.len(), energies.len() * columns)?;
    require_length(hessian.len(), columns * columns)?;
    in_own_pool(threads, || output_energies(&d, &hessian, columns, energies))
}
