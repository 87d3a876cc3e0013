package packager

import (
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/sampler"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// sample is an access unit in a queue. Times are unwrapped.
type sample struct {
	dts, pts timeline.Ticks
	at       int64 // where its bytes begin, counted over all bytes the track ever had
	size     uint32
	nominal  uint32 // duration of an audio frame, rounded down
	rap      bool
	first    bool // no sample of the track is known before it
	guessed  bool // its times are not its own
	uneven   bool // a picture with repeated fields: from it on steps are not all alike
	reason   segment.Reason
	cfg      *sampler.Config
	seg      *seg

	missing     segment.Reason // why samples may be missing before it, 0: none
	missingFrom timeline.Ticks // up to dts
}

// track is one elementary stream of the program.
type track struct {
	pid      uint16
	codec    mpegts.Codec
	language string
	role     mpegts.Role
	channels uint8 // channel_config_code of Opus
	video    bool
	sparse   *sparse // of a data track
	removed  bool    // the program no longer has it

	cfg     *sampler.Config // of the newest sample
	sampler *sampler.Sampler

	q        []sample
	assigned int    // so many of q have a segment
	together int    // so many of these are known to go into one chunk
	buf      []byte // bytes of the samples in q, and of some dropped between them
	base     int64  // the count of buf's first byte
	dead     int    // bytes at the start of buf that are no longer needed

	mostBytes, mostSamples int // greatest lengths of buf and q since they were fitted

	seen    bool
	dts     timeline.Ticks // of the newest sample
	step    timeline.Ticks // expected distance to the next
	steady  int            // so many steps in a row were like this
	end     timeline.Ticks // greatest presentation end so far
	givenUp bool           // too much waited for its next sample
	faulty  bool           // the newest sample is damaged
	broken  bool           // an access unit was dropped after the newest sample
	timed   timeline.Ticks // of the newest sample whose time is its own
	guesses int            // samples since then
	late    int            // so many in a row stepped back far
	arrived time.Duration  // of the newest sample

	cur      *seg           // segment of the newest sample that has one
	known    timeline.Ticks // PTS of the newest sample whose place is known
	graceEnd timeline.Ticks // until then it is waited for although it has shown nothing
	jump     timeline.Ticks // the step that the reference track made and this one is to follow; 0: none
	jumpAt   timeline.Ticks
	raw      timeline.Ticks // decode time of the newest access unit, as it came
	odd      timeline.Ticks // the newest step that its frames do not explain
	oddAt    timeline.Ticks // where the reference track was then
}

const never = timeline.Ticks(-1 << 62)

func newTrack(s mpegts.Stream) *track {
	return &track{
		pid: s.PID, codec: s.Codec, language: s.Language, role: s.Role, channels: s.Channels, video: s.Codec.Video(), known: never,
		sampler: sampler.New(s),
	}
}

// convert appends the access unit to t.buf in the form that samples have, and fills in s. It reports false for what
// cannot be a sample.
func (t *track) convert(u *mpegts.AccessUnit, s *sample) bool {
	buf, made, ok := t.sampler.Append(t.buf, u)
	t.buf = buf
	if made.Config != nil {
		t.cfg = made.Config
	}
	s.size, s.nominal, s.rap, s.uneven, s.cfg = made.Size, made.Nominal, made.RAP, made.Uneven, made.Config
	s.reason |= made.Reason
	return ok
}

// is reports whether the track is that of the stream still.
func (t *track) is(s mpegts.Stream) bool {
	return t.codec == s.Codec && t.language == s.Language && t.channels == s.Channels &&
		(t.sparse == nil || t.sparse.descriptors == s.Descriptors)
}

func insertByPID(tracks []*track, t *track) []*track {
	i := slices.IndexFunc(tracks, func(o *track) bool { return o.pid > t.pid })
	if i < 0 {
		i = len(tracks)
	}
	return slices.Insert(tracks, i, t)
}

// silent reports whether the track has fallen so far behind that nothing waits for it.
func (t *track) silent(newest timeline.Ticks) bool { return t.givenUp || newest-t.dts > silence }

// live reports whether the track has shown a sample and goes on.
func (t *track) live(newest timeline.Ticks) bool { return t.seen && !t.removed && !t.silent(newest) }

func (t *track) last() *sample { return &t.q[len(t.q)-1] }

// steadySteps is how many equal steps in a row make a longer one evidence of loss: a track with a varying frame rate
// never gets there.
const steadySteps = 32

// push queues the sample whose bytes are the last of buf, and notes what speaks against it. It reports whether samples
// may be missing before it.
func (t *track) push(s sample, u *mpegts.AccessUnit) (lost bool) {
	s.at = t.base + int64(len(t.buf)) - int64(s.size)
	s.reason |= segment.Reason(u.Damage)
	var why segment.Reason
	if u.Lost {
		why |= segment.Reason(u.LostReason)
		if why == 0 {
			why = segment.ReasonContinuity
		}
	}
	if t.broken {
		why |= segment.ReasonSyntax
	}
	if t.seen {
		s.guessed = s.guessed || t.guesses > 0 && s.dts <= t.dts // it gives way to a guess
		s.dts = max(s.dts, t.dts+1)
		s.pts = max(s.pts, s.dts)
		t.judgeStep(&s, s.dts-t.dts, &why)
		t.guess(&s, why != 0)
	} else {
		t.timed = s.dts
		s.first = true
	}
	if !t.video {
		t.step = timeline.Ticks(s.nominal)
	}
	if s.uneven {
		t.steady = 0
	}
	t.seen, t.broken, t.givenUp, t.faulty, t.dts = true, false, false, s.reason != 0, s.dts
	t.end = max(t.end, s.pts+t.step)
	t.q = append(t.q, s)
	t.mostBytes, t.mostSamples = max(t.mostBytes, len(t.buf)), max(t.mostSamples, len(t.q))
	return why != 0
}

// judgeStep finds what is missing between the newest sample and s. Without lost packets a step is evidence only if it
// can be nothing else: an audio frame that did not come, or a picture left out of a steady rate.
func (t *track) judgeStep(s *sample, step timeline.Ticks, why *segment.Reason) {
	long := step > timeline.TicksPerSecond
	if !t.video {
		long = step >= t.step+t.step*3/4
	} else if t.steady >= steadySteps {
		long = long || step >= t.step+t.step/2
	}
	if long {
		*why |= segment.ReasonStep
	}
	if *why == 0 {
		return
	}
	switch {
	case long || step > t.step+t.step/4:
		s.missing, s.missingFrom = *why, t.dts+t.step
	case !t.faulty && s.reason == 0:
		// Something was lost where both sides look intact and close: all that is known is that it lies between them.
		s.missing, s.missingFrom = *why, t.dts
	}
}

// guess keeps samples whose times depend on what was seen before apart from those that are alike everywhere, and learns
// the step between samples from the others.
func (t *track) guess(s *sample, lost bool) {
	if !s.guessed {
		if !lost {
			t.learn((s.dts - t.timed) / timeline.Ticks(t.guesses+1))
		}
		t.timed, t.guesses = s.dts, 0
		return
	}
	t.guesses++
	s.reason |= segment.ReasonSyntax
	if len(t.q) > 0 { // how long that one is was guessed too
		t.last().reason |= segment.ReasonSyntax
	}
}

// learn takes a step with nothing missing in it as the expected one.
func (t *track) learn(step timeline.Ticks) {
	if t.video && abs(step-t.step) > 2 {
		t.step, t.steady = step, 0
		return
	}
	t.steady++
}

// appendBytes appends the bytes of the first n samples of the queue, size in all, to dst, which has no room for them. Where
// they lie one behind the other, as they mostly do, it is one append: the room that it makes is not cleared first.
func (t *track) appendBytes(dst []byte, n, size int) []byte {
	if from := t.q[0].at - t.base; t.q[n-1].at+int64(t.q[n-1].size) == t.q[0].at+int64(size) {
		return append(dst, t.buf[from:from+int64(size)]...)
	}
	dst = slices.Grow(dst, size)
	for i := range t.q[:n] {
		from := t.q[i].at - t.base
		dst = append(dst, t.buf[from:from+int64(t.q[i].size)]...)
	}
	return dst
}

// pop removes the first n samples and returns how many bytes that set free.
func (t *track) pop(n int) int {
	t.q = slices.Delete(t.q, 0, n)
	t.assigned -= n
	t.together = 0
	return t.trim()
}

// drop removes the first sample that has no segment.
func (t *track) drop() int {
	t.q = slices.Delete(t.q, t.assigned, t.assigned+1)
	return t.trim()
}

// trim gives up the bytes before the first queued sample and returns how many those are.
func (t *track) trim() int {
	dead := len(t.buf)
	if len(t.q) > 0 {
		dead = int(t.q[0].at - t.base)
	}
	freed := dead - t.dead
	t.dead = dead
	if dead > len(t.buf)/2 {
		t.buf = t.buf[:copy(t.buf, t.buf[dead:])]
		t.base += int64(dead)
		t.dead = 0
	}
	return freed
}

// fit gives back room that was needed before the last segment and not in it.
func (t *track) fit() {
	if cap(t.buf) > 2*t.mostBytes {
		t.buf = append(make([]byte, 0, t.mostBytes), t.buf...)
	}
	if cap(t.q) > 2*t.mostSamples {
		t.q = append(make([]sample, 0, t.mostSamples), t.q...)
	}
	t.mostBytes, t.mostSamples = len(t.buf), len(t.q)
}

// clear forgets every queued sample and returns how many bytes that set free.
func (t *track) clear() int {
	t.q, t.assigned, t.together = t.q[:0], 0, 0
	return t.trim()
}
