//! AdamW's state: moments and step counts, by the parameters that were last updated together.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Tensor, TensorData};
use stratune_kernels::Moments;
use stratune_protocol::Problem;
use stratune_runtime::read_f32;
use stratune_store::HostTensor;

/// Moments and step counts, by the paths of each group.
#[derive(Clone, Default)]
pub struct OptimiserState(BTreeMap<Vec<String>, MomentSet>);

#[derive(Clone)]
struct MomentSet {
    /// Steps of its parameters so far.
    step_count: usize,
    moments: Moments,
}

impl OptimiserState {
    /// Steps of each parameter so far.
    pub fn step_counts(&self) -> BTreeMap<String, usize> {
        self.0.iter().flat_map(|(paths, set)| paths.iter().map(|path| (path.clone(), set.step_count))).collect()
    }

    /// Takes out the moments of the parameters of these paths and lengths, which are to be updated together: as they
    /// lie if they did so before, else from their sets; zeros for those without a step.
    pub fn take(&mut self, paths: &[String], counts: Vec<usize>, device: &Device) -> Moments {
        if let Some(set) = self.0.remove(paths) {
            return set.moments;
        }
        if self.part(|path| paths.contains(path)) == 0 {
            return Moments::zeros(counts, device);
        }
        let one = |(path, count): (&String, usize)| match self.0.remove(std::slice::from_ref::<String>(path)) {
            Some(set) => set.moments,
            None => Moments::zeros(vec![count], device),
        };
        Moments::join(paths.iter().zip(counts).map(one).collect())
    }

    /// Keeps the moments of parameters that were updated together.
    pub fn put(&mut self, paths: Vec<String>, step_count: usize, moments: Moments) {
        self.0.insert(paths, MomentSet { step_count, moments });
    }

    /// Forgets the parameters of these paths.
    pub fn release(&mut self, released: &BTreeSet<String>) {
        self.part(|path| released.contains(path));
        self.0.retain(|paths, _| !paths.iter().any(|path| released.contains(path)));
    }

    /// Makes sets of one out of every set with such a parameter, and says how many sets there were.
    fn part(&mut self, of: impl Fn(&String) -> bool) -> usize {
        let touched: Vec<Vec<String>> = self.0.keys().filter(|paths| paths.iter().any(&of)).cloned().collect();
        for paths in &touched {
            let Some(MomentSet { step_count, moments }) = self.0.remove(paths) else { continue };
            for (path, moments) in paths.iter().zip(moments.split()) {
                self.0.insert(vec![path.clone()], MomentSet { step_count, moments: Moments::one(moments) });
            }
        }
        touched.len()
    }

    /// Numbers in the state.
    pub fn size(&self) -> usize {
        self.0.values().map(|set| 2 * set.moments.counts().iter().sum::<usize>()).sum()
    }

    /// The moments, for a checkpoint: `moment_1/PATH`, `moment_2/PATH`.
    ///
    /// # Errors
    /// The device does not answer.
    pub async fn save(&self) -> Result<BTreeMap<String, HostTensor>, Problem> {
        let mut tensors = BTreeMap::new();
        for (paths, set) in &self.0 {
            for (path, moments) in paths.iter().zip(set.moments.clone().split()) {
                for (name, moment) in ["moment_1", "moment_2"].into_iter().zip(moments) {
                    let data = read_f32(moment).await?;
                    tensors.insert(format!("{name}/{path}"), HostTensor { shape: vec![data.len()], data });
                }
            }
        }
        Ok(tensors)
    }

    /// Takes the moments out of a checkpoint, which says how many steps each parameter has had; `count` is how many
    /// numbers the moments of a parameter have, if it is there.
    ///
    /// # Errors
    /// A moment is missing, or of another size.
    pub fn load(
        tensors: &BTreeMap<String, HostTensor>,
        step_counts: &BTreeMap<String, usize>,
        count: impl Fn(&str) -> Option<usize>,
        device: &Device,
    ) -> Result<Self, Problem> {
        let mut state = Self::default();
        for (path, step_count) in step_counts {
            let moment = |name: &str| {
                let key = format!("{name}/{path}");
                let host = tensors.get(&key).ok_or_else(|| Problem::input(format!("the checkpoint has no {key}")))?;
                if count(path).is_some_and(|count| count != host.data.len()) {
                    return Err(Problem::input(format!("{key} is not of its parameter's size"))
                        .at("checkpoint.safetensors")
                        .next("the checkpoint is damaged: begin the run anew"));
                }
                Ok::<_, Problem>(Tensor::<1>::from_data(TensorData::new(host.data.clone(), [host.data.len()]), device))
            };
            let moments = Moments::one([moment("moment_1")?, moment("moment_2")?]);
            state.put(vec![path.clone()], *step_count, moments);
        }
        Ok(state)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Sets come apart and together as their parameters do, and each keeps its own moments.
    #[test]
    fn moments_follow_their_parameters() {
        let device = Device::flex();
        let paths = |of: &[&str]| of.iter().map(|p| (*p).to_string()).collect::<Vec<_>>();
        let numbers = |moments: Moments| -> Vec<Vec<f32>> {
            moments.split().into_iter().map(|[first, _]| first.into_data().iter::<f32>().collect()).collect()
        };
        let of = |value: f32, count| {
            Moments::one([Tensor::full([count], value, &device), Tensor::full([count], value, &device)])
        };
        let mut state = OptimiserState::default();
        assert_eq!(numbers(state.take(&paths(&["a", "b"]), vec![2, 1], &device)), [vec![0.0; 2], vec![0.0]]);
        state.put(paths(&["a", "b"]), 3, Moments::join(vec![of(1.0, 2), of(2.0, 1)]));
        state.put(paths(&["c"]), 1, of(3.0, 1));
        assert_eq!(state.size(), 8);
        assert_eq!(state.step_counts(), [("a".into(), 3), ("b".into(), 3), ("c".into(), 1)].into());

        // b now moves with c and with one that is new.
        let taken = state.take(&paths(&["b", "c", "d"]), vec![1, 1, 2], &device);
        assert_eq!(numbers(taken), [vec![2.0], vec![3.0], vec![0.0; 2]]);
        assert_eq!(state.step_counts(), [("a".into(), 3)].into());
        assert_eq!(numbers(state.take(&paths(&["a"]), vec![2], &device)), [vec![1.0; 2]]);

        state.put(paths(&["x.a", "y.a"]), 1, Moments::join(vec![of(5.0, 1), of(6.0, 1)]));
        state.release(&["x.a".to_string()].into());
        assert_eq!(state.step_counts(), [("y.a".into(), 1)].into());
        assert_eq!(numbers(state.take(&paths(&["y.a"]), vec![1], &device)), [vec![6.0]]);
    }

    /// What was saved is read again, unless it does not fit the parameters.
    #[test]
    fn moments_survive_a_checkpoint_that_fits() {
        let device = Device::flex();
        let mut state = OptimiserState::default();
        let of = |value: f32, count| {
            Moments::one([Tensor::full([count], value, &device), Tensor::full([count], 2.0 * value, &device)])
        };
        state.put(vec!["a".into(), "b".into()], 3, Moments::join(vec![of(1.0, 2), of(2.0, 1)]));
        let saved = stratune_runtime::block_on(state.save()).unwrap();
        assert_eq!(saved["moment_2/b"].data, [4.0]);
        let load = |count: usize| {
            OptimiserState::load(&saved, &state.step_counts(), |path| (path == "a").then_some(count), &device)
        };
        let again = load(2).unwrap();
        assert_eq!(again.step_counts(), state.step_counts());
        assert_eq!(stratune_runtime::block_on(again.save()).unwrap(), saved);
        let problem = load(3).err().unwrap();
        assert!(problem.what.contains("moment_1/a"), "{problem}");
    }
}
