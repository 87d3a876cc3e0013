package store

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// rot flips a bit in the fourth chunk of a stored copy.
func (x *site) rot(m *made) {
	x.t.Helper()
	full, err := x.s.db.Get("cam", m.slot, m.info.Digest)
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
			if _, err := x.st.remove(tx, index.Row{Slot: m.slot, Digest: m.info.Digest}); err != nil {
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

// poor is a file system without file descriptors, when it is told to be.
type poor struct {
	vfs.FS
	out bool
}

func (p *poor) Open(path string) (vfs.File, error) {
	if p.out {
		return nil, &fs.PathError{Op: "open", Path: path, Err: unix.EMFILE}
	}
	return p.FS.Open(path)
}

// TestWantOfDescriptorsIsNoRot reads and verifies without file descriptors (faults 14).
func TestWantOfDescriptorsIsNoRot(t *testing.T) {
	x := newSite(t)
	m := x.whole(0)
	x.store(m, true)
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	f := &poor{FS: x.disk}
	if err := x.openOn(f); err != nil {
		t.Fatal(err)
	}
	f.out = true
	if total, err := x.st.Verify(context.Background(), func(b BadCopy) { t.Error(b.Problem) }); !errors.Is(err, unix.EMFILE) || total.Bad != 0 {
		t.Errorf("verify: %+v, %v", total, err)
	}
	if _, err := x.read(m.info.Digest); !errors.Is(err, unix.EMFILE) {
		t.Errorf("read: %v", err)
	}
	f.out = false
	if _, err := x.read(m.info.Digest); err != nil {
		t.Error(err)
	}
}

// TestReaderOfOldBytes finds a copy rotten that was stored anew meanwhile.
func TestReaderOfOldBytes(t *testing.T) {
	x := newSite(t)
	m := x.whole(0)
	x.store(m, true)
	slow, err := x.st.NewReader(m.info.Digest, 0)
	if err != nil {
		t.Fatal(err)
	}
	x.rot(m)
	if _, err := x.read(m.info.Digest); !errors.Is(err, errs.ErrCorrupt) {
		t.Fatal(err)
	}
	x.store(m, false)
	for err == nil {
		_, _, err = slow.Next()
	}
	if !errors.Is(err, errs.ErrCorrupt) {
		t.Errorf("the slow reader: %v", err)
	}
	if _, err := x.read(m.info.Digest); err != nil {
		t.Errorf("the copy that was healed: %v", err)
	}
}

// TestUnreadableCopyIsQuarantined reads a copy that the disk does not give any more (faults 8).
func TestUnreadableCopyIsQuarantined(t *testing.T) {
	x := newSite(t)
	m := x.whole(0)
	x.store(m, true)
	x.store(x.whole(1), true)
	full := must(x.s.db.Get("cam", m.slot, m.info.Digest))
	x.fault.Unreadable = func(string) int64 { return full.At[3] + 20 }
	if total, err := x.st.Verify(context.Background(), func(BadCopy) {}); err != nil || total.Bad != 1 {
		t.Errorf("verify: %+v, %v", total, err)
	}
	x.fault.Unreadable = nil
	if r := x.store(m, false); !r.out.Kept {
		t.Errorf("store again: %+v", r)
	}
}

// TestHealedCopySurvivesTheIndex loses the index when rotten and good bytes of one copy are on disk (I5).
func TestHealedCopySurvivesTheIndex(t *testing.T) {
	x := newSite(t)
	m := x.whole(0)
	x.store(m, true)
	x.rot(m)
	if _, err := x.read(m.info.Digest); !errors.Is(err, errs.ErrCorrupt) {
		t.Fatal(err)
	}
	x.store(m, false)
	x.down(false)
	x.open()
	if _, err := x.read(m.info.Digest); err != nil {
		t.Error(err)
	}
}

// TestRottenCopyThatIsContained fetches a rotten copy again when a better one of its slot is here by now: its digest leads
// to that.
func TestRottenCopyThatIsContained(t *testing.T) {
	x := newSite(t)
	from, to := cellFrames(0)
	part := x.make(from, to-20, nil, nil).uncertain(false, true)
	x.store(part, true)
	x.rot(part)
	if _, err := x.read(part.info.Digest); !errors.Is(err, errs.ErrCorrupt) {
		t.Fatal(err)
	}
	if s := x.st.Summary(); s.Quarantined != 1 {
		t.Errorf("summary %+v, want one shut away", s)
	}
	whole := x.whole(0)
	x.store(whole, false)
	if s := x.st.Summary(); s.Quarantined != 0 { // there is nothing to be had of that slot any more
		t.Errorf("summary %+v, want none shut away beside a whole one", s)
	}
	x.store(part, false)
	var by *SupersededError
	if _, err := x.read(part.info.Digest); !errors.As(err, &by) || by.By != whole.info.Digest {
		t.Error(err)
	}
}
