package controller

import (
	"slices"

	"berth/reconcile"
)

// failure is what went wrong in the last passes over a key, one after the other.
type failure struct {
	times int
	text  string
}

// warn logs and shows a line about berth's own state, once.
func (c *Controller) warn(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.warnings, text) {
		return
	}
	c.opts.Log.Info(text)
	if len(c.warnings) < maxWarnings {
		c.warnings = append(c.warnings, text)
	}
}

// unwarn takes a line back that holds no more.
func (c *Controller) unwarn(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.warnings, text); i >= 0 {
		c.opts.Log.Info("no more: " + text)
		c.warnings = slices.Delete(slices.Clone(c.warnings), i, i+1)
	}
}

// noteFailure counts the failures of a key; nil ends the count.
func (c *Controller) noteFailure(key reconcile.Key, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.failing, key)
		return
	}
	f := c.failing[key]
	c.failing[key] = failure{times: f.times + 1, text: firstLine(err)}
}

// stuckOn is why the passes over a key go on failing, "" when they do not.
func (c *Controller) stuckOn(key reconcile.Key) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.failing[key]; f.times >= stuckAfter {
		return f.text
	}
	return ""
}
