//! Containers: made from our own specification and from nothing else, and found by our labels and our name together.
//! Labels alone prove nothing: a step of a build carries those that a user wrote into its base image.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum,
    ContainerSummary, DeviceInfo, DeviceRequest, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig,
    Mount, MountType, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, ListContainersOptions, RemoveContainerOptions,
    RestartContainerOptions, StartContainerOptions, StopContainerOptions,
};
use wire::containers::{Bind, ContainerSpec, SHM_BYTES_DEFAULT};
use wire::ids::{ContainerId, GpuId, InstanceId};
use wire::link::{
    ContainerAction, ContainerActionDone, ContainerVerb, CreateContainer, LinkError, LinkErrorCode,
    ObservedContainer, ObservedState, RegistryReference,
};
use wire::policy::{GPUS_VARIABLE, Policy};

use super::copies::{self, Volume};
use super::volumes;
use super::{
    CALL_TIMEOUT, Engine, LABEL_ACCOUNT, LABEL_CONTAINER, LABEL_INSTANCE, container_name, is_not_found,
    within,
};
use crate::policy;

/// All that is left of root's powers. These are what ordinary images need to set up as root and then become another
/// user: own and read files (`CHOWN`, `DAC_OVERRIDE`, `FOWNER`, `FSETID`), change the user (`SETUID`, `SETGID`), lock a
/// child in (`SYS_CHROOT`, for sshd), signal their children (`KILL`), listen below 1024 (`NET_BIND_SERVICE`). Of Docker's
/// own list this leaves out raw sockets (forged packets on the shared bridge), device nodes, file capabilities and audit.
const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
];
/// What the engine calls NVIDIA's own way to hand over graphics processors, and the Container Device Interface.
const NVIDIA_DRIVER: &str = "nvidia";
const CDI_DRIVER: &str = "cdi";
/// What names of that interface begin with, for graphics processors of NVIDIA.
const CDI_KIND: &str = "nvidia.com/gpu";
/// The engine keeps at most this much of what a container prints.
const LOG_FILES: (&str, &str) = ("10m", "3");
/// A longer wait than this between asking and ending is a mistake.
const STOP_SECS_MAX: u32 = 600;
/// Of the engine's word on why a container does not run.
const ERROR_CHARS_MAX: usize = 400;
/// How long a removal that is going on already may take.
const REMOVAL_TIMEOUT: Duration = Duration::from_mins(1);

/// Makes the container, or finds it made. What the policy refuses never reaches the engine.
pub(crate) async fn create(
    engine: &Engine,
    policy: &Policy,
    call: CreateContainer,
) -> Result<ObservedContainer, LinkError> {
    policy::check(policy, &call.spec)?;
    if !matches!(call.image.reference, RegistryReference::Digest(_)) {
        let message = "containers are made from an image's digest: a tag may move between pull and creation";
        return Err(LinkError::new(LinkErrorCode::Invalid, message));
    }
    let (image, carried) = if call.is_from_copy {
        let carried = copies::volumes(engine, call.instance, call.container).await?;
        (copies::reference(call.instance, call.container), carried)
    } else {
        (engine.reference(&call.image)?, Vec::new())
    };
    let devices = devices(engine, &call.spec.gpus).await?;
    let name = container_name(call.instance, call.container);
    let labels = HashMap::from([
        (LABEL_INSTANCE.to_owned(), call.instance.to_string()),
        (LABEL_CONTAINER.to_owned(), call.container.to_string()),
        (LABEL_ACCOUNT.to_owned(), call.account.to_string()),
    ]);
    let mut mounts: Vec<Mount> = carried.into_iter().map(mount).collect();
    // Where the account has a volume of its own by now, the one that the engine made once is not wanted.
    mounts.retain(|mount| call.spec.volumes.iter().all(|own| mount.target.as_ref() != Some(&own.target)));
    mounts.extend(volumes::mounts(call.instance, &call.account, &call.spec.volumes));
    let mut body = engine_body(image.clone(), labels, call.spec, policy);
    if let Some(host_config) = &mut body.host_config {
        host_config.device_requests = devices;
        host_config.mounts = Some(mounts).filter(|mounts| !mounts.is_empty());
    }
    let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };

    let docker = engine.docker().await?;
    match within(CALL_TIMEOUT, docker.create_container(Some(options), body)).await {
        Ok(created) => inspect(engine, call.instance, &created.id).await,
        Err(error) if error.code == LinkErrorCode::Conflict => {
            adopt(engine, &name, call.instance, call.container).await
        }
        Err(error) if is_not_found(&error) && call.is_from_copy => {
            let message = "the copy of the container's disk is not on the machine any more";
            Err(LinkError::new(LinkErrorCode::NotFound, message))
        }
        Err(error) if is_not_found(&error) => {
            let message = format!("image `{image}` is not on the machine: pull it first");
            Err(LinkError::new(LinkErrorCode::ImageUnavailable, message))
        }
        Err(error) => Err(error),
    }
}

/// What the container may see, in the words of NVIDIA's toolkit; `void` is as if it were not there.
fn visible_devices(gpus: &[GpuId]) -> String {
    if gpus.is_empty() {
        return "void".to_owned();
    }
    gpus.iter().map(GpuId::as_str).collect::<Vec<_>>().join(",")
}

/// A volume that the container had before it was made anew.
fn mount(volume: Volume) -> Mount {
    Mount {
        target: Some(volume.target),
        source: Some(volume.name),
        typ: Some(MountType::VOLUME),
        ..Default::default()
    }
}

/// How the engine is asked for graphics processors: by the names of the Container Device Interface where it has found such
/// for all of them, by NVIDIA's own driver otherwise.
async fn devices(engine: &Engine, gpus: &[GpuId]) -> Result<Option<Vec<DeviceRequest>>, LinkError> {
    if gpus.is_empty() {
        return Ok(None);
    }
    let docker = engine.docker().await?;
    let discovered = within(CALL_TIMEOUT, docker.info()).await?.discovered_devices.unwrap_or_default();
    Ok(Some(vec![device_request(gpus, &discovered)]))
}

fn device_request(gpus: &[GpuId], discovered: &[DeviceInfo]) -> DeviceRequest {
    let cdi_name = |gpu: &GpuId| format!("{CDI_KIND}={gpu}");
    let is_found = |gpu: &GpuId| discovered.iter().any(|device| device.id == Some(cdi_name(gpu)));
    if gpus.iter().all(is_found) {
        return DeviceRequest {
            driver: Some(CDI_DRIVER.to_owned()),
            device_ids: Some(gpus.iter().map(cdi_name).collect()),
            ..Default::default()
        };
    }
    DeviceRequest {
        driver: Some(NVIDIA_DRIVER.to_owned()),
        device_ids: Some(gpus.iter().map(GpuId::to_string).collect()),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..Default::default()
    }
}

/// The graphics processors that a container was made with.
fn gpus_of(found: &ContainerInspectResponse) -> Vec<GpuId> {
    let requests = found.host_config.as_ref().and_then(|config| config.device_requests.as_ref());
    let names = requests.into_iter().flatten().flat_map(|request| request.device_ids.iter().flatten());
    let id = |name: &String| match name.split_once('=') {
        Some((CDI_KIND, id)) => id.parse().ok(),
        _ => name.parse().ok(),
    };
    names.filter_map(id).collect()
}

/// The name exists. It is ours if the labels say so: then an earlier call made it and its answer was lost.
async fn adopt(
    engine: &Engine,
    name: &str,
    instance: InstanceId,
    container: ContainerId,
) -> Result<ObservedContainer, LinkError> {
    match inspect(engine, instance, name).await {
        Ok(observed) if observed.container == container => Ok(observed),
        Err(error) if error.code != LinkErrorCode::Conflict => Err(error),
        _ => {
            let message = format!(
                "a container named `{name}` exists on the machine, and Longshore did not make it: rename it or remove it"
            );
            Err(LinkError::new(LinkErrorCode::Conflict, message))
        }
    }
}

/// The whole request to the engine. What a specification cannot express (mounts, devices, namespaces, privileges, drivers)
/// is not here and so cannot be asked for.
fn engine_body(
    image: String,
    labels: HashMap<String, String>,
    spec: ContainerSpec,
    policy: &Policy,
) -> ContainerCreateBody {
    let mut exposed = Vec::new();
    let mut bindings = HashMap::new();
    for port in &spec.ports {
        let key = format!("{}/{}", port.container, port.protocol.as_str());
        let binding = PortBinding {
            // The policy has passed it: without a network of its own nothing is published to one.
            host_ip: Some(match (port.bind, &policy.lan) {
                (Bind::Lan, Some(lan)) => lan.address.to_string(),
                _ => Bind::Loopback.address().to_owned(),
            }),
            host_port: Some(port.host.to_string()),
        };
        if !exposed.contains(&key) {
            exposed.push(key.clone());
        }
        bindings.entry(key).or_insert_with(|| Some(Vec::new())).get_or_insert_default().push(binding);
    }
    let mut env: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // Images for NVIDIA's toolkit say `all` here, and on an engine whose standard runtime is NVIDIA's that alone is enough to
    // get them: so it is said for every container, and last.
    env.push(format!("{GPUS_VARIABLE}={}", visible_devices(&spec.gpus)));
    let memory = i64::try_from(spec.memory_bytes).unwrap_or(i64::MAX);
    let (log_size, log_count) = LOG_FILES;
    let host_config = HostConfig {
        // Only we restart: two that restart fight over what the user asked for.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.iter().map(ToString::to_string).collect()),
        privileged: Some(false),
        // With the older kind of control groups an engine leaves them to see the whole host's.
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        pids_limit: Some(i64::from(spec.pids)),
        memory: Some(memory),
        // Equal to the memory: no swap beyond it.
        memory_swap: Some(memory),
        nano_cpus: Some(i64::from(spec.cpu_millis) * 1_000_000),
        shm_size: Some(i64::try_from(spec.shm_bytes.unwrap_or(SHM_BYTES_DEFAULT)).unwrap_or(i64::MAX)),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), log_size.to_owned()),
                ("max-file".to_owned(), log_count.to_owned()),
            ])),
        }),
        port_bindings: Some(bindings),
        publish_all_ports: Some(false),
        ..Default::default()
    };
    ContainerCreateBody {
        image: Some(image),
        labels: Some(labels),
        env: Some(env),
        cmd: spec.command,
        entrypoint: spec.entrypoint,
        working_dir: spec.working_dir,
        exposed_ports: Some(exposed),
        tty: Some(spec.tty),
        // A terminal whose other end is closed is one that hung up.
        open_stdin: Some(spec.tty),
        host_config: Some(host_config),
        ..Default::default()
    }
}

/// Does one thing to one container; what is done already is fine.
pub(crate) async fn act(engine: &Engine, call: ContainerAction) -> Result<ContainerActionDone, LinkError> {
    let found = find(engine, call.instance, call.container).await?;
    match call.verb {
        ContainerVerb::Start => {
            let id = found.ok_or_else(|| missing(call.container))?;
            let docker = engine.docker().await?;
            within(CALL_TIMEOUT, docker.start_container(&id, None::<StartContainerOptions>)).await?;
            Ok(ContainerActionDone { container: Some(inspect(engine, call.instance, &id).await?) })
        }
        ContainerVerb::Restart { timeout_secs, of } => {
            let id = found.ok_or_else(|| missing(call.container))?;
            if of.is_some() {
                let now = inspect(engine, call.instance, &id).await?;
                if now.started_at != of {
                    return Ok(ContainerActionDone { container: Some(now) });
                }
            }
            let (docker, t, limit) = patient(engine, timeout_secs).await?;
            let options = RestartContainerOptions { t: Some(t), ..Default::default() };
            within(limit, docker.restart_container(&id, Some(options))).await?;
            Ok(ContainerActionDone { container: Some(inspect(engine, call.instance, &id).await?) })
        }
        ContainerVerb::Stop { timeout_secs } => {
            let Some(id) = found else { return Ok(ContainerActionDone { container: None }) };
            let (docker, t, limit) = patient(engine, timeout_secs).await?;
            let options = StopContainerOptions { t: Some(t), ..Default::default() };
            gone_is_fine(within(limit, docker.stop_container(&id, Some(options))).await)?;
            Ok(ContainerActionDone { container: gone_is_none(inspect(engine, call.instance, &id).await)? })
        }
        ContainerVerb::Remove => {
            let carried = match &found {
                Some(id) => carried_volumes(engine, id).await?,
                None => Vec::new(),
            };
            if let Some(id) = found {
                remove(engine, &id).await?;
            }
            copies::remove(engine, call.instance, call.container, carried).await?;
            Ok(ContainerActionDone { container: None })
        }
        ContainerVerb::Replace => {
            if let Some(id) = found {
                remove_with(engine, &id, false).await?;
            }
            Ok(ContainerActionDone { container: None })
        }
        ContainerVerb::Look => {
            let Some(id) = found else { return Ok(ContainerActionDone { container: None }) };
            Ok(ContainerActionDone { container: gone_is_none(inspect(engine, call.instance, &id).await)? })
        }
    }
}

/// A client that waits as long as the container may take, and how long that is.
async fn patient(engine: &Engine, secs: u32) -> Result<(bollard::Docker, i32, Duration), LinkError> {
    if secs > STOP_SECS_MAX {
        let message = format!("a container can be given at most {STOP_SECS_MAX} seconds to stop, not {secs}");
        return Err(LinkError::new(LinkErrorCode::Invalid, message));
    }
    let limit = CALL_TIMEOUT + Duration::from_secs(secs.into());
    let t = i32::try_from(secs).expect("bounded above");
    Ok((engine.docker().await?.with_timeout(limit), t, limit))
}

async fn carried_volumes(engine: &Engine, id: &str) -> Result<Vec<String>, LinkError> {
    let docker = engine.docker().await?;
    let look = docker.inspect_container(id, None::<InspectContainerOptions>);
    let found = gone_is_none(within(CALL_TIMEOUT, look).await)?;
    Ok(found.map(|found| copies::carried(&found)).unwrap_or_default())
}

/// Ends and removes a container with its anonymous volumes; gone already is fine.
pub(super) async fn remove(engine: &Engine, id: &str) -> Result<(), LinkError> {
    remove_with(engine, id, true).await
}

async fn remove_with(engine: &Engine, id: &str, with_volumes: bool) -> Result<(), LinkError> {
    let docker = engine.docker().await?;
    let options = RemoveContainerOptions { force: true, v: with_volumes, ..Default::default() };
    match gone_is_fine(within(CALL_TIMEOUT, docker.remove_container(id, Some(options))).await) {
        // The engine is removing it already.
        Err(error) if error.code == LinkErrorCode::Conflict => wait_until_gone(engine, id).await,
        other => other,
    }
}

/// Also of a build's step, which has none of our labels.
async fn wait_until_gone(engine: &Engine, id: &str) -> Result<(), LinkError> {
    let docker = engine.docker().await?;
    let poll = async {
        let look = || docker.inspect_container(id, None::<InspectContainerOptions>);
        while gone_is_none(within(CALL_TIMEOUT, look()).await)?.is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    };
    match tokio::time::timeout(REMOVAL_TIMEOUT, poll).await {
        Ok(done) => done,
        Err(_) => Err(super::timed_out(REMOVAL_TIMEOUT)),
    }
}

/// The engine's id of a container of ours.
pub(super) async fn find(
    engine: &Engine,
    instance: InstanceId,
    container: ContainerId,
) -> Result<Option<String>, LinkError> {
    let label = format!("{LABEL_CONTAINER}={container}");
    Ok(list(engine, instance, Some(label)).await?.into_iter().next().map(|(id, _)| id))
}

/// This installation's containers: the engine's id and its word for the state.
pub(super) async fn list(
    engine: &Engine,
    instance: InstanceId,
    label: Option<String>,
) -> Result<Vec<(String, ObservedState)>, LinkError> {
    use bollard::models::ContainerSummaryStateEnum as State;

    let docker = engine.docker().await?;
    let labels = label.into_iter().chain([format!("{LABEL_INSTANCE}={instance}")]).collect();
    let options = ListContainersOptions {
        all: true,
        filters: Some(HashMap::from([("label".to_owned(), labels)])),
        ..Default::default()
    };
    let rows = within(CALL_TIMEOUT, docker.list_containers(Some(options))).await?;
    let is_ours = |row: &ContainerSummary| {
        let number = row.labels.as_ref().and_then(|labels| labels.get(LABEL_CONTAINER)?.parse().ok());
        let names = row.names.as_deref().unwrap_or_default();
        number.is_some_and(|number| names.iter().any(|name| is_name_of(name, instance, number)))
    };
    let state = |state: Option<State>| match state {
        Some(State::CREATED) => ObservedState::Created,
        Some(State::EXITED) => ObservedState::Exited,
        Some(State::DEAD | State::REMOVING) => ObservedState::Dead,
        _ => ObservedState::Running,
    };
    Ok(rows.into_iter().filter(is_ours).filter_map(|row| Some((row.id?, state(row.state)))).collect())
}

/// The engine writes names with a slash before them.
pub(super) fn is_name_of(name: &str, instance: InstanceId, container: ContainerId) -> bool {
    name.trim_start_matches('/') == container_name(instance, container)
}

/// One container of ours, by the engine's id or by name; a conflict when it is not ours.
pub(super) async fn inspect(
    engine: &Engine,
    instance: InstanceId,
    id: &str,
) -> Result<ObservedContainer, LinkError> {
    let docker = engine.docker().await?;
    // Before the question: what happens after it is seen by a later look, because the engine tells of it.
    let look = engine.begin_look();
    let found = within(CALL_TIMEOUT, docker.inspect_container(id, None::<InspectContainerOptions>)).await?;
    observed(instance, &found, look).ok_or_else(|| {
        let message = format!("container `{id}` on the machine was not made by this installation");
        LinkError::new(LinkErrorCode::Conflict, message)
    })
}

/// None when it is not ours.
fn observed(instance: InstanceId, found: &ContainerInspectResponse, look: u64) -> Option<ObservedContainer> {
    let labels = found.config.as_ref()?.labels.as_ref()?;
    let container = labels.get(LABEL_CONTAINER)?.parse().ok()?;
    let is_ours = labels.get(LABEL_INSTANCE)? == &instance.to_string()
        && is_name_of(found.name.as_deref()?, instance, container);
    if !is_ours {
        return None;
    }
    let default = ContainerState::default();
    let state = found.state.as_ref().unwrap_or(&default);
    let observed = match state.status {
        Some(ContainerStateStatusEnum::CREATED) => ObservedState::Created,
        Some(ContainerStateStatusEnum::EXITED) => ObservedState::Exited,
        Some(ContainerStateStatusEnum::DEAD | ContainerStateStatusEnum::REMOVING) => ObservedState::Dead,
        _ => ObservedState::Running,
    };
    let has_ended = matches!(observed, ObservedState::Exited | ObservedState::Dead);
    let error = state.error.as_deref().filter(|error| !error.is_empty());
    Some(ObservedContainer {
        container,
        engine_id: found.id.clone()?,
        state: observed,
        exit_code: state.exit_code.filter(|_| has_ended),
        is_oom_killed: state.oom_killed.unwrap_or_default(),
        // All of a machine's containers must fit in one event.
        error: error.map(|error| error.chars().take(ERROR_CHARS_MAX).collect()),
        look,
        gpus: gpus_of(found),
        started_at: state.started_at.as_deref().and_then(|text| text.parse().ok()),
    })
}

fn missing(container: ContainerId) -> LinkError {
    let message = format!("container {container} is not on the machine");
    LinkError::new(LinkErrorCode::NotFound, message)
}

fn gone_is_fine(done: Result<(), LinkError>) -> Result<(), LinkError> {
    match done {
        Err(error) if is_not_found(&error) => Ok(()),
        other => other,
    }
}

pub(super) fn gone_is_none<T>(found: Result<T, LinkError>) -> Result<Option<T>, LinkError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus(ids: &[&str]) -> Vec<GpuId> {
        ids.iter().map(|id| id.parse().unwrap()).collect()
    }

    fn made_with(request: DeviceRequest) -> ContainerInspectResponse {
        let host_config = HostConfig { device_requests: Some(vec![request]), ..Default::default() };
        ContainerInspectResponse { host_config: Some(host_config), ..Default::default() }
    }

    #[test]
    fn graphics_processors_are_asked_for_by_their_ids() {
        let wanted = gpus(&["GPU-1", "MIG-2"]);

        let request = device_request(&wanted, &[]);

        assert_eq!(request.driver.as_deref(), Some("nvidia"));
        assert_eq!(request.device_ids, Some(vec!["GPU-1".to_owned(), "MIG-2".to_owned()]));
        assert_eq!(request.capabilities, Some(vec![vec!["gpu".to_owned()]]));
        assert_eq!(request.count, None, "a count and ids exclude each other");
        assert_eq!(gpus_of(&made_with(request)), wanted);
    }

    #[test]
    fn a_container_sees_what_it_was_given_whatever_its_image_says() {
        assert_eq!(visible_devices(&[]), "void");
        assert_eq!(visible_devices(&gpus(&["GPU-1", "GPU-2"])), "GPU-1,GPU-2");
    }

    #[test]
    fn an_engine_that_knows_all_by_the_device_interface_is_asked_that_way() {
        let device = |id: &str| DeviceInfo { source: Some("cdi".to_owned()), id: Some(id.to_owned()) };
        let discovered = [device("nvidia.com/gpu=0"), device("nvidia.com/gpu=GPU-1")];

        let known = device_request(&gpus(&["GPU-1"]), &discovered);
        let half_known = device_request(&gpus(&["GPU-1", "GPU-2"]), &discovered);

        assert_eq!(known.driver.as_deref(), Some("cdi"));
        assert_eq!(known.device_ids, Some(vec!["nvidia.com/gpu=GPU-1".to_owned()]));
        assert_eq!(half_known.driver.as_deref(), Some("nvidia"));
        assert_eq!(gpus_of(&made_with(known)), gpus(&["GPU-1"]));
        assert_eq!(gpus_of(&ContainerInspectResponse::default()), []);
    }
}
