package join

import (
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
)

// TestBeginsEarly: a recorder that lost the random access points of two cells began a segment without one. What it has before the certain
// cut is of the neighbour, and the rest is joined.
func TestBeginsEarly(t *testing.T) {
	v, a := clean()
	early := copyOf(v, a, segment.Evidence{StartUncertain: true}, end)
	early.Info.Independent = false
	certain := copyOf(changed(v[16:], 4, damaged), a[30:], segment.Evidence{}, end)
	certain.Info.Start = begin + 16*frame
	r, err := Join(early, certain)
	if err != nil {
		t.Fatal(err)
	}
	if want := copyOf(v[16:], a[30:], segment.Evidence{}, end); r.Info.Digest != want.Info.Digest || r.Info.Start != certain.Info.Start || !r.Info.Evidence.Whole() || !r.Left {
		t.Errorf("got %+v, left %t", r.Info, r.Left)
	}
	early.Info.Independent = true
	if _, err := Join(early, certain); err == nil {
		t.Error("a random access point before the first is none")
	}
}

// TestBeginsEarlyOverDamage: what such a recorder has intact before the certain cut says nothing of what is damaged behind it.
func TestBeginsEarlyOverDamage(t *testing.T) {
	v, a := clean()
	spoiled := changed(a, 30, damaged)
	early := copyOf(v, spoiled, segment.Evidence{StartUncertain: true}, end)
	early.Info.Independent = false
	certain := copyOf(changed(v[16:], 4, damaged), spoiled[30:], segment.Evidence{}, end)
	certain.Info.Start = begin + 16*frame
	r, err := Join(early, certain)
	if err != nil {
		t.Fatal(err)
	}
	if e := &r.Info.Evidence; len(e.Faulty) != 1 || e.Faulty[0].PID != audio || len(e.Missing) != 0 {
		t.Errorf("got %+v, want the damaged frame", *e)
	}
}
