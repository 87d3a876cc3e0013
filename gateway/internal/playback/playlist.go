package playback

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// version of RFC 8216bis: EXT-X-MAP in any playlist needs 6, EXT-X-GAP 8.
	version = 8
	// minTarget is the target duration of a stream whose GOPs are not longer than a cell takes (FORMAT.md).
	minTarget = 10 * time.Second
	// gapTicks is how far a segment may begin after the one before without that being a gap: less than any frame.
	gapTicks = timeline.TicksPerSecond / 1000
)

// playlist is the sealed segments of a window, at least one.
type playlist struct{ segments []archive.Segment }

// track gives the newest description of a PID, or nil.
func (l *playlist) track(pid uint16) *segment.Track {
	for i := len(l.segments) - 1; i >= 0; i-- {
		if t := l.segments[i].Info.Track(pid); t != nil {
			return t
		}
	}
	return nil
}

// tracks gives every PID of the window once, in order, the video apart.
func (l *playlist) tracks() (video, other []*segment.Track) {
	var pids []uint16
	for i := range l.segments {
		for _, t := range l.segments[i].Info.Tracks {
			if !slices.Contains(pids, t.PID) {
				pids = append(pids, t.PID)
			}
		}
	}
	slices.Sort(pids)
	for _, pid := range pids {
		if t := l.track(pid); t.Video() {
			video = append(video, t)
		} else {
			other = append(other, t)
		}
	}
	return video, other
}

// bandwidth gives the highest and the mean bit rate of a track over its segments.
func (l *playlist) bandwidth(pid uint16) (peak, mean int64) {
	var bits, seconds float64
	for i := range l.segments {
		t := l.segments[i].Info.Track(pid)
		if t == nil || t.End <= t.Start {
			continue
		}
		b, s := float64(t.Bytes*8), (t.End - t.Start).Duration().Seconds()
		bits, seconds = bits+b, seconds+s
		peak = max(peak, int64(math.Ceil(b/s)))
	}
	if seconds > 0 {
		mean = int64(math.Ceil(bits / seconds))
	}
	return peak, mean
}

// master lists the renditions. Audio of different codecs is in different groups, so that a player that cannot play one
// takes another.
func (l *playlist) master(name string) *bytes.Buffer {
	b := &bytes.Buffer{}
	fmt.Fprintf(b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-INDEPENDENT-SEGMENTS\n", version)
	video, other := l.tracks()
	groups := make(map[string][]*segment.Track)
	for _, t := range other {
		groups[t.Codec] = append(groups[t.Codec], t)
	}
	codecs := slices.SortedFunc(maps.Keys(groups), func(a, b string) int { return cmp.Compare(groups[a][0].PID, groups[b][0].PID) })
	for _, codec := range codecs {
		for i, t := range groups[codec] {
			l.rendition(b, name, t, i == 0)
		}
	}
	if len(video) == 0 {
		for _, codec := range codecs {
			l.variant(b, name, groups[codec][0], nil, codec)
		}
		return b
	}
	for _, v := range video {
		if len(codecs) == 0 {
			l.variant(b, name, v, nil, "")
		}
		for _, codec := range codecs {
			l.variant(b, name, v, groups[codec][0], codec)
		}
	}
	return b
}

func (l *playlist) rendition(b *bytes.Buffer, name string, t *segment.Track, first bool) {
	label, isDefault := fmt.Sprintf("PID %d", t.PID), "NO"
	if first {
		isDefault = "YES"
	}
	fmt.Fprintf(b, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=%q,NAME=%q,", group(t.Codec), label)
	if t.Language != "" {
		fmt.Fprintf(b, "LANGUAGE=%q,", t.Language)
	}
	fmt.Fprintf(b, "DEFAULT=%s,AUTOSELECT=YES,URI=\"%s/%d.m3u8\"\n", isDefault, name, t.PID)
}

func (l *playlist) variant(b *bytes.Buffer, name string, main, sound *segment.Track, codec string) {
	codecs := main.Codec
	peak, mean := l.bandwidth(main.PID)
	if sound != nil {
		p, m := l.bandwidth(sound.PID)
		peak, mean, codecs = peak+p, mean+m, codecs+","+sound.Codec
	}
	fmt.Fprintf(b, "#EXT-X-STREAM-INF:BANDWIDTH=%d,AVERAGE-BANDWIDTH=%d,CODECS=%q", max(peak, 1), max(mean, 1), codecs)
	if codec != "" {
		fmt.Fprintf(b, ",AUDIO=%q", group(codec))
	}
	fmt.Fprintf(b, "\n%s/%d.m3u8\n", name, main.PID)
}

func group(codec string) string { return "audio-" + strings.ToLower(codec) }

// target is the target duration: longer than every segment, and the same for every window of a usual stream.
func (l *playlist) target() time.Duration {
	longest := minTarget
	for i := range l.segments {
		for _, t := range l.segments[i].Info.Tracks {
			longest = max(longest, (t.End - t.Start).Duration())
		}
	}
	return time.Duration(math.Ceil(longest.Seconds())) * time.Second
}

// media lists the segments of one track. Paths lead from /STREAM/archive-FROM-DURATION/ up to /STREAM/.
func (l *playlist) media(pid uint16, live bool) *bytes.Buffer {
	b := &bytes.Buffer{}
	target := l.target()
	kind := "VOD"
	if live {
		kind = "EVENT"
	}
	fmt.Fprintf(b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-TARGETDURATION:%d\n#EXT-X-PLAYLIST-TYPE:%s\n#EXT-X-MEDIA-SEQUENCE:0\n",
		version, int(target.Seconds()), kind)
	w := mediaWriter{b: b, pid: pid, target: target}
	for i := range l.segments {
		w.add(&l.segments[i])
	}
	if !live {
		b.WriteString("#EXT-X-ENDLIST\n")
	}
	return b
}

// mediaWriter writes one rendition.
type mediaWriter struct {
	b      *bytes.Buffer
	pid    uint16
	target time.Duration
	last   *archive.Segment
	mapped segment.Digest // of the init segment in force
}

func (w *mediaWriter) add(s *archive.Segment) {
	if w.last != nil {
		w.between(s)
	}
	w.last = s
	t := s.Info.Track(w.pid)
	if t == nil {
		w.gap(s.Start, (s.Info.End - s.Info.Start).Duration())
		return
	}
	if w.mapped != t.Init {
		fmt.Fprintf(w.b, "#EXT-X-MAP:URI=\"../init/%s.mp4\"\n", t.Init)
		w.mapped = t.Init
	}
	at := s.Start // is of the first picture shown; its DTS may be earlier
	if t.Start > s.Info.Start {
		at = at.Add((t.Start - s.Info.Start).Duration())
	}
	fmt.Fprintf(w.b, "#EXT-X-PROGRAM-DATE-TIME:%s\n#EXTINF:%.5f,\n../segment/%s/%d/%d.m4s\n",
		at.Format("2006-01-02T15:04:05.000Z"), (t.End - t.Start).Duration().Seconds(), s.Info.Digest, s.Slot.Turn, w.pid)
}

// between marks what is missing before s, and where it does not go on as before (I2).
func (w *mediaWriter) between(s *archive.Segment) {
	sameTimeline := s.Slot.Timeline == w.last.Slot.Timeline
	missing, least := (s.U(s.Info.Start) - w.last.U(w.last.Info.End)).Duration(), gapTicks.Duration()
	if !sameTimeline { // the clocks say nothing of each other; UTC is known to less than a frame or so
		missing, least = s.Start.Sub(w.last.End), time.Second/10
	}
	if missing > least {
		w.gap(w.last.End, missing)
	}
	if !sameTimeline || s.Slot.InitSet != w.last.Slot.InitSet {
		w.b.WriteString("#EXT-X-DISCONTINUITY\n")
	}
}

// gap marks a stretch without media, in pieces that the target duration allows.
func (w *mediaWriter) gap(at time.Time, length time.Duration) {
	pieces := (length + w.target - 1) / w.target
	for i := range pieces {
		from, to := length*i/pieces, length*(i+1)/pieces
		fmt.Fprintf(w.b, "#EXT-X-GAP\n#EXT-X-PROGRAM-DATE-TIME:%s\n#EXTINF:%.5f,\n../gap/%d.m4s\n",
			at.Add(from).Format("2006-01-02T15:04:05.000Z"), (to - from).Seconds(), at.Add(from).UnixMilli())
	}
}
