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
use wire::ids::GitRepoId;
use wire::runs::RunCause;
use wire::webhooks::{DeliveryAnswer, DeliveryView};

use crate::app::App;
use crate::caller::{Caller, RequestContext};
use crate::domain::runs::Start;
use crate::error::{Error, Result};
use payload::Push;
use signature::Provider;

/// Deliveries that are shown.
const SHOWN: u64 = 50;
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
        return Ok(ignored("this delivery was handled already"));
    }
    let event = provider.event(delivery).to_owned();
    let (push, why_not) = match payload::read(provider, &event, delivery) {
        Ok(pushes) => choose(&repo, pushes),
        Err(why) => (None, why),
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
    let Some(push) = push else {
        return match webhook_deliveries::insert(&app.db, &record).await {
            Ok(_) => Ok(ignored(&why_not)),
            Err(store::Error::Duplicate) => Ok(ignored("this delivery was handled already")),
            Err(error) => Err(error.into()),
        };
    };
    let Some(caller) = super::runs::worker(app, repo.account_id).await? else {
        return Ok(ignored("the repository's account cannot be used at the moment"));
    };
    let caller = Caller { ip: context.ip, request_id: Some(context.id.clone()), ..caller };
    let answer = format!("a run of {} was started", push.git_ref);
    let record = webhook_deliveries::New { status: 202, answer: &answer, ..record };
    let start = Start {
        cause: RunCause::Webhook,
        git_ref: Some(&push.git_ref),
        commit: Some(&push.commit),
        delivery: Some(&record),
        ..Start::MANUAL
    };
    match super::runs::start(app, &caller, repo.id, start).await {
        Ok(started) => Ok((true, DeliveryAnswer { event: Some(started.run.name), ignored: None })),
        Err(error) if error.code == "run_exists" => {
            let event = error.extra.get("event").and_then(|name| name.as_str()).map(str::to_owned);
            let record = webhook_deliveries::New { status: 200, answer: &error.detail, ..record };
            match webhook_deliveries::insert(&app.db, &record).await {
                Ok(_) | Err(store::Error::Duplicate) => {}
                Err(error) => return Err(error.into()),
            }
            Ok((false, DeliveryAnswer { event, ignored: Some(error.detail.clone()) }))
        }
        Err(error) if error.code == "delivery_seen" => Ok(ignored("this delivery was handled already")),
        Err(error) => Err(error),
    }
}

fn ignored(why: &str) -> Answer {
    (false, DeliveryAnswer { event: None, ignored: Some(why.to_owned()) })
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

/// The first push that is to be built, or why none is.
fn choose(repo: &Row, pushes: Vec<Push>) -> (Option<Push>, String) {
    let mut why_not = "it says nothing of a push".to_owned();
    for push in pushes {
        match filter::reason_against(repo, &push) {
            None => return (Some(push), String::new()),
            Some(reason) => why_not = reason,
        }
    }
    (None, why_not)
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
