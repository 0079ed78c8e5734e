//! An exchange as a rigid block: a vector leaves over a link byte plane by byte plane, and what the other chip sends in
//! return is received a link's latency later.
//!
//! Invariant: every chip of the group dispatches the block in one cycle, so the other chip's sends are this chip's, and
//! a receive is less than an interval after its arrival. So the receives of a link are in the order of its sends.

use lpu_isa::{DelayClass, Instruction, Queue, Stream};

use crate::engine::{Delay, Engine};
use crate::error::CompileError;
use crate::record::Cause;
use crate::scheduler::Scheduler;
use crate::target::Peer;
use crate::task::{Exchange, Task};
use crate::vectors::Stored;

impl Engine<'_> {
    pub(crate) fn schedule_exchange(&mut self, task: &Task, exchange: Exchange) -> Result<Delay, CompileError> {
        let peer = self.group.peers[exchange.peer];
        let sent = self.storage(task.inputs[0]);
        let places: Vec<Stored> = task.outputs.iter().map(|out| self.scratch(out)).collect::<Result<_, _>>()?;
        let from = self.scheduler.at_position(&sent, self.scheduler.chip.position(Queue::C2c(peer.link)));
        let (late, places) = self.scheduler.schedule(task.what, from, |scheduler, at| {
            let places = exchange_at(scheduler, peer, &sent, &places, at)?;
            Some((at - from, places))
        })?;
        for (out, place) in task.outputs.iter().zip(places) {
            self.define(out.vreg, place.ready, Some(place));
        }
        Ok((Cause::Links, late))
    }
}

/// Sends byte plane `b` of a vector in cycle `at` plus `b` intervals, and stores what arrives in return in all places.
fn exchange_at(
    scheduler: &mut Scheduler<'_>,
    peer: Peer,
    sent: &Stored,
    places: &[Stored],
    at: u64,
) -> Option<Vec<Stored>> {
    let queue = Queue::C2c(peer.link);
    let position = scheduler.chip.position(queue);
    let mut stored: Vec<Stored> = places.to_vec();
    let mut by_quad = vec![[0; 2]; places.len()];
    for byte in 0..sent.bytes {
        let send = at + u64::from(byte) * peer.interval;
        if !scheduler.tables.link(peer.link, send, peer.interval) {
            return None;
        }
        let src = scheduler.fetch(&sent.plane(byte), position, send)?;
        scheduler.issue(queue, send, Instruction::Send { src })?;
        let mut planes: Vec<Stored> = places.iter().map(|place| place.plane(byte)).collect();
        receive(scheduler, peer, &mut planes, send + peer.latency)?;
        for ((plane, stored), by_quad) in planes.iter().zip(&mut stored).zip(&mut by_quad) {
            stored.ready = stored.ready.max(plane.ready);
            for (ready, quad) in by_quad.iter_mut().zip([0, 1]) {
                *ready = plane.readable(quad).max(*ready);
            }
        }
    }
    let ready = stored.into_iter().zip(by_quad).map(|(place, by_quad)| Stored { by_quad: Some(by_quad), ..place });
    Some(ready.collect())
}

/// Receives a byte plane that arrives in cycle `arrival`, in the first cycle from then on in which its queue is free.
fn receive(scheduler: &mut Scheduler<'_>, peer: Peer, planes: &mut [Stored], arrival: u64) -> Option<Stream> {
    let queue = Queue::C2c(peer.link);
    let position = scheduler.chip.position(queue);
    let at = (arrival..arrival + peer.interval).find(|&cycle| scheduler.tables.issue(queue, cycle))?;
    let dst = scheduler.store_all(planes, position, at + scheduler.delay(DelayClass::C2cReceive))?;
    scheduler.emit(queue, at, Instruction::Receive { dst });
    Some(dst)
}
