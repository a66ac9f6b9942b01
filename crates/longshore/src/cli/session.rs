//! What every command gets: where to write and whom to talk to.

use super::Global;
use super::client::{Answer, Client};
use super::failure::Failure;
use super::printer::Printer;
use super::words::Word;

/// One run of a command.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Where to write.
    pub(crate) printer: Printer,
    /// Whom to talk to.
    pub(crate) client: Client,
}

impl Session {
    /// Finds the server and the token.
    pub(crate) fn open(global: &Global, printer: &Printer) -> anyhow::Result<Self> {
        let client = Client::from_settings(global.server.as_ref(), printer.language)?;
        Ok(Self { printer: printer.clone(), client })
    }

    /// Shows an answer as JSON if that was asked for; otherwise says so and lets the command show it in words.
    pub(crate) fn shown_as_json(&self, answer: &Answer) -> anyhow::Result<bool> {
        if self.printer.is_json {
            self.printer.json(&answer.text)?;
        }
        Ok(self.printer.is_json)
    }

    /// Ends a command that only has to say that it was done.
    pub(crate) fn done(&self, answer: &Answer, word: Word, values: &[&str]) -> anyhow::Result<()> {
        if !self.shown_as_json(answer)? {
            self.printer.say(word, values);
        }
        Ok(())
    }

    /// Asks before something is lost.
    pub(crate) fn ask(&self, is_sure: bool, word: Word, values: &[&str]) -> anyhow::Result<()> {
        if is_sure || self.printer.confirm(word, values)? {
            return Ok(());
        }
        Err(Failure::new(self.printer.language.pick(super::words::NOTHING_DONE)).into())
    }
}
