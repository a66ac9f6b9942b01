//! One binary: the server, the agent and the command line. Reads the command line and starts what it names.

mod cli;

use std::process::ExitCode;

use crate::cli::Command;
use crate::cli::agent::AgentCommand;

fn main() -> ExitCode {
    // Fails only if it was done before, which it was not.
    rustls::crypto::ring::default_provider().install_default().ok();

    let cli = cli::parse();
    match &cli.command {
        Command::Server(args) => cli::report(&cli.global, longshore::run::serve(&args.settings())),
        Command::Agent(AgentCommand::Run(args)) if !args.is_service() => {
            cli::report(&cli.global, longshore::run::agent(&args.settings()))
        }
        _ => cli::run(cli),
    }
}
