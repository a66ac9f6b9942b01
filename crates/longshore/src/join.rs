//! `longshore agent join`: trades an invitation for a membership, kept in the agent's folder.

use std::path::PathBuf;
use std::time::Duration;

use agent::{MachineKey, Membership, membership};
use anyhow::{Context as _, Result, bail};
use wire::ids::MachineId;
use wire::invites::{
    INVITE_PREFIX, JOIN_PATH, JoinRequest, Joined, fingerprint_part, join_statement, secret_part,
};
use wire::problem::Problem;
use wire::secret::Secret;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What `longshore agent join` was told.
#[derive(Clone, Debug)]
pub struct JoinSettings {
    /// Address of the server.
    pub url: String,
    /// The invitation's token.
    pub token: Secret,
    /// The agent's folder.
    pub state_dir: PathBuf,
    /// Under which id to join; none = the machine's own.
    pub machine_id: Option<MachineId>,
    /// Whether a server may be reached without TLS from another host.
    pub is_plain_allowed: bool,
}

/// Joins the server; the membership that was kept.
pub async fn join(settings: &JoinSettings) -> Result<Membership> {
    let token = settings.token.expose();
    if !token.starts_with(INVITE_PREFIX) {
        bail!(
            "this is not an invitation: it begins with `{INVITE_PREFIX}`, and `longshore machine invite` makes one"
        );
    }
    let url = settings.url.trim_end_matches('/').to_owned();
    if !settings.is_plain_allowed && is_in_the_clear(&url) {
        bail!(
            "`{url}` is not protected by TLS: use an `https://` address, or `--plain` on a network that you trust"
        );
    }
    let held = membership::hold(&settings.state_dir)?;
    let machine_id = match &settings.machine_id {
        Some(id) => id.clone(),
        None => agent::machine_id(&settings.state_dir)?,
    };
    // A machine that did not hear the answer asks again with the key that it kept.
    let key = match membership::load(&settings.state_dir) {
        Ok((kept, key)) if kept.machine_id == machine_id && kept.url == url => key,
        _ => MachineKey::make()?,
    };
    let fingerprint = fingerprint_part(token).map(str::to_owned);
    let request = JoinRequest {
        token: Secret::new(secret_part(token)),
        machine_id: machine_id.clone(),
        public_key: key.public_key(),
        signature: key.sign(&join_statement(token, &machine_id)),
    };
    let tls = agent::tls::client_config(fingerprint.as_deref()).map_err(anyhow::Error::msg)?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .context("cannot prepare HTTPS")?;
    let answer = client.post(format!("{url}{JOIN_PATH}")).json(&request).send().await;
    let mut answer = answer.map_err(|error| unreachable(&url, &error))?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| unreachable(&url, &error))? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            bail!("`{url}` is not a Longshore server: its answer is too long");
        }
        body.extend_from_slice(&piece);
    }
    if !status.is_success() {
        let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
            bail!("`{url}` is not a Longshore server: it answered {status}");
        };
        let hint = problem.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        bail!("the server refuses this machine: {}{hint}", problem.detail);
    }
    let joined: Joined = serde_json::from_slice(&body)
        .with_context(|| format!("`{url}` does not answer as a Longshore server would"))?;
    let kept = Membership { url, fingerprint, instance: joined.instance, machine_id: joined.machine_id };
    membership::save(&settings.state_dir, &kept, &key)?;
    drop(held);
    Ok(kept)
}

/// Whether what is sent to this address can be read on its way.
fn is_in_the_clear(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_loopback =
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.scheme() == "http" && !is_loopback
}

fn unreachable(url: &str, error: &reqwest::Error) -> anyhow::Error {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    anyhow::anyhow!("cannot reach `{url}`: {deepest}")
}
