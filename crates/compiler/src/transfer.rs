//! What a pipeline stage hands to the next: each chip's piece of a value, over links and through chips that pass it on.
//!
//! Method: the chips that send have what the schedule of their stage leaves free, so vectors leave as soon as they are
//! made; those that receive do nothing else meanwhile. Byte plane after byte plane, member after member, a vector takes
//! the earliest cycle at each chip of its route. A relay takes what it receives to the other hemisphere's edge or, where
//! it leaves from the edge that it came to, through a switch unit that shifts by nothing.
//!
//! Invariants: sends and receives of a link are in one order, that of scheduling; cycles count from the beginning of
//! the schedule that sends.
//!
//! Not claimed: that no other order is shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use lpu_chip::{Chip, LinkEnd, System};
use lpu_isa::{ChipId, DelayClass, Edge, GroupWidth, Hemisphere, Instruction, Queue, Shift, Stream};

use crate::error::CompileError;
use crate::scheduler::Scheduler;
use crate::tables::Tables;
use crate::vectors::Stored;

/// Cycles from which on a vector is sent at most until its relays have cycles for it.
const MOST_TRIED: u64 = 1 << 14;

/// A link that a vector takes, from the chip that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    from: LinkEnd,
    to: LinkEnd,
    latency: u64,
    interval: u64,
}

impl Hop {
    /// Gives its chips other numbers.
    pub(crate) fn renumber(&mut self, number: impl Fn(ChipId) -> ChipId) {
        [&mut self.from, &mut self.to].into_iter().for_each(|end| end.chip = number(end.chip));
    }
}

/// The links that a member's piece takes, in order.
pub(crate) type Route = Vec<Hop>;

/// A transfer: what each chip dispatches for it, in cycles from the beginning of the schedule that
/// sends.
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
    /// What the schedule of each sending chip takes, and which chips these are.
    sending: (&'a Tables, Range<u16>),
    /// The cycle that is cycle 0 of the receiving chips' tables.
    origin: u64,
    schedulers: BTreeMap<u16, Scheduler<'a>>,
    /// By end of a link: the cycle after its last send, and after its last receive.
    after: BTreeMap<(LinkEnd, bool), u64>,
}

/// Schedules a transfer of stored vectors into places, the same on every member.
pub(crate) fn transfer(
    chip: &Chip,
    routes: &[Route],
    sending: (&Tables, Range<u16>),
    sent: &[&Stored],
    places: &[&Stored],
) -> Result<Transfer, CompileError> {
    let origin = sent.iter().map(|sent| sent.ready).min().unwrap_or(0);
    let mut transfers = Transfers { chip, sending, origin, schedulers: BTreeMap::new(), after: BTreeMap::new() };
    for (sent, place) in sent.iter().zip(places) {
        for byte in 0..sent.bytes {
            for route in routes {
                let sent = sent.plane(byte);
                let place = Stored { ready: 0, by_quad: None, ..place.plane(byte) };
                transfers.carry(route, &sent, &place)?;
            }
        }
    }
    let mut issues = BTreeMap::new();
    for (chip, scheduler) in transfers.schedulers {
        let origin = if transfers.sending.1.contains(&chip) { 0 } else { origin };
        let of_chip = scheduler.into_issues().into_iter();
        issues.insert(chip, of_chip.map(|(queue, cycle, issued)| (queue, cycle + origin, issued)).collect());
    }
    Ok(Transfer { issues })
}

impl<'a> Transfers<'a> {
    /// The scheduler of a chip, and the cycle that is its cycle 0.
    fn scheduler(&mut self, chip: ChipId) -> (&mut Scheduler<'a>, u64) {
        let (of, (taken, sending)) = (self.chip, &self.sending);
        let sends = sending.contains(&chip.0);
        let scheduler = self.schedulers.entry(chip.0).or_insert_with(|| match sends {
            true => Scheduler::over(of, (*taken).clone()),
            false => Scheduler::new(of),
        });
        (scheduler, if sends { 0 } else { self.origin })
    }

    fn after(&self, end: LinkEnd, sends: bool) -> u64 {
        self.after.get(&(end, sends)).copied().unwrap_or(0)
    }

    /// Takes one byte plane along a route, at the first cycle from which every relay can pass it on in time.
    fn carry(&mut self, route: &[Hop], sent: &Stored, place: &Stored) -> Result<(), CompileError> {
        let Some(&first) = route.first() else { return Ok(()) };
        let position = self.chip.position(Queue::C2c(first.from.link));
        let after = self.after(first.from, true);
        let (scheduler, _) = self.scheduler(first.from.chip);
        let earliest = after.max(scheduler.at_position(sent, position));
        let mut from = earliest;
        while from - earliest < MOST_TRIED {
            let (scheduler, _) = self.scheduler(first.from.chip);
            let at = scheduler.schedule("a send to the next stage", from, |scheduler, at| {
                let src = scheduler.fetch(sent, position, at)?;
                send(scheduler, first, at, src).map(|()| at)
            })?;
            let mut taken = vec![(first.from, true, at)];
            if self.onward(route, at + first.latency, place, &mut taken)? {
                self.after.extend(taken.into_iter().map(|(end, sends, at)| ((end, sends), at + 1)));
                return Ok(());
            }
            // A route passes a chip once, so what it took there is the last thing that was scheduled.
            let mut chips: Vec<ChipId> = taken.iter().map(|(end, ..)| end.chip).collect();
            chips.dedup();
            for chip in chips {
                self.scheduler(chip).0.give_back();
            }
            from = at + 1;
        }
        Err(CompileError::NoPlace { what: "a transfer to the next stage".to_owned(), searched: MOST_TRIED })
    }

    /// Takes what was sent from its first arrival on; false where a relay cannot pass it on in time. `taken` gets the
    /// ends of links with their sends and receives.
    fn onward(
        &mut self,
        route: &[Hop],
        mut arrival: u64,
        place: &Stored,
        taken: &mut Vec<(LinkEnd, bool, u64)>,
    ) -> Result<bool, CompileError> {
        for pair in route.windows(2) {
            let Some([receive, sent]) = self.relay(pair[0], pair[1], arrival)? else { return Ok(false) };
            taken.extend([(pair[0].to, false, receive), (pair[1].from, true, sent)]);
            arrival = sent + pair[1].latency;
        }
        let Some(&last) = route.last() else { return Ok(true) };
        let queue = Queue::C2c(last.to.link);
        let (position, from) = (self.chip.position(queue), arrival.max(self.after(last.to, false)));
        let (scheduler, origin) = self.scheduler(last.to.chip);
        let at = scheduler.schedule("a receive from the stage before", from - origin, |scheduler, at| {
            let fed = at + scheduler.delay(DelayClass::C2cReceive);
            let dst = scheduler.store(&mut place.clone(), position, fed)?;
            scheduler.issue(queue, at, Instruction::Receive { dst }).map(|()| at)
        })?;
        taken.push((last.to, false, at + origin));
        Ok(true)
    }

    /// Passes on what arrives in cycle `arrival`; the cycles of its receive and send. A chip whose schedule receives
    /// over the link too must take it before the next arrival, or has no cycle for it.
    fn relay(&mut self, before: Hop, next: Hop, arrival: u64) -> Result<Option<[u64; 2]>, CompileError> {
        let [into, out] = [before.to.link, next.from.link].map(Queue::C2c);
        let [entry, exit] = [into, out].map(|queue| self.chip.position(queue));
        let from = arrival.max(self.after(before.to, false));
        let earliest = self.after(next.from, true);
        let sends = self.sending.1.contains(&next.from.chip.0);
        let (scheduler, origin) = self.scheduler(next.from.chip);
        let attempt = |scheduler: &mut Scheduler<'_>, at: u64| {
            let fed = at + scheduler.delay(DelayClass::C2cReceive);
            let (leaves, src, dst) = if entry == exit {
                turned(scheduler, entry, fed)?
            } else {
                let stream = scheduler.route(1, fed, entry, exit)?;
                (fed + u64::from(entry.abs_diff(exit)), stream, stream)
            };
            if leaves + origin < earliest {
                return None;
            }
            scheduler.issue(into, at, Instruction::Receive { dst: src })?;
            send(scheduler, next, leaves, dst)?;
            Some([at + origin, leaves + origin])
        };
        if sends {
            return Ok(scheduler.schedule_within(
                from - origin,
                (arrival + before.interval).saturating_sub(from),
                attempt,
            ));
        }
        scheduler.schedule("a relay", from - origin, attempt).map(Some)
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
