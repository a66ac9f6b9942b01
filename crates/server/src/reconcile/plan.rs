//! Which step brings a container nearer to what its owner wants: a pure function of the stored row and of what the
//! machine shows. Nothing here acts.

use store::containers::{Desired, Row};
use wire::containers::ContainerState;
use wire::ids::GpuId;
use wire::link::{ObservedContainer, ObservedState};

use super::observed::View;

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: all is well, or nothing can be done now.
    Rest,
    /// Write that it runs.
    RecordRunning,
    /// Write that its process has ended (by itself, when `is_unasked`: then that is what is wanted from now on).
    RecordStopped {
        /// How it ended, when the engine knows.
        exit_code: Option<i64>,
        /// Whether it ended for want of memory.
        is_oom_killed: bool,
        /// Whether its owner did not ask for it.
        is_unasked: bool,
    },
    /// Ask the machine whether it is really as it looks, then plan again; if so, [`plan`] with `is_sure` decides.
    Look,
    /// Write that something else removed it from the machine.
    RecordGone,
    /// Forget the engine's id of a failed container that is not there any more.
    Forget,
    /// Write that the machine has a container of this number that this row did not make.
    RecordForeign,
    /// A restart was asked for just as the process ended by itself: it is wanted running.
    Revive,
    /// Fetch the image and make it.
    Create {
        /// Remove an unfinished one first.
        is_again: bool,
    },
    /// Have its machine keep its disk, to make it anew with other graphics processors.
    Copy,
    /// Take the graphics processors from it that it does not need any more.
    Release,
    /// Give it the limits that it is to have.
    Limit,
    /// Start its process.
    Start,
    /// Stop its process.
    Stop,
    /// Stop and start its process.
    Restart,
    /// Remove it from the machine, then its row.
    Remove,
    /// Remove its row alone: what the machine has under its number is not its own.
    DropRow,
}

impl Step {
    /// Whether the machine is asked to do something.
    pub(super) fn is_effect(&self) -> bool {
        matches!(
            self,
            Self::Look
                | Self::Create { .. }
                | Self::Copy
                | Self::Limit
                | Self::Start
                | Self::Stop
                | Self::Restart
                | Self::Remove
        )
    }
}

/// Decides. `is_sure` says that the machine was asked just now and what is shown is its answer.
pub(super) fn plan(row: &Row, view: &View, is_sure: bool) -> Step {
    let seen = match view {
        View::Unreachable => return Step::Rest,
        View::Absent => None,
        View::Present(container) => Some(container),
    };
    let is_own = |container: &&ObservedContainer| row.engine_id.as_deref() == Some(&container.engine_id);
    let own = seen.filter(is_own);
    // Made by a call whose answer was lost (then it never ran, because only a container that is in the row is started),
    // or by an installation whose database this one is an older copy of (then it may be anybody's).
    let other = seen.filter(|container| !is_own(container));
    match row.desired {
        // It has no graphics processors, or no machine: its turn comes.
        Desired::Running if row.queued_at.is_some() => Step::Rest,
        Desired::Deleted if other.is_some_and(|container| container.state != ObservedState::Created) => {
            Step::DropRow
        }
        Desired::Deleted => Step::Remove,
        _ if own.is_some_and(|container| can_be_limited(row, container)) => Step::Limit,
        Desired::Running => plan_running(row, own, other, is_sure),
        Desired::Stopped => plan_stopped(row, own, is_sure),
    }
}

/// Whether it is to have other limits and may get them now. What was refused while it ran waits until it does not.
fn can_be_limited(row: &Row, container: &ObservedContainer) -> bool {
    row.wished_limits
        .as_ref()
        .is_some_and(|wished| wished.message.is_none() || container.state != ObservedState::Running)
}

fn plan_running(
    row: &Row,
    own: Option<&ObservedContainer>,
    other: Option<&ObservedContainer>,
    is_sure: bool,
) -> Step {
    if let Some(container) = own {
        return match container.state {
            ObservedState::Running if is_restarted(row, container) => Step::RecordRunning,
            // So that it stands still once, and gets them, or is made anew.
            ObservedState::Running
                if row.restart_requested && (row.wished_limits.is_some() || row.is_outdated()) =>
            {
                Step::Stop
            }
            ObservedState::Running if row.restart_requested => Step::Restart,
            ObservedState::Running if row.state == ContainerState::Running => Step::Rest,
            ObservedState::Running => Step::RecordRunning,
            _ if row.restart_requested || is_to_be_started(row) => begin(row, container),
            // It ran and never ended: the engine forgot, or the report is late.
            ObservedState::Created if !is_sure => Step::Look,
            _ => stopped(container, true),
        };
    }
    match other {
        Some(container) if container.state == ObservedState::Created => Step::Create { is_again: true },
        Some(_) => Step::RecordForeign,
        None if row.engine_id.is_none() => Step::Create { is_again: false },
        // Its old container was removed to make room for the new one.
        None if row.copy_of == row.engine_id || row.is_outdated() => Step::Create { is_again: false },
        None if is_sure => Step::RecordGone,
        None => Step::Look,
    }
}

/// Whether a restart that was asked for has been done: there is another process than when it was begun. Its answer was lost.
fn is_restarted(row: &Row, container: &ObservedContainer) -> bool {
    let is_another = |of| container.started_at.is_some_and(|now| now != of);
    row.restart_requested && row.restart_of.is_some_and(is_another)
}

/// Starts a container that is made, or makes it anew when it was made with other graphics processors than it has now. What
/// is on its disk is kept first; one that never ran has nothing there. One that gets another image begins with that.
fn begin(row: &Row, container: &ObservedContainer) -> Step {
    if row.is_outdated() {
        return Step::Create { is_again: true };
    }
    let sorted = |gpus: &[GpuId]| {
        let mut gpus = gpus.to_vec();
        gpus.sort_unstable();
        gpus
    };
    if sorted(&container.gpus) == sorted(&row.spec.gpus) {
        return Step::Start;
    }
    if container.state == ObservedState::Created || row.copy_of == row.engine_id {
        return Step::Create { is_again: true };
    }
    Step::Copy
}

/// Whether the wish is newer than the process: else a process that is not there has ended by itself.
fn is_to_be_started(row: &Row) -> bool {
    match row.state {
        ContainerState::Running => false,
        // A try was under way when the machine was lost.
        ContainerState::Unknown => row.attempt > 0,
        _ => true,
    }
}

fn plan_stopped(row: &Row, own: Option<&ObservedContainer>, is_sure: bool) -> Step {
    use ContainerState::{Failed, Stopped};

    if row.restart_requested {
        return Step::Revive;
    }
    match own {
        Some(container) if container.state == ObservedState::Running => Step::Stop,
        Some(container) => match row.state {
            // Engines may say why only after they have said that.
            Stopped if container.is_oom_killed && row.reason.is_none() => stopped(container, false),
            Failed | Stopped if row.leased_at.is_some() => release(is_sure || has_ended(container)),
            Failed | Stopped => Step::Rest,
            _ => stopped(container, false),
        },
        None => match (row.engine_id.is_some(), row.state) {
            (true, Failed) => Step::Forget,
            (true, _) if is_sure => Step::RecordGone,
            (true, _) => Step::Look,
            (false, Failed | Stopped) if row.leased_at.is_some() => release(is_sure),
            (false, Failed | Stopped) => Step::Rest,
            (false, _) => Step::RecordStopped { exit_code: None, is_oom_killed: false, is_unasked: false },
        },
    }
}

/// Graphics processors are given to somebody else only when it is certain that no process of the container can use them:
/// a start whose answer was lost may still be under way.
fn release(is_certain: bool) -> Step {
    if is_certain { Step::Release } else { Step::Look }
}

fn has_ended(container: &ObservedContainer) -> bool {
    container.state != ObservedState::Created
}

fn stopped(container: &ObservedContainer, is_unasked: bool) -> Step {
    let has_ended = has_ended(container);
    Step::RecordStopped {
        exit_code: container.exit_code.filter(|_| has_ended),
        is_oom_killed: container.is_oom_killed && has_ended,
        is_unasked,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ContainerState::{Deleting, Failed, Pending, Pulling, Running, Starting, Stopped, Stopping, Unknown};
    use store::containers::Placement;
    use wire::containers::ContainerSpec;
    use wire::ids::{AccountId, ContainerId, ImageId};
    use wire::limits::{Limits, WishedLimits};
    use wire::time::Timestamp;

    use super::*;

    const STATES: [ContainerState; 9] =
        [Pending, Pulling, Starting, Running, Stopping, Stopped, Failed, Deleting, Unknown];

    fn row(desired: Desired, state: ContainerState, engine_id: Option<&str>) -> Row {
        Row {
            id: ContainerId(1),
            account_id: AccountId(1),
            name: "box".parse().unwrap(),
            display_name: None,
            machine_id: "m".parse().unwrap(),
            image_id: ImageId(1),
            image_name: "alice/app:v1".into(),
            image_repository: "alice/app".into(),
            image_digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
            spec: ContainerSpec {
                ports: Vec::new(),
                env: BTreeMap::new(),
                command: None,
                entrypoint: None,
                working_dir: None,
                memory_bytes: 1,
                cpu_millis: 1,
                pids: 1,
                gpus: Vec::new(),
                shm_bytes: None,
                volumes: Vec::new(),
                tty: false,
            },
            desired,
            restart_requested: false,
            stop_timeout_secs: 10,
            state,
            state_since: Timestamp(0),
            reason: None,
            message: None,
            exit_code: None,
            engine_id: engine_id.map(str::to_owned),
            attempt: 0,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            gpu_wish: None,
            leased_at: None,
            queued_at: None,
            placement: Placement::Fixed,
            copy_of: None,
            max_duration_secs: None,
            ends_at: None,
            wished_limits: None,
            restart_policy: wire::containers::RestartPolicy::No,
            restarts: 0,
            made_from: None,
            restart_of: None,
        }
    }

    /// A row that holds one graphics processor.
    fn leased(row: Row) -> Row {
        let spec = ContainerSpec { gpus: vec!["GPU-1".parse().unwrap()], ..row.spec };
        Row { spec, leased_at: Some(Timestamp(1)), ..row }
    }

    fn present(engine_id: &str, state: ObservedState) -> View {
        View::Present(ObservedContainer {
            container: ContainerId(1),
            engine_id: engine_id.into(),
            state,
            exit_code: Some(3),
            is_oom_killed: false,
            error: None,
            look: 1,
            gpus: Vec::new(),
            started_at: None,
        })
    }

    fn present_with(engine_id: &str, state: ObservedState, gpu: &str) -> View {
        let View::Present(seen) = present(engine_id, state) else { panic!("it is there") };
        View::Present(ObservedContainer { gpus: vec![gpu.parse().unwrap()], ..seen })
    }

    #[test]
    fn limits_are_applied_at_once_or_when_it_stands_still() {
        let limits = Limits { memory_bytes: 2, cpu_millis: 2, pids: 2 };
        let with = |row: Row, message: Option<&str>| {
            let wished = WishedLimits { limits, message: message.map(str::to_owned) };
            Row { wished_limits: Some(wished), ..row }
        };
        let runs = present("a", ObservedState::Running);
        let row = row(Desired::Running, Running, Some("a"));
        let refused = with(row.clone(), Some("it uses more"));

        assert_eq!(plan(&with(row.clone(), None), &runs, false), Step::Limit);
        assert_eq!(plan(&refused, &runs, false), Step::Rest);
        let restart = Row { restart_requested: true, ..refused.clone() };
        assert_eq!(plan(&restart, &runs, false), Step::Stop);
        assert_eq!(plan(&restart, &present("a", ObservedState::Exited), false), Step::Limit);
        let deleted = Row { desired: Desired::Deleted, ..refused };
        assert_eq!(plan(&deleted, &runs, false), Step::Remove);
        assert_eq!(
            plan(&with(row, None), &present("foreign", ObservedState::Running), true),
            Step::RecordForeign
        );
    }

    #[test]
    fn another_image_is_taken_at_the_next_start() {
        let old = format!("sha256:{}", "b".repeat(64)).parse().unwrap();
        let row = Row { made_from: Some(old), ..row(Desired::Running, Running, Some("a")) };
        let restarting = Row { restart_requested: true, ..row.clone() };
        let again = Step::Create { is_again: true };

        assert_eq!(plan(&row, &present("a", ObservedState::Running), true), Step::Rest);
        assert_eq!(plan(&restarting, &present("a", ObservedState::Running), true), Step::Stop);
        assert_eq!(plan(&restarting, &present("a", ObservedState::Exited), true), again);
        assert_eq!(plan(&restarting, &View::Absent, true), Step::Create { is_again: false });
        let made =
            Row { made_from: Some(row.image_digest.clone()), engine_id: Some("new".into()), ..restarting };
        assert_eq!(plan(&made, &present("new", ObservedState::Created), true), Step::Start);
    }

    #[test]
    fn nothing_is_done_to_what_cannot_be_seen() {
        for desired in [Desired::Running, Desired::Stopped, Desired::Deleted] {
            for state in STATES {
                assert_eq!(plan(&row(desired, state, Some("a")), &View::Unreachable, true), Step::Rest);
            }
        }
    }

    #[test]
    fn a_new_container_is_made_then_started_then_left_alone() {
        let make = plan(&row(Desired::Running, Pending, None), &View::Absent, false);
        let start =
            plan(&row(Desired::Running, Starting, Some("a")), &present("a", ObservedState::Created), false);
        let rest =
            plan(&row(Desired::Running, Running, Some("a")), &present("a", ObservedState::Running), false);

        assert_eq!((make, start, rest), (Step::Create { is_again: false }, Step::Start, Step::Rest));
    }

    #[test]
    fn a_process_that_ends_by_itself_is_not_started_again() {
        let ended = Step::RecordStopped { exit_code: Some(3), is_oom_killed: false, is_unasked: true };

        for state in [Running, Unknown] {
            let row = row(Desired::Running, state, Some("a"));
            assert_eq!(plan(&row, &present("a", ObservedState::Exited), false), ended);
        }
    }

    #[test]
    fn a_reason_that_the_engine_gives_late_is_written() {
        let View::Present(seen) = present("a", ObservedState::Exited) else { panic!("it is there") };
        let view = View::Present(ObservedContainer { is_oom_killed: true, ..seen });
        let stopped = row(Desired::Stopped, Stopped, Some("a"));
        let known = Row { reason: Some("out_of_memory".into()), ..stopped.clone() };

        let late = Step::RecordStopped { exit_code: Some(3), is_oom_killed: true, is_unasked: false };
        assert_eq!(plan(&stopped, &view, false), late);
        assert_eq!(plan(&known, &view, false), Step::Rest);
    }

    #[test]
    fn a_start_that_was_under_way_when_the_machine_was_lost_goes_on() {
        let row = Row { attempt: 1, ..row(Desired::Running, Unknown, Some("a")) };

        assert_eq!(plan(&row, &present("a", ObservedState::Exited), false), Step::Start);
    }

    #[test]
    fn a_container_that_is_missing_is_looked_for_before_it_is_called_gone() {
        for state in [Starting, Running, Unknown, Pending, Stopped] {
            let row = row(Desired::Running, state, Some("a"));
            assert_eq!(plan(&row, &View::Absent, false), Step::Look);
            assert_eq!(plan(&row, &View::Absent, true), Step::RecordGone);
        }
    }

    #[test]
    fn what_this_row_did_not_make_is_never_started_stopped_or_removed() {
        for observed in [ObservedState::Running, ObservedState::Exited, ObservedState::Dead] {
            for engine_id in [None, Some("a")] {
                for state in STATES {
                    let view = present("foreign", observed);
                    assert_eq!(plan(&row(Desired::Deleted, state, engine_id), &view, true), Step::DropRow);
                    assert_eq!(
                        plan(&row(Desired::Running, state, engine_id), &view, true),
                        Step::RecordForeign
                    );
                    let step = plan(&row(Desired::Stopped, state, engine_id), &view, true);
                    assert!(!matches!(step, Step::Stop | Step::Remove), "{step:?}");
                }
            }
        }
    }

    #[test]
    fn an_unfinished_container_of_a_lost_answer_is_made_anew() {
        let step =
            plan(&row(Desired::Running, Pulling, None), &present("lost", ObservedState::Created), false);

        assert_eq!(step, Step::Create { is_again: true });
    }

    #[test]
    fn a_wish_to_stop_or_delete_is_followed_from_every_state() {
        for state in STATES {
            let running = present("a", ObservedState::Running);
            assert_eq!(plan(&row(Desired::Stopped, state, Some("a")), &running, false), Step::Stop);
            assert_eq!(plan(&row(Desired::Deleted, state, Some("a")), &running, false), Step::Remove);
            assert_eq!(plan(&row(Desired::Deleted, state, None), &View::Absent, false), Step::Remove);
        }
    }

    #[test]
    fn a_failure_is_kept_until_its_owner_does_something() {
        let failed = row(Desired::Stopped, Failed, Some("a"));

        assert_eq!(plan(&failed, &present("a", ObservedState::Created), false), Step::Rest);
        assert_eq!(plan(&failed, &present("a", ObservedState::Exited), false), Step::Rest);
        assert_eq!(plan(&failed, &View::Absent, true), Step::Forget);
        assert_eq!(plan(&row(Desired::Stopped, Failed, None), &View::Absent, true), Step::Rest);
    }

    #[test]
    fn a_restart_is_done_whatever_the_process_did_meanwhile() {
        let asked = |desired, state| Row { restart_requested: true, ..row(desired, state, Some("a")) };

        assert_eq!(
            plan(&asked(Desired::Running, Running), &present("a", ObservedState::Running), false),
            Step::Restart
        );
        assert_eq!(
            plan(&asked(Desired::Running, Running), &present("a", ObservedState::Exited), false),
            Step::Start
        );
        assert_eq!(
            plan(&asked(Desired::Stopped, Stopped), &present("a", ObservedState::Exited), false),
            Step::Revive
        );
    }

    #[test]
    fn a_restart_whose_answer_was_lost_is_not_done_twice() {
        let of = Some(Timestamp(7));
        let asked = Row {
            restart_requested: true,
            restart_of: of,
            attempt: 1,
            ..row(Desired::Running, Unknown, Some("a"))
        };
        let since = |state, started_at| {
            let View::Present(seen) = present("a", state) else { panic!("it is there") };
            View::Present(ObservedContainer { started_at, ..seen })
        };
        let later = Some(Timestamp(8));

        assert_eq!(plan(&asked, &since(ObservedState::Running, of), false), Step::Restart);
        assert_eq!(plan(&asked, &since(ObservedState::Exited, of), false), Step::Start);
        assert_eq!(plan(&asked, &since(ObservedState::Running, later), false), Step::RecordRunning);
        let new = Row { restart_of: None, ..asked.clone() };
        assert_eq!(plan(&new, &since(ObservedState::Running, later), false), Step::Restart);
        // An agent that does not say it yet.
        assert_eq!(plan(&asked, &since(ObservedState::Running, None), false), Step::Restart);
    }

    #[test]
    fn who_stands_in_the_line_is_left_alone() {
        for state in STATES {
            let waiting = Row { queued_at: Some(Timestamp(1)), ..row(Desired::Running, state, Some("a")) };
            for view in
                [View::Absent, present("a", ObservedState::Created), present("a", ObservedState::Exited)]
            {
                assert_eq!(plan(&waiting, &view, true), Step::Rest);
            }
        }
    }

    #[test]
    fn a_container_starts_on_the_graphics_processors_that_it_was_made_with() {
        let row = leased(row(Desired::Running, Pending, Some("a")));

        assert_eq!(plan(&row, &present_with("a", ObservedState::Exited, "GPU-1"), false), Step::Start);
    }

    #[test]
    fn other_graphics_processors_need_a_new_container_with_the_old_disk() {
        let other = |state| present_with("a", state, "GPU-2");
        let row = leased(row(Desired::Running, Pending, Some("a")));
        let copied = Row { copy_of: Some("a".into()), ..row.clone() };
        let of_an_older = Row { copy_of: Some("older".into()), ..row.clone() };

        // What ran is copied, once; what never ran has nothing to copy.
        assert_eq!(plan(&row, &other(ObservedState::Exited), false), Step::Copy);
        assert_eq!(plan(&of_an_older, &other(ObservedState::Exited), false), Step::Copy);
        assert_eq!(plan(&copied, &other(ObservedState::Exited), false), Step::Create { is_again: true });
        assert_eq!(plan(&row, &other(ObservedState::Created), false), Step::Create { is_again: true });
        // A server that was killed when the old one was gone and the new one was not there yet.
        assert_eq!(plan(&copied, &View::Absent, false), Step::Create { is_again: false });
        assert_eq!(plan(&copied, &View::Absent, true), Step::Create { is_again: false });
        assert_eq!(plan(&of_an_older, &View::Absent, true), Step::RecordGone);
    }

    #[test]
    fn graphics_processors_are_given_up_only_when_nothing_can_use_them() {
        for state in [Stopped, Failed] {
            let row = leased(row(Desired::Stopped, state, Some("a")));
            let unmade = Row { engine_id: None, ..row.clone() };

            assert_eq!(plan(&row, &View::Unreachable, true), Step::Rest, "its machine may be running it");
            assert_eq!(plan(&row, &present("a", ObservedState::Running), false), Step::Stop);
            assert_eq!(plan(&row, &present("a", ObservedState::Exited), false), Step::Release);
            // A start whose answer was lost may be under way.
            assert_eq!(plan(&row, &present("a", ObservedState::Created), false), Step::Look);
            assert_eq!(plan(&row, &present("a", ObservedState::Created), true), Step::Release);
            assert_eq!(plan(&unmade, &View::Absent, false), Step::Look);
            assert_eq!(plan(&unmade, &View::Absent, true), Step::Release);
        }
        // While it is wanted, running or not, it keeps them.
        for state in STATES {
            let row = leased(row(Desired::Running, state, Some("a")));
            for view in
                [present("a", ObservedState::Exited), present("a", ObservedState::Created), View::Absent]
            {
                assert_ne!(plan(&row, &view, true), Step::Release);
            }
        }
    }

    #[test]
    fn every_state_comes_to_rest() {
        // Applies each step as if it succeeded at once: no combination may go round in circles.
        let views = [
            View::Absent,
            present("a", ObservedState::Created),
            present("a", ObservedState::Running),
            present("a", ObservedState::Exited),
            present("a", ObservedState::Dead),
            present("b", ObservedState::Created),
            present("b", ObservedState::Running),
        ];
        for desired in [Desired::Running, Desired::Stopped, Desired::Deleted] {
            for state in STATES {
                for engine_id in [None, Some("a")] {
                    for restart_requested in [false, true] {
                        for view in &views {
                            let row = Row { restart_requested, ..row(desired, state, engine_id) };
                            assert!(comes_to_rest(row.clone(), view.clone()), "{row:?} {view:?}");
                            for copy_of in [None, Some("a".to_owned()), Some("older".to_owned())] {
                                let row = Row { copy_of, ..leased(row.clone()) };
                                assert!(comes_to_rest(row.clone(), view.clone()), "{row:?} {view:?}");
                                let limits = Limits { memory_bytes: 2, cpu_millis: 2, pids: 2 };
                                for message in [None, Some("it uses more".to_owned())] {
                                    let wished_limits = Some(WishedLimits { limits, message });
                                    let row = Row { wished_limits, ..row.clone() };
                                    assert!(comes_to_rest(row.clone(), view.clone()), "{row:?} {view:?}");
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// The container as its machine makes it.
    fn made(row: &Row, state: ObservedState) -> View {
        let View::Present(seen) = present("a", state) else { panic!("it is there") };
        View::Present(ObservedContainer { gpus: row.spec.gpus.clone(), ..seen })
    }

    fn comes_to_rest(mut row: Row, mut view: View) -> bool {
        let mut is_sure = false;
        for _ in 0..8 {
            let step = plan(&row, &view, is_sure);
            is_sure = step == Step::Look;
            match step {
                Step::Rest | Step::Remove | Step::DropRow => return true,
                Step::Look => {}
                Step::RecordRunning | Step::Start | Step::Restart => {
                    row.state = Running;
                    row.restart_requested = false;
                    view = made(&row, ObservedState::Running);
                }
                Step::Limit => row.wished_limits = None,
                Step::Copy => row.copy_of.clone_from(&row.engine_id),
                Step::Release => row.leased_at = None,
                Step::RecordStopped { .. } => {
                    row.state = Stopped;
                    row.desired = Desired::Stopped;
                }
                Step::RecordGone | Step::RecordForeign => {
                    row.state = Failed;
                    row.engine_id = None;
                    row.desired = Desired::Stopped;
                    row.restart_requested = false;
                }
                Step::Forget => row.engine_id = None,
                Step::Revive => {
                    row.desired = Desired::Running;
                    row.state = Pending;
                }
                Step::Create { .. } => {
                    row.engine_id = Some("a".into());
                    row.state = Starting;
                    view = made(&row, ObservedState::Created);
                }
                Step::Stop => view = made(&row, ObservedState::Exited),
            }
        }
        false
    }
}
