//! The `stratune` command line.

mod arguments;
mod chosen;
mod commands;
mod data_flags;
#[cfg(test)]
mod documented;
mod forecast;
mod hub;
mod interrupt;
mod machine;
mod method_flags;
mod open;
mod out_of_memory;
mod pace;
mod records;
mod report;
mod run_folder;
mod sampling_flags;
mod search_flags;
mod serve;
mod trial;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stratune_protocol::Problem;

/// Fine-tunes language models, training at each step only the layers that matter.
#[derive(Parser)]
#[command(name = "stratune", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
    /// Print events as JSON, one a line, on standard output.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum CliCommand {
    /// Fine-tune a model; the result is an adapter that Hugging Face PEFT reads.
    Train(Box<commands::train::Train>),
    /// Search for the modules that a budget is best spent on; the result is a structure for `train --method`.
    Search(Box<commands::search::Search>),
    /// Continue a prompt.
    Generate(commands::generate::Generate),
    /// Label texts with a model that was trained on labels.
    Classify(commands::classify::Classify),
    /// Talk with a model, turn by turn.
    Chat(commands::chat::Chat),
    /// Answer OpenAI's clients on this machine: the base and several adapters as models, in one batch.
    Serve(commands::serve::Serve),
    /// Measure the loss on rows, and how many answers are exactly right; or judge by a task of the literature.
    Eval(Box<commands::eval::Eval>),
    /// Write a model with an adapter merged into its weights.
    Merge(commands::merge::Merge),
    /// Cut an adapter that DyLoRA has trained down to a lower rank.
    Slice(commands::slice::Slice),
    /// List every method: what it trains, where, how much of it, and what it costs when the model serves.
    Methods(commands::methods::ListMethods),
    /// Make a small model from text alone.
    Pretrain(commands::pretrain::Pretrain),
    /// Say what a model, adapter, structure, checkpoint or dataset is, and what a run on the model would need.
    Inspect(Box<commands::inspect::Inspect>),
    /// Measure speed and memory on random weights.
    Bench(Box<commands::bench::Bench>),
    /// Train many methods on the same rows, and say what each costs and how well it does.
    Compare(Box<commands::compare::Compare>),
    /// Train every combination of a study's file, and make its table; a study that was interrupted goes on.
    Study(commands::study::StudyCommand),
    /// Find how few numbers can steer a model to a task: the intrinsic dimension d₉₀.
    Intrinsic(Box<commands::intrinsic::Intrinsic>),
}

fn main() -> ExitCode {
    // SAFETY: there is no other thread yet.
    unsafe { stratune_runtime::without_displays() };
    stratune_runtime::keep_heap();
    stratune_runtime::work_on_this_thread();
    let Cli { command, json } = Cli::parse();
    out_of_memory::watch(json);
    let done = stratune_runtime::block_on(run(command, json));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            report::problem(&problem, json);
            ExitCode::from(problem.kind.exit_code())
        }
    }
}

/// Exit code 130 is that of an interrupted run; its checkpoint is written.
async fn run(command: CliCommand, json: bool) -> Result<u8, Problem> {
    match command {
        CliCommand::Train(train) => train.run(json).await,
        CliCommand::Search(search) => search.run(json).await,
        CliCommand::Generate(generate) => generate.run(json).await.map(|()| 0),
        CliCommand::Classify(classify) => classify.run(json).await.map(|()| 0),
        CliCommand::Chat(chat) => chat.run(json).await.map(|()| 0),
        CliCommand::Serve(serve) => serve.run(json).await.map(|()| 0),
        CliCommand::Eval(eval) => eval.run(json).await.map(|()| 0),
        CliCommand::Merge(merge) => merge.run(json).await.map(|()| 0),
        CliCommand::Slice(slice) => slice.run().await.map(|()| 0),
        CliCommand::Methods(methods) => methods.run(json).await.map(|()| 0),
        CliCommand::Pretrain(pretrain) => pretrain.run(json).await,
        CliCommand::Inspect(inspect) => inspect.run(json).await.map(|()| 0),
        CliCommand::Bench(bench) => bench.run(json).await.map(|()| 0),
        CliCommand::Compare(compare) => compare.run(json).await.map(|()| 0),
        CliCommand::Study(study) => study.run(json).await,
        CliCommand::Intrinsic(intrinsic) => intrinsic.run(json).await.map(|()| 0),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
