//! Maps for keys that are the store's own: addresses in memory and numbers that it gave. Their hashes are keyed,
//! but cheap; names and numbers that engines choose belong into the maps of the standard library.

use foldhash::fast::RandomState;

pub(super) type FastMap<K, V> = std::collections::HashMap<K, V, RandomState>;
pub(super) type FastSet<K> = std::collections::HashSet<K, RandomState>;
