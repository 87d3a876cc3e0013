package server

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/dvrsvc/internal/recorder"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// sink takes what a server sends, as a transport does: a while after it was sent.
type sink struct {
	from, at uint64
	got      []byte
	t        *testing.T
	late     func() // takes what was sent last
}

func (s *sink) send(m *dvrv1.ReadSegmentResponse, free func()) error {
	if s.late != nil {
		s.late()
	}
	s.late = func() { s.take(m, free) }
	return nil
}

func (s *sink) take(m *dvrv1.ReadSegmentResponse, free func()) {
	if m.GetHead() != nil {
		s.at = m.GetOffset()
		return
	}
	if len(m.GetData()) > pieceBytes || len(m.GetData()) == 0 {
		s.t.Errorf("a piece of %d bytes (I2)", len(m.GetData()))
	}
	if m.GetOffset() != s.at {
		s.t.Errorf("a piece for offset %d at %d", m.GetOffset(), s.at)
	}
	s.got = append(s.got, m.GetData()...)
	s.at += uint64(len(m.GetData()))
	free()
}

// Whatever the chunks and wherever a read is resumed, the pieces are the bytes from there on.
func TestPieces(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 12 {
		var all []byte
		var chunks [][]byte
		for range rnd.IntN(12) {
			c := make([]byte, rnd.IntN(3*pieceBytes/(1+rnd.IntN(20))))
			for i := range c {
				c[i] = byte(rnd.Uint32())
			}
			chunks, all = append(chunks, c), append(all, c...)
		}
		from := uint64(rnd.IntN(len(all) + 1))
		s := &sink{t: t, from: from}
		p := pieces{send: s.send, from: from}
		if err := p.head(segment.Slot{}, segment.Info{}, nil, time.Time{}); err != nil {
			t.Fatal(err)
		}
		at := uint64(0)
		for _, c := range chunks {
			held := bytes.Clone(c) // a reader's buffer is used again
			if err := p.add(at, held); err != nil {
				t.Fatal(err)
			}
			clear(held)
			at += uint64(len(c))
		}
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		s.late()
		if !bytes.Equal(s.got, all[from:]) {
			t.Fatalf("from %d: %d bytes, want %d", from, len(s.got), len(all)-int(from))
		}
	}
}

// A chunk that comes in pieces has to come in order and as long as it says.
func TestChunkInPieces(t *testing.T) {
	first := &dvrv1.Chunk{Seq: 1, Pid: 256, ChunkCell: 5, Size: 10, Data: []byte("01234")}
	for name, second := range map[string]*dvrv1.Chunk{
		"another offset": {Seq: 1, Pid: 256, ChunkCell: 5, Size: 10, Offset: 4, Data: []byte("45678")},
		"too long":       {Seq: 1, Pid: 256, ChunkCell: 5, Size: 10, Offset: 5, Data: []byte("5678901")},
		"another track":  {Seq: 1, Pid: 257, ChunkCell: 5, Size: 10, Offset: 5, Data: []byte("56789")},
		"never begun":    {Seq: 2, Pid: 256, ChunkCell: 5, Size: 10, Offset: 5, Data: []byte("56789")},
		"huge":           {Seq: 1, Pid: 256, ChunkCell: 5, Size: maxChunkBytes + 1, Offset: 5, Data: []byte("56789")},
	} {
		r := &receiver{parts: map[uint64]*part{}}
		if _, whole, err := r.join(first); err != nil || whole {
			t.Fatal(whole, err)
		}
		if _, _, err := r.join(second); !errors.Is(err, errs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A large chunk comes out as it went in, and each piece says which way it came.
func TestLargeChunk(t *testing.T) {
	in := recorder.TailChunk{Seq: 7, Chunk: recorder.Chunk{
		Chunk:    segment.Chunk{PID: 256, Cell: 5, Size: 5 * pieceBytes / 2, CRC: 9, TfdtOffset: 60},
		Path:     []string{"a", "b"},
		Evidence: segment.Evidence{Faulty: []segment.FaultySample{{PID: 256, DTS: 8, Reason: 1}}},
		Data:     bytes.Repeat([]byte("12345"), pieceBytes/2),
	}}
	r := &receiver{parts: map[uint64]*part{7: {pid: 9}}}
	r.drop(7) // as a new Begin does
	for at := 0; at < len(in.Data); at += pieceBytes {
		m := fromChunk(&in, at, min(at+pieceBytes, len(in.Data)))
		if !slices.Equal(m.GetPath(), in.Path) {
			t.Errorf("the piece at %d came by %v", at, m.GetPath())
		}
		out, whole, err := r.join(m)
		if err != nil || whole != (at+pieceBytes >= len(in.Data)) {
			t.Fatalf("the piece at %d: whole %t, %v", at, whole, err)
		}
		if whole && !reflect.DeepEqual(out, in.Chunk) {
			t.Errorf("path %v, evidence %+v, %d bytes", out.Path, out.Evidence, len(out.Data))
		}
	}
}

func TestWindow(t *testing.T) {
	at := func(s int64) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: s} }
	for _, tt := range []struct {
		name     string
		from, to *timestamppb.Timestamp
		ok       bool
	}{
		{"open", nil, nil, true},
		{"one side", at(5), nil, true},
		{"empty", at(5), at(5), true},
		{"backwards", at(6), at(5), false},
		{"no time at all", &timestamppb.Timestamp{Nanos: -1}, nil, false},
		{"beyond the calendar", at(1 << 60), nil, false},
	} {
		_, _, err := window(tt.from, tt.to)
		if ok := err == nil; ok != tt.ok || !ok && !errors.Is(err, errs.ErrInvalid) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// What is asked for over HTTP and is not here is no fault of this service.
func TestHTTPError(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{errs.ErrInvalid, http.StatusBadRequest},
		{errs.ErrExpired, http.StatusGone},
		{errs.ErrDeleted, http.StatusGone},
		{errs.ErrStreamUnknown, http.StatusNotFound},
		{errs.ErrUnknown, http.StatusNotFound},
		{errs.ErrQuarantined, http.StatusNotFound},
		{&errs.SupersededError{By: "ab12"}, http.StatusNotFound},
		{errs.ErrNotReady, http.StatusServiceUnavailable},
		{errs.ErrCorrupt, http.StatusInternalServerError},
	} {
		w := httptest.NewRecorder()
		httpError(w, fmt.Errorf("read segment: %w", tt.err))
		if w.Code != tt.want || !strings.Contains(w.Body.String(), tt.err.Error()) {
			t.Errorf("%v: %d %s, want %d", tt.err, w.Code, w.Body, tt.want)
		}
	}
}
