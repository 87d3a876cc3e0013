package packager

import (
	"slices"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// maxRuns bounds the losses of which runs wait for their segments.
const maxRuns = 4096

// leastPacket is what a packet counts at least, for what is kept beside its payload.
const leastPacket = 128

// kept are the packets around one loss, until all segments that they may be of are sealed.
type kept struct {
	t        *track
	from, to timeline.Ticks // decode times, unwrapped
	runs     []segment.Run  // times unwrapped
	bytes    int
}

var _ mpegts.PacketHandler = (*Packager)(nil)

// Packets implements mpegts.PacketHandler.
func (p *Packager) Packets(in *mpegts.Packets) {
	t := p.byPID[in.PID]
	if t == nil || !t.seen || len(p.kept) >= maxRuns {
		return
	}
	k := kept{t: t, to: t.dts + t.step}
	for i := range in.Runs {
		r := &in.Runs[i]
		run := segment.Run{PID: in.PID, DTS: timeline.Unwrap(timeline.Ticks(r.DTS), t.dts), Sender: in.Sender}
		if r.Linked {
			run.Links = []segment.Link{{DTS: timeline.Unwrap(timeline.Ticks(r.Before), t.dts), At: uint32(r.LinkAt), Whole: r.LinkWhole, Sure: r.LinkSure}}
			if x := &r.Packets[0]; i > 0 && !x.Follows {
				k.hole(i-1, uint32(r.LinkAt), x.Sure)
			}
		}
		for n := range r.Packets {
			x := &r.Packets[n]
			k.bytes += max(len(x.Data), leastPacket)
			p := segment.Packet{
				At: uint32(x.At), Counter: x.Counter, Start: x.Start, Follows: x.Follows, Seq: segment.PlaceSeq(x.Datagram, x.Place), Data: slices.Clone(x.Data),
			}
			if p.Seq != 0 {
				p.Before, p.After = uint16(x.Before), uint16(x.After)
			}
			if n == 0 && r.Cut {
				run.Cut = p.Seq
			}
			run.Packets = append(run.Packets, p)
			if n > 0 && !x.Follows {
				run.Holes = append(run.Holes, segment.Hole{From: uint32(r.Packets[n-1].At), To: p.At, Sure: x.Sure})
			}
		}
		if r.Cut && run.Cut == 0 {
			return // nobody can say where it is
		}
		k.runs = append(k.runs, run)
	}
	k.from = k.runs[0].DTS
	if in.HasUntil {
		k.to = max(k.to, timeline.Unwrap(timeline.Ticks(in.Until), t.dts))
	}
	if k.bytes > segment.MaxRunBytes || p.keptBytes+k.bytes > 2*segment.MaxRunsBytes || abs(k.to-k.from) > silence {
		return
	}
	p.keptBytes += k.bytes
	p.kept = append(p.kept, k)
}

// hole notes one between the last packet of a run and the first of the next one.
func (k *kept) hole(i int, to uint32, sure bool) {
	r := &k.runs[i]
	r.Holes = append(r.Holes, segment.Hole{From: r.Packets[len(r.Packets)-1].At, To: to, Sure: sure})
}

// runs gives what is kept of the losses in a segment that is sealed, in T, and lets go of what no later one needs.
func (p *Packager) runs(g *seg) []segment.Run {
	var out []segment.Run
	size := 0
	for i := range p.kept {
		k := &p.kept[i]
		st := g.track(k.t.pid)
		if st == nil || st.t != k.t || k.from >= g.endOf(st) || k.to <= g.start && k.to <= st.start || size+k.bytes > segment.MaxRunsBytes {
			continue
		}
		size += k.bytes
		out = append(out, k.runs...)
	}
	p.kept = slices.DeleteFunc(p.kept, func(k kept) bool {
		end := g.start // pictures of the next segment are decoded before this one's end
		if st := g.track(k.t.pid); st != nil {
			end = max(end, st.end)
		}
		done := k.to <= end || k.t.removed
		if done {
			p.keptBytes -= k.bytes
		}
		return done
	})
	out = segment.UniteRuns(out)
	for i := range out {
		out[i].DTS -= g.shift
		for n := range out[i].Links {
			out[i].Links[n].DTS -= g.shift
		}
	}
	slices.SortFunc(out, func(a, b segment.Run) int { return a.Compare(&b) })
	return out
}

// endOf is where a track ends in a segment, whatever was lost of it.
func (g *seg) endOf(st *segTrack) timeline.Ticks { return max(g.end, st.end) }
