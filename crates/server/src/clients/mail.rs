//! E-mail, through the mail server that the settings name. Its address is the operator's, so that no rule for addresses of
//! accounts is needed.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use crate::config::MailConfig;
use crate::error::{Error, ErrorKind, Result};

/// How long each answer of the mail server may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// Whom to.
    pub to: &'a str,
    /// What about, in one line.
    pub subject: &'a str,
    /// The rest.
    pub text: &'a str,
    /// The same for each try, so that whoever gets it twice can tell.
    pub id: &'a str,
}

/// Whether a text is the address of a mailbox.
pub fn is_address(text: &str) -> bool {
    text.len() <= 254 && text.parse::<lettre::Address>().is_ok()
}

/// Whether a text names a mail server, and another one a sender.
pub fn check(config: &MailConfig) -> Result<(), String> {
    let (Some(url), from) = (&config.url, &config.from) else { return Ok(()) };
    AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose()).map_err(
        |_| "`mail.url` is not like `smtps://user:password@host` or `smtp://host:587?tls=required`",
    )?;
    let is_sender = from.as_ref().is_some_and(|from| from.parse::<lettre::message::Mailbox>().is_ok());
    if is_sender {
        Ok(())
    } else {
        Err("`mail.from` is the sender, such as `Longshore <ci@example.org>`".to_owned())
    }
}

/// Sends a letter; an error says in plain words why the mail server did not take it.
pub async fn send(config: &MailConfig, letter: &Letter<'_>) -> Result<()> {
    let none = || {
        let detail = "this server sends no e-mail: it has no mail server";
        Error::new(ErrorKind::Invalid, "no_mail_server", detail)
            .hint("an admin sets `mail.url` and `mail.from`")
    };
    let (Some(url), Some(from)) = (&config.url, &config.from) else { return Err(none()) };
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose()).map_err(|_| none())?;
    let transport = transport.timeout(Some(PATIENCE)).build();
    let to = letter.to.parse().map_err(|_| Error::invalid("address", "this is no address of a mailbox"))?;
    let from: lettre::message::Mailbox = from.parse().map_err(|_| none())?;
    let host = from.email.domain().to_owned();
    let message = Message::builder()
        .from(from)
        .to(lettre::message::Mailbox::new(None, to))
        .subject(letter.subject)
        .message_id(Some(format!("<{}@{host}>", letter.id)))
        .header(ContentType::TEXT_PLAIN)
        .body(letter.text.to_owned())
        .map_err(Error::internal)?;
    transport.send(message).await.map(drop).map_err(|error| {
        // Never its words: they are somebody else's text.
        let (kind, detail) = match error.status() {
            Some(code) => (ErrorKind::BadGateway, format!("the mail server answered {code}")),
            None if error.is_timeout() => {
                (ErrorKind::GatewayTimeout, "the mail server does not answer in time".to_owned())
            }
            None if error.is_tls() => {
                (ErrorKind::BadGateway, "the mail server's certificate is not trusted".to_owned())
            }
            None => (ErrorKind::BadGateway, "the mail server cannot be reached".to_owned()),
        };
        Error::new(kind, "notification_failed", detail).caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_are_told_from_other_texts() {
        assert!(is_address("alice@example.org") && is_address("a.b+c@sub.example.org"));
        for text in ["", "alice", "a@", "@b", "a b@example.org", "a@b\r\nBcc: c@d", "<a@example.org>"] {
            assert!(!is_address(text), "{text:?}");
        }
    }

    #[test]
    fn settings_of_a_mail_server_are_whole() {
        let config = |url: &str, from: Option<&str>| MailConfig {
            url: Some(wire::secret::Secret::new(url)),
            from: from.map(str::to_owned),
        };
        assert_eq!(check(&MailConfig { url: None, from: None }), Ok(()));
        assert_eq!(
            check(&config("smtps://u:p@mail.example.org", Some("Longshore <ci@example.org>"))),
            Ok(())
        );
        assert!(check(&config("smtp://mail.example.org", None)).unwrap_err().contains("mail.from"));
        assert!(
            check(&config("http://mail.example.org", Some("ci@example.org")))
                .unwrap_err()
                .contains("mail.url")
        );
    }
}
