//! A study's table.

use std::fmt::Write;

use crate::{Estimate, Record, Study, Summary};

/// The summary as Markdown: what was asked, the table, and where, when and by which command it was made.
pub fn markdown(study: &Study, summary: &Summary, records: &[Record], command: &str) -> String {
    let mut out = format!("# {}\n\n", study.name);
    if !study.about.is_empty() {
        let _ = writeln!(out, "{}\n", study.about.trim());
    }
    let axes: Vec<&str> = study.axes.iter().map(|axis| axis.name.as_str()).collect();
    let baselines: Vec<&str> = study.axes.iter().filter_map(|axis| axis.baseline.as_deref()).collect();
    let compares = !baselines.is_empty();
    let mut head: Vec<String> = axes.iter().map(ToString::to_string).collect();
    for measure in &summary.measures {
        head.push(measure.title());
        if compares {
            head.push(format!("− {}", baselines.join(", ")));
        }
    }
    let searches = summary.rows.iter().any(|row| row.search_times.is_some());
    let agrees = summary.rows.iter().any(|row| row.agreement.is_some());
    head.extend(["runs", "trainable", "seconds", "tokens/s", "memory"].map(String::from));
    if searches {
        head.push("search ×".into());
    }
    if agrees {
        head.push("agreement".into());
    }
    line(&mut out, &head);
    let rule = (0..head.len()).map(|i| if i < axes.len() { "---" } else { "--:" }.to_string());
    let _ = writeln!(out, "|{}|", rule.collect::<Vec<_>>().join("|"));
    for row in &summary.rows {
        let mut cells = row.values.clone();
        for (value, difference) in &row.measures {
            cells.push(value.map_or("–".into(), |value| of(value, "")));
            if compares {
                cells.push(difference.map_or("–".into(), |difference| of(difference, "+")));
            }
        }
        cells.push(row.runs.to_string());
        cells.push(row.trainable.to_string());
        cells.push(row.seconds.map_or("–".into(), |seconds| format!("{:.1}", seconds.mean)));
        cells.push(row.tokens_per_second.map_or("–".into(), |speed| format!("{:.0}", speed.mean)));
        cells.push(format!("{:.0} MB", row.memory_bytes as f64 / 1e6));
        if searches {
            cells.push(row.search_times.map_or("–".into(), |times| format!("{:.2}", times.mean)));
        }
        if agrees {
            cells.push(row.agreement.map_or("–".into(), |agreement| format!("{agreement:.2}")));
        }
        line(&mut out, &cells);
    }
    out.push_str(
        "\nMeans over seeds, ± half the width of their 95 % interval (Student's t). Differences are of runs with the same \
         seed.",
    );
    if searches {
        out.push_str(" Search ×: its seconds as a multiple of those of training what it found.");
    }
    if agrees {
        out.push_str(" Agreement: how alike the seeds rank the layers, mean of Spearman's correlations.");
    }
    for task in &study.tasks {
        let items = records.iter().flat_map(|record| &record.scores).find(|score| score.task == task.name);
        if let Some(score) = items {
            let _ = write!(out, " {}: {} items, judged by {}.", task.name, score.items, task.judge);
        }
    }
    out.push_str("\n\n");
    let mut made: Vec<String> = Vec::new();
    for record in records {
        let by = format!("{}, {}, stratune {}", record.made.machine, record.made.date, record.made.version);
        if !made.contains(&by) {
            made.push(by);
        }
    }
    let _ = writeln!(out, "Made by `{command}` ({}).", made.join("; "));
    out
}

fn line(out: &mut String, cells: &[String]) {
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// A mean with its interval; `sign` before one that is positive.
fn of(estimate: Estimate, sign: &str) -> String {
    let mean = format!("{:.3}", estimate.mean);
    let mean = if mean.starts_with('-') { mean.replacen('-', "−", 1) } else { format!("{sign}{mean}") };
    match estimate.half_width {
        None => mean,
        Some(half_width) => format!("{mean} ± {half_width:.3}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::study::tests::TWO_AXES;
    use crate::summary::tests::record;

    #[test]
    fn a_table_has_a_column_for_each_measure_and_its_difference() {
        let study = Study::from_toml(TWO_AXES).unwrap();
        let records =
            [record(["r4", "all"], 0, 1.0), record(["r4", "all"], 1, 2.0), record(["r4", "practical"], 0, 0.75)];
        let summary = Summary::of(&study, &records);
        let text = markdown(&study, &summary, &records, "stratune study x.toml");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# which layers");
        assert!(lines[2].starts_with("| rank | layers | validation loss | − all |"), "{text}");
        // The interval of two values, 1 and 2: 12.7062 · 0.5.
        assert!(lines[4].starts_with("| r4 | all | 1.500 ± 6.353 | – |"), "{text}");
        assert!(lines[5].starts_with("| r4 | practical | 0.750 | −0.250 |"), "{text}");
        let cells = |line: &str| line.matches('|').count();
        assert!(lines[2..6].iter().all(|line| cells(line) == cells(lines[2])), "{text}");
        assert!(text.contains("stratune study x.toml"));
    }
}
