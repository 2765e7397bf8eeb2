package hpa

import (
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// stabilization is how long the highest recommendation counts where nobody says otherwise.
const stabilization = 5 * time.Minute

// bounded is what becomes of a wish: recommendations of the last while hold it back, then the speed of change and the limits.
func (p *pass) bounded(current, wanted, least int32) int32 {
	stable := p.stabilized(current, wanted)
	switch {
	case stable == wanted:
		p.condition(autoscalingv2.AbleToScale, true, "ReadyForNewScale", "recommended size matches current size")
	case wanted >= current && p.a.Spec.Behavior != nil:
		p.condition(autoscalingv2.AbleToScale, true, "ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation")
	default:
		p.condition(autoscalingv2.AbleToScale, true, "ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation")
	}
	to, reason, message := p.limited(current, stable, least)
	p.condition(autoscalingv2.ScalingLimited, to != stable, reason, message)
	return to
}

// stabilized is the wish within what was recommended in the windows of stabilization, of which it becomes a part.
func (p *pass) stabilized(current, wanted int32) int32 {
	up, down := time.Duration(0), stabilization
	if b := p.a.Spec.Behavior; b != nil {
		up, down = window(b.ScaleUp, up), window(b.ScaleDown, down)
	}
	low, high := wanted, wanted
	for _, r := range p.memory.Recommendations {
		if age := p.in.Now.Sub(r.At); age >= 0 {
			if age < up {
				low = min(low, r.N)
			}
			if age < down {
				high = max(high, r.N)
			}
		}
	}
	p.memory.Recommendations = append(p.memory.Recommendations, Number{At: p.in.Now, N: wanted})
	if p.a.Spec.Behavior == nil {
		return high
	}
	return min(max(current, low), high)
}

func window(rules *autoscalingv2.HPAScalingRules, usual time.Duration) time.Duration {
	if rules == nil || rules.StabilizationWindowSeconds == nil {
		return usual
	}
	return time.Duration(*rules.StabilizationWindowSeconds) * time.Second
}

// limited is a wish within the limits and the speed that are allowed, and what limits it.
func (p *pass) limited(current, wanted, least int32) (to int32, reason, message string) {
	var up, down *autoscalingv2.HPAScalingRules
	if b := p.a.Spec.Behavior; b != nil {
		up, down = b.ScaleUp, b.ScaleDown
	}
	switch {
	case wanted > current:
		fast := max(current, p.fastest(up, current, true))
		if most := p.a.Spec.MaxReplicas; most <= fast && wanted > most {
			return most, "TooManyReplicas", "the desired replica count is more than the maximum replica count"
		}
		if wanted > fast {
			return fast, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
		}
	case wanted < current:
		fast := min(current, p.fastest(down, current, false))
		if least >= fast && wanted < least {
			return least, "TooFewReplicas", "the desired replica count is less than the minimum replica count"
		}
		if wanted < fast {
			return fast, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
		}
	}
	return wanted, "DesiredWithinRange", "the desired count is within the acceptable range"
}

// fastest is how far the policies let the number go now. Without any it may double, or grow to four, and shrink at once.
func (p *pass) fastest(rules *autoscalingv2.HPAScalingRules, current int32, up bool) int32 {
	choice := autoscalingv2.MaxChangePolicySelect
	if rules != nil && rules.SelectPolicy != nil {
		choice = *rules.SelectPolicy
	}
	switch {
	case choice == autoscalingv2.DisabledPolicySelect:
		return current
	case rules != nil && len(rules.Policies) > 0:
	case up:
		return max(4, rounded(2*float64(current)))
	default:
		return math.MinInt32
	}
	most := up == (choice == autoscalingv2.MaxChangePolicySelect) // the policy with the greatest number counts
	result := int32(math.MaxInt32)
	if most {
		result = math.MinInt32
	}
	for _, policy := range rules.Policies {
		start := float64(current - p.changedIn(time.Duration(policy.PeriodSeconds)*time.Second))
		var n int32
		switch {
		case policy.Type == autoscalingv2.PodsScalingPolicy && up:
			n = rounded(start + float64(policy.Value))
		case policy.Type == autoscalingv2.PodsScalingPolicy:
			n = int32(start) - policy.Value
		case up:
			n = rounded(start * (1 + float64(policy.Value)/100))
		default:
			n = int32(start * (1 - float64(policy.Value)/100))
		}
		if most {
			result = max(result, n)
		} else {
			result = min(result, n)
		}
	}
	return result
}

// changedIn is by how much the number was changed in a period.
func (p *pass) changedIn(period time.Duration) (sum int32) {
	for _, c := range p.memory.Changes {
		if age := p.in.Now.Sub(c.At); age >= 0 && age < period {
			sum += c.N
		}
	}
	return sum
}
