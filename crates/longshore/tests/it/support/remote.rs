//! Machines that join a server by the command line, each with an agent in a process of its own.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::api::Api;
use super::machine::free_port;
use super::network::Network;
use super::{Wait, eventually};

/// A machine that joins by the command line and runs its agent as a process; ended with the test.
pub(crate) struct Remote {
    pub(crate) folder: Arc<tempfile::TempDir>,
    pub(crate) machine: String,
    pub(crate) agent: Option<Child>,
    /// Runs the agent's process; as it is, or somewhere else.
    host: Option<(Arc<Network>, String)>,
}

impl Remote {
    pub(crate) fn new() -> Self {
        Self::named(&format!("test-{}", Uuid::now_v7().simple()))
    }

    pub(crate) fn named(machine: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self { folder, machine: machine.to_owned(), agent: None, host: None }
    }

    /// Another agent on the same folder.
    pub(crate) fn twin(&self) -> Self {
        Self { folder: Arc::clone(&self.folder), machine: self.machine.clone(), agent: None, host: None }
    }

    /// On a host of a network.
    pub(crate) fn on(mut self, network: &Arc<Network>, host: &str) -> Self {
        self.host = Some((Arc::clone(network), host.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_longshore");
        match &self.host {
            None => Command::new(program),
            Some((network, host)) => network.command(host, program),
        }
    }

    pub(crate) fn state(&self) -> String {
        self.folder.path().join("agent").display().to_string()
    }

    /// `longshore agent join`.
    pub(crate) fn join(&self, url: &str, token: &str) -> Output {
        let state = self.state();
        let words = ["agent", "join", url, token, "--data-dir", &state, "--machine-id", &self.machine];
        Command::new(env!("CARGO_BIN_EXE_longshore"))
            .args(words)
            .env("LONGSHORE_LANG", "en")
            .output()
            .unwrap()
    }

    pub(crate) fn joined(self, url: &str, token: &str) -> Self {
        let output = self.join(url, token);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self
    }

    /// `longshore agent run`, with further variables.
    pub(crate) fn run(&mut self, engine: &str, variables: &[(&str, &str)]) -> String {
        let door = format!("127.0.0.1:{}", free_port());
        let state = self.state();
        let words = ["agent", "run", "--data-dir", &state, "--docker", engine, "--registry-listen", &door];
        let mut command = self.command();
        command.args(words).stdin(Stdio::null()).stderr(Stdio::null());
        command.envs(variables.iter().copied());
        self.agent = Some(command.spawn().unwrap());
        door
    }

    /// The same with further options.
    pub(crate) fn run_with(&mut self, engine: &str, options: &[&str]) {
        let door = format!("127.0.0.1:{}", free_port());
        let state = self.state();
        let words = ["agent", "run", "--data-dir", &state, "--docker", engine, "--registry-listen", &door];
        let mut command = self.command();
        command.args(words).args(options).stdin(Stdio::null()).stderr(Stdio::null());
        self.agent = Some(command.spawn().unwrap());
    }

    /// Asks the agent to end; its exit status.
    pub(crate) fn stop(&mut self) -> i32 {
        let mut agent = self.agent.take().unwrap();
        let pid = agent.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        agent.wait().unwrap().code().unwrap()
    }

    pub(crate) fn kill(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Another machine that was copied from this one, with its key.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::named(&self.machine);
        std::fs::create_dir(copy.state()).unwrap();
        for file in ["machine.key", "server.json"] {
            std::fs::copy(format!("{}/{file}", self.state()), format!("{}/{file}", copy.state())).unwrap();
        }
        copy
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent
            && let Ok(None) = agent.try_wait()
        {
            drop(agent.kill());
            drop(agent.wait());
        }
    }
}

pub(crate) async fn invite(admin: &Api) -> String {
    let invite = admin.post("/api/v1/invites", json!({})).await.expect(201).json();
    invite["token"].as_str().unwrap().to_owned()
}

/// Waits until a machine is in a state, as `longshore machine list` would show it.
pub(crate) async fn until_machine(admin: &Api, machine: &str, state: &str) -> Value {
    let path = format!("/api/v1/machines/{machine}");
    let wait = Wait::new(format!("machine {machine} is {state}"));
    eventually(&wait, 60, || async {
        let answer = admin.get(&path).await;
        wait.saw(&answer.text);
        (answer.status == 200 && answer.json()["state"] == state).then(|| answer.json())
    })
    .await
}
