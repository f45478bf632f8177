//! The rows of these sets as their authors give them out, which LLM-Adapters' instructions were made of.

use stratune_protocol::Problem;

use crate::files::{Row, Source};

/// A row before it is an instruction.
pub(super) struct Original {
    pub(super) question: String,
    pub(super) options: Vec<String>,
    /// Which option is right.
    pub(super) right: usize,
}

/// Takes the rows of a file.
pub(super) type Originals = fn(&Source) -> Result<Vec<(Row, Original)>, Problem>;

/// `goal`, `sol1` and `sol2`; labels, 0 or 1, are in a file of their own.
pub(super) fn piqa(source: &Source) -> Result<Vec<(Row, Original)>, Problem> {
    let original = |row: &Row| Ok((row.text("goal")?.to_owned(), texts(row, &["sol1", "sol2"])?));
    labelled(source, &["0", "1"], original)
}

/// `context`, `question` and three answers; labels, 1 to 3, are in a file of their own.
pub(super) fn social_iqa(source: &Source) -> Result<Vec<(Row, Original)>, Problem> {
    let original = |row: &Row| {
        let question = format!("{} {}", row.text("context")?, row.text("question")?);
        Ok((question, texts(row, &["answerA", "answerB", "answerC"])?))
    };
    labelled(source, &["1", "2", "3"], original)
}

/// A beginning in two parts, before which the activity is said, and four endings.
pub(super) fn hellaswag(source: &Source) -> Result<Vec<(Row, Original)>, Problem> {
    each(source, |row| {
        let (activity, first, second) = (row.text("activity_label")?, row.text("ctx_a")?, row.text("ctx_b")?);
        let mut letters = second.chars();
        let capital: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        let options = row.rows("endings", "ending")?;
        let options = options.iter().map(|ending| match ending.value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(Problem::input("the ending is not text").at(&ending.at)),
        });
        let options = options.collect::<Result<Vec<_>, _>>()?;
        let places: Vec<String> = (0..options.len()).map(|place| place.to_string()).collect();
        Ok(Original {
            question: format!("{activity}: {first} {capital}{}", letters.as_str().to_lowercase()),
            right: row.class("label", &places)?,
            options,
        })
    })
}

/// A `sentence` with a blank and two options.
pub(super) fn winogrande(source: &Source) -> Result<Vec<(Row, Original)>, Problem> {
    each(source, |row| {
        Ok(Original {
            question: row.text("sentence")?.to_owned(),
            options: texts(row, &["option1", "option2"])?,
            right: row.class("answer", &["1", "2"])?,
        })
    })
}

/// ARC and OpenBookQA: a stem, and choices with labels of their own.
pub(super) fn ai2(source: &Source) -> Result<Vec<(Row, Original)>, Problem> {
    each(source, |row| {
        let choices = row.rows("question.choices", "choice")?;
        let labels = choices.iter().map(|choice| choice.word("label")).collect::<Result<Vec<_>, _>>()?;
        Ok(Original {
            question: row.text("question.stem")?.to_owned(),
            options: choices
                .iter()
                .map(|choice| Ok(choice.text("text")?.to_owned()))
                .collect::<Result<_, Problem>>()?,
            right: row.class("answerKey", &labels)?,
        })
    })
}

fn texts(row: &Row, fields: &[&str]) -> Result<Vec<String>, Problem> {
    fields.iter().map(|field| Ok(row.text(field)?.to_owned())).collect()
}

fn each(source: &Source, of: impl Fn(&Row) -> Result<Original, Problem>) -> Result<Vec<(Row, Original)>, Problem> {
    source.lines()?.into_iter().map(|row| of(&row).map(|original| (row, original))).collect()
}

/// Question and options of each row, with the label from the line of the same number of `…-labels.lst`.
fn labelled(
    source: &Source,
    labels: &[&str],
    of: impl Fn(&Row) -> Result<(String, Vec<String>), Problem>,
) -> Result<Vec<(Row, Original)>, Problem> {
    let name = source.path.rsplit('/').next().unwrap_or_default();
    let beside = source.beside(&format!("{}-labels.lst", name.trim_end_matches(".jsonl")))?;
    let listed: Vec<&str> = beside.text()?.split_whitespace().collect();
    let rows = source.lines()?;
    if rows.len() != listed.len() {
        let what = format!("there are {} labels for the {} rows of {}", listed.len(), rows.len(), source.path);
        return Err(Problem::input(what).at(&beside.path).next("get both files again"));
    }
    let original = |(row, label): (Row, &str)| {
        let (question, options) = of(&row)?;
        let Some(right) = labels.iter().position(|known| *known == label) else {
            let what = format!("'{label}' is no label of the task; its labels are {}", labels.join(", "));
            return Err(Problem::input(what).at(format!("{}, for {}", beside.path, row.at)));
        };
        Ok((row, Original { question, options, right }))
    };
    rows.into_iter().zip(listed).map(original).collect()
}
