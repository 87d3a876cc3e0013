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
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// version of RFC 8216bis: EXT-X-MAP in any playlist needs 6, EXT-X-GAP 8.
	version = 8
	// A target duration must not change, and no window shows the longest GOP of a stream. So there are two: for segments
	// of a cell and a GOP of 4 s, and for the longest that the forced cut allows, four cells (FORMAT.md).
	usualTarget, longTarget = 10 * time.Second, 24 * time.Second
	// maxEntries bounds a playlist, gaps included: 3 days.
	maxEntries = 50_000
	// gapTicks is how far a segment may begin after the one before without that being a gap: less than any frame.
	gapTicks = timeline.TicksPerSecond / 1000
)

var errTooLong = fmt.Errorf("%w: the window holds more than %d segments and gaps, ask for a shorter one", errs.ErrInvalid, maxEntries)

// playlist is the sealed segments of a window, at least one.
type playlist struct {
	segments []archive.Segment
	entries  int    // how many lines of a rendition they make, about
	ranges   []byte // EXT-X-DATERANGE of what SCTE-35 said
	pages    []textPage
	before   []archive.Segment // what lies before the first, as far as its text may still be read
}

// add appends a segment. Error: errs.ErrInvalid, the playlist would be too long.
func (l *playlist) add(s archive.Segment) error {
	l.entries++
	if n := len(l.segments); n > 0 {
		a := &l.segments[n-1]
		l.entries += int(between(a, &s, number(&s)-number(a)-1))
	}
	if l.entries > maxEntries {
		return errTooLong
	}
	l.segments = append(l.segments, s)
	return nil
}

// gapBetween gives for how long nothing is there between two segments: by the source's clock on one timeline, else by UTC.
func gapBetween(a, b *archive.Segment) time.Duration {
	if a.Slot.Timeline != b.Slot.Timeline {
		return b.Start.Sub(a.End)
	}
	return (b.U(b.Info.Start) - a.U(a.Info.End)).Duration()
}

// cut reports whether b does not go on as a did: on another timeline, or with another configuration.
func cut(a, b *archive.Segment) bool {
	return a.Slot.Timeline != b.Slot.Timeline || a.Slot.InitSet != b.Slot.InitSet
}

// track gives the newest description of a PID, or nil.
func (l *playlist) track(pid uint16) *segment.Track {
	for i := len(l.segments) - 1; i >= 0; i-- {
		if t := l.segments[i].Info.Track(pid); t != nil {
			return t
		}
	}
	return nil
}

// tracks gives every PID of picture and sound of the window once, in order, the video apart.
func (l *playlist) tracks() (video, other []*segment.Track) {
	var pids []uint16
	for i := range l.segments {
		for _, t := range l.segments[i].Info.Tracks {
			if !t.Data() && !slices.Contains(pids, t.PID) {
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
	fmt.Fprintf(b, "#EXTM3U\n#EXT-X-VERSION:%d\n", version)
	video, other := l.tracks()
	groups := make(map[string][]*segment.Track)
	for _, t := range other {
		groups[t.Codec] = append(groups[t.Codec], t)
	}
	for _, g := range groups { // what is for some listeners alone is nobody's default
		slices.SortStableFunc(g, func(a, b *segment.Track) int { return cmp.Compare(min(len(a.Role), 1), min(len(b.Role), 1)) })
	}
	codecs := slices.SortedFunc(maps.Keys(groups), func(a, b string) int { return cmp.Compare(groups[a][0].PID, groups[b][0].PID) })
	for _, codec := range codecs {
		for i, t := range groups[codec] {
			l.rendition(b, name, t, i == 0)
		}
	}
	for i := range l.pages {
		b.WriteString(l.pages[i].rendition(name))
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
	label, isDefault, auto := fmt.Sprintf("PID %d", t.PID), "NO", "YES"
	if first {
		isDefault = "YES"
	}
	said, characteristics := saidOf(mpegts.Role(t.Role))
	if said != "" {
		label += ", " + said
	}
	if t.Role == string(mpegts.RoleDescriptionMix) && !first {
		auto = "NO" // without the programme's sound, which no player mixes with it
	}
	fmt.Fprintf(b, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=%q,NAME=%q,", group(t.Codec), label)
	if t.Language != "" {
		fmt.Fprintf(b, "LANGUAGE=%q,", t.Language)
	}
	if characteristics != "" {
		fmt.Fprintf(b, "CHARACTERISTICS=%q,", characteristics)
	}
	fmt.Fprintf(b, "DEFAULT=%s,AUTOSELECT=%s,URI=\"%s/%d.m3u8\"\n", isDefault, auto, name, t.PID)
}

// saidOf says what a role is for viewers, and by the media characteristics of RFC 8216bis (4.4.6.1).
func saidOf(r mpegts.Role) (label, characteristics string) {
	switch r {
	case mpegts.RoleDescription:
		return "audio description", "public.accessibility.describes-video"
	case mpegts.RoleDescriptionMix:
		return "audio description alone", "public.accessibility.describes-video"
	case mpegts.RoleHearing:
		return "for the hard of hearing", "public.accessibility.enhances-speech-intelligibility"
	case mpegts.RoleSpokenSubtitles:
		return "spoken subtitles", ""
	case mpegts.RoleCleanEffects, mpegts.RoleMusic:
		return "music and effects", ""
	case mpegts.RoleDialogue:
		return "dialogue", ""
	case mpegts.RoleCommentary:
		return "commentary", ""
	case mpegts.RoleEmergency:
		return "emergency", ""
	case mpegts.RoleVoiceOver:
		return "voice-over", ""
	}
	return "", "" // none, or of a newer program
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
	if len(l.pages) > 0 {
		fmt.Fprintf(b, ",SUBTITLES=%q", textGroup)
	}
	fmt.Fprintf(b, "\n%s/%d.m3u8\n", name, main.PID)
}

func group(codec string) string { return "audio-" + strings.ToLower(codec) }

// target is the target duration.
func (l *playlist) target() time.Duration {
	longest := usualTarget
	for i := range l.segments {
		for _, t := range l.segments[i].Info.Tracks {
			longest = max(longest, (t.End - t.Start).Duration())
		}
	}
	if longest > usualTarget {
		longest = max(longest, longTarget)
	}
	return time.Duration(math.Ceil(longest.Seconds())) * time.Second
}

// media lists the segments of one track, or of a page of its text. Paths lead from /STREAM/archive-FROM-DURATION/ up to /STREAM/. There is no
// EXT-X-PLAYLIST-TYPE: a window that grew is VOD when it has ended, and nothing but EXT-X-ENDLIST may change then.
func (l *playlist) media(pid uint16, page int, win window, n *numbering) *bytes.Buffer {
	b := &bytes.Buffer{}
	target := l.target()
	fmt.Fprintf(b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-TARGETDURATION:%d\n", version, int(target.Seconds()))
	if !slices.ContainsFunc(l.segments, func(s archive.Segment) bool { return !s.Info.Independent }) {
		b.WriteString("#EXT-X-INDEPENDENT-SEGMENTS\n")
	}
	first := n.first()
	fmt.Fprintf(b, "#EXT-X-MEDIA-SEQUENCE:%d\n#EXT-X-DISCONTINUITY-SEQUENCE:%d\n", first.segment, first.cuts)
	b.Write(l.ranges)
	w := mediaWriter{b: b, pid: pid, page: page, target: target}
	if n.lead > 0 { // the init segment comes first, for players that expect one with the first entry
		if i := slices.IndexFunc(l.segments, func(s archive.Segment) bool { return s.Info.Track(pid) != nil }); i >= 0 {
			w.use(l.segments[i].Info.Track(pid).Init)
		}
		w.gap(win.From, l.segments[0].Start.Sub(win.From), n.lead)
	}
	if n.leadCut {
		b.WriteString("#EXT-X-DISCONTINUITY\n")
	}
	for i := range l.segments {
		if i > 0 { // what is missing, and where it does not go on as before (I2)
			before, s := &l.segments[i-1], &l.segments[i]
			w.gap(before.End, gapBetween(before, s), int(n.list[i].segment-n.list[i-1].segment-1))
			if cut(before, s) {
				b.WriteString("#EXT-X-DISCONTINUITY\n")
			}
		}
		if page != 0 {
			before := l.segments[:i]
			if i < maxBefore {
				before = slices.Concat(l.before, before)
			}
			w.addText(before, &l.segments[i])
			continue
		}
		w.add(&l.segments[i])
	}
	if !win.live {
		b.WriteString("#EXT-X-ENDLIST\n")
	}
	return b
}

// mediaWriter writes one rendition.
type mediaWriter struct {
	b      *bytes.Buffer
	pid    uint16
	page   int // of text; 0: the track itself
	target time.Duration
	mapped segment.Digest // of the init segment in force
}

func (w *mediaWriter) add(s *archive.Segment) {
	t := s.Info.Track(w.pid)
	if t == nil || t.Samples == 0 {
		w.gap(s.Start, (s.Info.End - s.Info.Start).Duration(), 1)
		return
	}
	w.use(t.Init)
	at := s.Start // is of the first picture shown; its DTS may be earlier
	if t.Start > s.Info.Start {
		at = at.Add((t.Start - s.Info.Start).Duration())
	}
	fmt.Fprintf(w.b, "#EXT-X-PROGRAM-DATE-TIME:%s\n#EXTINF:%.5f,\n../segment/%s/%d/%d.m4s\n",
		at.Format("2006-01-02T15:04:05.000Z"), (t.End - t.Start).Duration().Seconds(), s.Info.Digest, s.Slot.Turn, w.pid)
}

// use names the init segment of what follows.
func (w *mediaWriter) use(init segment.Digest) {
	if w.mapped != init && w.page == 0 {
		fmt.Fprintf(w.b, "#EXT-X-MAP:URI=\"../init/%s.mp4\"\n", init)
		w.mapped = init
	}
}

// gap marks a stretch without media, in pieces of which none is longer than the target duration: what is too much for
// them, less than two cells where a segment broke off, is seen from the time of what follows alone.
func (w *mediaWriter) gap(at time.Time, length time.Duration, pieces int) {
	length = max(length, 0) // nothing is missing any more, and yet what follows keeps its number
	for i := range time.Duration(pieces) {
		from, to := length*i/time.Duration(pieces), length*(i+1)/time.Duration(pieces)
		fmt.Fprintf(w.b, "#EXT-X-GAP\n#EXT-X-PROGRAM-DATE-TIME:%s\n#EXTINF:%.5f,\n../gap/%d.m4s\n",
			at.Add(from).Format("2006-01-02T15:04:05.000Z"), min(to-from, w.target).Seconds(), at.Add(from).UnixMilli())
	}
}
