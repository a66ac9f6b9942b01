//! What containers may use, changed while they are there. The engine does it without a restart.

use bollard::models::ContainerUpdateBody;
use wire::limits::{LimitContainer, LimitContainerDone};
use wire::link::{LinkError, LinkErrorCode};
use wire::policy::Policy;

use super::files::find;
use super::{CALL_TIMEOUT, Engine, stats, within};
use crate::policy;

/// Gives a container other limits. Less memory than it uses is refused: the kernel would make room by ending a process.
pub(crate) async fn change(
    engine: &Engine,
    policy: &Policy,
    call: LimitContainer,
) -> Result<LimitContainerDone, LinkError> {
    policy::check_limits(policy, &call.limits)?;
    let id = find(engine, call.instance, call.container).await?;
    let limits = call.limits;
    if let Some(used) = stats::memory_used(engine, &id).await
        && used > limits.memory_bytes
    {
        let message = format!(
            "it uses {} MiB of memory now, more than the {} MiB of the new limit",
            used >> 20,
            limits.memory_bytes >> 20
        );
        return Err(LinkError::new(LinkErrorCode::Conflict, message));
    }
    let memory = i64::try_from(limits.memory_bytes).unwrap_or(i64::MAX);
    let body = ContainerUpdateBody {
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: Some(i64::from(limits.cpu_millis) * 1_000_000),
        pids_limit: Some(i64::from(limits.pids)),
        ..Default::default()
    };
    let docker = engine.docker().await?;
    within(CALL_TIMEOUT, docker.update_container(&id, body)).await?;
    Ok(LimitContainerDone {})
}
