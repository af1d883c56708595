//! Names, numbers and types of the fields of those messages that are read, from `generated.proto` of
//! `k8s.io/api` (`core/v1`, `apps/v1`, `batch/v1`, `storage/v1`) and of `k8s.io/apimachinery` (`meta/v1`).
//!
//! Invariant: a part that is not read (`?`) says nothing about Secrets, accounts and the node; below a pod's
//! volumes every part is read.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::Resource;

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// Its name in JSON; empty: what it holds belongs to the message around it.
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    List,
    /// From strings.
    Map,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Bytes,
    Bool,
    Int,
    /// A quantity: a message that is a text in JSON.
    Quantity,
    Message(&'static str),
    /// A message that is not read.
    Other,
}

/// The fields of a message by number.
pub(super) type Message = HashMap<u32, Field>;

/// The message of a name.
pub(super) fn message(name: &str) -> Option<&'static Message> {
    static MESSAGES: LazyLock<HashMap<&str, Message>> = LazyLock::new(read);
    MESSAGES.get(name)
}

/// The kind of a resource and its message, where that is read.
pub(super) fn kind(resource: &Resource) -> Option<(&'static str, &'static Message)> {
    if !matches!(
        resource.subresource.as_str(),
        "" | "status" | "ephemeralcontainers" | "resize"
    ) {
        return None;
    }
    let names = (
        resource.group.as_str(),
        resource.version.as_str(),
        resource.resource.as_str(),
    );
    let kind = match names {
        ("", "v1", "pods") => "Pod",
        ("", "v1", "podtemplates") => "PodTemplate",
        ("", "v1", "replicationcontrollers") => "ReplicationController",
        ("", "v1", "secrets") => "Secret",
        ("", "v1", "configmaps") => "ConfigMap",
        ("apps", "v1", "deployments") => "Deployment",
        ("apps", "v1", "replicasets") => "ReplicaSet",
        ("apps", "v1", "statefulsets") => "StatefulSet",
        ("apps", "v1", "daemonsets") => "DaemonSet",
        ("batch", "v1", "jobs") => "Job",
        ("batch", "v1", "cronjobs") => "CronJob",
        ("storage.k8s.io", "v1", "storageclasses") => "StorageClass",
        _ => return None,
    };
    message(kind).map(|message| (kind, message))
}

/// Whether objects of a resource whose kind is not read may hold a pod's template, or give one a directory
/// of the node or a Secret. Protobuf is served for kinds of the API server itself only.
pub(super) fn may_hold_pods(resource: &Resource) -> bool {
    let group = matches!(resource.group.as_str(), "apps" | "batch" | "extensions");
    let volumes = matches!(
        (resource.group.as_str(), resource.resource.as_str()),
        ("", "persistentvolumes") | ("storage.k8s.io", "storageclasses" | "volumeattachments")
    );
    (group || volumes) && resource.subresource != "scale"
}

fn read() -> HashMap<&'static str, Message> {
    let mut messages: HashMap<&str, Message> = HashMap::new();
    let mut current = "";
    for word in TEXT.split_ascii_whitespace() {
        match word.split_once('=') {
            None => current = word,
            Some((number, field)) => {
                let fields = messages.entry(current).or_default();
                fields.extend(number.parse().ok().zip(self::field(field)));
            }
        }
    }
    messages
}

/// `NAME:TYPE`, `NAME:*TYPE` for a list, `NAME:%TYPE` for a map, `=TYPE` for a part of the message.
fn field(text: &'static str) -> Option<Field> {
    let (name, kind) = match text.strip_prefix('=') {
        Some(kind) => ("", kind),
        None => text.split_once(':')?,
    };
    let (shape, kind) = match kind.split_at_checked(1)? {
        ("*", kind) => (Shape::List, kind),
        ("%", kind) => (Shape::Map, kind),
        _ => (Shape::One, kind),
    };
    let kind = match kind {
        "string" => Kind::String,
        "bytes" => Kind::Bytes,
        "bool" => Kind::Bool,
        "int" => Kind::Int,
        "quantity" => Kind::Quantity,
        "?" => Kind::Other,
        message => Kind::Message(message),
    };
    Some(Field { name, shape, kind })
}

const TEXT: &str = "
ObjectMeta 1=name:string 2=generateName:string 3=namespace:string 4=selfLink:string 5=uid:string
  6=resourceVersion:string 7=generation:int 8=creationTimestamp:? 9=deletionTimestamp:?
  10=deletionGracePeriodSeconds:int 11=labels:%string 12=annotations:%string
  13=ownerReferences:*? 14=finalizers:*string 17=managedFields:*?
DeleteOptions 1=gracePeriodSeconds:int 2=preconditions:? 3=orphanDependents:bool
  4=propagationPolicy:string 5=dryRun:*string
  6=ignoreStoreReadErrorWithClusterBreakingPotential:bool
Pod 1=metadata:ObjectMeta 2=spec:PodSpec 3=status:?
PodSpec 1=volumes:*Volume 2=containers:*Container 3=restartPolicy:string
  4=terminationGracePeriodSeconds:int 5=activeDeadlineSeconds:int 6=dnsPolicy:string
  7=nodeSelector:%string 8=serviceAccountName:string 9=serviceAccount:string 10=nodeName:string
  11=hostNetwork:bool 12=hostPID:bool 13=hostIPC:bool 14=securityContext:PodSecurityContext
  15=imagePullSecrets:*LocalObjectReference 16=hostname:string 17=subdomain:string 18=affinity:?
  19=schedulerName:string 20=initContainers:*Container 21=automountServiceAccountToken:bool
  22=tolerations:*? 23=hostAliases:*? 24=priorityClassName:string 25=priority:int 26=dnsConfig:?
  27=shareProcessNamespace:bool 28=readinessGates:*? 29=runtimeClassName:string
  30=enableServiceLinks:bool 31=preemptionPolicy:string 32=overhead:%?
  33=topologySpreadConstraints:*? 34=ephemeralContainers:*EphemeralContainer
  35=setHostnameAsFQDN:bool 36=os:? 37=hostUsers:bool 38=schedulingGates:*? 39=resourceClaims:*?
  40=resources:? 41=hostnameOverride:string 43=schedulingGroup:? 44=evictionResponders:*?
PodTemplate 1=metadata:ObjectMeta 2=template:PodTemplateSpec
PodTemplateSpec 1=metadata:ObjectMeta 2=spec:PodSpec
Container 1=name:string 2=image:string 3=command:*string 4=args:*string 5=workingDir:string
  6=ports:*? 7=env:*EnvVar 8=resources:? 9=volumeMounts:*? 10=livenessProbe:?
  11=readinessProbe:? 12=lifecycle:? 13=terminationMessagePath:string 14=imagePullPolicy:string
  15=securityContext:SecurityContext 16=stdin:bool 17=stdinOnce:bool 18=tty:bool
  19=envFrom:*EnvFromSource 20=terminationMessagePolicy:string 21=volumeDevices:*?
  22=startupProbe:? 23=resizePolicy:*? 24=restartPolicy:string 25=restartPolicyRules:*?
EphemeralContainer 1==EphemeralContainerCommon 2=targetContainerName:string
EphemeralContainerCommon 1=name:string 2=image:string 3=command:*string 4=args:*string
  5=workingDir:string 6=ports:*? 7=env:*EnvVar 8=resources:? 9=volumeMounts:*?
  10=livenessProbe:? 11=readinessProbe:? 12=lifecycle:? 13=terminationMessagePath:string
  14=imagePullPolicy:string 15=securityContext:SecurityContext 16=stdin:bool 17=stdinOnce:bool
  18=tty:bool 19=envFrom:*EnvFromSource 20=terminationMessagePolicy:string 21=volumeDevices:*?
  22=startupProbe:? 23=resizePolicy:*? 24=restartPolicy:string 25=restartPolicyRules:*?
Volume 1=name:string 2==VolumeSource
VolumeSource 1=hostPath:HostPathVolumeSource 2=emptyDir:EmptyDirVolumeSource
  3=gcePersistentDisk:GCEPersistentDiskVolumeSource 4=awsElasticBlockStore:AWSElasticBlockStoreVolumeSource
  5=gitRepo:GitRepoVolumeSource 6=secret:SecretVolumeSource 7=nfs:NFSVolumeSource
  8=iscsi:ISCSIVolumeSource 9=glusterfs:GlusterfsVolumeSource
  10=persistentVolumeClaim:PersistentVolumeClaimVolumeSource 11=rbd:RBDVolumeSource
  12=flexVolume:FlexVolumeSource 13=cinder:CinderVolumeSource 14=cephfs:CephFSVolumeSource
  15=flocker:FlockerVolumeSource 16=downwardAPI:DownwardAPIVolumeSource 17=fc:FCVolumeSource
  18=azureFile:AzureFileVolumeSource 19=configMap:ConfigMapVolumeSource
  20=vsphereVolume:VsphereVirtualDiskVolumeSource 21=quobyte:QuobyteVolumeSource
  22=azureDisk:AzureDiskVolumeSource 23=photonPersistentDisk:PhotonPersistentDiskVolumeSource
  24=portworxVolume:PortworxVolumeSource 25=scaleIO:ScaleIOVolumeSource
  26=projected:ProjectedVolumeSource 27=storageos:StorageOSVolumeSource 28=csi:CSIVolumeSource
  29=ephemeral:EphemeralVolumeSource 30=image:ImageVolumeSource
EmptyDirVolumeSource 1=medium:string 2=sizeLimit:quantity 3=mode:int
GCEPersistentDiskVolumeSource 1=pdName:string 2=fsType:string 3=partition:int 4=readOnly:bool
AWSElasticBlockStoreVolumeSource 1=volumeID:string 2=fsType:string 3=partition:int
  4=readOnly:bool
GitRepoVolumeSource 1=repository:string 2=revision:string 3=directory:string
NFSVolumeSource 1=server:string 2=path:string 3=readOnly:bool
ISCSIVolumeSource 1=targetPortal:string 2=iqn:string 3=lun:int 4=iscsiInterface:string
  5=fsType:string 6=readOnly:bool 7=portals:*string 8=chapAuthDiscovery:bool
  10=secretRef:LocalObjectReference 11=chapAuthSession:bool 12=initiatorName:string
GlusterfsVolumeSource 1=endpoints:string 2=path:string 3=readOnly:bool
PersistentVolumeClaimVolumeSource 1=claimName:string 2=readOnly:bool
RBDVolumeSource 1=monitors:*string 2=image:string 3=fsType:string 4=pool:string 5=user:string
  6=keyring:string 7=secretRef:LocalObjectReference 8=readOnly:bool
FlexVolumeSource 1=driver:string 2=fsType:string 3=secretRef:LocalObjectReference
  4=readOnly:bool 5=options:%string
CinderVolumeSource 1=volumeID:string 2=fsType:string 3=readOnly:bool
  4=secretRef:LocalObjectReference
CephFSVolumeSource 1=monitors:*string 2=path:string 3=user:string 4=secretFile:string
  5=secretRef:LocalObjectReference 6=readOnly:bool
FlockerVolumeSource 1=datasetName:string 2=datasetUUID:string
DownwardAPIVolumeSource 1=items:*DownwardAPIVolumeFile 2=defaultMode:int 3=defaultUser:int
DownwardAPIVolumeFile 1=path:string 2=fieldRef:ObjectFieldSelector
  3=resourceFieldRef:ResourceFieldSelector 4=mode:int 5=user:int
ObjectFieldSelector 1=apiVersion:string 2=fieldPath:string
ResourceFieldSelector 1=containerName:string 2=resource:string 3=divisor:quantity
FCVolumeSource 1=targetWWNs:*string 2=lun:int 3=fsType:string 4=readOnly:bool 5=wwids:*string
AzureFileVolumeSource 1=secretName:string 2=shareName:string 3=readOnly:bool
ConfigMapVolumeSource 1==LocalObjectReference 2=items:*KeyToPath 3=defaultMode:int
  4=optional:bool 5=defaultUser:int
KeyToPath 1=key:string 2=path:string 3=mode:int 4=user:int
VsphereVirtualDiskVolumeSource 1=volumePath:string 2=fsType:string 3=storagePolicyName:string
  4=storagePolicyID:string
QuobyteVolumeSource 1=registry:string 2=volume:string 3=readOnly:bool 4=user:string
  5=group:string 6=tenant:string
AzureDiskVolumeSource 1=diskName:string 2=diskURI:string 3=cachingMode:string 4=fsType:string
  5=readOnly:bool 6=kind:string
PhotonPersistentDiskVolumeSource 1=pdID:string 2=fsType:string
PortworxVolumeSource 1=volumeID:string 2=fsType:string 3=readOnly:bool
ScaleIOVolumeSource 1=gateway:string 2=system:string 3=secretRef:LocalObjectReference
  4=sslEnabled:bool 5=protectionDomain:string 6=storagePool:string 7=storageMode:string
  8=volumeName:string 9=fsType:string 10=readOnly:bool
StorageOSVolumeSource 1=volumeName:string 2=volumeNamespace:string 3=fsType:string
  4=readOnly:bool 5=secretRef:LocalObjectReference
EphemeralVolumeSource 1=volumeClaimTemplate:PersistentVolumeClaimTemplate
PersistentVolumeClaimTemplate 1=metadata:ObjectMeta 2=spec:PersistentVolumeClaimSpec
PersistentVolumeClaimSpec 1=accessModes:*string 2=resources:VolumeResourceRequirements
  3=volumeName:string 4=selector:LabelSelector 5=storageClassName:string 6=volumeMode:string
  7=dataSource:TypedReference 8=dataSourceRef:TypedReference 9=volumeAttributesClassName:string
VolumeResourceRequirements 1=limits:%quantity 2=requests:%quantity
TypedReference 1=apiGroup:string 2=kind:string 3=name:string 4=namespace:string
LabelSelector 1=matchLabels:%string 2=matchExpressions:*LabelSelectorRequirement
LabelSelectorRequirement 1=key:string 2=operator:string 3=values:*string
ImageVolumeSource 1=reference:string 2=pullPolicy:string
EnvVar 1=name:string 2=value:string 3=valueFrom:EnvVarSource
EnvVarSource 1=fieldRef:? 2=resourceFieldRef:? 3=configMapKeyRef:ConfigMapKeySelector
  4=secretKeyRef:SecretKeySelector 5=fileKeyRef:?
EnvFromSource 1=prefix:string 2=configMapRef:ConfigMapEnvSource 3=secretRef:SecretEnvSource
SecretEnvSource 1==LocalObjectReference 2=optional:bool
ConfigMapEnvSource 1==LocalObjectReference 2=optional:bool
SecretKeySelector 1==LocalObjectReference 2=key:string 3=optional:bool
ConfigMapKeySelector 1==LocalObjectReference 2=key:string 3=optional:bool
LocalObjectReference 1=name:string
SecurityContext 1=capabilities:Capabilities 2=privileged:bool 3=seLinuxOptions:? 4=runAsUser:int
  5=runAsNonRoot:bool 6=readOnlyRootFilesystem:bool 7=allowPrivilegeEscalation:bool
  8=runAsGroup:int 9=procMount:string 10=windowsOptions:WindowsSecurityContextOptions
  11=seccompProfile:? 12=appArmorProfile:?
Capabilities 1=add:*string 2=drop:*string
PodSecurityContext 1=seLinuxOptions:? 2=runAsUser:int 3=runAsNonRoot:bool
  4=supplementalGroups:*int 5=fsGroup:int 6=runAsGroup:int 7=sysctls:*?
  8=windowsOptions:WindowsSecurityContextOptions 9=fsGroupChangePolicy:string
  10=seccompProfile:? 11=appArmorProfile:? 12=supplementalGroupsPolicy:string
  13=seLinuxChangePolicy:string
WindowsSecurityContextOptions 1=gmsaCredentialSpecName:string 2=gmsaCredentialSpec:string
  3=runAsUserName:string 4=hostProcess:bool
Secret 1=metadata:ObjectMeta 2=data:%bytes 3=type:string 4=stringData:%string 5=immutable:bool
ConfigMap 1=metadata:ObjectMeta 2=data:%string 3=binaryData:%bytes 4=immutable:bool
ProjectedVolumeSource 1=sources:*VolumeProjection 2=defaultMode:int 3=defaultUser:int
VolumeProjection 1=secret:SecretProjection 2=downwardAPI:DownwardAPIProjection
  3=configMap:ConfigMapProjection 4=serviceAccountToken:ServiceAccountTokenProjection
  5=clusterTrustBundle:ClusterTrustBundleProjection 6=podCertificate:PodCertificateProjection
SecretProjection 1==LocalObjectReference 2=items:*KeyToPath 4=optional:bool
ConfigMapProjection 1==LocalObjectReference 2=items:*KeyToPath 4=optional:bool
DownwardAPIProjection 1=items:*DownwardAPIVolumeFile
ServiceAccountTokenProjection 1=audience:string 2=expirationSeconds:int 3=path:string 4=user:int
ClusterTrustBundleProjection 1=name:string 2=signerName:string 3=labelSelector:LabelSelector
  4=path:string 5=optional:bool 6=user:int
PodCertificateProjection 1=signerName:string 2=keyType:string 3=maxExpirationSeconds:int
  4=credentialBundlePath:string 5=keyPath:string 6=certificateChainPath:string
  7=userAnnotations:%string 8=user:int
SecretVolumeSource 1=secretName:string 2=items:*KeyToPath 3=defaultMode:int 4=optional:bool
  5=defaultUser:int
HostPathVolumeSource 1=path:string 2=type:string
CSIVolumeSource 1=driver:string 2=readOnly:bool 3=fsType:string 4=volumeAttributes:%string
  5=nodePublishSecretRef:LocalObjectReference
Deployment 1=metadata:ObjectMeta 2=spec:DeploymentSpec 3=status:?
DeploymentSpec 1=replicas:int 2=selector:? 3=template:PodTemplateSpec 4=strategy:?
  5=minReadySeconds:int 6=revisionHistoryLimit:int 7=paused:bool 9=progressDeadlineSeconds:int
ReplicaSet 1=metadata:ObjectMeta 2=spec:ReplicaSetSpec 3=status:?
ReplicaSetSpec 1=replicas:int 2=selector:? 3=template:PodTemplateSpec 4=minReadySeconds:int
StatefulSet 1=metadata:ObjectMeta 2=spec:StatefulSetSpec 3=status:?
StatefulSetSpec 1=replicas:int 2=selector:? 3=template:PodTemplateSpec 4=volumeClaimTemplates:*?
  5=serviceName:string 6=podManagementPolicy:string 7=updateStrategy:?
  8=revisionHistoryLimit:int 9=minReadySeconds:int 10=persistentVolumeClaimRetentionPolicy:?
  11=ordinals:?
DaemonSet 1=metadata:ObjectMeta 2=spec:DaemonSetSpec 3=status:?
DaemonSetSpec 1=selector:? 2=template:PodTemplateSpec 3=updateStrategy:? 4=minReadySeconds:int
  6=revisionHistoryLimit:int
Job 1=metadata:ObjectMeta 2=spec:JobSpec 3=status:?
JobSpec 1=parallelism:int 2=completions:int 3=activeDeadlineSeconds:int 4=selector:?
  5=manualSelector:bool 6=template:PodTemplateSpec 7=backoffLimit:int
  8=ttlSecondsAfterFinished:int 9=completionMode:string 10=suspend:bool 11=podFailurePolicy:?
  12=backoffLimitPerIndex:int 13=maxFailedIndexes:int 14=podReplacementPolicy:string
  15=managedBy:string 16=successPolicy:? 17=scheduling:?
CronJob 1=metadata:ObjectMeta 2=spec:CronJobSpec 3=status:?
CronJobSpec 1=schedule:string 2=startingDeadlineSeconds:int 3=concurrencyPolicy:string
  4=suspend:bool 5=jobTemplate:JobTemplateSpec 6=successfulJobsHistoryLimit:int
  7=failedJobsHistoryLimit:int 8=timeZone:string
JobTemplateSpec 1=metadata:ObjectMeta 2=spec:JobSpec
ReplicationController 1=metadata:ObjectMeta 2=spec:ReplicationControllerSpec 3=status:?
ReplicationControllerSpec 1=replicas:int 2=selector:%string 3=template:PodTemplateSpec
  4=minReadySeconds:int
StorageClass 1=metadata:ObjectMeta 2=provisioner:string 3=parameters:%string
  4=reclaimPolicy:string 5=mountOptions:*string 6=allowVolumeExpansion:bool
  7=volumeBindingMode:string 8=allowedTopologies:*?
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let messages = read();
        assert_eq!(messages.len(), 88);
        for (name, fields) in &messages {
            for field in fields.values() {
                if let Kind::Message(inner) = field.kind {
                    assert!(message(inner).is_some(), "{name} {field:?}");
                }
                assert!(!field.name.is_empty() || matches!(field.kind, Kind::Message(_)));
            }
        }
        let mut volumes = vec!["Volume"];
        let mut seen = Vec::new();
        while let Some(name) = volumes.pop() {
            // Metadata names no Secret.
            if name == "ObjectMeta" || seen.contains(&name) {
                continue;
            }
            seen.push(name);
            for field in messages[name].values() {
                assert_ne!(field.kind, Kind::Other, "{name} {field:?}");
                if let Kind::Message(inner) = field.kind {
                    volumes.push(inner);
                }
            }
        }
        let words = TEXT
            .split_ascii_whitespace()
            .filter(|word| word.contains('='));
        let read: usize = messages.values().map(HashMap::len).sum();
        assert_eq!(read, words.count());
    }
}
