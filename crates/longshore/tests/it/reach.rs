//! Ways from a container to its machine and to other people's containers: each is first shown to work on the bare engine, and gets
//! nowhere through Longshore.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::Answer;
use crate::support::engine::Bare;
use crate::support::machine::docker;
use crate::support::shop::Shop;

/// An option that reaches the host.
struct Attack {
    /// As it is asked for, of us at the top and of the engine where it belongs.
    option: Value,
    /// How the engine shows that it took it, in its own spelling.
    taken: Value,
}

/// Where in a request to the engine an option belongs.
#[derive(Clone, Copy)]
enum Place {
    Host,
    Top,
}

/// Spelled as the engine spells it.
fn plain(option: Value) -> Attack {
    Attack { taken: option.clone(), option }
}

/// Spelled otherwise.
fn odd(option: Value, taken: Value) -> Attack {
    Attack { option, taken }
}

/// What belongs into the engine's `HostConfig`. `folder` is one of the machine's, `other` somebody else's container.
fn host_attacks(folder: &str, other: &str) -> Vec<Attack> {
    let bind = format!("{folder}:/host");
    let binds = json!({"Binds": [bind]});
    let options = json!({"type": "none", "o": "bind", "device": folder});
    let volume = json!({"Type": "volume", "Target": "/host", "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": options}}});
    let privileged = json!({"Privileged": true});
    vec![
        plain(binds.clone()),
        odd(json!({"binds": [bind]}), binds.clone()),
        odd(json!({"bInDs": [bind]}), binds.clone()),
        // A long s folds to a short one.
        odd(json!({"bind\u{17f}": [bind]}), binds),
        plain(json!({"Mounts": [{"Type": "bind", "Source": folder, "Target": "/host"}]})),
        odd(json!({"mounts": [volume]}), json!({"Mounts": [volume]})),
        plain(json!({"VolumesFrom": [other]})),
        plain(privileged.clone()),
        odd(json!({"privileged": true}), privileged.clone()),
        odd(json!({"pRiViLeGeD": true}), privileged),
        plain(json!({"CapAdd": ["CAP_SYS_ADMIN"]})),
        plain(
            json!({"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/reached", "CgroupPermissions": "rwm"}]}),
        ),
        plain(json!({"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]})),
        plain(json!({"DeviceCgroupRules": ["a *:* rwm"]})),
        plain(json!({"NetworkMode": "host"})),
        plain(json!({"NetworkMode": format!("container:{other}")})),
        plain(json!({"PidMode": "host"})),
        plain(json!({"PidMode": format!("container:{other}")})),
        plain(json!({"IpcMode": "host"})),
        plain(json!({"UTSMode": "host"})),
        plain(json!({"UsernsMode": "host"})),
        plain(json!({"CgroupnsMode": "host"})),
        plain(json!({"CgroupParent": "reached.slice"})),
        plain(json!({"SecurityOpt": ["seccomp=unconfined"]})),
        plain(json!({"MaskedPaths": []})),
        plain(json!({"ReadonlyPaths": []})),
        plain(json!({"Sysctls": {"kernel.shm_rmid_forced": "1"}})),
        plain(json!({"OomScoreAdj": -1000})),
        plain(json!({"LogConfig": {"Type": "syslog"}})),
        plain(json!({"ExtraHosts": ["host:host-gateway"]})),
        plain(json!({"GroupAdd": ["docker"]})),
        plain(json!({"Ulimits": [{"Name": "nproc", "Soft": -1, "Hard": -1}]})),
        plain(json!({"RestartPolicy": {"Name": "always"}})),
    ]
}

/// What belongs beside the engine's `HostConfig`; the engine shows it in its `Config`, or in the `HostConfig` that is named.
fn top_attacks(folder: &str) -> Vec<(Attack, &'static str)> {
    let bind = json!([format!("{folder}:/host")]);
    vec![
        (plain(json!({"HostConfig": {"Privileged": true}})), ""),
        (odd(json!({"hostconfig": {"binds": bind}}), json!({"HostConfig": {"Binds": bind}})), ""),
        (plain(json!({"Labels": {"longshore.container": "1"}})), "Config"),
        (odd(json!({"user": "0"}), json!({"User": "0"})), "Config"),
        (odd(json!({"volumes": {"/own": {}}}), json!({"Volumes": {"/own": {}}})), "Config"),
        (
            odd(
                json!({"env": ["NVIDIA_VISIBLE_DEVICES=all"]}),
                json!({"Env": ["NVIDIA_VISIBLE_DEVICES=all"]}),
            ),
            "Config",
        ),
    ]
}

/// Look-alikes that engines pass over, our own fields of the wrong shape, and what the policy forbids.
fn wrong_for_us() -> Vec<Value> {
    vec![
        json!({"Runtime": "other"}),
        json!({"OomKillDisable": true}),
        json!({"host_config": {}}),
        json!({"NetworkingConfig": {"EndpointsConfig": {"other": {}}}}),
        json!({"priv\u{131}leged": true}),
        json!({"Ports": []}),
        json!({"ports ": []}),
        json!({"port\u{17f}": []}),
        json!({"ports": [{"container": 80, "HostIp": "0.0.0.0"}]}),
        json!({"ports": [{"container": 80, "bind": "0.0.0.0"}]}),
        json!({"ports": {"80/tcp": [{"HostPort": "22"}]}}),
        json!({"env": ["A=b"]}),
        json!({"command": "sh -c id"}),
        json!({"memory_bytes": -1}),
        json!({"pids": -1}),
        json!({"ports": [{"container": 80, "host": 22}]}),
        json!({"ports": [{"container": 80, "bind": "lan"}]}),
        json!({"memory_bytes": 1}),
        json!({"memory_bytes": u64::MAX}),
        json!({"cpu_millis": 4_000_000_000_u32}),
        json!({"pids": 0}),
        json!({"working_dir": "../.."}),
        json!({"env": {"A=B": "c"}}),
        json!({"name": "123"}),
        json!({"name": "../../etc"}),
    ]
}

/// Whether all that is wanted is there; engines add their defaults.
fn holds(seen: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(wanted) => wanted.iter().all(|(key, value)| holds(&seen[key], value)),
        Value::Array(wanted) => {
            let all = |seen: &Vec<Value>| wanted.iter().all(|one| seen.iter().any(|seen| holds(seen, one)));
            seen.as_array().is_some_and(|seen| all(seen) && (seen.is_empty() == wanted.is_empty()))
        }
        plain => seen == plain,
    }
}

/// Has the engine make a container with an option, and looks whether it took it.
fn works_on_the_engine(bare: &Bare, image: &str, place: Place, attack: &Attack, shown: &str) {
    let mut body = json!({"Image": image, "Cmd": ["/bin/sh"]});
    let options = attack.option.as_object().unwrap().clone();
    match place {
        Place::Top => body.as_object_mut().unwrap().extend(options),
        Place::Host => body["HostConfig"] = Value::Object(options),
    }
    let made = bare.create(&body);
    let seen = bare.get(&format!("/containers/{made}/json"));
    bare.remove(&made);
    let seen = if shown.is_empty() { &seen } else { &seen[shown] };
    assert!(holds(seen, &attack.taken), "the engine takes {}: {seen}", attack.option);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_reach_the_host_are_refused_and_the_engine_hears_nothing() {
    let Some(shop) = Shop::open().await else { return };
    let victim = shop.run(json!({"name": "victim"})).await;
    let seen = shop.inspect(&victim["id"]);
    let (victim, image) = (seen["Id"].as_str().unwrap(), seen["Image"].as_str().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (folder, bare) = (folder.path().to_str().unwrap(), Bare::at(&shop.docker));
    let (of_host, of_top) = (host_attacks(folder, victim), top_attacks(folder));

    for attack in &of_host {
        works_on_the_engine(&bare, image, Place::Host, attack, "HostConfig");
    }
    for (attack, shown) in &of_top {
        works_on_the_engine(&bare, image, Place::Top, attack, shown);
    }

    let attacks = of_host.into_iter().chain(of_top.into_iter().map(|(attack, _)| attack));
    for option in attacks.map(|attack| attack.option).chain(wrong_for_us()) {
        let answer = shop.ask(option.clone()).await;
        assert_eq!(answer.status, 422, "{option}: {}", answer.text);
    }
    for twice in [
        r#"{"image":"app:v1","ports":[],"ports":[{"container":80,"bind":"lan"}]}"#,
        r#"{"image":"app:v1","memory_bytes":67108864,"memory_bytes":1}"#,
        r#"{"image":"app:v1","image":"public/other:1"}"#,
    ] {
        let request = shop.alice.request(Method::POST, "/api/v1/containers");
        let answer = shop.alice.send(request.header("content-type", "application/json").body(twice)).await;
        assert_eq!(answer.status, 422, "{twice}: {}", answer.text);
    }

    assert_eq!(shop.engine_ids(), [victim], "there is nothing but the one that was there");
    let listed = shop.alice.get("/api/v1/containers").await.expect(200).json();
    assert_eq!(listed["total"], 1);
    shop.close().await;
}

/// The namespaces of this test, and so of the engine and of the host, by name.
fn namespaces() -> [(&'static str, String); 5] {
    ["net", "pid", "ipc", "uts", "cgroup"].map(|kind| {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        (kind, link.display().to_string())
    })
}

/// What the attacks are for: with the engine's own options a process sees the machine's files, devices, namespaces and powers,
/// and in a container of ours it sees none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_sees_nothing_of_its_machine_that_it_would_see_with_the_engines_options() {
    let Some(shop) = Shop::open().await else { return };
    let ours = shop.run_shell(json!({})).await;
    let (bare, seen) = (Bare::at(&shop.docker), shop.inspect(&ours["id"]));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "the machine's own").unwrap();
    let folder = folder.path().to_str().unwrap();
    let look = "cat /host/secret; ls /dev; ls -l /proc/self/ns; cat /proc/self/status";
    let run = |host: Value| {
        bare.run(&json!({"Image": seen["Image"], "Cmd": ["/bin/sh", "-c", look], "HostConfig": host}))
    };
    let options = json!({"type": "none", "o": "bind", "device": folder});
    let driver = json!([{"Type": "volume", "Target": "/host", "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": options}}}]);

    let inside = docker(&shop.docker, &["exec", seen["Id"].as_str().unwrap(), "/bin/sh", "-c", look]);
    let bound = run(json!({"Binds": [format!("{folder}:/host")]}));
    let mounted = run(json!({"Mounts": driver}));
    // Not `Privileged`, which is all powers: a machine that is a container itself has none to give that it was not given.
    let powerful = run(json!({"CapAdd": ["CAP_SYS_ADMIN"]}));
    let device = run(
        json!({"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/reached", "CgroupPermissions": "rwm"}]}),
    );
    let shared = run(
        json!({"NetworkMode": "host", "PidMode": "host", "IpcMode": "host", "UTSMode": "host", "CgroupnsMode": "host"}),
    );

    for with_files in [&bound, &mounted] {
        assert!(with_files.contains("the machine's own"), "{with_files}");
    }
    assert!(!inside.contains("the machine's own"), "{inside}");
    assert!(device.contains("reached") && !inside.contains("reached"), "{device}");
    for (kind, namespace) in namespaces() {
        assert!(shared.contains(&namespace), "{kind}: {namespace} is not in {shared}");
        assert!(!inside.contains(&namespace), "{kind}: {namespace} is in {inside}");
    }
    assert!(may_administer(&powerful), "{powerful}");
    assert!(!may_administer(&inside), "{inside}");
    shop.close().await;
}

/// Whether a process may do what only the machine's administrator should (`CAP_SYS_ADMIN`), by its status.
fn may_administer(status: &str) -> bool {
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a process has powers");
    u64::from_str_radix(bits.trim(), 16).unwrap() & (1 << 21) != 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_somebody_elses_does_not_exist() {
    let Some(shop) = Shop::open().await else { return };
    let bob = shop.server.account("bob").await;
    let box_ = shop.run(json!({"name": "box"})).await;
    let engine_id = shop.engine_id(&box_["id"]).unwrap();
    let image = box_["image_id"].clone();

    // All of it leads to the container where nobody asks who asks: by any name on the bare engine, by ours for its owner.
    let engine_name = shop.inspect(&box_["id"])["Name"].as_str().unwrap().trim_start_matches('/').to_owned();
    let number = box_["id"].to_string();
    let ids: [&str; 6] = [&number, "box", &engine_id, &engine_id[..12], &engine_id[..8], &engine_name];
    let bare = Bare::at(&shop.docker);
    for id in &ids[2..] {
        assert_eq!(bare.get(&format!("/containers/{id}/json"))["Id"], *engine_id, "{id}");
    }
    for id in &ids[..2] {
        assert_eq!(
            shop.alice.get(&format!("/api/v1/containers/{id}")).await.expect(200).json()["id"],
            box_["id"]
        );
    }
    for id in ids {
        for (method, verb) in [
            ("GET", ""),
            ("GET", "/log"),
            ("POST", "/start"),
            ("POST", "/stop"),
            ("POST", "/restart"),
            ("DELETE", ""),
        ] {
            let method: Method = method.parse().unwrap();
            let foreign =
                bob.send(bob.request(method.clone(), &format!("/api/v1/containers/{id}{verb}"))).await;
            let absent = bob.send(bob.request(method, &format!("/api/v1/containers/999999{verb}"))).await;
            assert_eq!((foreign.status, absent.status), (404, 404), "{id}{verb}");
            let plain = |answer: &Answer, id: &str| {
                let mut body = answer.json();
                body["request_id"] = Value::Null;
                body.to_string().replace(id, "ID")
            };
            assert_eq!(plain(&foreign, id), plain(&absent, "999999"), "{id}{verb}");
        }
    }
    for image in [json!("alice/app:v1"), json!(image.to_string())] {
        bob.post("/api/v1/containers", json!({"image": image})).await.expect(404);
    }
    assert_eq!(bob.get("/api/v1/containers").await.json()["total"], 0);
    bob.get("/api/v1/containers?all=true").await.expect(403);
    bob.get("/api/v1/containers?account=alice").await.expect(403);

    // Alice's container heard nothing of it, and the admin sees it.
    assert_eq!(shop.alice.get("/api/v1/containers/box").await.json()["state"], "running");
    let admin = shop.server.admin().await;
    assert_eq!(admin.get("/api/v1/containers").await.json()["total"], 0);
    for query in
        ["all=true", "account=alice", "account=alice&state=running&search=bo", "all=true&image=alice/app:v1"]
    {
        assert_eq!(admin.get(&format!("/api/v1/containers?{query}")).await.json()["total"], 1, "{query}");
    }
    for query in
        ["all=true&state=failed", "all=true&machine=other", "all=true&search=zzz", "all=true&image=nothing:1"]
    {
        assert_eq!(admin.get(&format!("/api/v1/containers?{query}")).await.json()["total"], 0, "{query}");
    }
    admin.get(&format!("/api/v1/containers/{}", box_["id"])).await.expect(200);
    shop.close().await;
}
