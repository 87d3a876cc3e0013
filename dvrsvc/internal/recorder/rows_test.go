package recorder

import (
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// Two inputs whose sources have clocks of their own: going back to the first is going back to an older row.
func TestBackOnAnOlderRow(t *testing.T) {
	b := newBench(t, udp, udp2)
	p1 := b.producer(udp, content{name: "a", base: base}, b.clock.mono, "here")
	p2 := b.producer(udp2, content{name: "b", base: base + 5000*timeline.CellTicks}, b.clock.mono, "here")
	tail := b.follow()
	b.pass(time.Second, p1.progress, p2.progress)
	p1.whole(p1.segment(0))
	p1.send(p1.segment(1), 0, 3)
	p1.call.Close()
	p1.active = false
	b.pass(2*time.Second, p2.progress)
	if !p2.active {
		t.Fatal("the second has not taken over")
	}
	k := 1
	for ; k < 6 && !p1.active; k++ {
		p2.whole(p2.segment(k))
		b.commit()
		tail.read()
		if k == 1 {
			p1.connect(p1.segment(1))
		}
		b.pass(segTime, p1.progress, p2.progress)
		if !p1.active {
			p1.offer(p1.segment(k))
		}
	}
	if !p1.active {
		t.Fatal("not back on the first")
	}
	if p1.role.FromSeq != 0 || p1.role.After != nil {
		t.Errorf("goes on with %+v, which the second input has covered", p1.role)
	}
	tail.read()
	chunks := len(tail.chunks)
	p2.call.Close()
	for n := range 20 {
		p1.whole(p1.segment(k + n))
		b.commit()
		b.pass(segTime, p1.progress)
		tail.read()
		p1.wantReleased(uint64(k + n + p1.seq0))
	}
	if got := len(tail.chunks) - chunks; got != 20*chunksPer {
		t.Errorf("%d chunks of 20 segments on the tail", got)
	}
}
