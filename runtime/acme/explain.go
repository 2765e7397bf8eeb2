package acme

import (
	"context"
	"errors"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

// longestWait bounds what an authority may ask for: its limits are of a week at most.
const longestWait = 7 * 24 * time.Hour

// explain is an error in the authority's words, in one line.
func explain(err error) string {
	var authz *acme.AuthorizationError
	var order *acme.OrderError
	var problem *acme.Error
	var text string
	switch {
	case errors.As(err, &authz):
		said := make([]string, 0, len(authz.Errors))
		for _, e := range authz.Errors {
			said = append(said, explain(e))
		}
		text = authz.Identifier + ": " + strings.Join(said, "; ")
	case errors.As(err, &order) && order.Problem != nil:
		text = explain(order.Problem)
	case errors.As(err, &problem):
		text = words(problem)
	case errors.Is(err, context.DeadlineExceeded):
		text = "the authority has not answered in time: " + err.Error()
	default:
		text = err.Error()
	}
	return strings.Join(strings.Fields(text), " ")
}

// words are what the authority says, without the numbers and namespaces of the protocol.
func words(e *acme.Error) string {
	said := []string{strings.TrimPrefix(e.ProblemType, "urn:ietf:params:acme:error:") + ": " + e.Detail}
	for _, sub := range e.Subproblems {
		text := sub.Detail
		if sub.Identifier != nil {
			text = sub.Identifier.Value + ": " + text
		}
		said = append(said, text)
	}
	return strings.Join(said, "; ")
}

// wait is how long the authority wants to be left alone.
func wait(err error) time.Duration {
	var problem *acme.Error
	if !errors.As(err, &problem) {
		return 0
	}
	d, limited := acme.RateLimit(problem)
	if !limited {
		return 0
	}
	return min(max(d, time.Hour), longestWait)
}
