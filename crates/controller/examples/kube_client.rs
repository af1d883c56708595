//! Works with the Kubernetes API through kube-rs as controllers do, and says what it found as JSON:
//! `kube_client NAMESPACE`, for `e2e/kube/clients.py`.
//!
//! The configuration is the one that is there: nothing here knows of Weir. What the API refuses is a
//! finding, if it is the error that kube-rs has for it; what goes wrong otherwise is told in the
//! place of the finding.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, future};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::core::{GroupVersionKind, Status};
use kube::discovery::{Discovery, pinned_kind};
use kube::runtime::{reflector, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Map, Value, json};

/// How long one work may take.
const PATIENCE: Duration = Duration::from_secs(30);

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let namespace = std::env::args().nth(1).ok_or("which namespace?")?;
    let client = Client::try_default().await?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let found: Map<String, Value> = [
        ("written", within(written(&maps)).await),
        ("strategic", within(strategic(&deployments)).await),
        ("selected", within(selected(&maps)).await),
        ("paged", within(paged(&maps)).await),
        ("watched", within(watched(&maps)).await),
        ("mirrored", within(mirrored(&maps)).await),
        ("custom", within(custom(&client, &namespace)).await),
        ("discovered", within(discovered(&client)).await),
        ("missing", within(missing(&maps)).await),
        ("conflicts", within(conflicts(&maps)).await),
        ("kept", within(kept(&maps)).await),
        ("secret", within(secret(&secrets)).await),
        ("rewritten", within(rewritten(&secrets)).await),
    ]
    .map(|(work, found)| (work.to_owned(), found))
    .into_iter()
    .collect();
    println!("{}", Value::Object(found));
    Ok(())
}

/// What a work found, or why it did not.
async fn within(work: impl Future<Output = Outcome<Value>>) -> Value {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => json!(format!("failed: {error:?}")),
        Err(_) => json!("failed: it took too long"),
    }
}

fn map(name: &str, work: &str) -> Result<ConfigMap, serde_json::Error> {
    let metadata = json!({"name": name, "labels": {"work": work}});
    serde_json::from_value(json!({"metadata": metadata, "data": {"a": "b"}}))
}

/// The data of an object that is created, replaced, patched, applied and deleted.
async fn written(maps: &Api<ConfigMap>) -> Outcome<Value> {
    let mut made = maps
        .create(&PostParams::default(), &map("written", "written")?)
        .await?;
    let mut steps = vec![json!(made.data)];
    made.data
        .get_or_insert_default()
        .insert("c".into(), "d".into());
    let replaced = maps
        .replace("written", &PostParams::default(), &made)
        .await?;
    steps.push(json!(replaced.data));
    let merge = Patch::Merge(json!({"data": {"a": null, "e": "f"}}));
    let merged = maps
        .patch("written", &PatchParams::default(), &merge)
        .await?;
    steps.push(json!(merged.data));
    let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"e": "h"}});
    let by = PatchParams::apply("applier").force();
    let applied = maps.patch("written", &by, &Patch::Apply(apply)).await?;
    steps.push(json!(applied.data));
    maps.delete("written", &DeleteParams::default()).await?;
    steps.push(json!(maps.get_opt("written").await?));
    Ok(json!(steps))
}

/// The containers that a patch adds to and changes, by their names.
async fn strategic(deployments: &Api<Deployment>) -> Outcome<Value> {
    let labels = json!({"app": "strategic"});
    let made = serde_json::from_value(json!({
        "metadata": {"name": "strategic"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [
                    {"name": "one", "image": "one:1"},
                    {"name": "two", "image": "two:1"},
                ]},
            },
        },
    }))?;
    deployments.create(&PostParams::default(), &made).await?;
    let patch = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [
        {"name": "two", "image": "two:2"},
        {"name": "three", "image": "three:1"},
    ]}}}}));
    let patched = deployments
        .patch("strategic", &PatchParams::default(), &patch)
        .await?;
    let pod = patched.spec.and_then(|spec| spec.template.spec);
    let containers = pod.ok_or("it has no pod")?.containers;
    let images: BTreeMap<_, _> = containers.into_iter().map(|c| (c.name, c.image)).collect();
    Ok(json!(images))
}

/// The names of those that have a label.
async fn selected(maps: &Api<ConfigMap>) -> Outcome<Value> {
    for (name, work) in [
        ("selected-a", "this"),
        ("selected-b", "other"),
        ("selected-c", "this"),
    ] {
        maps.create(&PostParams::default(), &map(name, work)?)
            .await?;
    }
    let list = maps
        .list(&ListParams::default().labels("work=this"))
        .await?;
    let names: Vec<_> = list.iter().map(|map| map.name_any()).collect();
    Ok(json!(names))
}

/// The names of a list that comes in pages, page by page.
async fn paged(maps: &Api<ConfigMap>) -> Outcome<Value> {
    for number in 0..10 {
        let one = map(&format!("paged-{number}"), "paged")?;
        maps.create(&PostParams::default(), &one).await?;
    }
    let mut pages = Vec::new();
    let mut next = ListParams::default().labels("work=paged").limit(4);
    loop {
        let page = maps.list(&next).await?;
        pages.push(page.iter().map(|map| map.name_any()).collect::<Vec<_>>());
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => next = next.continue_token(&token),
            None => return Ok(json!(pages)),
        }
    }
}

/// The events of a watch from a list on, in their order.
async fn watched(maps: &Api<ConfigMap>) -> Outcome<Value> {
    let listed = maps
        .list(&ListParams::default().labels("work=watched"))
        .await?;
    let from = listed.metadata.resource_version.unwrap_or_default();
    let events = maps
        .watch(&WatchParams::default().labels("work=watched"), &from)
        .await?;
    for number in 0..3 {
        let name = format!("watched-{number}");
        maps.create(&PostParams::default(), &map(&name, "watched")?)
            .await?;
        let merge = Patch::Merge(json!({"data": {"a": name}}));
        maps.patch(&name, &PatchParams::default(), &merge).await?;
        maps.delete(&name, &DeleteParams::default()).await?;
    }
    let told = events.try_filter_map(|event| {
        future::ok(match event {
            WatchEvent::Added(map) => Some(format!("added {}", map.name_any())),
            WatchEvent::Modified(map) => Some(format!("modified {}", map.name_any())),
            WatchEvent::Deleted(map) => Some(format!("deleted {}", map.name_any())),
            WatchEvent::Bookmark(_) => None,
            WatchEvent::Error(status) => Some(format!("error {}", status.message)),
        })
    });
    Ok(json!(told.take(9).try_collect::<Vec<_>>().await?))
}

/// What a reflector tells of its first list and of what comes after it, and what it has in the end.
async fn mirrored(maps: &Api<ConfigMap>) -> Outcome<Value> {
    for name in ["mirrored-0", "mirrored-1"] {
        maps.create(&PostParams::default(), &map(name, "mirrored")?)
            .await?;
    }
    let (reader, writer) = reflector::store();
    let config = watcher::Config::default().labels("work=mirrored");
    let mut events = pin!(reflector(writer, watcher(maps.clone(), config)));
    let (mut told, mut known) = (Vec::new(), BTreeSet::new());
    while told.len() < 6 {
        match events.try_next().await?.ok_or("the watcher has ended")? {
            watcher::Event::Init => {}
            watcher::Event::InitDone => {
                maps.create(&PostParams::default(), &map("mirrored-2", "mirrored")?)
                    .await?;
                for name in ["mirrored-2", "mirrored-0"] {
                    let merge = Patch::Merge(json!({"data": {"a": name}}));
                    maps.patch(name, &PatchParams::default(), &merge).await?;
                }
                maps.delete("mirrored-1", &DeleteParams::default()).await?;
            }
            watcher::Event::InitApply(map) | watcher::Event::Apply(map) => {
                let name = map.name_any();
                let new = known.insert(name.clone());
                told.push(format!("{} {name}", if new { "added" } else { "modified" }));
            }
            watcher::Event::Delete(map) => told.push(format!("deleted {}", map.name_any())),
        }
    }
    let state = reader.state();
    let left: BTreeMap<_, _> = state
        .iter()
        .map(|map| (map.name_any(), &map.data))
        .collect();
    Ok(json!({"told": told, "left": left}))
}

/// An object of a kind that only the server knows.
async fn custom(client: &Client, namespace: &str) -> Outcome<Value> {
    let kind = GroupVersionKind::gvk("clients.weir.test", "v1", "Widget");
    let (resource, _) = pinned_kind(client, &kind).await?;
    let widgets: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let made = DynamicObject::new("custom", &resource).data(json!({"spec": {"size": 1}}));
    widgets.create(&PostParams::default(), &made).await?;
    let merge = Patch::Merge(json!({"spec": {"colour": "red"}}));
    let patched = widgets
        .patch("custom", &PatchParams::default(), &merge)
        .await?;
    let list = widgets.list(&ListParams::default()).await?;
    let listed: Vec<_> = list.iter().map(|widget| widget.name_any()).collect();
    widgets.delete("custom", &DeleteParams::default()).await?;
    let gone = widgets.get_opt("custom").await?.is_none();
    Ok(json!({"spec": patched.data.get("spec"), "listed": listed, "gone": gone}))
}

/// All resources of the preferred versions, and the server's own version.
async fn discovered(client: &Client) -> Outcome<Value> {
    let discovery = Discovery::new(client.clone()).run_aggregated().await?;
    let resources: BTreeSet<_> = discovery
        .groups()
        .flat_map(|group| group.recommended_resources())
        .map(|(resource, _)| format!("{} {}", resource.api_version, resource.plural))
        .collect();
    let version = client.apiserver_version().await?.git_version;
    Ok(json!({"resources": resources, "version": version}))
}

/// What is said of an object that is not there.
async fn missing(maps: &Api<ConfigMap>) -> Outcome<Value> {
    refused(maps.get("nothing").await, Status::is_not_found)
}

/// What is said of an object that is there already, and of one that has changed.
async fn conflicts(maps: &Api<ConfigMap>) -> Outcome<Value> {
    let mut old = maps
        .create(&PostParams::default(), &map("twice", "conflicts")?)
        .await?;
    let again = maps
        .create(&PostParams::default(), &map("twice", "conflicts")?)
        .await;
    let there = refused(again, Status::is_already_exists)?;
    let merge = Patch::Merge(json!({"data": {"a": "new"}}));
    maps.patch("twice", &PatchParams::default(), &merge).await?;
    old.data
        .get_or_insert_default()
        .insert("a".into(), "old".into());
    let stale = maps.replace("twice", &PostParams::default(), &old).await;
    Ok(json!([there, refused(stale, Status::is_conflict)?]))
}

/// Whether an object can be deleted that a policy may keep.
async fn kept(maps: &Api<ConfigMap>) -> Outcome<Value> {
    maps.create(&PostParams::default(), &map("kept", "kept")?)
        .await?;
    let deleted = maps.delete("kept", &DeleteParams::default()).await;
    let answer = refused(deleted, Status::is_forbidden)?;
    Ok(json!({"refused": answer, "there": maps.get_opt("kept").await?.is_some()}))
}

/// A Secret's data, wherever they can be seen.
async fn secret(secrets: &Api<Secret>) -> Outcome<Value> {
    let got = secrets.get("db").await?.data;
    let list = secrets.list(&ListParams::default()).await?;
    let listed: Vec<_> = list.iter().map(|secret| &secret.data).collect();
    let events = secrets.watch(&WatchParams::default(), "0").await?;
    let watched: Vec<_> = events
        .take(1)
        .map_ok(|event| match event {
            WatchEvent::Added(secret) => json!(secret.data),
            _ => Value::Null,
        })
        .try_collect()
        .await?;
    Ok(json!({"got": got, "listed": listed, "watched": watched}))
}

/// A Secret that is changed beside its data, and one that is written back as it was read.
async fn rewritten(secrets: &Api<Secret>) -> Outcome<Value> {
    let merge = Patch::Merge(json!({"metadata": {"labels": {"seen": "yes"}}}));
    let labelled = secrets
        .patch("db", &PatchParams::default(), &merge)
        .await?
        .metadata
        .labels;
    let read = secrets.get("db").await?;
    let whole = secrets.replace("db", &PostParams::default(), &read).await;
    let whole = refused(whole, Status::is_forbidden)?;
    Ok(json!({"labels": labelled, "whole": whole}))
}

/// The refusal that this is, if it is of that kind; null if it is none.
fn refused<T>(answer: kube::Result<T>, kind: fn(&Status) -> bool) -> Outcome<Value> {
    match answer {
        Err(kube::Error::Api(status)) if kind(&status) => Ok(json!({
            "code": status.code, "reason": status.reason, "message": status.message,
        })),
        Err(other) => Err(other.into()),
        Ok(_) => Ok(Value::Null),
    }
}
