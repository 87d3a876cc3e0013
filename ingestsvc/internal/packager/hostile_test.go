package packager

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/mpegts"
)

// Parameter sets of two encoders, and a recovery point with recovery_frame_cnt 0.
var (
	sps       = []byte{0x67, 0x64, 0x00, 0x14, 0xac, 0xd9, 0x41, 0x41, 0x9f, 0x9f, 0x01, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3, 0x20, 0xf1, 0x42, 0x99, 0x60}
	pps       = []byte{0x68, 0xef, 0xbc, 0xb0}
	otherSPS  = []byte{0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0xd0, 0xf6, 0xc0, 0x5a, 0x80, 0x80, 0x80, 0xa0, 0, 0, 3, 0, 0x20, 0, 0, 7, 0x91, 0x0c, 0x0b, 0xb2}
	recovery  = []byte{6, 6, 1, 0xC4, 0x80}
	idrSlice  = []byte{0x65, 0x88, 1, 2, 3}
	predicted = []byte{0x41, 0x9A, 4, 5, 6, 7}
)

func annexB(nals ...[]byte) (b []byte) {
	for _, n := range nals {
		b = append(append(b, 0, 0, 0, 1), n...)
	}
	return b
}

var (
	idr     = annexB([]byte{9, 0xF0}, sps, pps, idrSlice)
	picture = annexB([]byte{9, 0xF0}, predicted)
	adts    = []byte{0xFF, 0xF1, 0x50, 0x80, 0x01, 0x7F, 0xFC, 0x21, 0x10, 0x05, 0x20}
)

const (
	videoPID = 256
	audioPID = 257
)

func program(streams ...mpegts.Stream) mpegts.Program { return mpegts.Program{Streams: streams} }

var (
	videoStream = mpegts.Stream{PID: videoPID, StreamType: 0x1B, Codec: mpegts.CodecH264}
	audioStream = mpegts.Stream{PID: audioPID, StreamType: 0x0F, Codec: mpegts.CodecAAC}
)

func videoUnit(dts, offset int64, data []byte) *mpegts.AccessUnit {
	return &mpegts.AccessUnit{
		PID: videoPID, DTS: dts & (1<<33 - 1), PTS: (dts + offset) & (1<<33 - 1), HasPTS: true, Data: data,
	}
}

func audioUnit(pts int64) *mpegts.AccessUnit {
	pts &= 1<<33 - 1
	return &mpegts.AccessUnit{
		PID: audioPID, DTS: pts, PTS: pts, HasPTS: true, Data: adts, Samples: 1024, Rate: 44100,
	}
}

// TestHostile: I3 and I4 for access units of any time, content and order. The recorder checks the rest.
func TestHostile(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	datas := [][]byte{
		nil, {0}, {0, 0, 1}, adts, adts[:7], {0xFF, 0xFD, 0xA4, 0x04, 1, 2, 3}, {0xFF, 0xFB, 0x14, 0xC4, 1, 2, 3},
		idr, picture, annexB(sps, pps, recovery, predicted), annexB(otherSPS, pps, idrSlice), annexB(sps[:9], pps, idrSlice),
		annexB(sps, []byte{0x68}, idrSlice), annexB([]byte{6, 0xFF}, []byte{0x65}), make([]byte, 5000),
		hevcIDR(), annexB(hevcVPS, hevcSPS[:20], hevcPPS, hevcSlice(19)), annexB([]byte{0x40}, hevcSlice(1)), mpegIntra(), mpegSequence,
		slices.Concat(mpegSequence[:6], mpegExtension, mpegPicture(1)), mpegPicture(2)[:9],
	}
	codecs := []mpegts.Codec{mpegts.CodecNone, mpegts.CodecH264, mpegts.CodecH264, mpegts.CodecAAC, mpegts.CodecMPEGAudio,
		mpegts.CodecHEVC, mpegts.CodecMPEGVideo}
	steps := []int64{0, 1, 1, 3600, 3600, 3600, 1 << 15, 1 << 19, -3600, 200_000, -200_000, 2_000_000, 1 << 32, -1 << 31}
	for round := range uint64(rounds) {
		rnd := rand.New(rand.NewPCG(seed, round))
		r := &recorder{t: t}
		const limit = 1 << 16
		p := New(Options{MaxPending: limit}, r)
		var clock [6]int64
		now := time.Duration(0)
		wild := rnd.IntN(4) // how often something is not as it should be
		for i := range 3000 {
			if i == 0 || rnd.IntN(500) == 0 {
				var prog mpegts.Program
				for pid := range uint16(1 + rnd.IntN(6)) {
					codec := codecs[rnd.IntN(len(codecs))]
					prog.Streams = append(prog.Streams, mpegts.Stream{PID: pid, Codec: codec})
				}
				p.Program(prog)
			}
			now += time.Duration(rnd.Int64N(int64(50 * time.Millisecond)))
			pid := rnd.IntN(7)
			u := mpegts.AccessUnit{PID: uint16(pid), Arrived: now, HasPTS: true, Samples: 1024, Rate: 48000}
			track := p.byPID[u.PID]
			if track == nil {
				p.AccessUnit(&u)
				continue
			}
			clock[pid] += 3600
			if wild > 0 && rnd.IntN(100) < wild {
				clock[pid] += steps[rnd.IntN(len(steps))]
			}
			u.DTS = clock[pid] & (1<<33 - 1)
			u.PTS = (clock[pid] + 3600*rnd.Int64N(4)) & (1<<33 - 1)
			u.HasPTS = rnd.IntN(50) > 0
			u.Lost = rnd.IntN(60) == 0
			u.Damage = mpegts.Damage(rnd.IntN(2) * rnd.IntN(2) * rnd.IntN(64))
			if rnd.IntN(100) < wild {
				u.Rate, u.Samples = rnd.IntN(3)*24000, rnd.IntN(3)*1152
			}
			u.Data = datas[rnd.IntN(len(datas))]
			if rnd.IntN(3) > 0 {
				switch track.codec {
				case mpegts.CodecAAC:
					u.Data = adts
				case mpegts.CodecH264:
					u.Data = [][]byte{idr, picture, picture, picture}[rnd.IntN(4)]
				case mpegts.CodecHEVC:
					u.Data = [][]byte{hevcIDR(), annexB(hevcSlice(1))}[rnd.IntN(2)]
				case mpegts.CodecMPEGVideo:
					u.Data = [][]byte{mpegIntra(), mpegPicture(2)}[rnd.IntN(2)]
				}
			}
			p.AccessUnit(&u)
			held := 0
			for _, tr := range p.tracks {
				held += len(tr.buf) - tr.dead
				if cap(tr.buf) > 8*limit || len(tr.q) > maxQueue+1 {
					t.Fatalf("round %d: a track holds %d samples and %d bytes", round, len(tr.q), cap(tr.buf))
				}
			}
			if p.pending != held || held > limit {
				t.Fatalf("round %d: %d bytes are held, %d counted, %d allowed", round, held, p.pending, limit)
			}
			if gone := len(p.tracks) - len(p.byPID); gone > maxGone+1 { // the reference may be one of them
				t.Fatalf("round %d: %d tracks of earlier programs", round, gone)
			}
		}
		p.Flush()
		if p.pending != 0 {
			t.Errorf("round %d: %d bytes are pending after Flush", round, p.pending)
		}
		if r.open != nil {
			t.Errorf("round %d: segment %d is open after Flush", round, r.open.key.Seq)
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

// I4: where nothing can be recorded yet, what waits is bounded all the same.
func TestWaitingIsBounded(t *testing.T) {
	const limit = 1 << 16
	r := &recorder{t: t}
	p := New(Options{MaxPending: limit}, r)
	p.Program(program(videoStream, audioStream))
	for range 40_000 { // the clock stands, so the video is waited for
		p.AccessUnit(audioUnit(90_000))
		if p.pending > limit {
			t.Fatalf("%d bytes are pending, %d allowed", p.pending, limit)
		}
	}
	if p.Stats().Overflows == 0 {
		t.Error("no overflow was counted")
	}
	for i := range 1000 {
		s := videoStream
		s.Language = []string{"eng", "fra"}[i%2]
		p.Program(program(s))
		if i%2 == 0 {
			p.AccessUnit(videoUnit(90_000, 0, picture))
		}
		if gone := len(p.tracks) - len(p.byPID); gone > maxGone+1 {
			t.Fatalf("%d tracks of earlier programs", gone)
		}
	}
}
