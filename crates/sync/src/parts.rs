//! Disjoint `&mut` parts of the outputs of a parallel region, one for each task.
#![expect(unsafe_code, reason = "splitting one exclusive borrow among threads by index")]

use crate::error::RegionError;
use crate::team::Team;
use std::fmt;
use std::marker::PhantomData;

/// Something that falls into disjoint parts which different threads may take at the same time.
///
/// Implemented by [`chunks`], [`items`] and tuples of up to six of them; [`Team::parallel_parts`] hands the parts out.
///
/// ```
/// use selvedge_sync::{Team, chunks, items};
///
/// // Three rows and, of each, its sum.
/// let (mut rows, mut sums) = (vec![2.0; 12], vec![0.0; 3]);
/// Team::new(2)?.parallel_parts((chunks(&mut rows, 4), items(&mut sums)), |index, (row, sum)| {
///     row[0] = index as f32;
///     *sum = row.iter().sum();
/// });
/// assert_eq!(sums, [6.0, 7.0, 8.0]);
/// # Ok::<(), selvedge_sync::TeamError>(())
/// ```
///
/// # Safety
///
/// `len` must return the same number each time, and the parts of different indices below it must be disjoint: no two
/// of them reach the same memory unless both only read it.
pub unsafe trait Parts: Sync {
    /// One part, exclusive to the thread that took it.
    type Part: Send;

    /// Number of parts.
    fn len(&self) -> usize;

    /// Whether there is no part.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes part `index`.
    ///
    /// # Safety
    ///
    /// `index` is below [`Parts::len`] and is taken at most once in the life of this value, by whatever thread.
    unsafe fn part(&self, index: usize) -> Self::Part;
}

/// The body of [`Team::parallel_parts`].
#[track_caller]
pub(crate) fn each<P: Parts, F: Fn(usize, P::Part) + Sync>(team: &Team, parts: &P, work: &F) {
    team.parallel(parts.len(), |index| {
        // SAFETY: a region runs each index below its number of tasks at most once, and `parts` came by value to the
        // one region it is used in.
        work(index, unsafe { parts.part(index) });
    });
}

/// As [`each`], with the panic of a part's work as an error.
#[track_caller]
pub(crate) fn try_each<P: Parts, F: Fn(usize, P::Part) + Sync>(
    team: &Team,
    parts: &P,
    work: &F,
) -> Result<(), RegionError> {
    team.try_parallel(parts.len(), |index| {
        // SAFETY: as in `each`.
        work(index, unsafe { parts.part(index) });
    })
}

/// The body of [`Team::parallel_parts_with`]: `region` runs each index once and says on which participant.
pub(crate) fn each_with<P: Parts, S: Send, F: Fn(usize, P::Part, &mut S) + Sync>(
    parts: &P,
    scratch: &mut [S],
    work: &F,
    region: impl FnOnce(usize, &(dyn Fn(usize, usize) + Sync)),
) {
    let scratch = items(scratch);
    region(parts.len(), &|participant, index| {
        // SAFETY: a participant is one thread, which runs its tasks one after another, so this borrow ends before the
        // next of the same element begins.
        let own = unsafe { scratch.lend(participant) };
        // SAFETY: as in `each`.
        work(index, unsafe { parts.part(index) }, own);
    });
}

/// Parts of `slice` of `size` elements each; the last may be shorter, and an empty slice has none.
///
/// ```
/// use selvedge_sync::{Team, chunks};
///
/// let mut numbers = [0; 5];
/// Team::new(2)?.parallel_parts(chunks(&mut numbers, 2), |index, part| part.fill(index));
/// assert_eq!(numbers, [0, 0, 1, 1, 2]);
/// # Ok::<(), selvedge_sync::TeamError>(())
/// ```
///
/// # Panics
///
/// When `size` is zero.
pub fn chunks<T: Send>(slice: &mut [T], size: usize) -> Chunks<'_, T> {
    assert!(size > 0, "chunks of no elements");
    Chunks { start: slice.as_mut_ptr(), len: slice.len(), size, owner: PhantomData }
}

/// Parts of `slice` of one element each.
///
/// ```
/// use selvedge_sync::{Team, items};
///
/// let mut squares = [0; 4];
/// Team::new(2)?.parallel_parts(items(&mut squares), |index, square| *square = index * index);
/// assert_eq!(squares, [0, 1, 4, 9]);
/// # Ok::<(), selvedge_sync::TeamError>(())
/// ```
pub fn items<T: Send>(slice: &mut [T]) -> Items<'_, T> {
    Items { start: slice.as_mut_ptr(), len: slice.len(), owner: PhantomData }
}

/// See [`chunks`].
pub struct Chunks<'a, T> {
    start: *mut T,
    len: usize,
    size: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: sharing a `Chunks` lets threads take parts of a `&mut [T]`, which `T: Send` allows, and nothing else.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}
// SAFETY: it stands for a `&mut [T]`, which is `Send` when `T` is.
unsafe impl<T: Send> Send for Chunks<'_, T> {}

impl<T> fmt::Debug for Chunks<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks").field("len", &self.len).field("size", &self.size).finish_non_exhaustive()
    }
}

// SAFETY: part i covers elements [i·size, min((i+1)·size, len)): the ranges are disjoint and inside the slice.
unsafe impl<'a, T: Send> Parts for Chunks<'a, T> {
    type Part = &'a mut [T];

    fn len(&self) -> usize {
        self.len.div_ceil(self.size)
    }

    unsafe fn part(&self, index: usize) -> &'a mut [T] {
        debug_assert!(index < self.len(), "part {index} of {}", self.len());
        let at = index * self.size;
        let count = self.size.min(self.len - at);
        // SAFETY: the range is inside the slice, borrowed for 'a; the caller takes each index once, so no other
        // reference to it exists.
        unsafe { std::slice::from_raw_parts_mut(self.start.wrapping_add(at), count) }
    }
}

/// See [`items`].
pub struct Items<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: as for `Chunks`.
unsafe impl<T: Send> Sync for Items<'_, T> {}
// SAFETY: as for `Chunks`.
unsafe impl<T: Send> Send for Items<'_, T> {}

impl<T> fmt::Debug for Items<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<T: Send> Items<'_, T> {
    /// Element `index`, for the time of the borrow.
    ///
    /// # Panics
    ///
    /// When there is no such element.
    ///
    /// # Safety
    ///
    /// Nobody else has the element meanwhile.
    #[expect(clippy::mut_from_ref, reason = "exclusive by the caller's promise, as in `Parts::part`")]
    unsafe fn lend(&self, index: usize) -> &mut T {
        assert!(index < self.len, "element {index} of {}", self.len);
        // SAFETY: the element is inside the slice, which is borrowed for longer; the caller keeps others away.
        unsafe { &mut *self.start.wrapping_add(index) }
    }
}

// SAFETY: part i is element i.
unsafe impl<'a, T: Send> Parts for Items<'a, T> {
    type Part = &'a mut T;

    fn len(&self) -> usize {
        self.len
    }

    unsafe fn part(&self, index: usize) -> &'a mut T {
        debug_assert!(index < self.len, "part {index} of {}", self.len);
        // SAFETY: the element is inside the slice, borrowed for 'a; the caller takes each index once.
        unsafe { &mut *self.start.wrapping_add(index) }
    }
}

/// The same `size` elements of every row, for every stretch of `size`; rows are of one length.
///
/// # Panics
///
/// When two rows differ in length.
pub(crate) fn columns<'a>(rows: &'a mut [&mut [f32]], size: usize) -> Columns<'a> {
    let len = rows.first().map_or(0, |row| row.len());
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(row.len(), len, "length of shard {at} against that of shard 0");
    }
    Columns { rows: rows.iter_mut().map(|row| row.as_mut_ptr()).collect(), len, size, owner: PhantomData }
}

/// See [`columns`].
pub(crate) struct Columns<'a> {
    rows: Vec<*mut f32>,
    len: usize,
    size: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: as for `Chunks`, of several slices.
unsafe impl Sync for Columns<'_> {}

/// One stretch of every row.
pub(crate) struct Column<'a> {
    rows: &'a [*mut f32],
    at: usize,
    len: usize,
}

// SAFETY: it stands for a `&mut [f32]` of every row.
unsafe impl Send for Column<'_> {}

impl Column<'_> {
    /// Number of rows.
    pub(crate) fn count(&self) -> usize {
        self.rows.len()
    }

    /// This stretch of two different rows, the first to write.
    pub(crate) fn pair(&mut self, write: usize, read: usize) -> (&mut [f32], &[f32]) {
        assert_ne!(write, read, "one row twice");
        let (write, read) = (self.rows[write], self.rows[read]);
        // SAFETY: the stretch is inside each row and belongs to this column alone; the rows are different borrows.
        let write = unsafe { std::slice::from_raw_parts_mut(write.wrapping_add(self.at), self.len) };
        // SAFETY: as above.
        let read = unsafe { std::slice::from_raw_parts(read.wrapping_add(self.at), self.len) };
        (write, read)
    }
}

// SAFETY: part i covers the elements [i·size, min((i+1)·size, len)) of every row.
unsafe impl<'a> Parts for &'a Columns<'_> {
    type Part = Column<'a>;

    fn len(&self) -> usize {
        self.len.div_ceil(self.size)
    }

    unsafe fn part(&self, index: usize) -> Column<'a> {
        let at = index * self.size;
        Column { rows: &self.rows, at, len: self.size.min(self.len - at) }
    }
}

macro_rules! tuple_parts {
    ($first:ident $(, $rest:ident)+) => {
        // SAFETY: the members are disjoint borrows, and each member's parts are disjoint.
        unsafe impl<$first: Parts $(, $rest: Parts)+> Parts for ($first, $($rest),+) {
            type Part = ($first::Part, $($rest::Part),+);

            /// # Panics
            ///
            /// When the members have different numbers of parts.
            fn len(&self) -> usize {
                #[allow(non_snake_case, reason = "a member is named after its type")]
                let ($first, $($rest),+) = self;
                let len = $first.len();
                $(assert_eq!(len, $rest.len(), "parts taken together must be of the same number");)+
                len
            }

            unsafe fn part(&self, index: usize) -> Self::Part {
                #[allow(non_snake_case, reason = "a member is named after its type")]
                let ($first, $($rest),+) = self;
                // SAFETY: `index` is below the length of every member, and the caller takes it once.
                unsafe { ($first.part(index), $($rest.part(index)),+) }
            }
        }
    };
}

tuple_parts!(A, B);
tuple_parts!(A, B, C);
tuple_parts!(A, B, C, D);
tuple_parts!(A, B, C, D, E);
tuple_parts!(A, B, C, D, E, F);
