//! How well texts are labelled.

use serde::{Deserialize, Serialize};

/// How well held-out texts are labelled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelMetrics {
    /// With classes.
    Classes(Confusion),
    /// With numbers.
    Numbers {
        /// Pearson's correlation; 0 where one side does not vary.
        pearson: f64,
        /// Root of the mean squared difference.
        rmse: f64,
    },
}

/// Rows by their class and by the one that was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// The names of the classes, in order.
    pub labels: Vec<String>,
    /// `rows[right][said]`: how many.
    pub rows: Vec<Vec<u32>>,
}

impl Confusion {
    /// Of classes of these names.
    pub fn new(labels: Vec<String>) -> Self {
        let rows = vec![vec![0; labels.len()]; labels.len()];
        Self { labels, rows }
    }

    /// One more row; numbers of no class are not counted.
    pub fn add(&mut self, right: usize, said: usize) {
        if let Some(count) = self.rows.get_mut(right).and_then(|row| row.get_mut(said)) {
            *count += 1;
        }
    }

    /// How many rows.
    pub fn count(&self) -> u32 {
        self.rows.iter().flatten().sum()
    }

    fn right(&self, class: usize) -> u32 {
        self.rows[class][class]
    }

    /// The share of rows that are labelled right; 0 of none.
    pub fn accuracy(&self) -> f64 {
        let right: u32 = (0..self.rows.len()).map(|class| self.right(class)).sum();
        f64::from(right) / f64::from(self.count().max(1))
    }

    /// F1 of one class: twice the rows that are rightly said to be of it, over those that are and those that are said to be;
    /// 0 where there is none of either.
    pub fn f1(&self, class: usize) -> f64 {
        let are: u32 = self.rows[class].iter().sum();
        let said: u32 = self.rows.iter().map(|row| row[class]).sum();
        f64::from(2 * self.right(class)) / f64::from((are + said).max(1))
    }

    /// The mean of [`f1`](Self::f1) over the classes that some row has or is said to have.
    pub fn macro_f1(&self) -> f64 {
        let seen: Vec<usize> = (0..self.rows.len())
            .filter(|class| self.rows[*class].iter().any(|n| *n > 0) || self.rows.iter().any(|row| row[*class] > 0))
            .collect();
        seen.iter().map(|class| self.f1(*class)).sum::<f64>() / seen.len().max(1) as f64
    }
}

impl LabelMetrics {
    /// Of numbers, with those that are right.
    pub fn of_numbers(said: &[f64], right: &[f64]) -> Self {
        let n = said.len().max(1) as f64;
        let mean = |of: &[f64]| of.iter().sum::<f64>() / n;
        let (of_said, of_right) = (mean(said), mean(right));
        let product = |a: &[f64], b: &[f64], [ma, mb]: [f64; 2]| -> f64 {
            a.iter().zip(b).map(|(a, b)| (a - ma) * (b - mb)).sum()
        };
        let together = product(said, right, [of_said, of_right]);
        let apart = product(said, said, [of_said; 2]) * product(right, right, [of_right; 2]);
        let pearson = if apart > 0.0 { together / apart.sqrt() } else { 0.0 };
        let squares: f64 = said.iter().zip(right).map(|(said, right)| (said - right).powi(2)).sum();
        Self::Numbers { pearson, rmse: (squares / n).sqrt() }
    }

    /// The two numbers with their names, for a line of figures.
    pub fn figures(&self) -> [(&'static str, String); 2] {
        match self {
            Self::Classes(of) => {
                [("accuracy", format!("{:.1} %", 100.0 * of.accuracy())), ("macro F1", format!("{:.3}", of.macro_f1()))]
            }
            Self::Numbers { pearson, rmse } => {
                [("correlation", format!("{pearson:.3}")), ("RMSE", format!("{rmse:.3}"))]
            }
        }
    }

    /// In a few words.
    pub fn sentence(&self) -> String {
        match self {
            Self::Classes(of) => {
                format!("accuracy {:.1} %, macro F1 {:.3}", 100.0 * of.accuracy(), of.macro_f1())
            }
            Self::Numbers { pearson, rmse } => format!("correlation {pearson:.3}, root mean square error {rmse:.3}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scikit-learn's accuracy_score and f1_score(average="macro") of [0,0,1,1,2,2] and [0,1,1,1,2,0].
    #[test]
    fn metrics_of_classes() {
        let mut of = Confusion::new(["a", "b", "c", "d"].map(str::to_owned).to_vec());
        for (right, said) in [(0, 0), (0, 1), (1, 1), (1, 1), (2, 2), (2, 0)] {
            of.add(right, said);
        }
        of.add(7, 0);
        assert_eq!((of.count(), of.rows[2][0]), (6, 1));
        assert!((of.accuracy() - 4.0 / 6.0).abs() < 1e-12);
        // 2·1/4, 2·2/5, 2·1/3; the class without rows is left out.
        assert!((of.macro_f1() - (0.5 + 0.8 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
        assert_eq!(Confusion::default().accuracy(), 0.0);
        let figures = LabelMetrics::Classes(of).figures();
        assert_eq!(figures, [("accuracy", "66.7 %".to_string()), ("macro F1", "0.656".into())]);
    }

    /// numpy.corrcoef of these is 0.9819805.
    #[test]
    fn metrics_of_numbers() {
        let metrics = LabelMetrics::of_numbers(&[1.0, 2.0, 4.0], &[1.0, 2.0, 3.0]);
        let LabelMetrics::Numbers { pearson, rmse } = metrics else { unreachable!("of numbers") };
        assert!((pearson - 0.981_980_5).abs() < 1e-6 && (rmse - (1.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(
            LabelMetrics::of_numbers(&[1.0, 1.0], &[1.0, 2.0]),
            LabelMetrics::Numbers { pearson: 0.0, rmse: 0.5_f64.sqrt() }
        );
    }
}
