//! `longshore workload port-forward`: a port of this machine that leads to one of a pod, through the server and the cluster.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context as _;
use clap::Args;
use futures::stream::FuturesUnordered;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use wire::workloads::PORT_FORWARD_PROTOCOL;

use super::failure::Failure;
use super::session::Session;
use super::words;

/// Bytes that are read together.
const READ_BYTES: usize = 32 << 10;
/// How long an answer may take once the client has said everything: the way has no half that closes alone.
const REST: std::time::Duration = std::time::Duration::from_secs(30);

/// What to reach, and where from.
#[derive(Args, Debug)]
pub(crate) struct PortForwardArgs {
    /// The namespace
    namespace: String,
    /// A pod, from `longshore workload pods`, or `service/NAME`
    target: String,
    /// The port there, with the one here in front if it is another; `0:PORT` takes a free one
    #[arg(value_name = "[LOCAL:]PORT")]
    ports: String,
    /// Listen on this address of this machine
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
}

/// Where connections lead.
struct Goal {
    path: Vec<String>,
    port: String,
}

/// Listens and carries every connection, until it is interrupted.
pub(crate) async fn run(session: &Session, args: &PortForwardArgs) -> anyhow::Result<()> {
    let (local, port) = args.ports.split_once(':').unwrap_or((&args.ports, &args.ports));
    let local: u16 = local.parse().map_err(|_| {
        Failure::usage(format!("`{}` names no port of this machine: use `LOCAL:PORT`", args.ports))
    })?;
    let (kind, name) = match args.target.split_once('/') {
        None => ("pods", args.target.as_str()),
        Some(("pod" | "pods", name)) => ("pods", name),
        Some(("service" | "services" | "svc", name)) => ("services", name),
        Some(_) => {
            let wrong =
                format!("`{}` is neither a pod nor a service: use `POD` or `service/NAME`", args.target);
            return Err(Failure::usage(wrong).into());
        }
    };
    let path = ["api", "v1", "namespaces", &args.namespace, kind, name, "port-forward"];
    let goal = Goal { path: path.map(str::to_owned).to_vec(), port: port.to_owned() };
    // What is wrong with the way is told now and not to the first who comes.
    connect(session, &goal).await?.close(None).await.ok();
    let listener = TcpListener::bind((args.address, local))
        .await
        .with_context(|| format!("cannot listen on port {local} of {}", args.address))?;
    let here = listener.local_addr()?;
    if session.printer.is_json {
        session.printer.json(&serde_json::json!({"listen": here.to_string()}).to_string())?;
    } else {
        session.printer.data(&here.to_string())?;
        session.printer.say(words::PORT_FORWARDED, &[&here.to_string(), &goal.port, &args.target]);
    }
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => open.push(carry(session, &goal, accepted?.0)),
            Some(ended) = open.next(), if !open.is_empty() => if let Err(error) = ended {
                session.printer.failure(&error);
            },
        }
    }
}

async fn connect(session: &Session, goal: &Goal) -> anyhow::Result<super::socket::Socket> {
    let path: Vec<&str> = goal.path.iter().map(String::as_str).collect();
    session.client.socket(&path, &[("port", goal.port.clone())], PORT_FORWARD_PROTOCOL).await
}

/// Carries one connection both ways.
async fn carry(session: &Session, goal: &Goal, mut local: TcpStream) -> anyhow::Result<()> {
    let (mut sink, mut messages) = connect(session, goal).await?.split();
    let (mut reads, mut writes) = local.split();
    let give = async {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = reads.read(&mut buffer).await.unwrap_or_default();
            if count == 0 {
                break;
            }
            let message = Message::Binary(buffer[..count].to_vec().into());
            if sink.send(message).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(REST).await;
    };
    let take = async {
        while let Some(message) = messages.next().await {
            match message {
                Ok(Message::Binary(bytes)) => writes.write_all(&bytes).await?,
                Ok(Message::Close(Some(last))) if last.code != CloseCode::Normal => {
                    return Err(anyhow::Error::from(Failure::new(last.reason.to_string())));
                }
                Ok(Message::Close(_)) => break,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok::<_, anyhow::Error>(writes.shutdown().await?)
    };
    tokio::select! {
        () = give => Ok(()),
        ended = take => ended,
    }
}
