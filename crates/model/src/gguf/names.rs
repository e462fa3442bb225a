//! Looking things up by name in a list that keeps its order: the places in the order of the names beside it.

/// The places of a list's entries in the order of their names; where two names are equal, the place of the later entry.
pub(super) fn sort<T>(list: &[T], name: impl Fn(&T) -> &str) -> Result<Vec<usize>, usize> {
    let mut order: Vec<usize> = (0..list.len()).collect();
    // Stable: of equal names the earlier comes first.
    order.sort_by_key(|&at| name(&list[at]));
    match order.windows(2).find(|pair| name(&list[pair[0]]) == name(&list[pair[1]])) {
        Some(pair) => Err(pair[1]),
        None => Ok(order),
    }
}

/// Where in `order` the entry of a name is, or where it would have to be.
pub(super) fn find<T>(
    list: &[T],
    order: &[usize],
    name: impl Fn(&T) -> &str,
    wanted: &str,
) -> Result<usize, usize> {
    order.binary_search_by(|&at| name(&list[at]).cmp(wanted))
}
