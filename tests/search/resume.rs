//! A search that was killed goes on to the same end, bit for bit; one that is stopped has the best so far.

use stratune_protocol::{EndReason, SearchBy};
use stratune_runtime::block_on;
use stratune_store::Checkpoint;
use stratune_tests::runs::RecordingCallback;
use stratune_train::Event;

use serde_json::{Value, json};

use crate::{config, lively, report, search};

/// All that a checkpoint holds, but the time it was written.
fn contents(
    checkpoint: &Checkpoint,
) -> (serde_json::Value, &std::collections::BTreeMap<String, stratune_store::HostTensor>) {
    let mut meta = checkpoint.meta.clone();
    meta["run"]["written"] = 0.into();
    (meta, &checkpoint.tensors)
}

#[test]
fn a_killed_search_goes_on_bit_for_bit() {
    for by in [SearchBy::Bipeft, SearchBy::S3delta, SearchBy::Evolution, SearchBy::Magnitude, SearchBy::Autopeft] {
        let config = config(by, 400);
        let (mut trainer, found) = search(&config, lively());
        let mut whole = RecordingCallback::default();
        block_on(whole.watch(&mut trainer)).unwrap();
        let steps = whole.losses().len();
        for stop in [1, 4, steps - 1] {
            let (mut trainer, so_far) = search(&config, lively());
            let mut first = RecordingCallback { stop_after: Some(stop), ..RecordingCallback::default() };
            block_on(first.watch(&mut trainer)).unwrap();
            let best = so_far.structure().unwrap().methods(&report()).unwrap().trainable(&report());
            assert!((1..=400).contains(&best), "{by:?}: a search that is stopped has a structure, of {best}");

            let (mut again, goes_on) = search(&config, lively());
            again.resume(first.last()).unwrap();
            assert_eq!(goes_on.structure(), so_far.structure(), "{by:?}, stopped after {stop}");
            let mut second = RecordingCallback::default();
            block_on(second.watch(&mut again)).unwrap();
            assert_eq!([first.losses(), second.losses()].concat(), whole.losses(), "{by:?}, stopped after {stop}");
            assert_eq!(contents(second.last()), contents(whole.last()), "{by:?}, stopped after {stop}");
            assert_eq!(goes_on.structure(), found.structure(), "{by:?}, stopped after {stop}");
        }

        // A search that has ended takes no further step.
        let (mut ended, there) = search(&config, lively());
        ended.resume(whole.last()).unwrap();
        let mut recording = RecordingCallback::default();
        block_on(recording.watch(&mut ended)).unwrap();
        assert!(!recording.events.iter().any(|event| matches!(event, Event::Step(_))), "{by:?}");
        assert_eq!(there.structure(), found.structure(), "{by:?}");

        for (named, budget, other) in [("another budget", 399, by), ("another searcher", 400, SearchBy::Random)] {
            let (mut trainer, _) = search(&crate::config(other, budget), lively());
            let problem = trainer.resume(whole.last()).unwrap_err();
            assert!(problem.what.contains(named) && !problem.next.is_empty(), "{problem}");
        }
    }
}

/// Stopped while structures are compared, a search goes on to the same end, and measures none of them twice.
#[test]
fn breeding_that_is_stopped_goes_on_bit_for_bit() {
    let mut config = config(SearchBy::Evolution, 400);
    config.search.as_mut().unwrap().larger_budgets = vec![600];
    let compared = |events: &[Event]| {
        let begins =
            |event: &&Event| matches!(event, Event::Progress { what, done: 0, .. } if what == "comparing structures");
        events.iter().filter(begins).count()
    };
    let (mut trainer, found) = search(&config, lively());
    let mut whole = RecordingCallback::default();
    block_on(whole.watch(&mut trainer)).unwrap();
    let all = compared(&whole.events);
    assert!(all > 12, "{all}");
    for stop in [0, 3, all - 1] {
        let (mut trainer, _) = search(&config, lively());
        let mut first =
            RecordingCallback { stop_in: Some(("comparing structures", stop)), ..RecordingCallback::default() };
        assert_eq!(block_on(first.watch(&mut trainer)).unwrap().reason, EndReason::Stopped, "{stop}");
        let (mut again, goes_on) = search(&config, lively());
        again.resume(first.last()).unwrap();
        assert_eq!(goes_on.structures().len(), 2, "there is something to take away");
        let mut second = RecordingCallback::default();
        block_on(second.watch(&mut again)).unwrap();
        assert_eq!(compared(&first.events) + compared(&second.events), all + 1, "stopped in the one after {stop}");
        assert_eq!(contents(second.last()), contents(whole.last()), "stopped after {stop}");
        assert_eq!(goes_on.structures(), found.structures(), "stopped after {stop}");
    }
}

/// What an edited checkpoint says of a search is refused, or the search goes on; there is no panic.
#[test]
fn an_edited_checkpoint_is_refused() {
    for by in [SearchBy::Bipeft, SearchBy::S3delta, SearchBy::Evolution, SearchBy::Magnitude, SearchBy::Autopeft] {
        let mut config = config(by, 400);
        config.search.as_mut().unwrap().larger_budgets = vec![600];
        let (mut trainer, _) = search(&config, lively());
        let mut whole = RecordingCallback::default();
        block_on(whole.watch(&mut trainer)).unwrap();
        let sound = whole.last();
        let numbers = sound.meta.pointer("/run/hooks/search").cloned().unwrap();
        let edits: [(&str, Value); 8] = [
            ("/front/0/sizes/0", json!(3)),
            ("/front/0/sizes", json!([1])),
            ("/front/0/parameters", json!(1)),
            ("/noted/0", json!([9, 9])),
            ("/noted", json!([])),
            ("/modules", json!(3)),
            ("/larger_budgets", json!([700])),
            ("/searcher", json!({})),
        ];
        for (at, other) in edits {
            let mut edited = numbers.clone();
            *edited.pointer_mut(at).unwrap() = other;
            let mut checkpoint = sound.clone();
            *checkpoint.meta.pointer_mut("/run/hooks/search").unwrap() = edited;
            let problem = search(&config, lively()).0.resume(&checkpoint).unwrap_err();
            assert!(problem.at == "checkpoint.safetensors" && !problem.next.is_empty(), "{by:?}, {at}: {problem}");
        }
    }
}
