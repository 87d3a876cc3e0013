package store

import (
	"context"
	"errors"
	"testing"

	"github.com/twinreel/twinreel/pkg/errs"
)

// rot flips a bit in the fourth chunk of a stored copy.
func (x *site) rot(m *made) {
	x.t.Helper()
	full, err := x.s.db.Get("cam", m.info.Digest)
	if err == nil {
		err = x.disk.Corrupt("/storage/cam/"+x.st.fileName(full.File), full.At[3]+150)
	}
	if err != nil {
		x.t.Fatal(err)
	}
}

// TestSameCopyGoesBeforeTheCommit seals a copy that is stored already, and takes the stored one away before the commit (I1).
func TestSameCopyGoesBeforeTheCommit(t *testing.T) {
	for name, take := range map[string]func(*site, *made){
		"a reader finds it rotten": func(x *site, m *made) {
			x.rot(m)
			if _, err := x.read(m.info.Digest); err == nil {
				t.Error("the rotten copy was read")
			}
		},
		"its file is gone": func(x *site, m *made) {
			tx := x.s.db.Begin()
			if err := x.st.remove(tx, m.info.Digest); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			m := x.whole(0)
			x.store(m, true)
			r, err := x.record(m, false)
			if err != nil {
				t.Fatal(err)
			}
			take(x, m)
			x.commit()
			if r.told != 0 {
				t.Errorf("decided before its bytes were durable: %+v", r)
			}
			x.commit()
			if r.told != 1 || r.err != nil || !r.out.Kept {
				t.Errorf("%+v", r)
			}
			x.powerCut(nil)
			if _, err := x.read(m.info.Digest); err != nil {
				t.Errorf("released, and not readable: %v", err)
			}
		})
	}
}

func TestRotIsQuarantinedAndHealed(t *testing.T) { // faults 11
	x := newSite(t)
	m := x.whole(0)
	x.store(m, true)
	x.store(x.whole(1), true)
	x.rot(m)
	var bad []BadCopy
	total, err := x.st.Verify(context.Background(), func(b BadCopy) { bad = append(bad, b) })
	if err != nil || total.Bad != 1 || total.Copies != 2 || len(bad) != 1 || bad[0].Digest != m.info.Digest {
		t.Fatalf("verify: %+v %+v %v", total, bad, err)
	}
	if _, err := x.read(m.info.Digest); !errors.Is(err, errs.ErrQuarantined) {
		t.Fatalf("read: %v", err)
	}
	if r := x.store(m, false); r.err != nil || !r.out.Kept {
		t.Fatalf("store again: %+v", r)
	}
	if _, err := x.read(m.info.Digest); err != nil {
		t.Fatalf("read: %v", err)
	}
}
