use serde_json::json;

use super::*;
use Standing::{Given, Written};

type Named<T> = Vec<((String, String), T)>;

#[derive(Default)]
struct World {
    services: Named<ServiceEntry>,
    slices: Named<SliceEntry>,
    nodes: Vec<NodeEntry>,
    pods: PodNamespaces,
}

impl World {
    fn service(mut self, namespace: &str, name: &str, object: serde_json::Value) -> Self {
        let service: Service = serde_json::from_value(object).unwrap();
        let key = (namespace.to_owned(), name.to_owned());
        self.services.push((key, ServiceEntry::from(&service)));
        self
    }

    fn slice(
        mut self,
        namespace: &str,
        service: &str,
        ips: &[&str],
        ports: serde_json::Value,
    ) -> Self {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv4",
            "metadata": {"labels": {"kubernetes.io/service-name": service}},
            "endpoints": [{"addresses": ips, "conditions": {"ready": false}}],
            "ports": ports,
        }))
        .unwrap();
        let key = (
            namespace.to_owned(),
            format!("{service}-{}", self.slices.len()),
        );
        self.slices.push((key, SliceEntry::from(&slice)));
        self
    }

    fn pod(mut self, namespace: &str, ip: &str) -> Self {
        let pods = self.pods.entry(ip.parse().unwrap()).or_default();
        pods.insert(namespace.to_owned());
        self
    }

    fn places(&self, namespace: &str, name: &str, port: u16) -> Vec<Places> {
        let services = self.services.iter().map(|(key, entry)| (key, entry));
        let slices = self.slices.iter().map(|(key, entry)| (key, entry));
        let wanted = ServiceRef {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port,
        };
        let services = Services::new(services, slices, self.nodes.iter(), &self.pods);
        services.resolve(&wanted).places
    }

    /// Every address.
    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Vec<String> {
        let places = self.places(namespace, name, port);
        let all: BTreeSet<&SocketAddr> = places.iter().flat_map(|one| &one.addresses).collect();
        all.into_iter().map(ToString::to_string).collect()
    }

    /// The standing of an address, and what is behind it.
    fn at(&self, address: &str) -> Vec<(Standing, Vec<String>)> {
        let at: SocketAddr = address.parse().unwrap();
        let places = self.places("data", "orders", 5432);
        let places = places.iter().filter(|one| one.addresses.contains(&at));
        places
            .map(|one| {
                let behind = one.behind.iter().map(ToString::to_string).collect();
                (one.standing, behind)
            })
            .collect()
    }
}

fn orders() -> World {
    World::default()
        .service(
            "data",
            "orders",
            json!({"spec": {
                "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00::10"],
                "externalIPs": ["192.0.2.7"],
                "ports": [
                    {"name": "pg", "port": 5432, "targetPort": 15432, "nodePort": 30032},
                    {"name": "metrics", "port": 9187},
                    {"name": "pg-udp", "port": 5432, "protocol": "UDP"},
                ]},
                "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.3"}, {"hostname": "lb.example"}]}}}),
        )
        .slice(
            "data",
            "orders",
            &["10.244.1.5", "10.244.2.6"],
            json!([{"name": "pg", "port": 15432}, {"name": "metrics", "port": 9187}]),
        )
        .pod("data", "10.244.1.5")
        .pod("data", "10.244.2.6")
}

/// A Service of somebody else's with these endpoints.
fn innocent(world: World, endpoints: &[&str]) -> World {
    world
        .service(
            "evil",
            "innocent",
            json!({"spec": {"clusterIP": "10.96.66.66", "externalIPs": ["10.9.0.5"],
                "ports": [{"port": 80, "targetPort": 15432, "nodePort": 30080}]}}),
        )
        .slice("evil", "innocent", endpoints, json!([{"port": 15432}]))
}

#[test]
fn a_service_is_its_cluster_ips_endpoints_node_ports_external_and_balancer_addresses() {
    let mut world = orders();
    world.nodes = vec![vec!["172.18.0.2".parse().unwrap()]];
    assert_eq!(
        world.resolve("data", "orders", 5432),
        [
            "10.96.0.10:5432",
            "10.244.1.5:15432",
            "10.244.2.6:15432",
            "172.18.0.2:30032",
            "192.0.2.7:5432",
            "198.51.100.3:5432",
            "[fd00::10]:5432",
        ]
    );
}

#[test]
fn only_the_named_port_counts() {
    let addresses = orders().resolve("data", "orders", 9187);
    assert!(addresses.contains(&"10.244.1.5:9187".to_owned()));
    assert!(addresses.iter().all(|address| address.ends_with(":9187")));
    assert!(orders().resolve("data", "orders", 1).is_empty());
}

#[test]
fn a_foreign_service_with_an_endpoint_in_common_leads_there_and_wherever_else_it_does() {
    let mut world = innocent(orders(), &["10.244.2.6", "10.9.0.5"]);
    world.nodes = vec![vec!["172.18.0.2".parse().unwrap()]];
    let behind = vec!["10.9.0.5:15432".to_owned(), "10.244.2.6:15432".to_owned()];
    for front in ["10.96.66.66:80", "172.18.0.2:30080"] {
        assert_eq!(world.at(front), [(Given, behind.clone())], "{front}");
    }
    assert_eq!(world.at("10.9.0.5:80"), [(Written, behind)]);
    assert!(world.at("10.9.0.5:15432").is_empty(), "the stranger itself");
    let world = innocent(orders(), &["10.244.2.6"]);
    let behind = vec!["10.244.2.6:15432".to_owned()];
    assert_eq!(world.at("10.96.66.66:80"), [(Given, behind)]);
}

#[test]
fn endpoints_are_as_sure_as_the_pods_behind_them() {
    let slice = |world: World, ip: &str| {
        world.slice(
            "data",
            "orders",
            &[ip],
            json!([{"name": "pg", "port": 15432}]),
        )
    };
    assert_eq!(orders().at("10.244.1.5:15432"), [(Given, vec![])]);
    let written = slice(orders(), "10.9.0.5");
    assert_eq!(written.at("10.9.0.5:15432"), [(Written, vec![])]);
    let foreign = slice(orders(), "10.9.0.5").pod("evil", "10.9.0.5");
    assert!(foreign.at("10.9.0.5:15432").is_empty());
    let shared = foreign.pod("data", "10.9.0.5");
    assert_eq!(shared.at("10.9.0.5:15432"), [(Given, vec![])]);
    // All of them are behind the cluster IP, also what only the cluster can read.
    let odd = slice(slice(orders(), "10.009.0.5"), "10.9.0.6").pod("evil", "10.9.0.6");
    let behind = [
        "0.0.0.0:15432",
        "10.9.0.6:15432",
        "10.244.1.5:15432",
        "10.244.2.6:15432",
    ];
    let behind: Vec<String> = behind.map(str::to_owned).into();
    assert_eq!(odd.at("10.96.0.10:5432"), [(Given, behind.clone())]);
    assert_eq!(odd.at("192.0.2.7:5432"), [(Written, behind)]);
    assert!(odd.at("0.0.0.0:15432").is_empty());
}

#[test]
fn a_foreign_service_that_is_reached_by_what_is_written_down_alone_is_not_sure() {
    let world = orders().slice(
        "data",
        "orders",
        &["10.9.0.5"],
        json!([{"name": "pg", "port": 15432}]),
    );
    let world = innocent(world, &["10.9.0.5"]);
    let behind = vec!["10.9.0.5:15432".to_owned()];
    assert_eq!(world.at("10.96.66.66:80"), [(Written, behind)]);
}

#[test]
fn an_ipv4_address_is_one_however_it_is_written() {
    let world = orders().slice(
        "data",
        "orders",
        &["::ffff:10.244.1.5"],
        json!([{"name": "pg", "port": 15432}]),
    );
    assert_eq!(world.at("10.244.1.5:15432"), [(Given, vec![])]);
}

#[test]
fn a_foreign_service_to_another_port_of_the_pod_does_not() {
    let world = orders()
        .service(
            "other",
            "exporter",
            json!({"spec": {"clusterIP": "10.96.1.1", "ports": [{"port": 9187}]}}),
        )
        .slice(
            "other",
            "exporter",
            &["10.244.2.6"],
            json!([{"port": 9187}]),
        );
    let addresses = world.resolve("data", "orders", 5432);
    assert!(
        !addresses.contains(&"10.96.1.1:9187".to_owned()),
        "{addresses:?}"
    );
}

#[test]
fn headless_and_unknown_services_have_what_they_have() {
    let world = World::default()
        .service(
            "data",
            "headless",
            json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 5432}]}}),
        )
        .slice("data", "headless", &["10.244.9.9"], json!([{"port": 5432}]));
    assert_eq!(world.resolve("data", "headless", 5432), ["10.244.9.9:5432"]);
    assert!(world.resolve("data", "nothing", 5432).is_empty());
}

#[test]
fn a_service_is_found_at_its_cluster_ips_in_their_order() {
    let spec = json!({"clusterIP": "fd00::7", "clusterIPs": ["fd00::7", "10.96.0.7"],
        "externalIPs": ["192.0.2.7"], "ports": [{"port": 8444}]});
    let world = World::default().service("weir", "controller", json!({"spec": spec}));
    let (_, entry) = world.services.first().unwrap();
    let found: Vec<String> = entry.cluster.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["fd00::7", "10.96.0.7"]);
    assert_eq!(named("controller.weir.svc"), Some(("weir", "controller")));
    assert_eq!(named("c.weir.svc.cluster.local"), Some(("weir", "c")));
    for other in ["collector.example.com", "collector", "10.96.0.7", "a.b", ""] {
        assert_eq!(named(other), None, "{other}");
    }
}
