//! `longshore db`: the server's database, without a running server.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use server::database::{self, Status};

use super::failure::Failure;
use super::printer::Printer;
use super::server::StoreArgs;
use super::words;

/// Options of `longshore db`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DatabaseArgs {
    #[command(subcommand)]
    pub(crate) command: DatabaseCommand,
}

/// Verbs of `longshore db`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DatabaseCommand {
    /// Show the database and its migrations
    Status {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Bring the database up to this version
    Migrate {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Write a copy of the database, also while the server runs
    Backup {
        /// The file to write
        file: PathBuf,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Put a copy in place of the database; the server must not run
    Restore {
        /// The file to read
        file: PathBuf,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Runs a verb.
pub(crate) async fn run(args: DatabaseArgs, printer: &Printer) -> anyhow::Result<()> {
    match args.command {
        DatabaseCommand::Status { store } => status(&store, printer).await,
        DatabaseCommand::Migrate { store } => migrate(&store, printer).await,
        DatabaseCommand::Backup { file, store } => backup(&file, &store, printer).await,
        DatabaseCommand::Restore { file, yes, store } => {
            if !yes && !printer.confirm(words::RESTORE_DATABASE, &[&file.display().to_string()])? {
                return Err(Failure::new(printer.language.pick(words::NOTHING_DONE)).into());
            }
            restore(&file, &store, printer).await
        }
    }
}

async fn status(store: &StoreArgs, printer: &Printer) -> anyhow::Result<()> {
    let status: Status = database::status(&store.settings().load()?).await?;
    if printer.is_json {
        return printer.json(&serde_json::to_string(&status)?);
    }
    let rows: Vec<_> = status
        .migrations
        .iter()
        .map(|step| [step.name.clone(), if step.applied { "applied" } else { "waiting" }.to_owned()])
        .collect();
    printer.table(["MIGRATION", "STATE"], &rows)?;
    printer.say(words::DATABASE_IS, &[&status.backend]);
    if !status.current {
        printer.hint(words::MIGRATE_HINT, &[]);
    }
    Ok(())
}

async fn migrate(store: &StoreArgs, printer: &Printer) -> anyhow::Result<()> {
    let applied = database::migrate(&store.settings().load()?).await?;
    if printer.is_json {
        return printer.json(&serde_json::to_string(&applied)?);
    }
    printer.say(words::MIGRATED, &[&applied.len().to_string()]);
    applied.iter().try_for_each(|name| printer.data(name))
}

/// Copies the database to a file.
async fn backup(file: &Path, store: &StoreArgs, printer: &Printer) -> anyhow::Result<()> {
    let copied = database::backup(&store.settings().load()?, file).await?;
    if printer.is_json {
        return printer.json(&serde_json::to_string(&copied)?);
    }
    let rows: u64 = copied.rows.values().sum();
    printer.say(words::BACKED_UP, &[&rows.to_string(), &file.display().to_string()]);
    printer.hint(words::BACKUP_HINT, &[]);
    Ok(())
}

/// Puts a file in the database's place.
async fn restore(file: &Path, store: &StoreArgs, printer: &Printer) -> anyhow::Result<()> {
    let copied = database::restore(&store.settings().load()?, file).await?;
    if printer.is_json {
        return printer.json(&serde_json::to_string(&copied)?);
    }
    let rows: u64 = copied.rows.values().sum();
    printer.say(words::RESTORED, &[&rows.to_string(), &file.display().to_string()]);
    if let Some(replaced) = &copied.replaced {
        printer.say(words::REPLACED_DATABASE, &[&replaced.display().to_string()]);
    }
    Ok(())
}
