package stream

import (
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

type wantedLog struct{ follow, previous bool }

// logOptions reads the fields of PodLogOptions from a query. As an API server does, it tells all that is wrong with them at once.
func (h *Handler) logOptions(pod string, values url.Values) (LogOptions, wantedLog, error) {
	q := &logQuery{values: values}
	wanted := wantedLog{follow: q.truth("follow"), previous: q.truth("previous")}
	o := LogOptions{Timestamps: q.truth("timestamps")}
	if n := q.number("tailLines", 0, "must be greater than or equal to 0"); n != nil {
		tail := int(min(*n, 1<<31))
		o.Tail = &tail
	}
	if n := q.number("limitBytes", 1, "must be greater than 0"); n != nil {
		o.LimitBytes = *n
	}
	o.Since, o.Stream = q.since(h.opts.Now()), q.stream()
	if o.Stream != "" && o.Tail != nil {
		q.forbid("`tailLines` and specific `stream` are mutually exclusive for now")
	}
	if len(q.faults) > 0 {
		return o, wanted, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), pod, q.faults)
	}
	return o, wanted, nil
}

// logQuery reads one option after the other, and keeps what is wrong with any of them.
type logQuery struct {
	values url.Values
	faults field.ErrorList
}

func (q *logQuery) wrong(name string, value any, rule string) {
	q.faults = append(q.faults, field.Invalid(field.NewPath(name), value, rule))
}

// forbid is for options that do not go together.
func (q *logQuery) forbid(rule string) {
	q.faults = append(q.faults, field.Forbidden(field.NewPath(""), rule))
}

// number is nil when the option is absent.
func (q *logQuery) number(name string, least int64, rule string) *int64 {
	if !q.values.Has(name) {
		return nil
	}
	n, err := strconv.ParseInt(q.values.Get(name), 10, 64)
	switch {
	case err != nil:
		q.wrong(name, q.values.Get(name), "must be a number")
	case n < least:
		q.wrong(name, n, rule)
	}
	return &n
}

func (q *logQuery) truth(name string) bool {
	text := q.values.Get(name)
	b, err := strconv.ParseBool(text)
	if err != nil && text != "" {
		q.wrong(name, text, "must be true or false")
	}
	return b
}

// since is from when on lines are wanted, in either of two ways to say it; the zero time for all.
func (q *logQuery) since(now time.Time) time.Time {
	var from time.Time
	seconds := q.number("sinceSeconds", 1, "must be greater than 0")
	if seconds != nil {
		const longest = int64(time.Duration(1<<62) / time.Second) // more would not fit a time.Duration
		from = now.Add(-time.Duration(min(*seconds, longest)) * time.Second)
	}
	text := q.values.Get("sinceTime")
	if text == "" {
		return from
	}
	from, err := time.Parse(time.RFC3339, text)
	if err != nil {
		q.wrong("sinceTime", text, "must be a time as in RFC 3339")
	}
	if seconds != nil {
		q.forbid("at most one of `sinceTime` or `sinceSeconds` may be specified")
	}
	return from
}

// stream is "stdout", "stderr", or "" for both.
func (q *logQuery) stream() string {
	switch name := q.values.Get("stream"); name {
	case "", "All":
		return ""
	case "Stdout":
		return "stdout"
	case "Stderr":
		return "stderr"
	default:
		q.faults = append(q.faults, field.NotSupported(field.NewPath("stream"), name, []string{"All", "Stderr", "Stdout"}))
		return ""
	}
}
