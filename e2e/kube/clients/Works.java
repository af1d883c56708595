import io.fabric8.kubernetes.api.model.APIResource;
import io.fabric8.kubernetes.api.model.APIResourceList;
import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.ConfigMapBuilder;
import io.fabric8.kubernetes.api.model.ConfigMapList;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.GenericKubernetesResourceBuilder;
import io.fabric8.kubernetes.api.model.ListOptionsBuilder;
import io.fabric8.kubernetes.api.model.Secret;
import io.fabric8.kubernetes.api.model.SecretBuilder;
import io.fabric8.kubernetes.api.model.SecretList;
import io.fabric8.kubernetes.api.model.apps.Deployment;
import io.fabric8.kubernetes.api.model.apps.DeploymentBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.Watch;
import io.fabric8.kubernetes.client.Watcher;
import io.fabric8.kubernetes.client.WatcherException;
import io.fabric8.kubernetes.client.dsl.NonNamespaceOperation;
import io.fabric8.kubernetes.client.dsl.Resource;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import io.fabric8.kubernetes.client.informers.ResourceEventHandler;
import io.fabric8.kubernetes.client.informers.SharedIndexInformer;
import io.fabric8.kubernetes.client.utils.Serialization;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * Works with the Kubernetes API through the fabric8 client as operators do, and says what it found as JSON:
 * {@code java Works NAMESPACE}, for e2e/kube/clients.py.
 *
 * <p>The configuration is the one that is there: nothing here knows of Weir. What the API refuses is a finding, if
 * it is the exception that fabric8 has for it; what goes wrong otherwise is told in the place of the finding.
 */
public class Works {
  private static final long PATIENCE_SECONDS = 30;
  private static final PatchContext MERGE = PatchContext.of(PatchType.JSON_MERGE);
  private static final PatchContext STRATEGIC = PatchContext.of(PatchType.STRATEGIC_MERGE);

  private final KubernetesClient client;
  private final NonNamespaceOperation<ConfigMap, ConfigMapList, Resource<ConfigMap>> maps;
  private final NonNamespaceOperation<Secret, SecretList, Resource<Secret>> secrets;
  private final String namespace;

  private Works(KubernetesClient client, String namespace) {
    this.client = client;
    this.maps = client.configMaps().inNamespace(namespace);
    this.secrets = client.secrets().inNamespace(namespace);
    this.namespace = namespace;
  }

  public static void main(String[] arguments) {
    try (KubernetesClient client = new KubernetesClientBuilder().build()) {
      Works works = new Works(client, arguments[0]);
      Map<String, Callable<Object>> all = new LinkedHashMap<>();
      all.put("written", works::written);
      all.put("strategic", works::strategic);
      all.put("selected", works::selected);
      all.put("paged", works::paged);
      all.put("watched", works::watched);
      all.put("mirrored", works::mirrored);
      all.put("custom", works::custom);
      all.put("discovered", works::discovered);
      all.put("missing", works::missing);
      all.put("conflicts", works::conflicts);
      all.put("kept", works::kept);
      all.put("secret", works::secret);
      all.put("rewritten", works::rewritten);
      Map<String, Object> found = new LinkedHashMap<>();
      all.forEach((work, does) -> found.put(work, outcome(does)));
      System.out.println(Serialization.asJson(found));
    }
  }

  private static Object outcome(Callable<Object> work) {
    try {
      return work.call();
    } catch (Exception error) {
      return "failed: " + error;
    }
  }

  private static ConfigMap map(String name, String work) {
    return new ConfigMapBuilder().withNewMetadata().withName(name).addToLabels("work", work).endMetadata()
        .addToData("a", "b").build();
  }

  /** The data of an object that is created, replaced, patched, applied and deleted. */
  private Object written() {
    List<Object> steps = new ArrayList<>();
    ConfigMap made = maps.resource(map("written", "written")).create();
    steps.add(made.getData());
    steps.add(maps.resource(new ConfigMapBuilder(made).addToData("c", "d").build()).update().getData());
    steps.add(maps.withName("written").patch(MERGE, "{\"data\": {\"a\": null, \"e\": \"f\"}}").getData());
    ConfigMap applied = new ConfigMapBuilder().withNewMetadata().withName("written").endMetadata()
        .addToData("e", "h").build();
    steps.add(maps.resource(applied).fieldManager("applier").forceConflicts().serverSideApply().getData());
    maps.withName("written").delete();
    steps.add(maps.withName("written").get());
    return steps;
  }

  /** The containers that a patch adds to and changes, by their names. */
  private Object strategic() {
    Map<String, String> labels = Map.of("app", "strategic");
    Deployment made = new DeploymentBuilder().withNewMetadata().withName("strategic").endMetadata().withNewSpec()
        .withNewSelector().withMatchLabels(labels).endSelector()
        .withNewTemplate().withNewMetadata().withLabels(labels).endMetadata().withNewSpec()
        .addNewContainer().withName("one").withImage("one:1").endContainer()
        .addNewContainer().withName("two").withImage("two:1").endContainer()
        .endSpec().endTemplate().endSpec().build();
    var deployments = client.apps().deployments().inNamespace(namespace);
    deployments.resource(made).create();
    Deployment patched = deployments.withName("strategic").patch(STRATEGIC,
        "{\"spec\": {\"template\": {\"spec\": {\"containers\": ["
            + "{\"name\": \"two\", \"image\": \"two:2\"}, {\"name\": \"three\", \"image\": \"three:1\"}]}}}}");
    Map<String, String> images = new TreeMap<>();
    patched.getSpec().getTemplate().getSpec().getContainers().forEach(it -> images.put(it.getName(), it.getImage()));
    return images;
  }

  /** The names of those that have a label. */
  private Object selected() {
    maps.resource(map("selected-a", "this")).create();
    maps.resource(map("selected-b", "other")).create();
    maps.resource(map("selected-c", "this")).create();
    return names(maps.withLabel("work", "this").list().getItems());
  }

  /** The names of a list that comes in pages, page by page. */
  private Object paged() {
    for (int number = 0; number < 10; number++) {
      maps.resource(map("paged-" + number, "paged")).create();
    }
    List<Object> pages = new ArrayList<>();
    String next = null;
    do {
      ConfigMapList page = maps.withLabel("work", "paged")
          .list(new ListOptionsBuilder().withLimit(4L).withContinue(next).build());
      pages.add(names(page.getItems()));
      next = page.getMetadata().getContinue();
    } while (next != null && !next.isEmpty());
    return pages;
  }

  private static List<String> names(List<ConfigMap> maps) {
    return maps.stream().map(it -> it.getMetadata().getName()).toList();
  }

  /** What is told of objects, until there is as much as was waited for. */
  private static class Told implements Watcher<ConfigMap>, ResourceEventHandler<ConfigMap> {
    private final List<String> all = Collections.synchronizedList(new ArrayList<>());
    private final CountDownLatch left;

    Told(int count) {
      left = new CountDownLatch(count);
    }

    List<String> whole() throws InterruptedException {
      left.await(PATIENCE_SECONDS, TimeUnit.SECONDS);
      return new ArrayList<>(all);
    }

    private void add(String what, ConfigMap map) {
      all.add(what + " " + map.getMetadata().getName());
      left.countDown();
    }

    @Override
    public void eventReceived(Action action, ConfigMap map) {
      add(action.name().toLowerCase(), map);
    }

    @Override
    public void onClose(WatcherException cause) {
      all.add("closed: " + cause);
    }

    @Override
    public void onAdd(ConfigMap map) {
      add("added", map);
    }

    @Override
    public void onUpdate(ConfigMap old, ConfigMap map) {
      add("modified", map);
    }

    @Override
    public void onDelete(ConfigMap map, boolean unknown) {
      add("deleted", map);
    }
  }

  /** The events of a watch from a list on, in their order. */
  private Object watched() throws Exception {
    var those = maps.withLabel("work", "watched");
    Told told = new Told(9);
    String from = those.list().getMetadata().getResourceVersion();
    try (Watch watch = those.withResourceVersion(from).watch(told)) {
      for (int number = 0; number < 3; number++) {
        String name = "watched-" + number;
        maps.resource(map(name, "watched")).create();
        maps.withName(name).edit(it -> new ConfigMapBuilder(it).addToData("a", name).build());
        maps.withName(name).delete();
      }
      return told.whole();
    }
  }

  /** What an informer tells of its first list and of what comes after it, and what it has in the end. */
  private Object mirrored() throws Exception {
    maps.resource(map("mirrored-0", "mirrored")).create();
    maps.resource(map("mirrored-1", "mirrored")).create();
    Told told = new Told(6);
    try (SharedIndexInformer<ConfigMap> informer = maps.withLabel("work", "mirrored").inform(told)) {
      maps.resource(map("mirrored-2", "mirrored")).create();
      for (String name : List.of("mirrored-2", "mirrored-0")) {
        maps.withName(name).edit(it -> new ConfigMapBuilder(it).addToData("a", name).build());
      }
      maps.withName("mirrored-1").delete();
      List<String> whole = told.whole();
      Map<String, Object> left = new TreeMap<>();
      informer.getStore().list().forEach(it -> left.put(it.getMetadata().getName(), it.getData()));
      return Map.of("told", whole, "left", left);
    }
  }

  /** An object of a kind that only the server knows. */
  private Object custom() {
    var widgets = client.genericKubernetesResources("clients.weir.test/v1", "Widget").inNamespace(namespace);
    GenericKubernetesResource made = new GenericKubernetesResourceBuilder()
        .withApiVersion("clients.weir.test/v1").withKind("Widget")
        .withNewMetadata().withName("custom").endMetadata()
        .addToAdditionalProperties("spec", Map.of("size", 1)).build();
    widgets.resource(made).create();
    GenericKubernetesResource patched = widgets.withName("custom").patch(MERGE, "{\"spec\": {\"colour\": \"red\"}}");
    List<String> listed = widgets.list().getItems().stream().map(it -> it.getMetadata().getName()).toList();
    widgets.withName("custom").delete();
    return Map.of("spec", patched.getAdditionalProperties().get("spec"), "listed", listed,
        "gone", widgets.withName("custom").get() == null);
  }

  /** All resources of the preferred versions, and the server's own version. */
  private Object discovered() {
    List<String> versions = new ArrayList<>(List.of("v1"));
    client.getApiGroups().getGroups().forEach(it -> versions.add(it.getPreferredVersion().getGroupVersion()));
    TreeSet<String> resources = new TreeSet<>();
    for (String version : versions) {
      APIResourceList list = client.getApiResources(version);
      list.getResources().stream().map(APIResource::getName).filter(it -> !it.contains("/"))
          .forEach(it -> resources.add(version + " " + it));
    }
    return Map.of("resources", resources, "version", client.getKubernetesVersion().getGitVersion());
  }

  /** What is said of an object that is not there. */
  private Object missing() {
    return refused(() -> maps.resource(map("nothing", "missing")).update());
  }

  /** What is said of an object that is there already, and of one that has changed. */
  private Object conflicts() {
    ConfigMap old = maps.resource(map("twice", "conflicts")).create();
    Object there = refused(() -> maps.resource(map("twice", "conflicts")).create());
    maps.withName("twice").patch(MERGE, "{\"data\": {\"a\": \"new\"}}");
    ConfigMap stale = new ConfigMapBuilder(old).addToData("a", "old").build();
    return List.of(there, refused(() -> maps.resource(stale).lockResourceVersion().update()));
  }

  /** Whether an object can be deleted that a policy may keep. */
  private Object kept() {
    maps.resource(map("kept", "kept")).create();
    Map<String, Object> found = new LinkedHashMap<>();
    found.put("refused", refused(() -> maps.withName("kept").delete()));
    found.put("there", maps.withName("kept").get() != null);
    return found;
  }

  /** A Secret's data, wherever they can be seen. */
  private Object secret() {
    Map<String, Object> found = new LinkedHashMap<>();
    found.put("got", secrets.withName("db").get().getData());
    found.put("listed", secrets.list().getItems().stream().map(Secret::getData).toList());
    try (SharedIndexInformer<Secret> informer = secrets.inform()) {
      found.put("watched", informer.getStore().list().stream().map(Secret::getData).toList());
    }
    return found;
  }

  /** A Secret that is changed beside its data, and one that is written back as it was read. */
  private Object rewritten() {
    Map<String, Object> found = new LinkedHashMap<>();
    Secret labelled = secrets.withName("db").edit(
        it -> new SecretBuilder(it).editMetadata().addToLabels("seen", "yes").endMetadata().build());
    found.put("labels", labelled.getMetadata().getLabels());
    Secret read = secrets.withName("db").get();
    found.put("whole", refused(() -> secrets.resource(read).update()));
    return found;
  }

  /** The refusal that this is; null if it is none. */
  private static Object refused(Callable<?> call) {
    try {
      call.call();
      return null;
    } catch (KubernetesClientException refused) {
      return Map.of("code", refused.getCode(), "reason", refused.getStatus().getReason(),
          "message", refused.getStatus().getMessage());
    } catch (Exception other) {
      throw new IllegalStateException(other);
    }
  }
}
