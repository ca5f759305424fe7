//! What a change of version asks for beside the version itself.

/// How a manifest gets from one version to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The version alone changes, and nothing means anything else afterwards.
    Mechanical,
    /// Fields change too, by a rule that `check --fix` knows.
    ByRule(&'static str),
    /// Fields change too, or the same fields mean something else.
    ByHand(&'static str),
}

/// What `kind` of `api` needs on its way to its replacement.
///
/// # Source
/// The deprecated API migration guide of Kubernetes, and the field lists of both versions.
pub fn note(api: &str, kind: &str) -> Note {
    use Note::{ByHand, ByRule, Mechanical};
    match (api, kind) {
        ("policy/v1beta1", "PodDisruptionBudget") => ByRule(
            "an empty selector {} matched no pod in v1beta1 and matches every pod of the namespace in v1; \
             change the version alone where the selector is not empty",
        ),
        (_, "PodSecurityPolicy") => ByHand(
            "there is no replacement of the same kind: label the namespaces for Pod Security Admission, or use a policy engine",
        ),
        ("batch/v1beta1", "CronJob")
        | ("node.k8s.io/v1beta1", "RuntimeClass")
        | ("coordination.k8s.io/v1beta1", "Lease")
        | ("scheduling.k8s.io/v1beta1" | "scheduling.k8s.io/v1alpha1", "PriorityClass")
        | (
            "storage.k8s.io/v1beta1",
            "StorageClass"
            | "CSINode"
            | "CSIStorageCapacity"
            | "VolumeAttachment"
            | "CSIDriver"
            | "VolumeAttributesClass",
        )
        | (
            "rbac.authorization.k8s.io/v1beta1",
            "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding",
        )
        | ("rbac.authorization.k8s.io/v1alpha1", "Role" | "ClusterRole")
        | ("storage.k8s.io/v1alpha1", "VolumeAttributesClass")
        | ("networking.k8s.io/v1alpha1", "IPAddress" | "ServiceCIDR")
        | ("autoscaling/v2beta2", "HorizontalPodAutoscaler")
        | ("networking.k8s.io/v1beta1", "IngressClass" | "IPAddress" | "ServiceCIDR")
        | ("apiregistration.k8s.io/v1beta1", "APIService")
        | (
            "admissionregistration.k8s.io/v1beta1",
            "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding",
        ) => Mechanical,
        ("autoscaling/v2beta1", "HorizontalPodAutoscaler") => ByRule(
            "each metric moves its target: targetAverageUtilization becomes target: { type: Utilization, averageUtilization: N }",
        ),
        ("extensions/v1beta1" | "networking.k8s.io/v1beta1", "Ingress") => ByRule(
            "spec.backend becomes spec.defaultBackend, serviceName and servicePort become service.name and service.port, \
             and each path needs a pathType",
        ),
        ("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition") => ByHand(
            "each version needs a structural schema of its own; spec.version, spec.validation, spec.subresources and \
             spec.additionalPrinterColumns move into spec.versions",
        ),
        (
            "admissionregistration.k8s.io/v1beta1",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        ) => ByRule(
            "sideEffects and admissionReviewVersions must be given, timeoutSeconds becomes 10, failurePolicy becomes Fail, \
             matchPolicy becomes Equivalent",
        ),
        ("certificates.k8s.io/v1beta1", "CertificateSigningRequest") => ByHand(
            "signerName and usages must be given; kubernetes.io/legacy-unknown is not signed any more",
        ),
        (
            "extensions/v1beta1" | "apps/v1beta1" | "apps/v1beta2",
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet",
        ) => ByRule(
            "spec.selector must be given and cannot be changed afterwards; defaults of the update strategy differ",
        ),
        ("discovery.k8s.io/v1beta1", "EndpointSlice") => ByRule(
            "topology becomes nodeName and zone; other keys of topology go to deprecatedTopology",
        ),
        ("rbac.authorization.k8s.io/v1alpha1", "RoleBinding" | "ClusterRoleBinding") => {
            ByRule("subjects name apiGroup instead of apiVersion")
        }
        ("events.k8s.io/v1beta1", "Event") => {
            ByHand("type, action, reason and reportingController must be given")
        }
        ("extensions/v1beta1", "NetworkPolicy") => Mechanical,
        (
            "flowcontrol.apiserver.k8s.io/v1beta1" | "flowcontrol.apiserver.k8s.io/v1beta2",
            "PriorityLevelConfiguration",
        ) => ByRule(
            "spec.limited.assuredConcurrencyShares becomes spec.limited.nominalConcurrencyShares",
        ),
        ("flowcontrol.apiserver.k8s.io/v1beta3", "PriorityLevelConfiguration") => ByRule(
            "spec.limited.nominalConcurrencyShares of 0 is kept as 0 in v1 and became 30 before",
        ),
        (_, "FlowSchema") => Mechanical,
        _ => ByHand(
            "compare the fields of both versions: kubectl explain KIND --api-version VERSION",
        ),
    }
}
