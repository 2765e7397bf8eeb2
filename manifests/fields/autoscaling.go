package fields

// autoscaling is what scales workloads by what their pods use.
func autoscaling() []Row {
	const (
		noMetrics = "only what pods use of processors and memory is measured"
		replicas  = "while an autoscaler has a workload, its number of replicas stands instead of the file's, which stays as it is"
	)
	return join(
		of("autoscaling/v2.HorizontalPodAutoscalerSpec",
			noted("e2e.TestAutoscaler", replicas, "scaleTargetRef"),
			honoured("reconcile/hpa.TestPlan/minReplicas", "minReplicas"),
			honoured("reconcile/hpa.TestPlan/maxReplicas", "maxReplicas"),
			honoured("e2e.TestAutoscaler", "metrics"),
			honoured("e2e.TestAutoscaler", "behavior"),
		),
		of("autoscaling/v1.HorizontalPodAutoscalerSpec",
			noted("e2e.TestAutoscaler", replicas, "scaleTargetRef"),
			honoured("reconcile/hpa.TestPlan/minReplicas", "minReplicas"),
			honoured("reconcile/hpa.TestPlan/maxReplicas", "maxReplicas"),
			honoured("controller.TestAutoscalerOfVersion1", "targetCPUUtilizationPercentage"),
		),
		of("autoscaling/v2.CrossVersionObjectReference", honoured("e2e.TestAutoscaler", "kind name"), honoured("controller.TestAutoscalerChangesItsTarget", "apiVersion")),
		of("autoscaling/v1.CrossVersionObjectReference", honoured("e2e.TestAutoscaler", "kind name"), honoured("controller.TestAutoscalerChangesItsTarget", "apiVersion")),
		of("autoscaling/v2.MetricSpec",
			honoured("e2e.TestAutoscaler", "type resource"),
			honoured("reconcile/hpa.TestPlan/a container", "containerResource"),
			notEnforced(noMetrics, "object pods external"),
		),
		of("autoscaling/v2.ResourceMetricSource", honoured("reconcile/hpa.TestPlan/memory", "name"), honoured("e2e.TestAutoscaler", "target")),
		of("autoscaling/v2.ContainerResourceMetricSource", honoured("reconcile/hpa.TestPlan/a container", "name container target")),
		of("autoscaling/v2.ObjectMetricSource", notEnforced(noMetrics, "describedObject target metric")),
		of("autoscaling/v2.PodsMetricSource", notEnforced(noMetrics, "metric target")),
		of("autoscaling/v2.ExternalMetricSource", notEnforced(noMetrics, "metric target")),
		of("autoscaling/v2.MetricIdentifier", notEnforced(noMetrics, "name selector")),
		of("autoscaling/v2.MetricTarget",
			honoured("reconcile/hpa.TestPlan/averageValue", "type averageValue"),
			honoured("e2e.TestAutoscaler", "averageUtilization"),
			notEnforced(noMetrics, "value"),
		),
		of("autoscaling/v2.HorizontalPodAutoscalerBehavior",
			honoured("reconcile/hpa.TestPlan/pods at a time", "scaleUp"), honoured("reconcile/hpa.TestPlan/down by pods at a time", "scaleDown"),
		),
		of("autoscaling/v2.HPAScalingRules",
			honoured("reconcile/hpa.TestPlan/a window on the way up", "stabilizationWindowSeconds"),
			honoured("reconcile/hpa.TestPlan/selectPolicy Min", "selectPolicy"),
			honoured("reconcile/hpa.TestPlan/the greatest change", "policies"),
			honoured("reconcile/hpa.TestPlan/a tolerance of its own", "tolerance"),
		),
		of("autoscaling/v2.HPAScalingPolicy",
			honoured("reconcile/hpa.TestPlan/percents at a time", "type value"),
			honoured("reconcile/hpa.TestPlan/what was done in the period counts", "periodSeconds"),
		),
	)
}
