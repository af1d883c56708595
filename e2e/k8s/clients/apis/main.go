// Works with the Kubernetes API as controllers do, through client-go, and says what it found as JSON.
//
//	apis typed|dynamic|informer|leader|events NAMESPACE
//
// The configuration is the one that a pod has: nothing here knows of Weir.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func main() {
	config, err := rest.InClusterConfig()
	check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	works := map[string]func(context.Context, *rest.Config, string) any{
		"typed": typed, "dynamic": untyped, "informer": informer, "leader": leader, "events": events,
	}
	if len(os.Args) != 3 || works[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: apis typed|dynamic|informer|leader|events NAMESPACE")
		os.Exit(2)
	}
	check(json.NewEncoder(os.Stdout).Encode(works[os.Args[1]](ctx, config, os.Args[2])))
}

// typed asks for protobuf and sends it, as typed clients do that care for speed.
func typed(ctx context.Context, config *rest.Config, namespace string) any {
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	maps := kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps(namespace)
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "typed"}, Data: map[string]string{"a": "b"}}
	made, err := maps.Create(ctx, made, metav1.CreateOptions{})
	check(err)
	made.Data["c"] = "d"
	made, err = maps.Update(ctx, made, metav1.UpdateOptions{})
	check(err)
	patched, err := maps.Patch(ctx, "typed", types.StrategicMergePatchType, []byte(`{"data":{"e":"f"}}`), metav1.PatchOptions{})
	check(err)
	list, err := maps.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=typed"})
	check(err)
	check(maps.Delete(ctx, "typed", metav1.DeleteOptions{}))
	_, err = maps.Get(ctx, "typed", metav1.GetOptions{})
	stale := made.DeepCopy()
	_, conflict := maps.Update(ctx, stale, metav1.UpdateOptions{})
	return map[string]any{"data": patched.Data, "listed": len(list.Items), "gone": errors.IsNotFound(err),
		"refused": errors.IsNotFound(conflict) || errors.IsConflict(conflict)}
}

func untyped(ctx context.Context, config *rest.Config, namespace string) any {
	maps := dynamic.NewForConfigOrDie(config).Resource(configMaps).Namespace(namespace)
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "dynamic"}, "data": map[string]any{"a": "b"}}}
	_, err := maps.Apply(ctx, "dynamic", object, metav1.ApplyOptions{FieldManager: "apis"})
	check(err)
	found, err := maps.Get(ctx, "dynamic", metav1.GetOptions{})
	check(err)
	data, _, err := unstructured.NestedStringMap(found.Object, "data")
	check(err)
	check(maps.Delete(ctx, "dynamic", metav1.DeleteOptions{}))
	return map[string]any{"data": data}
}

// informer makes, changes and deletes objects and counts what an informer sees of them.
func informer(ctx context.Context, config *rest.Config, namespace string) any {
	config.QPS = -1
	client := kubernetes.NewForConfigOrDie(config)
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	watched := factory.Core().V1().ConfigMaps().Informer()
	type event struct{ what, name string }
	seen := make(chan event, 1024)
	name := func(object any) string {
		if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = last.Obj
		}
		return object.(*corev1.ConfigMap).Name
	}
	_, err := watched.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { seen <- event{"added", name(object)} },
		UpdateFunc: func(_, object any) { seen <- event{"updated", name(object)} },
		DeleteFunc: func(object any) { seen <- event{"deleted", name(object)} },
	})
	check(err)
	maps := client.CoreV1().ConfigMaps(namespace)
	const count = 100
	counts := map[string]int{}
	make := func(prefix string, from, to int) {
		for n := from; n < to; n++ {
			one := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: prefix + strconv.Itoa(n)}}
			_, err := maps.Create(ctx, one, metav1.CreateOptions{})
			check(err)
		}
	}
	make("informer-", 0, count/2)
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			check(fmt.Errorf("%v never had its first list", kind))
		}
	}
	make("informer-", count/2, count)
	for n := range count {
		_, err := maps.Patch(ctx, "informer-"+strconv.Itoa(n), types.MergePatchType, []byte(`{"data":{"a":"b"}}`), metav1.PatchOptions{})
		check(err)
		check(maps.Delete(ctx, "informer-"+strconv.Itoa(n), metav1.DeleteOptions{}))
	}
	for counts["deleted"] < count {
		select {
		case one := <-seen:
			if len(one.name) > 9 && one.name[:9] == "informer-" {
				counts[one.what]++
			}
		case <-ctx.Done():
			check(fmt.Errorf("events are missing: %v", counts))
		}
	}
	return counts
}

// events changes an object again and again and counts what a watch sees of it: EVENTS times, in order. A
// watch from a version that is long gone must be told so.
func events(ctx context.Context, config *rest.Config, namespace string) any {
	config.QPS = -1
	count, err := strconv.Atoi(os.Getenv("EVENTS"))
	check(err)
	maps := kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps(namespace)
	one := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "events"}, Data: map[string]string{"n": "0"}}
	made, err := maps.Create(ctx, one, metav1.CreateOptions{})
	check(err)
	watched, err := maps.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=events",
		ResourceVersion: made.ResourceVersion, AllowWatchBookmarks: true})
	check(err)
	go func() {
		for n := 1; n <= count; n++ {
			patch := fmt.Sprintf(`{"data":{"n":"%d"}}`, n)
			_, err := maps.Patch(ctx, "events", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			check(err)
		}
	}()
	seen, bookmarks := 0, 0
	for seen < count {
		event, open := <-watched.ResultChan()
		if !open {
			check(fmt.Errorf("the watch ended after %d events", seen))
		}
		if event.Type == watch.Bookmark {
			bookmarks++
			continue
		}
		found, right := event.Object.(*corev1.ConfigMap)
		if !right || found.Data["n"] != strconv.Itoa(seen+1) {
			check(fmt.Errorf("after %d events came %v", seen, event))
		}
		seen++
	}
	watched.Stop()
	check(maps.Delete(ctx, "events", metav1.DeleteOptions{}))
	gone := false
	old, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		gone = errors.IsResourceExpired(err) || errors.IsGone(err)
	} else {
		event := <-old.ResultChan()
		err := errors.FromObject(event.Object)
		gone = event.Type == watch.Error && (errors.IsResourceExpired(err) || errors.IsGone(err))
	}
	return map[string]any{"seen": seen, "gone": gone}
}

// leader holds a lease for a while and gives it up.
func leader(ctx context.Context, config *rest.Config, namespace string) any {
	client := kubernetes.NewForConfigOrDie(config)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: "apis", Namespace: namespace},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: "one"},
	}
	var led, lost bool
	var renewed int64
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: lock, ReleaseOnCancel: true,
		LeaseDuration: 4 * time.Second, RenewDeadline: 3 * time.Second, RetryPeriod: 500 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				led = true
				first, err := client.CoordinationV1().Leases(namespace).Get(ctx, "apis", metav1.GetOptions{})
				check(err)
				time.Sleep(5 * time.Second)
				last, err := client.CoordinationV1().Leases(namespace).Get(ctx, "apis", metav1.GetOptions{})
				check(err)
				renewed = int64(last.Spec.RenewTime.Sub(first.Spec.RenewTime.Time) / time.Millisecond)
				cancel()
			},
			OnStoppedLeading: func() { lost = true },
		},
	})
	return map[string]any{"led": led, "stopped": lost, "renewed": renewed > 2000}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
