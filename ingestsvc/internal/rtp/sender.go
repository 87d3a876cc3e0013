package rtp

import "time"

// anew reports that a leg brings another packet with a number that it has brought already, or goes on so: its sender
// began again, not far from where it had been.
func (m *Merger) anew(l *leg, h Header) bool {
	if n := len(l.pending); n > 0 && l.pendAnew && l.pendSSRC == h.SSRC && near(h.Seq, l.pending[n-1].seq) {
		return true
	}
	s := &m.slots[h.Seq&m.mask]
	return int16(h.Seq-m.top) < 0 && s.legs&l.bit != 0 && s.stamp != h.Stamp
}

// compare says whether another leg has brought the same packet (1), or another one with its number (-1); 0: neither.
func (m *Merger) compare(l *leg, p pending) int {
	s := &m.slots[p.seq&m.mask]
	switch {
	case !m.fits(p.seq) || int16(p.seq-m.top) >= 0 || s.legs&^l.bit == 0:
		return 0
	case s.sum == p.sum:
		return 1
	}
	return -1
}

// leaps reports that a leg steps far ahead while another goes on: its sender may have begun anew with numbers within reach.
func (m *Merger) leaps(l *leg, now time.Duration, p pending) bool {
	if len(m.legs) == 1 || int16(p.seq-l.top) <= maxLeap || m.compare(l, p) > 0 {
		return false
	}
	for i := range m.legs {
		if o := &m.legs[i]; o != l && o.known && o.stats.Packets > 0 && now-o.stats.Seen < m.limits.Wait {
			return true
		}
	}
	return false
}

// others reports that what waits is of another stream than what came before, although its numbers are near: it repeats
// some with other packets, or its clock is another.
func (m *Merger) others(l *leg) bool {
	for _, p := range l.pending {
		s := &m.slots[p.seq&m.mask]
		switch {
		case !m.fits(p.seq):
			continue
		case int16(p.seq-m.top) >= 0 || s.legs == 0:
			ref := &m.slots[(m.top-1)&m.mask]
			if d := int32(p.stamp - ref.stamp); ref.legs != 0 && (d > maxDrift || d < -maxDrift) {
				return true
			}
		case s.legs&l.bit != 0 && s.stamp != p.stamp || m.compare(l, p) < 0:
			return true
		}
	}
	return false
}

func near(a, b uint16) bool {
	d := int16(a - b)
	return d >= -maxStep && d <= maxStep
}

// differ passes over a packet that another leg has brought with another content. After a few of them the leg is one to be
// proven, and which of the two was wrong, and since when, nobody knows.
func (m *Merger) differ(l *leg) {
	l.stats.Foreign++
	if l.wrong++; l.wrong < proof {
		return
	}
	l.known, l.wrong = false, 0
	m.stats.Restarts++
	m.out.Missing(0)
}

// foreign keeps a packet that does not fit: of another sender, or of this one after a leap, or of a leg that is to be
// proven. It is followed when another leg has brought the same; or when nothing fitted for a time, or for a number of
// packets since the first of its kind came.
func (m *Merger) foreign(l *leg, now time.Duration, ssrc uint32, p pending) {
	if n := len(l.pending); n > 0 && (!m.room(l, p) || ssrc != l.pendSSRC || !near(p.seq, l.pending[n-1].seq)) {
		m.drop(l)
	}
	if len(l.pending) == 0 {
		l.pendSSRC, l.pendAt, l.pendSince, l.pendBytes = ssrc, now, m.aligned, 0
		l.looked, l.proven, l.filled = 0, 0, 0
		l.pendAnew = l.known && ssrc == l.ssrc && m.anew(l, Header{Seq: p.seq, Stamp: p.stamp, SSRC: ssrc})
	}
	l.stats.Odd = now
	p.data = append(m.buffer(), p.data...)
	l.pending = append(l.pending, p)
	l.pendBytes += len(p.data)
	if m.proves(l) {
		m.follow(l, now)
		return
	}
	alone := m.aligned == l.pendSince && len(l.pending) >= maxPending
	if len(l.pending) < 2 || !alone && now-max(l.pendAt, m.fitted) < m.limits.Wait {
		return // or another leg goes on, with something else
	}
	first := l.pending[0].seq
	for _, p := range l.pending {
		if int16(p.seq-first) < 0 {
			first = p.seq
		}
	}
	anew := l.pendAnew || ssrc != l.ssrc && m.others(l)
	if anew || !m.fits(first) {
		m.leap(first, anew || ssrc != l.ssrc)
	}
	m.follow(l, now)
}

// room reports whether another packet may wait on a leg. One that is ahead waits for what the others bring, which may be
// as far behind as the limits allow, until they have brought something else.
func (m *Merger) room(l *leg, p pending) bool {
	n := len(l.pending)
	if len(m.legs) == 1 || l.looked == n || l.looked > 0 && l.proven == 0 && l.filled == 0 {
		return n < maxPending
	}
	return n < m.limits.Packets && l.pendBytes+len(p.data) <= m.limits.Bytes
}

// proves reports whether what waits on a leg is what another leg brings. The leg may be ahead of it.
func (m *Merger) proves(l *leg) bool {
	if len(m.legs) == 1 {
		return false
	}
	for ; l.proven < proof && l.filled < holes && l.looked < len(l.pending); l.looked++ {
		p := l.pending[l.looked]
		switch m.compare(l, p) {
		case 0:
			switch s := &m.slots[p.seq&m.mask]; {
			case !m.fits(p.seq): // it proves nothing
			case int16(p.seq-m.top) >= 0:
				return false // the others may still bring it
			case s.state == given || int16(p.seq-m.next) >= 0: // else it is from before the beginning
				l.filled++
			}
		case 1:
			l.proven++
		case -1:
			l.proven, l.filled = 0, 0
		}
	}
	return l.proven == proof || l.filled >= holes
}

// leap goes on at another number. A sender that is the same and steps ahead lost what lies between.
func (m *Merger) leap(seq uint16, anew bool) {
	for m.held > 0 {
		m.giveUp()
	}
	n := uint32(0)
	if step := int16(seq - m.next); !anew && step > 0 {
		n = uint32(step)
		m.stats.Missing += uint64(n)
	} else {
		m.stats.Restarts++
	}
	m.out.Missing(n)
	m.begin(seq)
}

// follow takes up the sender that a leg has waited with.
func (m *Merger) follow(l *leg, now time.Duration) {
	if !l.known {
		l.known = true
		l.top, l.settled = l.pending[0].seq, l.pending[0].seq
	}
	l.ssrc = l.pendSSRC
	l.wrong = 0
	for _, p := range l.pending {
		if m.fits(p.seq) {
			m.take(l, now, p)
		} else {
			m.stats.Late++
		}
		m.release(p.data)
	}
	l.pending = l.pending[:0]
}

// drop passes over what has waited.
func (m *Merger) drop(l *leg) {
	for _, p := range l.pending {
		l.stats.Foreign++
		m.release(p.data)
	}
	l.pending = l.pending[:0]
}
