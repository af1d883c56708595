use serde_json::json;

use super::*;

type Named<T> = Vec<((String, String), T)>;

#[derive(Default)]
struct World {
    services: Named<ServiceEntry>,
    slices: Named<SliceEntry>,
    nodes: Vec<NodeEntry>,
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

    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Vec<String> {
        let services = self.services.iter().map(|(key, entry)| (key, entry));
        let slices = self.slices.iter().map(|(key, entry)| (key, entry));
        let wanted = ServiceRef {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port,
        };
        let resolved = Services::new(services, slices, self.nodes.iter()).resolve(&wanted);
        resolved.endpoints.iter().map(ToString::to_string).collect()
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
fn a_foreign_service_with_one_endpoint_in_common_leads_there_too() {
    let world = orders()
        .service(
            "evil",
            "innocent",
            json!({"spec": {"clusterIP": "10.96.66.66", "ports": [{"port": 80, "targetPort": 15432}]}}),
        )
        .slice("evil", "innocent", &["10.244.2.6"], json!([{"port": 15432}]));
    let addresses = world.resolve("data", "orders", 5432);
    assert!(
        addresses.contains(&"10.96.66.66:80".to_owned()),
        "{addresses:?}"
    );
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
