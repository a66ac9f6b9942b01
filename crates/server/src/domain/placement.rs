//! Who gets which graphics processors: a pure function of the line of those who wait and of what there is.
//!
//! The rule. There is one line for everybody, admins too, ordered by the class of the accounts and then by who came first, and
//! who stands first is looked at first. Whoever can have all that it
//! asks for, gets it. Whoever cannot, waits, and what is free of its wish on the one machine where least is missing is held back
//! for it. Those behind it get what is left, so that a small request passes a large one only with what the large one does not
//! need. What is missing never grows again: what is held back is given to nobody behind, and another machine is waited for only
//! when less is missing there. It shrinks with the leases that end there, for nobody behind begins a new one. So the first in the line
//! is served, however many small requests come after it: as a rule when the leases that it found on that machine have ended.
//!
//! Several graphics processors are of one machine and one model, because programs that share work over them expect that. Of
//! what fits, the smallest is given, so that the larger ones stay for those who need them. A container that starts again gets
//! those that it had, or others of their model.
//!
//! Who may not have more, by its account's quota, waits for itself alone: nothing is held back for it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use wire::gpus::GpuWish;
use wire::ids::{AccountId, GpuId, MachineId};

use super::quotas::{Needs, Room};

/// A graphics processor, or an instance of a divided one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) gpu: GpuId,
    pub(super) model: String,
    pub(super) memory_mib: u64,
    pub(super) is_instance: bool,
    /// Nobody holds it or uses it, and its machine shows it.
    pub(super) is_free: bool,
}

/// A machine as somewhere to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) machine: MachineId,
    /// Its agent is connected and its engine answers.
    pub(super) is_usable: bool,
    /// It takes containers that were not there before.
    pub(super) takes_new: bool,
    pub(super) cores: u32,
    pub(super) memory_mib: u64,
    pub(super) devices: Vec<Device>,
}

/// What somebody in the line waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) wish: &'a GpuWish,
    /// The only machine that will do; none = any.
    pub(super) machine: Option<&'a MachineId>,
    /// Whether it never was on a machine.
    pub(super) is_new: bool,
    /// Machines that will not do although they have what is asked for.
    pub(super) but_not: &'a [MachineId],
    /// What it had when it ran last, on that machine.
    pub(super) had: &'a [GpuId],
    pub(super) cpu_millis: u32,
    pub(super) memory_bytes: u64,
    /// Whose it is.
    pub(super) account: AccountId,
}

impl Request<'_> {
    fn needs(&self) -> Needs {
        Needs {
            gpus: self.wish.count,
            cpu_millis: u64::from(self.cpu_millis),
            memory_bytes: self.memory_bytes,
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It gets these, on this machine.
    Place { machine: MachineId, gpus: Vec<GpuId> },
    /// It waits.
    Wait(Wait),
}

/// Why somebody waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// For programs.
    pub(super) reason: &'static str,
    /// For people; names nobody.
    pub(super) message: String,
}

/// Goes through the line once, from its first to its last. An account without a room has no limits.
pub(super) fn decide(
    line: &[Request<'_>],
    places: &[Place],
    mut rooms: HashMap<AccountId, Room>,
) -> Vec<Decision> {
    // Given to somebody in this pass, or held back for somebody.
    let mut gone = HashSet::new();
    let mut decisions = Vec::with_capacity(line.len());
    for request in line {
        let needs = request.needs();
        let lack = rooms.get(&request.account).and_then(|room| room.lacks(&needs));
        let decision = if let Some(lack) = lack {
            Decision::Wait(Wait { reason: "waits_for_quota", message: format!("it waits: {lack}") })
        } else if let Some((machine, gpus)) = best(request, places, &gone) {
            gone.extend(gpus.iter().cloned());
            if let Some(room) = rooms.get_mut(&request.account) {
                room.take(&needs);
            }
            Decision::Place { machine, gpus }
        } else {
            let (wait, held) = wait(request, places, &gone);
            gone.extend(held);
            Decision::Wait(wait)
        };
        decisions.push(decision);
    }
    decisions
}

/// Whether a machine could ever serve a request, were everything free.
pub(super) fn could_serve(request: &Request<'_>, place: &Place) -> bool {
    !sets(request, place).is_empty()
}

/// The devices of a machine that would do, by model; only models of which there are enough.
fn sets<'p>(request: &Request<'_>, place: &'p Place) -> Vec<Vec<&'p Device>> {
    let is_meant = request.machine.is_none_or(|machine| *machine == place.machine)
        && !request.but_not.contains(&place.machine);
    let has_room = (place.cores == 0 || request.cpu_millis <= place.cores.saturating_mul(1_000))
        && (place.memory_mib == 0 || request.memory_bytes >> 20 <= place.memory_mib);
    if !is_meant || !has_room {
        return Vec::new();
    }
    let had: HashSet<&str> = place
        .devices
        .iter()
        .filter(|device| request.had.contains(&device.gpu))
        .map(|device| device.model.as_str())
        .collect();
    let mut by_model: BTreeMap<&str, Vec<&Device>> = BTreeMap::new();
    for device in place.devices.iter().filter(|device| fits(device, request.wish)) {
        if had.is_empty() || had.contains(device.model.as_str()) {
            by_model.entry(&device.model).or_default().push(device);
        }
    }
    by_model.into_values().filter(|devices| devices.len() >= count(request)).collect()
}

fn is_open(request: &Request<'_>, place: &Place) -> bool {
    place.is_usable && (place.takes_new || !request.is_new)
}

fn count(request: &Request<'_>) -> usize {
    request.wish.count as usize
}

fn fits(device: &Device, wish: &GpuWish) -> bool {
    let is_model = wish
        .model
        .as_ref()
        .is_none_or(|model| device.model.to_lowercase().contains(&model.trim().to_lowercase()));
    let is_large = wish.memory_mib.is_none_or(|memory| device.memory_mib >= memory);
    // A program can use one instance and no more.
    let is_enough = !device.is_instance || wish.count == 1;
    is_model && is_large && is_enough
}

/// What is free of a set and not gone, in the order in which it is given: what the container had comes first.
fn free<'d>(request: &Request<'_>, set: &[&'d Device], gone: &HashSet<GpuId>) -> Vec<&'d Device> {
    let mut free: Vec<&Device> =
        set.iter().copied().filter(|device| device.is_free && !gone.contains(&device.gpu)).collect();
    free.sort_by_key(|device| (!request.had.contains(&device.gpu), device.memory_mib));
    free
}

/// The machine and devices that serve a request now, and leave most to others.
fn best(request: &Request<'_>, places: &[Place], gone: &HashSet<GpuId>) -> Option<(MachineId, Vec<GpuId>)> {
    let wish = request.wish;
    let is_plain = wish.model.is_none() && wish.memory_mib.is_none();
    let mut found = Vec::new();
    for place in places.iter().filter(|place| is_open(request, place)) {
        for set in sets(request, place) {
            let free = free(request, &set, gone);
            if free.len() < count(request) {
                continue;
            }
            let given = &free[..count(request)];
            // Who says nothing of model and memory means a whole one.
            let is_last_choice = is_plain && given.iter().any(|device| device.is_instance);
            let memory = given.iter().map(|device| device.memory_mib).max();
            let rank = (is_last_choice, memory, free.len(), &place.machine, &set[0].model);
            let gpus: Vec<GpuId> = given.iter().map(|device| device.gpu.clone()).collect();
            found.push((rank, gpus));
        }
    }
    found.sort();
    let ((_, _, _, machine, _), gpus) = found.into_iter().next()?;
    Some((machine.clone(), gpus))
}

/// The machine and model of which least is missing.
struct Nearest<'a> {
    machine: &'a MachineId,
    /// How many there are, and how many of them can be had now.
    all: usize,
    free: Vec<GpuId>,
}

/// Why a request waits, and what is held back for it meanwhile.
fn wait(request: &Request<'_>, places: &[Place], gone: &HashSet<GpuId>) -> (Wait, Vec<GpuId>) {
    let what = in_words(request.wish);
    let mut nearest: Option<Nearest<'_>> = None;
    for place in places.iter().filter(|place| is_open(request, place)) {
        for set in sets(request, place) {
            let free = free(request, &set, gone);
            if nearest.as_ref().is_none_or(|nearest| free.len() > nearest.free.len()) {
                let free = free.into_iter().map(|device| device.gpu.clone()).collect();
                nearest = Some(Nearest { machine: &place.machine, all: set.len(), free });
            }
        }
    }
    if let Some(Nearest { machine, all, free }) = nearest {
        let count = free.len();
        let message =
            format!("it waits for {what}: of {all} on machine `{machine}`, {count} can be had by it now");
        return (Wait { reason: "waits_for_gpu", message }, free);
    }
    let exists = places.iter().any(|place| could_serve(request, place));
    let (reason, message) = match (exists, request.machine) {
        (true, Some(machine)) => {
            ("waits_for_machine", format!("it waits for machine `{machine}`, which takes no work now"))
        }
        (true, None) => {
            ("waits_for_machine", format!("it waits for {what}: no machine that has such takes work now"))
        }
        (false, Some(machine)) => {
            ("no_such_gpu", format!("machine `{machine}` does not have {what} any more"))
        }
        (false, None) => ("no_such_gpu", format!("no machine has {what} any more")),
    };
    (Wait { reason, message }, Vec::new())
}

/// A wish as people say it.
pub(super) fn in_words(wish: &GpuWish) -> String {
    let mut words = if wish.count == 1 { "1 GPU".to_owned() } else { format!("{} GPUs", wish.count) };
    if let Some(model) = &wish.model {
        write!(words, " of `{}`", model.trim()).expect("a String takes every write");
    }
    if let Some(memory) = wish.memory_mib {
        write!(words, " with at least {memory} MiB").expect("a String takes every write");
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use wire::quotas::{QuotaLimits, QuotaUse};

    use super::*;

    /// Where nobody has a quota.
    fn decide(line: &[Request<'_>], places: &[Place]) -> Vec<Decision> {
        super::decide(line, places, HashMap::new())
    }

    fn id(text: &str) -> GpuId {
        format!("GPU-{text}").parse().unwrap()
    }

    fn device(name: &str, model: &str, memory_mib: u64) -> Device {
        Device { gpu: id(name), model: model.to_owned(), memory_mib, is_instance: false, is_free: true }
    }

    fn place(machine: &str, devices: Vec<Device>) -> Place {
        Place {
            machine: machine.parse().unwrap(),
            is_usable: true,
            takes_new: true,
            cores: 8,
            memory_mib: 64_000,
            devices,
        }
    }

    fn wish(count: u32) -> GpuWish {
        GpuWish { count, model: None, memory_mib: None }
    }

    fn request(wish: &GpuWish) -> Request<'_> {
        Request {
            wish,
            machine: None,
            is_new: true,
            but_not: &[],
            had: &[],
            cpu_millis: 1_000,
            memory_bytes: 1 << 30,
            account: AccountId(1),
        }
    }

    fn given(decision: &Decision) -> Option<(&str, Vec<&str>)> {
        match decision {
            Decision::Place { machine, gpus } => {
                Some((machine.as_str(), gpus.iter().map(|gpu| &gpu.as_str()[4..]).collect()))
            }
            Decision::Wait(_) => None,
        }
    }

    fn reason(decision: &Decision) -> &'static str {
        match decision {
            Decision::Wait(wait) => wait.reason,
            Decision::Place { .. } => "placed",
        }
    }

    #[test]
    fn the_smallest_that_will_do_is_given() {
        let places = [
            place(
                "m1",
                vec![device("big", "NVIDIA A100 80GB", 81_920), device("small", "NVIDIA T4", 15_360)],
            ),
            place("m2", vec![device("middle", "NVIDIA RTX 3090", 24_576)]),
        ];
        let large = GpuWish { memory_mib: Some(16_000), ..wish(1) };
        let named = GpuWish { model: Some(" a100".into()), ..wish(1) };

        let alone = |wish: &GpuWish| decide(&[request(wish)], &places)[0].clone();

        assert_eq!(given(&alone(&wish(1))), Some(("m1", vec!["small"])));
        assert_eq!(given(&alone(&large)), Some(("m2", vec!["middle"])));
        assert_eq!(given(&alone(&named)), Some(("m1", vec!["big"])));
    }

    #[test]
    fn several_are_of_one_machine_and_one_model() {
        let mixed = [
            place("m1", vec![device("a", "A", 10), device("b", "B", 20)]),
            place("m2", vec![device("c", "A", 10)]),
        ];
        let twins = [place("m3", vec![device("d", "A", 10), device("e", "B", 20), device("f", "B", 20)])];

        assert_eq!(reason(&decide(&[request(&wish(2))], &mixed)[0]), "no_such_gpu");
        assert_eq!(given(&decide(&[request(&wish(2))], &twins)[0]), Some(("m3", vec!["e", "f"])));
    }

    #[test]
    fn an_instance_is_given_to_whom_it_is_enough() {
        let part = |name| Device { is_instance: true, ..device(name, "A100 MIG 1g.5gb", 4_864) };
        let parts = place("m1", vec![part("part1"), part("part2")]);
        let whole = place("m2", vec![device("whole", "T4", 15_360)]);
        let small = GpuWish { memory_mib: Some(4_000), ..wish(1) };

        let both = [parts.clone(), whole];
        let only_parts = [parts];

        assert_eq!(given(&decide(&[request(&wish(1))], &both)[0]), Some(("m2", vec!["whole"])));
        assert_eq!(given(&decide(&[request(&small)], &both)[0]), Some(("m1", vec!["part1"])));
        assert_eq!(given(&decide(&[request(&wish(1))], &only_parts)[0]), Some(("m1", vec!["part1"])));
        assert_eq!(reason(&decide(&[request(&wish(2))], &only_parts)[0]), "no_such_gpu");
    }

    #[test]
    fn who_starts_again_gets_what_it_had_or_an_equal_one() {
        let mut place = place("m1", vec![device("a", "A", 10), device("b", "B", 20), device("c", "B", 20)]);
        let (had, wish) = ([id("c")], wish(1));
        let again = Request { had: &had, ..request(&wish) };
        let decide_on = |place: &Place| decide(&[again], std::slice::from_ref(place))[0].clone();

        let same = decide_on(&place);
        place.devices[2].is_free = false;
        let equal = decide_on(&place);
        place.devices[1].is_free = false;
        let none = decide_on(&place);
        place.devices.truncate(1);
        let replaced = decide_on(&place);

        assert_eq!(given(&same), Some(("m1", vec!["c"])));
        assert_eq!(given(&equal), Some(("m1", vec!["b"])));
        assert_eq!(reason(&none), "waits_for_gpu", "another model is not equal");
        assert_eq!(given(&replaced), Some(("m1", vec!["a"])), "a machine without the model gives what fits");
    }

    #[test]
    fn nothing_is_given_on_a_machine_that_cannot_be_reached_or_is_too_small() {
        let near = [place("m1", vec![device("a", "A", 10)])];
        let far = [Place { is_usable: false, ..near[0].clone() }];
        let wish = wish(1);
        let machine: MachineId = "m1".parse().unwrap();

        for request in [request(&wish), Request { machine: Some(&machine), ..request(&wish) }] {
            assert_eq!(reason(&decide(&[request], &far)[0]), "waits_for_machine");
        }
        let drained = [Place { takes_new: false, ..near[0].clone() }];
        assert_eq!(reason(&decide(&[request(&wish)], &drained)[0]), "waits_for_machine");
        let back = Request { is_new: false, machine: Some(&machine), ..request(&wish) };
        assert_eq!(given(&decide(&[back], &drained)[0]), Some(("m1", vec!["a"])), "what is there may go on");
        let many_cores = Request { cpu_millis: 9_000, ..request(&wish) };
        let much_memory = Request { memory_bytes: 65 << 30, ..request(&wish) };
        let refused = [machine.clone()];
        let excluded = Request { but_not: &refused, ..request(&wish) };
        for request in [many_cores, much_memory, excluded] {
            assert_eq!(reason(&decide(&[request], &near)[0]), "no_such_gpu");
        }
    }

    #[test]
    fn small_requests_pass_a_large_one_only_with_what_it_does_not_need() {
        let mut places = [
            place("m1", vec![device("a", "A", 10), device("b", "A", 10)]),
            place("m2", vec![device("c", "T", 5)]),
        ];
        places[0].devices[1].is_free = false;
        let (large, small) = (wish(2), wish(1));
        let line = [request(&large), request(&small), request(&small)];

        let decisions = decide(&line, &places);

        assert_eq!(reason(&decisions[0]), "waits_for_gpu");
        assert_eq!(given(&decisions[1]), Some(("m2", vec!["c"])), "what the first does not need may be had");
        assert_eq!(reason(&decisions[2]), "waits_for_gpu", "what is held back for the first may not");
        let Decision::Wait(wait) = &decisions[2] else { panic!("it waits") };
        assert!(wait.message.contains("0 can be had by it now"), "{}", wait.message);
        places[0].devices[1].is_free = true;
        assert_eq!(given(&decide(&line, &places)[0]), Some(("m1", vec!["a", "b"])));
    }

    #[test]
    fn who_is_at_its_quota_waits_for_itself_alone() {
        let places = [place("m1", vec![device("a", "A", 10), device("b", "A", 10), device("c", "A", 10)])];
        let wish = wish(1);
        let of = |account| Request { account: AccountId(account), ..request(&wish) };
        let line = [of(1), of(1), of(1), of(2)];
        let limits = QuotaLimits { gpus: Some(2), ..QuotaLimits::default() };
        let room = Room { limits, used: QuotaUse { gpus: 1, ..QuotaUse::default() } };

        let decisions = super::decide(&line, &places, HashMap::from([(AccountId(1), room)]));

        assert_eq!(given(&decisions[0]), Some(("m1", vec!["a"])));
        assert_eq!((reason(&decisions[1]), reason(&decisions[2])), ("waits_for_quota", "waits_for_quota"));
        assert_eq!(
            given(&decisions[3]),
            Some(("m1", vec!["b"])),
            "nothing is held back for who may not have it"
        );
        let Decision::Wait(wait) = &decisions[1] else { panic!("it waits") };
        assert!(wait.message.contains("quota is 2 GPUs, it uses 2 and this needs 1"), "{}", wait.message);
    }

    #[test]
    fn a_wish_is_said_in_words() {
        let all = GpuWish { count: 2, model: Some("A100 ".into()), memory_mib: Some(40_000) };

        assert_eq!(in_words(&wish(1)), "1 GPU");
        assert_eq!(in_words(&all), "2 GPUs of `A100` with at least 40000 MiB");
    }

    /// A lab for the property below: machines with some graphics processors, and people who come with wishes.
    fn labs() -> impl Strategy<Value = (Vec<usize>, Vec<u32>)> {
        (prop::collection::vec(1_usize..6, 1..4), prop::collection::vec(1_u32..6, 1..40))
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice_and_everybody_is_served((machines, wishes) in labs()) {
            let mut places: Vec<Place> = machines
                .iter()
                .enumerate()
                .map(|(m, count)| {
                    let devices = (0..*count).map(|d| device(&format!("{m}-{d}"), "A", 10)).collect();
                    place(&format!("m{m}"), devices)
                })
                .collect();
            let most = machines.iter().copied().max().unwrap_or(0);
            let wishes: Vec<GpuWish> =
                wishes.into_iter().filter(|count| *count as usize <= most).map(wish).collect();
            let mut line: Vec<usize> = Vec::new();
            let mut running: Vec<Vec<GpuId>> = Vec::new();
            // How many leases have ended since the first in the line became the first.
            let (mut first, mut ended_since) = (None, 0);
            let (mut next, mut served) = (0, 0);
            for _ in 0..wishes.len() * 20 {
                // Two come for each that leaves: the line only grows until all are there.
                for _ in 0..2 {
                    if next < wishes.len() {
                        line.push(next);
                        next += 1;
                    }
                }
                let requests: Vec<Request<'_>> = line.iter().map(|who| request(&wishes[*who])).collect();
                let decisions = decide(&requests, &places);
                let mut waiting = Vec::new();
                for (who, decision) in line.iter().zip(decisions) {
                    let Decision::Place { machine, gpus } = decision else {
                        waiting.push(*who);
                        continue;
                    };
                    prop_assert_eq!(gpus.len(), wishes[*who].count as usize);
                    let place = places.iter_mut().find(|place| place.machine == machine).unwrap();
                    for gpu in &gpus {
                        let device = place.devices.iter_mut().find(|device| device.gpu == *gpu).unwrap();
                        prop_assert!(device.is_free, "{} was given twice", gpu);
                        device.is_free = false;
                    }
                    served += 1;
                    running.push(gpus);
                }
                line = waiting;
                if first != line.first().copied() || line.is_empty() {
                    (first, ended_since) = (line.first().copied(), 0);
                }
                // The longest lease ends.
                if !running.is_empty() {
                    let gpus = running.remove(0);
                    ended_since += 1;
                    for device in places.iter_mut().flat_map(|place| &mut place.devices) {
                        device.is_free |= gpus.contains(&device.gpu);
                    }
                }
                // Each lease that it found ends once; another machine is waited for at most once for each that is missing.
                let all: usize = machines.iter().sum();
                let count = first.map_or(0, |who| wishes[who].count as usize);
                prop_assert!(ended_since <= all * count.max(1), "the first in the line is passed for ever");
            }
            prop_assert_eq!(served, wishes.len());
        }
    }
}
