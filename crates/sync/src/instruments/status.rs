//! What a thread is doing, as it last said: a few words, read whole.

use super::versioned::Versioned;

/// No site, where a site is asked for.
pub(crate) const NOWHERE: u16 = 0xFFF;

/// Bits of a site's number in an [`Id`].
const SITE_BITS: u32 = 12;

/// A primitive: its address, and the number of its site. Alive for as long as a thread waits for it or holds it, and so
/// unique among those that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) u64);

impl Id {
    pub(crate) fn new(address: usize, site: u16) -> Self {
        Self((address as u64) << SITE_BITS | u64::from(site))
    }

    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn site(self) -> u16 {
        (self.0 & ((1 << SITE_BITS) - 1)) as u16
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Its work.
    Running,
    /// Waiting for somebody.
    Waiting,
    /// Waiting for nobody in particular: a sleep, or the next piece of work.
    Resting,
    /// Nothing any more.
    Ended,
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) doing: Doing,
    /// The region it is in, or [`NOWHERE`].
    pub(crate) region: u16,
    /// The phase it is in, or [`NOWHERE`].
    pub(crate) phase: u16,
    /// Seat of the thread it waits for, as far as it knew when the wait began, and one; 0 for unknown.
    pub(crate) awaited: u16,
    /// What it waits for, if it does.
    pub(crate) object: Id,
    /// When this began, in nanoseconds since the instruments were made.
    pub(crate) since: u64,
}

impl Status {
    pub(crate) fn running(since: u64) -> Self {
        let (doing, region, phase) = (Doing::Running, NOWHERE, NOWHERE);
        Self { doing, region, phase, awaited: 0, object: Id::default(), since }
    }

    fn pack(self) -> [u64; 3] {
        let doing = match self.doing {
            Doing::Running => 0,
            Doing::Waiting => 1,
            Doing::Resting => 2,
            Doing::Ended => 3,
        };
        let fields = [self.awaited, self.phase, self.region];
        let word = fields.iter().fold(0, |word, &field| word << 16 | u64::from(field));
        [word << 2 | doing, self.object.0, self.since]
    }

    fn unpack([word, object, since]: [u64; 3]) -> Self {
        let doing = match word & 3 {
            0 => Doing::Running,
            1 => Doing::Waiting,
            2 => Doing::Resting,
            _ => Doing::Ended,
        };
        let field = |at: u32| (word >> (2 + 16 * at)) as u16;
        Self { doing, region: field(0), phase: field(1), awaited: field(2), object: Id(object), since }
    }
}

/// Where a thread says what it is doing.
#[derive(Debug)]
pub(crate) struct Board(Versioned<3>);

impl Board {
    pub(crate) fn new() -> Self {
        Self(Versioned::new())
    }

    /// Says it; for the thread whose board it is.
    pub(crate) fn say(&self, status: Status) {
        self.0.write(self.0.number() + 1, status.pack());
    }

    /// What the thread last said, and how many times it has said anything. `None` while it speaks.
    pub(crate) fn look(&self) -> Option<(u64, Status)> {
        self.0.read().map(|(beat, words)| (beat, Status::unpack(words)))
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_as_it_was_written() {
        let board = Board::new();
        for doing in [Doing::Running, Doing::Waiting, Doing::Resting, Doing::Ended] {
            let object = Id::new(0x7fff_ffff_fff8, 0x7FE);
            let status =
                Status { doing, region: 12, phase: NOWHERE, awaited: 65_535, object, since: u64::MAX };
            board.say(status);
            assert_eq!(board.look().unwrap().1, status);
            assert_eq!(status.object.site(), 0x7FE);
        }
        assert_eq!(board.look().unwrap().0, 4);
    }
}
