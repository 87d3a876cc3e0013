package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"log/slog"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/twinreel/twinreel/pkg/errs"
)

// Key is the cluster key. The zero value is no key. It shows itself to nobody.
type Key struct{ secret string }

// NewKey makes a key of a secret; white space around it, as a file ends with, does not count.
func NewKey(secret string) Key { return Key{strings.TrimSpace(secret)} }

// ReadKey reads the key of a file; an empty name is no key.
func ReadKey(file string) (Key, error) {
	if file == "" {
		return Key{}, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return Key{}, fmt.Errorf("read cluster key: %w", err)
	}
	return NewKey(string(b)), nil
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.secret == "" }

// String is for logs: whether there is a key.
func (k Key) String() string {
	if k.IsZero() {
		return "none"
	}
	return "***"
}

// GoString keeps %#v from showing it.
func (k Key) GoString() string { return k.String() }

// LogValue keeps slog from showing it.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Claim is what a proof is about.
type Claim struct {
	Method   string // full gRPC method
	From, To string // node ids: who proves, and to whom
	Nonce    []byte // what the verifier made up
	Body     [sha256.Size]byte
}

// proofDomain separates these MACs from any other use of the same key.
const proofDomain = "twinreel cluster proof 1"

// Prove returns the proof of a claim.
func (k Key) Prove(c Claim) []byte {
	mac := hmac.New(sha256.New, []byte(k.secret))
	for _, part := range []string{proofDomain, c.Method, c.From, c.To, string(c.Nonce), string(c.Body[:])} {
		writePart(mac, part)
	}
	return mac.Sum(nil)
}

// Check says whether proof is that of the claim under this key. Errors: errs.ErrBadKey.
func (k Key) Check(c Claim, proof []byte) error {
	switch {
	case k.IsZero():
		return fmt.Errorf("check proof of node %q: no key is configured here: %w", c.From, errs.ErrBadKey)
	case len(proof) == 0:
		return fmt.Errorf("check proof of node %q: there is none: %w", c.From, errs.ErrBadKey)
	case !hmac.Equal(k.Prove(c), proof):
		return fmt.Errorf("check proof of node %q: %w", c.From, errs.ErrBadKey)
	}
	return nil
}

// writePart adds the length too, so that no two lists of parts give the same bytes.
func writePart(h hash.Hash, part string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(part)))
	h.Write(n[:])
	h.Write([]byte(part))
}

// bodyHash is over the deterministic encoding, which sender and receiver have in common while the wire bytes are
// beyond the reach of an interceptor.
func bodyHash(m any) ([sha256.Size]byte, error) {
	msg, ok := m.(proto.Message)
	if !ok {
		return [sha256.Size]byte{}, fmt.Errorf("hash request: %T is no protobuf message", m)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("hash request: %w", err)
	}
	return sha256.Sum256(b), nil
}

// welcomeMethod stands in a server's proof where a caller's has the method, so that neither can be played as the other.
const welcomeMethod = "welcome"

// Welcome is the proof with which a server answers a caller's challenge.
func (k Key) Welcome(server, caller string, challenge, session []byte) []byte {
	return k.Prove(Claim{Method: welcomeMethod, From: server, To: caller, Nonce: challenge, Body: sha256.Sum256(session)})
}

// CheckWelcome says whether the server has the key too. Errors: errs.ErrBadKey.
func (k Key) CheckWelcome(server, caller string, challenge, session, proof []byte) error {
	return k.Check(Claim{
		Method: welcomeMethod, From: server, To: caller, Nonce: challenge, Body: sha256.Sum256(session),
	}, proof)
}
