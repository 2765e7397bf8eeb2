package runtime

import (
	"context"
	"time"
)

// Certificates has certificates issued by an authority, and keeps them. Its methods are safe for concurrent use; those about one certificate must
// not overlap.
type Certificates interface {
	// Authority is the address of the authority that is asked; "" when none may be.
	Authority() string
	// Kept returns all that is kept, sorted by namespace and name. What cannot be read is left out, and an error says so beside the rest.
	Kept() ([]KeptCertificate, error)
	// Keep puts a record in the place of the one of its name. When it returns, the record is on the disk.
	Keep(KeptCertificate) error
	// Issue orders a certificate for hosts, with a new key, and returns when it is issued or cannot be. show is called once at most and returns when
	// the hosts show the challenges; they must show them until Issue returns. ways are those that the hosts can be asked by, the preferred one first. An
	// *IssueError says why there is none.
	Issue(ctx context.Context, hosts []string, ways []ChallengeWay, show func(context.Context, []Challenge) error) (Issued, error)
}

// ChallengeWay is how an authority looks whether a host is this machine, in the words of RFC 8555 and 8737.
type ChallengeWay string

// The ways, by port 80 and port 443.
const (
	ByHTTP ChallengeWay = "http-01"
	ByTLS  ChallengeWay = "tls-alpn-01"
)

// Issued is a certificate: a chain and its key, both PEM, and what it counts for.
type Issued struct {
	Cert, Key []byte
	Hosts     []string // sorted
	// From and Until are when it counts.
	From, Until time.Time
}

// KeptCertificate is what is remembered of a certificate, over restarts and also when everything is taken down: authorities issue only so many.
type KeptCertificate struct {
	// Namespace and Name are of the Secret it is for.
	Namespace, Name string
	// Issued is the newest one, and Authority who issued it; zero before the first.
	Issued    Issued
	Authority string
	// Tries are the orders of the last hour.
	Tries []CertificateTry
	// Failing is the order that failed last; nil when the last one did not.
	Failing *CertificateFailure
}

// CertificateTry is an order that let an authority look at hosts.
type CertificateTry struct {
	At        time.Time
	Authority string
	Hosts     []string
}

// CertificateFailure is an order for hosts that failed, Times in a row.
type CertificateFailure struct {
	Authority string
	Hosts     []string
	Times     int
	// Message is what the authority said. Next is when it may be asked again.
	Message string
	Next    time.Time
}

// IssueError says why there is no certificate.
type IssueError struct {
	// Message is in the authority's words, where it has any.
	Message string
	// Looked tells that the authority has looked at the hosts: authorities count that.
	Looked bool
	// Wait is how long the authority wants to be left alone; 0 when it has not said so.
	Wait time.Duration
}

// Error implements error.
func (e *IssueError) Error() string { return e.Message }
