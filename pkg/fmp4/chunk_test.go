package fmp4_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/timeline"
)

func drawChunk(t *rapid.T) chunkCase {
	c := chunkCase{
		kind:  rapid.SampledFrom([]fmp4.Kind{fmp4.Audio, fmp4.Video}).Draw(t, "kind"),
		pid:   rapid.Uint16Range(0, 0x1FFF).Draw(t, "pid"),
		start: timeline.Ticks(rapid.Int64Range(0, 1<<48).Draw(t, "start")),
	}
	size := 0
	for range rapid.IntRange(1, 30).Draw(t, "samples") {
		s := fmp4.Sample{
			Duration: rapid.Uint32().Draw(t, "duration"),
			Size:     rapid.Uint32Range(0, 40).Draw(t, "size"),
			Flags:    fmp4.FlagsSync,
		}
		if c.kind == fmp4.Video {
			s.Flags = rapid.SampledFrom([]uint32{fmp4.FlagsSync, fmp4.FlagsNonSync}).Draw(t, "flags")
			s.Offset = rapid.Uint32Range(0, math.MaxInt32).Draw(t, "offset")
		}
		c.samples = append(c.samples, s)
		size += int(s.Size)
	}
	c.payload = rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "payload")
	return c
}

// TestRoundTrip holds I2 and I3.
func TestRoundTrip(t *testing.T) {
	var reused fmp4.Chunk
	rapid.Check(t, func(t *rapid.T) {
		c := drawChunk(t)
		data := c.bytes()
		if got, want := len(data), fmp4.HeaderSize(c.kind, len(c.samples))+len(c.payload); got != want {
			t.Fatalf("%d bytes, HeaderSize says %d", got, want)
		}
		got, err := fmp4.ParseChunk(data)
		if err != nil {
			t.Fatal(err)
		}
		want := &fmp4.Chunk{Kind: c.kind, PID: c.pid, Start: c.start, Samples: c.samples, Payload: c.payload}
		if !equalChunks(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if err := reused.Parse(data); err != nil || !equalChunks(&reused, want) {
			t.Fatalf("into a used chunk: got %+v, %v, want %+v", reused, err, want)
		}
		checkSamples(t, got)

		before := []byte("before")
		again := fmp4.AppendChunk(slices.Clone(before), got.Kind, got.PID, got.Start, got.Samples, got.Payload)
		if !bytes.Equal(again, append(before, data...)) {
			t.Fatalf("written again: got %x, want %x", again[len(before):], data)
		}
	})
}

func equalChunks(a, b *fmp4.Chunk) bool {
	return a.Kind == b.Kind && a.PID == b.PID && a.Start == b.Start &&
		slices.Equal(a.Samples, b.Samples) && bytes.Equal(a.Payload, b.Payload)
}

// checkSamples compares All and End with the sample table.
func checkSamples(t interface{ Fatalf(string, ...any) }, c *fmp4.Chunk) {
	i, dts, payload := 0, c.Start, []byte{}
	for s := range c.All() {
		if s.Sample != c.Samples[i] || s.DTS != dts || s.PTS() != dts+timeline.Ticks(s.Offset) || len(s.Data) != int(s.Size) {
			t.Fatalf("sample %d: got %+v at DTS %d, want %+v at DTS %d", i, s, s.DTS, c.Samples[i], dts)
		}
		i, dts, payload = i+1, dts+timeline.Ticks(s.Duration), append(payload, s.Data...)
	}
	if i != len(c.Samples) || c.End() != dts || !bytes.Equal(payload, c.Payload) {
		t.Fatalf("%d samples to %d, want %d to %d", i, dts, len(c.Samples), c.End())
	}
}

func TestPatchTfdt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawChunk(t)
		data := c.bytes()
		delta := timeline.Ticks(rapid.Int64Range(-int64(c.start), 1<<40).Draw(t, "delta"))
		patched := slices.Clone(data)
		if err := fmp4.PatchTfdt(patched, fmp4.TfdtOffset, delta); err != nil {
			t.Fatal(err)
		}
		const from, to = fmp4.TfdtOffset, fmp4.TfdtOffset + 8
		if !bytes.Equal(patched[:from], data[:from]) || !bytes.Equal(patched[to:], data[to:]) {
			t.Fatalf("bytes outside of the decode time changed: got %x, was %x", patched, data)
		}
		got, err := fmp4.ParseChunk(patched)
		if err != nil {
			t.Fatalf("parse a patched chunk: %v", err)
		}
		if got.Start != c.start+delta {
			t.Fatalf("decode time %d, want %d", got.Start, c.start+delta)
		}
		if err := fmp4.PatchTfdt(patched, fmp4.TfdtOffset, -delta); err != nil || !bytes.Equal(patched, data) {
			t.Fatalf("patched back: got %x, %v, want %x", patched, err, data)
		}
	})

	data := chunkCases()[0].bytes()
	for _, offset := range []uint32{uint32(len(data)) - 7, uint32(len(data)), math.MaxUint32} {
		if err := fmp4.PatchTfdt(data, offset, 1); !errors.Is(err, fmp4.ErrMalformed) {
			t.Errorf("offset %d: got %v, want %v", offset, err, fmp4.ErrMalformed)
		}
	}
}

func TestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var segment []byte
		var want [][]byte
		for range rapid.IntRange(0, 5).Draw(t, "chunks") {
			c := drawChunk(t).bytes()
			segment, want = append(segment, c...), append(want, c)
		}
		got, err := split(segment)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %x, %v, want %x", got, err, want)
		}
		// Cut anywhere: the chunks before the cut, and an error unless the cut stands between two.
		cut := rapid.IntRange(0, len(segment)).Draw(t, "cut")
		whole, end := 0, 0
		for whole < len(want) && end+len(want[whole]) <= cut {
			end += len(want[whole])
			whole++
		}
		got, err = split(segment[:cut])
		if len(got) != whole || (err == nil) != (end == cut) || err != nil && !errors.Is(err, fmp4.ErrMalformed) {
			t.Fatalf("cut at %d of %d: got %d chunks, %v, want %d", cut, len(segment), len(got), err, whole)
		}
	})

	data := chunkCases()[0].bytes()
	for chunk := range fmp4.Split(slices.Concat(data, data)) {
		if cap(chunk) != len(data) {
			t.Errorf("a chunk of %d bytes has room for %d: an append would write into the next", len(data), cap(chunk))
		}
		break
	}
	for name, wrong := range map[string][]byte{
		"mdat first": data[len(data)-28:],
		"two moof":   slices.Concat(data[:len(data)-28], data),
	} {
		if got, err := split(wrong); len(got) != 0 || !errors.Is(err, fmp4.ErrMalformed) {
			t.Errorf("%s: got %d chunks, %v, want %v", name, len(got), err, fmp4.ErrMalformed)
		}
	}
}

func split(data []byte) (chunks [][]byte, err error) {
	for c, err := range fmp4.Split(data) {
		if err != nil {
			return chunks, err
		}
		chunks = append(chunks, c)
	}
	return chunks, nil
}

// hostileChunks are chunks with one thing wrong.
func hostileChunks() map[string][]byte {
	cases := map[string][]byte{"nothing": nil}
	for _, c := range chunkCases() {
		data := c.bytes()
		moof := len(data) - len(c.payload) - 8
		put := func(what string, at int, v uint32) {
			b := slices.Clone(data)
			binary.BigEndian.PutUint32(b[at:], v)
			cases[c.name+" "+what] = b
		}
		put("moof too long", 0, uint32(len(data)))
		put("moof of size 0", 0, 0)
		put("mfhd flags", 16, 1)
		put("traf too short", 24, 8)
		put("track id above a PID", 44, 0x2000)
		put("tfdt version 0", 56, 0)
		put("decode time negative", fmp4.TfdtOffset, 1<<31)
		put("trun version 1", 76, 0x0100_0F01)
		put("trun without size", 76, 0x0101)
		put("no sample", 80, 0)
		put("one sample more", 80, uint32(len(c.samples)+1))
		put("billions of samples", 80, math.MaxUint32)
		put("data offset", 84, 0)
		put("size of a sample", 92, math.MaxUint32)
		put("mdat too long", moof, math.MaxUint32)
		put("mdat to the end", moof, 0)
		put("free for mdat", moof+4, 0x66726565)
		if c.kind == fmp4.Video {
			put("sample flags", 96, 0x0001_0000)
			put("negative composition offset", 100, 1<<31)
		}
		cases[c.name+" cut"] = data[:len(data)-1]
		cases[c.name+" and a byte"] = append(slices.Clone(data), 0)
	}
	return cases
}

// TestParseChunkRefuses holds I3 and I4.
func TestParseChunkRefuses(t *testing.T) {
	for name, data := range hostileChunks() {
		if c, err := fmp4.ParseChunk(data); !errors.Is(err, fmp4.ErrMalformed) {
			t.Errorf("%s: got %+v, %v, want %v", name, c, err, fmp4.ErrMalformed)
		}
	}
}

func TestAppendChunkAllocatesNothing(t *testing.T) {
	c := chunkCases()[0]
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		buf = fmp4.AppendChunk(buf[:0], c.kind, c.pid, c.start, c.samples, c.payload)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
