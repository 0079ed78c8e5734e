//! Worker threads that outlive runs, and the barrier between phases.
//!
//! A member that panics breaks the barrier, so that the others stop waiting at it. The panic goes on in the caller once
//! all have left their shares.
//!
//! Who waits spins, then yields, then sleeps: a token has hundreds of phases of a few microseconds, and between tokens
//! the workers cost nothing.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::ReplayError;

/// Rounds of waiting before the thread yields, and before it sleeps.
const SPINS: u32 = 2_000;
const YIELDS: u32 = 200;

/// What a lock guards, be it that somebody panicked with it: no state here is half changed at any time.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that only grows, and threads that wait for it.
#[derive(Default)]
struct Gate {
    passed: AtomicU32,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Gate {
    fn open(&self) {
        self.passed.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(held(&self.lock));
            self.wake.notify_all();
        }
    }

    /// Waits until the gate was opened since it stood at `seen`, and calls `idle` again and again at first.
    fn wait(&self, seen: u32, mut idle: impl FnMut()) {
        for round in 0..SPINS + YIELDS {
            if self.passed.load(Ordering::Acquire) != seen {
                return;
            }
            if round < SPINS {
                idle();
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        let mut guard = held(&self.lock);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.passed.load(Ordering::SeqCst) == seen {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a team does together: every member calls it once.
pub(crate) trait Work: Send + Sync {
    /// The share of a member; the caller is member 0. It ends where the barrier is broken.
    fn share(&self, member: usize, barrier: &Barrier);
}

/// The point that all members reach before any goes on.
pub(crate) struct Barrier {
    members: u32,
    arrived: AtomicU32,
    broken: AtomicBool,
    gate: Gate,
}

impl Barrier {
    fn new(members: u32) -> Self {
        Self { members, arrived: AtomicU32::new(0), broken: AtomicBool::new(false), gate: Gate::default() }
    }

    /// Waits for all members; the last one to come calls `last` before any goes on, those that wait call `idle`. False
    /// when some member will not come any more.
    #[must_use]
    pub(crate) fn meet(&self, last: impl FnOnce(), idle: impl FnMut()) -> bool {
        let seen = self.gate.passed.load(Ordering::SeqCst);
        if self.is_broken() {
            return false;
        }
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.members {
            self.arrived.store(0, Ordering::Relaxed);
            last();
            self.gate.open();
        } else {
            self.gate.wait(seen, idle);
        }
        !self.is_broken()
    }

    /// Makes the barrier as new; no member may be at it.
    fn mend(&self) {
        self.arrived.store(0, Ordering::SeqCst);
        self.broken.store(false, Ordering::SeqCst);
    }

    /// Lets all members go that wait or will wait.
    fn break_up(&self) {
        self.broken.store(true, Ordering::SeqCst);
        self.gate.open();
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }
}

struct Shared {
    /// Between phases.
    phases: Barrier,
    /// Behind the work; nobody breaks it.
    end: Barrier,
    start: Gate,
    work: Mutex<Option<Arc<dyn Work>>>,
    /// What a member panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    over: AtomicBool,
}

impl Shared {
    /// The share of a member, and the wait for all others.
    fn share(&self, work: &Arc<dyn Work>, member: usize) {
        // Whoever gave the work does not look at what a panic left of it.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work.share(member, &self.phases))) {
            held(&self.panic).get_or_insert(panic);
            self.phases.break_up();
        }
        let _ = self.end.meet(|| (), || ());
    }
}

/// Threads that work together; the caller is one of them.
pub(crate) struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the caller whose work is done.
    turn: Mutex<()>,
}

impl Team {
    /// A team of `members`, at least one.
    pub(crate) fn new(members: usize) -> Result<Self, ReplayError> {
        let members = members.max(1);
        let refused = |error| ReplayError::Threads { threads: members, error };
        let count = u32::try_from(members).map_err(|_| refused(std::io::ErrorKind::InvalidInput.into()))?;
        let shared = Arc::new(Shared {
            phases: Barrier::new(count),
            end: Barrier::new(count),
            start: Gate::default(),
            work: Mutex::new(None),
            panic: Mutex::new(None),
            over: AtomicBool::new(false),
        });
        let mut team = Self { shared, workers: Vec::new(), turn: Mutex::new(()) };
        for member in 1..members {
            let shared = Arc::clone(&team.shared);
            let worker = std::thread::Builder::new().spawn(move || worker(&shared, member)).map_err(refused)?;
            team.workers.push(worker);
        }
        Ok(team)
    }

    /// Members of the team.
    pub(crate) fn members(&self) -> usize {
        self.workers.len() + 1
    }

    /// Does the work, once that of earlier callers is done, and returns when every member has left its share. A panic
    /// of a member goes on here.
    pub(crate) fn run(&self, work: &Arc<dyn Work>) {
        let _turn = held(&self.turn);
        if !self.workers.is_empty() {
            *held(&self.shared.work) = Some(Arc::clone(work));
            self.shared.start.open();
        }
        self.shared.share(work, 0);
        let panic = held(&self.shared.panic).take();
        if let Some(panic) = panic {
            // All members have left their shares, so none is at the barrier.
            self.shared.phases.mend();
            resume_unwind(panic);
        }
    }
}

fn worker(shared: &Shared, member: usize) {
    let mut seen = 0;
    loop {
        shared.start.wait(seen, || ());
        seen = seen.wrapping_add(1);
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        let work = held(&shared.work).clone();
        if let Some(work) = work {
            shared.share(&work, member);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.start.open();
        for worker in self.workers.drain(..) {
            // Workers catch panics.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Phases of which one member panics in one, or nobody.
    struct Phases {
        count: usize,
        panics: Option<(usize, usize)>,
        done: AtomicU32,
    }

    impl Work for Phases {
        fn share(&self, member: usize, barrier: &Barrier) {
            for phase in 0..self.count {
                assert!(self.panics != Some((member, phase)), "member {member} in phase {phase}");
                if !barrier.meet(|| (), || ()) {
                    return;
                }
            }
            self.done.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn phases(panics: Option<(usize, usize)>) -> Arc<Phases> {
        Arc::new(Phases { count: 5, panics, done: AtomicU32::new(0) })
    }

    #[test]
    fn a_panic_of_any_member_goes_on_in_the_caller() {
        for members in 1..=4 {
            for (member, phase) in (0..members).flat_map(|member| [0, 2, 4].map(|phase| (member, phase))) {
                let team = Team::new(members).unwrap();
                let whole = phases(None);
                team.run(&(Arc::clone(&whole) as _));
                assert_eq!(whole.done.load(Ordering::SeqCst), members as u32);
                let cut = phases(Some((member, phase)));
                let panic = catch_unwind(AssertUnwindSafe(|| team.run(&(Arc::clone(&cut) as _)))).unwrap_err();
                assert_eq!(panic.downcast_ref::<String>(), Some(&format!("member {member} in phase {phase}")));
                assert_eq!(cut.done.load(Ordering::SeqCst), 0, "nobody can pass a phase that a member did not end");
                let next = phases(None);
                team.run(&(Arc::clone(&next) as _));
                assert_eq!(next.done.load(Ordering::SeqCst), members as u32, "the work of others goes on");
            }
        }
    }
}
