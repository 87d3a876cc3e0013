package app_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
)

// TestPeerThatClaims: faults 43 and 51. What a peer lists and cannot give, since it dropped it while it sent it, or never had it, is had from
// another peer; where there is none it is asked for once in a long while, told as refused, and holds up nothing else.
func TestPeerThatClaims(t *testing.T) {
	t.Parallel()
	for _, claim := range []error{errs.ErrExpired, errs.ErrUnknown, errs.ErrCorrupt} {
		t.Run(claim.Error(), func(t *testing.T) {
			t.Parallel()
			n := newNetwork()
			all := make10("b")
			b, c := newSite(t, n, "b", config()), newSite(t, n, "c", config())
			b.dvr.Put(all...)
			for _, x := range all[3:6] {
				b.dvr.Claim(x.Info.Digest, claim)
			}
			a := newSite(t, n, "a", config("b"))
			a.dvr.Put(all[0], all[9])
			eventually(t, soon, "a has what b can give", hasAll(a.dvr, append(all[1:3:3], all[6:9]...)))
			eventually(t, soon, "the rest is refused", func() error {
				refused := 0
				for _, it := range a.plan() {
					if it.GetWhyNot() == "refused" {
						refused++
					}
				}
				if refused != 3 {
					return fmt.Errorf("%d are refused: %v", refused, a.plan())
				}
				return nil
			})
			reads := b.dvr.Reads()
			if reads > 8+2*3 {
				t.Errorf("b was asked %d times for 8 segments", reads)
			}
			time.Sleep(2 * time.Second) // some plans
			if more := b.dvr.Reads() - reads; more > 0 {
				t.Errorf("b was asked %d times more for what it cannot give", more)
			}
			for _, x := range all[3:6] {
				if err := has(a.dvr, x); err == nil {
					t.Errorf("cell %d is here", x.Slot.Cell)
				}
			}
			c.dvr.Put(all...)
			a.configure(config("b", "c"))
			eventually(t, soon, "a has all from c", hasAll(a.dvr, all))
		})
	}
}

// TestClaimIsWithdrawn: fault 51. A copy that was refused since it came damaged is asked for again when the peer is compared anew and has it.
func TestClaimIsWithdrawn(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config())
	a.dvr.Put(all[0], all[9])
	b.dvr.Put(all...)
	b.dvr.Claim(all[4].Info.Digest, errs.ErrUnknown)
	eventually(t, soon, "it is refused", func() error {
		for _, it := range a.plan() {
			if it.GetWhyNot() == "refused" {
				return nil
			}
		}
		return errors.New("it is not")
	})
	b.dvr.Drop(all[4].Info.Digest) // its index is right now
	eventually(t, soon, "nothing is claimed any more", func() error {
		if items := a.plan(); len(items) > 0 {
			return fmt.Errorf("%v", items)
		}
		return nil
	})
}
