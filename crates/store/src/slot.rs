//! Two slots that take turns: how a checkpoint survives a write that is cut off, where files cannot be renamed.
//!
//! A slot is a sequence number and a length, eight bytes each, then that many bytes of a checkpoint.

use stratune_protocol::Problem;

use crate::checkpoint::Checkpoint;

/// Bytes before the checkpoint.
pub(crate) const PREFIX: usize = 16;

/// The bytes before a checkpoint of `length` bytes.
pub(crate) fn prefix(sequence: u64, length: usize) -> [u8; PREFIX] {
    let mut bytes = [0; PREFIX];
    bytes[..8].copy_from_slice(&sequence.to_le_bytes());
    bytes[8..].copy_from_slice(&(length as u64).to_le_bytes());
    bytes
}

/// A slot's sequence number and checkpoint; `None` if its writing was cut off, an error if it is damaged otherwise.
fn read(slot: &[u8], at: &str) -> Result<Option<(u64, Checkpoint)>, Problem> {
    let Some((sequence, rest)) = slot.split_first_chunk::<8>() else { return Ok(None) };
    let Some((length, body)) = rest.split_first_chunk::<8>() else { return Ok(None) };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let Some(body) = body.get(..length) else { return Ok(None) };
    let checkpoint = Checkpoint::from_bytes(body, at)?;
    Ok(Some((u64::from_le_bytes(*sequence), checkpoint)))
}

/// What two slots hold.
#[derive(Debug, PartialEq)]
pub(crate) struct Slots {
    /// The newest checkpoint that is whole.
    pub latest: Option<Checkpoint>,
    /// The slot to write next, never that of `latest`.
    pub next_slot: usize,
    /// The sequence number to write there.
    pub next_sequence: u64,
}

impl Slots {
    /// Reads both slots' bytes. If neither is whole, a damaged one is an error.
    pub(crate) fn read(slots: [Option<Vec<u8>>; 2], names: [String; 2]) -> Result<Self, Problem> {
        let mut best: Option<(u64, usize, Checkpoint)> = None;
        let mut failure = None;
        for (i, bytes) in slots.iter().enumerate() {
            match bytes.as_deref().map(|b| read(b, &names[i])) {
                Some(Ok(Some((sequence, checkpoint)))) if best.as_ref().is_none_or(|b| sequence > b.0) => {
                    best = Some((sequence, i, checkpoint));
                }
                Some(Err(problem)) => failure = Some(problem),
                _ => {}
            }
        }
        match (best, failure) {
            (Some((sequence, i, checkpoint)), _) => {
                Ok(Self { latest: Some(checkpoint), next_slot: 1 - i, next_sequence: sequence.saturating_add(1) })
            }
            (None, Some(problem)) => Err(problem),
            (None, None) => Ok(Self::empty()),
        }
    }

    /// Nothing written yet.
    pub(crate) fn empty() -> Self {
        Self { latest: None, next_slot: 0, next_sequence: 1 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::checkpoint::tests::sample;

    fn slot(sequence: u64, step: u64) -> Vec<u8> {
        let body = sample(step).to_bytes().unwrap();
        [prefix(sequence, body.len()).to_vec(), body].concat()
    }

    fn damaged(mut bytes: Vec<u8>) -> Vec<u8> {
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    }

    fn names() -> [String; 2] {
        ["checkpoint-0".into(), "checkpoint-1".into()]
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let torn = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
        // Bytes of a longer checkpoint that stood there before do no harm.
        let longer = |bytes: Vec<u8>| [bytes, vec![9; 40]].concat();
        let cases = [
            ([None, None], None, 0, 1),
            ([Some(slot(1, 10)), None], Some(10), 1, 2),
            ([Some(slot(1, 10)), Some(slot(2, 20))], Some(20), 0, 3),
            ([Some(slot(3, 30)), Some(slot(2, 20))], Some(30), 1, 4),
            ([Some(torn(slot(3, 30))), Some(slot(2, 20))], Some(20), 0, 3),
            ([Some(slot(3, 30)), Some(torn(slot(4, 40)))], Some(30), 1, 4),
            ([Some(vec![]), Some(slot(2, 20))], Some(20), 0, 3),
            ([Some(damaged(slot(3, 30))), Some(slot(2, 20))], Some(20), 0, 3),
            ([Some(torn(slot(1, 10))), None], None, 0, 1),
            ([Some(longer(slot(3, 30))), None], Some(30), 1, 4),
        ];
        for (i, (slots, step, next_slot, next_sequence)) in cases.into_iter().enumerate() {
            let found = Slots::read(slots, names()).unwrap();
            assert_eq!(found, Slots { latest: step.map(sample), next_slot, next_sequence }, "case {i}");
        }
    }

    #[test]
    fn every_torn_write_costs_only_the_last() {
        let (old, new) = (slot(1, 10), slot(2, 20));
        for end in 0..new.len() {
            let found = Slots::read([Some(old.clone()), Some(new[..end].to_vec())], names()).unwrap();
            assert_eq!(found.latest, Some(sample(10)), "cut at {end}");
        }
    }

    #[test]
    fn damage_without_a_whole_slot_is_an_error() {
        let problem = Slots::read([None, Some(damaged(slot(2, 20)))], names()).unwrap_err();
        assert_eq!(problem.at, "checkpoint-1");
    }
}
