package store

import (
	"context"
	"slices"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
)

// What is deleted while its file is about to be written anew does not come back with an index that is made anew from a younger
// file than the tombstone knows.
func TestDeleteMeetsReclaim(t *testing.T) {
	x := newSite(t)
	_, live, _ := wasted(x)
	files, err := x.st.wasteful()
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files are worth it: %v", len(files), err)
	}
	w := files[0]
	f, err := x.st.openRead(w.file.No)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx := context.Background()
	r := &slowReader{ctx: ctx, s: x.s, f: f, rate: x.s.o.ReclaimRate, count: &x.s.reclaimed.read}
	p, moving, worth, err := x.st.survey(r, w)
	if err != nil || !worth {
		t.Fatalf("worth it %t: %v", worth, err)
	}
	x.clock.move(time.Hour)
	if _, err := x.st.DeleteRange(ctx, x.at(4), x.at(5).Add(time.Second/2)); err != nil {
		t.Fatal(err)
	}
	fresh, closed, err := x.st.refill(&p, moving, w.file)
	if err != nil {
		t.Fatal(err)
	}
	moved := make(chan error, 1)
	go func() { moved <- x.st.moveAll(ctx, fresh, p.head.inits, moving, r) }()
	for done := false; !done; {
		select {
		case err := <-moved:
			if done = true; err != nil {
				t.Fatal(err)
			}
		default:
			x.commit()
		}
	}
	x.st.mu.Lock()
	fresh.refill = false
	x.st.mu.Unlock()
	x.closeFiles()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	x.index = pebblevfs.NewCrashableMem() // it is made anew
	x.open()
	if _, err := x.read(live[0].info.Digest); err == nil {
		t.Error("what was deleted came back")
	}
	if _, err := x.read(live[1].info.Digest); err != nil {
		t.Errorf("what was beside it: %v", err)
	}
}

// TestReclaimMeetsALimit: while a file is written anew its copies are there twice. No limit takes anything for that.
func TestReclaimMeetsALimit(t *testing.T) {
	for _, percent := range []bool{false, true} {
		x := newSite(t)
		_, live, whole := wasted(x)
		all := slices.Concat(live, whole, x.hours(x.st, 1, 3))
		x.closeFiles()
		n, _ := x.bytes(x.st)
		rule := Rule{Limit: Limit{Bytes: uint64(n + 4000)}}
		if percent {
			x.down(false)
			if err := x.openOn(&sized{FS: x.disk, total: uint64(2*n + 8000)}); err != nil {
				t.Fatal(err)
			}
			rule.Limit = Limit{Percent: 50}
		}
		x.st.SetRetention(rule)
		kept := func(when string) {
			x.sweep()
			if got := x.held(all); got != "xxxxxxxxx" {
				t.Fatalf("percent %v, %s: kept %s", percent, when, got)
			}
		}
		kept("before")
		w := must(x.st.wasteful())[0]
		f := must(x.st.openRead(w.file.No))
		r := &slowReader{ctx: context.Background(), s: x.s, f: f, count: &x.s.reclaimed.read}
		p, copies, _, err := x.st.survey(r, w)
		if err != nil {
			t.Fatal(err)
		}
		fresh, _, err := x.st.refill(&p, copies, w.file)
		if err != nil {
			t.Fatal(err)
		}
		told := make(chan error, len(copies))
		for i := range copies {
			if err := x.st.moveCopy(fresh, p.head.inits, &copies[i], r, told); err != nil {
				t.Fatal(err)
			}
		}
		x.commit()
		kept("when all is moved")
		fresh.refill = false
		x.closeFiles()
		kept("when the new file is closed")
		_ = f.Close()
		if err := x.st.replaced(w, fresh); err != nil {
			t.Fatal(err)
		}
		kept("when the old one is gone")
	}
}
