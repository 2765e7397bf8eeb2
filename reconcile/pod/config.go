package pod

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"berth/runtime"
)

// errNoAddress means that a container wants to know the Pod's address before there is one.
var errNoAddress = errors.New("the pod has no address yet")

// pidsLimit is the number of tasks of one Pod: far above what programs need, far below what stops a machine.
const pidsLimit = 4096

// refusal says which field of the Pod cannot be done, in words for the user.
func refusal(field, format string, args ...any) error {
	return fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...))
}

// check finds what this machine cannot do for the Pod as a whole. Such a Pod waits and says why; nothing of it is left out silently.
func (p *pass) check() error {
	spec := &p.pod.Spec
	if spec.RuntimeClassName != nil && *spec.RuntimeClassName != "" {
		return refusal("spec.runtimeClassName", "there is no runtime class %q", *spec.RuntimeClassName)
	}
	if spec.OS != nil && spec.OS.Name != corev1.Linux {
		return refusal("spec.os.name", "this machine runs linux, not %s", spec.OS.Name)
	}
	if len(spec.ResourceClaims) > 0 {
		return refusal("spec.resourceClaims", "resource claim %q cannot be made here", spec.ResourceClaims[0].Name)
	}
	if err := p.checkSecurity(); err != nil {
		return err
	}
	return p.findVolumes()
}

// sandbox is what the containers share. check has passed.
func (p *pass) sandbox() runtime.SandboxConfig {
	spec := &p.pod.Spec
	cfg := runtime.SandboxConfig{
		UID: string(p.pod.UID), Namespace: p.pod.Namespace, Name: p.pod.Name, Hostname: p.hostname(), FQDN: p.fqdn(), Object: Label(p.pod),
		HostNetwork: spec.HostNetwork, HostPID: spec.HostPID, HostIPC: spec.HostIPC,
		SharePID:      isTrue(spec.ShareProcessNamespace),
		ShareMemory:   len(spec.Containers)+len(spec.InitContainers) > 1,
		UserNamespace: spec.HostUsers != nil && !*spec.HostUsers,
		DNS:           p.resolver(),
		PidsLimit:     pidsLimit,
		Volumes:       p.volumes,
	}
	for _, a := range spec.HostAliases {
		cfg.Hosts = append(cfg.Hosts, runtime.HostAlias{IP: a.IP, Hostnames: a.Hostnames})
	}
	if s := spec.SecurityContext; s != nil {
		cfg.FSGroup = s.FSGroup
		cfg.FSGroupOnRootMismatch = s.FSGroupChangePolicy != nil && *s.FSGroupChangePolicy == corev1.FSGroupChangeOnRootMismatch
		for _, sysctl := range s.Sysctls {
			if cfg.Sysctls == nil {
				cfg.Sysctls = map[string]string{}
			}
			cfg.Sysctls[dotted(sysctl.Name)] = sysctl.Value
		}
	}
	return cfg
}

// hostname is as long as the kernel takes it.
func (p *pass) hostname() string {
	spec := &p.pod.Spec
	switch {
	case spec.HostnameOverride != nil:
		return *spec.HostnameOverride
	case spec.HostNetwork:
		return p.in.Node.Name
	}
	if full := p.fqdn(); isTrue(spec.SetHostnameAsFQDN) && full != "" {
		return full
	}
	return p.shortName()
}

func (p *pass) shortName() string {
	name := p.pod.Spec.Hostname
	if name == "" {
		name = p.pod.Name
	}
	if len(name) > 63 {
		name = strings.TrimRight(name[:63], "-.")
	}
	return name
}

// fqdn is the full name of a Pod that states a subdomain.
func (p *pass) fqdn() string {
	spec := &p.pod.Spec
	if spec.Subdomain == "" || spec.HostnameOverride != nil || spec.HostNetwork {
		return ""
	}
	return p.shortName() + "." + spec.Subdomain + "." + p.pod.Namespace + ".svc." + p.domain()
}

// containerConfig is the next attempt of a container.
func (p *pass) containerConfig(c *container) (runtime.ContainerConfig, error) {
	field := p.field(c)
	env, value, err := p.env(c, field)
	if err != nil {
		return runtime.ContainerConfig{}, err
	}
	resources, err := limits(c.spec, field)
	if err != nil {
		return runtime.ContainerConfig{}, err
	}
	resources.OOMScoreAdj = p.oomScore(c.spec)
	security, err := p.security(c, field)
	if err != nil {
		return runtime.ContainerConfig{}, err
	}
	mounts, err := mounts(c.spec, field, value)
	if err != nil {
		return runtime.ContainerConfig{}, err
	}
	p.readOnlyClaims(mounts)
	cfg := runtime.ContainerConfig{
		Name: c.spec.Name, Attempt: p.attemptOf(c), Backoff: p.nextBackoff(c), SpecHash: p.tag(c), Image: c.spec.Image,
		Command: expanded(c.spec.Command, value), Args: expanded(c.spec.Args, value), Env: env, WorkingDir: c.spec.WorkingDir,
		TTY: c.spec.TTY, Stdin: c.spec.Stdin, StdinOnce: c.spec.StdinOnce && !c.spec.TTY, Mounts: mounts, Resources: resources, Security: security,
		TerminationMessagePath: c.spec.TerminationMessagePath,
		MessageFromLog:         c.spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError,
	}
	if image := p.in.Images[c.spec.Image].Image; image != nil {
		cfg.ImageID = image.ID
	}
	if c.ephemeral != nil {
		cfg.Target = c.ephemeral.TargetContainerName
	}
	return cfg, nil
}

func expanded(words []string, value func(string) (string, bool)) []string {
	if len(words) == 0 {
		return nil
	}
	out := make([]string, len(words))
	for i, w := range words {
		out[i], _ = expand(w, value)
	}
	return out
}

// field names a container in messages, as validation does.
func (p *pass) field(c *container) string {
	list, kind := p.mains, "containers"
	switch {
	case c.init:
		list, kind = p.inits, "initContainers"
	case c.ephemeral != nil:
		list, kind = p.extras, "ephemeralContainers"
	}
	for i := range list {
		if list[i] == c {
			return fmt.Sprintf("spec.%s[%d]", kind, i)
		}
	}
	return "spec." + kind
}

// hash identifies the wish for a container. A container that was started for another wish has no back-off to serve.
func (p *pass) hash(c *container) string {
	if c.hash == "" {
		h := sha256.New()
		_ = json.NewEncoder(h).Encode(c.spec) // a Container always marshals
		c.hash = hex.EncodeToString(h.Sum(nil)[:8])
	}
	return c.hash
}

// tag is what a started container carries: the hash of its wish, the sandbox it runs in, and the round unless that is the first.
func (p *pass) tag(c *container) string {
	tag := p.hash(c) + "@" + strconv.FormatUint(uint64(p.attempt), 10)
	if p.round > 0 {
		tag += "." + strconv.FormatUint(uint64(p.round), 10)
	}
	return tag
}

func hashOf(tag string) string {
	hash, _, _ := strings.Cut(tag, "@")
	return hash
}

// sandboxOf reads the attempt of the sandbox; a tag of another making belongs to none.
func sandboxOf(tag string) uint32 {
	_, attempt, _ := strings.Cut(tag, "@")
	attempt, _, _ = strings.Cut(attempt, ".")
	n, err := strconv.ParseUint(attempt, 10, 32)
	if err != nil {
		return ^uint32(0)
	}
	return uint32(n)
}

// roundOf reads the round; 0 where there is none.
func roundOf(tag string) uint32 {
	_, round, _ := strings.Cut(tag, ".")
	n, err := strconv.ParseUint(round, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

func isTrue(b *bool) bool { return b != nil && *b }
