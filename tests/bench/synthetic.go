package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const (
	synthVideo, synthAudio = 256, 257
	synthInput             = "udp://239.0.0.1:1234"

	frameTicks  = 3600 // 25 pictures a second
	audioTicks  = 1920 // AAC at 48 kHz
	audioKbit   = 128
	synthFrames = 146 // pictures of a segment: not less than a cell
	synthTicks  = synthFrames * frameTicks
)

// synthDuration is how much media a synthetic segment holds.
var synthDuration = timeline.Ticks(synthTicks).Duration()

// synthetic is a segment as ingestsvc would send it: a picture track and a sound track, cut into chunks. What is in the
// samples is noise.
type synthetic struct {
	seq    uint64
	start  timeline.Ticks
	set    segment.InitSet
	bytes  int
	begin  *dvrv1.RecordRequest
	chunks []any // to send, in order
	ends   []timeline.Ticks
	seal   *dvrv1.RecordRequest
}

// synthSource makes segments of a bit rate. All streams record the same ones, so each is made once; the archives of two
// streams share nothing.
type synthSource struct {
	inits  []segment.Init
	tracks []segment.Track
	noise  []byte
	frame  int // bytes of a picture
	sound  int // bytes of a frame of sound
	users  int

	mu   sync.Mutex // protects the fields below
	made map[int]*synthetic
	left map[int]int // how many users have still to take it
}

func newSynthSource(bitrate, users int) (*synthSource, error) {
	sps := []byte{0x67, 0x42, 0xc0, 0x0c, 0xda, 0x05, 0x06, 0x7e, 0x7c, 0x04, 0x40, 0, 0, 3, 0, 0x40, 0, 0, 0x0c, 0x83, 0xc5, 0x0a, 0xa8}
	s := &synthSource{
		users: users, made: map[int]*synthetic{}, left: map[int]int{},
		frame: (bitrate - audioKbit*1000) / 8 / 25, sound: audioKbit * 1000 / 8 * audioTicks / int(timeline.TicksPerSecond),
	}
	video, vcodec, err := fmp4.H264Init(synthVideo, "", [][]byte{sps}, [][]byte{{0x68, 0xce, 0x0f, 0xc8}})
	if err != nil {
		return nil, err
	}
	audio, acodec, err := fmp4.AACInit(synthAudio, "eng", fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 2})
	if err != nil {
		return nil, err
	}
	for _, t := range []struct {
		pid   uint16
		data  []byte
		codec string
	}{{synthVideo, video, vcodec}, {synthAudio, audio, acodec}} {
		i := segment.Init{PID: t.pid, Hash: segment.Sum(t.data), Data: t.data}
		s.inits = append(s.inits, i)
		s.tracks = append(s.tracks, segment.Track{PID: t.pid, Codec: t.codec, Init: i.Hash})
	}
	s.noise = make([]byte, s.frame*12+s.sound*24)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(s.noise) // it never fails
	return s, nil
}

// unlike has its samples differ from those of sources with another number.
func (s *synthSource) unlike(n byte) {
	for i := range s.noise {
		s.noise[i] ^= n
	}
}

func synthStart(k int) timeline.Ticks {
	return timeline.Wrap + timeline.CellTicks + timeline.Ticks(k)*synthTicks
}

// take gives segment k. Each user takes each segment once.
func (s *synthSource) take(k int) *synthetic {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.made[k]
	if m == nil {
		m = s.make(k)
		s.made[k], s.left[k] = m, s.users
	}
	if s.left[k]--; s.left[k] == 0 {
		delete(s.made, k)
		delete(s.left, k)
	}
	return m
}

func (s *synthSource) make(k int) *synthetic {
	m := &synthetic{seq: uint64(k + 1), start: synthStart(k)}
	end := synthStart(k + 1)
	info := segment.Info{Start: m.start, End: end, Independent: true, Path: []string{"bench"}, Format: segment.Format}
	info.Tracks = append([]segment.Track(nil), s.tracks...)
	var all []byte
	next := []timeline.Ticks{m.start, (m.start + audioTicks - 1) / audioTicks * audioTicks}
	for i := range info.Tracks {
		info.Tracks[i].Start, info.Tracks[i].End = next[i], next[i]
	}
	for cell := m.start / timeline.ChunkTicks; cell*timeline.ChunkTicks < end; cell++ {
		until := min(end, (cell+1)*timeline.ChunkTicks)
		for i := range info.Tracks {
			t := &info.Tracks[i]
			kind, step, size := fmp4.Video, timeline.Ticks(frameTicks), s.frame
			if i == 1 {
				kind, step, size = fmp4.Audio, audioTicks, s.sound
			}
			var samples []fmp4.Sample
			at := next[i]
			for ; next[i] < until; next[i] += step {
				sample := fmp4.Sample{Duration: uint32(step), Size: uint32(size), Flags: fmp4.FlagsSync}
				if i == 0 && next[i] != m.start {
					sample.Flags = fmp4.FlagsNonSync
				}
				samples = append(samples, sample)
			}
			if len(samples) == 0 {
				continue
			}
			b := fmp4.AppendChunk(nil, kind, t.PID, at, samples, s.noise[:size*len(samples)])
			ch := segment.Chunk{
				PID: t.PID, Cell: uint32(cell), Offset: uint64(len(all)), Size: uint32(len(b)),
				CRC: crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)), TfdtOffset: fmp4.TfdtOffset,
			}
			all = append(all, b...)
			info.Chunks = append(info.Chunks, ch)
			t.Samples, t.Bytes, t.End = t.Samples+uint32(len(samples)), t.Bytes+uint64(len(b)), next[i]
			m.ends = append(m.ends, until)
			m.addChunk(ch, b)
		}
	}
	info.Digest, info.Bytes = segment.Sum(all), uint64(len(all))
	m.bytes, m.set = len(all), segment.MakeInitSet(info.Tracks)
	key := segmentpb.Key(segment.Key{Seq: m.seq, Start: m.start, InitSet: m.set})
	m.begin = &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Begin{Begin: &dvrv1.Begin{
		Key: key, Inits: segmentpb.Inits(s.inits), Path: info.Path, Tracks: segmentpb.Tracks(s.tracks), Independent: true,
	}}}
	m.seal = &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Seal{Seal: &dvrv1.Seal{Seq: m.seq, Info: segmentpb.Info(info)}}}
	return m
}

// addChunk adds the messages of a chunk: pieces of at most 1 MiB.
func (m *synthetic) addChunk(c segment.Chunk, b []byte) {
	const piece = 1 << 20
	for at := 0; at < len(b); at += piece {
		m.chunks = append(m.chunks, grpcx.Shared(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Chunk{Chunk: &dvrv1.Chunk{
			Seq: m.seq, Pid: uint32(c.PID), ChunkCell: c.Cell, TfdtOffset: c.TfdtOffset, Crc32C: c.CRC, Size: c.Size,
			Offset: uint32(at), Data: b[at:min(len(b), at+piece)],
		}}}, 4, 15))
		if at > 0 {
			m.ends = append(m.ends, m.ends[len(m.ends)-1])
		}
	}
}

// tally is what producers were told.
type tally struct {
	mu      sync.Mutex // protects the fields below
	on      bool       // within the measured window
	bytes   uint64     // released
	times   []time.Duration
	refused map[string]int
}

func (t *tally) measure(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.on = on
}

func (t *tally) released(m *synthetic, r *dvrv1.Release, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !r.GetDurable():
		if t.refused == nil {
			t.refused = map[string]int{}
		}
		t.refused[r.GetReason()]++
	case t.on:
		t.bytes += uint64(m.bytes)
		t.times = append(t.times, took)
	}
}

// since gives what was released in the window, and forgets it.
func (t *tally) since() (bytes uint64, times []time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.refused) > 0 {
		err = fmt.Errorf("dvrsvc refused segments: %v", t.refused)
	}
	bytes, times = t.bytes, t.times
	t.bytes, t.times = 0, nil
	return bytes, times, err
}

// synthProducer records segments to a stream of dvrsvc.
type synthProducer struct {
	stream string
	source *synthSource
	tally  *tally
	paced  bool                                   // at the pace of the media, else as fast as dvrsvc takes them
	after  time.Duration                          // it begins so much later than the others
	ring   int                                    // how many segments may wait for their release
	loses  func(stream string, m *synthetic) bool // what does not come; nil: nothing
}

// record records until ctx ends.
func (p *synthProducer) record(ctx context.Context, conn grpc.ClientConnInterface) error {
	if err := wait(ctx, p.after); err != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rpc, err := dvrv1.NewRecordingServiceClient(conn).Record(ctx)
	if err != nil {
		return err
	}
	hello := &dvrv1.Hello{
		Stream: p.stream, Input: synthInput, Priority: 1, Incarnation: uint64(time.Now().UnixNano()),
		Kind: dvrv1.Kind_KIND_LIVE, Format: segment.Format,
	}
	if err := rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Hello{Hello: hello}}); err != nil {
		return err
	}
	var mu sync.Mutex // protects sealed
	sealed := map[uint64]time.Time{}
	sizes := map[uint64]*synthetic{}
	slots := make(chan struct{}, p.ring)
	active := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		once := sync.OnceFunc(func() { close(active) })
		for {
			r, err := rpc.Recv()
			if err != nil {
				failed <- err
				return
			}
			if r.GetRole().GetActive() {
				once()
			}
			if rel := r.GetRelease(); rel != nil {
				now := time.Now()
				mu.Lock()
				m, at := sizes[rel.GetSeq()], sealed[rel.GetSeq()]
				delete(sizes, rel.GetSeq())
				delete(sealed, rel.GetSeq())
				mu.Unlock()
				if m != nil {
					p.tally.released(m, rel, now.Sub(at))
					<-slots
				}
			}
		}
	}()
	began := time.Now()
	told := time.Duration(-1)
	// until waits for a moment of the media, and keeps telling how far it has come.
	until := func(at timeline.Ticks) error {
		for {
			now := time.Since(began)
			if now-told >= 500*time.Millisecond || told < 0 {
				told = now
				if err := rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Progress{Progress: &dvrv1.Progress{
					HeadTicks: int64(synthStart(0) + timeline.FromDuration(now)), Path: []string{"bench"}, Alive: true, GaplessNanos: int64(time.Hour),
				}}}); err != nil {
					return err
				}
			}
			left := (at - synthStart(0)).Duration() - now
			if !p.paced || left <= 0 {
				return nil
			}
			if err := wait(ctx, min(left, 500*time.Millisecond)); err != nil {
				return err
			}
		}
	}
	send := func() error {
		if err := until(synthStart(0)); err != nil {
			return err
		}
		select {
		case <-active:
		case <-ctx.Done():
			return ctx.Err()
		}
		for k := 0; ; k++ {
			m := p.source.take(k)
			if p.loses != nil && p.loses(p.stream, m) {
				if err := until(synthStart(k + 1)); err != nil {
					return err
				}
				continue
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := rpc.Send(m.begin); err != nil {
				return err
			}
			for i, c := range m.chunks {
				if err := until(m.ends[i]); err != nil {
					return err
				}
				if err := rpc.SendMsg(c); err != nil {
					return err
				}
			}
			at := time.Now()
			if p.paced { // since its media was over: what holds the producer up counts too
				at = began.Add((synthStart(k+1) - synthStart(0)).Duration())
			}
			mu.Lock()
			sizes[m.seq], sealed[m.seq] = m, at
			mu.Unlock()
			if err := rpc.Send(m.seal); err != nil {
				return err
			}
		}
	}
	err = send()
	if ctx.Err() != nil {
		return nil
	}
	select {
	case why := <-failed:
		return fmt.Errorf("record %s: %w", p.stream, why)
	case <-time.After(time.Second):
	}
	return fmt.Errorf("record %s: %w", p.stream, errors.Join(err, errors.New("dvrsvc took no more")))
}
