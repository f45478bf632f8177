//! The eight sets of LLM-Adapters. A row is an instruction, and the word that answers it; question and options are
//! taken out of the instruction, to rank them by likelihood as lm-evaluation-harness asks. Original rows are made into
//! the same instructions.

mod original;

use stratune_protocol::Problem;

use original::{Original, Originals, ai2, hellaswag, piqa, social_iqa, winogrande};

use crate::answer::Answers;
use crate::files::{Row, Source};
use crate::item::{Choice, Item};
use crate::metrics::Metric;
use crate::task::{Family, Paths, Read, Rows, Split, Task};

/// Context and continuation of each option of a question; nothing if the question has not what the set needs.
type Rank = fn(&str, &[&str]) -> Vec<(String, String)>;

/// How the instructions of a set are written.
struct Form {
    /// What stands before the question.
    ask: &'static str,
    /// How its options are called, `Answer` for "Answer1: …"; empty where the answer is true or false.
    option: &'static str,
    /// What parts options.
    between: &'static str,
    /// What parts the last option, or the question if there are none, from the line that says which answers there are.
    end: &'static str,
    /// What is ranked, as lm-evaluation-harness asks.
    rank: Rank,
}

/// What stands before the answers that there are.
const FORMAT: &str = "Answer format: ";

const BOOLQ: Form = Form {
    ask: "Please answer the following question with true or false, question: ",
    option: "",
    between: "",
    end: "\n\n",
    // The harness puts a passage before the question, which these files leave out.
    rank: |question, _| {
        let context = format!("Question: {}?\nAnswer:", question.trim_end_matches('?'));
        vec![(context.clone(), "yes".into()), (context, "no".into())]
    },
};
const PIQA: Form = Form {
    ask: "Please choose the correct solution to the question: ",
    option: "Solution",
    between: "\n\n",
    end: "\n\n",
    rank: |question, options| after(&format!("Question: {question}\nAnswer:"), options),
};
const SOCIAL_IQA: Form = Form {
    ask: "Please choose the correct answer to the question: ",
    option: "Answer",
    between: " ",
    end: "\n\n",
    rank: |question, options| after(&format!("Q: {question}\nA:"), options),
};
const ARC: Form = Form { rank: PIQA.rank, ..SOCIAL_IQA };
const OPENBOOKQA: Form = Form { rank: after, ..SOCIAL_IQA };
const HELLASWAG: Form = Form {
    ask: "Please choose the correct ending to complete the given sentence: ",
    option: "Ending",
    between: " ",
    end: "\n\n",
    rank: |question, options| {
        let cleaned: Vec<String> = options.iter().map(|option| without_brackets(option)).collect();
        after(&without_brackets(question), &cleaned.iter().map(String::as_str).collect::<Vec<_>>())
    },
};
const WINOGRANDE: Form = Form {
    ask: "Please choose the correct answer to fill in the blank to complete the given sentence: ",
    option: "Option",
    between: " ",
    end: " ",
    // Partial evaluation: each option stands in the blank, and what follows the blank is scored.
    rank: |question, options| {
        let Some((before, rest)) = question.split_once('_') else { return vec![] };
        options.iter().map(|option| (format!("{before}{option}"), rest.trim().to_owned())).collect()
    },
};

/// Every option after one context.
fn after(context: &str, options: &[&str]) -> Vec<(String, String)> {
    options.iter().map(|&option| (context.to_owned(), option.to_owned())).collect()
}

/// HellaSwag's texts without the marks that WikiHow's pages left in them, as lm-evaluation-harness cleans them.
fn without_brackets(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, mark)) = rest.split_once('[') {
        // A mark ends on its line.
        let Some(end) = mark.find(']').filter(|&end| !mark[..end].contains('\n')) else {
            clean.push_str(before);
            clean.push('[');
            rest = mark;
            continue;
        };
        clean.push_str(before);
        rest = &mark[end + 1..];
    }
    clean.push_str(rest);
    clean.replace("  ", " ")
}

impl Form {
    /// The instruction for a question, as LLM-Adapters writes it.
    fn instruction(&self, question: &str, options: &[&str]) -> String {
        let Self { ask, option, between, end, .. } = self;
        let listed: Vec<String> = options.iter().zip(1..).map(|(text, n)| format!("{option}{n}: {text}")).collect();
        let listed = if listed.is_empty() { String::new() } else { format!("\n\n{}", listed.join(between)) };
        format!("{ask}{question}{listed}{end}{FORMAT}{}", self.words(options.len()).join("/"))
    }

    /// The answers that there are.
    fn words(&self, options: usize) -> Vec<String> {
        if self.option.is_empty() {
            return vec!["true".into(), "false".into()];
        }
        (1..=options).map(|n| format!("{}{n}", self.option.to_lowercase())).collect()
    }

    /// Question and options of an instruction, none if it is not of this form.
    fn parse<'a>(&self, instruction: &'a str) -> Option<(&'a str, Vec<&'a str>)> {
        let (body, words) = instruction.strip_prefix(self.ask)?.rsplit_once(FORMAT)?;
        let body = body.strip_suffix(self.end)?;
        if self.option.is_empty() {
            return Some((body, vec![]));
        }
        let (question, mut rest) = body.split_once(&format!("\n\n{}1:", self.option))?;
        let mut options = vec![];
        for n in 2..=words.split('/').count() {
            let (option, others) = rest.split_once(&format!("{}{}{n}:", self.between, self.option))?;
            options.push(option);
            rest = others;
        }
        options.push(rest);
        let options = options.into_iter().map(|option| option.strip_prefix(' ').unwrap_or(option)).collect();
        Some((question, options))
    }

    /// An item with its choices.
    fn item(&self, row: &Row, prompt: String, question: &str, options: &[&str], right: usize) -> Result<Item, Problem> {
        let ranked = (self.rank)(question, options);
        if ranked.is_empty() {
            return Err(Problem::input("the sentence has no blank '_'").at(&row.at));
        }
        let choices = ranked.into_iter().zip(self.words(options.len()));
        let choices = choices.map(|((context, text), word)| Choice::new(word, context, &text)).collect();
        Ok(Item::choosing(&row.at, prompt, choices, right, &[question]))
    }

    /// Rows as LLM-Adapters writes them, or in files that end in `.jsonl` as the set's authors do.
    fn read(&self, source: &Source, originals: Originals) -> Result<Vec<Item>, Problem> {
        if source.path.ends_with(".json") {
            return source.list()?.iter().map(|row| self.adapters(row)).collect();
        }
        let item = |(row, original): &(Row, Original)| {
            let options: Vec<&str> = original.options.iter().map(String::as_str).collect();
            let prompt = self.instruction(&original.question, &options);
            self.item(row, prompt, &original.question, &options, original.right)
        };
        originals(source)?.iter().map(item).collect()
    }

    fn adapters(&self, row: &Row) -> Result<Item, Problem> {
        let instruction = row.text("instruction")?;
        let Some((question, options)) = self.parse(instruction) else {
            return Err(row
                .problem("instruction", "the instruction is not of the form that LLM-Adapters gives the task")
                .next(format!("it begins '{}' and ends '{FORMAT}{}'", self.ask.trim(), self.words(2).join("/"))));
        };
        let right = row.class("answer", &self.words(options.len()))?;
        self.item(row, instruction.to_owned(), question, &options, right)
    }
}

const fn set(name: &'static str, words: &'static [&'static str], files: Paths, read: Read) -> Task {
    Task {
        name,
        family: Family::Commonsense,
        metrics: &[Metric::Accuracy],
        source: "the folder `dataset` of https://github.com/AGI-Edgerunners/LLM-Adapters (.json), or its authors' files (.jsonl)",
        judged_on: Split::Test,
        files,
        answers: Answers::FirstWord(words),
        read: Rows::Published(read),
    }
}

const ANSWERS: &[&str] = &["answer1", "answer2", "answer3", "answer4", "answer5"];

/// The eight, in the order of the papers' tables.
pub(crate) static TASKS: &[Task] = &[
    set(
        "boolq",
        &["true", "false"],
        &[(Split::Train, &["boolq/train.json"]), (Split::Test, &["boolq/test.json"])],
        // The rows of its authors have a passage, and are SuperGLUE's.
        |_, source| source.list()?.iter().map(|row| BOOLQ.adapters(row)).collect(),
    ),
    set(
        "piqa",
        &["solution1", "solution2"],
        &[
            (Split::Train, &["piqa/train.json", "piqa/train.jsonl"]),
            (Split::Validation, &["piqa/valid.jsonl", "piqa/dev.jsonl"]),
            (Split::Test, &["piqa/test.json"]),
        ],
        |_, source| PIQA.read(source, piqa),
    ),
    set(
        "social_i_qa",
        ANSWERS,
        &[
            (Split::Train, &["social_i_qa/train.json", "social_i_qa/train.jsonl"]),
            (Split::Validation, &["social_i_qa/dev.jsonl"]),
            (Split::Test, &["social_i_qa/test.json"]),
        ],
        |_, source| SOCIAL_IQA.read(source, social_iqa),
    ),
    set(
        "hellaswag",
        &["ending1", "ending2", "ending3", "ending4"],
        &[
            (Split::Train, &["hellaswag/train.json", "hellaswag/hellaswag_train.jsonl"]),
            (Split::Validation, &["hellaswag/hellaswag_val.jsonl"]),
            (Split::Test, &["hellaswag/test.json"]),
        ],
        |_, source| HELLASWAG.read(source, hellaswag),
    ),
    set(
        "winogrande",
        &["option1", "option2"],
        &[
            (Split::Train, &["winogrande/train.json", "winogrande/train_xl.jsonl"]),
            (Split::Validation, &["winogrande/dev.jsonl"]),
            (Split::Test, &["winogrande/test.json"]),
        ],
        |_, source| WINOGRANDE.read(source, winogrande),
    ),
    set(
        "ARC-Easy",
        ANSWERS,
        &[
            (Split::Train, &["ARC-Easy/train.json", "ARC-Easy/ARC-Easy-Train.jsonl"]),
            (Split::Validation, &["ARC-Easy/ARC-Easy-Dev.jsonl"]),
            (Split::Test, &["ARC-Easy/test.json", "ARC-Easy/ARC-Easy-Test.jsonl"]),
        ],
        |_, source| ARC.read(source, ai2),
    ),
    set(
        "ARC-Challenge",
        ANSWERS,
        &[
            (Split::Train, &["ARC-Challenge/train.json", "ARC-Challenge/ARC-Challenge-Train.jsonl"]),
            (Split::Validation, &["ARC-Challenge/ARC-Challenge-Dev.jsonl"]),
            (Split::Test, &["ARC-Challenge/test.json", "ARC-Challenge/ARC-Challenge-Test.jsonl"]),
        ],
        |_, source| ARC.read(source, ai2),
    ),
    set(
        "openbookqa",
        ANSWERS,
        &[
            (Split::Train, &["openbookqa/train.json", "openbookqa/train.jsonl"]),
            (Split::Validation, &["openbookqa/dev.jsonl"]),
            (Split::Test, &["openbookqa/test.json", "openbookqa/test.jsonl"]),
        ],
        |_, source| OPENBOOKQA.read(source, ai2),
    ),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures::{files, items};
    use crate::{Label, task};
    use std::collections::BTreeMap;

    /// What lm-evaluation-harness's `preprocess` gives for these texts.
    #[test]
    fn marks_of_wikihow_are_left_out() {
        let cases = [
            ("[header] A [title] B. [step] C", " A. B. C"),
            (" a [substeps] b  c", "a b c"),
            ("a [b [c] d] e", "a d] e"),
            ("a [b\n] c", "a [b\n] c"),
            ("a [b", "a [b"),
            ("[]x", "x"),
        ];
        for (text, expected) in cases {
            assert_eq!(without_brackets(text), expected, "{text}");
        }
    }

    #[test]
    fn original_rows_become_the_same_items() {
        for name in ["piqa", "social_i_qa", "winogrande"] {
            let task = task(name).unwrap();
            let original = task.read(&files(), Split::Validation).unwrap();
            let adapted = items(task);
            assert_eq!((&original[0].prompt, &original[0].choices), (&adapted[0].prompt, &adapted[0].choices));
            assert_eq!(original[0].label, adapted[0].label);
        }
        let item = task("hellaswag").unwrap().read(&files(), Split::Validation).unwrap().remove(0);
        assert_eq!(item.choices[1].context, "Boiling eggs: A pot stands there. The cook");
        assert_eq!((item.choices[1].continuation.as_str(), item.label), (" sleeps long.", Label::Choice(3)));
        let item = items(task("arc_challenge").unwrap()).remove(0);
        assert!(
            item.prompt.ends_with("Answer1: shoes Answer2: light\n\nAnswer format: answer1/answer2"),
            "{}",
            item.prompt
        );
    }

    #[test]
    fn a_row_of_another_task_or_without_its_answer_is_refused() {
        let told = |text: &str| {
            let files = BTreeMap::from([("boolq/test.json".to_owned(), text.as_bytes().to_vec())]);
            let problem = task("boolq").unwrap().read(&files, Split::Test).unwrap_err();
            format!("{} | {} | {}", problem.what, problem.at, problem.next)
        };
        let ask = BOOLQ.instruction("is it", &[]);
        let row = |instruction: &str, answer: &str| {
            serde_json::json!([{"instruction": instruction, "answer": answer}]).to_string()
        };
        let told_of = |instruction: &str, answer: &str| told(&row(instruction, answer));
        assert!(
            told_of(&PIQA.instruction("x", &["a", "b"]), "solution1")
                .contains("boolq/test.json, row 1, field 'instruction'")
        );
        assert!(told_of(&ask, "maybe").contains("'maybe' is no label of the task; its labels are true, false"));
        assert!(told(r#"[{"instruction": 3}]"#).contains("the field is not text"));
        assert!(told("[{\"answer\": \"true\"}]").contains("the row has no field 'instruction'; its fields are answer"));
        let mut files = files();
        files.insert(
            "winogrande/dev.jsonl".into(),
            r#"{"sentence": "x", "option1": "a", "option2": "b", "answer": "1"}"#.into(),
        );
        let problem = task("winogrande").unwrap().read(&files, Split::Validation).unwrap_err();
        assert_eq!(
            (problem.what.as_str(), problem.at.as_str()),
            ("the sentence has no blank '_'", "winogrande/dev.jsonl, line 1")
        );
        assert!(told("[1]").contains("its fields are none"));
        assert!(told("[]").contains("the file has no rows"));
        assert!(told("[{").contains("may have been cut off"));
        assert!(told("{}").contains("no list in JSON"));
    }

    #[test]
    fn labels_beside_rows_are_as_many_and_known() {
        for (labels, told) in [("0\n1\n", "2 labels for the 1 rows"), ("7\n", "'7' is no label"), ("", "0 labels")] {
            let mut files = files();
            files.insert("piqa/valid-labels.lst".into(), labels.as_bytes().to_vec());
            let problem = task("piqa").unwrap().read(&files, Split::Validation).unwrap_err();
            assert!(problem.what.contains(told) && problem.at.contains("valid-labels.lst"), "{problem:?}");
        }
        let mut files = files();
        files.remove("piqa/valid-labels.lst");
        let problem = task("piqa").unwrap().read(&files, Split::Validation).unwrap_err();
        assert_eq!(problem.at, "piqa/valid-labels.lst");
    }
}
