//! The agent of the server's own host, in the same process: the same calls over a pipe in memory, so that there is one code
//! path for every machine.

use std::time::Duration;

use agent::Agent;
use server::link::Hub;
use wire::link::Channel;

/// What one side may write before the other reads.
const PIPE_BYTES: usize = 64 << 10;
/// A pipe ends by itself only when the process stood still for so long that both sides gave the other up.
const PAUSE: Duration = Duration::from_millis(200);

/// Connects the agent to the hub until the agent is told to stop.
pub fn connect(hub: &Hub, agent: &Agent) {
    for channel in [Channel::Control, Channel::Bulk] {
        agent.spawn(keep_connected(hub.clone(), agent.clone(), channel));
    }
}

async fn keep_connected(hub: Hub, agent: Agent, channel: Channel) {
    while !agent.is_stopping() {
        let (server_side, agent_side) = tokio::io::duplex(PIPE_BYTES);
        let machine = agent.machine_id().clone();
        let ((), attached) =
            tokio::join!(agent.serve_pipe(channel, agent_side), hub.attach(machine, channel, server_side));
        if let Err(error) = attached {
            tracing::warn!("{error}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
