package acme

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
)

var both = []runtime.ChallengeWay{runtime.ByHTTP, runtime.ByTLS}

// open is a client of an authority, and what it shows.
func open(t *testing.T, a *authority) (*Certificates, func(context.Context, []runtime.Challenge) error, *[]runtime.Challenge) {
	t.Helper()
	shown := &[]runtime.Challenge{}
	return Open(Options{Dir: filepath.Join(t.TempDir(), "acme"), Directory: a.URL + "/directory", Email: "me@a.test"}),
		func(_ context.Context, list []runtime.Challenge) error { *shown = append(*shown, list...); return nil }, shown
}

func TestACertificateIsIssued(t *testing.T) {
	a := newAuthority(t)
	c, show, shown := open(t, a)
	got, err := c.Issue(t.Context(), []string{"b.test", "a.test"}, both, show)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a.test", "b.test"}, got.Hosts); diff != "" || !got.From.Equal(time.Unix(1_700_000_000, 0)) || !got.Until.Equal(time.Unix(1_800_000_000, 0)) {
		t.Errorf("got %v, %v to %v", got.Hosts, got.From, got.Until)
	}
	for _, s := range *shown {
		if s.Path != "/.well-known/acme-challenge/token-"+s.Host || !strings.HasPrefix(s.Answer, "token-"+s.Host+".") {
			t.Errorf("shown: %+v", s)
		}
	}
	if len(*shown) != 2 {
		t.Errorf("shown: %+v", *shown)
	}
	*shown, a.slow = nil, true
	if _, err := c.Issue(t.Context(), []string{"a.test"}, []runtime.ChallengeWay{runtime.ByTLS, runtime.ByHTTP}, show); err != nil {
		t.Fatal(err)
	}
	if s := (*shown)[0]; s.Path != "" || s.Host != "a.test" || len(s.Cert) == 0 || len(s.Key) == 0 {
		t.Errorf("by TLS: %+v", s)
	}
	keys, err := filepath.Glob(filepath.Join(c.opts.Dir, "account-*.pem"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("keys of accounts: %v, %v", keys, err)
	}
	if st, err := os.Stat(keys[0]); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key of the account: %v, %v", st.Mode(), err)
	}
	if st, err := os.Stat(c.opts.Dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", st.Mode(), err)
	}
}

func TestWhyThereIsNoCertificate(t *testing.T) {
	limited := func(kind, wait string) func(http.ResponseWriter, string) bool {
		return func(w http.ResponseWriter, path string) bool {
			if path != "/new" {
				return false
			}
			w.Header().Set("Retry-After", wait)
			(&authority{}).problem(w, 429, kind, "too many certificates already issued")
			return true
		}
	}
	for name, tt := range map[string]struct {
		change func(*authority)
		ways   []runtime.ChallengeWay
		want   runtime.IssueError
	}{
		"the authority does not see it": {
			func(a *authority) { a.sees = func(s string) bool { return s != "http-01 b.test" } }, both,
			runtime.IssueError{Message: "b.test: unauthorized: Invalid response: 404; unauthorized: Invalid response: 404; unauthorized: Invalid response: 404", Looked: true},
		},
		"only by names": {
			func(a *authority) { a.offers = []string{"dns-01"} }, both,
			runtime.IssueError{Message: "the authority wants proof for a.test by dns-01, and there is only http-01 and tls-alpn-01"},
		},
		"one port is another's": {
			func(a *authority) { a.offers = []string{"http-01"} },
			[]runtime.ChallengeWay{runtime.ByTLS},
			runtime.IssueError{Message: "the authority wants proof for a.test by http-01, and there is only tls-alpn-01"},
		},
		"too many": {
			func(a *authority) { a.refuses = limited("rateLimited", "7200") }, both,
			runtime.IssueError{Message: "rateLimited: too many certificates already issued", Wait: 2 * time.Hour},
		},
		"too many, for ever": {
			func(a *authority) { a.refuses = limited("rateLimited", "99999999") }, both,
			runtime.IssueError{Message: "rateLimited: too many certificates already issued", Wait: longestWait},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			tt.change(a)
			c, show, _ := open(t, a)
			_, err := c.Issue(t.Context(), []string{"a.test", "b.test"}, tt.ways, show)
			var got *runtime.IssueError
			if !errors.As(err, &got) {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			for host, state := range a.state {
				if state == "pending" {
					t.Errorf("the authorization of %s is left open", host)
				}
			}
		})
	}
}

func TestNobodyIsAskedWithoutAWord(t *testing.T) {
	_, err := Open(Options{Dir: t.TempDir()}).Issue(t.Context(), []string{"a.test"}, both, nil)
	if err == nil || err.Error() != "there is no authority to ask" {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsKept(t *testing.T) {
	a := newAuthority(t)
	c, show, _ := open(t, a)
	if list, err := c.Kept(); len(list) != 0 || err != nil {
		t.Errorf("before the first: %v, %v", list, err)
	}
	issued, err := c.Issue(t.Context(), []string{"a.test"}, both, show)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_750_000_000, 0).UTC()
	issued.From, issued.Until = issued.From.UTC(), issued.Until.UTC()
	want := []runtime.KeptCertificate{
		{Namespace: "a", Name: "b.c-tls", Failing: &runtime.CertificateFailure{Hosts: []string{"x.test"}, Times: 2, Message: "no", Next: at}},
		{Namespace: "shop", Name: "tls", Issued: issued, Authority: "https://ca.test", Tries: []runtime.CertificateTry{{At: at, Hosts: []string{"a.test"}}}},
	}
	for _, k := range want {
		if err := c.Keep(k); err != nil {
			t.Fatal(err)
		}
	}
	again := Open(c.opts)
	got, err := again.Kept()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if st, err := os.Stat(filepath.Join(c.opts.Dir, "shop.tls.json")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", st.Mode(), err)
	}
	if key, err := again.account(); err != nil || !reflect.DeepEqual(key, c.key) {
		t.Errorf("another account: %v", err)
	}
	for _, bad := range []runtime.KeptCertificate{{Namespace: "..", Name: "x"}, {Namespace: "a", Name: "../x"}, {Namespace: "", Name: "x"}, {Namespace: "a"}} {
		if c.Keep(bad) == nil {
			t.Errorf("kept: %+v", bad)
		}
	}
	// Damage costs what is damaged.
	if err := os.WriteFile(filepath.Join(c.opts.Dir, "a.b.c-tls.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err = again.Kept()
	if diff := cmp.Diff(want[1:], got); diff != "" || err == nil || !strings.Contains(err.Error(), "a.b.c-tls.json") {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
