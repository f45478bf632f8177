//! A tensor of a checkpoint, as it lies in a GGUF file: other rows first, a number added, a part of a larger one.

use std::ops::Range;

use stratune_protocol::Problem;

use super::block_type::BlockType;
use super::file::Gguf;
use crate::tensor::{HostTensor, first_not_finite};

/// Where a tensor of a checkpoint is in a GGUF file, and what is different there.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The name in the file.
    pub tensor: String,
    /// The first row of it, or the first number of a vector.
    pub first_row: usize,
    /// As the checkpoint has it, outermost size first; `[out, in]` of a matrix that files of the checkpoint have transposed.
    pub shape: Vec<usize>,
    /// In which order its rows lie.
    pub order: RowOrder,
    /// What the file has added to each number.
    pub added: f32,
}

/// In which order the rows of a matrix, or the numbers of a vector, lie in the file. Each is a swap: the rows of the checkpoint
/// are seen as groups of `first × second × together`, and the file has `second × first × together`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// As in the checkpoint.
    Same,
    /// In each head the rows of the first half alternate with those of the second.
    Alternating {
        /// Rows of a head.
        head_dim: usize,
    },
    /// The queries of all heads, then the keys, then the values; the checkpoint has all three of a head together.
    PartsApart {
        /// Heads.
        heads: usize,
        /// Rows of a head's queries, as many as of its keys and its values.
        head_dim: usize,
    },
}

impl RowOrder {
    /// The sizes that change places, and rows that stay together behind them.
    fn swap(self) -> [usize; 3] {
        match self {
            Self::Same => [1; 3],
            Self::Alternating { head_dim } => [2, head_dim / 2, 1],
            Self::PartsApart { heads, head_dim } => [heads, 3, head_dim],
        }
    }

    /// Where a row of the checkpoint is in the file.
    pub fn in_file(self, row: usize) -> usize {
        swapped(row, self.swap())
    }

    /// Which row of the checkpoint a row of the file is.
    pub fn in_checkpoint(self, row: usize) -> usize {
        let [first, second, together] = self.swap();
        swapped(row, [second, first, together])
    }

    /// Whether so many rows can lie so.
    fn fits(self, rows: usize) -> bool {
        match self {
            Self::Same => true,
            Self::Alternating { head_dim } => head_dim > 0 && head_dim % 2 == 0 && rows.is_multiple_of(head_dim),
            Self::PartsApart { heads, head_dim } => {
                head_dim > 0 && heads.checked_mul(head_dim).and_then(|part| part.checked_mul(3)) == Some(rows)
            }
        }
    }

    /// The rows of the file that are read at once for the first of those rows of the checkpoint, and how many of these are
    /// among them.
    fn next(self, rows: &Range<usize>) -> (Range<usize>, usize) {
        match self {
            Self::Same => (rows.clone(), rows.len()),
            Self::Alternating { head_dim } => {
                (rows.start / head_dim * head_dim..rows.end.next_multiple_of(head_dim), rows.len())
            }
            Self::PartsApart { head_dim, .. } => {
                let count = rows.len().min(head_dim - rows.start % head_dim);
                let first = self.in_file(rows.start);
                (first..first + count, count)
            }
        }
    }
}

/// Where a row is if the first two of these sizes change places.
fn swapped(row: usize, [first, second, together]: [usize; 3]) -> usize {
    let within = row % (first * second * together);
    let (i, j) = (within / (second * together), within / together % second);
    row - within + (j * first + i) * together + row % together
}

impl View {
    /// Numbers in it.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Numbers that stay together: a row, or a number of a vector.
    fn row(&self) -> usize {
        if let [_, columns] = self.shape[..] { columns } else { 1 }
    }
}

impl Gguf {
    /// All numbers of a short vector.
    ///
    /// # Errors
    /// It is not there, is no vector, longer than 65,536, or cannot be read.
    pub async fn vector(&self, name: &str) -> Result<Vec<f32>, Problem> {
        const LONGEST: usize = 1 << 16;
        let count = self.shape(name).map_or(0, |shape| shape.iter().product());
        if count > LONGEST {
            let what = format!("tensor '{name}' has {count} numbers, which is too long");
            return Err(Problem::input(what).at(self.label()).next("use a file that llama.cpp wrote"));
        }
        let view = View { tensor: name.into(), first_row: 0, shape: vec![count], order: RowOrder::Same, added: 0.0 };
        self.check(&view)?;
        self.numbers(&view, name, 0..count).await
    }

    /// All numbers of what a view says, in the order of the checkpoint.
    ///
    /// # Errors
    /// The file has it not, or otherwise; a number is not finite.
    pub async fn tensor(&self, view: &View) -> Result<HostTensor, Problem> {
        self.check(view)?;
        let data = self.numbers(view, &view.tensor, 0..view.count()).await?;
        Ok(HostTensor { shape: view.shape.clone(), data })
    }

    /// Checks that a tensor of the file is as a view says.
    ///
    /// # Errors
    /// It is not there, has other sizes, or its blocks cannot be taken apart so.
    pub(crate) fn check(&self, view: &View) -> Result<(), Problem> {
        let bad = |what: String| {
            Err(Problem::input(what)
                .at(self.label())
                .next("use a file that llama.cpp wrote, or convert the model again"))
        };
        let (Some(shape), Some(kind)) = (self.shape(&view.tensor), self.block_type(&view.tensor)) else {
            return bad(format!("the file has no tensor '{}'", view.tensor));
        };
        let rows = view.shape.first().copied().unwrap_or(0);
        let within = |there: usize| view.first_row.checked_add(rows).is_some_and(|end| end <= there);
        let holds = match (shape, &view.shape[..]) {
            ([there, width], [_, columns]) => width == columns && within(*there),
            ([there], [_]) => within(*there),
            _ => false,
        };
        if !holds {
            return bad(format!("tensor '{}' is {shape:?} where the model has {:?}", view.tensor, view.shape));
        }
        if !view.row().is_multiple_of(kind.length()) {
            return bad(format!(
                "tensor '{}' is a vector in {}, whose numbers stay together",
                view.tensor,
                kind.name()
            ));
        }
        match view.order {
            RowOrder::Alternating { head_dim } | RowOrder::PartsApart { head_dim, .. } if !view.order.fits(rows) => {
                bad(format!("tensor '{}' has {rows} rows, which are no heads of {head_dim}", view.tensor))
            }
            _ => Ok(()),
        }
    }

    /// Rows of a matrix (or numbers of a vector) in the order of the checkpoint, as they are written: whole blocks, which
    /// lie along rows.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) async fn rows(&self, view: &View, rows: Range<usize>) -> Result<Vec<u8>, Problem> {
        let bytes = self.block_type(&view.tensor).and_then(|kind| kind.bytes_of(view.row() as u64)).unwrap_or(0);
        let mut ordered = Vec::new();
        let mut left = rows;
        while !left.is_empty() {
            let (there, count) = view.order.next(&left);
            let from = (view.first_row + there.start) as u64;
            let read = self.bytes(&view.tensor, from * bytes..(from + there.len() as u64) * bytes).await?;
            if view.order == RowOrder::Same {
                return Ok(read);
            }
            for row in left.start..left.start + count {
                let at = (view.order.in_file(row) - there.start) * bytes as usize;
                ordered.extend_from_slice(&read[at..at + bytes as usize]);
            }
            left.start += count;
        }
        Ok(ordered)
    }

    /// Numbers of a tensor of the checkpoint, counted in row-major order.
    ///
    /// # Errors
    /// They cannot be read, or are not finite.
    pub(crate) async fn numbers(&self, view: &View, name: &str, range: Range<usize>) -> Result<Vec<f32>, Problem> {
        let row = view.row();
        let rows = range.start / row..range.end.div_ceil(row);
        let first = rows.start * row;
        let kind = self.block_type(&view.tensor).unwrap_or(BlockType::F32);
        let mut numbers = kind.dequantize(&self.rows(view, rows).await?);
        numbers.truncate(range.end - first);
        numbers.drain(..range.start - first);
        if view.added != 0.0 {
            numbers.iter_mut().for_each(|number| *number -= view.added);
        }
        match first_not_finite(&numbers) {
            None => Ok(numbers),
            Some(i) => {
                let what = format!("tensor '{name}' holds {} at index {}", numbers[i], range.start + i);
                Err(Problem::input(what).at(self.label()).next("the file is damaged; use another copy"))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::borrow::Cow;
    use std::rc::Rc;

    use pollster::block_on;

    use super::*;
    use crate::folder::MemoryFolder;
    use crate::gguf::write::Writer;

    /// Rows of 32 in Q8_0, each of its own number; a vector; a row with a scale that is no number.
    fn file(rows: u8) -> Gguf {
        let row = |row: u8| [vec![0, 0x3c], vec![row; 32]].concat();
        let writer = Writer::default()
            .tensor_of("m", &[32, u64::from(rows)], 8, (0..rows).flat_map(row).collect())
            .floats("v", &[16], &std::array::from_fn::<f32, 16, _>(|i| i as f32 + 1.5))
            .tensor_of("nan", &[32, 1], 8, [vec![0, 0x7e], vec![1; 32]].concat())
            .tensor_of("blocks", &[32], 8, vec![0; 34]);
        let folder = MemoryFolder::new("toy", vec![("a.gguf".into(), Cow::Owned(writer.bytes()))]);
        block_on(Gguf::open(Rc::new(folder), vec!["a.gguf".into()])).unwrap()
    }

    fn view(tensor: &str, shape: &[usize], order: RowOrder) -> View {
        View { tensor: tensor.into(), first_row: 0, shape: shape.into(), order, added: 0.0 }
    }

    const HEADS_OF_EIGHT: RowOrder = RowOrder::Alternating { head_dim: 8 };

    #[test]
    fn alternating_rows_come_in_the_order_of_the_checkpoint() {
        let file = file(24);
        let view = view("m", &[24, 32], HEADS_OF_EIGHT);
        file.check(&view).unwrap();
        let numbers = |range: Range<usize>| block_on(file.numbers(&view, "q", range)).unwrap();
        let all: Vec<f32> = numbers(0..24 * 32).into_iter().step_by(32).collect();
        // Row s · 4 + i of a head is row 2 · i + s of the file's.
        assert_eq!(all[..8], [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
        assert_eq!(all[8..16], [8.0, 10.0, 12.0, 14.0, 9.0, 11.0, 13.0, 15.0]);
        // Any part is that part of the whole.
        for (from, to) in [(0, 1), (3, 5), (5, 17), (23, 24), (7, 24), (4, 4)] {
            let rows: Vec<f32> = numbers(from * 32..to * 32).into_iter().step_by(32).collect();
            assert_eq!(rows, all[from..to], "{from}..{to}");
        }
        // And whole blocks are as they are written.
        let raw = block_on(file.rows(&view, 3..5)).unwrap();
        assert_eq!((raw.len(), raw[2], raw[34 + 2]), (68, 6, 1));
    }

    #[test]
    fn parts_of_all_heads_come_head_by_head() {
        // Two heads of four: queries 0 to 8, keys 8 to 16, values 16 to 24.
        let file = file(24);
        let order = RowOrder::PartsApart { heads: 2, head_dim: 4 };
        let view = view("m", &[24, 32], order);
        file.check(&view).unwrap();
        let numbers = |range: Range<usize>| block_on(file.numbers(&view, "qkv", range)).unwrap();
        let all: Vec<f32> = numbers(0..24 * 32).into_iter().step_by(32).collect();
        let begins: Vec<f32> = all.iter().copied().step_by(4).collect();
        assert_eq!(begins, [0.0, 8.0, 16.0, 4.0, 12.0, 20.0]);
        assert_eq!(all[4..8], [8.0, 9.0, 10.0, 11.0]);
        for (from, to) in [(0, 1), (3, 5), (5, 17), (23, 24), (7, 24), (4, 4)] {
            let rows: Vec<f32> = numbers(from * 32..to * 32).into_iter().step_by(32).collect();
            assert_eq!(rows, all[from..to], "{from}..{to}");
        }
    }

    #[test]
    fn every_order_has_a_way_back() {
        for order in [RowOrder::Same, HEADS_OF_EIGHT, RowOrder::PartsApart { heads: 4, head_dim: 2 }] {
            let mut there: Vec<usize> = (0..24).map(|row| order.in_file(row)).collect();
            assert!((0..24).all(|row| order.in_checkpoint(there[row]) == row), "{order:?}: {there:?}");
            there.sort_unstable();
            assert!(there.into_iter().eq(0..24), "{order:?}");
        }
    }

    #[test]
    fn vectors_alternate_too_and_begin_anywhere() {
        let file = file(2);
        let mut of = view("v", &[8], HEADS_OF_EIGHT);
        of.first_row = 8;
        file.check(&of).unwrap();
        let numbers = block_on(file.numbers(&of, "b", 0..8)).unwrap();
        assert_eq!(numbers, [9.5, 11.5, 13.5, 15.5, 10.5, 12.5, 14.5, 16.5]);
        let plain = View { added: 1.0, ..view("v", &[16], RowOrder::Same) };
        assert_eq!(block_on(file.numbers(&plain, "n", 3..5)).unwrap(), [3.5, 4.5]);
        assert_eq!(block_on(file.vector("v")).unwrap().len(), 16);
        assert!(block_on(file.vector("m")).is_err());
    }

    #[test]
    fn parts_of_blocks_and_of_rows_are_read() {
        let file = file(24);
        let mut of = view("m", &[3, 32], RowOrder::Same);
        of.first_row = 20;
        file.check(&of).unwrap();
        let numbers = block_on(file.numbers(&of, "w", 30..70)).unwrap();
        assert_eq!((numbers.len(), numbers[0], numbers[2], numbers[39]), (40, 20.0, 21.0, 22.0));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let file = file(24);
        let odd = RowOrder::Alternating { head_dim: 3 };
        for (of, why) in [
            (view("x", &[24, 32], RowOrder::Same), "no tensor 'x'"),
            (view("m", &[25, 32], RowOrder::Same), "'m' is [24, 32] where the model has [25, 32]"),
            (View { first_row: usize::MAX, ..view("m", &[24, 32], RowOrder::Same) }, "'m' is [24, 32]"),
            (view("m", &[24], RowOrder::Same), "'m' is [24, 32]"),
            (view("v", &[17], RowOrder::Same), "'v' is [16]"),
            (view("blocks", &[32], RowOrder::Same), "a vector in Q8_0"),
            (view("m", &[20, 32], HEADS_OF_EIGHT), "no heads of 8"),
            (view("m", &[24, 32], odd), "no heads of 3"),
            (view("m", &[24, 32], RowOrder::PartsApart { heads: 3, head_dim: 4 }), "no heads of 4"),
            (view("m", &[24, 32], RowOrder::PartsApart { heads: usize::MAX, head_dim: 8 }), "no heads of 8"),
        ] {
            let problem = file.check(&of).unwrap_err();
            assert!(problem.what.contains(why) && problem.at == "toy/a.gguf", "{why}: {problem:?}");
        }
        let problem = block_on(file.numbers(&view("nan", &[1, 32], RowOrder::Same), "w", 3..4)).unwrap_err();
        assert_eq!(problem.what, "tensor 'w' holds NaN at index 3");
    }
}
