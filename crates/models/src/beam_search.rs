//! Continuing a text along several paths at once, to find the likeliest whole.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use stratune_protocol::Problem;
use stratune_runtime::{read_f32, yield_now};

use crate::Model;
use crate::generate::room;

/// How a search goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeamSearch {
    /// Paths that are continued at once.
    pub beams: usize,
    /// A text's score is the log-probability of its tokens over their number to this power: 1 is the mean, and less favours
    /// short ones.
    pub length_penalty: f64,
    /// Tokens of a text at most, its end among them.
    pub max_tokens: usize,
}

/// A text that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Beam {
    /// What follows the prompt, the end with it if that was reached.
    pub tokens: Vec<u32>,
    /// Its log-probability over its length to the power of the penalty.
    pub score: f64,
}

/// A path that has not ended.
#[derive(Clone)]
struct Path {
    tokens: Vec<u32>,
    log_probability: f64,
    /// The row of the batch that it continues.
    row: usize,
}

/// The likeliest `beams` continuations of a prompt that a search finds, the best first. It ends when none that goes on could
/// be among them at its present length, as transformers' does unless it is told to end earlier.
///
/// # Errors
/// The prompt is empty or fills the context, there is no beam, or the device does not answer.
pub async fn beam_search(
    model: &Model,
    prompt: &[u32],
    search: &BeamSearch,
    ends: impl Fn(u32) -> bool,
) -> Result<Vec<Beam>, Problem> {
    let BeamSearch { beams, length_penalty, max_tokens } = *search;
    if beams == 0 {
        return Err(Problem::input("a search with 0 beams finds nothing").next("use 1 or more"));
    }
    let most = room(model, prompt)?.min(max_tokens);
    let (model, prompt) = model.begun(prompt);
    let score = |log_probability: f64, length: usize| log_probability / (length as f64).powf(length_penalty);
    let mut caches = model.caches();
    let mut paths = vec![Path { tokens: Vec::new(), log_probability: 0.0, row: 0 }];
    let mut found: Vec<Beam> = Vec::new();
    let mut input: Vec<u32> = prompt.clone();
    for length in 1..=most {
        let rows = paths.len();
        let ids: Vec<i32> = input.iter().map(|token| *token as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, input.len() / rows]), &model.device());
        let said = read_f32(log_softmax(model.next_logits(ids, &mut caches), 1)).await?;
        let candidates = likeliest(&paths, &said, model.config.vocab_size, 2 * beams);
        let mut going = Vec::with_capacity(beams);
        for (rank, path) in candidates.into_iter().enumerate() {
            if path.tokens.last().is_some_and(|token| ends(*token)) {
                // Of those that end only what is among the best ends there.
                if rank < beams {
                    found.push(Beam { score: score(path.log_probability, length), tokens: path.tokens });
                }
            } else if going.len() < beams {
                going.push(path);
            }
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.truncate(beams);
        paths = going;
        let best = paths.iter().map(|path| path.log_probability).fold(f64::NEG_INFINITY, f64::max);
        let worst = found.last().filter(|_| found.len() == beams).map_or(f64::NEG_INFINITY, |beam| beam.score);
        if length == most {
            found.extend(
                paths.drain(..).map(|path| Beam { score: score(path.log_probability, length), tokens: path.tokens }),
            );
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found.truncate(beams);
        }
        if paths.is_empty() || score(best, length) <= worst {
            break;
        }
        let whole = prompt.len() + length;
        if model.caches_last(whole - 1, whole) {
            let rows: Vec<i32> = paths.iter().map(|path| path.row as i32).collect();
            let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [paths.len()]), &model.device());
            caches.iter_mut().for_each(|cache| cache.select(&rows));
            input = paths.iter().filter_map(|path| path.tokens.last().copied()).collect();
        } else {
            caches = model.caches();
            input = paths.iter().flat_map(|path| prompt.iter().chain(&path.tokens).copied()).collect();
        }
        yield_now().await;
    }
    Ok(found)
}

/// The best continuations by one token, the best first.
fn likeliest(paths: &[Path], said: &[f32], vocabulary: usize, count: usize) -> Vec<Path> {
    let mut best: Vec<(f64, usize, u32)> = Vec::new();
    for (row, (path, said)) in paths.iter().zip(said.chunks(vocabulary.max(1))).enumerate() {
        let mut of_row: Vec<(f64, usize, u32)> =
            said.iter().zip(0..).map(|(log, token)| (path.log_probability + f64::from(*log), row, token)).collect();
        let kept = count.min(of_row.len());
        if kept < of_row.len() {
            of_row.select_nth_unstable_by(kept, |a, b| b.0.total_cmp(&a.0));
        }
        best.extend_from_slice(&of_row[..kept]);
    }
    best.sort_by(|a, b| b.0.total_cmp(&a.0));
    best.truncate(count);
    let path = |(log_probability, row, token): (f64, usize, u32)| {
        let tokens = paths[row].tokens.iter().copied().chain([token]).collect();
        Path { tokens, log_probability, row }
    };
    best.into_iter().map(path).collect()
}
