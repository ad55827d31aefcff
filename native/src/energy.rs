//! Output errors.

use crate::product::{Into, Matrix, Strips, Triangles, Workspace, multiply};
use crate::scratch::Scratch;
use crate::simd::dot;
use pulp::Simd;

/// `D H Dᵀ` of each row: with D = W - Q the squared output error per token, with D = W the output's energy.
///
/// * `d`: `[rows, columns]`.
/// * `half`: the upper triangle of H `[columns, columns]` with half of its diagonal, packed.
/// * `energies`: `[rows]`, written.
#[inline(always)]
pub fn output_energy<S: Simd>(
    simd: S,
    workspace: &mut Workspace<f64>,
    d: &[f64],
    columns: usize,
    half: Strips<f64>,
    energies: &mut [f64],
) {
    let rows = energies.len();
    assert_eq!(d.len(), rows * columns);
    let mut product = Scratch::<f64>::any(rows * columns);
    unsafe {
        multiply(
            simd,
            workspace,
            Matrix::rows(d.as_ptr(), columns),
            rows,
            0,
            0..columns,
            half,
            0..columns,
            product.as_mut_ptr(),
            columns,
            Into::Set,
            Triangles {
                b_upper: true,
                ..Triangles::default()
            },
        );
    }
    let pairs = d.chunks(columns).zip(product.chunks(columns));
    for (energy, (d, product)) in energies.iter_mut().zip(pairs) {
        *energy = 2.0 * dot(d, product);
    }
}
