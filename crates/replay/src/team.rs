//! Worker threads that outlive runs, and the barrier between phases.
//!
//! Who waits spins, then yields, then sleeps: a token has hundreds of phases of a few microseconds, and between tokens the workers cost nothing.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// Rounds of waiting before the thread yields, and before it sleeps.
const SPINS: u32 = 2_000;
const YIELDS: u32 = 200;

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
            drop(self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
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
        let mut guard = self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.passed.load(Ordering::SeqCst) == seen {
            guard = self.wake.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a team does together: every member calls it once.
pub(crate) trait Work: Send + Sync {
    /// The share of a member; the caller is member 0.
    fn share(&self, member: usize, barrier: &Barrier);
}

/// The point that all members reach before any goes on.
pub(crate) struct Barrier {
    members: u32,
    arrived: AtomicU32,
    gate: Gate,
}

impl Barrier {
    fn new(members: u32) -> Self {
        Self { members, arrived: AtomicU32::new(0), gate: Gate::default() }
    }

    /// Waits for all members; `last` is called by the one who comes last, before anybody goes on, `idle` by those who wait.
    pub(crate) fn meet(&self, last: impl FnOnce(), idle: impl FnMut()) {
        let seen = self.gate.passed.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.members {
            self.arrived.store(0, Ordering::Relaxed);
            last();
            self.gate.open();
        } else {
            self.gate.wait(seen, idle);
        }
    }
}

struct Shared {
    barrier: Barrier,
    start: Gate,
    work: Mutex<Option<Arc<dyn Work>>>,
    over: AtomicBool,
}

/// Threads that work together; the caller is one of them.
pub(crate) struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Team {
    /// A team of `members`, at least one.
    pub(crate) fn new(members: usize) -> Self {
        let members = members.max(1);
        let shared = Arc::new(Shared {
            barrier: Barrier::new(members as u32),
            start: Gate::default(),
            work: Mutex::new(None),
            over: AtomicBool::new(false),
        });
        let workers = (1..members)
            .map(|member| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || worker(&shared, member))
            })
            .collect();
        Self { shared, workers }
    }

    /// Members of the team.
    pub(crate) fn members(&self) -> usize {
        self.workers.len() + 1
    }

    /// Does the work and returns when every member has done its share.
    pub(crate) fn run(&self, work: &Arc<dyn Work>) {
        if !self.workers.is_empty() {
            *self.shared.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::clone(work));
            self.shared.start.open();
        }
        work.share(0, &self.shared.barrier);
        self.shared.barrier.meet(|| (), || ());
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
        let work = shared.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(work) = work {
            work.share(member, &shared.barrier);
        }
        shared.barrier.meet(|| (), || ());
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.start.open();
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so already.
            let _ = worker.join();
        }
    }
}
