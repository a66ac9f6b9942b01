//! Hosts of a test's own, which can dial out to this one and into which nobody can dial.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Ends with the test, and with it every host and the engines that were started there.
pub(crate) struct Network {
    /// Short, because Unix socket paths are.
    folder: tempfile::TempDir,
    /// This host's address on the network.
    pub(crate) address: String,
    hosts: Vec<&'static str>,
}

impl Network {
    /// Each host with an engine of its own; none when the engine is skipped.
    pub(crate) fn start(hosts: &[&'static str]) -> Option<Self> {
        super::engine()?;
        let folder = tempfile::Builder::new().prefix("ls-n-").tempdir_in("/tmp").unwrap();
        let output = script(&[&["start", &run(&folder)], hosts].concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let address = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let network = Self { folder, address, hosts: hosts.to_vec() };
        for host in hosts {
            network.engine_script(host, "start");
        }
        Some(network)
    }

    /// A command that runs as a host.
    pub(crate) fn command(&self, host: &str, program: &str) -> Command {
        script(&["exec", &run(&self.folder), host, program])
    }

    /// The address of a host's engine; a socket is a file, and so reaches across hosts.
    pub(crate) fn engine(&self, host: &str) -> String {
        format!("unix://{}/docker.sock", self.engine_folder(host).display())
    }

    /// The host's own address.
    pub(crate) fn address_of(&self, host: &str) -> String {
        let file = Path::new(&run(&self.folder)).join(format!("{host}.address"));
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    }

    /// `cut`, `mute`, `deafen`, `lose`, `slow` or `heal`.
    pub(crate) fn change(&self, verb: &str, host: &str) {
        assert!(script(&[verb, &run(&self.folder), host]).status().unwrap().success());
    }

    fn engine_folder(&self, host: &str) -> PathBuf {
        self.folder.path().join(host)
    }

    fn engine_script(&self, host: &str, verb: &str) {
        let program = scripts().join("private-engine").display().to_string();
        let output = self.command(host, &program).arg(verb).arg(self.engine_folder(host)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in self.hosts.clone() {
            self.engine_script(host, "stop");
        }
        drop(script(&["stop", &run(&self.folder)]).status());
    }
}

fn run(folder: &tempfile::TempDir) -> String {
    folder.path().join("n").display().to_string()
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts")
}

fn script(words: &[&str]) -> Command {
    let mut command = Command::new(scripts().join("private-network"));
    command.args(words);
    command
}
