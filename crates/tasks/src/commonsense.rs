//! The eight sets of LLM-Adapters. A row is an instruction, and the word that answers it; question and options are
//! taken out of the instruction, to rank them by likelihood as lm-evaluation-harness asks.

use stratune_protocol::Problem;

use crate::answer::Answers;
use crate::files::{Row, Source};
use crate::item::{Choice, Item};
use crate::metrics::Metric;
use crate::task::{Family, Split, Task};

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
    /// Context and continuation of each option, as lm-evaluation-harness asks.
    rank: fn(&str, &[&str]) -> Vec<(String, String)>,
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
        let (before, rest) = question.split_once('_').unwrap_or((question, ""));
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
    fn item(&self, row: &Row, prompt: String, question: &str, options: &[&str], right: usize) -> Item {
        let ranked = (self.rank)(question, options).into_iter().zip(self.words(options.len()));
        let choices = ranked.map(|((context, text), word)| Choice::new(word, context, &text)).collect();
        Item::choosing(&row.at, prompt, choices, right, &[question])
    }

    /// Rows as LLM-Adapters writes them.
    fn read(&self, source: &Source) -> Result<Vec<Item>, Problem> {
        source.list()?.iter().map(|row| self.adapters(row)).collect()
    }

    fn adapters(&self, row: &Row) -> Result<Item, Problem> {
        let instruction = row.text("instruction")?;
        let Some((question, options)) = self.parse(instruction) else {
            return Err(row
                .problem("instruction", "the instruction is not of the form that LLM-Adapters gives the task")
                .next(format!("it begins '{}' and ends '{FORMAT}{}'", self.ask.trim(), self.words(2).join("/"))));
        };
        let right = row.class("answer", &self.words(options.len()))?;
        Ok(self.item(row, instruction.to_owned(), question, &options, right))
    }
}

const fn set(
    name: &'static str,
    words: &'static [&'static str],
    files: &'static [(Split, &'static [&'static str])],
    read: crate::task::Read,
) -> Task {
    Task {
        name,
        family: Family::Commonsense,
        metrics: &[Metric::Accuracy],
        source: "the folder `dataset` of https://github.com/AGI-Edgerunners/LLM-Adapters",
        judged_on: Split::Test,
        files,
        answers: Answers::FirstWord(words),
        read,
    }
}

const ANSWERS: &[&str] = &["answer1", "answer2", "answer3", "answer4", "answer5"];

/// The eight, in the order of the papers' tables.
pub(crate) static TASKS: &[Task] = &[
    set(
        "boolq",
        &["true", "false"],
        &[(Split::Train, &["boolq/train.json"]), (Split::Test, &["boolq/test.json"])],
        |_, source| BOOLQ.read(source),
    ),
    set(
        "piqa",
        &["solution1", "solution2"],
        &[(Split::Train, &["piqa/train.json"]), (Split::Test, &["piqa/test.json"])],
        |_, source| PIQA.read(source),
    ),
    set(
        "social_i_qa",
        ANSWERS,
        &[(Split::Train, &["social_i_qa/train.json"]), (Split::Test, &["social_i_qa/test.json"])],
        |_, source| SOCIAL_IQA.read(source),
    ),
    set(
        "hellaswag",
        &["ending1", "ending2", "ending3", "ending4"],
        &[(Split::Train, &["hellaswag/train.json"]), (Split::Test, &["hellaswag/test.json"])],
        |_, source| HELLASWAG.read(source),
    ),
    set(
        "winogrande",
        &["option1", "option2"],
        &[(Split::Train, &["winogrande/train.json"]), (Split::Test, &["winogrande/test.json"])],
        |_, source| WINOGRANDE.read(source),
    ),
    set(
        "ARC-Easy",
        ANSWERS,
        &[(Split::Train, &["ARC-Easy/train.json"]), (Split::Test, &["ARC-Easy/test.json"])],
        |_, source| ARC.read(source),
    ),
    set(
        "ARC-Challenge",
        ANSWERS,
        &[(Split::Train, &["ARC-Challenge/train.json"]), (Split::Test, &["ARC-Challenge/test.json"])],
        |_, source| ARC.read(source),
    ),
    set(
        "openbookqa",
        ANSWERS,
        &[(Split::Train, &["openbookqa/train.json"]), (Split::Test, &["openbookqa/test.json"])],
        |_, source| OPENBOOKQA.read(source),
    ),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Label, Prediction, task};
    use std::collections::BTreeMap;

    #[test]
    fn an_instruction_is_parted_into_question_and_options() {
        let text = r#"[{"instruction": "Please choose the correct answer to fill in the blank to complete the given sentence: The cup did not fit the box as _ was small.\n\nOption1: cup Option2: box Answer format: option1/option2", "input": "", "output": "the correct answer is option2", "answer": "option2"}]"#;
        let files = BTreeMap::from([("winogrande/test.json".to_owned(), text.as_bytes().to_vec())]);
        let task = task("WinoGrande").unwrap();
        let items = task.read(&files, Split::Test).unwrap();
        let [item] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!((item.label.clone(), item.response.as_str()), (Label::Choice(1), "the correct answer is option2"));
        assert_eq!(item.choices[1].context, "The cup did not fit the box as box");
        assert_eq!(item.choices[1].continuation, " was small.");
        assert_eq!(item.at, "winogrande/test.json, row 1");
        assert_eq!(task.extract(item, &item.response), Some(Prediction::Choice(1)));
        assert_eq!(task.predict(item, &[-3.0, -2.0], false), Some(Prediction::Choice(1)));
    }
}
