//! What a pipeline stage hands to the next: each chip's piece of a value, over links and through chips that pass it on.
//!
//! Method: while a transfer goes on, the chips of both stages do nothing else, so each has reservation tables of its
//! own that are empty at first. Byte plane after byte plane, member after member, a vector takes the earliest cycle at
//! each chip of its route. A relay takes what it receives to the other hemisphere's edge or, where it leaves from the
//! edge that it came to, through a switch unit that shifts by nothing.
//!
//! Invariants: sends and receives of a link are in one order, that of scheduling; cycles count from the end of the
//! stage that sends.
//!
//! Not claimed: that no other order is shorter.

use std::collections::{BTreeMap, BTreeSet};

use lpu_chip::{Chip, LinkEnd, System};
use lpu_isa::{ChipId, DelayClass, Edge, GroupWidth, Hemisphere, Instruction, Queue, Shift, Stream};

use crate::error::CompileError;
use crate::scheduler::Scheduler;
use crate::vectors::Stored;

/// A link that a vector takes, from the chip that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    from: LinkEnd,
    to: LinkEnd,
    latency: u64,
    interval: u64,
}

/// The links that a member's piece takes, in order.
pub(crate) type Route = Vec<Hop>;

/// A transfer: what each chip dispatches for it, in cycles from the end of the stage that sends.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Transfer {
    pub(crate) issues: BTreeMap<u16, Vec<(Queue, u64, Instruction)>>,
}

/// The routes of the members of a group at `from` to those of the group at `to`: the shortest in cycles through chips
/// of the two, where a link that others take already counts as longer.
pub(crate) fn routes(
    system: &System,
    (from, to): (u16, u16),
    chips: usize,
    vectors: usize,
) -> Result<Vec<Route>, CompileError> {
    let mut taken: BTreeMap<LinkEnd, u64> = BTreeMap::new();
    let members = 0..chips as u16;
    let route = |member: u16| {
        let (source, target) = (ChipId(from + member), ChipId(to + member));
        let inside =
            |chip: ChipId| (from..from + chips as u16).contains(&chip.0) || (to..to + chips as u16).contains(&chip.0);
        let route = shortest(system, (source, target), inside, |end| {
            let loads = taken.get(&end).copied().unwrap_or(0) + 1;
            system.latency(end) + loads * vectors as u64 * system.interval(end)
        });
        let none = || CompileError::NoRoute { system: system.name().to_owned(), from: source.0, to: target.0 };
        let route = route.ok_or_else(none)?;
        for hop in &route {
            *taken.entry(hop.from).or_default() += 1;
        }
        Ok(route)
    };
    members.map(route).collect()
}

/// The cheapest links from one chip to another through chips that `inside` allows.
fn shortest(
    system: &System,
    (source, target): (ChipId, ChipId),
    inside: impl Fn(ChipId) -> bool,
    cost: impl Fn(LinkEnd) -> u64,
) -> Option<Vec<Hop>> {
    let mut reached: BTreeMap<ChipId, (u64, Option<Hop>)> = BTreeMap::from([(source, (0, None))]);
    let mut open = BTreeSet::from([(0u64, source)]);
    while let Some((so_far, chip)) = open.pop_first() {
        if chip == target {
            break;
        }
        for link in 0..system.chip().values().c2c_queues as u16 {
            let from = LinkEnd { chip, link };
            let Some(to) = system.peer(from).filter(|to| inside(to.chip)) else { continue };
            let next = so_far + cost(from);
            if reached.get(&to.chip).is_none_or(|&(found, _)| next < found) {
                let hop = Hop { from, to, latency: system.latency(from), interval: system.interval(from) };
                reached.insert(to.chip, (next, Some(hop)));
                open.insert((next, to.chip));
            }
        }
    }
    let mut route = Vec::new();
    let mut chip = target;
    while chip != source {
        let hop = reached.get(&chip)?.1?;
        chip = hop.from.chip;
        route.push(hop);
    }
    route.reverse();
    Some(route)
}

/// The state of scheduling a transfer.
struct Transfers<'a> {
    chip: &'a Chip,
    schedulers: BTreeMap<u16, Scheduler<'a>>,
    /// By end of a link: the cycle after its last send, and after its last receive.
    after: BTreeMap<(LinkEnd, bool), u64>,
}

/// Schedules a transfer of stored vectors into places, the same on every member.
pub(crate) fn transfer(
    chip: &Chip,
    routes: &[Route],
    sent: &[Stored],
    places: &[Stored],
) -> Result<Transfer, CompileError> {
    let mut transfers = Transfers { chip, schedulers: BTreeMap::new(), after: BTreeMap::new() };
    for (sent, place) in sent.iter().zip(places) {
        for byte in 0..sent.bytes {
            for route in routes {
                let sent = Stored { ready: 0, by_quad: None, ..sent.plane(byte) };
                let mut place = Stored { ready: 0, by_quad: None, ..place.plane(byte) };
                transfers.carry(route, &sent, &mut place)?;
            }
        }
    }
    let issues = transfers.schedulers.into_iter().map(|(chip, scheduler)| (chip, scheduler.into_issues()));
    Ok(Transfer { issues: issues.collect() })
}

impl<'a> Transfers<'a> {
    fn scheduler(&mut self, chip: ChipId) -> &mut Scheduler<'a> {
        let of = self.chip;
        self.schedulers.entry(chip.0).or_insert_with(|| Scheduler::new(of))
    }

    fn after(&self, end: LinkEnd, sends: bool) -> u64 {
        self.after.get(&(end, sends)).copied().unwrap_or(0)
    }

    /// Takes one byte plane along a route.
    fn carry(&mut self, route: &[Hop], sent: &Stored, place: &mut Stored) -> Result<(), CompileError> {
        let (Some(&first), Some(&last)) = (route.first(), route.last()) else { return Ok(()) };
        let (queue, after) = (Queue::C2c(first.from.link), self.after(first.from, true));
        let position = self.chip.position(queue);
        let at = self.scheduler(first.from.chip).schedule("a send to the next stage", after, |scheduler, at| {
            let src = scheduler.fetch(sent, position, at)?;
            send(scheduler, first, at, src).map(|()| at)
        })?;
        self.after.insert((first.from, true), at + 1);
        let mut arrival = at + first.latency;
        for pair in route.windows(2) {
            arrival = self.relay(pair[0], pair[1], arrival)? + pair[1].latency;
        }
        let queue = Queue::C2c(last.to.link);
        let (position, from) = (self.chip.position(queue), arrival.max(self.after(last.to, false)));
        let scheduler = self.scheduler(last.to.chip);
        let at = scheduler.schedule("a receive from the stage before", from, |scheduler, at| {
            let fed = at + scheduler.delay(DelayClass::C2cReceive);
            let dst = scheduler.store(&mut place.clone(), position, fed)?;
            scheduler.issue(queue, at, Instruction::Receive { dst }).map(|()| at)
        })?;
        self.after.insert((last.to, false), at + 1);
        Ok(())
    }

    /// Passes on what arrives in cycle `arrival`; returns the cycle of the send.
    fn relay(&mut self, before: Hop, next: Hop, arrival: u64) -> Result<u64, CompileError> {
        let [into, out] = [before.to.link, next.from.link].map(Queue::C2c);
        let [entry, exit] = [into, out].map(|queue| self.chip.position(queue));
        let from = arrival.max(self.after(before.to, false));
        let earliest = self.after(next.from, true);
        let (receive, sent) = self.scheduler(next.from.chip).schedule("a relay", from, |scheduler, at| {
            let fed = at + scheduler.delay(DelayClass::C2cReceive);
            let (leaves, src, dst) = if entry == exit {
                turned(scheduler, entry, fed)?
            } else {
                let stream = scheduler.route(1, fed, entry, exit)?;
                (fed + u64::from(entry.abs_diff(exit)), stream, stream)
            };
            if leaves < earliest {
                return None;
            }
            scheduler.issue(into, at, Instruction::Receive { dst: src })?;
            send(scheduler, next, leaves, dst)?;
            Some((at, leaves))
        })?;
        self.after.insert((before.to, false), receive + 1);
        self.after.insert((next.from, true), sent + 1);
        Ok(sent)
    }
}

/// Sends what is on a stream at the link's position.
fn send(scheduler: &mut Scheduler<'_>, hop: Hop, at: u64, src: Stream) -> Option<()> {
    if !scheduler.tables.link(hop.from.link, at, hop.interval) {
        return None;
    }
    scheduler.issue(Queue::C2c(hop.from.link), at, Instruction::Send { src })
}

/// Turns a vector that enters at an edge in cycle `fed` around, through a switch unit; returns when it is back at the
/// edge, and its streams inward and outward.
fn turned(scheduler: &mut Scheduler<'_>, edge: i32, fed: u64) -> Option<(u64, Stream, Stream)> {
    let side = if edge > 0 { Hemisphere::East } else { Hemisphere::West };
    let switch = scheduler.chip.sxm_position(side);
    let way = u64::from(switch.abs_diff(edge));
    let inward = scheduler.route(1, fed, edge, switch)?;
    let left = fed + way + scheduler.delay(DelayClass::SxmLocal);
    let outward = scheduler.route(1, left, switch, edge)?;
    let shift =
        Instruction::ShiftLanes { width: GroupWidth::One, src: inward, dst: outward, by: Shift(0), edge: Edge::Wrap };
    let units = 0..scheduler.chip.values().sxm_per_side as u16;
    { units }.find_map(|unit| scheduler.issue(Queue::Sxm(side, unit), fed + way, shift))?;
    Some((left + way, inward, outward))
}
