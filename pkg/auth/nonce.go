package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
)

const nonceLife = 30 * time.Second

// nonces makes challenges up and knows its own again without remembering any: each carries its end and a signature.
// They die with the process.
type nonces struct {
	clk    clock.Clock
	secret [32]byte
}

func newNonces(clk clock.Clock) nonces {
	n := nonces{clk: clk}
	rand.Read(n.secret[:])
	return n
}

func (n *nonces) make() []byte {
	b := make([]byte, idLen+8, idLen+8+sha256.Size)
	rand.Read(b[:idLen])
	binary.BigEndian.PutUint64(b[idLen:], uint64(n.clk.Mono()+nonceLife))
	return append(b, n.sign(b)...)
}

func (n *nonces) sign(b []byte) []byte {
	mac := hmac.New(sha256.New, n.secret[:])
	mac.Write(b)
	return mac.Sum(nil)
}

// check says whether b is one of ours that has not expired.
func (n *nonces) check(b []byte) bool {
	if len(b) != idLen+8+sha256.Size || !hmac.Equal(n.sign(b[:idLen+8]), b[idLen+8:]) {
		return false
	}
	return n.end(b) >= n.clk.Mono()
}

// end is when a nonce of ours expires.
func (n *nonces) end(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint64(b[idLen:]))
}
