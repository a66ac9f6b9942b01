//! Webhooks: a git server says that something was pushed. The signature is checked before a byte of the body is understood;
//! what is built comes from the address that the repository's owner gave and never from the body.
//!
//! - `signature.rs`: who sent it, and whether it is signed with the repository's secret
//! - `payload.rs`: what was pushed, as each provider tells it
//! - `filter.rs`: which pushes start a run

mod filter;
mod payload;
mod signature;

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use store::git_repos::{self, Row};
use store::webhook_deliveries;
use wire::ids::{GitRepoId, RunId};
use wire::runs::RunCause;
use wire::webhooks::{DeliveryAnswer, DeliveryView};

use crate::app::App;
use crate::caller::{Caller, RequestContext};
use crate::domain::runs::Start;
use crate::error::{Error, ErrorKind, Result};
use payload::Push;
use signature::Provider;

/// Deliveries that are shown.
const SHOWN: u64 = 50;
/// Runs that one delivery starts.
const MAX_RUNS: usize = 20;
/// What is said of a delivery that comes again.
const HANDLED: &str = "this delivery was handled already";
/// Repositories of one name whose secrets are tried.
const MAX_CANDIDATES: usize = 100;

/// What came.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// Its headers, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body, as it came.
    pub body: &'a [u8],
}

impl Delivery<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is answered: true when a run was started.
pub type Answer = (bool, DeliveryAnswer);

/// Takes a delivery for the repository of a name or number.
pub async fn receive(
    app: &App,
    context: &RequestContext,
    named: &str,
    delivery: &Delivery<'_>,
) -> Result<Answer> {
    let refused = || {
        Error::unauthenticated(
            "bad_signature",
            "the webhook is not signed with the secret of this repository",
        )
        .hint("set the same secret at the git server and with `longshore git-repo set --webhook-secret`")
    };
    let provider = Provider::of(delivery).ok_or_else(refused)?;
    let now = app.now();
    let mut found = None;
    for row in candidates(app, named).await? {
        let sealed = row.content.webhook_secret.as_deref();
        let Some(secret) = super::git_repos::open(app, &row, "webhook_secret", sealed)? else { continue };
        if provider.is_signed(delivery, &secret, now) {
            found = Some(row);
            break;
        }
    }
    let repo = found.ok_or_else(refused)?;

    let key = hex::encode(Sha256::digest(delivery.body));
    let seen = webhook_deliveries::by_content(&app.db, repo.id, &key).await?;
    if seen.is_some() {
        return Ok(ignored(HANDLED));
    }
    let event = provider.event(delivery).to_owned();
    let (pushes, why_not) = match payload::read(provider, &event, delivery) {
        Ok(pushes) => choose(&repo, pushes),
        Err(why) => (Vec::new(), why),
    };
    let record = webhook_deliveries::New {
        git_repo_id: repo.id,
        delivery: &key,
        provider: provider.name(),
        event: &event,
        status: 200,
        answer: &why_not,
        run_id: None,
        now,
    };
    if pushes.is_empty() {
        return match webhook_deliveries::insert(&app.db, &record).await {
            Ok(_) => Ok(ignored(&why_not)),
            Err(store::Error::Duplicate) => Ok(ignored(HANDLED)),
            Err(error) => Err(error.into()),
        };
    }
    let Some(caller) = super::runs::worker(app, repo.account_id).await? else {
        return Ok(ignored("the repository's account cannot be used at the moment"));
    };
    let caller = Caller { ip: context.ip, request_id: Some(context.id.clone()), ..caller };
    start(app, &caller, repo.id, &pushes, &record).await
}

/// What came of a delivery's pushes.
#[derive(Default)]
struct Outcome<'a> {
    first: Option<RunId>,
    /// The refs of runs that were started.
    refs: Vec<&'a str>,
    /// The names of runs that were started or are there already.
    events: Vec<String>,
    why_not: String,
}

impl Outcome<'_> {
    /// What is noted of the delivery when there is a run of this ref, too.
    fn words(&self, git_ref: Option<&str>) -> String {
        let refs: Vec<&str> = self.refs.iter().copied().chain(git_ref).collect();
        match refs.as_slice() {
            [] => self.why_not.clone(),
            [git_ref] => format!("a run of {git_ref} was started"),
            refs => format!("runs of {} were started", refs.join(", ")),
        }
    }

    fn answer(self) -> Answer {
        let event = self.events.first().cloned();
        let events = if self.events.len() > 1 { self.events } else { Vec::new() };
        let ignored = (!self.why_not.is_empty()).then_some(self.why_not);
        (self.first.is_some(), DeliveryAnswer { event, events, ignored })
    }
}

/// Starts a run for each push. The delivery is stored together with the last one: when the server ends before that, it may be sent
/// again, and what is built already is not started twice.
async fn start(
    app: &App,
    caller: &Caller,
    repo: GitRepoId,
    pushes: &[Push],
    record: &webhook_deliveries::New<'_>,
) -> Result<Answer> {
    let mut outcome = Outcome { why_not: record.answer.to_owned(), ..Outcome::default() };
    let mut is_recorded = false;
    for (left, push) in (0..pushes.len()).rev().zip(pushes) {
        let answer = outcome.words(Some(&push.git_ref));
        let record =
            webhook_deliveries::New { status: 202, answer: &answer, run_id: outcome.first, ..*record };
        let start = Start {
            cause: RunCause::Webhook,
            git_ref: Some(&push.git_ref),
            commit: Some(&push.commit),
            delivery: (left == 0).then_some(&record),
            ..Start::MANUAL
        };
        match super::runs::start(app, caller, repo, start).await {
            Ok(started) => {
                outcome.first.get_or_insert(started.run.id);
                outcome.refs.push(&push.git_ref);
                outcome.events.push(started.run.name);
                is_recorded = left == 0;
            }
            Err(error) if error.code == "run_exists" => {
                let event = error.extra.get("event").and_then(|name| name.as_str()).unwrap_or_default();
                if !outcome.events.iter().any(|known| known == event) {
                    outcome.events.push(event.to_owned());
                }
                if outcome.why_not.is_empty() {
                    outcome.why_not = error.detail;
                }
            }
            // The same delivery came twice at a time.
            Err(error) if error.code == "delivery_seen" => {
                HANDLED.clone_into(&mut outcome.why_not);
                is_recorded = true;
            }
            Err(error) if outcome.first.is_none() || is_ours(error.kind) => return Err(error),
            Err(error) => {
                outcome.why_not = format!("no run of {} was started: {error}", push.git_ref);
                break;
            }
        }
    }
    if !is_recorded {
        let status = if outcome.first.is_some() { 202 } else { 200 };
        let answer = outcome.words(None);
        let record = webhook_deliveries::New { status, answer: &answer, run_id: outcome.first, ..*record };
        match webhook_deliveries::insert(&app.db, &record).await {
            Ok(_) | Err(store::Error::Duplicate) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(outcome.answer())
}

/// Whether a failure is the server's, so that the same delivery may succeed later.
fn is_ours(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Internal | ErrorKind::Unavailable | ErrorKind::Full)
}

fn ignored(why: &str) -> Answer {
    (false, DeliveryAnswer { event: None, events: Vec::new(), ignored: Some(why.to_owned()) })
}

/// Names are unique for their account only: whose secret signs it is found out.
async fn candidates(app: &App, named: &str) -> Result<Vec<Row>> {
    if let Ok(id) = named.parse::<GitRepoId>() {
        return Ok(git_repos::get(&app.db, id).await?.into_iter().collect());
    }
    let mut found = git_repos::by_name(&app.db, None, named).await?;
    found.truncate(MAX_CANDIDATES);
    Ok(found)
}

/// The pushes that are to be built, and why no other ones are.
fn choose(repo: &Row, pushes: Vec<Push>) -> (Vec<Push>, String) {
    let mut why_not = "it says nothing of a push".to_owned();
    let mut chosen = Vec::new();
    for push in pushes {
        match filter::reason_against(repo, &push) {
            None => chosen.push(push),
            Some(reason) => why_not = reason,
        }
    }
    let why_not = match chosen.len() {
        0 => why_not,
        1..=MAX_RUNS => String::new(),
        count => format!("only the first {MAX_RUNS} of {count} changes start runs"),
    };
    chosen.truncate(MAX_RUNS);
    (chosen, why_not)
}

/// The last deliveries to a repository, newest first.
pub async fn list(app: &App, caller: &Caller, repo: GitRepoId) -> Result<Vec<DeliveryView>> {
    super::git_repos::find(app, caller, repo).await?;
    let rows = webhook_deliveries::last(&app.db, repo, SHOWN).await?;
    let view = |row: webhook_deliveries::Row| DeliveryView {
        id: row.id,
        provider: row.provider,
        event: row.event,
        status: row.status,
        answer: row.answer,
        run_id: row.run_id,
        received_at: row.received_at,
    };
    Ok(rows.into_iter().map(view).collect())
}
