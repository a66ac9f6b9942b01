//! The documents' own commands, done as they stand: whoever follows them gets what they promise.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::ServerProcess;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The commands that a document shows, in order.
fn commands(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let blocks = text.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}

/// The one block that begins so.
fn block(document: &str, beginning: &str) -> String {
    let found: Vec<String> =
        commands(document).into_iter().filter(|block| block.starts_with(beginning)).collect();
    assert_eq!(found.len(), 1, "blocks of {document} that begin with `{beginning}`");
    found.into_iter().next().unwrap()
}

/// A folder that looks like a clone in which `./run` was called, for a person with a home of their own.
struct Clone {
    folder: tempfile::TempDir,
    docker: String,
}

impl Clone {
    fn of(server: &ServerProcess) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".longshore")).unwrap();
        std::fs::create_dir(folder.path().join("home")).unwrap();
        std::os::unix::fs::symlink(root().join("examples"), folder.path().join("examples")).unwrap();
        let address = server.api.url.trim_start_matches("http://");
        std::fs::write(folder.path().join(".longshore/listen"), format!("{address}\n")).unwrap();
        let registry = format!("{}\n", server.registry);
        std::fs::write(folder.path().join(".longshore/registry-listen"), registry).unwrap();
        Self { folder, docker: crate::support::engine().unwrap() }
    }

    /// Types the commands into a shell that ends at the first that fails; what they print.
    fn follow(&self, commands: &str) -> String {
        let program = Path::new(env!("CARGO_BIN_EXE_longshore")).parent().unwrap();
        let path = crate::support::setting("PATH").unwrap();
        let home = self.folder.path().join("home");
        let done = Command::new("timeout")
            .args(["180", "bash", "-euo", "pipefail", "-c", commands])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", program.display()))
            .env("HOME", &home)
            .env("LONGSHORE_CACHE", home.join("cache"))
            .env("DOCKER_HOST", &self.docker)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("DOCKER_CONFIG")
            .output()
            .unwrap();
        let (out, words) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{commands}\n-- {}\n{out}\n-- stderr\n{words}", done.status);
        out.into_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tours_of_the_readme_work_word_for_word() {
    let Some(server) = ServerProcess::start(&[]).await else { return };
    let clone = Clone::of(&server);

    let with_curl = clone.follow(&block("README.md", "S=http://"));
    let with_cli = clone.follow(&block("README.md", "PATH="));
    let with_docker = clone.follow(&block("README.md", "R=$(cat"));
    clone.follow("docker rmi -f $(cat .longshore/registry-listen)/alice/hello:{1,2}; docker logout $(cat .longshore/registry-listen)");

    assert!(with_curl.contains("Hello from Longshore!"), "{with_curl}");
    assert!(with_cli.contains("Hello from Longshore!"), "{with_cli}");
    assert!(with_cli.contains("bob/hello"), "{with_cli}");
    assert!(with_docker.contains("digest: sha256:"), "{with_docker}");
}

#[test]
fn both_readmes_show_the_same_commands() {
    // Comments are translated.
    let shown = |document: &str| -> Vec<String> {
        let lines = commands(document).join("\n");
        lines.lines().map(|line| line.split(" #").next().unwrap().trim_end().to_owned()).collect()
    };

    assert_eq!(shown("README.md"), shown("README.zh-CN.md"));
}
