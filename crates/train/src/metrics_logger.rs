//! Logs the metrics of steps. They are read from the device while the next step runs.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use burn::tensor::Tensor;
use futures::future::{FusedFuture, LocalBoxFuture, MaybeDone, maybe_done};
use stratune_protocol::{Problem, ProblemKind, StepReport};
use stratune_runtime::{Stopwatch, read_scalars};

use crate::{Event, TrainerCallback};

/// Most steps between two readings, whatever the run asks for. A device never has more than twice as many before it, so
/// that it does not go on for long after a person has stopped it.
const MAX: usize = 8;

/// A step that was launched: its numbers are still on the device.
pub struct StepMetrics {
    /// What is known of it.
    pub report: StepReport,
    /// Summed over the labels, `[1]`.
    pub loss: Tensor<1>,
    /// Learned tokens.
    pub labelled: usize,
    /// Of the gradient, `[1]`.
    pub norm: Tensor<1>,
}

/// Logs the metrics of steps, in their order.
pub struct MetricsLogger {
    /// Of the run.
    steps: usize,
    clock: Stopwatch,
    pending: Vec<StepMetrics>,
    reading: Option<Reading>,
}

/// Numbers that the device has been asked for.
type PendingNumbers = MaybeDone<LocalBoxFuture<'static, Result<Vec<f64>, Problem>>>;

/// Numbers that are being read, two for each step.
struct Reading {
    reports: Vec<(StepReport, usize)>,
    numbers: Pin<Box<PendingNumbers>>,
}

impl Reading {
    /// Asks the device for the numbers of some steps, in one go: behind what it was asked for before, and before what comes
    /// after.
    async fn begin(pending: Vec<StepMetrics>) -> Self {
        let numbers = pending.iter().flat_map(|step| [step.loss.clone(), step.norm.clone()]).collect();
        let reports = pending.into_iter().map(|step| (step.report, step.labelled)).collect();
        let reading: LocalBoxFuture<'static, _> = Box::pin(read_scalars(numbers));
        let mut numbers = Box::pin(maybe_done(reading));
        // The device is asked when the future is looked at for the first time.
        poll_fn(|context| Poll::Ready(numbers.as_mut().poll(context).is_ready())).await;
        Self { reports, numbers }
    }

    /// Whether the numbers are there, as those of a CPU are at once.
    fn is_ready(&self) -> bool {
        self.numbers.is_terminated()
    }
}

impl MetricsLogger {
    /// Of a run of so many steps.
    pub fn new(steps: usize) -> Self {
        Self { steps, clock: Stopwatch::start(), pending: Vec::new(), reading: None }
    }

    /// Adds a step.
    pub fn push(&mut self, step: StepMetrics) {
        self.pending.push(step);
    }

    /// Whether it is time for a reading.
    pub fn is_full(&self) -> bool {
        self.pending.len() >= MAX
    }

    /// Begins to read the numbers of the steps since the last reading, and logs those of the reading before.
    ///
    /// # Errors
    /// The device fails, or a loss is not finite.
    pub async fn log(&mut self, callback: &mut dyn TrainerCallback) -> Result<(), Problem> {
        let next = Reading::begin(std::mem::take(&mut self.pending)).await;
        let mut ready: Vec<Reading> = self.reading.replace(next).into_iter().collect();
        ready.extend(self.reading.take_if(|reading| reading.is_ready()));
        self.log_readings(ready, callback).await
    }

    /// Logs all of it.
    ///
    /// # Errors
    /// The device fails, or a loss is not finite.
    pub async fn finish(&mut self, callback: &mut dyn TrainerCallback) -> Result<(), Problem> {
        let next = Reading::begin(std::mem::take(&mut self.pending)).await;
        let all = self.reading.take().into_iter().chain([next]).collect();
        self.log_readings(all, callback).await
    }

    /// Something else took time: the next step begins now.
    pub fn restart(&mut self) {
        self.clock = Stopwatch::start();
    }

    async fn log_readings(
        &mut self,
        readings: Vec<Reading>,
        callback: &mut dyn TrainerCallback,
    ) -> Result<(), Problem> {
        let mut logged = Vec::new();
        for Reading { reports, mut numbers } in readings {
            numbers.as_mut().await;
            let numbers = numbers.as_mut().take_output().unwrap_or_else(|| Ok(Vec::new()))?;
            logged.extend(reports.into_iter().zip(numbers.chunks(2).map(|two| [two[0], two[1]]).collect::<Vec<_>>()));
        }
        if logged.is_empty() {
            return Ok(());
        }
        // From one log to the next the device does as many steps as are logged.
        let seconds = std::mem::replace(&mut self.clock, Stopwatch::start()).seconds().max(1e-9);
        let tokens: u64 = logged.iter().map(|((report, _), _)| report.tokens).sum();
        let each = seconds / logged.len() as f64;
        for ((report, labelled), [loss, gradient_norm]) in logged {
            let loss = loss / labelled.max(1) as f64;
            if !(loss.is_finite() && gradient_norm.is_finite()) {
                let what = if loss.is_finite() { "gradient's norm" } else { "loss" };
                let number = if loss.is_finite() { gradient_norm } else { loss };
                return Err(not_finite(report.step, what, number));
            }
            let seconds_left = self.steps.saturating_sub(report.step) as f64 * each;
            let tokens_per_second = tokens as f64 / seconds;
            callback.emit(Event::Step(StepReport { loss, gradient_norm, tokens_per_second, seconds_left, ..report }));
        }
        Ok(())
    }
}

/// What to do where numbers have left the range of floats.
pub const ADVICE: &str =
    "lower the learning rate or set clip_norm, and start anew; if compute_dtype is f16, set it to f32";

/// What ends a run in which a number is none.
pub fn not_finite(step: usize, what: &str, number: f64) -> Problem {
    Problem::new(ProblemKind::Numeric, format!("the {what} is {number} and the run stops; the last checkpoint stands"))
        .at(format!("step {step}"))
        .next(ADVICE)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use stratune_models::Model;
    use stratune_store::Checkpoint;

    use super::*;

    #[derive(Default)]
    struct Collected(Vec<(usize, f64, f64)>, Vec<f64>);

    impl TrainerCallback for Collected {
        fn emit(&mut self, event: Event) {
            if let Event::Step(step) = event {
                self.0.push((step.step, step.loss, step.gradient_norm));
                self.1.push(step.tokens_per_second);
            }
        }
        fn save_checkpoint(&mut self, _: Checkpoint) -> LocalBoxFuture<'_, Result<(), Problem>> {
            Box::pin(async { Ok(()) })
        }
        fn sample<'a>(&'a mut self, _: &'a Model, _: usize, _: f64) -> LocalBoxFuture<'a, Result<(), Problem>> {
            Box::pin(async { Ok(()) })
        }
    }

    fn step(step: usize, loss: f32) -> StepMetrics {
        let device = Device::flex();
        let number = |x| Tensor::from_floats([x], &device);
        StepMetrics {
            report: StepReport { step, ..StepReport::default() },
            loss: number(loss),
            labelled: 2,
            norm: number(0.5),
        }
    }

    /// A reading that the device has not answered.
    fn slow(step: usize, loss: f64) -> Reading {
        let later = async move {
            stratune_runtime::yield_now().await;
            Ok(vec![loss, 0.5])
        };
        let later: LocalBoxFuture<'static, _> = Box::pin(later);
        Reading {
            reports: vec![(StepReport { step, ..StepReport::default() }, 2)],
            numbers: Box::pin(maybe_done(later)),
        }
    }

    /// Each step is logged once and in order, whether the device answers at once or is a step behind.
    #[test]
    fn steps_are_logged_in_order() {
        stratune_runtime::block_on(async {
            let (mut collected, mut logger) = (Collected::default(), MetricsLogger::new(9));
            logger.push(step(1, 4.0));
            logger.push(step(2, 2.0));
            logger.log(&mut collected).await.ok();
            assert_eq!(collected.0, [(1, 2.0, 0.5), (2, 1.0, 0.5)]);

            logger.reading = Some(slow(3, 6.0));
            logger.push(step(4, 8.0));
            logger.log(&mut collected).await.ok();
            assert_eq!(collected.0[2..], [(3, 3.0, 0.5), (4, 4.0, 0.5)]);
            // Logged together, they have shared the time.
            assert_eq!(collected.1[2], collected.1[3]);

            logger.reading = Some(slow(5, 10.0));
            logger.finish(&mut collected).await.ok();
            assert_eq!(collected.0[4..], [(5, 5.0, 0.5)]);
            logger.finish(&mut collected).await.ok();
            assert_eq!(collected.0.len(), 5);
        });
    }

    #[test]
    fn a_loss_that_is_no_number_ends_the_run() {
        stratune_runtime::block_on(async {
            let (mut collected, mut logger) = (Collected::default(), MetricsLogger::new(9));
            (1..=MAX).for_each(|n| logger.push(step(n, if n == 3 { f32::NAN } else { 1.0 })));
            assert!(logger.is_full());
            let problem = logger.finish(&mut collected).await.err().map(|p| p.to_string()).unwrap_or_default();
            assert!(problem.contains("step 3"), "{problem}");
            assert_eq!(collected.0.len(), 2);
        });
    }
}
