//! A made-up file of every layout, and what holds of all tasks on them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use rand::RngExt;
use stratune_protocol::draws;

use crate::{Answers, Item, Label, Prediction, Split, Task, tasks};

/// Paths and texts.
const FILES: &[(&str, &str)] = &[
    (
        "boolq/test.json",
        r#"[{"instruction": "Please answer the following question with true or false, question: is a whale a fish?\n\nAnswer format: true/false", "input": "", "output": "the correct answer is false", "answer": "false"},
{"instruction": "Please answer the following question with true or false, question: can ducks swim\n\nAnswer format: true/false", "input": "", "output": "the correct answer is true", "answer": "true"}]"#,
    ),
    (
        "piqa/test.json",
        r#"[{"instruction": "Please choose the correct solution to the question: dry a shoe\n\nSolution1: put paper into it \n\nSolution2: put it in the sink\n\nAnswer format: solution1/solution2", "input": "", "output": "the correct answer is solution1", "answer": "solution1"}]"#,
    ),
    (
        "piqa/valid.jsonl",
        "{\"goal\": \"dry a shoe\", \"sol1\": \"put paper into it \", \"sol2\": \"put it in the sink\"}\n",
    ),
    ("piqa/valid-labels.lst", "0\n"),
    (
        "social_i_qa/test.json",
        r#"[{"instruction": "Please choose the correct answer to the question: Ann lent Bo her bike. How does Bo feel?\n\nAnswer1: robbed Answer2: thankful Answer3: like walking\n\nAnswer format: answer1/answer2/answer3", "input": "", "output": "the correct answer is answer2", "answer": "answer2"}]"#,
    ),
    (
        "social_i_qa/dev.jsonl",
        r#"{"context": "Ann lent Bo her bike.", "question": "How does Bo feel?", "answerA": "robbed", "answerB": "thankful", "answerC": "like walking"}"#,
    ),
    ("social_i_qa/dev-labels.lst", "2\n"),
    (
        "hellaswag/test.json",
        r#"[{"instruction": "Please choose the correct ending to complete the given sentence: Food: [header] How to boil an egg [title] Take a pot. [step] Fill it.\n\nEnding1: Eat it. Ending2: Put it on the stove. [title] Wait. Ending3: Sell it. Ending4: Paint it.\n\nAnswer format: ending1/ending2/ending3/ending4", "input": "", "output": "the correct answer is ending2", "answer": "ending2"}]"#,
    ),
    (
        "hellaswag/hellaswag_val.jsonl",
        r#"{"ind": 1, "activity_label": "Boiling eggs", "ctx_a": "A pot stands there.", "ctx_b": "the Cook", "ctx": "A pot stands there. the Cook", "label": 3, "endings": ["sings.", "sleeps [substeps] long.", "paints.", "fills it."]}"#,
    ),
    (
        "winogrande/test.json",
        r#"[{"instruction": "Please choose the correct answer to fill in the blank to complete the given sentence: The cup did not fit the box as the _ was small.\n\nOption1: cup Option2: box Answer format: option1/option2", "input": "", "output": "the correct answer is option2", "answer": "option2"}]"#,
    ),
    (
        "winogrande/dev.jsonl",
        r#"{"qID": "1", "sentence": "The cup did not fit the box as the _ was small.", "option1": "cup", "option2": "box", "answer": "2"}"#,
    ),
    (
        "ARC-Easy/test.json",
        r#"[{"instruction": "Please choose the correct answer to the question: What do plants need?\n\nAnswer1: light Answer2: shoes Answer3: noise Answer4: oil Answer5: tin\n\nAnswer format: answer1/answer2/answer3/answer4/answer5", "input": "", "output": "the correct answer is answer1", "answer": "answer1"}]"#,
    ),
    (
        "ARC-Challenge/ARC-Challenge-Test.jsonl",
        r#"{"id": "x", "question": {"stem": "What do plants need?", "choices": [{"text": "shoes", "label": "1"}, {"text": "light", "label": "2"}]}, "answerKey": "2"}"#,
    ),
    (
        "openbookqa/test.json",
        r#"[{"instruction": "Please choose the correct answer to the question: Fog is likely\n\nAnswer1: in a desert Answer2: by a lake Answer3: in a kiln Answer4: on the moon\n\nAnswer format: answer1/answer2/answer3/answer4", "input": "", "output": "the correct answer is answer2", "answer": "answer2"}]"#,
    ),
    (
        "gsm8k/train.jsonl",
        "{\"question\": \"Ann has 2 bags of 500 nuts and 40 more. How many?\", \"answer\": \"She has 2*500=<<2*500=1000>>1,000 nuts in bags.\\nThat makes 1000+40=<<1000+40=1040>>1040.\\n#### 1,040\"}\n",
    ),
    (
        "gsm8k/test.json",
        r#"[{"instruction": "How much is 3 times 4?", "input": "", "output": "\nA: 3 times 4 is 12. The answer is 12.", "answer": "12.0"},
{"instruction": "How much is 3 less 4?", "input": "", "output": "\nA: The answer is 7.", "answer": "-1.0"}]"#,
    ),
    (
        "AQuA/test.json",
        r#"[{"instruction": "Half of 9 is? Answer Choices: (A) 4 (B) 4.5 (C) 5 (D) 18 (E) 9 (odd)", "input": "", "output": "\nRationale: Cut it in two. The answer is (B).", "answer": "B"},
{"instruction": "Half of 8 is? Answer Choices: (A) 4 (B) 4.5 (C) 5 (D) 18 (E) 9", "input": "", "output": "\nRationale: Divide. The answer is (A).", "answer": "A"}]"#,
    ),
    ("SVAMP/test.json", r#"[{"instruction": "2 and 2?", "input": "", "output": "", "answer": "4.0"}]"#),
    ("AddSub/test.json", r#"[{"instruction": "2 and 2.5?", "input": "", "output": "", "answer": "4.5"}]"#),
    ("MultiArith/test.json", r#"[{"instruction": " 2 times 2? ", "input": "", "output": "", "answer": "4.0"}]"#),
    ("SingleEq/test.json", r#"[{"instruction": "x + 2 = 2?", "input": "", "output": "", "answer": "0.0"}]"#),
    (
        "mathqa/test.json",
        r#"[{"instruction": "half of 9 ? The options: A ) 4 , B ) 4.5 , C ) 5 , D ) 18 , E ) none", "input": "", "output": "", "answer": "B"},
{"instruction": "ratio of 4 to 8 ? The options: ['A ) 1 : 3', 'B ) 4 : 5', 'C ) 2 : 1', 'D ) 7 : 9', 'E ) 1 : 2']", "input": "", "output": "", "answer": "E"}]"#,
    ),
    ("mawps/test.json", r#"[{"instruction": "1 minus 16 ?", "input": "", "output": "", "answer": "-15.0"}]"#),
    ("CoLA/dev.tsv", "ab01\t1\t\tThe dog sleeps.\nab01\t0\t*\tThe dog sleep the.\n"),
    ("SST-2/dev.tsv", "sentence\tlabel\nit 's \" a delight \t1\nno jokes , no end \t0\n"),
    (
        "MRPC/dev.tsv",
        "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t10\t11\tHe said \"yes.\tHe agreed.\r\n0\t12\t13\tIt rose.\tIt fell.\r\n",
    ),
    (
        "STS-B/dev.tsv",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n0\tnews\tf\t2020\t1\tnone\tnone\tA dog runs.\tA dog is running.\t4.800\n1\tnews\tf\t2020\t2\tnone\tnone\tA dog runs.\tIt rains.\t0\n",
    ),
    (
        "QQP/dev.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tHow old is it?\tWhat is its age?\t1\n4\t5\t6\tThis row is\n7\t8\t9\tWhy?\tWho?\t0\n",
    ),
    (
        "MNLI/dev_matched.tsv",
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\tIt is 5 p.m.\tIt is late\tneutral\tneutral\n1\tShe left.\tShe went.\tentailment\tentailment\n2\tShe left.\tShe stayed.\tneutral\tcontradiction\n",
    ),
    (
        "MNLI/dev_mismatched.tsv",
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\tAll is well.\tNot all is well.\tneutral\tcontradiction\n",
    ),
    (
        "QNLI/dev.tsv",
        "index\tquestion\tsentence\tlabel\n0\tWhere is it?\tIt is in Rome.\tentailment\n1\tWhere is it?\tIt is old.\tnot_entailment\n",
    ),
    (
        "RTE/dev.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\tAnn, who is 9, won.\tAnn won.\tentailment\n1\tAnn lost.\tAnn won.\tnot_entailment\n",
    ),
    (
        "WNLI/dev.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\tI hit the cup and it broke.\tThe cup broke.\t1\n1\tI hit it.\tI broke.\t0\n",
    ),
    (
        "BoolQ/val.jsonl",
        "{\"question\": \"is a whale a fish\", \"passage\": \"Whales are mammals.\", \"idx\": 0, \"label\": false}\n\n{\"question\": \"do whales swim\", \"passage\": \"Whales swim.\", \"idx\": 1, \"label\": true}\n",
    ),
    (
        "CB/val.jsonl",
        r#"{"premise": "He hopes that it rains.", "hypothesis": "it rains", "label": "neutral", "idx": 0}"#,
    ),
    (
        "COPA/val.jsonl",
        r#"{"premise": "The cup broke. ", "choice1": "It fell.", "choice2": "It was blue.", "question": "cause", "label": 0, "idx": 0}
{"premise": "It rained.", "choice1": "It was dry.", "choice2": "It was wet.", "question": "effect", "label": 1, "idx": 1}"#,
    ),
    (
        "MultiRC/val.jsonl",
        r#"{"idx": 0, "passage": {"text": "Ann and Bo ran.", "questions": [{"question": "Who ran?", "answers": [{"text": "Ann", "idx": 0, "label": 1}, {"text": "Cy", "idx": 1, "label": 0}], "idx": 0}, {"question": "Who sat?", "answers": [{"text": "Bo", "idx": 2, "label": 0}], "idx": 1}]}}"#,
    ),
    (
        "ReCoRD/val.jsonl",
        r#"{"source": "x", "passage": {"text": "Zoë met Bo in Rome.\n@highlight\nBo was late", "entities": [{"start": 0, "end": 2}, {"start": 8, "end": 9}, {"start": 14, "end": 17}, {"start": 31, "end": 32}]}, "qas": [{"query": "@placeholder had waited, said Bo", "answers": [{"start": 0, "end": 2, "text": "Zoë"}], "idx": 0}], "idx": 0}"#,
    ),
    ("RTE/val.jsonl", r#"{"premise": "Ann lost.", "hypothesis": "Ann won.", "label": "not_entailment", "idx": 0}"#),
    (
        "WiC/val.jsonl",
        r#"{"word": "bank", "sentence1": "Zoë's bank closed.", "sentence2": "The bank of a river.", "idx": 0, "label": false, "start1": 6, "start2": 4, "end1": 10, "end2": 8, "version": 1.1}"#,
    ),
    (
        "WSC/val.jsonl",
        r#"{"text": "Ann gave Zoë the cup because she asked , twice .", "target": {"span2_index": 6, "span1_index": 2, "span1_text": "Zoë", "span2_text": "she"}, "idx": 0, "label": true}"#,
    ),
    (
        "clinc150/data_full.json",
        r#"{"oos_val": [["is it blue", "oos"]], "val": [["wire him ten", "transfer"]], "train": [["send ten", "transfer"], ["yep", "yes"], ["no way", "no"]], "test": [["send it", "transfer"], ["nope", "no"]]}"#,
    ),
    ("TREC/TREC_10.label", "NUM:dist How far is it ?\nDESC:def What is a cup ?\n"),
    ("ag_news/test.csv", "\"3\",\"Profits \"\"up\"\"\",\"They rose, again.\"\n\"4\",\"New chip\",\"It is\nsmall.\"\n"),
];

/// All files.
pub(crate) fn files() -> BTreeMap<String, Vec<u8>> {
    FILES.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

/// The items of the task's fixture.
pub(crate) fn items(task: &Task) -> Vec<Item> {
    task.read(&files(), task.judged_on).unwrap_or_else(|problem| panic!("{}: {problem:?}", task.full_name()))
}

/// What the right answer is as a prediction.
pub(crate) fn right(item: &Item) -> Prediction {
    match &item.label {
        Label::Choice(place) => Prediction::Choice(*place),
        Label::Number(number) => Prediction::Number(*number),
        Label::Text(texts) => Prediction::Text(texts[0].clone()),
    }
}

/// What holds of every item: its label is one of its choices, what is trained is found as its answer, and the
/// likeliest choice is the answer.
pub(crate) fn check(task: &Task, item: &Item) {
    let right = right(item);
    assert!(!item.prompt.is_empty() && !item.texts.is_empty(), "{item:?}");
    let extracted = task.extract(item, &item.response);
    match (&extracted, &right) {
        (Some(Prediction::Number(got)), Prediction::Number(right)) => assert!((got - right).abs() <= 1e-3, "{item:?}"),
        _ => assert_eq!(extracted, Some(right.clone()), "{item:?}"),
    }
    for (place, choice) in item.choices.iter().enumerate() {
        let told = task.extract(item, &choice.response);
        let chosen = if task.answers() == Answers::Text {
            Prediction::Text(choice.answer.clone())
        } else {
            Prediction::Choice(place)
        };
        assert_eq!(told, Some(chosen.clone()), "{item:?}");
        let mut logprobs = vec![-1e4; item.choices.len()];
        logprobs[place] = -1.0;
        assert_eq!(task.predict(item, &logprobs, false), Some(chosen), "{item:?}");
    }
    if let Label::Choice(place) = item.label {
        assert!(place < item.choices.len(), "{item:?}");
    }
}

#[test]
fn every_task_reads_its_fixture_and_finds_its_own_answers() {
    for task in tasks() {
        let items = items(task);
        items.iter().for_each(|item| check(task, item));
        let right: Vec<_> = items.iter().map(|item| Some(right(item))).collect();
        for scored in task.score(&items, &right).unwrap() {
            let value = scored.value.unwrap();
            assert!((value - 1.0).abs() < 1e-12, "{} {scored:?}", task.full_name());
        }
    }
}

/// Files that are cut off, or of which bytes have changed, are read or refused; and nothing that is read breaks what follows.
#[test]
fn damaged_files_never_panic() {
    let whole = files();
    let mut refused = 0;
    for task in tasks() {
        for (split, paths) in task.files {
            let Some(path) = paths.iter().find(|path| whole.contains_key(**path)) else { continue };
            let bytes = &whole[*path];
            let mut rng = draws(1, "damage", [bytes.len() as u64, 0]);
            for round in 0..200 {
                let mut damaged = bytes.clone();
                if round % 2 == 0 {
                    damaged.truncate(rng.random_range(0..bytes.len()));
                } else {
                    for _ in 0..rng.random_range(1..6) {
                        let place = rng.random_range(0..damaged.len());
                        let bytes = b"\t\n\r\"{}[],:_019-\xc3\xffA";
                        damaged[place] = bytes[rng.random_range(0..bytes.len())];
                    }
                }
                let mut files = whole.clone();
                files.insert((*path).to_owned(), damaged);
                match task.read(&files, *split) {
                    Ok(items) => {
                        let answers: Vec<_> = items.iter().map(|item| task.extract(item, &item.prompt)).collect();
                        items.iter().for_each(|item| {
                            task.predict(item, &vec![f64::NAN; item.choices.len()], true);
                        });
                        assert!(task.score(&items, &answers).is_ok());
                    }
                    Err(problem) => {
                        refused += 1;
                        assert!(!problem.at.is_empty() && !problem.next.is_empty(), "{problem:?}");
                    }
                }
            }
        }
    }
    assert!(refused > 1000, "only {refused} damages were noticed");
}

#[test]
fn files_that_are_not_there_are_named_with_where_to_get_them() {
    for task in tasks() {
        let problem = task.read(&BTreeMap::new(), task.judged_on).unwrap_err();
        let (_, paths) = task.files.iter().find(|(split, _)| *split == task.judged_on).unwrap();
        assert!(paths.iter().all(|path| problem.at.contains(path)), "{problem:?}");
        assert!(problem.next.contains(task.source), "{problem:?}");
    }
    let problem = crate::task("glue/rte").unwrap().read(&files(), Split::Test).unwrap_err();
    assert!(problem.what.contains("no test rows") && problem.next.contains("validation"), "{problem:?}");
}
