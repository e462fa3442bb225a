//! What a kernel may use: a team of threads, an instruction set, and scratch memory.

use std::fmt;

use selvedge_sync::{Parts, Team};

use crate::{Buffer, Isa, Real};

/// Elements a task of an element-wise kernel takes.
pub(crate) const ELEMENTS: usize = 16 * 1024;

/// What the operands of products are rounded to. Everything else, sums among it, is f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Nothing: operands are f32.
    #[default]
    F32,
    /// bf16, for contexts of f32: seven bits of fraction, and twice as many operations a second where the processor has
    /// dot products of them.
    Bf16,
}

impl Precision {
    /// Whether operands of products keep all of these numbers as they are.
    pub fn keeps<T: Real>(self, numbers: &[T]) -> bool {
        match self {
            Precision::F32 => true,
            Precision::Bf16 => numbers.iter().all(|x| {
                let x = x.to_f64() as f32;
                x.to_bits().trailing_zeros() >= 16 && !x.is_subnormal() && !x.is_nan()
            }),
        }
    }
}

/// One worker's means of computing. Kernels take `&mut Context`, so one region runs at a time and
/// scratch is never shared between two kernels.
pub struct Context<T: Real = f32> {
    team: Team,
    isa: Isa,
    precision: Precision,
    /// Shared by the tasks of one kernel: packed operands.
    shared: Buffer<T>,
    /// One buffer a thread of the team: block-sized temporaries.
    private: Vec<Buffer<T>>,
    /// Buffers for what lasts over several kernels: see [`Context::with_room`].
    rooms: Vec<Buffer<T>>,
}

impl<T: Real> Context<T> {
    /// A context over `team` with the given instruction set. Allocates nothing yet: scratch grows to
    /// the largest request and stays.
    pub fn new(team: Team, isa: Isa) -> Self {
        let private = (0..team.threads()).map(|_| Buffer::zeroed(0)).collect();
        Context {
            team,
            isa,
            precision: Precision::F32,
            shared: Buffer::zeroed(0),
            private,
            rooms: Vec::new(),
        }
    }

    /// The same with products of the given precision.
    pub fn with_precision(self, precision: Precision) -> Self {
        Context { precision, ..self }
    }

    /// What operands of products are rounded to.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// One thread, best instruction set.
    pub fn solo() -> Self {
        Context::new(Team::solo(), Isa::detect())
    }

    /// The threads that help.
    pub fn team(&self) -> &Team {
        &self.team
    }

    /// The instruction set kernels run with.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Bytes of scratch held now.
    pub fn scratch_bytes(&self) -> usize {
        let buffers = self.private.iter().chain(&self.rooms).map(|buffer| buffer.len());
        (self.shared.len() + buffers.sum::<usize>()) * size_of::<T>()
    }

    /// Lends `len` elements, whatever was left there, for the time of some kernels. Calls may be nested: each depth has a
    /// buffer of its own, which grows to the largest request and stays.
    pub fn with_room<R>(&mut self, len: usize, work: impl FnOnce(&mut Self, &mut [T]) -> R) -> R {
        let mut room = self.rooms.pop().unwrap_or_else(|| Buffer::zeroed(0));
        reserve(&mut room, len);
        let result = work(self, &mut align(&mut room)[..len]);
        self.rooms.push(room);
        result
    }

    /// Runs `task(index, part)` for each part, on the team. Instruments name the region by the caller of this.
    #[track_caller]
    pub(crate) fn for_each<P: Parts>(&self, parts: P, task: impl Fn(usize, P::Part) + Sync) {
        self.team.parallel_parts(parts, task);
    }

    /// Splits the context into the team, shared scratch of the lengths given, and a runner that hands
    /// each task `private` elements of its thread's own scratch. Contents are whatever was left there.
    pub(crate) fn split<const N: usize>(
        &mut self,
        shared: [usize; N],
        private: usize,
    ) -> ([&mut [T]; N], Runner<'_, T>) {
        for buffer in &mut self.private {
            reserve(buffer, private);
        }
        let total = shared.iter().map(|&len| round_up(len)).sum();
        reserve(&mut self.shared, total);
        let slices = carve(align(&mut self.shared), shared);
        (slices, Runner { team: &self.team, isa: self.isa, private: &mut self.private })
    }
}

impl<T: Real> fmt::Debug for Context<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("threads", &self.team.threads())
            .field("isa", &self.isa)
            .field("precision", &self.precision)
            .field("scratch_bytes", &self.scratch_bytes())
            .finish()
    }
}

/// Runs the tasks of one kernel, each with the scratch of the thread it happens to run on.
pub(crate) struct Runner<'a, T: Real> {
    team: &'a Team,
    pub(crate) isa: Isa,
    private: &'a mut [Buffer<T>],
}

impl<T: Real> Runner<'_, T> {
    /// The threads that run the tasks.
    pub(crate) fn team(&self) -> &Team {
        self.team
    }

    /// Runs `task(index, part, scratch)` for each part; the scratch is the running thread's own, aligned.
    #[track_caller]
    pub(crate) fn for_each_with_scratch<P: Parts>(
        &mut self,
        parts: P,
        task: impl Fn(usize, P::Part, &mut [T]) + Sync,
    ) {
        self.team.parallel_parts_with(parts, self.private, |index, part, buffer| {
            task(index, part, align(buffer));
        });
    }
}

/// Cache line and widest vector, in bytes.
const ALIGNMENT: usize = 64;

/// Elements of one alignment unit.
const fn unit<T>() -> usize {
    ALIGNMENT / size_of::<T>()
}

fn round_up_to<T>(len: usize) -> usize {
    len.next_multiple_of(unit::<T>())
}

fn round_up(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT / size_of::<f32>())
}

fn reserve<T: Real>(buffer: &mut Buffer<T>, len: usize) {
    // Room for aligning the start as well.
    let wanted = len + 2 * unit::<T>();
    if buffer.len() < wanted {
        // The old one first: there need not be memory for both.
        *buffer = Buffer::zeroed(0);
        *buffer = Buffer::zeroed(wanted);
    }
}

fn align<T: Real>(buffer: &mut [T]) -> &mut [T] {
    let skip = buffer.as_ptr().align_offset(ALIGNMENT);
    buffer.get_mut(skip..).unwrap_or_default()
}

/// Cuts `buffer` into slices of the lengths given, each starting on an alignment boundary.
pub(crate) fn carve<T: Real, const N: usize>(buffer: &mut [T], lens: [usize; N]) -> [&mut [T]; N] {
    let mut rest = buffer;
    lens.map(|len| {
        let (head, tail) = std::mem::take(&mut rest).split_at_mut(round_up_to::<T>(len));
        rest = tail;
        &mut head[..len]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_slices_are_aligned_disjoint_and_of_the_length_asked() {
        let mut cx = Context::<f32>::solo();
        let ([a, b], _) = cx.split([5, 17], 3);
        assert_eq!((a.len(), b.len()), (5, 17));
        assert_eq!(a.as_ptr() as usize % ALIGNMENT, 0);
        assert_eq!(b.as_ptr() as usize % ALIGNMENT, 0);
        a.fill(1.0);
        b.fill(2.0);
        assert!(a.iter().all(|&x| x == 1.0));
    }

    #[test]
    fn rooms_within_rooms_are_apart_and_used_again() {
        let mut cx = Context::<f32>::solo();
        let mut at = Vec::new();
        for _ in 0..2 {
            cx.with_room(40, |cx, outer| {
                outer.fill(1.0);
                cx.with_room(90, |_, inner| {
                    inner.fill(2.0);
                    at.push((outer.as_ptr(), inner.as_ptr()));
                });
                assert!(outer.len() == 40 && outer.iter().all(|&x| x == 1.0));
            });
        }
        assert_eq!(at[0], at[1]);
    }
}
