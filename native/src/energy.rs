//! Output errors.

use crate::product::{Into, Matrix, Strips, Triangles, WIDTH_OF_TILES, Workspace, multiply};
use crate::simd::dot;
use pulp::Simd;

/// Columns taken together; half of every H is then left out but for the blocks on the diagonal.
const PANEL: usize = 2 * WIDTH_OF_TILES;

/// `D H Dᵀ` of each row: with D = W - Q the squared output error per token, with D = W the output's energy.
///
/// * `d`: `[rows, columns]`.
/// * `strips`: H `[columns, columns]`, symmetric, packed.
/// * `energies`: `[rows]`, written.
#[inline(always)]
pub fn output_energy<S: Simd>(
    simd: S,
    workspace: &mut Workspace<f64>,
    d: &[f64],
    columns: usize,
    strips: Strips<f64>,
    energies: &mut [f64],
) {
    let rows = energies.len();
    assert_eq!(d.len(), rows * columns);
    energies.fill(0.0);
    let mut before = vec![0.0; rows * PANEL];
    let mut within = vec![0.0; rows * PANEL];
    let matrix = Matrix::rows(d.as_ptr(), columns);
    let mut start = 0;
    while start < columns {
        let stop = (start + PANEL).min(columns);
        for (inner, c) in [(0..start, &mut before), (start..stop, &mut within)] {
            unsafe {
                multiply(
                    simd,
                    workspace,
                    matrix,
                    rows,
                    0,
                    inner,
                    strips,
                    start..stop,
                    c.as_mut_ptr(),
                    PANEL,
                    Into::Set,
                    Triangles::default(),
                );
            }
        }
        let width = stop - start;
        for (row, energy) in energies.iter_mut().enumerate() {
            let d = &d[row * columns + start..][..width];
            // By symmetry the columns before count twice.
            *energy += 2.0 * dot(d, &before[row * PANEL..][..width]);
            *energy += dot(d, &within[row * PANEL..][..width]);
        }
        start = stop;
    }
}
