//! The agent as a service: what `--service` does to a machine, on one whose folders are its own for the length of a test. All
//! programs are real but `systemctl`, for which something stands in that starts what the unit says.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use crate::support::remote::{invite, until_machine};
use crate::support::server::TestServer;

/// Gives the script folders of its own: what is written to them is gone with it.
pub(crate) const NEW_MACHINE: &str = r#"
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs "$WORK"
mkdir "$WORK/upper" "$WORK/work" "$WORK/bin"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$WORK/upper,workdir=$WORK/work" /etc
mount --bind "$WORK/bin" /usr/local/bin
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /run
getent group docker >/dev/null || groupadd docker
PATH=/usr/local/bin:$PATH
"#;

/// Notes what it is told, and starts what the unit says as whom the unit says.
pub(crate) const SYSTEMD: &str = r#"
mkdir -p /run/systemd/system
cat >/usr/local/bin/systemctl <<'END'
#!/bin/sh
echo "$*" >>/run/systemctl.log
case $1 in
  is-active) test -e /run/agent.pid ;;
  restart)
    if [ -e /run/agent.pid ]; then
      old=$(cat /run/agent.pid)
      kill "$old"
      # The new one starts when the old one has ended.
      while grep -qs '^State:.[^Z]' "/proc/$old/status"; do sleep 0.1; done
    fi
    if [ -e /etc/longshore/agent.env ]; then . /etc/longshore/agent.env; fi
    setpriv --reuid=longshore-agent --regid=longshore-agent --init-groups --inh-caps=-all \
      sh -c "exec $(sed -n 's/^ExecStart=//p' /etc/systemd/system/longshore-agent.service)" >/run/agent.log 2>&1 &
    echo $! >/run/agent.pid
    ;;
esac
END
chmod 0755 /usr/local/bin/systemctl
"#;

/// A script on a machine of its own; none when this is not root, who alone can make one.
fn on_new_machine(script: &str, url: &str, token: &str) -> Option<(tempfile::TempDir, Child)> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can make a machine of its own");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new("unshare")
        .args(["--mount", "sh", "-c", &format!("{NEW_MACHINE}{script}")])
        .env("WORK", folder.path())
        .env("LONGSHORE", env!("CARGO_BIN_EXE_longshore"))
        .env("LONGSHORE_LANG", "en")
        .env("URL", url)
        .env("TOKEN", token)
        .env("NO_PROXY", "localhost,\"quoted\"")
        .env_remove("HTTPS_PROXY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Some((folder, child))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_without_systemd_says_so_and_keeps_its_invitation() {
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    let token = invite(&admin).await;
    let script = r#"
status=0; "$LONGSHORE" agent join "$URL" "$TOKEN" --service || status=$?
echo "first $status"
"$LONGSHORE" agent join "$URL" "$TOKEN"
echo "second $?"
status=0; "$LONGSHORE" agent run --service || status=$?
echo "third $status"
test ! -e /etc/systemd/system/longshore-agent.service
"#;
    let Some((_folder, child)) = on_new_machine(script, &server.url, &token) else { return };

    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();

    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(out, "first 1\nsecond 0\nthird 1\n", "{err}");
    assert_eq!(err.matches("does not run systemd").count(), 2, "{err}");
    assert!(err.contains("`longshore agent run`"), "{err}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_line_joins_a_machine_and_installs_its_agent_as_a_service() {
    let server = TestServer::without_engine(&[]).await;
    let admin = server.admin().await;
    let token = invite(&admin).await;
    let script = format!(
        r#"{SYSTEMD}
"$LONGSHORE" agent join "$URL" "$TOKEN" --service --registry-listen 127.0.0.1:0 --nvml '/opt/a $b 100%/lib.so' >&2
echo "== unit"; grep -v '^#' /etc/systemd/system/longshore-agent.service
echo "== account"; id -nG longshore-agent; stat -c '%U %a %n' /var/lib/longshore-agent /var/lib/longshore-agent/*
echo "== files"; stat -c '%U %a %n' /usr/local/bin/longshore /etc/longshore/agent.env; cat /etc/longshore/agent.env
cmp "$LONGSHORE" /usr/local/bin/longshore
echo "== ready"
read -r again
longshore agent run --service --registry-listen 127.0.0.1:0 >&2
echo "== systemctl"; cat /run/systemctl.log
echo "== ready"
read -r done
kill "$(cat /run/agent.pid)"
"#
    );
    let Some((_folder, mut child)) = on_new_machine(&script, &server.url, &token) else { return };
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until_ready = || {
        let mut said = String::new();
        for line in lines.by_ref().map(Result::unwrap) {
            if line == "== ready" {
                return said;
            }
            said.push_str(&line);
            said.push('\n');
        }
        let mut error = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut error).unwrap();
        panic!("it ended early: {said}{error}")
    };

    let installed = tokio::task::block_in_place(&mut until_ready);

    // It runs as its own account, which may not call the engine of the tests: that is what the server is told.
    let own = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let machine = if own.trim().is_empty() {
        crate::support::eventually("a machine is there", 60, || async {
            let listed = admin.get("/api/v1/machines").await.json();
            listed["data"][0]["machine_id"].as_str().map(str::to_owned)
        })
        .await
    } else {
        own.trim().to_owned()
    };
    until_machine(&admin, &machine, "engine_down").await;
    assert!(
        installed.contains(
            "ExecStart=/usr/local/bin/longshore agent run --data-dir /var/lib/longshore-agent --registry-listen 127.0.0.1:0 --nvml \"/opt/a $$b 100%%/lib.so\"\n"
        ),
        "{installed}"
    );
    assert!(
        installed.contains("User=longshore-agent\n") && installed.contains("Restart=always\n"),
        "{installed}"
    );
    assert!(installed.contains("== account\nlongshore-agent docker\n"), "{installed}");
    assert!(
        !installed.contains("root 700 /var/lib/longshore-agent"),
        "the folder is the account's: {installed}"
    );
    assert!(
        installed.contains("root 755 /usr/local/bin/longshore\nroot 600 /etc/longshore/agent.env\n"),
        "{installed}"
    );
    assert!(installed.contains("NO_PROXY=\"localhost,\\\"quoted\\\"\"\n"), "{installed}");

    // Once more, such as after an upgrade: everything is there, and the new one takes the old one's place.
    writeln!(input, "again").unwrap();
    let again = tokio::task::block_in_place(&mut until_ready);
    assert_eq!(
        again,
        "== systemctl\nis-active --quiet longshore-agent.service\ndaemon-reload\nenable --quiet longshore-agent.service\nrestart longshore-agent.service\nis-active --quiet longshore-agent.service\ndaemon-reload\nenable --quiet longshore-agent.service\nrestart longshore-agent.service\n"
    );
    until_machine(&admin, &machine, "engine_down").await;
    writeln!(input, "done").unwrap();
    tokio::task::block_in_place(|| child.wait().unwrap());
    server.stop().await;
}
