//! Many agents in one process, each a machine of its own without an engine: `simulated_agents URL FOLDER COUNT`, with an admin's
//! token in `SIMULATED_AGENTS_TOKEN`. They run the real agent's code; for benchmarks, and for seeing what many machines do to a
//! server. Says `joined` when all have joined, and ends when its standard input does.

use std::io::{Read as _, Write as _};
use std::path::Path;

use agent::{Agent, MachineKey};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wire::ids::MachineId;
use wire::invites::join_statement;

fn main() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, folder, count] = words.as_slice() else { bail!("usage: simulated_agents URL FOLDER COUNT") };
    let count: usize = count.parse().context("COUNT is a number")?;
    #[expect(clippy::disallowed_methods, reason = "an example has no settings of its own")]
    let token = std::env::var("SIMULATED_AGENTS_TOKEN").context("`SIMULATED_AGENTS_TOKEN` is not set")?;
    longshore::run::block_on(async {
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "it talks to nobody but the server that is measured")]
        let http = reqwest::Client::new();
        let mut agents = Vec::with_capacity(count);
        for number in 0..count {
            let machine: MachineId = format!("simulated-{number}").parse()?;
            agents.push(start(&http, url, &token, Path::new(folder), machine, &stop).await?);
        }
        writeln!(std::io::stdout(), "joined")?;
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        stop.cancel();
        for agent in agents {
            agent.stopped().await;
        }
        Ok(())
    })
}

/// Joins one machine and has its agent connect, as `longshore agent join` and `run` do.
async fn start(
    http: &reqwest::Client,
    url: &str,
    token: &str,
    folder: &Path,
    machine: MachineId,
    stop: &CancellationToken,
) -> Result<Agent> {
    let invite =
        http.post(format!("{url}/api/v1/invites")).bearer_auth(token).json(&json!({})).send().await?;
    let invite: Value = invite.error_for_status()?.json().await?;
    let invite = invite["token"].as_str().context("an invitation has a token")?;
    let key = MachineKey::make()?;
    let join = json!({
        "token": invite, "machine_id": machine, "public_key": key.public_key(),
        "signature": key.sign(&join_statement(invite, &machine)),
    });
    http.post(format!("{url}/api/v1/machines/join")).json(&join).send().await?.error_for_status()?;
    let config = agent::Config {
        docker: Some("unix:///nonexistent/docker.sock".into()),
        registry: "127.0.0.1:5000".into(),
        policy_file: None,
        machine_id: Some(machine),
        state_dir: folder.to_owned(),
        nvml: None,
    };
    let agent = Agent::new(config, stop.clone())?;
    let server = agent::Server { url: url.to_owned(), fingerprint: None, key };
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let dialing = agent.clone();
    agent.spawn(async move {
        if let Err(error) = dialing.dial(&server, door).await {
            tracing::warn!(%error, "an agent has given up");
        }
    });
    Ok(agent)
}
