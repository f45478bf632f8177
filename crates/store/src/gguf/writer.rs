//! Writes a GGUF file, version 3: metadata, which tensors there are, and then their bytes, a part at a time.

use serde_json::Value;
use stratune_protocol::{Problem, ProblemKind};

use super::block_type::BlockType;
use super::value::{GgufValue, text};
use crate::sink::Sink;

/// Where tensors begin: at multiples of so many bytes.
const ALIGNMENT: u64 = 32;

/// A tensor that a file is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTensor {
    /// Its name in the file.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// How its numbers are written.
    pub kind: BlockType,
}

impl GgufTensor {
    /// Its bytes; none if its rows are no whole blocks.
    pub fn bytes(&self) -> Option<u64> {
        let row = self.shape.last().copied().unwrap_or(1);
        let count = self.shape.iter().try_fold(1_u64, |count, size| count.checked_mul(*size as u64))?;
        self.kind.bytes_of(count).filter(|_| row.is_multiple_of(self.kind.length()))
    }
}

/// What a file says of itself, in the order in which it is to say it.
pub type GgufMetadata = Vec<(String, GgufValue)>;

/// A file on its way into a sink: the tensors' bytes come in the order of their list.
pub struct GgufWriter<'a> {
    sink: &'a mut dyn Sink,
    /// The tensors that have not come in full, the next one last, and how many bytes each still has.
    left: Vec<(String, u64)>,
    /// Bytes of all tensors up to here.
    position: u64,
}

impl<'a> GgufWriter<'a> {
    /// Begins a file: writes all that comes before the first tensor.
    ///
    /// # Errors
    /// A value is not of its type, a tensor's rows are no whole blocks, or the sink does not take it.
    pub async fn begin(
        sink: &'a mut dyn Sink,
        name: &str,
        metadata: &GgufMetadata,
        tensors: &[GgufTensor],
    ) -> Result<Self, Problem> {
        let (front, left) = front(metadata, tensors).map_err(|what| internal(what).at(name))?;
        sink.begin(name).await?;
        sink.write(&front).await?;
        Ok(Self { sink, left, position: 0 })
    }

    /// The next bytes of the tensors, none of them of two.
    ///
    /// # Errors
    /// There are more than the tensor has, or the sink does not take them.
    pub async fn add(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let Some((name, left)) = self.left.last_mut() else {
            return Err(internal(format!("{} bytes come after the last tensor", bytes.len())));
        };
        *left = left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| internal(format!("tensor '{name}' comes with more bytes than its shape has")))?;
        let complete = *left == 0;
        self.sink.write(bytes).await?;
        self.position += bytes.len() as u64;
        if complete {
            self.left.pop();
            let padding = self.position.next_multiple_of(ALIGNMENT) - self.position;
            self.sink.write(&[0; ALIGNMENT as usize][..padding as usize]).await?;
            self.position += padding;
        }
        Ok(())
    }

    /// The file is complete.
    ///
    /// # Errors
    /// It is not: a tensor has not come.
    pub fn finish(self) -> Result<(), Problem> {
        match self.left.last() {
            None => Ok(()),
            Some((name, left)) => Err(internal(format!("{left} bytes of tensor '{name}' have not come"))),
        }
    }
}

fn internal(what: String) -> Problem {
    Problem::new(ProblemKind::Internal, what).next("please report this")
}

/// All bytes before the first tensor's, and of each tensor, the last one first, its name and its size.
type Front = (Vec<u8>, Vec<(String, u64)>);

fn front(metadata: &GgufMetadata, tensors: &[GgufTensor]) -> Result<Front, String> {
    let mut out = Vec::new();
    out.extend(b"GGUF");
    out.extend(3_u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(key, &mut out);
        value.write(&mut out).ok_or_else(|| {
            let shown: String = match &value.value {
                Value::Array(list) => format!("a list of {}", list.len()),
                one => one.to_string().chars().take(40).collect(),
            };
            format!("{key} is {shown}, which is not of the type {:?}", value.element)
        })?;
    }
    let mut left = Vec::new();
    let mut offset = 0_u64;
    for tensor in tensors {
        let GgufTensor { name, shape, kind } = tensor;
        let bytes = tensor.bytes().ok_or_else(|| {
            format!(
                "tensor '{name}' of {shape:?} cannot be written in {}, whose blocks have {}",
                kind.name(),
                kind.length()
            )
        })?;
        text(name, &mut out);
        out.extend((shape.len() as u32).to_le_bytes());
        // Innermost first.
        shape.iter().rev().for_each(|size| out.extend((*size as u64).to_le_bytes()));
        out.extend(kind.id().to_le_bytes());
        out.extend(offset.to_le_bytes());
        left.push((name.clone(), bytes));
        offset = (offset + bytes).next_multiple_of(ALIGNMENT);
    }
    let padding = (out.len() as u64).next_multiple_of(ALIGNMENT) as usize;
    out.resize(padding, 0);
    left.reverse();
    Ok((out, left))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::borrow::Cow;
    use std::rc::Rc;

    use pollster::block_on;
    use serde_json::json;

    use super::*;
    use crate::folder::MemoryFolder;
    use crate::gguf::Gguf;
    use crate::gguf::value::Element;
    use crate::gguf::write::Writer;
    use crate::sink::MemorySink;

    fn tensor(name: &str, shape: &[usize], kind: BlockType) -> GgufTensor {
        GgufTensor { name: name.into(), shape: shape.into(), kind }
    }

    fn open(bytes: Vec<u8>) -> Gguf {
        let folder = MemoryFolder::new("toy", vec![("a.gguf".into(), Cow::Owned(bytes))]);
        block_on(Gguf::open(Rc::new(folder), vec!["a.gguf".into()])).unwrap()
    }

    /// What is read is what was written, types and all: written again it is the same bytes, and those of another writer.
    #[test]
    fn what_is_written_is_read_and_written_again() {
        let typed = |element: Element, value: Value| GgufValue { element, value };
        let metadata: GgufMetadata = [
            ("general.architecture", json!("toy").into()),
            ("u32", json!(7).into()),
            ("i32", json!(-7).into()),
            ("f32", json!(1e-5).into()),
            ("bool", json!(true).into()),
            ("texts", json!(["a", "", "ü"]).into()),
            ("types", json!([1, 3, 6]).into()),
            ("scores", json!([-1, 0.5]).into()),
            ("none", json!([]).into()),
            ("u8", typed(Element::U8, json!(200))),
            ("i8", typed(Element::I8, json!(-1))),
            ("u16", typed(Element::U16, json!(65_535))),
            ("i16", typed(Element::I16, json!(-2))),
            ("u64", typed(Element::U64, json!(u64::MAX))),
            ("i64", typed(Element::I64, json!(-4))),
            ("f64", typed(Element::F64, json!(0.25))),
            ("nan", typed(Element::F32, Value::Null)),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into();
        let tensors = [tensor("v", &[3], BlockType::F32), tensor("m", &[2, 32], BlockType::Q8_0)];
        let write = |metadata: &GgufMetadata| {
            let mut sink = MemorySink::default();
            block_on(async {
                let mut writer = GgufWriter::begin(&mut sink, "a.gguf", metadata, &tensors).await.unwrap();
                writer.add(&[1.0_f32, 2.0, 3.0].map(f32::to_le_bytes).concat()).await.unwrap();
                writer.add(&[7; 34]).await.unwrap();
                writer.add(&[8; 34]).await.unwrap();
                writer.finish().unwrap();
            });
            sink.files.remove(0).1
        };
        let bytes = write(&metadata);
        let file = open(bytes.clone());
        assert_eq!(file.shapes(), [("m".to_string(), vec![2, 32]), ("v".into(), vec![3])].into());
        assert_eq!(block_on(file.bytes("m", 32..36)).unwrap(), [7, 7, 8, 8]);
        let again: GgufMetadata = metadata.iter().map(|(key, _)| (key.clone(), file.value(key).unwrap())).collect();
        assert_eq!(write(&again), bytes);
        let list = [
            6_u32.to_le_bytes().to_vec(),
            2_u64.to_le_bytes().to_vec(),
            [-1.0_f32, 0.5].map(f32::to_le_bytes).concat(),
        ];
        let other =
            Writer::default().u32("u32", 7).key("scores", 9, &list.concat()).floats("v", &[3], &[1.0, 2.0, 3.0]);
        let some: GgufMetadata =
            metadata.into_iter().filter(|(key, _)| ["u32", "scores"].contains(&key.as_str())).collect();
        let (front, _) = front(&some, &tensors[..1]).unwrap();
        assert_eq!(other.bytes()[..front.len()], front);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let begin = |value: GgufValue, tensors: &[GgufTensor]| {
            let metadata = vec![("k".to_string(), value)];
            block_on(GgufWriter::begin(&mut MemorySink::default(), "a", &metadata, tensors)).err().map(|p| p.what)
        };
        let wrong = begin(json!([1, "x"]).into(), &[]).unwrap();
        assert!(wrong.contains("k is a list of 2, which is not of the type I32"), "{wrong}");
        let odd = begin(json!(1).into(), &[tensor("w", &[2, 48], BlockType::Q8_0)]).unwrap();
        assert!(odd.contains("'w' of [2, 48] cannot be written in Q8_0"), "{odd}");
        let mut sink = MemorySink::default();
        let tensors = [tensor("w", &[2], BlockType::F32)];
        let mut writer = block_on(GgufWriter::begin(&mut sink, "a", &Vec::new(), &tensors)).unwrap();
        assert!(block_on(writer.add(&[0; 9])).unwrap_err().what.contains("more bytes"));
        let mut writer = block_on(GgufWriter::begin(&mut sink, "a", &Vec::new(), &tensors)).unwrap();
        block_on(writer.add(&[0; 4])).unwrap();
        assert!(writer.finish().unwrap_err().what.contains("4 bytes of tensor 'w' have not come"));
    }
}
