//! Which objects give a pod, or a volume's driver, a Secret.

use super::*;

/// Whether a pod is given a Secret by the object of a resource.
fn mounts(group: &str, name: &str, kind: BodyKind, body: &str) -> bool {
    let facts = facts(&resource(group, name), kind, body.as_bytes());
    assert_eq!(facts.opaque, None, "{body}");
    facts.reads_secrets
}

#[test]
fn custom_resources_that_give_pods_a_secret_are_seen() {
    for spec in [
        r#"{"workspaces":[{"name":"w","secret":{"secretName":"db"}}]}"#,
        r#"{"workspaces":[{"projected":{"sources":[{"secret":{"name":"db"}}]}}]}"#,
        r#"{"secrets":["db"]}"#,
        r#"{"values":{"prometheusSpec":{"secrets":["db"]}}}"#,
        r#"{"driver":{"secrets":[{"name":"db","path":"/x","secretType":"Generic"}]}}"#,
        r#"{"driver":{"envSecretKeyRefs":{"A":{"name":"db","key":"password"}}}}"#,
        r#"{"templates":[{"artifacts":[{"s3":{"secretKeySecret":{"name":"db","key":"p"}}}]}]}"#,
        r#"{"podTemplate":{"env":[{"name":"A","valueFrom":{"secretRef":{"name":"db"}}}]}}"#,
        r#"{"extraSecretMounts":[{"name":"x","secretName":"db","mountPath":"/x"}]}"#,
        r#"{"more":[{"name":"x","secretName":"db","mountPath":"/x"}]}"#,
        r#"{"envFromSecrets":[{"name":"db"}]}"#,
        r#"{"extraEnvVarsSecret":"db"}"#,
        r#"{"extraEnvFrom":[{"secretRef":{"name":"db"}}]}"#,
        r#"{"additionalVolumes":[{"name":"v","secret":{"name":"db"}}]}"#,
    ] {
        let body = format!(r#"{{"metadata":{{"name":"x"}},"spec":{spec}}}"#);
        for kind in [BodyKind::Json, BodyKind::ApplyYaml, BodyKind::MergePatch] {
            assert!(mounts("example.com", "things", kind, &body), "{spec}");
        }
    }
    for patch in [
        r#"{"path":"/spec/workspaces/0/secret/secretName","value":"db"}"#,
        r#"{"path":"/spec/workspaces/0/secret","value":{"secretName":"db"}}"#,
        r#"{"path":"/spec/secrets/-","value":"db"}"#,
        r#"{"path":"/spec/secrets/0","value":"db"}"#,
        r#"{"path":"/spec/driver/secrets/-","value":{"name":"db","path":"/x"}}"#,
        r#"{"path":"/spec/driver/secrets/0/path","value":"/x"}"#,
        r#"{"path":"/spec/extraSecretMounts/0/secretName","value":"db"}"#,
        r#"{"path":"/spec/s3/secretKeySecret/key","value":"p"}"#,
    ] {
        let patch = format!(r#"[{{"op":"add",{}]"#, &patch[1..]);
        assert!(
            mounts("example.com", "things", BodyKind::JsonPatch, &patch),
            "{patch}"
        );
    }
}

#[test]
fn secrets_that_controllers_read_or_write_themselves_are_not_mounted() {
    for (group, name, object) in [
        (
            "cert-manager.io",
            "certificates",
            r#"{"spec":{"secretName":"tls","secretTemplate":{"labels":{"a":"b"}},"keystores":{"jks":{"create":true,"passwordSecretRef":{"name":"p","key":"k"}}},"issuerRef":{"name":"ca"}}}"#,
        ),
        (
            "cert-manager.io",
            "issuers",
            r#"{"spec":{"acme":{"privateKeySecretRef":{"name":"k"},"solvers":[{"dns01":{"cloudflare":{"apiTokenSecretRef":{"name":"t","key":"k"}}}}]},"ca":{"secretName":"ca"}}}"#,
        ),
        (
            "networking.k8s.io",
            "ingresses",
            r#"{"spec":{"tls":[{"hosts":["a"],"secretName":"tls"}]}}"#,
        ),
        (
            "",
            "serviceaccounts",
            r#"{"secrets":[{"name":"token"}],"imagePullSecrets":[{"name":"r"}]}"#,
        ),
        (
            "external-secrets.io",
            "externalsecrets",
            r#"{"spec":{"secretStoreRef":{"name":"s"},"target":{"name":"db","template":{"templateFrom":[{"secret":{"name":"t","items":[{"key":"k"}]}}]}},"data":[{"secretKey":"p","remoteRef":{"key":"k"}}]}}"#,
        ),
        (
            "external-secrets.io",
            "secretstores",
            r#"{"spec":{"provider":{"aws":{"auth":{"secretRef":{"accessKeyIDSecretRef":{"name":"a","key":"k"}}}}}}}"#,
        ),
        (
            "secrets.doppler.com",
            "dopplersecrets",
            r#"{"spec":{"tokenSecret":{"name":"t"},"managedSecret":{"name":"m"},"secrets":["A","B"]}}"#,
        ),
        (
            "bitnami.com",
            "sealedsecrets",
            r#"{"spec":{"encryptedData":{"a":"b"},"template":{"type":"Opaque"}}}"#,
        ),
        (
            "gateway.networking.k8s.io",
            "gateways",
            r#"{"spec":{"listeners":[{"tls":{"certificateRefs":[{"kind":"Secret","name":"tls"}]}}]}}"#,
        ),
        (
            "monitoring.coreos.com",
            "servicemonitors",
            r#"{"spec":{"endpoints":[{"basicAuth":{"password":{"name":"db","key":"p"}},"oauth2":{"clientSecret":{"name":"db","key":"p"}}}]}}"#,
        ),
        (
            "keda.sh",
            "triggerauthentications",
            r#"{"spec":{"secretTargetRef":[{"parameter":"p","name":"db","key":"k"}]}}"#,
        ),
        (
            "helm.toolkit.fluxcd.io",
            "helmreleases",
            r#"{"spec":{"valuesFrom":[{"kind":"Secret","name":"v"}],"secretRef":{"name":"kube"}}}"#,
        ),
        (
            "kyverno.io",
            "clusterpolicies",
            r#"{"spec":{"rules":[{"verifyImages":[{"imageRegistryCredentials":{"secrets":["r"]}}]}]}}"#,
        ),
        (
            "storage.k8s.io",
            "storageclasses",
            r#"{"provisioner":"ebs.csi.aws.com","parameters":{"type":"gp3"}}"#,
        ),
    ] {
        assert!(!mounts(group, name, BodyKind::Json, object), "{object}");
    }
}

#[test]
fn volumes_of_the_cluster_name_the_secrets_of_their_drivers() {
    for source in [
        r#"{"csi":{"driver":"a.b","nodePublishSecretRef":{"name":"db"}}}"#,
        r#"{"csi":{"driver":"a.b","nodeStageSecretRef":{"name":"db"}}}"#,
        r#"{"csi":{"driver":"a.b","nodeExpandSecretRef":{"name":"db"}}}"#,
        r#"{"csi":{"driver":"a.b","controllerPublishSecretRef":{"name":"db"}}}"#,
        r#"{"csi":{"driver":"a.b","controllerExpandSecretRef":{"name":"db"}}}"#,
        r#"{"cephfs":{"secretRef":{"name":"db"}}}"#,
        r#"{"cinder":{"secretRef":{"name":"db"}}}"#,
        r#"{"flexVolume":{"secretRef":{"name":"db"}}}"#,
        r#"{"iscsi":{"secretRef":{"name":"db"}}}"#,
        r#"{"rbd":{"secretRef":{"name":"db"}}}"#,
        r#"{"scaleIO":{"secretRef":{"name":"db"}}}"#,
        r#"{"storageos":{"secretRef":{"name":"db"}}}"#,
        r#"{"azureFile":{"secretName":"db","secretNamespace":"x"}}"#,
    ] {
        let volume = format!(r#"{{"spec":{source}}}"#);
        assert!(
            mounts("", "persistentvolumes", BodyKind::Json, &volume),
            "{source}"
        );
        let attached = format!(r#"{{"spec":{{"source":{{"inlineVolumeSpec":{source}}}}}}}"#);
        assert!(
            mounts(
                "storage.k8s.io",
                "volumeattachments",
                BodyKind::Json,
                &attached
            ),
            "{source}"
        );
    }
    for parameter in [
        "csi.storage.k8s.io/node-stage-secret-name",
        "csi.storage.k8s.io/provisioner-secret-name",
        "adminSecretName",
        "secretName",
    ] {
        for (group, name) in [
            ("storage.k8s.io", "storageclasses"),
            ("snapshot.storage.k8s.io", "volumesnapshotclasses"),
        ] {
            let class = format!(r#"{{"parameters":{{"{parameter}":"db"}}}}"#);
            assert!(mounts(group, name, BodyKind::Json, &class), "{parameter}");
        }
    }
    let plain = r#"{"spec":{"csi":{"driver":"ebs.csi.aws.com","volumeHandle":"v"},"storageClassName":"gp3"}}"#;
    assert!(!mounts("", "persistentvolumes", BodyKind::Json, plain));
}

#[test]
fn a_secret_is_named_in_whatever_way() {
    for (spec, expected) in [
        (r#"{"auth":{"existingSecret":"db"}}"#, true),
        (r#"{"secretRef":{"name":"db"}}"#, true),
        (r#"{"password":{"fromSecret":"db"}}"#, true),
        (r#"{"secrets":[{"name":"db"}]}"#, true),
        (r#"{"valuesFrom":[{"kind":"Secret","name":"db"}]}"#, true),
        (r#"{"tls":[{"secretName":"tls"}]}"#, true),
        (r#"{"volumes":[{"secret":{"secretName":"db"}}]}"#, true),
        (
            r#"{"manifest":"volumes: [{secret: {secretName: db}}]"}"#,
            true,
        ),
        (r#"{"secretStoreRef":{"name":"s"}}"#, false),
        (r#"{"existingSecret":""}"#, false),
        (r#"{"password":"x","kind":"Thing"}"#, false),
    ] {
        let body = format!(r#"{{"kind":"Thing","metadata":{{"name":"my-secret"}},"spec":{spec}}}"#);
        let things = resource("example.com", "things");
        let read = facts(&things, BodyKind::Json, body.as_bytes());
        assert_eq!(read.names_secrets, expected, "{spec}");
    }
    let patch = br#"[{"op":"add","path":"/spec/auth/existingSecret","value":"db"}]"#;
    let read = facts(
        &resource("example.com", "things"),
        BodyKind::JsonPatch,
        patch,
    );
    assert!(read.names_secrets && !read.reads_secrets);
}

#[test]
fn a_pod_that_is_given_a_config_map_is_seen() {
    for (spec, expected) in [
        (
            r#"{"containers":[{"env":[{"valueFrom":{"configMapKeyRef":{"name":"c","key":"k"}}}]}]}"#,
            true,
        ),
        (
            r#"{"containers":[{"envFrom":[{"configMapRef":{"name":"c"}}]}]}"#,
            true,
        ),
        (r#"{"volumes":[{"configMap":{"name":"c"}}]}"#, true),
        (
            r#"{"volumes":[{"projected":{"sources":[{"configMap":{"name":"c"}}]}}]}"#,
            true,
        ),
        (
            r#"{"containers":[{"env":[{"name":"a","value":"b"}]}]}"#,
            false,
        ),
    ] {
        let body = format!(r#"{{"spec":{spec}}}"#);
        let read = facts(&resource("", "pods"), BodyKind::Json, body.as_bytes());
        assert_eq!(
            (read.reads_configs, read.reads_secrets),
            (expected, false),
            "{spec}"
        );
    }
}
