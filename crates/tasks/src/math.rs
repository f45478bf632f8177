//! The sets of calculations of LLM-Adapters, and GSM8K as its authors give it out.

use stratune_protocol::Problem;

use crate::answer::{Answers, first_letter, last_number};
use crate::files::{Row, Source};
use crate::item::{Choice, Item, Label};
use crate::metrics::{Metric, is_near};
use crate::task::{Family, Paths, Read, Rows, Split, Task};

const LETTERS: [&str; 5] = ["A", "B", "C", "D", "E"];

/// Rows whose answer is a number.
fn numbers(_: Split, source: &Source) -> Result<Vec<Item>, Problem> {
    let item = |row: &Row| {
        let right = row.number("answer")?;
        // The worked solutions beside the answers are a model's own, and some end elsewhere.
        let solution = worked(row).filter(|text| last_number(text).is_some_and(|got| is_near(got, right)));
        Ok(number(row, row.text("instruction")?, right, solution))
    };
    source.list()?.iter().map(item).collect()
}

/// GSM8K's own rows: a solution in which `<<…>>` are sums for a calculator, and the answer after `####`.
fn gsm8k(split: Split, source: &Source) -> Result<Vec<Item>, Problem> {
    if source.path.ends_with(".json") {
        return numbers(split, source);
    }
    let item = |row: &Row| {
        let solved = row.text("answer")?;
        let Some((solution, right)) = solved.rsplit_once("####") else {
            return Err(row.problem("answer", "the solution has no answer after '####'"));
        };
        let Ok(right) = right.trim().replace(',', "").parse() else {
            return Err(row.problem("answer", "what follows '####' is no number"));
        };
        let mut parts = solution.trim().split("<<");
        let mut text = parts.next().unwrap_or_default().to_owned();
        parts.for_each(|part| text.push_str(part.split_once(">>").map_or(part, |(_, after)| after)));
        Ok(number(row, row.text("question")?, right, Some(format!("{text} The answer is {right}."))))
    };
    source.lines()?.iter().map(item).collect()
}

/// Rows that offer five options, A to E.
fn letters(_: Split, source: &Source) -> Result<Vec<Item>, Problem> {
    let item = |row: &Row| {
        let right = row.class("answer", &LETTERS)?;
        let prompt = row.text("instruction")?;
        let Some((question, options)) = options(prompt) else {
            return Err(row.problem("instruction", "no options A to E stand in the instruction"));
        };
        let solution = worked(row).filter(|text| first_letter(text) == Some(right));
        let context = format!("Question: {question}\nAnswer:");
        let choice = |(letter, option): (&str, &String)| Choice {
            response: format!("The answer is ({letter})."),
            ..Choice::new(letter, context.as_str(), option)
        };
        let choices = LETTERS.into_iter().zip(&options).map(choice).collect();
        let item = Item::choosing(&row.at, prompt.to_owned(), choices, right, &[question]);
        Ok(Item { response: solution.unwrap_or_else(|| item.response.clone()), ..item })
    };
    source.list()?.iter().map(item).collect()
}

/// The solution that stands beside an answer.
fn worked(row: &Row) -> Option<String> {
    let text = row.get("output")?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(row: &Row, question: &str, right: f64, solution: Option<String>) -> Item {
    Item {
        at: row.at.clone(),
        prompt: question.to_owned(),
        response: solution.unwrap_or_else(|| format!("The answer is {right}.")),
        choices: vec![],
        label: Label::Number(right),
        group: None,
        texts: vec![question.trim().to_owned()],
    }
}

/// The question and its five options: AQuA's `Answer Choices: (A) 1 (B) 2 …`, MathQA's `The options: A ) 1 , B ) 2 …`, or
/// that as a list in Python, `['A ) 1', 'B ) 2', …]`.
fn options(prompt: &str) -> Option<(&str, Vec<String>)> {
    let forms = [("Answer Choices:", '(', ")"), ("The options:", ' ', " )")];
    let (head, before, after) = *forms.iter().find(|(head, ..)| prompt.contains(head))?;
    let (question, listed) = prompt.rsplit_once(head)?;
    let is_list = listed.trim_start().starts_with('[');
    let mut rest = listed.split_once(&format!("A{after}"))?.1;
    let mut found = vec![];
    for letter in &LETTERS[1..] {
        let quotes: &[char] = if is_list { &['\'', '"'] } else { &[before] };
        let (option, others) = quotes.iter().find_map(|quote| rest.split_once(&format!("{quote}{letter}{after}")))?;
        found.push(option);
        rest = others;
    }
    found.push(rest);
    let clean = |option: &str| {
        let option = option.trim().trim_end_matches(',').trim();
        let option = if is_list { option.trim_end_matches(']').trim_matches(['\'', '"']) } else { option };
        option.trim().to_owned()
    };
    Some((question.trim(), found.into_iter().map(clean).collect()))
}

const fn set(name: &'static str, answers: Answers, files: Paths, read: Read) -> Task {
    Task {
        name,
        family: Family::Math,
        metrics: &[Metric::Accuracy],
        source: "the folder `dataset` of https://github.com/AGI-Edgerunners/LLM-Adapters",
        judged_on: Split::Test,
        files,
        answers,
        read: Rows::Published(read),
    }
}

/// The sets.
pub(crate) static TASKS: &[Task] = &[
    set(
        "gsm8k",
        Answers::LastNumber,
        &[(Split::Train, &["gsm8k/train.jsonl"]), (Split::Test, &["gsm8k/test.json", "gsm8k/test.jsonl"])],
        gsm8k,
    )
    .with_source(
        "grade_school_math/data of https://github.com/openai/grade-school-math (.jsonl), or the folder `dataset` \
                 of https://github.com/AGI-Edgerunners/LLM-Adapters (test.json)",
    ),
    set("AQuA", Answers::FirstLetter, &[(Split::Test, &["AQuA/test.json"])], letters),
    set("SVAMP", Answers::LastNumber, &[(Split::Test, &["SVAMP/test.json"])], numbers),
    set("AddSub", Answers::LastNumber, &[(Split::Test, &["AddSub/test.json"])], numbers),
    set("MultiArith", Answers::LastNumber, &[(Split::Test, &["MultiArith/test.json"])], numbers),
    set("SingleEq", Answers::LastNumber, &[(Split::Test, &["SingleEq/test.json"])], numbers),
    set("mathqa", Answers::FirstLetter, &[(Split::Test, &["mathqa/test.json"])], letters),
    set("mawps", Answers::LastNumber, &[(Split::Test, &["mawps/test.json"])], numbers),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures::{files, items};
    use crate::task;

    #[test]
    fn options_are_taken_out_of_the_instruction() {
        let options = |name: &str, place: usize| {
            let item = items(task(name).unwrap()).remove(place);
            let options: Vec<String> = item.choices.iter().map(|choice| choice.continuation.clone()).collect();
            (item.choices[0].context.clone(), options)
        };
        let told = |question: &str, options: [&str; 5]| {
            (format!("Question: {question}\nAnswer:"), options.map(|o| format!(" {o}")).to_vec())
        };
        assert_eq!(options("aqua", 0), told("Half of 9 is?", ["4", "4.5", "5", "18", "9 (odd)"]));
        assert_eq!(options("mathqa", 0), told("half of 9 ?", ["4", "4.5", "5", "18", "none"]));
        assert_eq!(options("mathqa", 1), told("ratio of 4 to 8 ?", ["1 : 3", "4 : 5", "2 : 1", "7 : 9", "1 : 2"]));
    }

    /// The solutions of LLM-Adapters are a model's; one that ends in another answer is not trained.
    #[test]
    fn solutions_that_end_elsewhere_are_left_out() {
        let responses = |name: &str, split| {
            let items = task(name).unwrap().read(&files(), split).unwrap();
            items.into_iter().map(|item| item.response).collect::<Vec<_>>()
        };
        assert_eq!(responses("gsm8k", Split::Test), ["A: 3 times 4 is 12. The answer is 12.", "The answer is -1."]);
        assert_eq!(
            responses("gsm8k", Split::Train),
            ["She has 2*500=1,000 nuts in bags.\nThat makes 1000+40=1040. The answer is 1040."]
        );
        // The first capitals from A to E are the C of Cut and the D of Divide, which LLM-Adapters' rule takes for answers.
        assert_eq!(responses("aqua", Split::Test), ["The answer is (B).", "The answer is (A)."]);
    }

    #[test]
    fn a_row_without_number_or_options_is_refused() {
        let cases = [
            ("svamp", "SVAMP/test.json", r#"[{"instruction": "?", "answer": "four"}]"#, "'four' is no number"),
            ("aqua", "AQuA/test.json", r#"[{"instruction": "?", "answer": "A"}]"#, "no options A to E"),
            ("aqua", "AQuA/test.json", r#"[{"instruction": "?", "answer": "F"}]"#, "'F' is no label"),
            ("gsm8k", "gsm8k/test.jsonl", r#"{"question": "?", "answer": "four"}"#, "no answer after '####'"),
            ("gsm8k", "gsm8k/test.jsonl", r#"{"question": "?", "answer": "x #### y"}"#, "is no number"),
        ];
        for (name, path, text, what) in cases {
            let files = std::collections::BTreeMap::from([(path.to_owned(), text.as_bytes().to_vec())]);
            let problem = task(name).unwrap().read(&files, Split::Test).unwrap_err();
            assert!(problem.what.contains(what) && problem.at.starts_with(path), "{problem:?}");
        }
    }
}
