package fmp4_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestReadByMP4FF shows init segments and chunks, each track alone and all composed, to a reader that is not ours.
func TestReadByMP4FF(t *testing.T) {
	cases := initCases(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			chunks := tracksChunks(c)
			checkFile(t, decode(t, c.data, chunks), []initCase{c}, chunks)
		})
	}
	t.Run("composed", func(t *testing.T) {
		var inits [][]byte
		var chunks []chunkCase
		for _, c := range cases {
			inits, chunks = append(inits, c.data), append(chunks, tracksChunks(c)...)
		}
		slices.SortStableFunc(chunks, func(a, b chunkCase) int {
			return int(a.start/timeline.ChunkTicks) - int(b.start/timeline.ChunkTicks)
		})
		head, err := fmp4.ComposeMoov(inits...)
		if err != nil {
			t.Fatal(err)
		}
		checkFile(t, decode(t, head, chunks), cases, chunks)
	})
}

// tracksChunks are two chunks of a track, the second where the first ends.
func tracksChunks(of initCase) []chunkCase {
	first := chunkCases()[1]
	if of.video || of.meta {
		first = chunkCases()[0]
	}
	first.pid = of.pid
	second := first
	for _, s := range first.samples {
		second.start += timeline.Ticks(s.Duration)
	}
	second.samples, second.payload = first.samples[:1], first.payload[:first.samples[0].Size]
	return []chunkCase{first, second}
}

func decode(t *testing.T, head []byte, chunks []chunkCase) *mp4.File {
	t.Helper()
	data := slices.Clone(head)
	for _, c := range chunks {
		data = append(data, c.bytes()...)
	}
	f, err := mp4.DecodeFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func checkFile(t *testing.T, f *mp4.File, tracks []initCase, chunks []chunkCase) {
	t.Helper()
	moov := f.Init.Moov
	if moov.Mvhd.Timescale != 90000 || len(moov.Traks) != len(tracks) || len(moov.Mvex.Trexs) != len(tracks) {
		t.Fatalf("timescale %d, %d trak, %d trex, want %d of each",
			moov.Mvhd.Timescale, len(moov.Traks), len(moov.Mvex.Trexs), len(tracks))
	}
	trexOf := map[uint32]*mp4.TrexBox{}
	for i, want := range tracks {
		trak, trex := moov.Traks[i], moov.Mvex.Trexs[i]
		trexOf[trex.TrackID] = trex
		handler := "soun"
		if want.video {
			handler = "vide"
		}
		if want.meta {
			handler = "meta"
		}
		if trak.Tkhd.TrackID != uint32(want.pid) || trex.TrackID != uint32(want.pid) ||
			trak.Mdia.Mdhd.Timescale != 90000 || trak.Mdia.Hdlr.HandlerType != handler || trex.DefaultSampleDescriptionIndex != 1 {
			t.Errorf("%s: trak %d, trex %+v, timescale %d, handler %s",
				want.name, trak.Tkhd.TrackID, *trex, trak.Mdia.Mdhd.Timescale, trak.Mdia.Hdlr.HandlerType)
		}
		checkSampleEntry(t, want, trak)
	}

	var fragments []*mp4.Fragment
	for _, s := range f.Segments {
		fragments = append(fragments, s.Fragments...)
	}
	if len(fragments) != len(chunks) {
		t.Fatalf("%d fragments, want %d", len(fragments), len(chunks))
	}
	for i, want := range chunks {
		traf := fragments[i].Moof.Traf
		if traf.Tfhd.TrackID != uint32(want.pid) || traf.Tfdt.BaseMediaDecodeTime() != uint64(want.start) ||
			fragments[i].Moof.Mfhd.SequenceNumber != uint32(want.start>>15) {
			t.Errorf("chunk %d: track %d at %d, sequence %d, want %d at %d", i, traf.Tfhd.TrackID,
				traf.Tfdt.BaseMediaDecodeTime(), fragments[i].Moof.Mfhd.SequenceNumber, want.pid, want.start)
		}
		got, err := fragments[i].GetFullSamples(trexOf[uint32(want.pid)])
		if err != nil {
			t.Fatalf("chunk %d: %v", i, err)
		}
		if len(got) != len(want.samples) {
			t.Fatalf("chunk %d: %d samples, want %d", i, len(got), len(want.samples))
		}
		dts, payload := uint64(want.start), want.payload
		for j, w := range want.samples {
			g := got[j]
			if g.DecodeTime != dts || g.Dur != w.Duration || g.Size != w.Size || g.CompositionTimeOffset != int32(w.Offset) ||
				g.Flags != w.Flags || g.IsSync() != (w.Flags == fmp4.FlagsSync) || !bytes.Equal(g.Data, payload[:w.Size]) {
				t.Errorf("chunk %d, sample %d: got %+v, want %+v at %d", i, j, g, w, dts)
			}
			dts, payload = dts+uint64(w.Duration), payload[w.Size:]
		}
	}
}

func checkSampleEntry(t *testing.T, want initCase, trak *mp4.TrakBox) {
	t.Helper()
	stsd := trak.Mdia.Minf.Stbl.Stsd
	if want.entry != nil {
		want.entry(t, stsd)
		return
	}
	language := map[uint16]string{aacPID: "deu", mpegPID: "eng"}[want.pid]
	if language == "" {
		language = "und"
	}
	if got := trak.Mdia.Mdhd.GetLanguage(); got != language {
		t.Errorf("%s: language %q, want %q", want.name, got, language)
	}
	if want.video {
		e := stsd.AvcX
		if want.pid == hevcPID {
			e = stsd.HvcX
		}
		sized := want.pid == mpeg2PID || e != nil && e.Width == 1280 && e.Height == 720 // mp4v is not known there
		if !sized || trak.Tkhd.Width>>16 != 1280 || trak.Tkhd.Height>>16 != 720 {
			t.Errorf("%s: sample entry %+v", want.name, e)
		}
		return
	}
	e := stsd.Mp4a
	if e == nil || e.ChannelCount != 2 || e.SampleRate != 48000 {
		t.Fatalf("%s: sample entry %+v", want.name, e)
	}
	config := e.Esds.DecConfigDescriptor
	object, specific := byte(0x40), "1190" // LC, 48 kHz, stereo
	if want.pid == mpegPID {
		object, specific = 0x6B, ""
	}
	got := ""
	if config.DecSpecificInfo != nil {
		got = hex.EncodeToString(config.DecSpecificInfo.DecConfig)
	}
	if config.ObjectType != object || got != specific {
		t.Errorf("%s: object type %#x, AudioSpecificConfig %q, want %#x, %q", want.name, config.ObjectType, got, object, specific)
	}
}

func TestInitTrack(t *testing.T) {
	for _, c := range initCases(t) {
		if pid, err := fmp4.InitTrack(c.data); err != nil || pid != c.pid {
			t.Errorf("%s: got %d, %v, want %d", c.name, pid, err, c.pid)
		}
	}
}

// TestComposeMoovOfOne shows that an init segment is already the head of a file with its track alone.
func TestComposeMoovOfOne(t *testing.T) {
	for _, c := range initCases(t) {
		if got, err := fmp4.ComposeMoov(c.data); err != nil || !bytes.Equal(got, c.data) {
			t.Errorf("%s: got %x, %v, want %x", c.name, got, err, c.data)
		}
	}
}

// hostileInits are init segments with one thing wrong.
func hostileInits(t testing.TB) map[string][]byte {
	data := initCases(t)[1].data
	box := func(name string) int { return bytes.Index(data, []byte(name)) - 4 }
	rename := func(name string) []byte {
		b := slices.Clone(data)
		copy(b[box(name)+4:], "free")
		return b
	}
	size := func(name string, size byte) []byte {
		b := slices.Clone(data)
		b[box(name)+3] = size
		return b
	}
	return map[string][]byte{
		"nothing":          nil,
		"no ftyp":          data[box("moov"):],
		"ftyp alone":       data[:box("moov")],
		"no mvhd":          rename("mvhd"),
		"no trak":          rename("trak"),
		"no mvex":          rename("mvex"),
		"no trex":          rename("trex"),
		"moov of size 0":   size("moov", 0),
		"mvex of size 4":   size("mvex", 4),
		"mvex without end": size("mvex", 255),
		"short trex":       size("trex", 31),
		"cut":              data[:len(data)-1],
		"and a box":        slices.Concat(data, []byte("\x00\x00\x00\x08free")),
	}
}

func TestComposeMoovRefuses(t *testing.T) {
	good := initCases(t)[0].data
	for name, data := range hostileInits(t) {
		if got, err := fmp4.ComposeMoov(good, data); !errors.Is(err, fmp4.ErrMalformed) {
			t.Errorf("%s: got %x, %v, want %v", name, got, err, fmp4.ErrMalformed)
		}
		if pid, err := fmp4.InitTrack(data); !errors.Is(err, fmp4.ErrMalformed) {
			t.Errorf("track of %s: got %d, %v, want %v", name, pid, err, fmp4.ErrMalformed)
		}
	}
	if _, err := fmp4.ComposeMoov(); !errors.Is(err, fmp4.ErrMalformed) {
		t.Errorf("of no track: got %v, want %v", err, fmp4.ErrMalformed)
	}
	both, err := fmp4.ComposeMoov(good, good)
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := fmp4.InitTrack(both); !errors.Is(err, fmp4.ErrMalformed) {
		t.Errorf("track of two: got %d, %v, want %v", pid, err, fmp4.ErrMalformed)
	}
}
