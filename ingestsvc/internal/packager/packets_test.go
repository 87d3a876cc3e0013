package packager

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/join"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// drops says which packets, or datagrams, a site loses.
type drops []bool

func lose(n, from int, share float64, longest int, rnd *rand.Rand) drops {
	d := make(drops, n)
	for i := from; i < n; i++ {
		if rnd.Float64() < share {
			for k := 1 + rnd.IntN(longest); k > 0 && i < n; k-- {
				d[i] = true
				i++
			}
		}
	}
	return d
}

func both(a, b drops) drops {
	out := slices.Clone(a)
	for i := range out {
		out[i] = a[i] && b[i]
	}
	return out
}

// sure reports whether continuity counters tell how many packets of each PID are missing in each hole.
func (d drops) sure(packets [][]byte) bool {
	run := map[uint16]int{}
	for i, p := range packets {
		if d[i] {
			run[pidOf(p)]++
			if run[pidOf(p)] >= 16 {
				return false
			}
			continue
		}
		run[pidOf(p)] = 0
	}
	return true
}

// hidden reports whether a hole shows in no continuity counter.
func (d drops) hidden(packets [][]byte) bool {
	run := map[uint16]int{}
	for i, p := range packets {
		switch n := run[pidOf(p)]; {
		case d[i]:
			run[pidOf(p)]++
		case n > 0 && n%16 == 0:
			return true
		default:
			run[pidOf(p)] = 0
		}
	}
	return false
}

// receive records what a site gets of packets.
func (d drops) receive(t testing.TB, packets [][]byte) *recorder {
	var got []byte
	for i, p := range packets {
		if !d[i] {
			got = append(got, p...)
		}
	}
	return record(t, got, 1316)
}

// receiveRTP records what a site gets of datagrams whose sequence tells what is missing.
func (d drops) receiveRTP(t testing.TB, datagrams [][]byte) *recorder {
	t.Helper()
	r := &recorder{t: t}
	p := New(Options{}, r)
	x := mpegts.NewDemuxer(p, mpegts.Options{})
	missing := uint32(0)
	for i, b := range datagrams {
		if d[i] {
			missing++
			continue
		}
		if missing > 0 {
			x.SequenceLoss(missing)
			missing = 0
		}
		x.WriteDatagram(1, uint16(65500+i), b) // numbers wrap
	}
	x.Flush()
	p.Flush()
	return r
}

// packets gives the packets that are lost with datagrams.
func (d drops) packets() (out drops) {
	for _, lost := range d {
		for range 1316 / mpegts.PacketSize {
			out = append(out, lost)
		}
	}
	return out
}

// intactOf gives the intact samples of a recorder in the slots of its own.
func intactOf(t *testing.T, r *recorder) map[au]string {
	out := map[au]string{}
	for _, s := range r.segs {
		maps.Copy(out, intactIn(t, &join.Copy{Info: s.info, Data: s.data}))
	}
	return out
}

// joinAll joins what two sites have, slot by slot, with what they have of the slots beside.
func joinAll(t *testing.T, a, b *recorder) (out []join.Result) {
	type slot struct {
		cell int64
		set  segment.InitSet
	}
	slots := map[slot][]join.Copy{}
	for _, r := range []*recorder{a, b} {
		for _, s := range r.segs {
			at := slot{s.info.Start.Cell(), s.key.InitSet}
			slots[at] = append(slots[at], join.Copy{Info: s.info, Data: s.data})
		}
	}
	beside := func(at slot, side int64) (out []join.Copy) {
		for n := int64(1); n <= 4; n++ {
			out = append(out, slots[slot{at.cell + n*side, at.set}]...)
		}
		return out
	}
	for at, cs := range slots {
		r, err := join.JoinBeside(beside(at, -1), cs, beside(at, 1))
		if err != nil {
			t.Errorf("cell %d: %v", at.cell, err)
			continue
		}
		if at.cell%4 == 0 { // it takes seven joins
			besideLaws(t, false, false, slices.Clone(beside(at, -1)), slices.Clone(cs), slices.Clone(beside(at, 1)), r)
		}
		out = append(out, r)
		if r.Left { // what belongs to a neighbour stays where it is
			for _, c := range cs {
				out = append(out, join.Result{Copy: c})
			}
		}
	}
	return out
}

// union is what came to either of two sites, as far as anybody may know that it belongs together: where nobody can know that two packets
// of a PID follow each other, its counter has a step. (FORMAT.md, "Packet runs", by what was lost.) surely: though of the datagrams beside
// what both lost nothing is kept but the packets around it.
func union(packets [][]byte, a, b drops, rtp, surely bool) [][]byte {
	packets = slices.Clone(packets)
	apart := map[int]bool{}
	for pid := range pidsOf(packets) {
		var all []int
		for i, p := range packets {
			if pidOf(p) == pid && p[3]&0x10 != 0 {
				all = append(all, i)
			}
		}
		l := links{packets: packets, all: all, lost: [2]drops{a, b}}
		var known func(n int) bool
		if rtp {
			known = l.numbered(surely)
		} else {
			known = l.ordered()
		}
		for n := 1; n < len(all); n++ {
			if l.any(n-1) && l.any(n) && !known(n) {
				apart[all[n]] = true
			}
		}
	}
	steps := map[uint16]byte{}
	var out [][]byte
	for i, p := range packets {
		pid := pidOf(p)
		if apart[i] {
			steps[pid]++
		}
		if a[i] && b[i] {
			continue
		}
		if steps[pid] > 0 {
			p = slices.Clone(p)
			p[3] = p[3]&0xF0 | (p[3]+steps[pid])&0x0F
		}
		out = append(out, p)
	}
	return out
}

func pidsOf(packets [][]byte) map[uint16]bool {
	out := map[uint16]bool{}
	for _, p := range packets {
		out[pidOf(p)] = true
	}
	return out
}

// links are the packets with payload of a PID, and what two sites may know of their order.
type links struct {
	packets [][]byte
	all     []int // of the PID
	lost    [2]drops
}

func (l *links) has(site, n int) bool { return !l.lost[site][l.all[n]] }
func (l *links) any(n int) bool       { return l.has(0, n) || l.has(1, n) }

// next is the next packet that a site has; -1: there is none.
func (l *links) next(site, n int) int {
	for n++; n < len(l.all); n++ {
		if l.has(site, n) {
			return n
		}
	}
	return -1
}

// sets joins what belongs together.
type sets []int

func newSets(n int) sets {
	s := make(sets, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func (s sets) find(i int) int {
	for s[i] != i {
		i = s[i]
	}
	return i
}

func (s sets) join(i, k int) { s[s.find(k)] = s.find(i) }

const perDatagram = 1316 / mpegts.PacketSize

// numbered knows packets to follow each other where recorders that lost no more than two datagrams between two of them had both, or
// no more than 15 packets can lie between of which nobody knows that they are of no other PID. surely: so may what
// is behind the first in its datagram, and before the second.
func (l *links) numbered(surely bool) func(n int) bool {
	s := newSets(len(l.all))
	datagram := func(n int) int { return l.all[n] / perDatagram }
	gone := func(site, d int) bool { return l.lost[site][d*perDatagram] }
	for site := range l.lost {
		for n := range l.all {
			k := l.next(site, n)
			if !l.has(site, n) || k < 0 {
				continue
			}
			missing := 0
			for d := datagram(n); d < datagram(k); d++ {
				if gone(site, d) {
					missing++
				}
			}
			if missing <= 2 {
				s.join(n, k)
			}
		}
	}
	for n := 1; n < len(l.all); n++ {
		if !l.any(n-1) || !l.any(n) {
			continue
		}
		x, y := datagram(n-1), datagram(n)
		after, before := 0, 0
		for site := range l.lost {
			if l.has(site, n-1) {
				k := 0
				for x+k+1 < y && !gone(site, x+k+1) {
					k++
				}
				after = max(after, k)
			}
			if l.has(site, n) {
				k := 0
				for y-k-1 > x && !gone(site, y-k-1) {
					k++
				}
				before = max(before, k)
			}
		}
		between := (y - x - 1 - after - before) * perDatagram
		if surely {
			between += perDatagram - 1 - l.all[n-1]%perDatagram + l.all[n]%perDatagram
		}
		if between <= 15 {
			s.join(n-1, n)
		}
	}
	return func(n int) bool { return s.find(n-1) == s.find(n) }
}

// ordered knows packets to follow each other where one recorder had both, or where it is certain of all that recorders had in a row that it lies
// before both or behind both.
func (l *links) ordered() func(n int) bool {
	chain := make([]int, len(l.all)) // of each packet
	chains := 0
	for n := range l.all {
		if n > 0 && (l.has(0, n-1) && l.has(0, n) || l.has(1, n-1) && l.has(1, n)) {
			chain[n] = chain[n-1]
			continue
		}
		chain[n] = chains
		chains++
	}
	next := make([]map[int]bool, chains)
	edge := func(a, b int) {
		if a == b {
			return
		}
		if next[a] == nil {
			next[a] = map[int]bool{}
		}
		next[a][b] = true
	}
	pes := -1
	for n := range l.all {
		for site := range l.lost {
			if k := l.next(site, n); l.has(site, n) && k >= 0 {
				edge(chain[n], chain[k])
			}
		}
		if p := l.packets[l.all[n]]; p[1]&0x40 != 0 && l.any(n) && timed(p) {
			if pes >= 0 {
				edge(pes, chain[n])
			}
			pes = chain[n]
		}
	}
	behind := make([]map[int]bool, chains)
	for c := chains - 1; c >= 0; c-- { // edges lead on
		behind[c] = map[int]bool{}
		for k := range next[c] {
			behind[c][k] = true
			maps.Copy(behind[c], behind[k])
		}
	}
	return func(n int) bool {
		u, v := chain[n-1], chain[n]
		if u == v {
			return true
		}
		if !behind[u][v] {
			return false
		}
		for i := range l.all {
			if w := chain[i]; l.any(i) && w != u && w != v && !behind[w][u] && !behind[v][w] {
				return false
			}
		}
		return true
	}
}

// timed reports whether a PES begins with a packet, and has a time.
func timed(p []byte) bool {
	b := p[4:]
	if p[3]&0x20 != 0 {
		b = p[5+p[4]:]
	}
	_, ok := mpegts.StartDTS(b)
	return ok
}

// TestPacketsOfTwoSites: two sites lose packets, each others. What their copies give together is what one would have that lost
// only what both lost, and did not know what nobody may: exactly the same access units are intact, byte for byte.
func TestPacketsOfTwoSites(t *testing.T) {
	t.Parallel()
	mended := 0
	for _, clip := range clips {
		for _, rtp := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/rtp=%t", clip.Name, rtp), func(t *testing.T) {
				mended += packetsOfTwoSites(t, clip, rtp, testkit.Rand(t))
			})
		}
	}
	if mended == 0 && !testing.Short() {
		t.Error("nothing was mended by packet: the test shows nothing")
	}
}

// packetsOfTwoSites gives how many access units were mended by packet.
func packetsOfTwoSites(t *testing.T, clip testkit.Clip, rtp bool, rnd *rand.Rand) (byPacket int) {
	t.Helper()
	ts := source(t, clip)
	all := record(t, ts, 1316)
	sent, slots := intactOf(t, all), map[au]int64{}
	for _, s := range all.segs {
		for at := range intactIn(t, &join.Copy{Info: s.info, Data: s.data}) {
			slots[at] = s.info.Start.Cell()
		}
	}
	packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
	datagrams := slices.Collect(slices.Chunk(ts, 1316))
	byUnit, left, apart, unsure, beyond := 0, 0, 0, 0, 0
	latm := clip.Name == "latm"
	for round := range rounds(4) {
		share := []float64{0.01, 0.002, 0.0005}[round/4%3]
		if !rtp && round%4 > 0 {
			continue
		}
		var ra, rb, want *recorder
		var pa, pb drops
		if rtp {
			a, b := lose(len(datagrams), 30, share, 9, rnd), lose(len(datagrams), 30, share, 9, rnd)
			for both(a, b).packets().hidden(packets) {
				b = lose(len(datagrams), 30, share, 9, rnd)
			}
			pa, pb = a.packets()[:len(packets)], b.packets()[:len(packets)]
			ra, rb, want = a.receiveRTP(t, datagrams), b.receiveRTP(t, datagrams), both(a, b).receive(t, datagrams)
		} else {
			a, b := lose(len(packets), 200, share, 3, rnd), lose(len(packets), 200, share, 3, rnd)
			if !a.sure(packets) || !b.sure(packets) {
				continue
			}
			pa, pb = a, b
			ra, rb, want = a.receive(t, packets), b.receive(t, packets), both(a, b).receive(t, packets)
		}
		known := slices.Concat(union(packets, pa, pb, rtp, false)...)
		may := intactOf(t, record(t, known, 1316))
		must := may
		if surely := slices.Concat(union(packets, pa, pb, rtp, true)...); !bytes.Equal(surely, known) {
			must = intactOf(t, record(t, surely, 1316))
		}
		ia, ib, should := intactOf(t, ra), intactOf(t, rb), intactOf(t, want)
		exists := map[int64]bool{} // slots of which a site has anything
		for _, s := range append(slices.Clip(ra.segs), rb.segs...) {
			exists[s.info.Start.Cell()] = true
		}
		got := map[au]string{}
		for _, r := range joinAll(t, ra, rb) {
			maps.Copy(got, intactIn(t, &r.Copy))
		}
		for at, data := range got {
			if sent[at] != data {
				t.Errorf("PID %d at %d is not what was sent", at.pid, at.dts)
			}
		}
		for at := range sent {
			_, here := got[at]
			_, inA := ia[at]
			_, inB := ib[at]
			_, foreseen := may[at]
			_, surely := must[at]
			switch _, ok := should[at]; {
			case here && !ok:
				t.Errorf("PID %d at %d is intact, and packets of it were lost on both", at.pid, at.dts)
			case here && inA != inB:
				byUnit++
			case here && !inA && !foreseen:
				t.Errorf("PID %d at %d is intact, and nobody knows the order of its packets", at.pid, at.dts)
			case here && !inA:
				byPacket++
			case here:
			case !ok:
				left++
			case latm && at.pid != 256: // not before the next StreamMuxConfig
				apart++
			case (surely || inA || inB) && rtp && at.pid == 256 && exists[slots[at]]:
				t.Errorf("PID %d at %d is not intact, and no packet of it was lost on both", at.pid, at.dts)
			case surely || inA || inB || foreseen && !rtp: // what would tell the order, or where a frame of sound begins, lies beyond what is kept; or no site has its slot
				beyond++
			default: // holes lie in each other, or both lost three datagrams of others
				unsure++
			}
		}
	}
	t.Logf("%d access units mended by access unit, %d by packet, %d of which packets were lost on both, %d of which nobody knows the order of the packets, %d in LATM before its configuration, %d of which it lies beyond what is kept", byUnit, byPacket, left, unsure, apart, beyond)
	if beyond > 5 {
		t.Errorf("%d access units are not mended, and no packet of theirs was lost on both", beyond)
	}
	return byPacket
}

// TestPESOfSeveralPictures: the packets of a slot beside show that all of a PES came to somebody. Of what it held that is not one picture.
func TestPESOfSeveralPictures(t *testing.T) {
	i := slices.IndexFunc(clips, func(c testkit.Clip) bool { return c.Name == "mpeg2-grouped" })
	packetsOfTwoSites(t, clips[i], true, testkit.RandOf(1365823452375266672))
}

// TestEndAndBeginning: one site loses the end of a picture, the other the beginning of the next one and more of that one. All packets of
// the first came, and that what lies between two holes is of the second tells the site that has this whole.
func TestEndAndBeginning(t *testing.T) {
	clip := testkit.Clip{Name: "large", Seconds: 24, Rate: "25", X264: "keyint=50:bframes=0:scenecut=0:qp=6", Size: "640x360"}
	ts := source(t, clip)
	want := record(t, ts, 1316)
	sent := intactOf(t, want)
	packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
	a, b := make(drops, len(packets)), make(drops, len(packets))
	var hit []au
	for n, s := range want.segs[:len(want.segs)-1] {
		dts := s.info.Reference().Start + timeline.Ticks(10+n)*3600
		this, next := unitPackets(packets, s.info.Reference().PID, dts)
		if len(this) < 20 || len(next) < 30 {
			continue
		}
		for k := range 4 {
			a[this[len(this)-1-k]], b[next[k]], b[next[len(next)/2+k]] = true, true, true
		}
		hit = append(hit, au{s.info.Reference().PID, dts})
	}
	if len(hit) < 2 {
		t.Fatal("it tests nothing")
	}
	got := map[au]string{}
	for _, r := range joinAll(t, a.receive(t, packets), b.receive(t, packets)) {
		maps.Copy(got, intactIn(t, &r.Copy))
	}
	for _, at := range hit {
		if got[at] == "" || got[at] != sent[at] {
			t.Errorf("PID %d at %d is not intact", at.pid, at.dts)
		}
	}
}

// TestDamagedWhereItWasSent: frames of sound are damaged at their source, and sites lose packets around them, each others. What their packets give
// together has that damage too: no join is whole where a recorder that lost nothing is not.
func TestDamagedWhereItWasSent(t *testing.T) {
	i := slices.IndexFunc(clips, func(c testkit.Clip) bool { return c.Name == "closed" })
	packets := slices.Collect(slices.Chunk(slices.Clone(source(t, clips[i])), mpegts.PacketSize))
	var sound, damaged []int
	for i, p := range packets {
		if pidOf(p) == 257 && p[3]&0x10 != 0 {
			sound = append(sound, i)
		}
	}
	for n := 200; n < len(sound)-50; n++ {
		p := packets[sound[n]]
		if at := bytes.Index(p[10:], []byte{0xFF, 0xF1}); at >= 0 && p[1]&0x40 == 0 && p[3]&0x20 == 0 {
			p[10+at] = 0x55 // of the header of a frame
			damaged = append(damaged, n)
			n += 60
		}
	}
	want := record(t, slices.Concat(packets...), 1316)
	rnd := testkit.Rand(t)
	mended, joins := 0, 0
	for range rounds(12) {
		a, b := make(drops, len(packets)), make(drops, len(packets))
		for _, n := range damaged {
			if x, y := n-8+rnd.IntN(17), n-8+rnd.IntN(17); x != n && y != n {
				a[sound[x]], b[sound[y]] = true, true
			}
		}
		ra, rb := a.receive(t, packets), b.receive(t, packets)
		for k, w := range want.segs[1 : len(want.segs)-1] {
			r, _, _, _, err := besides(want, k+1, ra, rb)
			if err != nil { // who joins in a PES of which the first frames are damaged takes the next for the first
				continue
			}
			joins++
			mended += r.Mended
			if r.Info.Evidence.Whole() && !w.whole() {
				t.Errorf("segment %d is whole, want %+v", w.key.Seq, w.info.Evidence)
			}
		}
	}
	if t.Logf("%d joins, %d units mended", joins, mended); mended == 0 {
		t.Error("it tests nothing")
	}
}

// TestParametersOfWhatIsMended: both sites damaged each random access point, and the picture before it, each in other packets. What says how to read
// that picture is in a random access point that came of the packets alone: a join with the join has nothing more.
func TestParametersOfWhatIsMended(t *testing.T) {
	i := slices.IndexFunc(clips, func(c testkit.Clip) bool { return c.Name == "closed" })
	ts := source(t, clips[i])
	want := record(t, ts, 1316)
	packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
	a, b := make(drops, len(packets)), make(drops, len(packets))
	for _, w := range want.segs {
		var all, points []timeline.Ticks
		for data := range fmp4.Split(w.data) {
			ch, err := fmp4.ParseChunk(data)
			if err != nil {
				t.Fatal(err)
			}
			for s := range ch.All() {
				if ch.PID != w.info.Reference().PID {
					continue
				}
				if all = append(all, s.DTS); s.Flags == fmp4.FlagsSync && len(all) > 1 {
					points = append(points, all[len(all)-2])
				} else if len(all) == 1 {
					this, _ := unitPackets(packets, ch.PID, s.DTS)
					a[this[len(this)/2]], b[this[len(this)/2+1]] = true, true
				}
			}
		}
		for _, dts := range points {
			if this, next := unitPackets(packets, w.info.Reference().PID, dts); len(this) > 3 && len(next) > 3 {
				a[this[1]], b[this[2]], a[next[1]], b[next[2]] = true, true, true, true
			}
		}
	}
	ra, rb := a.receive(t, packets), b.receive(t, packets)
	mended := 0
	for _, w := range want.segs[2:] {
		cs := copiesOf(w, ra, rb)
		if len(cs) < 2 {
			continue
		}
		r, err := join.Join(cs...)
		if err != nil {
			t.Fatal(err)
		}
		mended += r.Mended
		if again, err := join.Join(append(cs, r.Copy)...); err != nil || again.Info.Digest != r.Info.Digest {
			t.Errorf("segment %d: %v, %+v, and again %+v", w.key.Seq, err, r.Info.Evidence, again.Info.Evidence)
		}
	}
	if t.Logf("%d units mended", mended); mended == 0 {
		t.Error("it tests nothing")
	}
}

// TestMendedWithoutATime: of several pictures of H.264 in a PES the first alone has a time, and no recorder knows how long it lasts. So that is not
// intact where packets of two sites give it, and no join is whole.
func TestMendedWithoutATime(t *testing.T) {
	i := slices.IndexFunc(clips, func(c testkit.Clip) bool { return c.Name == "closed" })
	ts := grouped(source(t, clips[i]), 256)
	packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
	want := record(t, ts, 1316)
	rnd := testkit.Rand(t)
	joins := 0
	for range rounds(12) {
		a, b := lose(len(packets), 200, 0.002, 3, rnd), lose(len(packets), 200, 0.002, 3, rnd)
		ra, rb := a.receive(t, packets), b.receive(t, packets)
		for k, w := range want.segs[1 : len(want.segs)-1] {
			r, _, _, _, err := besides(want, k+1, ra, rb)
			if err != nil {
				t.Fatal(err)
			}
			if joins++; r.Info.Evidence.Whole() && !w.whole() {
				t.Errorf("segment %d is whole, want %d damaged", w.key.Seq, len(w.info.Evidence.Faulty))
			}
		}
	}
	if joins == 0 {
		t.Error("it tests nothing")
	}
}
