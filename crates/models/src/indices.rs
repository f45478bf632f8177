//! Where weights that train alone are: what a file says of it is checked before it is used.

use stratune_peft::{Matrix, Sparse};
use stratune_protocol::Problem;

use crate::Model;

impl Model {
    /// Checks the indices that a file names, given by `numbers` of a parameter's path: each is a row and a column of
    /// its matrix.
    ///
    /// # Errors
    /// One is not; names the parameter.
    pub fn check_indices<'a>(&mut self, numbers: impl Fn(&str) -> Option<&'a [f32]>) -> Result<(), Problem> {
        let mut matrices: Vec<(String, [usize; 2])> = Vec::new();
        for block in &mut self.layers {
            for linear in block.linears_mut() {
                if linear.deltas.iter().any(|delta| delta.of::<Sparse>().is_some()) {
                    matrices.push((linear.id.path.to_string(), linear.shape()));
                }
            }
            for adapter in &block.adapters {
                for (name, matrix) in [("down", &adapter.down), ("up", &adapter.up)] {
                    if let Matrix::Sparse { shape, .. } = matrix {
                        matrices.push((format!("{}.adapters.{}.{name}", block.id.path, adapter.place.name()), *shape));
                    }
                }
            }
        }
        for (path, [rows, columns]) in matrices {
            for (path, side) in [(format!("{path}.sparse_rows"), rows), (format!("{path}.sparse_columns"), columns)] {
                let outside = |place: &&f32| !(place.fract() == 0.0 && **place >= 0.0 && **place < side as f32);
                if let Some(place) = numbers(&path).and_then(|numbers| numbers.iter().find(outside)) {
                    return Err(Problem::input(format!("a place is {place}, and the matrix has {side} there"))
                        .at(path)
                        .next("the file is damaged, or of another model: use another copy"));
                }
            }
        }
        Ok(())
    }
}
