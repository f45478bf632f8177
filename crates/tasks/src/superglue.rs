//! SuperGLUE, from the files that its site gives out: JSON lines.

use std::collections::BTreeSet;

use stratune_protocol::Problem;

use crate::answer::Answers;
use crate::classify::Asked;
use crate::files::{Row, Source};
use crate::item::{Choice, Item, Label, response};
use crate::metrics::Metric;
use crate::task::{Family, Paths, Read, Rows, Split, Task};

/// Is the answer to the question yes, as the passage has it?
fn boolq(row: &Row) -> Result<Item, Problem> {
    let (passage, question) = (row.text("passage")?, row.text("question")?);
    let asked = Asked {
        ask: "Please answer the question about the passage with true or false",
        texts: &[("Passage", passage), ("Question", question)],
        answers: &["false", "true"],
        context: format!("{passage}\nQuestion: {question}?\nAnswer:"),
        continuations: &["no", "yes"],
    };
    Ok(asked.item(&row.at, row.class("label", &["false", "true"])?))
}

/// Does somebody who says this hold that to be so?
fn cb(row: &Row) -> Result<Item, Problem> {
    let (premise, hypothesis) = (row.text("premise")?, row.text("hypothesis")?);
    let classes = &["entailment", "contradiction", "neutral"];
    let asked = Asked {
        ask: "Please answer whether the hypothesis follows from the premise, contradicts it, or neither",
        texts: &[("Premise", premise), ("Hypothesis", hypothesis)],
        answers: classes,
        context: format!("{premise}\nQuestion: {hypothesis}. True, False, or Neither?\nAnswer:"),
        continuations: &["True", "False", "Neither"],
    };
    Ok(asked.item(&row.at, row.class("label", classes)?))
}

fn rte(row: &Row) -> Result<Item, Problem> {
    let (premise, hypothesis) = (row.text("premise")?, row.text("hypothesis")?);
    let classes = &["entailment", "not_entailment"];
    let asked = Asked {
        ask: "Please answer whether the second text follows from the first",
        texts: &[("Text 1", premise), ("Text 2", hypothesis)],
        answers: classes,
        context: format!("{premise}\nQuestion: {hypothesis} True or False?\nAnswer:"),
        continuations: &["True", "False"],
    };
    Ok(asked.item(&row.at, row.class("label", classes)?))
}

/// Which of two sentences is the cause, or the effect, of another?
fn copa(row: &Row) -> Result<Item, Problem> {
    let premise = row.text("premise")?;
    let options = [row.text("choice1")?, row.text("choice2")?];
    let (is_effect, right) = (row.class("question", &["cause", "effect"])? == 1, row.class("label", &["0", "1"])?);
    let (asked, connector) = if is_effect { ("effect", "therefore") } else { ("cause", "because") };
    let prompt = format!(
        "Please choose the {asked} of what the sentence says.\n\nSentence: {premise}\n\nAnswer1: {}\n\nAnswer2: {}\n\n\
         Answer format: answer1/answer2",
        options[0], options[1]
    );
    // The sentence goes on, so its full stop is left out.
    let mut sentence = premise.trim().chars();
    sentence.next_back();
    let context = format!("{} {connector}", sentence.as_str());
    let choices = ["answer1", "answer2"].into_iter().zip(options);
    let choices = choices.map(|(answer, option)| Choice::new(answer, context.as_str(), option)).collect();
    Ok(Item::choosing(&row.at, prompt, choices, right, &[premise]))
}

/// Is a word meant in one way in both sentences?
fn wic(row: &Row) -> Result<Item, Problem> {
    let (one, two) = (row.text("sentence1")?, row.text("sentence2")?);
    let (start, end) = (row.number("start1")?, row.number("end1")?);
    let word: String = one.chars().skip(start as usize).take((end - start).max(0.0) as usize).collect();
    let asked = Asked {
        ask: &format!("Please answer whether the word '{word}' means the same in both sentences"),
        texts: &[("Sentence 1", one), ("Sentence 2", two)],
        answers: &["false", "true"],
        context: format!(
            "Sentence 1: {one}\nSentence 2: {two}\nQuestion: Is the word '{word}' used in the same way in the two \
             sentences above?\nAnswer:"
        ),
        continuations: &["no", "yes"],
    };
    let item = asked.item(&row.at, row.class("label", &["false", "true"])?);
    let texts = vec![marked(one, start, end), marked(two, row.number("start2")?, row.number("end2")?)];
    Ok(Item { texts, ..item })
}

/// A text with a part of it between asterisks, by the places of its characters.
fn marked(text: &str, start: f64, end: f64) -> String {
    let (start, end) = (start as usize, (end as usize).max(start as usize));
    let part = |from: usize, to: usize| text.chars().skip(from).take(to - from).collect::<String>();
    format!("{}*{}*{}", part(0, start), part(start, end), part(end, usize::MAX))
}

/// Does a pronoun mean that noun?
fn wsc(row: &Row) -> Result<Item, Problem> {
    let text = row.text("text")?;
    let (noun, pronoun) = (row.text("target.span1_text")?, row.text("target.span2_text")?);
    let place = row.number("target.span2_index")?;
    let before = text.split_whitespace().take(place as usize).collect::<Vec<_>>().join(" ");
    let after: String = text.chars().skip(before.chars().count() + pronoun.chars().count() + 1).collect();
    let marked = detokenized(&format!("{before} *{pronoun}*{after}"));
    let asked = Asked {
        ask: &format!("Please answer whether the pronoun *{pronoun}* in the passage means {noun}"),
        texts: &[("Passage", &marked)],
        answers: &["false", "true"],
        context: format!(
            "Passage: {marked}\nQuestion: In the passage above, does the pronoun \"*{pronoun}*\" refer to \"*{noun}*\"?\n\
             Answer:"
        ),
        continuations: &["no", "yes"],
    };
    let item = asked.item(&row.at, row.class("label", &["false", "true"])?);
    Ok(Item { texts: vec![marked.clone(), noun.to_owned()], ..item })
}

/// A text whose punctuation stands apart, put together as lm-evaluation-harness does it.
fn detokenized(text: &str) -> String {
    let pairs = [
        (" n't", "n't"),
        (" )", ")"),
        ("( ", "("),
        ("\" ", "\""),
        (" \"", "\""),
        (" '", "'"),
        (" .", "."),
        (" ,", ","),
    ];
    pairs.iter().fold(text.to_owned(), |text, (apart, together)| text.replace(apart, together))
}

/// Every answer of every question about a passage is an item, right or wrong for itself.
fn multirc(_: Split, source: &Source) -> Result<Vec<Item>, Problem> {
    let mut items = vec![];
    for row in source.lines()? {
        let passage = row.text("passage.text")?;
        for (number, question) in row.rows("passage.questions", "question")?.iter().enumerate() {
            let asked_for = question.text("question")?;
            for answer in question.rows("answers", "answer")? {
                let offered = answer.text("text")?;
                let asked = Asked {
                    ask: "Please answer whether the answer to the question about the passage is correct",
                    texts: &[("Passage", passage), ("Question", asked_for), ("Answer", offered)],
                    answers: &["false", "true"],
                    context: format!("{passage}\nQuestion: {asked_for}\nAnswer:"),
                    continuations: &[
                        &format!("{offered}\nIs the answer correct? no"),
                        &format!("{offered}\nIs the answer correct? yes"),
                    ],
                };
                let item = asked.item(&answer.at, answer.class("label", &["0", "1"])?);
                let texts = vec![passage.to_owned(), format!("{asked_for} {offered}")];
                items.push(Item { group: Some(format!("{}, question {}", row.at, number + 1)), texts, ..item });
            }
        }
    }
    Ok(items)
}

/// Which of the passage's names is left out of the query?
fn record(_: Split, source: &Source) -> Result<Vec<Item>, Problem> {
    let mut items = vec![];
    for row in source.lines()? {
        let passage = row.text("passage.text")?;
        let names = row.rows("passage.entities", "entity")?;
        let names = names.iter().map(|entity| name(entity, passage)).collect::<Result<BTreeSet<_>, _>>()?;
        let mut highlights = passage.trim().split("\n@highlight\n");
        let story = highlights.next().unwrap_or_default();
        let highlights: String = highlights.map(|text| format!("  - {text}.\n")).collect();
        for query in row.rows("qas", "query")? {
            let text = query.text("query")?;
            let right = query.rows("answers", "answer")?;
            let right = right.iter().map(|answer| Ok(answer.text("text")?.to_owned()));
            let right = right.collect::<Result<BTreeSet<String>, Problem>>()?;
            let Some(first) = right.first() else {
                return Err(query.problem("answers", "the query has no right answer"));
            };
            let choices = names.iter().map(|name| Choice {
                // The query itself is scored, as one more highlight.
                continuation: format!("  - {}", text.replace("@placeholder", name)),
                ..Choice::new(name, format!("{story}\n\n{highlights}"), "")
            });
            items.push(Item {
                at: query.at.clone(),
                prompt: format!(
                    "Please answer which name of the passage belongs where the query says @placeholder.\n\nPassage: \
                     {story}\n\n{highlights}\nQuery: {text}\n\nAnswer format: a name from the passage"
                ),
                response: response(first),
                choices: choices.collect(),
                label: Label::Text(right.iter().cloned().collect()),
                group: None,
                texts: vec![passage.to_owned(), text.to_owned()],
            });
        }
    }
    Ok(items)
}

/// The name at an entity's place, both ends of which are meant.
fn name(entity: &Row, passage: &str) -> Result<String, Problem> {
    let (start, end) = (entity.number("start")?, entity.number("end")?);
    let name: String = passage.chars().skip(start as usize).take((end - start + 1.0).max(0.0) as usize).collect();
    if name.is_empty() { Err(entity.problem("start", "the place is outside the passage")) } else { Ok(name) }
}

const fn superglue(name: &'static str, metrics: &'static [Metric], files: Paths, read: Read) -> Task {
    Task {
        name,
        family: Family::SuperGlue,
        metrics,
        source: "the task's folder from https://super.gluebenchmark.com/tasks; the labels of its test rows are not public",
        judged_on: Split::Validation,
        files,
        answers: Answers::Named,
        read: Rows::Published(read),
    }
}

fn each(source: &Source, item: fn(&Row) -> Result<Item, Problem>) -> Result<Vec<Item>, Problem> {
    source.lines()?.iter().map(item).collect()
}

/// The eight tasks.
pub(crate) static TASKS: &[Task] = &[
    superglue(
        "BoolQ",
        &[Metric::Accuracy],
        &[(Split::Train, &["BoolQ/train.jsonl"]), (Split::Validation, &["BoolQ/val.jsonl"])],
        |_, source| each(source, boolq),
    ),
    superglue(
        "CB",
        &[Metric::Accuracy, Metric::MacroF1],
        &[(Split::Train, &["CB/train.jsonl"]), (Split::Validation, &["CB/val.jsonl"])],
        |_, source| each(source, cb),
    ),
    superglue(
        "COPA",
        &[Metric::Accuracy],
        &[(Split::Train, &["COPA/train.jsonl"]), (Split::Validation, &["COPA/val.jsonl"])],
        |_, source| each(source, copa),
    ),
    superglue(
        "MultiRC",
        &[Metric::F1, Metric::GroupExactMatch],
        &[(Split::Train, &["MultiRC/train.jsonl"]), (Split::Validation, &["MultiRC/val.jsonl"])],
        multirc,
    ),
    superglue(
        "ReCoRD",
        &[Metric::TokenF1, Metric::ExactMatch],
        &[(Split::Train, &["ReCoRD/train.jsonl"]), (Split::Validation, &["ReCoRD/val.jsonl"])],
        record,
    )
    .with_answers(Answers::Text),
    superglue(
        "RTE",
        &[Metric::Accuracy],
        &[(Split::Train, &["RTE/train.jsonl"]), (Split::Validation, &["RTE/val.jsonl"])],
        |_, source| each(source, rte),
    ),
    superglue(
        "WiC",
        &[Metric::Accuracy],
        &[(Split::Train, &["WiC/train.jsonl"]), (Split::Validation, &["WiC/val.jsonl"])],
        |_, source| each(source, wic),
    ),
    superglue(
        "WSC",
        &[Metric::Accuracy],
        &[(Split::Train, &["WSC/train.jsonl"]), (Split::Validation, &["WSC/val.jsonl"])],
        |_, source| each(source, wsc),
    ),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures::{files, items};
    use crate::task;

    #[test]
    fn answers_to_one_question_are_a_group() {
        let items = items(task("multirc").unwrap());
        let groups: Vec<&str> = items.iter().filter_map(|item| item.group.as_deref()).collect();
        let (first, second) = ("MultiRC/val.jsonl, line 1, question 1", "MultiRC/val.jsonl, line 1, question 2");
        assert_eq!(groups, [first, first, second]);
        assert_eq!(items.iter().map(|item| item.label.clone()).collect::<Vec<_>>(), [1, 0, 0].map(Label::Choice));
        assert_eq!(items[1].at, "MultiRC/val.jsonl, line 1, question 1, answer 2");
    }

    #[test]
    fn names_of_a_passage_fill_the_query() {
        let item = items(task("record").unwrap()).remove(0);
        let names: Vec<&str> = item.choices.iter().map(|choice| choice.answer.as_str()).collect();
        // Bo is there twice, and once a choice.
        assert_eq!(names, ["Bo", "Rome", "Zoë"]);
        assert_eq!(item.choices[2].context, "Zoë met Bo in Rome.\n\n  - Bo was late.\n");
        assert_eq!(item.choices[2].continuation, "  - Zoë had waited, said Bo");
        assert_eq!(
            (item.label, item.response.as_str()),
            (Label::Text(vec!["Zoë".into()]), "the correct answer is Zoë")
        );
    }

    #[test]
    fn what_is_asked_about_is_marked_in_the_texts() {
        let texts = |name: &str| items(task(name).unwrap()).remove(0).texts;
        assert_eq!(texts("wic"), ["Zoë's *bank* closed.", "The *bank* of a river."]);
        assert_eq!(texts("wsc"), ["Ann gave Zoë the cup because *she* asked, twice.", "Zoë"]);
    }

    #[test]
    fn places_outside_a_text_do_not_break() {
        let huge = r#"{"word": "b", "sentence1": "a b", "sentence2": "b", "label": true, "start1": 1e300, "end1": -5, "start2": -1, "end2": 1e300}"#;
        let mut files = files();
        files.insert("WiC/val.jsonl".into(), huge.into());
        files.insert(
            "ReCoRD/val.jsonl".into(),
            r#"{"passage": {"text": "a", "entities": [{"start": 4, "end": 9}]}, "qas": []}"#.into(),
        );
        let task = |name| task(name).unwrap();
        assert!(task("wic").read(&files, Split::Validation).is_ok());
        let problem = task("record").read(&files, Split::Validation).unwrap_err();
        assert_eq!(problem.at, "ReCoRD/val.jsonl, line 1, entity 1, field 'start'");
    }
}
