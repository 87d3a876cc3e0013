package input

import (
	"time"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

// Fault is why an input should be left although its media moves. dvrsvc leaves it while another has none.
type Fault string

// Faults, as the API and Record spell them.
const (
	NoVideo          Fault = "no_video"
	NoAudio          Fault = "no_audio"
	ScrambledFault   Fault = "scrambled" // what video_timeout or audio_timeout misses comes scrambled
	ContinuityErrors Fault = "continuity_errors"
	Denied           Fault = "denied"
)

const (
	// ccSpan is how long max_cc_rate is averaged over.
	ccSpan = 10
	// goodFor is how long nothing must have been wrong before a fault is over. dvrsvc then waits itself before it goes back.
	goodFor = 10 * time.Second
)

// watch follows what an input is left for. Times are monotonic. It is pure but for what it was told.
type watch struct {
	video, audio time.Duration // when the last unit came; at first, when the source was opened
	scrambled    struct{ video, audio uint64 }
	hiding       struct{ video, audio time.Duration } // when its packets were scrambled last

	fault Fault
	wrong time.Duration // when something was wrong last
}

func newWatch(now time.Duration) watch {
	w := watch{video: now, audio: now, wrong: now}
	w.hiding.video, w.hiding.audio = now, now
	return w
}

// reopened goes on where the source was left: the time away is nobody's fault, and a fault is not over by it.
func (w *watch) reopened(left, now time.Duration) watch {
	n := *w
	away := now - left
	n.video, n.audio = w.video+away, w.audio+away
	n.hiding.video, n.hiding.audio = w.hiding.video+away, w.hiding.audio+away
	n.scrambled.video, n.scrambled.audio = 0, 0 // they are counted anew
	n.wrong = now
	return n
}

// unit notes an access unit.
func (w *watch) unit(now time.Duration, video bool) {
	if video {
		w.video = now
	} else {
		w.audio = now
	}
}

// hidden notes how many scrambled packets of pictures and of sound came so far.
func (w *watch) hidden(now time.Duration, s *mpegts.Stats, prog *mpegts.Program) {
	var video, audio uint64
	for _, p := range s.PIDs {
		for _, st := range prog.Streams {
			switch {
			case st.PID != p.PID:
			case st.Codec.Video():
				video += p.Scrambled
			case st.Codec.Audio():
				audio += p.Scrambled
			}
		}
	}
	if video > w.scrambled.video {
		w.hiding.video = now
	}
	if audio > w.scrambled.audio {
		w.hiding.audio = now
	}
	w.scrambled.video, w.scrambled.audio = video, audio
}

// judge says what is wrong now, with hysteresis: at once when it is, and no more when nothing was for goodFor.
func (w *watch) judge(now time.Duration, q streamconf.Quality, ccErrors uint64) Fault {
	found := w.find(now, q, ccErrors)
	switch {
	case found != "":
		w.fault, w.wrong = found, now
	case w.fault != "" && now-w.wrong >= goodFor:
		w.fault = ""
	}
	return w.fault
}

func (w *watch) find(now time.Duration, q streamconf.Quality, ccErrors uint64) Fault {
	gone := func(last, hiding, timeout time.Duration, what Fault) Fault {
		switch {
		case timeout == 0 || now-last < timeout:
			return ""
		case hiding > last:
			return ScrambledFault
		}
		return what
	}
	if f := gone(w.video, w.hiding.video, q.VideoTimeout, NoVideo); f != "" {
		return f
	}
	if f := gone(w.audio, w.hiding.audio, q.AudioTimeout, NoAudio); f != "" {
		return f
	}
	if q.MaxCCRate > 0 && ccErrors > uint64(q.MaxCCRate)*ccSpan { //nolint:gosec // at most 10000
		return ContinuityErrors
	}
	return ""
}
