//! What is ranked, task by task: the context and continuations of a fixture's first item, as lm-evaluation-harness states
//! the task.
#![allow(clippy::unwrap_used)]

use crate::fixtures::items;
use crate::task;

#[test]
fn choices_are_ranked_as_the_harness_asks() {
    let cases: [(&str, &str, &[&str]); 22] = [
        ("commonsense/boolq", "Question: is a whale a fish?\nAnswer:", &[" yes", " no"]),
        // The option's own space at its end stays, as it does in the harness.
        ("piqa", "Question: dry a shoe\nAnswer:", &[" put paper into it ", " put it in the sink"]),
        ("social_i_qa", "Q: Ann lent Bo her bike. How does Bo feel?\nA:", &[" robbed", " thankful", " like walking"]),
        (
            "hellaswag",
            "Food: How to boil an egg. Take a pot. Fill it.",
            &[" Eat it.", " Put it on the stove.. Wait.", " Sell it.", " Paint it."],
        ),
        ("arc_easy", "Question: What do plants need?\nAnswer:", &[" light", " shoes", " noise", " oil", " tin"]),
        ("openbookqa", "Fog is likely", &[" in a desert", " by a lake", " in a kiln", " on the moon"]),
        ("glue/cola", "The dog sleeps.\nQuestion: Does this sentence make sense?\nAnswer:", &[" no", " yes"]),
        (
            "glue/sst2",
            "it 's \" a delight \nQuestion: Is this sentence positive or negative?\nAnswer:",
            &[" negative", " positive"],
        ),
        (
            "glue/mrpc",
            "Sentence 1: He said \"yes.\nSentence 2: He agreed.\nQuestion: Do both sentences mean the same thing?\nAnswer:",
            &[" no", " yes"],
        ),
        (
            "glue/qqp",
            "Question 1: How old is it?\nQuestion 2: What is its age?\nQuestion: Do both questions ask the same thing?\nAnswer:",
            &[" no", " yes"],
        ),
        (
            "glue/mnli",
            "It is 5 p.m.\nQuestion: It is late. True, False or Neither?\nAnswer:",
            &[" True", " Neither", " False"],
        ),
        (
            "glue/mnli-mm",
            "All is well.\nQuestion: Not all is well. True, False or Neither?\nAnswer:",
            &[" True", " Neither", " False"],
        ),
        (
            "glue/qnli",
            "Where is it?\nIt is in Rome.\nQuestion: Does this response answer the question?\nAnswer:",
            &[" yes", " no"],
        ),
        ("glue/rte", "Ann, who is 9, won.\nQuestion: Ann won. True or False?\nAnswer:", &[" True", " False"]),
        (
            "glue/wnli",
            "I hit the cup and it broke.\nQuestion: The cup broke. True or False?\nAnswer:",
            &[" False", " True"],
        ),
        ("superglue/boolq", "Whales are mammals.\nQuestion: is a whale a fish?\nAnswer:", &[" no", " yes"]),
        (
            "superglue/cb",
            "He hopes that it rains.\nQuestion: it rains. True, False, or Neither?\nAnswer:",
            &[" True", " False", " Neither"],
        ),
        ("superglue/copa", "The cup broke because", &[" It fell.", " It was blue."]),
        (
            "superglue/multirc",
            "Ann and Bo ran.\nQuestion: Who ran?\nAnswer:",
            &[" Ann\nIs the answer correct? no", " Ann\nIs the answer correct? yes"],
        ),
        ("superglue/rte", "Ann lost.\nQuestion: Ann won. True or False?\nAnswer:", &[" True", " False"]),
        (
            "superglue/wic",
            "Sentence 1: Zoë's bank closed.\nSentence 2: The bank of a river.\nQuestion: Is the word 'bank' used in the \
             same way in the two sentences above?\nAnswer:",
            &[" no", " yes"],
        ),
        (
            "superglue/wsc",
            "Passage: Ann gave Zoë the cup because *she* asked, twice.\nQuestion: In the passage above, does the pronoun \
             \"*she*\" refer to \"*Zoë*\"?\nAnswer:",
            &[" no", " yes"],
        ),
    ];
    for (name, context, continuations) in cases {
        let item = items(task(name).unwrap()).remove(0);
        let got: Vec<&str> = item.choices.iter().map(|choice| choice.continuation.as_str()).collect();
        assert_eq!(got, continuations, "{name}");
        assert!(item.choices.iter().all(|choice| choice.context == context), "{name}: {:?}", item.choices[0].context);
    }
}

/// Partial evaluation: contexts differ, and what follows the blank is scored.
#[test]
fn winogrande_ranks_what_follows_the_blank() {
    let item = items(task("winogrande").unwrap()).remove(0);
    let ranked: Vec<_> =
        item.choices.iter().map(|choice| (choice.context.as_str(), choice.continuation.as_str())).collect();
    let after = " was small.";
    let expected = ["The cup did not fit the box as the cup", "The cup did not fit the box as the box"];
    assert_eq!(ranked, expected.map(|before| (before, after)));
}
