//! Watching one kind of object for ever.
//!
//! Invariant: a watch that fails is tried again, with growing pauses; what was learned before
//! stays until a complete new list replaces it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;

use futures_core::Stream as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// Calls `on` with every event of a watch. Never returns.
pub(crate) async fn follow<K>(api: Api<K>, config: Config, what: &str, mut on: impl FnMut(Event<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher(api, config).default_backoff());
    while let Some(event) = poll_fn(|cx| events.as_mut().poll_next(cx)).await {
        match event {
            Ok(event) => on(event),
            Err(error) => tracing::warn!(%error, what, "a watch failed and is tried again"),
        }
    }
}

/// Namespace (empty where there is none) and name.
pub(crate) type Key = (String, String);

/// The key of an object.
pub(crate) fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

/// What is known of all objects of one kind, in our own terms.
#[derive(Debug)]
pub(crate) struct Table<V> {
    live: HashMap<Key, V>,
    fresh: Option<HashMap<Key, V>>,
    complete: bool,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self {
            live: HashMap::new(),
            fresh: None,
            complete: false,
        }
    }
}

impl<V: PartialEq> Table<V> {
    /// Takes an event over. `convert` says what is kept of an object; it is given what was known
    /// of it. Tells whether anything changed.
    pub(crate) fn apply<K: Resource>(
        &mut self,
        event: Event<K>,
        convert: impl FnOnce(K, Option<&V>) -> V,
    ) -> bool {
        match event {
            Event::Init => {
                self.fresh = Some(HashMap::new());
                false
            }
            Event::InitApply(object) => {
                let key = key(&object);
                let value = convert(object, self.live.get(&key));
                if let Some(fresh) = &mut self.fresh {
                    fresh.insert(key, value);
                }
                false
            }
            Event::InitDone => {
                let first = !std::mem::replace(&mut self.complete, true);
                let fresh = self.fresh.take().unwrap_or_default();
                let changed = first || fresh != self.live;
                self.live = fresh;
                changed
            }
            Event::Apply(object) => {
                let key = key(&object);
                let value = convert(object, self.live.get(&key));
                let changed = self.live.get(&key) != Some(&value);
                self.live.insert(key, value);
                changed
            }
            Event::Delete(object) => self.live.remove(&key(&object)).is_some(),
        }
    }

    /// Whether a complete list was seen.
    pub(crate) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// One object.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&V> {
        self.live.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// All objects, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        self.live.iter()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str, version: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.resource_version = Some(version.to_owned());
        object
    }

    fn apply(table: &mut Table<String>, event: Event<ConfigMap>) -> bool {
        table.apply(event, |object, _| {
            object.metadata.resource_version.unwrap_or_default()
        })
    }

    #[test]
    fn a_new_list_replaces_the_old_one_when_it_is_complete_and_not_before() {
        let mut table = Table::default();
        apply(&mut table, Event::Init);
        apply(&mut table, Event::InitApply(object("a", "1")));
        assert!(!table.is_complete() && table.get("", "a").is_none());
        assert!(apply(&mut table, Event::InitDone));
        assert_eq!(table.get("", "a").map(String::as_str), Some("1"));
        apply(&mut table, Event::Init);
        apply(&mut table, Event::InitApply(object("b", "2")));
        assert!(table.get("", "a").is_some());
        assert!(apply(&mut table, Event::InitDone));
        assert!(table.get("", "a").is_none() && table.get("", "b").is_some());
    }

    #[test]
    fn an_equal_list_changes_nothing() {
        let mut table = Table::default();
        for changed in [true, false] {
            apply(&mut table, Event::Init);
            apply(&mut table, Event::InitApply(object("a", "1")));
            assert_eq!(apply(&mut table, Event::InitDone), changed);
        }
        assert!(!apply(&mut table, Event::Apply(object("a", "1"))));
        assert!(apply(&mut table, Event::Apply(object("a", "2"))));
        assert!(apply(&mut table, Event::Delete(object("a", "2"))));
        assert!(!apply(&mut table, Event::Delete(object("a", "2"))));
    }
}
