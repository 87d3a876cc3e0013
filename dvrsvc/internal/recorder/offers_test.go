package recorder

import "testing"

// The numbers of another incarnation mean other segments: what becomes durable late releases nothing of it.
func TestReleaseIsNotForAnotherIncarnation(t *testing.T) {
	b, p1, _ := pair(t)
	p1.whole(p1.segment(0))
	p1.inc, p1.seq0 = 2, 0 // ingestsvc restarts: its segment 1 is another one
	p1.connect()
	p1.send(p1.segment(1), 0, 2)
	b.commit()
	p1.wantHeld(1)
	p1.offer(p1.segment(0))
	b.commit()
	p1.wantReleased(0)
}
