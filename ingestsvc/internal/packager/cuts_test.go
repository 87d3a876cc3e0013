package packager

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/join"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// unitPackets are the packets of the PES in which an access unit of the reference track begins, or of that behind it.
func unitPackets(packets [][]byte, pid uint16, dts timeline.Ticks) (this, next []int) {
	found := 0
	for i, p := range packets {
		if pidOf(p) != pid || p[3]&0x10 == 0 {
			continue
		}
		b := p[4:]
		if p[3]&0x20 != 0 {
			b = p[5+p[4]:]
		}
		if p[1]&0x40 != 0 {
			at, ok := mpegts.StartDTS(b)
			if found > 0 {
				found++
			} else if ok && timeline.Ticks(at) == dts&(timeline.Wrap-1) {
				found = 1
			}
		}
		switch found {
		case 1:
			this = append(this, i)
		case 2:
			next = append(next, i)
		case 3:
			return this, next
		}
	}
	return this, next
}

// besides joins what recorders have of the slot of segment k of want, with what they have of those beside it. A recorder more
// may hold what was joined before.
func besides(want *recorder, k int, of ...*recorder) (r join.Result, before, cs, behind []join.Copy, err error) {
	if cs = copiesOf(want.segs[k], of...); len(cs) == 0 {
		return r, nil, nil, nil, nil
	}
	if k > 0 {
		before = copiesOf(want.segs[k-1], of...)
	}
	if k+1 < len(want.segs) {
		behind = copiesOf(want.segs[k+1], of...)
	}
	r, err = join.JoinBeside(before, cs, behind)
	return r, before, cs, behind, err
}

// besideLaws holds such a join to I1. What may be missing of data depends on the order: of two evidences the smaller holds. early: so does
// what is made where a recorder began a segment that should not have been.
func besideLaws(t *testing.T, data, early bool, before, cs, behind []join.Copy, r join.Result) {
	t.Helper()
	must := func(cs ...join.Copy) join.Copy {
		r, err := join.JoinBeside(before, cs, behind)
		if err != nil {
			t.Errorf("join: %v", err)
		}
		return r.Copy
	}
	same := func(law string, got join.Copy) {
		if got.Info.Digest != r.Info.Digest || !data && (got.Info.Evidence.Less(&r.Info.Evidence) || r.Info.Evidence.Less(&got.Info.Evidence)) {
			t.Errorf("not %s: [%d, %d) with\n%+v\n[%d, %d) with\n%+v", law, got.Info.Start, got.Info.End, got.Info.Evidence, r.Info.Start, r.Info.End, r.Info.Evidence)
		}
	}
	for _, list := range [][]join.Copy{before, cs, behind} {
		slices.Reverse(list)
	}
	same("commutative", must(cs...))
	same("idempotent", must(append(slices.Clip(cs), r.Copy)...))
	same("idempotent alone", must(r.Copy))
	if early {
		return
	}
	now := must(cs[0])
	tells(t, &now, &r.Copy)
	for _, c := range cs[1:] {
		now = must(now, c)
	}
	now.Info.Evidence, r.Info.Evidence = withoutReasons(now.Info.Evidence), withoutReasons(r.Info.Evidence)
	same("associative", now)
}

// tells holds what is known against a copy to a fuller one: whatever it lacks of that may be missing, or belong to a slot beside.
func tells(t *testing.T, c, full *join.Copy) {
	t.Helper()
	dts := map[uint16][]timeline.Ticks{}
	for at := range samplesIn(t, c) {
		dts[at.pid] = append(dts[at.pid], at.dts)
	}
	e := &c.Info.Evidence
	lacks := 0
	for u := range intactIn(t, full) {
		have := dts[u.pid]
		if tr := c.Info.Track(u.pid); tr.Data() || len(have) == 0 || u.dts < have[0] && (e.StartUncertain || tr.Video()) {
			continue
		}
		i, ok := slices.BinarySearch(have, u.dts)
		open := slices.ContainsFunc(e.Faulty, func(f segment.FaultySample) bool { return f.PID == u.pid && i > 0 && f.DTS == have[i-1] }) ||
			slices.ContainsFunc(e.Missing, func(m segment.MissingSpan) bool { return m.PID == u.pid && m.From <= u.dts && u.dts < m.To })
		if !ok && !open && (i < len(have) || !e.EndUncertain) {
			lacks++
		}
	}
	if lacks > 0 {
		t.Errorf("[%d, %d) lacks %d access units and does not tell: %+v", c.Info.Start, c.Info.End, lacks, *e)
	}
}

// withoutReasons takes the reasons of what may be missing out: a join does not repeat them where a damaged sample before says that it may,
// and one that mends that sample then knows less of them.
func withoutReasons(e segment.Evidence) segment.Evidence {
	spans := e.Missing
	e.Missing = nil
	for _, m := range spans {
		m.Reason = 0
		if n := len(e.Missing); n > 0 && e.Missing[n-1].PID == m.PID && e.Missing[n-1].To == m.From {
			e.Missing[n-1].To = m.To
			continue
		}
		e.Missing = append(e.Missing, m)
	}
	return e
}

// TestLostCuts: sites lose packets of each random access point with which a segment begins, each others, and of what is behind it.
// What a join makes of their copies is what a recorder has that lost nothing.
func TestLostCuts(t *testing.T) {
	t.Parallel()
	one := func(list []int, n int) []int { return list[n : n+1] }
	for _, clip := range clips {
		t.Run(clip.Name, func(t *testing.T) {
			ts := source(t, clip)
			want := record(t, ts, 1316)
			packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
			for _, c := range []struct {
				name string
				lose func(this, next []int) (a, b []int)
			}{
				{"its beginning, and within", func(x, _ []int) (a, b []int) { return one(x, 0), one(x, len(x)/2) }},
				{"its beginning, and what follows", func(x, _ []int) (a, b []int) { return one(x, 0), one(x, 1) }},
				{"within, and its end", func(x, _ []int) (a, b []int) { return one(x, len(x)/2), one(x, len(x)-1) }},
				{"its beginning alone", func(x, _ []int) (a, b []int) { return one(x, 0), nil }},
				{"its beginning, and both of the next", func(x, y []int) (a, b []int) { return []int{x[0], y[0]}, one(y, len(y)-1) }},
				{"its beginning, and within, and both of the next", func(x, y []int) (a, b []int) {
					return []int{x[0], y[0]}, []int{x[len(x)/2], y[len(y)-1]}
				}},
			} {
				t.Run(c.name, func(t *testing.T) {
					a, b := make(drops, len(packets)), make(drops, len(packets))
					judged := 0
					for _, w := range want.segs[2:] {
						this, next := unitPackets(packets, w.info.Reference().PID, w.info.Reference().Start)
						if len(this) < 4 || len(next) < 2 {
							continue
						}
						inA, inB := c.lose(this, next)
						for _, i := range inA {
							a[i] = true
						}
						for _, i := range inB {
							b[i] = true
						}
					}
					ra, rb, joined := a.receive(t, packets), b.receive(t, packets), &recorder{t: t}
					for k, w := range want.segs[:len(want.segs)-1] {
						r, _, _, _, err := besides(want, k, ra, rb, joined)
						if err == nil {
							joined.segs = append(joined.segs, &recorded{key: w.key, info: r.Info, data: r.Data})
						}
						if !w.whole() {
							continue
						}
						judged++
						switch {
						case err != nil:
							t.Errorf("segment %d: %v", w.key.Seq, err)
						case r.Info.Digest != w.info.Digest || !r.Info.Evidence.Whole():
							t.Errorf("segment %d: [%d, %d), want [%d, %d); %+v", w.key.Seq, r.Info.Start, r.Info.End, w.info.Start, w.info.End, r.Info.Evidence)
						}
					}
					if judged < 2 {
						t.Error("it tests nothing")
					}
				})
			}
		})
	}
}

// TestCutsAtRandom: sites lose packets around each place where a segment begins. No join is ever wrong, whatever was lost, and
// where no packet was lost on both it is what a recorder has that lost nothing.
func TestCutsAtRandom(t *testing.T) {
	t.Parallel()
	long := testkit.Clip{Name: "long", Seconds: 60, Rate: "25", X264: "keyint=160:min-keyint=160:bframes=2:scenecut=0", Audio: []string{"-c:a:0 aac -ar:a:0 48000"}}
	type input struct {
		testkit.Clip
		data bool
	}
	var inputs []input
	for _, c := range append(slices.Clip(clips), long) {
		inputs = append(inputs, input{c, false})
	}
	for _, c := range dataClips() {
		inputs = append(inputs, input{c, true})
	}
	for _, clip := range inputs {
		t.Run(fmt.Sprintf("%s/data=%t", clip.Name, clip.data), func(t *testing.T) {
			ts := source(t, clip.Clip)
			if clip.data {
				ts, _ = withData(ts, 1)
			}
			want := record(t, ts, 1316)
			sent := intactOf(t, want)
			packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
			rnd := testkit.Rand(t)
			// A forced cut is not found anew, nor is what one that should not have been leaves in a slot of its own, nor data that was lost.
			strict := !clip.data && clip.Name != "refresh" && clip.Name != "long"
			joins, whole, healed, should, not := 0, 0, 0, 0, 0
			for round := range rounds(4) {
				a, b := make(drops, len(packets)), make(drops, len(packets))
				apart := round%2 == 0
				for _, w := range want.segs[1:] {
					this, next := unitPackets(packets, w.info.Reference().PID, w.info.Reference().Start)
					if len(this) < 4 || len(next) < 2 {
						continue
					}
					from, to := this[0]-20, next[len(next)-1]
					for range 1 + rnd.IntN(6) {
						x := []drops{a, b}[rnd.IntN(2)]
						at := max(200, from+rnd.IntN(to-from+1))
						if rnd.IntN(3) == 0 {
							at = this[0]
						}
						if apart && (slices.Contains(a[max(0, at-40):min(len(a), at+40)], true) || slices.Contains(b[max(0, at-40):min(len(b), at+40)], true)) {
							continue // of holes that lie in each other nobody may know the order; of another PID tens of packets may stand between
						}
						for k := 1 + rnd.IntN(3); k > 0 && at < len(packets); k, at = k-1, at+1 {
							x[at] = true
						}
					}
				}
				if !a.sure(packets) || !b.sure(packets) {
					continue
				}
				ra, rb := a.receive(t, packets), b.receive(t, packets)
				for k, w := range want.segs[:len(want.segs)-1] {
					r, before, cs, behind, err := besides(want, k, ra, rb)
					if err != nil && !clip.data { // of data a lone packet may be lost unseen
						t.Errorf("segment %d: %v", w.key.Seq, err)
					}
					if len(cs) == 0 || err != nil {
						continue
					}
					joins++
					if k%3 == 1 { // it takes as many joins again
						besideLaws(t, clip.data, clip.Name == "long", before, cs, behind, r)
					}
					e := &r.Info.Evidence
					for at, data := range intactIn(t, &r.Copy) {
						if sent[at] != data {
							t.Errorf("segment %d: PID %d at %d is not what was sent", w.key.Seq, at.pid, at.dts)
						}
					}
					if !e.StartUncertain && r.Info.Start != w.info.Start || !e.EndUncertain && r.Info.End != w.info.End {
						t.Errorf("segment %d: [%d, %d) for certain, want [%d, %d)", w.key.Seq, r.Info.Start, r.Info.End, w.info.Start, w.info.End)
					}
					if e.Whole() {
						if whole++; r.Info.Digest != w.info.Digest {
							t.Errorf("segment %d is whole, and not what was sent", w.key.Seq)
						}
						if !slices.ContainsFunc(cs, func(c join.Copy) bool { return c.Info.Evidence.Whole() }) {
							healed++
						}
					}
					if apart && w.whole() && strict && k > 1 && k+2 < len(want.segs) { // where all know what was before, and have both slots
						if should++; !e.Whole() {
							not++
							t.Errorf("segment %d is not whole: %+v", w.key.Seq, *e)
						}
					}
				}
			}
			t.Logf("%d joins, %d whole, %d of these of copies that are not; %d of %d of which no packet was lost on both are not", joins, whole, healed, not, should)
		})
	}
}
