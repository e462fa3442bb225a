//! Ranks as types, and the list that puts them in order.

/// The rank of a lock: one place in the order in which a thread may take locks. Made by
/// [`lock_ranks!`](crate::lock_ranks).
pub trait Rank: 'static {
    /// Higher is later.
    const LEVEL: u16;
    /// What messages call a lock of this rank.
    const NAME: &'static str;
}

/// A rank whose locks may be taken while one of rank `Lower` is held.
///
/// [`lock_ranks!`](crate::lock_ranks) implements it for every two ranks of a list. It may be implemented by hand for ranks
/// of two lists, in the order of their levels: when the program runs it is the levels that count.
#[diagnostic::on_unimplemented(
    message = "a lock of rank `{Self}` cannot be taken while one of rank `{Lower}` is held",
    label = "out of the order of `lock_ranks!`",
    note = "take the lock of the lower rank first, or drop the guard of the higher one"
)]
pub trait Above<Lower>: Rank {}

/// No lock is held: below every rank.
#[derive(Debug)]
pub enum Ground {}

impl<R: Rank> Above<Ground> for R {}

/// Declares ranks of locks, each a type, in the order in which a thread may take them.
///
/// ```
/// selvedge_sync::lock_ranks! {
///     /// Taken first.
///     pub Registry,
///     Sink,
/// }
/// use selvedge_sync::lock::Rank;
/// assert!(Registry::LEVEL < Sink::LEVEL);
/// assert_eq!(Sink::NAME, "Sink");
/// ```
///
/// Levels count from 0, or from a number given first. A library whose functions are called with locks of the program
/// held begins high, so that its own come after those:
///
/// ```
/// selvedge_sync::lock_ranks! { from 1000; Inner }
/// # use selvedge_sync::lock::Rank;
/// assert_eq!(Inner::LEVEL, 1000);
/// ```
#[macro_export]
macro_rules! lock_ranks {
    (from $level:literal; $($ranks:tt)+) => {
        $crate::lock_ranks!(@rank $level, [] $($ranks)+);
    };
    (@rank $level:expr, [$($lower:ident)*]) => {};
    (@rank $level:expr, [$($lower:ident)*] $(#[$attr:meta])* $vis:vis $name:ident $(, $($rest:tt)*)?) => {
        $(#[$attr])*
        #[derive(Debug)]
        $vis enum $name {}

        impl $crate::lock::Rank for $name {
            const LEVEL: u16 = $level;
            const NAME: &'static str = ::core::stringify!($name);
        }

        $(
            impl $crate::lock::Above<$lower> for $name {}
        )*

        $crate::lock_ranks!(@rank $level + 1, [$($lower)* $name] $($($rest)*)?);
    };
    ($($ranks:tt)+) => {
        $crate::lock_ranks!(@rank 0, [] $($ranks)+);
    };
}
