//! A search that was killed goes on to the same end, bit for bit; one that is stopped has the best so far.

use stratune_protocol::SearchBy;
use stratune_runtime::block_on;
use stratune_store::Checkpoint;
use stratune_tests::runs::RecordingCallback;
use stratune_train::Event;

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
    for by in [SearchBy::Bipeft, SearchBy::S3delta, SearchBy::Evolution, SearchBy::Magnitude] {
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
