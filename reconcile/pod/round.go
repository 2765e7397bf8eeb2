package pod

import (
	corev1 "k8s.io/api/core/v1"

	"berth/runtime"
)

// A Pod may be started over in its place: a container ended with a code for which one of its rules says RestartAllContainers. Then all others are
// killed, and everything begins again with the first init container, in the same sandbox with the same volumes. Each beginning is a
// round; a container that was started carries the number of its own, so that one of an earlier round counts as little as one of an
// earlier sandbox.

// findRound counts the rounds of the Pod. It is after look.
func (p *pass) findRound() {
	for _, c := range p.every {
		if c.last != nil {
			p.round = max(p.round, roundOf(c.last.SpecHash))
		}
	}
	for _, c := range p.every {
		if c.exited() && p.inRound(c) && action(c) == corev1.ContainerRestartRuleActionRestartAllContainers {
			p.over = true
		}
	}
	if p.over {
		p.round++
	}
}

// inRound tells that the newest attempt of a container is of this round.
func (p *pass) inRound(c *container) bool {
	return c.last != nil && roundOf(c.last.SpecHash) == p.round
}

// startOver kills what is left of the round before, and tells whether the next one may begin. As in Kubernetes there is no grace.
func (p *pass) startOver() bool {
	left := false
	for _, c := range p.all() {
		if c.running() && !p.inRound(c) {
			left = true
			p.kill(c, "all containers of the pod are restarted")
		}
	}
	if left {
		p.again(killAgain)
	}
	return !left
}

// action is what the rules of a container say about how it ended; "" when no rule does.
func action(c *container) corev1.ContainerRestartRuleAction {
	for _, r := range c.spec.RestartPolicyRules {
		if r.ExitCodes != nil && matches(r.ExitCodes, c.last) {
			return r.Action
		}
	}
	return ""
}

func matches(codes *corev1.ContainerRestartRuleOnExitCodes, ended *runtime.ContainerStatus) bool {
	listed := false
	for _, v := range codes.Values {
		listed = listed || int(v) == ended.ExitCode
	}
	return listed == (codes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn)
}
