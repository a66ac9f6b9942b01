//! Reads passwords without showing them, and turns them into what is sent. Never from an option: other people on the
//! same machine can read the arguments of a process.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use clap::Args;
use sha2::{Digest as _, Sha256};
use wire::secret::Secret;

use super::failure::Failure;
use super::printer::Printer;
use super::words;

/// The longest password that the server takes.
const PASSWORD_BYTES_MAX: u64 = 1024;

/// Where a password comes from.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct PasswordArgs {
    /// Read the password from the first line of standard input instead of asking for it
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordArgs {
    /// A password that exists.
    pub(crate) fn read(self, printer: &Printer) -> anyhow::Result<Secret> {
        if self.password_stdin {
            return line_of_stdin();
        }
        must_be_terminal(printer)?;
        let prompt = printer.language.pick(words::PASSWORD);
        Ok(Secret::new(dialoguer::Password::new().with_prompt(prompt).interact()?))
    }

    /// A new password, typed twice on a terminal.
    pub(crate) fn read_new(self, printer: &Printer) -> anyhow::Result<Secret> {
        if self.password_stdin {
            return line_of_stdin();
        }
        must_be_terminal(printer)?;
        let language = printer.language;
        let password = dialoguer::Password::new()
            .with_prompt(language.pick(words::NEW_PASSWORD))
            .with_confirmation(language.pick(words::AGAIN), language.pick(words::NOT_THE_SAME))
            .interact()?;
        Ok(Secret::new(password))
    }

    /// The present password and a new one: two lines of standard input, or asked for.
    pub(crate) fn read_change(self, printer: &Printer) -> anyhow::Result<(Secret, Secret)> {
        if self.password_stdin {
            return Ok((line_of_stdin()?, line_of_stdin()?));
        }
        must_be_terminal(printer)?;
        let prompt = printer.language.pick(words::PRESENT_PASSWORD);
        let present = Secret::new(dialoguer::Password::new().with_prompt(prompt).interact()?);
        Ok((present, self.read_new(printer)?))
    }
}

fn must_be_terminal(printer: &Printer) -> anyhow::Result<()> {
    if std::io::stdin().is_terminal() && printer.is_stderr_terminal {
        return Ok(());
    }
    let language = printer.language;
    Err(Failure::usage(language.pick(words::NO_TERMINAL))
        .hint(language.pick(words::PASSWORD_STDIN_HINT))
        .into())
}

/// The next line of standard input. The standard library's buffer is shared, so that nothing is lost between lines.
fn line_of_stdin() -> anyhow::Result<Secret> {
    let mut line = Vec::new();
    let mut stdin = std::io::stdin().lock();
    stdin.by_ref().take(PASSWORD_BYTES_MAX + 3).read_until(b'\n', &mut line)?;
    let text = String::from_utf8(line).map_err(|_| Failure::usage("the password is not UTF-8"))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(Failure::usage("standard input holds no password").into());
    }
    if text.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(Failure::usage("the password is longer than 1024 bytes").into());
    }
    Ok(Secret::new(text))
}

/// What is sent instead of the password: its SHA-256 as 64 lower-case hex digits, or the text itself where it already
/// is one (the server reads 64 hex digits as a digest, so a second digest would be another credential).
pub(crate) fn transformed(password: &Secret) -> String {
    let text = password.expose();
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return text.to_ascii_lowercase();
    }
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sent_and_not_the_password() {
        let sent = transformed(&Secret::new("hunter22"));

        assert_eq!(sent, "20d2fe5e369db54ec7090639a9dc30ec4d608604936239d39e2de07fda09eb0b");
        assert_eq!(transformed(&Secret::new(sent.to_uppercase())), sent);
    }
}
