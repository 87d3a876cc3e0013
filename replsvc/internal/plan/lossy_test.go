package plan

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/join"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	videoPID, audioPID = 256, 257
	firstCell          = 500
)

// au is an access unit that a source sends.
type au struct {
	dts, pts timeline.Ticks
	long     timeline.Ticks // of sound
	rap      bool
	data     string
}

// feed is what a source sends of both tracks.
type feed struct {
	name         string
	video, audio []au
}

// fate is what becomes of an access unit on the way.
type fate byte

const (
	arrives fate = iota
	gets         // damaged
	lost
)

// fates are those of all units of a feed.
type fates struct {
	video, audio []fate
	off          [2]timeline.Ticks // the recorder is away from one time to the other
}

// anyFeed makes some cells of ten pictures a second, with random access points as often as it likes.
func anyFeed(rnd *rand.Rand, cells int) feed {
	return feedOf(rnd, []string{"closed", "open", "long", "refresh"}[rnd.IntN(4)], cells)
}

func feedOf(rnd *rand.Rand, name string, cells int) feed {
	const frame, sound = 9000, 7680
	f := feed{name: name}
	var gop int
	switch f.name {
	case "long":
		gop = 60 + rnd.IntN(60)
	case "refresh":
		gop = 1 << 30
	default:
		gop = 6 + rnd.IntN(24)
	}
	if f.name == "open" {
		gop -= gop % 3
	}
	from := timeline.Wrap + timeline.Ticks(firstCell+rnd.IntN(2))*timeline.CellTicks - 3*frame
	to := from + timeline.Ticks(cells)*timeline.CellTicks
	phase, next := rnd.IntN(6), 0
	for i := 0; ; i++ {
		at := from + timeline.Ticks(i)*frame
		if at >= to {
			break
		}
		u := au{dts: at, pts: at, rap: i%gop == 0 && (i == 0 && phase < 3 || i > 0 || f.name != "refresh"), data: fmt.Sprintf("picture %d", i)}
		if strings.HasPrefix(f.name, "irregular") { // at changes of scene
			if u.rap = i == next; u.rap {
				next += 3 * (1 + rnd.IntN(4) + rnd.IntN(2)*rnd.IntN(30))
			}
		}
		if strings.HasSuffix(f.name, "open") && i%3 == 0 {
			u.pts += 3 * frame
		}
		f.video = append(f.video, u)
	}
	for at := from + timeline.Ticks(rnd.IntN(sound)); at < to; at += sound {
		f.audio = append(f.audio, au{dts: at, pts: at, long: sound, rap: true, data: fmt.Sprintf("frame %d", len(f.audio))})
	}
	return f
}

// sent gives all that is sent.
func (f *feed) sent() map[access]bool {
	out := map[access]bool{}
	for pid, us := range map[uint16][]au{videoPID: f.video, audioPID: f.audio} {
		for _, u := range us {
			h := segment.Sum([]byte(u.data))
			out[access{pid, u.dts, [16]byte(h[:16])}] = true
		}
	}
	return out
}

// clean gives what a recorder has that lost nothing.
func (f *feed) clean() map[segment.Slot]join.Copy {
	out := map[segment.Slot]join.Copy{}
	for _, c := range record(*f, fates{video: make([]fate, len(f.video)), audio: make([]fate, len(f.audio))}) {
		out[slotOf(&c)] = c
	}
	return out
}

// cutAt is a place at which a recorder begins a segment.
type cutAt struct {
	unit                       int // of the video
	start                      timeline.Ticks
	independent, certain, ends bool
}

// cuts follows the rules of FORMAT.md ("How segments are cut", "Evidence"), as the cutter of ingestsvc does.
func cuts(f feed, got []fate, off func(au) bool) (out []cutAt) {
	const margin = timeline.TicksPerSecond
	cell := func(t timeline.Ticks) int64 { return int64(t / timeline.CellTicks) }
	var seen, damaged, missed, hasRAP, hasStart bool
	var first, intact timeline.Ticks
	var rapCell, startCell int64
	before := func(c int64) bool { return intact <= timeline.Ticks(c)*timeline.CellTicks-margin }
	for i, u := range f.video {
		if off(u) {
			seen, damaged, missed, hasRAP, hasStart = false, false, false, false, false
			continue
		}
		if got[i] == lost {
			missed = true
			continue
		}
		if missed || got[i] == gets || damaged || !seen {
			intact = u.dts
		}
		damaged, missed = got[i] == gets, false
		if !seen {
			seen, first = true, u.dts
		}
		c, ok := cutAt{unit: i, start: u.pts}, false
		if at := cell(u.pts); u.rap && got[i] == arrives {
			c.independent = true
			switch {
			case !hasStart:
				ok = true
			case at > startCell:
				ok, c.certain = true, before(at) && (at&1 == 1 || rapCell >= at-2 || before(at-2))
			}
			hasRAP, rapCell = true, at
		} else if at := cell(u.dts); at&1 == 0 && (!hasStart || at > startCell) && (!hasRAP || rapCell < at-2) && first <= timeline.Ticks(at-2)*timeline.CellTicks {
			ok, c.certain = true, before(at-2)
		}
		if ok {
			at := cell(u.pts)
			c.certain = c.certain && hasStart && got[i] == arrives
			c.ends = c.certain && (at <= startCell+1 || before(startCell+1))
			hasStart, startCell = true, at
			out = append(out, c)
		}
	}
	return out
}

// record gives the copies of a recorder, by time. The last is broken off.
func record(f feed, got fates) (out []join.Copy) {
	away := func(u au) bool { return u.dts >= got.off[0] && u.dts < got.off[1] }
	cs := cuts(f, got.video, away)
	for n, c := range cs {
		next := cutAt{unit: len(f.video), start: f.video[len(f.video)-1].dts + 9000}
		last := n == len(cs)-1
		if !last {
			next = cs[n+1]
		}
		info := segment.Info{Start: c.start, End: next.start, Independent: c.independent, Format: segment.Format}
		info.Evidence.StartUncertain, info.Evidence.EndUncertain = !c.certain, !next.ends || last
		stop := len(f.video)
		for i := c.unit; i < next.unit; i++ {
			if away(f.video[i]) { // it went away within
				stop = i
				info.End, info.Evidence.EndUncertain = f.video[i].dts, true
				break
			}
		}
		v := take(f.video, got.video, c.unit, min(next.unit, stop), videoPID, &info)
		from := slices.IndexFunc(f.audio, func(u au) bool { return u.pts >= c.start })
		to := len(f.audio)
		for i, u := range f.audio {
			if u.pts >= info.End || u.pts >= c.start && away(u) {
				info.Evidence.EndUncertain = info.Evidence.EndUncertain || u.pts < info.End
				to = i
				break
			}
		}
		if from < 0 || len(v) == 0 {
			continue
		}
		a := take(f.audio, got.audio, from, max(from, to), audioPID, &info)
		if len(a) == 0 {
			continue
		}
		out = append(out, write(info, v, a))
	}
	return out
}

// kept is what a recorder has of a unit.
type kept struct {
	au
	duration timeline.Ticks
	damaged  bool
}

// take gives what came of units [from, to), and notes what did not.
func take(us []au, got []fate, from, to int, pid uint16, info *segment.Info) (out []kept) {
	for i := from; i < to; i++ {
		if got[i] == lost {
			k := i
			for i+1 < to && got[i+1] == lost {
				i++
			}
			end := us[i].dts + 9000
			if i+1 < len(us) {
				end = us[i+1].dts
			}
			if pid == audioPID {
				end = min(end, info.End)
			}
			info.Evidence.Missing = append(info.Evidence.Missing, segment.MissingSpan{PID: pid, From: us[k].dts, To: end, Reason: segment.ReasonContinuity})
			continue
		}
		x := kept{au: us[i], damaged: got[i] == gets}
		if x.damaged {
			x.data = x.data[:len(x.data)-1-i%2]
			info.Evidence.Faulty = append(info.Evidence.Faulty, segment.FaultySample{PID: pid, DTS: x.dts, Reason: segment.ReasonContinuity})
		}
		out = append(out, x)
	}
	for i := range out {
		x := &out[i]
		x.duration = x.long
		switch {
		case i+1 < len(out):
			x.duration = out[i+1].dts - x.dts
		case pid == videoPID:
			x.duration = 9000
			for k := to; k < len(us); k++ {
				if got[k] != lost {
					x.duration = us[k].dts - x.dts
					break
				}
			}
		}
	}
	return out
}

// write makes the bytes of a copy (FORMAT.md, "Chunks").
func write(info segment.Info, v, a []kept) join.Copy {
	type part struct {
		cell timeline.Ticks
		pid  uint16
		data []byte
	}
	var parts []part
	for _, t := range []struct {
		pid   uint16
		codec string
		kind  fmp4.Kind
		us    []kept
	}{{videoPID, "avc1.64001f", fmp4.Video, v}, {audioPID, "mp4a.40.2", fmp4.Audio, a}} {
		tr := segment.Track{PID: t.pid, Codec: t.codec, Samples: uint32(len(t.us)), Start: t.us[0].dts, End: t.us[len(t.us)-1].dts + t.us[len(t.us)-1].duration}
		for i := 0; i < len(t.us); {
			from, cell := i, t.us[i].dts/timeline.ChunkTicks
			var samples []fmp4.Sample
			var payload []byte
			for ; i < len(t.us) && t.us[i].dts/timeline.ChunkTicks == cell; i++ {
				u := &t.us[i]
				flags := fmp4.FlagsSync
				if !u.rap || u.damaged && t.pid == videoPID {
					flags = fmp4.FlagsNonSync
				}
				samples = append(samples, fmp4.Sample{Duration: uint32(u.duration), Size: uint32(len(u.data)), Flags: flags, Offset: uint32(u.pts - u.dts)})
				payload = append(payload, u.data...)
			}
			parts = append(parts, part{cell, t.pid, fmp4.AppendChunk(nil, t.kind, t.pid, t.us[from].dts, samples, payload)})
			tr.Bytes += uint64(len(parts[len(parts)-1].data))
		}
		info.Tracks = append(info.Tracks, tr)
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Or(cmp.Compare(a.cell, b.cell), cmp.Compare(a.pid, b.pid)) })
	c := join.Copy{Info: info}
	for _, p := range parts {
		c.Data = append(c.Data, p.data...)
	}
	c.Info.Digest, c.Info.Bytes = segment.Sum(c.Data), uint64(len(c.Data))
	return c
}

// lose loses units around the places where segments begin, and a few others. apart: never what another lost.
func (f *feed) lose(rnd *rand.Rand, sites int, apart bool) []fates {
	out := make([]fates, sites)
	for i := range out {
		out[i] = fates{video: make([]fate, len(f.video)), audio: make([]fate, len(f.audio))}
	}
	free := func(i, site int, audio bool) bool {
		for k := range out {
			l := out[k].video
			if audio {
				l = out[k].audio
			}
			if k != site && l[i] != arrives {
				return false
			}
		}
		return true
	}
	hit := func(list []fate, at, n, site int, audio bool) {
		how := []fate{lost, gets}[rnd.IntN(2)]
		for i := max(at, 2); i < min(at+n, len(list)-2); i++ {
			if !apart || free(i, site, audio) {
				list[i] = how
			}
		}
	}
	places := cuts(*f, make([]fate, len(f.video)), func(au) bool { return false })
	for _, c := range places {
		for range rnd.IntN(4) {
			site := rnd.IntN(sites)
			at := max(0, c.unit-2+rnd.IntN(6))
			if rnd.IntN(2) == 0 {
				at = c.unit
			}
			hit(out[site].video, at, 1+rnd.IntN(3), site, false)
			if rnd.IntN(2) == 0 {
				k, _ := slices.BinarySearchFunc(f.audio, c.start, func(u au, t timeline.Ticks) int { return cmp.Compare(u.dts, t) })
				hit(out[site].audio, k-2+rnd.IntN(4), 1+rnd.IntN(3), site, true)
			}
		}
	}
	for range rnd.IntN(6) {
		site := rnd.IntN(sites)
		hit(out[site].video, rnd.IntN(len(f.video)), 1+rnd.IntN(8), site, false)
		hit(out[site].audio, rnd.IntN(len(f.audio)), 1+rnd.IntN(8), site, true)
	}
	if rnd.IntN(8) == 0 { // all random access points of some cells
		site := rnd.IntN(sites)
		from := rnd.IntN(len(f.video))
		for i := max(from, 2); i < min(from+80, len(f.video)-2); i++ {
			if f.video[i].rap && (!apart || free(i, site, false)) {
				out[site].video[i] = lost
			}
		}
	}
	if !apart && rnd.IntN(6) == 0 {
		o := &out[rnd.IntN(sites)]
		o.off[0] = f.video[rnd.IntN(len(f.video))].dts
		o.off[1] = o.off[0] + timeline.Ticks(rnd.IntN(int(3*timeline.CellTicks)))
	}
	return out
}
