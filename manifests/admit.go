package manifests

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/job"
	pvutil "k8s.io/kubernetes/pkg/api/persistentvolume"
	pvcutil "k8s.io/kubernetes/pkg/api/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/api/pod"
	serviceutil "k8s.io/kubernetes/pkg/api/service"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
)

// admit does with a new object, in its internal form, what the create strategy of the API server does: it forgets what a user may not
// set, and validates. The object is changed: it must be a copy that nobody keeps.
func admit(obj kruntime.Object) field.ErrorList {
	switch o := obj.(type) {
	case *core.Pod:
		return admitPod(o)
	case *core.PodTemplate:
		pod.DropDisabledTemplateFields(&o.Template, nil)
		return corevalidation.ValidatePodTemplate(o, pod.GetValidationOptionsFromPodTemplate(&o.Template, nil))
	case *core.ReplicationController:
		o.Status = core.ReplicationControllerStatus{}
		pod.DropDisabledTemplateFields(o.Spec.Template, nil)
		return corevalidation.ValidateReplicationController(o, pod.GetValidationOptionsFromPodTemplate(o.Spec.Template, nil))
	case *apps.Deployment:
		o.Status = apps.DeploymentStatus{}
		pod.DropDisabledTemplateFields(&o.Spec.Template, nil)
		return appsvalidation.ValidateDeployment(o, pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *apps.ReplicaSet:
		o.Status = apps.ReplicaSetStatus{}
		pod.DropDisabledTemplateFields(&o.Spec.Template, nil)
		return appsvalidation.ValidateReplicaSet(o, pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *apps.DaemonSet:
		o.Status = apps.DaemonSetStatus{}
		o.Spec.TemplateGeneration = max(o.Spec.TemplateGeneration, 1)
		pod.DropDisabledTemplateFields(&o.Spec.Template, nil)
		return appsvalidation.ValidateDaemonSet(o, pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *apps.StatefulSet:
		o.Status = apps.StatefulSetStatus{}
		pod.DropDisabledTemplateFields(&o.Spec.Template, nil)
		return appsvalidation.ValidateStatefulSet(o, pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *apps.ControllerRevision:
		return appsvalidation.ValidateControllerRevisionCreate(o)
	case *batch.Job:
		return admitJob(o)
	case *batch.CronJob:
		o.Status = batch.CronJobStatus{}
		pod.DropDisabledTemplateFields(&o.Spec.JobTemplate.Spec.Template, nil)
		return batchvalidation.ValidateCronJobCreate(o, pod.GetValidationOptionsFromPodTemplate(&o.Spec.JobTemplate.Spec.Template, nil))
	}
	return admitSimple(obj)
}

func admitPod(o *core.Pod) field.ErrorList {
	o.Status = core.PodStatus{Phase: core.PodPending}
	pod.DropDisabledPodFields(o, nil)
	opts := pod.GetValidationOptionsFromPodSpecAndMeta(&o.Spec, nil, &o.ObjectMeta, nil)
	opts.ResourceIsPod = true
	syncAppArmor(o)
	return corevalidation.ValidatePodCreate(o, opts)
}

// syncAppArmor fills the AppArmor field of each container from the annotation that older manifests use.
func syncAppArmor(o *core.Pod) {
	pod.VisitContainers(&o.Spec, pod.AllFeatureEnabledContainers(), func(c *core.Container, _ pod.ContainerType) bool {
		text, has := o.Annotations[core.DeprecatedAppArmorAnnotationKeyPrefix+c.Name]
		if !has || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			return true
		}
		profile := pod.ApparmorFieldForAnnotation(text)
		if profile == nil || len(corevalidation.ValidateAppArmorProfileField(profile, &field.Path{})) > 0 {
			return true
		}
		if c.SecurityContext == nil {
			c.SecurityContext = &core.SecurityContext{}
		}
		c.SecurityContext.AppArmorProfile = profile
		return true
	})
}

func admitJob(o *batch.Job) field.ErrorList {
	if o.Spec.ManualSelector == nil || !*o.Spec.ManualSelector {
		selectByUID(o)
	}
	o.Status = batch.JobStatus{}
	pod.DropDisabledTemplateFields(&o.Spec.Template, nil)
	return batchvalidation.ValidateJob(o, batchvalidation.JobValidationOptions{
		PodValidationOptions:  pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil),
		RequirePrefixedLabels: true,
	})
}

// selectByUID gives a Job the labels and the selector that a server makes up for it, so that validation can judge what the user wrote
// against them.
func selectByUID(o *batch.Job) {
	o.UID = uuid.NewUUID()
	labels := o.Spec.Template.Labels
	if labels == nil {
		labels = map[string]string{}
		o.Spec.Template.Labels = labels
	}
	setIfAbsent := func(value string, keys ...string) {
		for _, k := range keys {
			if _, ok := labels[k]; !ok {
				labels[k] = value
			}
		}
	}
	setIfAbsent(o.Name, batch.LegacyJobNameLabel, batch.JobNameLabel)
	setIfAbsent(string(o.UID), batch.LegacyControllerUidLabel, batch.ControllerUidLabel)
	if o.Spec.Selector == nil {
		o.Spec.Selector = &metav1.LabelSelector{}
	}
	if o.Spec.Selector.MatchLabels == nil {
		o.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, ok := o.Spec.Selector.MatchLabels[batch.ControllerUidLabel]; !ok {
		o.Spec.Selector.MatchLabels[batch.ControllerUidLabel] = string(o.UID)
	}
}

// advise returns the warnings that a server sends with its answer: PATH: text.
func advise(ctx context.Context, obj kruntime.Object) []string {
	template := func(t *core.PodTemplateSpec) []string {
		return pod.GetWarningsForPodTemplate(ctx, field.NewPath("spec", "template"), t, nil)
	}
	switch o := obj.(type) {
	case *core.Pod:
		return append(nameAdvice(o.Name), pod.GetWarningsForPod(ctx, o, nil)...)
	case *core.ReplicationController:
		return append(nameAdvice(o.Name), template(o.Spec.Template)...)
	case *apps.Deployment:
		return append(nameAdvice(o.Name), template(&o.Spec.Template)...)
	case *apps.ReplicaSet:
		return append(nameAdvice(o.Name), template(&o.Spec.Template)...)
	case *apps.DaemonSet:
		return template(&o.Spec.Template)
	case *apps.StatefulSet:
		return template(&o.Spec.Template)
	case *batch.Job:
		return append(nameAdvice(o.Name), job.WarningsForJobSpec(ctx, field.NewPath("spec"), &o.Spec, nil)...)
	case *batch.CronJob:
		return append(nameAdvice(o.Name), job.WarningsForJobSpec(ctx, field.NewPath("spec", "jobTemplate", "spec"), &o.Spec.JobTemplate.Spec, nil)...)
	case *core.Service:
		return serviceutil.GetWarningsForService(o, nil)
	case *core.PersistentVolume:
		return pvutil.GetWarningsForPersistentVolume(o)
	case *core.PersistentVolumeClaim:
		return pvcutil.GetWarningsForPersistentVolumeClaim(o)
	}
	return nil
}

func nameAdvice(name string) []string {
	if len(utilvalidation.IsDNS1123Label(name)) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: %q is used in the names of pods and hosts; a DNS label (no dots, at most 63 characters) is recommended", name)}
}
