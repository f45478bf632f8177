//! What the command line says.

use std::fmt;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stratune_protocol::{EndReason, Problem, SkippedRow};
use stratune_train::Event;

/// Most characters of a sample: what most terminals show on one line.
const LINE: usize = 100;

/// One event as a line of JSON.
pub fn event(event: &Event) {
    println!("{}", event.line());
}

/// What went wrong, where, and what next.
pub fn problem(problem: &Problem, json: bool) {
    if json {
        event(&Event::Problem(problem.clone()));
    }
    // It is set already when a second problem is told.
    let _ = miette::set_hook(Box::new(|_| whole_lines()));
    eprintln!("{:?}", miette::Report::new(Shown(problem.clone())));
}

/// A terminal breaks long lines by itself; a break of ours would go through names and paths, which nobody could copy.
fn whole_lines() -> Box<dyn miette::ReportHandler> {
    Box::new(miette::MietteHandlerOpts::new().wrap_lines(false).build())
}

/// Rows that were left out, the first of them with their reasons.
pub fn left_out(rows: usize, first: &[SkippedRow]) {
    if rows > 0 {
        eprintln!("         {rows} rows left out:");
        first.iter().take(5).for_each(|row| eprintln!("           {}: {}", row.at, row.why));
    }
}

/// A problem as miette prints it.
#[derive(Debug)]
struct Shown(Problem);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.at.is_empty() {
            write!(f, "{}: ", self.0.at)?;
        }
        write!(f, "{}", self.0.what)
    }
}

impl std::error::Error for Shown {}

impl miette::Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.0.next.is_empty()).then(|| Box::new(&self.0.next) as Box<dyn fmt::Display>)
    }
}

/// A run as a person follows it: a bar, and a line for what is worth keeping.
pub struct Bar {
    bar: ProgressBar,
    loss: f64,
    /// How a search stands.
    search: String,
}

impl Bar {
    /// A bar on standard error; hidden where that is no terminal.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let bar = Self { bar, loss: f64::NAN, search: String::new() };
        bar.style("{msg}");
        bar
    }

    fn style(&self, template: &str) {
        let style = ProgressStyle::with_template(template);
        self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Begun { step, steps, layers, trainable, .. } => {
                self.style("{bar:24} {pos}/{len}  {msg}");
                self.bar.set_length(*steps as u64);
                self.bar.set_position(*step as u64);
                self.line(format!("training {trainable} parameters on {layers} layers, {steps} steps"));
            }
            Event::Step(s) => {
                self.loss = s.loss;
                self.bar.set_position(s.step as u64);
                self.bar.set_message(format!(
                    "loss {:.4}  {:.0} tokens/s  {} left{}",
                    s.loss,
                    s.tokens_per_second,
                    duration(s.seconds_left),
                    self.search
                ));
            }
            Event::Search(s) => {
                let left = s.chances.iter().filter(|chance| **chance > 0.0).count();
                let best = s.sizes.iter().filter(|size| **size > 0).count();
                let (all, share) = (s.sizes.len(), s.unit.share(s.parameters, s.budget));
                self.search = format!("  {left} of {all} modules left  best: {best} with {share}");
                if s.done {
                    self.line(format!("step {}: found {best} of {all} modules, {share}", s.step));
                    for point in &s.front {
                        let has = s.unit.words(point.parameters);
                        self.line(format!("  {has}: loss {:.4} on rows set apart", point.loss));
                    }
                }
            }
            Event::Validation { step, loss, perplexity, best, labels } => {
                let best = if *best { "  best so far" } else { "" };
                let also = match labels {
                    Some(labels) => labels.sentence(),
                    None => format!("perplexity {perplexity:.3}"),
                };
                self.line(format!("step {step}: validation loss {loss:.4}, {also}{best}"));
            }
            Event::Sample { step, prompt, text } => {
                let prompt = one_line(prompt, LINE / 3);
                self.line(one_line(&format!("step {step}: {prompt} → {text}"), LINE));
            }
            Event::Progress { what, done, total } => {
                let far = if *total > 0 { format!(": {done} of {total}") } else { " …".into() };
                self.bar.set_message(format!("{what}{far}"));
            }
            Event::Notice { text } => self.line(format!("note: {text}")),
            Event::Ended { reason, step, seconds, .. } => {
                self.bar.finish_and_clear();
                let reason = match reason {
                    EndReason::Steps => "done",
                    EndReason::EarlyStop => "stopped early: the validation loss no longer falls",
                    EndReason::Stopped if *step == 0 => "stopped",
                    EndReason::Stopped => "stopped, go on with --resume",
                };
                eprintln!("{reason} after {step} steps, {}", duration(*seconds));
            }
            _ => {}
        }
    }

    fn line(&self, text: String) {
        self.bar.suspend(|| eprintln!("{text}"));
    }
}

/// A text as one line of at most so many characters: its lines one after the other, and an ellipsis where it was cut.
fn one_line(text: &str, most: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(most) {
        None => line,
        Some(_) => line.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// A duration such as `4:05 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{}:{:02} min", whole / 60, whole % 60),
        _ => format!("{}:{:02} h", whole / 3600, whole / 60 % 60),
    }
}

/// How far a long row of runs has come, on one line of its own.
pub fn progress(what: &str, done: usize, total: usize) {
    eprint!("\r{what}: step {done} of {total}{}", if done == total { "\n" } else { "" });
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_sample_is_one_line() {
        for (text, most, line) in [
            ("a\n\n b\tc ", 20, "a b c"),
            ("Grüße aus Köln", 14, "Grüße aus Köln"),
            ("Grüße aus Köln", 13, "Grüße aus Kö…"),
            ("", 5, ""),
            ("abc", 0, "…"),
        ] {
            assert_eq!(one_line(text, most), line, "{text:?} in {most}");
        }
    }
}
