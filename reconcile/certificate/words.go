package certificate

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"berth/reconcile"
	"berth/reconcile/ingress"
	"berth/runtime"
)

// Absent says why a wanted Secret is not there yet, for whoever looks at its Ingress.
func Absent(in Input) ingress.Absence {
	reason := ReasonPending
	switch {
	case in.refusal() != "":
		reason = ReasonRefused
	case in.failing() != nil:
		reason = ReasonFailed
	}
	return ingress.Absence{Reason: reason, Asked: reason != ReasonRefused, Message: fmt.Sprintf("secret %q does not exist yet, so its hosts have no certificate: %s", in.Wish.Secret.Name, in.why())}
}

// Trouble says what is wrong with a certificate that is there: it should be another one by now, and is not. "" for nothing.
func Trouble(in Input) string {
	if in.Wish == nil || in.Stated || !in.has() {
		return ""
	}
	if in.fresh() && renewAt(&in.Kept.Issued).After(in.Now) {
		return ""
	}
	if in.refusal() == "" && in.failing() == nil {
		return "" // it is about to be ordered
	}
	counts := "counts until"
	if !in.Kept.Issued.Until.After(in.Now) {
		counts = "has ended at"
	}
	return fmt.Sprintf("the certificate of secret %q, which %s %s, is not replaced by another: %s", in.Wish.Secret.Name, counts, moment(in.Kept.Issued.Until), in.why())
}

func (in *Input) why() string {
	if text := in.refusal(); text != "" {
		return text
	}
	ask := "it is being ordered from " + Name(in.Authority)
	due := in.due()
	f := in.failing()
	switch {
	case f != nil:
		return FailureText(f)
	case due.After(in.Now):
		return fmt.Sprintf("%s was asked for these hosts often enough within an hour, and is asked again at %s", Name(in.Authority), moment(due))
	}
	return ask
}

// IssuedText tells of an order that was followed.
func IssuedText(authority string, secret reconcile.Key, issued *runtime.Issued) string {
	return fmt.Sprintf("%s has issued a certificate for %s into secret %q; it counts until %s", Name(authority), strings.Join(issued.Hosts, ", "), secret.Name, moment(issued.Until))
}

// FailureText tells of an order that came to nothing.
func FailureText(f *runtime.CertificateFailure) string {
	times := "once"
	if f.Times > 1 {
		times = fmt.Sprintf("%d times", f.Times)
	}
	return fmt.Sprintf("%s was asked %s in vain for %s: %s; it is asked again at %s", Name(f.Authority), times, strings.Join(f.Hosts, ", "), f.Message, moment(f.Next))
}

// Name is what people call an authority: its host.
func Name(authority string) string {
	if u, err := url.Parse(authority); err == nil && u.Host != "" {
		return u.Host
	}
	return authority
}

func moment(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }
