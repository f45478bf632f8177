//! Sets of one text and many classes.

use std::collections::BTreeSet;

use serde_json::Value;
use stratune_protocol::Problem;

use crate::answer::Answers;
use crate::classify::Asked;
use crate::files::{Row, Source};
use crate::item::Item;
use crate::metrics::Metric;
use crate::task::{Family, Paths, Read, Rows, Split, Task};

/// An item of one text; what stands before it and the class is the same for likelihoods and prompts.
fn item(at: &str, ask: &str, text: &str, classes: &[&str], right: usize) -> Item {
    let asked = Asked {
        ask,
        texts: &[("Text", text)],
        answers: classes,
        context: format!("{text}\nClass:"),
        continuations: classes,
    };
    asked.item(at, right)
}

/// CLINC150 in its full form, without the rows that are outside its 150 intents.
fn clinc(split: Split, source: &Source) -> Result<Vec<Item>, Problem> {
    let file: Value = serde_json::from_str(source.text()?).map_err(|error| {
        Problem::input(format!("it is no JSON: {error}"))
            .at(&source.path)
            .next("get the file again; it may have been cut off")
    })?;
    let file = Row { at: source.path.clone(), value: file };
    let pair = |pair: &Row| match pair.value.as_array().map(Vec::as_slice) {
        Some([Value::String(text), Value::String(class)]) => Ok((pair.at.clone(), text.clone(), class.clone())),
        _ => Err(Problem::input("the row is not a text and its intent").at(&pair.at)),
    };
    let rows = |of: &str| file.rows(of, &format!("{of} row"))?.iter().map(pair).collect::<Result<Vec<_>, _>>();
    let classes: BTreeSet<String> = rows("train")?.into_iter().map(|(.., class)| class).collect();
    let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
    let ask = "Please answer which intent the text has";
    let item = |(at, text, class): (String, String, String)| match classes.iter().position(|name| *name == class) {
        Some(right) => Ok(item(&at, ask, &text, &classes, right)),
        None => Err(Problem::input(format!("no row to train on has the intent '{class}'")).at(at)),
    };
    rows(if split == Split::Validation { "val" } else { split.name() })?.into_iter().map(item).collect()
}

/// TREC's six kinds of question. Its files are in Latin-1, a line `DESC:manner How …` each.
fn trec(_: Split, source: &Source) -> Result<Vec<Item>, Problem> {
    let kinds = ["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"];
    let classes = ["abbreviation", "entity", "description", "human", "location", "number"];
    let text: String = source.bytes.iter().map(|&byte| char::from(byte)).collect();
    let item = |(line, text): (usize, &str)| {
        let at = format!("{}, line {}", source.path, line + 1);
        let parts = text.split_once(':').and_then(|(kind, rest)| Some((kind, rest.split_once(' ')?.1)));
        let Some((kind, question)) = parts else {
            return Err(Problem::input("the line does not begin with a kind, such as 'DESC:manner '").at(at));
        };
        let Some(right) = kinds.iter().position(|known| *known == kind.trim()) else {
            return Err(Problem::input(format!("'{}' is none of the kinds {}", kind.trim(), kinds.join(", "))).at(at));
        };
        Ok(item(&at, "Please answer what kind of thing the question asks for", question.trim(), &classes, right))
    };
    text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()).map(item).collect()
}

/// AG News: `class, title, description` as its author gives it out, or `text, name of the class` by tabs.
fn ag_news(_: Split, source: &Source) -> Result<Vec<Item>, Problem> {
    let classes = ["World", "Sports", "Business", "Sci/Tech"];
    let ask = "Please answer which section the news belong to";
    if source.path.ends_with(".tsv") {
        let rows = source.table(Some(&["text", "label"]), false)?;
        return rows
            .iter()
            .map(|row| Ok(item(&row.at, ask, row.text("text")?, &classes, row.class("label", &classes)?)))
            .collect();
    }
    let rows = source.quoted(b',', Some(&["class", "title", "description"]))?;
    let news = |row: &Row| {
        let text = format!("{} {}", row.text("title")?, row.text("description")?);
        Ok(item(&row.at, ask, &text, &classes, row.class("class", &["1", "2", "3", "4"])?))
    };
    rows.iter().map(news).collect()
}

const fn set(name: &'static str, source: &'static str, judged_on: Split, files: Paths, read: Read) -> Task {
    Task {
        name,
        family: Family::Classification,
        metrics: &[Metric::Accuracy, Metric::MacroF1],
        source,
        judged_on,
        files,
        answers: Answers::Named,
        read: Rows::Published(read),
    }
}

/// The sets.
pub(crate) static TASKS: &[Task] = &[
    set(
        "clinc150",
        "data/data_full.json of https://github.com/clinc/oos-eval",
        Split::Test,
        &[
            (Split::Train, &["clinc150/data_full.json"]),
            (Split::Validation, &["clinc150/data_full.json"]),
            (Split::Test, &["clinc150/data_full.json"]),
        ],
        clinc,
    ),
    set(
        "TREC",
        "train_5500.label and TREC_10.label of https://cogcomp.seas.upenn.edu/Data/QA/QC",
        Split::Test,
        &[(Split::Train, &["TREC/train_5500.label"]), (Split::Test, &["TREC/TREC_10.label"])],
        trec,
    ),
    set(
        "ag_news",
        "train.csv and test.csv of Xiang Zhang's character-level convolutional networks, \
         https://github.com/zhangxiangxiao/Crepe; also .tsv files of text and name of the class",
        Split::Test,
        &[
            (Split::Train, &["ag_news/train.csv", "ag_news/train.tsv"]),
            (Split::Validation, &["ag_news/dev.csv", "ag_news/dev.tsv"]),
            (Split::Test, &["ag_news/test.csv", "ag_news/test.tsv"]),
        ],
        ag_news,
    ),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures::{files, items};
    use crate::{Label, task};

    #[test]
    fn classes_of_clinc_are_those_to_train_on() {
        let clinc = task("clinc150").unwrap();
        let items = items(clinc);
        assert_eq!(clinc.labels(&items), ["no", "transfer", "yes"]);
        assert_eq!(items.iter().map(|item| item.label.clone()).collect::<Vec<_>>(), [1, 0].map(Label::Choice));
        assert_eq!(items[1].at, "clinc150/data_full.json, test row 2");
        assert_eq!(clinc.read(&files(), Split::Train).map(|items| items.len()), Ok(3));
        let mut files = files();
        files.insert(
            "clinc150/data_full.json".into(),
            br#"{"train": [["a", "b"]], "test": [["a", "c"]], "val": [1]}"#.to_vec(),
        );
        assert!(clinc.read(&files, Split::Test).unwrap_err().what.contains("'c'"));
        assert_eq!(clinc.read(&files, Split::Validation).unwrap_err().at, "clinc150/data_full.json, val row 1");
    }

    #[test]
    fn trec_is_latin_1() {
        let trec = task("trec").unwrap();
        assert_eq!(items(trec)[0].label, Label::Choice(5));
        let mut files = files();
        files.insert("TREC/TREC_10.label".into(), b"HUM:ind Who is Zo\xeb ?\n".to_vec());
        assert_eq!(trec.read(&files, Split::Test).unwrap()[0].texts, ["Who is Zoë ?"]);
        for (line, told) in
            [("Who is it?", "does not begin with a kind"), ("WHO:x Is it?", "'WHO' is none of the kinds")]
        {
            files.insert("TREC/TREC_10.label".into(), line.into());
            let problem = trec.read(&files, Split::Test).unwrap_err();
            assert!(problem.what.contains(told) && problem.at == "TREC/TREC_10.label, line 1", "{problem:?}");
        }
    }

    #[test]
    fn both_layouts_of_ag_news_are_read() {
        let news = task("ag_news").unwrap();
        let items = items(news);
        assert_eq!(
            (items[0].texts[0].as_str(), items[0].label.clone()),
            ("Profits \"up\" They rose, again.", Label::Choice(2))
        );
        assert_eq!(items[1].at, "ag_news/test.csv, line 2");
        let files =
            std::collections::BTreeMap::from([("ag_news/test.tsv".to_owned(), b"New \"chip\tSci/Tech\n".to_vec())]);
        let items = news.read(&files, Split::Test).unwrap();
        assert_eq!((items[0].texts[0].as_str(), items[0].label.clone()), ("New \"chip", Label::Choice(3)));
    }
}
