//! The documents' own commands, done as they stand: whoever follows them gets what they promise.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::service::{NEW_MACHINE, SYSTEMD};
use crate::support::gpus::{Driver, gpu};
use crate::support::machine::free_port;
use crate::support::network::Network;
use crate::support::process::ServerProcess;
use crate::support::server::ADMIN_PASSWORD;
use crate::support::{Wait, eventually};

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
        let clone = Self::before_run(&crate::support::engine().unwrap());
        std::fs::create_dir(clone.path(".longshore")).unwrap();
        let address = server.api.url.trim_start_matches("http://");
        std::fs::write(clone.path(".longshore/listen"), format!("{address}\n")).unwrap();
        std::fs::write(clone.path(".longshore/registry-listen"), format!("{}\n", server.registry)).unwrap();
        clone
    }

    /// The same where nobody has called it.
    fn before_run(docker: &str) -> Self {
        let clone = Self { folder: tempfile::tempdir().unwrap(), docker: docker.to_owned() };
        std::fs::create_dir(clone.path("home")).unwrap();
        std::os::unix::fs::symlink(root().join("examples"), clone.path("examples")).unwrap();
        clone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that the person starts there.
    fn command(&self, program: &str) -> Command {
        let ours = Path::new(env!("CARGO_BIN_EXE_longshore")).parent().unwrap();
        let path = crate::support::setting("PATH").unwrap();
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", ours.display()))
            .env("HOME", self.path("home"))
            .env("LONGSHORE_CACHE", self.path("home/cache"))
            .env("LONGSHORE_LANG", "en")
            .env("DOCKER_HOST", &self.docker)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("DOCKER_CONFIG");
        command
    }

    /// Types the commands into a shell that ends at the first that fails; what they print.
    fn follow(&self, commands: &str) -> String {
        let done = self
            .command("timeout")
            .args(["180", "bash", "-euo", "pipefail", "-c", commands])
            .output()
            .unwrap();
        let (out, words) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{commands}\n-- {}\n{out}\n-- stderr\n{words}", done.status);
        out.into_owned()
    }

    /// The same on a terminal, with a password for whoever asks for it; what the terminal showed.
    fn follow_on_terminal(&self, commands: &str, password: &str) -> String {
        std::fs::write(self.path("typed"), commands).unwrap();
        let mut terminal = self
            .command("timeout")
            .args(["180", "script", "-qec", "bash -euo pipefail typed", "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut keys, mut screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
        let (mut shown, mut part) = (String::new(), [0; 4096]);
        let mut typed = 0;
        loop {
            let length = screen.read(&mut part).unwrap();
            if length == 0 {
                break;
            }
            shown.push_str(&String::from_utf8_lossy(&part[..length]));
            // A prompt that hides what is typed throws away what came before it did; the terminal has then shown it.
            if shown.contains("assword") && shown.matches(password).count() == typed {
                typed += 1;
                writeln!(keys, "{password}").unwrap();
            }
        }
        let status = terminal.wait().unwrap();
        assert!(status.success(), "{commands}\n-- {status}\n{shown}");
        shown
    }

    /// What a command says with `--json`.
    fn ask(&self, command: &str) -> Value {
        serde_json::from_str(&self.follow(&format!("{command} --json"))).unwrap()
    }
}

/// A server that listens where machines can reach it. Killed when dropped.
struct Listening {
    child: Child,
    url: String,
    fingerprint: String,
}

impl Listening {
    /// `longshore server --listen …`, as a document has it, on this address of the host's.
    fn start(clone: &Clone, document: &str, address: &str) -> Self {
        const SHOWN: &str = "longshore server --listen 0.0.0.0:8080";
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        assert!(text.contains(&format!("`{SHOWN}`")), "{document} says how the server listens");
        let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        let command = SHOWN.replace("0.0.0.0:8080", &format!("{address}:{port}"));
        let mut child = clone
            .command("bash")
            .args(["-c", &format!("exec {command}")])
            .env("LONGSHORE_DATA_DIR", clone.path("data"))
            .env("LONGSHORE_REGISTRY_LISTEN", format!("127.0.0.1:{}", free_port()))
            .env("LONGSHORE_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .env("LONGSHORE_MACHINE_ENABLED", "false")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let told =
            lines.find(|line| line.contains("--fingerprint")).expect("the server prints it when it starts");
        let fingerprint = told.split_whitespace().last().unwrap().to_owned();
        // A pipe that nobody reads would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: format!("https://{address}:{port}"), fingerprint }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
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

/// A machine on a host that can only dial out, with an engine, a GPU and root's shell. What is in it is as on any machine, but for
/// `systemctl`, whose stand-in starts what the unit says.
fn follow_on_machine(
    network: &Network,
    host: &str,
    driver: &Driver,
    commands: &str,
) -> (tempfile::TempDir, Child) {
    let script = format!(
        r#"{NEW_MACHINE}{SYSTEMD}
mkdir "$WORK/copied"
ln -s "$LONGSHORE" "$WORK/copied/longshore"
PATH=$WORK/copied:$PATH
touch /run/docker.sock
mount --bind "$SOCKET" /run/docker.sock
chgrp docker /run/docker.sock
mount -t tmpfs tmpfs /usr/local/lib
cp "$DRIVER"/* /usr/local/lib
ldconfig
{commands}
echo "== ready"
read -r end || true
kill "$(cat /run/agent.pid)"
"#
    );
    let folder = tempfile::tempdir().unwrap();
    let child = network
        .command(host, "unshare")
        .args(["--mount", "bash", "-c", &script])
        .env("WORK", folder.path())
        .env("LONGSHORE", env!("CARGO_BIN_EXE_longshore"))
        .env("LONGSHORE_LANG", "en")
        .env("SOCKET", network.engine(host).trim_start_matches("unix://"))
        .env("DRIVER", driver.path().parent().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (folder, child)
}

/// Waits until the machine has done what it was told; what it printed.
fn until_ready(machine: &mut Child) -> String {
    let mut said = String::new();
    for line in BufReader::new(machine.stdout.take().unwrap()).lines().map(Result::unwrap) {
        if line == "== ready" {
            return said;
        }
        said.push_str(&line);
        said.push('\n');
    }
    let mut error = String::new();
    machine.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    panic!("it ended early: {said}{error}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gpu_machine_is_added_as_the_readme_says() {
    const HOST: &str = "gpu1";
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can make a machine of its own");
        return;
    }
    let Some(network) = Network::start(&[HOST]) else { return };
    let driver = Driver::with(&[gpu("GPU-readme", "NVIDIA T4", 15_360)]);
    let clone = Clone::before_run(&network.engine(HOST));
    let server = Listening::start(&clone, "README.md", &network.address);
    let filled = |text: String| text.replace("https://SERVER:8080", &server.url);

    // On the admin's computer, and then on the machine, what that printed.
    let as_admin = filled(block("README.md", "longshore login https://SERVER:8080"));
    let shown = clone.follow_on_terminal(&as_admin.replace("HEX", &server.fingerprint), ADMIN_PASSWORD);
    let printed = shown.lines().find(|line| line.starts_with("longshore agent join ")).expect(&shown);
    let token = printed.split_whitespace().find(|word| word.starts_with("lsj_")).expect(printed);
    let on_machine = filled(block("README.md", "longshore agent join")).replace("lsj_…", token);
    assert_eq!(printed.trim_end(), on_machine, "what is printed is what the README shows");
    let doctor = format!("{on_machine}\nlongshore agent doctor || true");
    let (_folder, mut machine) = follow_on_machine(&network, HOST, &driver, &doctor);
    let said = tokio::task::block_in_place(|| until_ready(&mut machine));

    let wait = Wait::new("the machine and its GPU are there");
    let id = eventually(&wait, 60, || async {
        let (machines, gpus) = (clone.ask("longshore machine list"), clone.ask("longshore gpu list"));
        wait.saw(&format!("{machines} {gpus}"));
        let seen = &machines["data"][0];
        let is_there = seen["state"] == "online" && gpus["data"][0]["state"] == "free";
        is_there.then(|| seen["machine_id"].as_str().unwrap().to_owned())
    })
    .await;
    // What the tours make before: an image, and another account.
    clone.follow("longshore image upload examples/hello --name hello:1");
    let bob = r#"{"account":"bob","password":"correct horse"}"#;
    let json = "-H 'Content-Type: application/json'";
    clone.follow(&format!("curl -fsk {}/api/auth/register {json} -d '{bob}'", server.url));
    let listed = clone.follow(&block("README.md", "longshore gpu list"));
    let containers = clone.ask("longshore container list");
    let quota = clone.ask("longshore account quota bob");
    clone.follow(&format!("longshore machine drain {id}"));
    let drained = clone.ask("longshore machine list");

    assert!(said.contains("gpu"), "the machine's doctor speaks of GPUs: {said}");
    assert!(listed.contains("NVIDIA T4"), "{listed}");
    let container = &containers["data"][0];
    assert_eq!(container["gpu_ids"], serde_json::json!(["GPU-readme"]), "{containers}");
    assert!(container["ends_at"].is_string(), "it has a maximum duration: {container}");
    assert_eq!(quota["limits"]["gpus"], 2, "{quota}");
    assert!(drained["data"][0]["drained_at"].is_string(), "{drained}");
    drop(machine.stdin.take());
    tokio::task::block_in_place(|| machine.wait().unwrap());
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
