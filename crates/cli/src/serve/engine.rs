//! What computes: one batch of answers, on a thread of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};

use stratune_protocol::{GenerateRequest, Problem, ProblemKind};
use stratune_session::{FinishReason, ServedBatch, ServedModels};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Requests that may wait for a place in the batch.
const WAITING: usize = 64;

/// What is asked of the engine.
struct Job {
    which: usize,
    request: GenerateRequest,
    client: UnboundedSender<Told>,
}

/// What the engine tells who has asked.
#[derive(Debug)]
pub(super) enum Told {
    /// The answer begins; the prompt has so many tokens.
    Begun { prompt_tokens: usize },
    /// A piece of it.
    Text(String),
    /// It is over, after so many tokens.
    Done { finish: FinishReason, tokens: usize },
    /// It could not be begun, or not be ended.
    Failed(Problem),
}

/// What the engine is doing.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Answers that are being written.
    pub(super) running: AtomicUsize,
    /// Tokens that were made since the server began.
    pub(super) tokens: AtomicU64,
}

/// Where to ask.
#[derive(Clone)]
pub(super) struct Asker {
    jobs: SyncSender<Job>,
    pub(super) load: Arc<Load>,
}

impl Asker {
    /// Has model `which` answer. Who drops what this gives has waited long enough: the answer ends.
    ///
    /// # Errors
    /// Too many are waiting, or the engine is gone.
    pub(super) fn ask(&self, which: usize, request: GenerateRequest) -> Result<UnboundedReceiver<Told>, Problem> {
        let (client, told) = unbounded_channel();
        self.jobs.try_send(Job { which, request, client }).map_err(|error| match error {
            TrySendError::Full(_) => {
                Problem::new(ProblemKind::Memory, format!("{WAITING} requests are waiting already"))
                    .next("ask again later")
            }
            TrySendError::Disconnected(_) => Problem::new(ProblemKind::Device, "the engine has ended"),
        })?;
        Ok(told)
    }
}

/// The engine's end of what connects it with those who ask.
pub struct Engine {
    jobs: Receiver<Job>,
    load: Arc<Load>,
    parallel: usize,
}

impl Engine {
    /// An engine that writes at most `parallel` answers at a time, and where to ask it.
    pub(super) fn new(parallel: usize) -> (Self, Asker) {
        let (sender, jobs) = sync_channel(WAITING);
        let load = Arc::<Load>::default();
        (Self { jobs, load: load.clone(), parallel }, Asker { jobs: sender, load })
    }

    /// Answers until nobody can ask any more.
    pub async fn run(self, served: &ServedModels) {
        let mut batch = ServedBatch::new(served);
        let mut clients: HashMap<u64, UnboundedSender<Told>> = HashMap::new();
        let mut id = 0;
        loop {
            while batch.len() < self.parallel {
                let job = match batch.is_empty() {
                    true => self.jobs.recv().map_err(|_| TryRecvError::Disconnected),
                    false => self.jobs.try_recv(),
                };
                let Job { which, request, client } = match job {
                    Ok(job) => job,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) if batch.is_empty() => return,
                    Err(TryRecvError::Disconnected) => break,
                };
                if client.is_closed() {
                    continue;
                }
                id += 1;
                // Who does not listen any more is found out below.
                match batch.join(id, which, &request) {
                    Ok(prompt_tokens) => {
                        let _ = client.send(Told::Begun { prompt_tokens });
                        clients.insert(id, client);
                    }
                    Err(problem) => drop(client.send(Told::Failed(problem))),
                }
            }
            let gone: Vec<u64> =
                batch.ids().filter(|id| clients.get(id).is_none_or(|client| client.is_closed())).collect();
            for id in gone {
                batch.leave(id);
                clients.remove(&id);
            }
            self.load.running.store(batch.len(), Ordering::Relaxed);
            match batch.step().await {
                Ok(progress) => {
                    self.load.tokens.fetch_add(progress.len() as u64, Ordering::Relaxed);
                    for of_row in progress {
                        let Some(client) = clients.get(&of_row.id) else { continue };
                        let _ = client.send(Told::Text(of_row.text));
                        if let Some(finish) = of_row.finish {
                            let _ = client.send(Told::Done { finish, tokens: of_row.tokens });
                            clients.remove(&of_row.id);
                        }
                    }
                }
                Err(problem) => {
                    clients.drain().for_each(|(_, client)| drop(client.send(Told::Failed(problem.clone()))));
                }
            }
            self.load.running.store(batch.len(), Ordering::Relaxed);
        }
    }
}
