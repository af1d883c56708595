//! The names that injected pods, the policies of the chart and the documentation share.

/// The first init container: the native sidecar.
pub const SIDECAR: &str = "weir-sidecar";
/// The second: the proof that other containers are captured.
pub const PROBE: &str = "weir-probe";

/// The volume with the token that proves who the pod is; the sidecar's alone.
pub const IDENTITY_VOLUME: &str = "weir-identity";
/// Where the sidecar mounts it.
pub const IDENTITY_PATH: &str = "/var/run/weir/identity";
/// The audience of that token.
pub const AUDIENCE: &str = "weir.dev";
/// The volume with keys, spool and last snapshot; the sidecar's alone.
pub const STATE_VOLUME: &str = "weir-state";
/// Where the sidecar mounts it.
pub const STATE_PATH: &str = "/var/lib/weir";
/// The volume with the certificates that applications trust.
pub const TRUST_VOLUME: &str = "weir-trust";
/// Where every container mounts it; only the sidecar may write.
pub const TRUST_PATH: &str = "/var/run/weir/trust";
/// The pod's own CA in [`TRUST_PATH`].
pub const CA_FILE: &str = "ca.crt";
/// The pod's own CA, the platform's roots and the installation's extra roots in [`TRUST_PATH`].
pub const BUNDLE_FILE: &str = "bundle.crt";
/// The same certificates as [`BUNDLE_FILE`] for a JVM, in [`TRUST_PATH`].
pub const JAVA_FILE: &str = "java.jks";
/// The host CA and the host keys that SSH clients meet, in [`TRUST_PATH`].
pub const KNOWN_HOSTS_FILE: &str = "known_hosts";
/// A private key that opens nothing, in [`TRUST_PATH`].
pub const SSH_KEY_FILE: &str = "ssh_key";
/// Where SSH clients look for hosts that the whole machine knows.
pub const KNOWN_HOSTS_PATH: &str = "/etc/ssh/ssh_known_hosts";
/// The volume that stands where the service account's would: a placeholder of its token, the pod's CA
/// and the cluster's, the namespace.
pub const KUBE_VOLUME: &str = "weir-kube";
/// Where the sidecar mounts it; only the sidecar may write.
pub const KUBE_PATH: &str = "/var/run/weir/kube";
/// The directory in [`KUBE_VOLUME`] with what stands for volumes that name their files otherwise.
pub const KUBE_VOLUMES: &str = "volumes";
/// The volume with the token of the pod's service account; the sidecar's alone, at [`TOKEN_PATH`].
pub const KUBE_TOKEN_VOLUME: &str = "weir-kube-token";
/// The ConfigMap of every namespace with the cluster's CA.
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// Where Kubernetes mounts the pod's ordinary token into every container that mounts nothing there.
pub const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The UID of the sidecar once its rules are in.
pub const SIDECAR_UID: i64 = 2177;
/// The UID of the probe.
pub const PROBE_UID: i64 = 2178;
/// The sidecar's port for health and metrics, on the pod's address.
pub const ADMIN_PORT: u16 = 15090;

/// Containers of a pod into which Weir injects, of all sorts together: each of them gets variables and mounts, and the
/// API server, which asks before it judges a pod, has no bound of its own.
pub const MAX_CONTAINERS: usize = 256;

/// What all labels and annotations of Weir begin with.
pub const PREFIX: &str = "weir.dev/";
/// Namespace label, pod label or pod annotation: `enabled`, or on pods `disabled`.
pub const INJECT: &str = "weir.dev/inject";
/// Namespace label: `true` makes injection a condition for running.
pub const ENFORCE: &str = "weir.dev/enforce";
/// Pod annotation: `Refuse` refuses connections that no Target covers.
pub const UNMATCHED: &str = "weir.dev/unmatched";
/// Pod annotation: users and groups, with commas between them, who answer for the workload and do not
/// approve what it asks for.
pub const OWNER: &str = "weir.dev/owner";
/// Pod annotation: files of the image over which the trust bundle is mounted.
pub const CA_FILES: &str = "weir.dev/ca-files";
/// Pod annotation: files of the image over which the known SSH hosts are mounted.
pub const KNOWN_HOSTS_FILES: &str = "weir.dev/known-hosts-files";
/// Pod annotation: files over which the private key that opens nothing is mounted.
pub const SSH_KEY_FILES: &str = "weir.dev/ssh-key-files";
/// Pod annotation: `keep` would leave the service account's token to the pod's programs.
pub const KUBE_TOKEN: &str = "weir.dev/kube-token";
/// Annotation of injected pods: which file of which volume holds what, for volumes with a token of the
/// API server's that [`KUBE_VOLUME`] stands for and that do not name their files as Kubernetes does.
pub const KUBE_FILES: &str = "weir.dev/kube-files";
/// Annotation by which kubectl finds the container that is meant. Set for pods of one container, so that
/// kubectl does not begin to say which of three it has taken.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Annotation of injected pods: version and hash of what was added.
pub const STATUS: &str = "weir.dev/status";
/// Annotation of injected pods: trust variables that were already set and files that were already
/// mounted, by container.
pub const LEFT_ALONE: &str = "weir.dev/left-alone";

/// Capabilities that other containers may add in enforced namespaces: those that container runtimes
/// give by default, without NET_RAW. None of them reaches the packet path or another process.
pub const ALLOWED_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
