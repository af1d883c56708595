//! Names, numbers and types of the fields of those messages that are read, from `generated.proto` of
//! `k8s.io/api` (`core/v1`, `apps/v1`, `batch/v1`) and of `k8s.io/apimachinery` (`meta/v1`).

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
        _ => return None,
    };
    message(kind).map(|message| (kind, message))
}

/// Whether objects of a resource whose kind is not read may hold a pod's template, or give one a directory
/// of the node. Protobuf is served for kinds of the API server itself only.
pub(super) fn may_hold_pods(resource: &Resource) -> bool {
    let group = matches!(resource.group.as_str(), "apps" | "batch" | "extensions");
    let volumes = resource.group.is_empty() && resource.resource == "persistentvolumes";
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
VolumeSource 1=hostPath:HostPathVolumeSource 2=emptyDir:? 3=gcePersistentDisk:?
  4=awsElasticBlockStore:? 5=gitRepo:? 6=secret:SecretVolumeSource 7=nfs:? 8=iscsi:?
  9=glusterfs:? 10=persistentVolumeClaim:? 11=rbd:? 12=flexVolume:? 13=cinder:? 14=cephfs:?
  15=flocker:? 16=downwardAPI:? 17=fc:? 18=azureFile:? 19=configMap:? 20=vsphereVolume:?
  21=quobyte:? 22=azureDisk:? 23=photonPersistentDisk:? 24=portworxVolume:? 25=scaleIO:?
  26=projected:ProjectedVolumeSource 27=storageos:? 28=csi:CSIVolumeSource 29=ephemeral:?
  30=image:?
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
VolumeProjection 1=secret:SecretProjection 2=downwardAPI:? 3=configMap:? 4=serviceAccountToken:?
  5=clusterTrustBundle:? 6=podCertificate:?
SecretProjection 1==LocalObjectReference 2=items:*? 4=optional:bool
SecretVolumeSource 1=secretName:string 2=items:*? 3=defaultMode:int 4=optional:bool
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
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let messages = read();
        assert_eq!(messages.len(), 46);
        for (name, fields) in &messages {
            for field in fields.values() {
                if let Kind::Message(inner) = field.kind {
                    assert!(message(inner).is_some(), "{name} {field:?}");
                }
                assert!(!field.name.is_empty() || matches!(field.kind, Kind::Message(_)));
            }
        }
        let words = TEXT
            .split_ascii_whitespace()
            .filter(|word| word.contains('='));
        let read: usize = messages.values().map(HashMap::len).sum();
        assert_eq!(read, words.count());
    }
}
