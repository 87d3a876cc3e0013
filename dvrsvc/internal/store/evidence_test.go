package store

import (
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
)

// TestSmallerEvidenceHolds kills the process between the last chunk and the seal: what is here are the bytes of a whole
// segment, and nobody knows. Whoever knows better is heard, with the bytes or without, and an index that is lost forgets
// nothing of it.
func TestSmallerEvidenceHolds(t *testing.T) {
	for name, tell := range map[string]func(*site, *made) error{
		"offered": func(x *site, m *made) error {
			told := make(chan error, 1)
			if !x.st.Absorb(m.slot, &m.info, func(err error) { told <- err }) {
				t.Fatal("not contained")
			}
			for {
				select {
				case err := <-told:
					return err
				default:
					x.commit()
				}
			}
		},
		"brought": func(x *site, m *made) error { return x.store(m, false).err },
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			m := x.whole(3)
			if _, err := x.feed(m, true, -1); err != nil {
				t.Fatal(err)
			}
			x.commit()
			x.powerCut(nil)
			if c, err := x.st.find(m.info.Digest); err != nil || !c.Info.Evidence.EndUncertain || !c.Live {
				t.Fatalf("after the power cut: %+v, live %t, %v", c.Info.Evidence, c.Live, err)
			}
			if err := tell(x, m); err != nil {
				t.Fatal(err)
			}
			worse := m.info
			worse.Evidence = segment.Evidence{StartUncertain: true}
			if !x.st.Absorb(m.slot, &worse, func(error) {}) {
				t.Error("a copy with worse evidence is not contained")
			}
			for _, how := range []string{"as it is", "after a power cut", "with the index lost"} {
				switch how {
				case "after a power cut":
					x.powerCut(nil)
				case "with the index lost":
					if err := x.s.Close(); err != nil {
						t.Fatal(err)
					}
					x.index = newIndexFS()
					x.open()
				}
				c, err := x.st.find(m.info.Digest)
				if err != nil || !c.Info.Evidence.Whole() || !c.Live || c.Info.End != m.info.End {
					t.Errorf("%s: %+v, live %t, end %d, want %d, %v", how, c.Info.Evidence, c.Live, c.Info.End, m.info.End, err)
				}
				if b, err := x.read(m.info.Digest); err != nil || segment.Sum(b) != m.info.Digest {
					t.Errorf("%s: read: %v", how, err)
				}
			}
		})
	}
}
