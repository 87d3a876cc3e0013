package sim

import (
	"fmt"
	"hash/crc32"
	"math/bits"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const (
	pid = 256
	// A segment is a cell of sound, so that every one of it begins one.
	framesPerCell  = 32
	frameTicks     = int64(timeline.CellTicks) / framesPerCell
	framesPerChunk = int64(timeline.ChunkTicks) / frameTicks
)

// frames is a set of the frames of one segment.
type frames uint32

const allFrames = frames(1<<framesPerCell - 1)

func (f frames) count() int { return bits.OnesCount32(uint32(f)) }

// broadcast is the source of all sites: segment k begins k cells after it.
type broadcast struct {
	seed  uint64
	began time.Time
	first int64 // the cell of segment 0 on the source's clock, without its turns
	clean bool  // nothing of it is lost on the way
	jumps []jump
}

// jump is that of the source's clock: from segment k on it is so many cells ahead of where it would be.
type jump struct {
	k  int
	by int64
}

// start is the T of a segment.
func (b *broadcast) start(k int) timeline.Ticks {
	cell := b.first + int64(k)
	for _, j := range b.jumps[:b.stretch(k)] {
		cell += j.by
	}
	return timeline.Wrap + timeline.Ticks((cell%timeline.CellsPerTurn+timeline.CellsPerTurn)%timeline.CellsPerTurn)*timeline.CellTicks
}

// stretch is how often the clock has jumped before the end of a segment.
func (b *broadcast) stretch(k int) (n int) {
	for n < len(b.jumps) && b.jumps[n].k <= k {
		n++
	}
	return n
}

// head is the T to which the source has come, and the segment in which that is.
func (b *broadcast) head(t time.Time) (timeline.Ticks, int) {
	since := timeline.FromDuration(t.Sub(b.began))
	k := int(since / timeline.CellTicks)
	return b.start(k) + since%timeline.CellTicks, k
}

// at is how far the source has come: frames since the first.
func (b *broadcast) at(t time.Time) int {
	return int(int64(timeline.FromDuration(t.Sub(b.began))) / frameTicks)
}

// body is what an intact frame holds.
func body(k, n int) string { return fmt.Sprintf("segment %06d frame %02d", k, n) }

// loss is what a site does not receive of a segment, or receives spoiled.
func (b *broadcast) loss(site, k int) (lost, spoiled frames) {
	if b.clean {
		return 0, 0
	}
	rnd := rand.New(rand.NewPCG(b.seed, uint64(site%3)<<32|uint64(k)))
	one := func() frames { return 1 << (1 + rnd.IntN(framesPerCell-2)) }
	switch rnd.IntN(10) {
	case 0, 1:
		lost = one()
		lost |= one()
	case 2:
		spoiled = one()
	case 3:
		lost = one()
		spoiled = one() &^ lost
	case 4:
		lost = allFrames
	}
	return lost, spoiled
}

// made is a segment as a producer has it.
type made struct {
	k      int
	seq    uint64
	info   segment.Info
	inits  []segment.Init
	chunks []*dvrv1.RecordRequest
	ends   []int // the frame behind each chunk
	intact frames
	since  time.Duration

	stretch uint32
	sealed  time.Time
}

var soundInit, soundCodec = func() (segment.Init, string) {
	data, codec, err := fmp4.AACInit(pid, "eng", fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 2})
	if err != nil {
		panic(err)
	}
	return segment.Init{PID: pid, Hash: segment.Sum(data), Data: data}, codec
}()

// make gives segment k as a site receives it that joined at a frame.
func (b *broadcast) make(site, k, from int, seq uint64, uncertain bool) *made {
	lost, spoiled := b.loss(site, k)
	if lost == allFrames {
		return nil
	}
	start := b.start(k)
	at := func(n int) timeline.Ticks { return start + timeline.Ticks(int64(n)*frameTicks) }
	m := &made{k: k, seq: seq, inits: []segment.Init{soundInit}}
	for lost>>from&1 == 1 {
		from++
	}
	m.info = segment.Info{Start: at(from), End: at(framesPerCell), Independent: true, Path: []string{siteName(site)}, Format: segment.Format}
	m.info.Evidence.StartUncertain = uncertain || from > 0
	t := segment.Track{PID: pid, Codec: soundCodec, Language: "eng", Init: soundInit.Hash, Start: at(from), End: at(framesPerCell)}
	var all []byte
	faulty, missing := 0, 0 // what was told with the chunks before
	for n := from; n < framesPerCell; {
		end := (n/int(framesPerChunk) + 1) * int(framesPerChunk)
		var samples []fmp4.Sample
		var payload []byte
		first, next := -1, 0
		for ; n < end; n++ {
			if lost>>n&1 == 1 {
				m.info.Evidence.Missing = append(m.info.Evidence.Missing, segment.MissingSpan{PID: pid, From: at(n), To: at(n + 1), Reason: segment.ReasonContinuity})
				continue
			}
			if first < 0 {
				first = n
			}
			data := body(k, n)
			if spoiled>>n&1 == 1 {
				data += " spoiled"
				m.info.Evidence.Faulty = append(m.info.Evidence.Faulty, segment.FaultySample{PID: pid, DTS: at(n), Reason: segment.ReasonContinuity})
			} else {
				m.intact |= 1 << n
			}
			for next = n + 1; lost>>next&1 == 1; next++ { // a frame is as long as it is to the next one
			}
			samples = append(samples, fmp4.Sample{Duration: uint32(int64(next-n) * frameTicks), Size: uint32(len(data)), Flags: fmp4.FlagsSync})
			payload = append(payload, data...)
		}
		if len(samples) == 0 {
			continue
		}
		c := fmp4.AppendChunk(nil, fmp4.Audio, pid, at(first), samples, payload)
		cell := uint32(at(first) / timeline.ChunkTicks)
		crc := crc32.Checksum(c, crc32.MakeTable(crc32.Castagnoli))
		m.info.Chunks = append(m.info.Chunks, segment.Chunk{PID: pid, Cell: cell, Offset: uint64(len(all)), Size: uint32(len(c)), CRC: crc, TfdtOffset: fmp4.TfdtOffset})
		m.chunks = append(m.chunks, &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Chunk{Chunk: &dvrv1.Chunk{
			Seq: seq, Pid: pid, ChunkCell: cell, TfdtOffset: fmp4.TfdtOffset, Crc32C: crc, Size: uint32(len(c)), Data: c, Path: m.info.Path,
			Evidence: segmentpb.Evidence(segment.Evidence{Faulty: m.info.Evidence.Faulty[faulty:], Missing: m.info.Evidence.Missing[missing:]}),
		}}})
		faulty, missing = len(m.info.Evidence.Faulty), len(m.info.Evidence.Missing)
		m.ends = append(m.ends, k*framesPerCell+max(end, next))
		all = append(all, c...)
		t.Samples += uint32(len(samples))
	}
	t.Bytes = uint64(len(all))
	m.info.Tracks = []segment.Track{t}
	m.info.Digest, m.info.Bytes = segment.Sum(all), uint64(len(all))
	return m
}

func (m *made) key() *dvrv1.SegmentKey {
	return segmentpb.Key(segment.Key{Seq: m.seq, Stretch: m.stretch, Start: m.info.Start, InitSet: segment.MakeInitSet(m.info.Tracks), SincePrevious: m.since})
}

func (m *made) first() *dvrv1.RecordRequest {
	return &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Begin{Begin: &dvrv1.Begin{
		Key: m.key(), Inits: segmentpb.Inits(m.inits), Path: m.info.Path, Tracks: segmentpb.Tracks(m.info.Tracks), Independent: true,
		StartUncertain: m.info.Evidence.StartUncertain,
	}}}
}

func (m *made) seal() *dvrv1.RecordRequest {
	return &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Seal{Seal: &dvrv1.Seal{Seq: m.seq, Info: segmentpb.Info(m.info)}}}
}

func (m *made) offer() *dvrv1.Offer {
	return &dvrv1.Offer{Key: m.key(), Info: segmentpb.Info(m.info), AgeNanos: int64(max(1, time.Since(m.sealed)))}
}

// content is what a copy in an archive holds.
type content struct {
	k      int
	intact frames
}

// contentOf reads the bytes of a copy. Whatever is no frame of the broadcast is an error (I2).
func contentOf(info *segment.Info, data []byte) (content, error) {
	c := content{k: -1}
	for _, ch := range info.Chunks {
		var p fmp4.Chunk
		if err := p.Parse(data[ch.Offset : ch.Offset+uint64(ch.Size)]); err != nil {
			return c, err
		}
		for s := range p.All() {
			text, spoiled := strings.CutSuffix(string(s.Data), " spoiled")
			var k, n int
			if _, err := fmt.Sscanf(text, "segment %06d frame %02d", &k, &n); err != nil || text != body(k, n) {
				return c, fmt.Errorf("a frame is %q", s.Data)
			}
			if c.k >= 0 && c.k != k {
				return c, fmt.Errorf("frames of segments %d and %d in one", c.k, k)
			}
			if c.k = k; !spoiled {
				c.intact |= 1 << n
			}
		}
	}
	return c, nil
}
